// Rows brought to a common size: layer_norm (Ba et al., arXiv:1607.06450) and rms_norm (Zhang and
// Sennrich, arXiv:1910.07467). A row is read from L1 two or three times.
#include "../isa.h"
#include "list_transformer.h"

namespace firth::FIRTH_LEVEL {

// The sum of what add(v, sum) makes of the vectors of a row of n: four sums, added pairwise at the
// end, so that the order depends on n alone. fill: what stands in for elements past the end.
template <class T, class Add>
FIRTH_INLINE T row_sum(const T* x, size_t n, T fill, const Add& add) {
    constexpr size_t lanes = kLanes<T>;
    vector_of<T> sums[4] = {set1(T(0)), set1(T(0)), set1(T(0)), set1(T(0))};
    size_t i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
        for (size_t u = 0; u < 4; u++) sums[u] = add(load(x + i + u * lanes), sums[u]);
    for (; i + lanes <= n; i += lanes) sums[0] = add(load(x + i), sums[0]);
    if (i < n) sums[1] = add(load_partial(x + i, n - i, fill), sums[1]);
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// out = (x - centre) / sqrt(square + eps) * gain + bias for a row of n; out may be x.
template <class T>
FIRTH_INLINE void scale_row(const T* x, T centre, T square, T eps, const T* gain, const T* bias,
                            T* out, size_t n) {
    constexpr size_t lanes = kLanes<T>;
    const vector_of<T> middle = set1(centre), factor = set1(T(1)) / sqrt(set1(square + eps));
    for (size_t i = 0; i < n; i += lanes) {
        const size_t count = n - i < lanes ? n - i : lanes;
        vector_of<T> z = (load_up_to(x + i, count) - middle) * factor;
        if (gain) z *= load_up_to(gain + i, count);
        if (bias) z += load_up_to(bias + i, count);
        store_up_to(out + i, z, count);
    }
}

// x, out: rows x n, x_stride and out_stride apart; gain, bias: n, or null; out may be x exactly.
template <class T>
FIRTH_INLINE void layer_norm(const T* x, ptrdiff_t x_stride, const T* gain, const T* bias,
                             double eps, T* out, ptrdiff_t out_stride, size_t rows, size_t n) {
    typedef vector_of<T> V;
    for (size_t r = 0; r < rows; r++) {
        const T* row = x + (ptrdiff_t)r * x_stride;
        const T mean = row_sum(row, n, T(0), [](V v, V sum) { return sum + v; }) / T(n);
        const V middle = set1(mean);
        const T variance =
            row_sum(row, n, mean, [=](V v, V sum) { return fma(v - middle, v - middle, sum); }) /
            T(n);
        scale_row(row, mean, variance, T(eps), gain, bias, out + (ptrdiff_t)r * out_stride, n);
    }
}

// As layer_norm, without the mean and bias.
template <class T>
FIRTH_INLINE void rms_norm(const T* x, ptrdiff_t x_stride, const T* gain, double eps, T* out,
                           ptrdiff_t out_stride, size_t rows, size_t n) {
    typedef vector_of<T> V;
    for (size_t r = 0; r < rows; r++) {
        const T* row = x + (ptrdiff_t)r * x_stride;
        const T square = row_sum(row, n, T(0), [](V v, V sum) { return fma(v, v, sum); }) / T(n);
        scale_row(row, T(0), square, T(eps), gain, (const T*)nullptr,
                  out + (ptrdiff_t)r * out_stride, n);
    }
}

#define FIRTH_NORMS(T, type) \
    void layer_norm_##type(const T* x, ptrdiff_t x_stride, const T* gain, const T* bias, \
                           double eps, T* out, ptrdiff_t out_stride, size_t rows, size_t n) { \
        layer_norm(x, x_stride, gain, bias, eps, out, out_stride, rows, n); \
    } \
    void rms_norm_##type(const T* x, ptrdiff_t x_stride, const T* gain, double eps, T* out, \
                         ptrdiff_t out_stride, size_t rows, size_t n) { \
        rms_norm(x, x_stride, gain, eps, out, out_stride, rows, n); \
    }
FIRTH_NORMS(float, f32)
FIRTH_NORMS(double, f64)

}  // namespace firth::FIRTH_LEVEL
