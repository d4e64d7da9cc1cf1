// layer_norm and rms_norm over the last axes. Rows are on their own; the gradients of gain and bias
// are sums over blocks of rows, which are then summed in their order.
#include <math.h>

#include <algorithm>

#include "engines/nn/operation.h"
#include "memory.h"

namespace firth::nn {
namespace {

constexpr double kCost = 6;  // of an element, in operations of for_items

// Rows whose gradients of gain and bias make one term of the sum.
size_t block_rows(size_t rows) { return std::max(size_t(16), divide_up(rows, 64)); }

size_t normalised(const Call& c) {
    const Array& x = c.in[0];
    size_t n = 1;
    for (size_t i = x.axes - size_t(c.option(1)); i < x.axes; i++) n *= x.shape[i];
    return n;
}

// options: eps, how many axes. in: x (..., shape), gain (shape) or absent, for layer_norm bias
// (shape) or absent; out: y (..., shape); saved: for layer_norm the means (...), and the factors.
bool fits(const Call& c, bool centred) {
    if (c.ins != (centred ? 3 : 2) || c.outs != 1 || c.saves != (centred ? 2 : 1) ||
        c.option_count != 2)
        return false;
    const Array &x = c.in[0], &y = c.out[0];
    if (!x || x.kind != Kind::real || !(c.option(0) >= 0) || !(c.option(1) >= 1) ||
        c.option(1) > double(x.axes) || c.option(1) != floor(c.option(1)) || !y.has_shape_of(x))
        return false;
    const size_t over = size_t(c.option(1)), outer = x.axes - over;
    if (normalised(c) == 0) return false;
    for (size_t a = 1; a < c.ins; a++) {
        const Array& w = c.in[a];
        if (w.there && (w.kind != Kind::real || w.axes != over ||
                        memcmp(w.shape, x.shape + outer, over * sizeof *w.shape)))
            return false;
        if (w.there && !w && (!c.backward || a == 1)) return false;
        if (c.backward && !w.there && c.din[a]) return false;
    }
    for (size_t a = 0; a < c.saves; a++) {
        const Array& s = c.saved[a];
        if (!s || s.kind != Kind::real || s.axes != outer ||
            memcmp(s.shape, x.shape, outer * sizeof *s.shape))
            return false;
    }
    return c.backward ? bool(c.dout[0]) : y && y.kind == Kind::real;
}

template <class T>
void forward(const Call& c, bool centred) {
    const T* const x = c.in[0].as<T>();
    const size_t n = normalised(c), rows = c.in[0].size() / n;
    T *const means = centred ? c.saved[0].as<T>() : nullptr, *const factors =
                                                                 c.saved[centred].as<T>();
    for_items(c, rows, kCost * double(n), [&](size_t begin, size_t end) {
        c.kernels.of<T>().norm_forward(
            x + begin * n, c.in[1].as<T>(), centred ? c.in[2].as<T>() : nullptr, T(c.option(0)),
            c.out[0].as<T>() + begin * n, means ? means + begin : nullptr, factors + begin,
            end - begin, n);
    });
}

template <class T>
void backward(const Call& c, bool centred) {
    const T *const x = c.in[0].as<T>(), *const dy = c.dout[0].as<T>(),
                   *const means = centred ? c.saved[0].as<T>() : nullptr,
                   *const factors = c.saved[centred].as<T>();
    const size_t n = normalised(c), rows = c.in[0].size() / n;
    T* const dx = c.din[0].as<T>();
    const bool gain = bool(c.din[1]), bias = centred && c.din[2];
    const size_t block = block_rows(rows), blocks = divide_up(rows, block);
    const Scratch scratch(2 * blocks * n * sizeof(T));
    T *const gains = scratch.data<T>(), *const biases = gains + blocks * n;
    for_items(c, blocks, kCost * double(block * n), [&](size_t first, size_t last) {
        for (size_t b = first; b < last; b++) {
            const size_t begin = b * block, end = std::min(rows, begin + block);
            if (gain) std::fill_n(gains + b * n, n, T(0));
            if (bias) std::fill_n(biases + b * n, n, T(0));
            c.kernels.of<T>().norm_backward(
                x + begin * n, dy + begin * n, c.in[1].as<T>(), means ? means + begin : nullptr,
                factors + begin, dx ? dx + begin * n : nullptr, gain ? gains + b * n : nullptr,
                bias ? biases + b * n : nullptr, end - begin, n, c.adds(0));
        }
    });
    if (gain) sum_columns(c, gains, blocks, n, c.din[1].as<T>(), c.adds(1));
    if (bias) sum_columns(c, biases, blocks, n, c.din[2].as<T>(), c.adds(2));
}

}  // namespace

bool layer_norm_fits(const Call& c) { return fits(c, true); }
bool rms_norm_fits(const Call& c) { return fits(c, false); }

template <class T>
void layer_norm_forward(const Call& c) {
    forward<T>(c, true);
}
template <class T>
void layer_norm_backward(const Call& c) {
    backward<T>(c, true);
}
template <class T>
void rms_norm_forward(const Call& c) {
    forward<T>(c, false);
}
template <class T>
void rms_norm_backward(const Call& c) {
    backward<T>(c, false);
}

#define FIRTH_INSTANTIATE(T) \
    template void layer_norm_forward<T>(const Call&); \
    template void layer_norm_backward<T>(const Call&); \
    template void rms_norm_forward<T>(const Call&); \
    template void rms_norm_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
