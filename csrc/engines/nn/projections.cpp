// Several inputs, each times its own rows of one weight: y_i = x_i W_i^T + b_i. Backward:
//   dx_i = dy_i W_i      dW_i = dy_i^T x_i      db_i = sum of the rows of dy_i
#include <cstring>

#include "engines/nn/operation.h"

namespace firth::nn {

// options: none. in: x_0, x_1, ... (..., K), two or three, then W (N, K), b (N) or absent;
// out: y_i (..., N_i), where the N_i sum to N.
bool projections_fits(const Call& c) {
    if (c.option_count != 0 || c.saves != 0 || c.outs < 1 || c.outs > 3 || c.ins != c.outs + 2)
        return false;
    const Array &weight = c.in[c.outs], &bias = c.in[c.outs + 1];
    if (weight.axes != 2 || (bias.there && (bias.axes != 1 || bias.shape[0] != weight.shape[0])))
        return false;
    const auto real = [](const Array& x) { return x && x.kind == Kind::real; };
    size_t rows = 0;
    for (size_t i = 0; i < c.outs; i++) {
        const Array &x = c.in[i], &y = c.out[i];
        if (x.axes == 0 || y.axes != x.axes || x.last() != weight.shape[1] ||
            memcmp(x.shape, y.shape, (x.axes - 1) * sizeof *x.shape) ||
            y.last() > weight.shape[0] - rows)
            return false;
        rows += y.last();
        if (c.backward ? (c.din[c.outs] && !real(x)) : !real(x) || !real(y)) return false;
        if (c.backward && c.din[i] && !real(weight)) return false;
    }
    if (rows != weight.shape[0]) return false;
    if (!c.backward) return real(weight) && (!bias.there || real(bias));
    return bias.there || !c.din[c.outs + 1];
}

template <class T>
void projections_forward(const Call& c) {
    const T *weight = c.in[c.outs].as<T>(), *bias = c.in[c.outs + 1].as<T>();
    const size_t k = c.in[c.outs].shape[1];
    for (size_t i = 0; i < c.outs; i++) {
        const size_t n = c.out[i].last();
        product<T>(c, {c.in[i].as<T>(), ptrdiff_t(k)}, {weight, ptrdiff_t(k), true},
                   c.out[i].as<T>(), ptrdiff_t(n), c.in[i].rows(), k, n, false, bias);
        weight += n * k;
        if (bias) bias += n;
    }
}

template <class T>
void projections_backward(const Call& c) {
    const Array &dweight = c.din[c.outs], &dbias = c.din[c.outs + 1];
    const size_t k = c.in[c.outs].shape[1];
    const T* weight = c.in[c.outs].as<T>();
    T *dw = dweight.as<T>(), *db = dbias.as<T>();
    for (size_t i = 0; i < c.outs; i++) {
        const Array& x = c.in[i];
        const size_t rows = x.rows(), n = c.out[i].last();
        const T* dy = c.dout[i].as<T>();
        const bool add_x = c.adds(i), add_w = c.adds(c.outs), add_b = c.adds(c.outs + 1);
        if (dy) {
            if (db) sum_columns(c, dy, rows, n, db, add_b);
            if (dw)
                product<T>(c, {dy, ptrdiff_t(n), true}, {x.as<T>(), ptrdiff_t(k)}, dw, ptrdiff_t(k),
                           n, rows, k, add_w);
            if (c.din[i])
                product<T>(c, {dy, ptrdiff_t(n)}, {weight, ptrdiff_t(k)}, c.din[i].as<T>(),
                           ptrdiff_t(k), rows, n, k, add_x);
        } else {
            if (db && !add_b) std::memset(db, 0, n * sizeof(T));
            if (dw && !add_w) std::memset(dw, 0, n * k * sizeof(T));
            if (c.din[i] && !add_x) std::memset(c.din[i].as<T>(), 0, x.size() * sizeof(T));
        }
        if (weight) weight += n * k;
        if (dw) dw += n * k;
        if (db) db += n;
    }
}

#define FIRTH_INSTANTIATE(T) \
    template void projections_forward<T>(const Call&); \
    template void projections_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
