// The inner part of the packed matrix product: a block of C from operands packed by gemm_pack.cpp.
//
// Packed operands are made of 32-bit units: one float32, or two neighbours along K in bfloat16
// (four in 8-bit types). A tile of A is stored [unit][row], a panel of B [unit][column], so that
// one step of the inner loop broadcasts a unit of A and loads kGemmColumns units of B.
//
// Every element of C is summed in the order of K, in one register, whatever the tile around it: the
// bits do not depend on how M and N are cut.
#include "../isa.h"
#include "list_gemm.h"

namespace firth::FIRTH_LEVEL {

namespace {

// One step along K for one register of C: a, b one unit a lane.
struct StepF32 {
    static constexpr size_t elements = 1;
    FIRTH_INLINE f32xN apply(i32xN a, i32xN b, f32xN c) { return fma((f32xN)a, (f32xN)b, c); }
};
struct StepBf16 {
    static constexpr size_t elements = 2;
    FIRTH_INLINE f32xN apply(i32xN a, i32xN b, f32xN c) { return dot_bf16(a, b, c); }
};

}  // namespace

// a: units x R packed; b: PANELS panels of units x kGemmColumns, panel_stride units apart;
// c: R x n, n <= PANELS * kGemmColumns.
template <class Step, size_t R, size_t PANELS>
FIRTH_INLINE void tile(const int32_t* a, const int32_t* b, size_t panel_stride, float* c,
                       ptrdiff_t c_stride, size_t n, size_t units, bool accumulate) {
    constexpr size_t V = 2 * PANELS;  // registers a row
    f32xN sums[R][V];
#pragma GCC unroll 16
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
        for (size_t v = 0; v < V; v++) sums[r][v] = set1(0.0f);
    for (size_t u = 0; u < units; u++) {
        i32xN columns[V];
#pragma GCC unroll 8
        for (size_t v = 0; v < V; v++)
            columns[v] = load(b + (v / 2) * panel_stride + (v % 2) * kLanesF32);
#pragma GCC unroll 16
        for (size_t r = 0; r < R; r++) {
            const i32xN row = set1(a[r]);
#pragma GCC unroll 8
            for (size_t v = 0; v < V; v++) sums[r][v] = Step::apply(row, columns[v], sums[r][v]);
        }
        a += R;
        b += kGemmColumns;
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < R; r++) {
        float* out = c + (ptrdiff_t)r * c_stride;
#pragma GCC unroll 8
        for (size_t v = 0; v < V; v++) {
            const size_t first = v * kLanesF32;
            if (first + kLanesF32 <= n) {
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
FIRTH_INLINE void tile_of_rows(size_t rows, const int32_t* a, const int32_t* b, float* c,
                               ptrdiff_t c_stride, size_t n, size_t units, bool accumulate) {
    if constexpr (R > 1)
        if (rows < R)
            return tile_of_rows<Step, R - 1>(rows, a, b, c, c_stride, n, units, accumulate);
    tile<Step, R, 1>(a, b, 0, c, c_stride, n, units, accumulate);
}

// a: packed by gemm_pack_a, m rows; b: packed panels that cover n columns; c: m x n.
template <class Step>
FIRTH_INLINE void block(const int32_t* a, const int32_t* b, float* c, ptrdiff_t c_stride, size_t m,
                        size_t n, size_t k, bool accumulate) {
    const size_t units = (k + Step::elements - 1) / Step::elements;
    const size_t tiles = (m + kGemmRows - 1) / kGemmRows;
    for (size_t t = 0; t < tiles; t++) {
        const size_t row = t * m / tiles, rows = (t + 1) * m / tiles - row;
        const int32_t* rows_a = a + row * units;
        float* out = c + (ptrdiff_t)row * c_stride;
        size_t j = 0;
        if (rows == 1)  // one panel has two sums: too few to hide the latency of fma
            for (; j + 4 * kGemmColumns <= n; j += 4 * kGemmColumns)
                tile<Step, 1, 4>(rows_a, b + j * units, units * kGemmColumns, out + j, c_stride,
                                 4 * kGemmColumns, units, accumulate);
        for (; j < n; j += kGemmColumns) {
            const size_t columns = n - j < kGemmColumns ? n - j : kGemmColumns;
            tile_of_rows<Step, kGemmRows>(rows, rows_a, b + j * units, out + j, c_stride, columns,
                                          units, accumulate);
        }
    }
}

// sums (whole vectors) += a[0..R) B[0..R), n columns.
template <size_t R>
FIRTH_INLINE void add_rows(const float* a, const float* b, ptrdiff_t b_stride, float* sums,
                           size_t n) {
    f32xN factors[R];
#pragma GCC unroll 8
    for (size_t r = 0; r < R; r++) factors[r] = set1(a[r]);
    for (size_t j = 0; j < n; j += kLanesF32) {
        f32xN sum = load(sums + j);
#pragma GCC unroll 8
        for (size_t r = 0; r < R; r++) {
            const float* from = b + (ptrdiff_t)r * b_stride + j;
            sum = fma(factors[r], j + kLanesF32 <= n ? load(from) : load_partial(from, n - j), sum);
        }
        store(sums + j, sum);
    }
}

// c (+)= a B for a single row a, with B (k x n) as it lies: packing it would cost more than the
// product. Strips of columns, whose sums stay in L1 while the rows of B stream by. The order of the
// sums is that of `block`: the same bits.
void gemm_row_f32(const float* a, const float* b, ptrdiff_t b_stride, float* c, size_t n, size_t k,
                  bool accumulate) {
    constexpr size_t strip = 4096, rows = 8;
    for (size_t j = 0; j < n; j += strip) {
        const size_t columns = n - j < strip ? n - j : strip;
        float sums[strip];
        memset(sums, 0, sizeof sums);
        size_t u = 0;
        for (; u + rows <= k; u += rows)
            add_rows<rows>(a + u, b + (ptrdiff_t)u * b_stride + j, b_stride, sums, columns);
        for (; u < k; u++)
            add_rows<1>(a + u, b + (ptrdiff_t)u * b_stride + j, b_stride, sums, columns);
        for (size_t i = 0; i < columns; i++) c[j + i] = accumulate ? sums[i] + c[j + i] : sums[i];
    }
}

void gemm_f32(const void* a, const void* b, float* c, ptrdiff_t c_stride, size_t m, size_t n,
              size_t k, bool accumulate) {
    block<StepF32>((const int32_t*)a, (const int32_t*)b, c, c_stride, m, n, k, accumulate);
}

void gemm_bf16(const void* a, const void* b, float* c, ptrdiff_t c_stride, size_t m, size_t n,
               size_t k, bool accumulate) {
    block<StepBf16>((const int32_t*)a, (const int32_t*)b, c, c_stride, m, n, k, accumulate);
}

}  // namespace firth::FIRTH_LEVEL
