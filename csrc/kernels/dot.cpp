// Inner products of pairs of rows, float32 and float64.
#include "../isa.h"
#include "list_dot.h"

namespace firth::FIRTH_LEVEL {

// a: n contiguous, b: n contiguous. Four registers of partial sums hide the latency of fma (4
// cycles); they are added pairwise at the end, so the order of summation depends on n alone.
template <class T>
FIRTH_INLINE T dot_row(const T* a, const T* b, size_t n) {
    constexpr size_t lanes = kLanes<T>;
    vector_of<T> sum0 = set1(T(0)), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    size_t i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes) {
        sum0 = fma(load(a + i), load(b + i), sum0);
        sum1 = fma(load(a + i + lanes), load(b + i + lanes), sum1);
        sum2 = fma(load(a + i + 2 * lanes), load(b + i + 2 * lanes), sum2);
        sum3 = fma(load(a + i + 3 * lanes), load(b + i + 3 * lanes), sum3);
    }
    for (; i + lanes <= n; i += lanes) sum0 = fma(load(a + i), load(b + i), sum0);
    if (i < n) sum1 = fma(load_partial(a + i, n - i), load_partial(b + i, n - i), sum1);
    return sum((sum0 + sum1) + (sum2 + sum3));
}

// a: rows x n, row r at a + r * a_stride; b likewise (stride 0 repeats one row); out: rows.
void dot_f32(const float* a, ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride, float* out,
             size_t rows, size_t n) {
    for (size_t r = 0; r < rows; r++)
        out[r] = dot_row(a + (ptrdiff_t)r * a_stride, b + (ptrdiff_t)r * b_stride, n);
}

void dot_f64(const double* a, ptrdiff_t a_stride, const double* b, ptrdiff_t b_stride, double* out,
             size_t rows, size_t n) {
    for (size_t r = 0; r < rows; r++)
        out[r] = dot_row(a + (ptrdiff_t)r * a_stride, b + (ptrdiff_t)r * b_stride, n);
}

}  // namespace firth::FIRTH_LEVEL
