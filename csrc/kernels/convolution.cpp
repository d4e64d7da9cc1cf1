// The inner loops of convolutions. Neither knows windows: a step of a sum is an offset into planes
// with zeros around them (engines/nn/convolution.cpp), so that the pixels of a vector, neighbours
// in the result, are neighbours in the source at every step.
#include "../isa.h"
#include "list_convolution.h"

namespace firth::FIRTH_LEVEL {

// out (R x V vectors) = or += a (k x R, packed) times rows of x, row u at x + offsets[u].
template <class T, size_t R, size_t V>
FIRTH_INLINE void tile(const T* a, const T* x, const ptrdiff_t* offsets, T* out,
                       ptrdiff_t out_stride, size_t k, bool accumulate) {
    constexpr size_t lanes = kLanes<T>;
    vector_of<T> sums[R][V];
#pragma GCC unroll 16
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
        for (size_t v = 0; v < V; v++)
            sums[r][v] =
                accumulate ? load(out + (ptrdiff_t)r * out_stride + v * lanes) : set1(T(0));
    for (size_t u = 0; u < k; u++) {
        const T* from = x + offsets[u];
        vector_of<T> pixels[V];
#pragma GCC unroll 8
        for (size_t v = 0; v < V; v++) pixels[v] = load(from + v * lanes);
#pragma GCC unroll 16
        for (size_t r = 0; r < R; r++) {
            const vector_of<T> weight = set1(a[r]);
#pragma GCC unroll 8
            for (size_t v = 0; v < V; v++) sums[r][v] = fma(weight, pixels[v], sums[r][v]);
        }
        a += R;
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
        for (size_t v = 0; v < V; v++)
            store(out + (ptrdiff_t)r * out_stride + v * lanes, sums[r][v]);
}

template <class T, size_t R>
FIRTH_INLINE void tiles_of_rows(size_t rows, const T* a, const T* x, const ptrdiff_t* offsets,
                                T* out, ptrdiff_t out_stride, size_t n, size_t k, bool accumulate) {
    if constexpr (R > 1)
        if (rows < R)
            return tiles_of_rows<T, R - 1>(rows, a, x, offsets, out, out_stride, n, k, accumulate);
    constexpr size_t lanes = kLanes<T>;
    size_t j = 0;
    if constexpr (R <= 2)  // two sums a row would be too few to hide the latency of fma
        for (; j + 4 * lanes <= n; j += 4 * lanes)
            tile<T, R, 4>(a, x + j, offsets, out + j, out_stride, k, accumulate);
    for (; j + 2 * lanes <= n; j += 2 * lanes)
        tile<T, R, 2>(a, x + j, offsets, out + j, out_stride, k, accumulate);
    for (; j < n; j += lanes) tile<T, R, 1>(a, x + j, offsets, out + j, out_stride, k, accumulate);
}

// a: m x k, packed by gemm_pack_a; x: row u of k is n elements from offsets[u] on; out: m x n,
// out_stride apart; n is rounded up to whole vectors. Each sum in the order of k.
template <class T>
FIRTH_INLINE void convolve(const T* a, const T* x, const ptrdiff_t* offsets, T* out,
                           ptrdiff_t out_stride, size_t m, size_t n, size_t k, bool accumulate) {
    constexpr size_t lanes = kLanes<T>;
    n = (n + lanes - 1) / lanes * lanes;
    const size_t tiles = (m + kGemmRows - 1) / kGemmRows;
    for (size_t t = 0; t < tiles; t++) {
        const size_t row = t * m / tiles, rows = (t + 1) * m / tiles - row;
        tiles_of_rows<T, kGemmRows>(rows, a + row * k, x, offsets,
                                    out + (ptrdiff_t)row * out_stride, out_stride, n, k,
                                    accumulate);
    }
}

// ---- gradient by the weights: sums along the pixels ---------------------------------------------

constexpr size_t kWeightRows = kRegisters == 32 ? 6 : 3, kWeightColumns = kRegisters == 32 ? 4 : 3;

// out[r, u] = or += sum over pixels of row r of dz times row u of x, R x C of them. Rows above
// `rows` repeat the last one.
template <class T, size_t R, size_t C>
FIRTH_INLINE void weight_tile(const T* dz, ptrdiff_t dz_stride, ptrdiff_t dz_next, const T* x,
                              const ptrdiff_t* offsets, ptrdiff_t x_next, size_t parts, size_t n,
                              T* out, ptrdiff_t out_stride, size_t rows, bool add) {
    constexpr size_t lanes = kLanes<T>, sets = (R * C + lanes - 1) / lanes;
    vector_of<T> sums[sets * lanes];
#pragma GCC unroll 64
    for (size_t i = 0; i < sets * lanes; i++) sums[i] = set1(T(0));
    for (size_t part = 0; part < parts; part++) {
        const T *left[R], *right[C];
#pragma GCC unroll 8
        for (size_t r = 0; r < R; r++)
            left[r] = dz + (ptrdiff_t)(r < rows ? r : rows - 1) * dz_stride;
#pragma GCC unroll 8
        for (size_t c = 0; c < C; c++) right[c] = x + offsets[c];
        for (size_t i = 0; i < n; i += lanes) {
            vector_of<T> pixels[C];
#pragma GCC unroll 8
            for (size_t c = 0; c < C; c++) pixels[c] = load(right[c] + i);
#pragma GCC unroll 8
            for (size_t r = 0; r < R; r++) {
                const vector_of<T> d = load(left[r] + i);
#pragma GCC unroll 8
                for (size_t c = 0; c < C; c++) sums[r * C + c] = fma(d, pixels[c], sums[r * C + c]);
            }
        }
        dz += dz_next;
        x += x_next;
    }
    T totals[sets * lanes];
#pragma GCC unroll 16
    for (size_t s = 0; s < sets; s++)
        store(totals + s * lanes,
              reduce_each(sums + s * lanes, T(0), [](auto a, auto b) { return a + b; }));
    for (size_t r = 0; r < rows && r < R; r++)
        for (size_t c = 0; c < C; c++) {
            T* to = out + (ptrdiff_t)r * out_stride + c;
            *to = add ? *to + totals[r * C + c] : totals[r * C + c];
        }
}

template <class T, size_t R, size_t C>
FIRTH_INLINE void weight_columns(size_t columns, const T* dz, ptrdiff_t dz_stride,
                                 ptrdiff_t dz_next, const T* x, const ptrdiff_t* offsets,
                                 ptrdiff_t x_next, size_t parts, size_t n, T* out,
                                 ptrdiff_t out_stride, size_t rows, bool add) {
    if constexpr (C > 1)
        if (columns < C)
            return weight_columns<T, R, C - 1>(columns, dz, dz_stride, dz_next, x, offsets, x_next,
                                               parts, n, out, out_stride, rows, add);
    weight_tile<T, R, C>(dz, dz_stride, dz_next, x, offsets, x_next, parts, n, out, out_stride,
                         rows, add);
}

// out (m x k, out_stride apart) = or += dz x^T: sums over the n pixels of each part, of which dz
// and x lie dz_next and x_next apart. dz: m rows, dz_stride apart, 0 from n to the next whole
// vector; row u of x is at offsets[u].
template <class T>
FIRTH_INLINE void convolve_weights(const T* dz, ptrdiff_t dz_stride, ptrdiff_t dz_next, const T* x,
                                   const ptrdiff_t* offsets, ptrdiff_t x_next, size_t parts,
                                   size_t n, T* out, ptrdiff_t out_stride, size_t m, size_t k,
                                   bool add) {
    constexpr size_t R = kWeightRows, C = kWeightColumns;
    for (size_t r = 0; r < m; r += R) {
        const size_t rows = m - r < R ? m - r : R;
        const T* mine = dz + (ptrdiff_t)r * dz_stride;
        const size_t tiles = (k + C - 1) / C;
        for (size_t t = 0; t < tiles; t++) {
            const size_t u = t * k / tiles, columns = (t + 1) * k / tiles - u;
            T* to = out + (ptrdiff_t)r * out_stride + u;
            if (rows == 1)
                weight_columns<T, 1, C>(columns, mine, dz_stride, dz_next, x, offsets + u, x_next,
                                        parts, n, to, out_stride, rows, add);
            else
                weight_columns<T, R, C>(columns, mine, dz_stride, dz_next, x, offsets + u, x_next,
                                        parts, n, to, out_stride, rows, add);
        }
    }
}

// ---- rows ---------------------------------------------------------------------------------------

// dst (rows x n) = src, or, given the result of a relu, src where that is positive and 0 elsewhere.
template <class T>
FIRTH_INLINE void copy_rows(const T* src, ptrdiff_t src_stride, const T* result, T* dst,
                            ptrdiff_t dst_stride, size_t rows, size_t n) {
    constexpr size_t lanes = kLanes<T>;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i += lanes) {
            const size_t count = n - i < lanes ? n - i : lanes;
            const ptrdiff_t at = (ptrdiff_t)r * src_stride + (ptrdiff_t)i;
            vector_of<T> v = load_up_to(src + at, count);
            if (result) v = load_up_to(result + at, count) > T(0) ? v : set1(T(0));
            store_up_to(dst + (ptrdiff_t)r * dst_stride + i, v, count);
        }
}

// out (rows x n) = or += relu(sums + bias), or without relu.
template <class T>
FIRTH_INLINE void finish_rows(const T* sums, ptrdiff_t stride, T bias, bool relu, T* out,
                              ptrdiff_t out_stride, size_t rows, size_t n, bool add) {
    constexpr size_t lanes = kLanes<T>;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i += lanes) {
            const size_t count = n - i < lanes ? n - i : lanes;
            T* to = out + (ptrdiff_t)r * out_stride + i;
            vector_of<T> v =
                load_up_to(sums + (ptrdiff_t)r * stride + (ptrdiff_t)i, count) + set1(bias);
            if (relu) v = v < T(0) ? set1(T(0)) : v;
            if (add) v += load_up_to(to, count);
            store_up_to(to, v, count);
        }
}

