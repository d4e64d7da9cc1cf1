// Gradients of softmax and log_softmax along contiguous rows, from the forward pass's result y and
// the gradient dy of the loss by it.
//
//   softmax       dx = y (dy - sum(dy y))
//   log_softmax   dx = dy - e^y sum(dy)
#include "../isa.h"
#include "list_softmax.h"

namespace firth::FIRTH_LEVEL {

// sum of f(dy, y) over a row: four sums, one after the other in each.
template <class T, class F>
FIRTH_INLINE T row_sum_of(const T* dy, const T* y, size_t n, const F& f) {
    constexpr size_t lanes = kLanes<T>;
    vector_of<T> sums[4] = {set1(T(0)), set1(T(0)), set1(T(0)), set1(T(0))};
    size_t i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
        for (size_t u = 0; u < 4; u++)
            sums[u] = f(load(dy + i + u * lanes), load(y + i + u * lanes), sums[u]);
    for (; i + lanes <= n; i += lanes) sums[0] = f(load(dy + i), load(y + i), sums[0]);
    if (i < n) sums[1] = f(load_partial(dy + i, n - i), load_partial(y + i, n - i), sums[1]);
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// dy, y, dx: rows x n, strides in elements; dx may be dy or y exactly.
template <bool kLog, class T>
FIRTH_INLINE void backward_rows(const T* dy, ptrdiff_t dy_stride, const T* y, ptrdiff_t y_stride,
                                T* dx, ptrdiff_t dx_stride, size_t rows, size_t n) {
    constexpr size_t lanes = kLanes<T>;
    typedef vector_of<T> V;
    for (size_t r = 0; r < rows; r++) {
        const T *from = dy + (ptrdiff_t)r * dy_stride, *result = y + (ptrdiff_t)r * y_stride;
        T* to = dx + (ptrdiff_t)r * dx_stride;
        const V total = set1(
            row_sum_of(from, result, n, [](V d, V v, V s) { return kLog ? s + d : fma(d, v, s); }));
        // Not y (dy - total): the difference may overflow where the result does not.
        const auto each = [&](V d, V v) {
            return kLog ? fma(-exp_negative(v, T()), total, d) : fma(v, d, -(v * total));
        };
        size_t i = 0;
        for (; i + lanes <= n; i += lanes) store(to + i, each(load(from + i), load(result + i)));
        if (i < n)
            store_partial(to + i,
                          each(load_partial(from + i, n - i), load_partial(result + i, n - i)),
                          n - i);
    }
}

#define FIRTH_BACKWARD(name, T, kLog) \
    void name(const T* dy, ptrdiff_t dy_stride, const T* y, ptrdiff_t y_stride, T* dx, \
              ptrdiff_t dx_stride, size_t rows, size_t n) { \
        backward_rows<kLog>(dy, dy_stride, y, y_stride, dx, dx_stride, rows, n); \
    }
FIRTH_BACKWARD(softmax_backward_f32, float, false)
FIRTH_BACKWARD(softmax_backward_f64, double, false)
FIRTH_BACKWARD(log_softmax_backward_f32, float, true)
FIRTH_BACKWARD(log_softmax_backward_f64, double, true)

}  // namespace firth::FIRTH_LEVEL
