// The inner part of the packed matrix product: a block of C from operands packed by gemm_pack.cpp.
//
// Packed operands are made of units: one float32, one float64, or two neighbours along K in
// bfloat16 (four in 8-bit types). A tile of A is stored [unit][row], a panel of B [unit][column],
// so that one step of the inner loop broadcasts a unit of A and loads two registers of units of B.
//
// Every element of C is summed in the order of K, in one register, whatever the tile around it: the
// bits do not depend on how M and N are cut.
#include "../isa.h"
#include "list_gemm.h"

namespace firth::FIRTH_LEVEL {

namespace {

// One step along K for one register of C: a, b one unit a lane.
struct StepF32 {
    typedef int32_t Unit;
    typedef float Sum;
    static constexpr size_t elements = 1;
    FIRTH_INLINE f32xN apply(i32xN a, i32xN b, f32xN c) { return fma((f32xN)a, (f32xN)b, c); }
};
struct StepF64 {
    typedef double Unit;
    typedef double Sum;
    static constexpr size_t elements = 1;
    FIRTH_INLINE f64xN apply(f64xN a, f64xN b, f64xN c) { return fma(a, b, c); }
};
struct StepBf16 {
    typedef int32_t Unit;
    typedef float Sum;
    static constexpr size_t elements = 2;
    FIRTH_INLINE f32xN apply(i32xN a, i32xN b, f32xN c) { return dot_bf16(a, b, c); }
};

}  // namespace

// a: units x R packed; b: PANELS panels of units x columns, panel_stride units apart; c: R x n,
// n <= PANELS * columns.
template <class Step, size_t R, size_t PANELS>
FIRTH_INLINE void tile(const typename Step::Unit* a, const typename Step::Unit* b,
                       size_t panel_stride, typename Step::Sum* c, ptrdiff_t c_stride, size_t n,
                       size_t units, bool accumulate) {
    typedef typename Step::Sum Sum;
    typedef decltype(load(b)) UnitsXN;
    constexpr size_t V = 2 * PANELS, lanes = kLanes<Sum>;  // registers a row
    vector_of<Sum> sums[R][V];
#pragma GCC unroll 16
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
        for (size_t v = 0; v < V; v++) sums[r][v] = set1(Sum(0));
    for (size_t u = 0; u < units; u++) {
        UnitsXN columns[V];
#pragma GCC unroll 8
        for (size_t v = 0; v < V; v++)
            columns[v] = load(b + (v / 2) * panel_stride + (v % 2) * lanes);
#pragma GCC unroll 16
        for (size_t r = 0; r < R; r++) {
            const UnitsXN row = set1(a[r]);
#pragma GCC unroll 8
            for (size_t v = 0; v < V; v++) sums[r][v] = Step::apply(row, columns[v], sums[r][v]);
        }
        a += R;
        b += kGemmColumns<Sum>;
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < R; r++) {
        Sum* out = c + (ptrdiff_t)r * c_stride;
#pragma GCC unroll 8
        for (size_t v = 0; v < V; v++) {
            const size_t first = v * lanes;
            if (first + lanes <= n) {
                if (accumulate) sums[r][v] += load(out + first);
                store(out + first, sums[r][v]);
            } else if (first < n) {
                if (accumulate) sums[r][v] += load_partial(out + first, n - first);
                store_partial(out + first, sums[r][v], n - first);
            }
        }
    }
}

template <class Step, size_t R>
FIRTH_INLINE void tile_of_rows(size_t rows, const typename Step::Unit* a,
                               const typename Step::Unit* b, typename Step::Sum* c,
                               ptrdiff_t c_stride, size_t n, size_t units, bool accumulate) {
    if constexpr (R > 1)
        if (rows < R)
            return tile_of_rows<Step, R - 1>(rows, a, b, c, c_stride, n, units, accumulate);
    tile<Step, R, 1>(a, b, 0, c, c_stride, n, units, accumulate);
}

// a: packed by gemm_pack_a, m rows; b: packed panels that cover n columns; c: m x n.
template <class Step>
FIRTH_INLINE void block(const void* packed_a, const void* packed_b, void* out, ptrdiff_t c_stride,
                        size_t m, size_t n, size_t k, bool accumulate) {
    constexpr size_t width = kGemmColumns<typename Step::Sum>;
    const auto* a = (const typename Step::Unit*)packed_a;
    const auto* b = (const typename Step::Unit*)packed_b;
    const size_t units = (k + Step::elements - 1) / Step::elements;
    const size_t tiles = (m + kGemmRows - 1) / kGemmRows;
    for (size_t t = 0; t < tiles; t++) {
        const size_t row = t * m / tiles, rows = (t + 1) * m / tiles - row;
        const auto* rows_a = a + row * units;
        auto* c = (typename Step::Sum*)out + (ptrdiff_t)row * c_stride;
        size_t j = 0;
        if (rows == 1)  // one panel has two sums: too few to hide the latency of fma
            for (; j + 4 * width <= n; j += 4 * width)
                tile<Step, 1, 4>(rows_a, b + j * units, units * width, c + j, c_stride, 4 * width,
                                 units, accumulate);
        for (; j < n; j += width)
            tile_of_rows<Step, kGemmRows>(rows, rows_a, b + j * units, c + j, c_stride,
                                          n - j < width ? n - j : width, units, accumulate);
    }
}

// sums (whole vectors) += a[0..R) B[0..R), n columns.
template <size_t R, class T>
FIRTH_INLINE void add_rows(const T* a, const T* b, ptrdiff_t b_stride, T* sums, size_t n) {
    constexpr size_t lanes = kLanes<T>;
    vector_of<T> factors[R];
#pragma GCC unroll 8
    for (size_t r = 0; r < R; r++) factors[r] = set1(a[r]);
    for (size_t j = 0; j < n; j += lanes) {
        vector_of<T> sum = load(sums + j);
#pragma GCC unroll 8
        for (size_t r = 0; r < R; r++) {
            const T* from = b + (ptrdiff_t)r * b_stride + j;
            sum = fma(factors[r], j + lanes <= n ? load(from) : load_partial(from, n - j), sum);
        }
        store(sums + j, sum);
    }
}

// c (+)= a B for a single row a, with B (k x n) as it lies: packing it would cost more than the
// product. Strips of columns, whose sums stay in L1 while the rows of B stream by. The order of the
// sums is that of `block`: the same bits.
template <class T>
FIRTH_INLINE void row(const T* a, const char* b_bytes, ptrdiff_t stride, T* c, size_t n, size_t k,
                      bool accumulate) {
    constexpr size_t strip = 16384 / sizeof(T), rows = 8;
    const T* b = (const T*)b_bytes;
    const ptrdiff_t b_stride = stride / (ptrdiff_t)sizeof(T);
    for (size_t j = 0; j < n; j += strip) {
        const size_t columns = n - j < strip ? n - j : strip;
        T sums[strip];
        memset(sums, 0, sizeof sums);
        size_t u = 0;
        for (; u + rows <= k; u += rows)
            add_rows<rows>(a + u, b + (ptrdiff_t)u * b_stride + j, b_stride, sums, columns);
        for (; u < k; u++)
            add_rows<1>(a + u, b + (ptrdiff_t)u * b_stride + j, b_stride, sums, columns);
        for (size_t i = 0; i < columns; i++) c[j + i] = accumulate ? sums[i] + c[j + i] : sums[i];
    }
}

#define FIRTH_BLOCK(name, Step) \
    void name(const void* a, const void* b, void* c, ptrdiff_t c_stride, size_t m, size_t n, \
              size_t k, bool accumulate) { \
        block<Step>(a, b, c, c_stride, m, n, k, accumulate); \
    }
FIRTH_BLOCK(gemm_multiply_f32, StepF32)
FIRTH_BLOCK(gemm_multiply_f64, StepF64)
FIRTH_BLOCK(gemm_multiply_bf16, StepBf16)

#define FIRTH_ROW(name, T) \
    void name(const void* a, const void* b, ptrdiff_t b_stride, void* c, size_t n, size_t k, \
              bool accumulate) { \
        row((const T*)a, (const char*)b, b_stride, (T*)c, n, k, accumulate); \
    }
FIRTH_ROW(gemm_row_f32, float)
FIRTH_ROW(gemm_row_f64, double)

}  // namespace firth::FIRTH_LEVEL