#define FIRTH_CONVOLUTIONS_OF(T, type) \
    void convolve_##type(const T* a, const T* x, const ptrdiff_t* offsets, T* out, \
                         ptrdiff_t out_stride, size_t m, size_t n, size_t k, bool accumulate) { \
        convolve(a, x, offsets, out, out_stride, m, n, k, accumulate); \
    } \
    void convolve_weights_##type(const T* dz, ptrdiff_t dz_stride, ptrdiff_t dz_next, const T* x, \
                                 const ptrdiff_t* offsets, ptrdiff_t x_next, size_t parts, \
                                 size_t n, T* out, ptrdiff_t out_stride, size_t m, size_t k, \
                                 bool add) { \
        convolve_weights(dz, dz_stride, dz_next, x, offsets, x_next, parts, n, out, out_stride, m, \
                         k, add); \
    } \
    void copy_rows_##type(const T* src, ptrdiff_t src_stride, const T* result, T* dst, \
                          ptrdiff_t dst_stride, size_t rows, size_t n) { \
        copy_rows(src, src_stride, result, dst, dst_stride, rows, n); \
    } \
    void finish_rows_##type(const T* sums, ptrdiff_t stride, T bias, bool relu, T* out, \
                            ptrdiff_t out_stride, size_t rows, size_t n, bool add) { \
        finish_rows(sums, stride, bias, relu, out, out_stride, rows, n, add); \
    }
FIRTH_CONVOLUTIONS_OF(float, f32)
FIRTH_CONVOLUTIONS_OF(double, f64)

}  // namespace firth::FIRTH_LEVEL
