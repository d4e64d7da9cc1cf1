// Rotary positions (Su et al., arXiv:2104.09864): pairs of a head's numbers turn by an angle of
// their row's position. Backward turns back.
#include "engines/nn/operation.h"

namespace firth::nn {
namespace {

bool is_count(double x) { return x >= 1 && x <= 65536 && x == double(size_t(x)); }

template <class T>
void rotate(const Call& c, const Array& from, const Array& to, bool back, bool add) {
    const Array& x = c.in[0];
    const size_t heads = size_t(c.option(0)), width = x.last(), half = c.in[1].shape[1];
    const bool first = c.flag(1) || x.axes == 2;
    const size_t length = first ? x.shape[x.axes - 2] : x.shape[0];
    const size_t turned = heads * 2 * half;
    for_items(c, x.rows(), 2 * double(width), [&](size_t begin, size_t end) {
        for (size_t r = begin; r < end; r++) {
            const size_t position = first ? r % length : r / x.shape[1];
            const T* source = from.as<T>() + r * width;
            T* out = to.as<T>() + r * width;
            c.kernels.of<T>().rotate(source, out, c.in[1].as<T>() + position * half,
                                     c.in[2].as<T>() + position * half, heads, half, back, add);
            for (size_t i = turned; i < width; i++) out[i] = add ? out[i] + source[i] : source[i];
        }
    });
}

}  // namespace

// options: heads that turn, whether the batch is the first axis. in: x (batch, length, width), or
// (length, batch, width), or (..., length, width) where the batch is first; cosines and sines
// (length or more, half of a head's width). out: as x.
bool rotary_fits(const Call& c) {
    if (c.ins != 3 || c.outs != 1 || c.saves != 0 || c.option_count != 2) return false;
    const Array &x = c.in[0], &cosines = c.in[1], &sines = c.in[2], &out = c.out[0];
    if (!is_count(c.option(0)) || x.axes < 2 || cosines.axes != 2 || !sines.has_shape_of(cosines) ||
        !out.has_shape_of(x))
        return false;
    if (!c.flag(1) && x.axes > 3) return false;
    const size_t length = c.flag(1) || x.axes == 2 ? x.shape[x.axes - 2] : x.shape[0];
    if (cosines.shape[0] < length || cosines.shape[1] > x.last() / 2 / size_t(c.option(0)))
        return false;
    const auto real = [](const Array& a) { return a && a.kind == Kind::real; };
    if (!real(cosines) || !real(sines)) return false;
    if (!c.backward) return real(x) && real(out);
    return c.dout[0] && c.din[0] && !c.din[1] && !c.din[2];
}

template <class T>
void rotary_forward(const Call& c) {
    rotate<T>(c, c.in[0], c.out[0], false, false);
}

template <class T>
void rotary_backward(const Call& c) {
    rotate<T>(c, c.dout[0], c.din[0], true, c.adds(0));
}

#define FIRTH_INSTANTIATE(T) \
    template void rotary_forward<T>(const Call&); \
    template void rotary_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
