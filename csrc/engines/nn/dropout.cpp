// Dropout: y = x / (1 - p) where an element stays, else 0; backward the same with dy. Which stay is
// computed of the seed and the element's place, never stored.
#include "engines/nn/operation.h"
#include "random.h"

namespace firth::nn {

// options: p, the share that goes. in: x; out: y.
bool dropout_fits(const Call& c) {
    if (c.ins != 1 || c.outs != 1 || c.saves != 0 || c.option_count != 1) return false;
    if (!(c.option(0) >= 0 && c.option(0) <= 1) || !c.out[0].has_shape_of(c.in[0])) return false;
    if (c.in[0].kind != Kind::real || c.out[0].kind != Kind::real) return false;
    return c.backward ? c.dout[0] && c.din[0] : c.in[0] && c.out[0];
}

namespace {

// Each block of elements has a key of its own; of its 2^30 numbers those below p 2^30 go.
template <class T>
void drop(const Call& c, const T* x, T* out, size_t n, bool add) {
    constexpr size_t kBlock = 4096;
    const double p = c.option(0), scale = p < 1 ? 1 / (1 - p) : 0;
    const int32_t limit = int32_t(p * double(1 << 30) + 0.5);
    for_items(c, divide_up(n, kBlock), 3.0 * kBlock, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i++) {
            const size_t start = i * kBlock, left = n - start;
            const uint64_t key = SplitMix64{c.seed + i * 0x9e3779b97f4a7c15ull}.next();
            c.kernels.of<T>().dropout(x + start, out + start, left < kBlock ? left : kBlock, key,
                                      limit, scale, add);
        }
    });
}

}  // namespace

template <class T>
void dropout_forward(const Call& c) {
    drop(c, c.in[0].as<T>(), c.out[0].as<T>(), c.in[0].size(), false);
}

template <class T>
void dropout_backward(const Call& c) {
    drop(c, c.dout[0].as<T>(), c.din[0].as<T>(), c.in[0].size(), c.adds(0));
}

#define FIRTH_INSTANTIATE(T) \
    template void dropout_forward<T>(const Call&); \
    template void dropout_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
