// y = f(x) element by element, and dx = dy f'(x).
#include "engines/nn/activation.h"

#include "activations.h"

namespace firth::nn {

// options: the activation, the slope of leaky_relu and elu. in: x; out: y.
bool activation_fits(const Call& c) {
    if (c.ins != 1 || c.outs != 1 || c.saves != 0 || c.option_count != 2) return false;
    if (!is_activation(c.option(0)) || !c.out[0].has_shape_of(c.in[0])) return false;
    if (c.in[0].kind != Kind::real || c.out[0].kind != Kind::real) return false;
    if (!c.backward) return c.in[0] && c.out[0];
    return c.dout[0] && c.din[0] && (reads_result(int(c.option(0))) ? c.out[0] : c.in[0]);
}

template <class T>
void activation_forward(const Call& c) {
    activate(c, c.in[0].as<T>(), c.out[0].as<T>(), c.in[0].size(), int(c.option(0)), c.option(1));
}

template <class T>
void activation_backward(const Call& c) {
    activate_backward(c, c.dout[0].as<T>(), c.in[0].as<T>(), c.out[0].as<T>(), c.din[0].as<T>(),
                      c.in[0].size(), int(c.option(0)), c.option(1), c.adds(0));
}

template <class T>
void activate(const Call& call, const T* x, T* y, size_t n, int activation, double slope) {
    for_items(call, n, kActivationCost, [&](size_t begin, size_t end) {
        call.kernels.of<T>().activate(x + begin, y + begin, end - begin, activation, slope);
    });
}

template <class T>
void activate_backward(const Call& call, const T* dy, const T* x, const T* y, T* dx, size_t n,
                       int activation, double slope, bool add) {
    for_items(call, n, kActivationCost, [&](size_t begin, size_t end) {
        call.kernels.of<T>().activate_backward(dy + begin, x ? x + begin : nullptr,
                                               y ? y + begin : nullptr, dx + begin, end - begin,
                                               activation, slope, add);
    });
}

#define FIRTH_INSTANTIATE(T) \
    template void activation_forward<T>(const Call&); \
    template void activation_backward<T>(const Call&); \
    template void activate<T>(const Call&, const T*, T*, size_t, int, double); \
    template void activate_backward<T>(const Call&, const T*, const T*, const T*, T*, size_t, int, \
                                       double, bool);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
