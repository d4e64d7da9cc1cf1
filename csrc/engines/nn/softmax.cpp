// Softmax and its logarithm along the last axis. Backward, of y and the gradient g by it:
//   dx = y (g - sum(g y))      of the logarithm: dx = g - e^y sum(g)
#include "engines/nn/operation.h"
#include "memory.h"

namespace firth::nn {

// options: whether the logarithm is asked for. in: x (..., n); out: y (..., n).
bool softmax_fits(const Call& c) {
    if (c.ins != 1 || c.outs != 1 || c.saves != 0 || c.option_count != 1) return false;
    if (c.in[0].axes == 0 || !c.out[0].has_shape_of(c.in[0])) return false;
    if (c.in[0].kind != Kind::real || c.out[0].kind != Kind::real) return false;
    return c.out[0] && (c.backward ? c.dout[0] && c.din[0] : bool(c.in[0]));
}

template <class T>
void softmax_forward(const Call& c) {
    const auto& kernels = c.kernels.of<T>();
    const auto softmax = c.flag(0) ? kernels.log_softmax : kernels.softmax;
    const size_t n = c.in[0].last();
    const T* x = c.in[0].as<T>();
    T* y = c.out[0].as<T>();
    for_items(c, c.in[0].rows(), 8.0 * double(n), [&](size_t begin, size_t end) {
        softmax(x + begin * n, ptrdiff_t(n), 1, y + begin * n, ptrdiff_t(n), end - begin, n);
    });
}

template <class T>
void softmax_backward(const Call& c) {
    const auto& kernels = c.kernels.of<T>();
    const auto backward = c.flag(0) ? kernels.log_softmax_backward : kernels.softmax_backward;
    const size_t n = c.in[0].last();
    const ptrdiff_t stride = ptrdiff_t(n);
    const T *dy = c.dout[0].as<T>(), *y = c.out[0].as<T>();
    T* dx = c.din[0].as<T>();
    for_items(c, c.in[0].rows(), 4.0 * double(n), [&](size_t begin, size_t end) {
        if (!c.adds(0))
            return backward(dy + begin * n, stride, y + begin * n, stride, dx + begin * n, stride,
                            end - begin, n);
        const Scratch row(n * sizeof(T));
        for (size_t r = begin; r < end; r++) {
            backward(dy + r * n, stride, y + r * n, stride, row.data<T>(), stride, 1, n);
            kernels.combine(kFirst, row.data<T>(), 0, row.data<T>(), 0, dx + r * n, 0, 1, n, true);
        }
    });
}

#define FIRTH_INSTANTIATE(T) \
    template void softmax_forward<T>(const Call&); \
    template void softmax_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
