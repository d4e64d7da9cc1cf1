// Activations, their gradients, and sums of columns.
#include "../activations.h"
#include "../isa.h"
#include "list_activation.h"

namespace firth::FIRTH_LEVEL {

// tanh(x) = sign(x) (1 - e) / (1 + e) with e = e^(-2 |x|)
template <class V, class T>
FIRTH_INLINE V tanh_of(V x, T) {
    const V size = max(x, -x), e = exp_negative(size * set1(T(-2)), T());
    const V y = (set1(T(1)) - e) / (set1(T(1)) + e);
    return x < T(0) ? -y : y;
}

// x, out: n; slope: of leaky_relu and elu; out may be x.
template <class T>
FIRTH_INLINE void activate_all(const T* x, T* out, size_t n, int activation, double) {
    constexpr size_t lanes = kLanes<T>;
    for (size_t i = 0; i < n; i += lanes) {
        const size_t count = n - i < lanes ? n - i : lanes;
        const vector_of<T> z = load_up_to(x + i, count);
        store_up_to(out + i, activation == kTanh ? tanh_of(z, T()) : activate(z, activation, T()),
                    count);
    }
}

// dx = or += dy f'(x); y = f(x), which relu and tanh read in place of x. dx may be dy.
template <class T>
FIRTH_INLINE void backward_all(const T* dy, const T*, const T* y, T* dx, size_t n, int activation,
                               double, bool add) {
    constexpr size_t lanes = kLanes<T>;
    for (size_t i = 0; i < n; i += lanes) {
        const size_t count = n - i < lanes ? n - i : lanes;
        const vector_of<T> d = load_up_to(dy + i, count), result = load_up_to(y + i, count);
        vector_of<T> z = activation == kTanh ? d * (set1(T(1)) - result * result)
                         : result > T(0)     ? d
                                             : set1(T(0));
        if (add) z += load_up_to(dx + i, count);
        store_up_to(dx + i, z, count);
    }
}

// out (n) = or += sums of the columns of x: rows x n, stride apart, in the order of the rows.
template <class T>
FIRTH_INLINE void sum_columns(const T* x, ptrdiff_t stride, T* out, size_t rows, size_t n,
                              bool add) {
    constexpr size_t lanes = kLanes<T>, V = 4;
    for (size_t j = 0; j < n; j += V * lanes) {
        vector_of<T> sums[V];
        size_t count[V];
        for (size_t v = 0; v < V; v++) {
            const size_t at = j + v * lanes;
            count[v] = at >= n ? 0 : n - at < lanes ? n - at : lanes;
            sums[v] = add && count[v] ? load_up_to(out + at, count[v]) : set1(T(0));
        }
        if (j + V * lanes <= n)
            for (size_t r = 0; r < rows; r++)
                for (size_t v = 0; v < V; v++)
                    sums[v] += load(x + (ptrdiff_t)r * stride + j + v * lanes);
        else
            for (size_t v = 0; v < V; v++)
                for (size_t r = 0; r < rows && count[v]; r++)
                    sums[v] += load_up_to(x + (ptrdiff_t)r * stride + j + v * lanes, count[v]);
        for (size_t v = 0; v < V; v++)
            if (count[v]) store_up_to(out + j + v * lanes, sums[v], count[v]);
    }
}

#define FIRTH_ACTIVATIONS_OF(T, type) \
    void activate_##type(const T* x, T* out, size_t n, int activation, double slope) { \
        activate_all(x, out, n, activation, slope); \
    } \
    void activate_backward_##type(const T* dy, const T* x, const T* y, T* dx, size_t n, \
                                  int activation, double slope, bool add) { \
        backward_all(dy, x, y, dx, n, activation, slope, add); \
    } \
    void sum_columns_##type(const T* x, ptrdiff_t stride, T* out, size_t rows, size_t n, \
                            bool add) { \
        sum_columns(x, stride, out, rows, n, add); \
    }
FIRTH_ACTIVATIONS_OF(float, f32)
FIRTH_ACTIVATIONS_OF(double, f64)

}  // namespace firth::FIRTH_LEVEL
