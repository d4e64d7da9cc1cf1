// y = f(x W^T + b). Backward, with dz = dy f'(z):
//   dx = dz W      dW = dz^T x      db = sum of the rows of dz
#include <initializer_list>

#include "engines/nn/activation.h"
#include "memory.h"

namespace firth::nn {

// options: the activation, the slope of leaky_relu and elu. in: x (..., K), W (N, K), b (N) or
// absent; out: y (..., N); saved: z (..., N) where backward reads it and not y.
bool linear_fits(const Call& c) {
    if (c.ins != 3 || c.outs != 1 || c.option_count != 2 || !is_activation(c.option(0)))
        return false;
    const Array &x = c.in[0], &weight = c.in[1], &bias = c.in[2], &y = c.out[0];
    if (x.axes == 0 || weight.axes != 2 || y.axes != x.axes || y.rows() != x.rows() ||
        x.last() != weight.shape[1] || y.last() != weight.shape[0])
        return false;
    if (bias.there && (bias.axes != 1 || bias.shape[0] != y.last())) return false;
    const bool keeps_z = !reads_result(int(c.option(0)));
    if (c.saves != size_t(keeps_z) || (keeps_z && !c.saved[0].has_shape_of(y))) return false;
    for (const Array* a : {&x, &weight, &bias, &y, keeps_z ? c.saved : &y})
        if (*a && a->kind != Kind::real) return false;
    if (!c.backward) return x && weight && (!bias.there || bias) && y && (!keeps_z || c.saved[0]);
    const bool plain = c.option(0) == kNone;
    return c.dout[0] && (plain || (keeps_z ? c.saved[0] : y)) && (!c.din[0] || weight) &&
           (!c.din[1] || x) && (bias.there || !c.din[2]);
}

template <class T>
void linear_forward(const Call& c) {
    const Array &x = c.in[0], &y = c.out[0];
    const size_t rows = x.rows(), k = x.last(), n = y.last();
    const int activation = int(c.option(0));
    T* z = c.saves ? c.saved[0].as<T>() : y.as<T>();
    product<T>(c, {x.as<T>(), ptrdiff_t(k)}, {c.in[1].as<T>(), ptrdiff_t(k), true}, z, ptrdiff_t(n),
               rows, k, n, false, c.in[2].as<T>());
    if (activation != kNone) activate(c, z, y.as<T>(), rows * n, activation, c.option(1));
}

template <class T>
void linear_backward(const Call& c) {
    const Array &x = c.in[0], &y = c.out[0];
    const size_t rows = x.rows(), k = x.last(), n = y.last();
    const int activation = int(c.option(0));
    const Scratch scratch(activation == kNone ? 0 : rows * n * sizeof(T));
    const T* dz = c.dout[0].as<T>();
    if (activation != kNone) {
        activate_backward(c, dz, c.saves ? c.saved[0].as<T>() : nullptr, y.as<T>(),
                          scratch.data<T>(), rows * n, activation, c.option(1), false);
        dz = scratch.data<T>();
    }
    if (c.din[2]) sum_columns(c, dz, rows, n, c.din[2].as<T>(), c.adds(2));
    if (c.din[1])
        product<T>(c, {dz, ptrdiff_t(n), true}, {x.as<T>(), ptrdiff_t(k)}, c.din[1].as<T>(),
                   ptrdiff_t(k), n, rows, k, c.adds(1));
    if (c.din[0])
        product<T>(c, {dz, ptrdiff_t(n)}, {c.in[1].as<T>(), ptrdiff_t(k)}, c.din[0].as<T>(),
                   ptrdiff_t(k), rows, n, k, c.adds(0));
}

#define FIRTH_INSTANTIATE(T) \
    template void linear_forward<T>(const Call&); \
    template void linear_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
