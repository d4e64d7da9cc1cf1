// The inner part of the packed matrix product: packing, and a block of C from packed operands.
//
// Packed operands are made of 32-bit units: one float32, or two neighbours along K in bfloat16
// (four in 8-bit types). A tile of A is stored [unit][row], a panel of B [unit][column], so that
// one step of the inner loop broadcasts a unit of A and loads kGemmColumns units of B.
//
// Every element of C is summed in the order of K, in one register, whatever the tile around it: the
// bits do not depend on how M and N are cut.
#include "../isa.h"
#include "../kernels.h"

namespace firth::FIRTH_LEVEL {

namespace {

typedef int32_t i32x4 __attribute__((vector_size(16)));

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

void gemm_f32(const void* a, const void* b, float* c, ptrdiff_t c_stride, size_t m, size_t n,
              size_t k, bool accumulate) {
    block<StepF32>((const int32_t*)a, (const int32_t*)b, c, c_stride, m, n, k, accumulate);
}

void gemm_bf16(const void* a, const void* b, float* c, ptrdiff_t c_stride, size_t m, size_t n,
               size_t k, bool accumulate) {
    block<StepBf16>((const int32_t*)a, (const int32_t*)b, c, c_stride, m, n, k, accumulate);
}

// Transposes 4 rows of 4 units: out row u at out + u * width.
FIRTH_INLINE void transpose4(const char* rows, ptrdiff_t stride, int32_t* out, size_t width) {
    i32x4 a, b, c, d;
    memcpy(&a, rows, 16);
    memcpy(&b, rows + stride, 16);
    memcpy(&c, rows + 2 * stride, 16);
    memcpy(&d, rows + 3 * stride, 16);
    const i32x4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const i32x4 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const i32x4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const i32x4 cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    const i32x4 columns[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                              __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                              __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                              __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
    for (size_t u = 0; u < 4; u++) memcpy(out + u * width, &columns[u], 16);
}

// src: rows x bytes, stride bytes apart; dst: [unit][width], rows <= width, the rest is zero.
FIRTH_INLINE void pack_rows(const char* src, ptrdiff_t stride, size_t rows, size_t bytes,
                            int32_t* dst, size_t width) {
    const size_t whole = bytes / 4, units = (bytes + 3) / 4;
    size_t u = 0;
    for (; u + 4 <= whole; u += 4) {
        size_t r = 0;
        for (; r + 4 <= rows; r += 4)
            transpose4(src + (ptrdiff_t)r * stride + 4 * u, stride, dst + u * width + r, width);
        for (; r < rows; r++)
            for (size_t i = 0; i < 4; i++)
                memcpy(dst + (u + i) * width + r, src + (ptrdiff_t)r * stride + 4 * (u + i), 4);
    }
    for (; u < units; u++)
        for (size_t r = 0; r < rows; r++) {
            int32_t unit = 0;
            const char* from = src + (ptrdiff_t)r * stride + 4 * u;
            if (u < whole)
                memcpy(&unit, from, 4);
            else
                for (size_t i = 0; i < bytes % 4; i++) memcpy((char*)&unit + i, from + i, 1);
            dst[u * width + r] = unit;
        }
    if (rows < width)
        for (u = 0; u < units; u++)
            for (size_t r = rows; r < width; r++) dst[u * width + r] = 0;
}

// src: m rows of `bytes`, stride bytes apart. dst: tiles of at most kGemmRows rows, all of nearly
// the same height: tile t holds rows [t m / tiles, (t + 1) m / tiles), as [unit][row].
void gemm_pack_a(const void* src, ptrdiff_t stride, void* dst, size_t m, size_t bytes) {
    const size_t tiles = (m + kGemmRows - 1) / kGemmRows, units = (bytes + 3) / 4;
    for (size_t t = 0; t < tiles; t++) {
        const size_t row = t * m / tiles, rows = (t + 1) * m / tiles - row;
        pack_rows((const char*)src + (ptrdiff_t)row * stride, stride, rows, bytes,
                  (int32_t*)dst + row * units, rows);
    }
}

// src: n rows (columns of B) of `bytes`, stride bytes apart. dst: panels [unit][kGemmColumns].
void gemm_pack_b_transposed(const void* src, ptrdiff_t stride, void* dst, size_t n, size_t bytes) {
    for (size_t j = 0; j < n; j += kGemmColumns)
        pack_rows((const char*)src + (ptrdiff_t)j * stride, stride,
                  n - j < kGemmColumns ? n - j : kGemmColumns, bytes,
                  (int32_t*)dst + j * ((bytes + 3) / 4), kGemmColumns);
}

// src: k x n, stride elements apart. dst: panels [k][kGemmColumns]. Row by row: a strip of columns
// would touch a new page with every step.
void gemm_pack_b_f32(const float* src, ptrdiff_t stride, void* dst, size_t k, size_t n) {
    for (size_t i = 0; i < k; i++) {
        const float* from = src + (ptrdiff_t)i * stride;
        float* to = (float*)dst + i * kGemmColumns;
        size_t j = 0;
        for (; j + kGemmColumns <= n; j += kGemmColumns, to += k * kGemmColumns)
            memcpy(to, from + j, kGemmColumns * sizeof(float));
        if (j < n)
            for (size_t c = 0; c < kGemmColumns; c++) to[c] = j + c < n ? from[j + c] : 0;
    }
}

// src: k x n bfloat16, stride elements apart. dst: panels [k/2][kGemmColumns][2].
void gemm_pack_b_bf16(const uint16_t* src, ptrdiff_t stride, void* dst, size_t k, size_t n) {
    const size_t panel = (k + 1) / 2 * 2 * kGemmColumns;
    for (size_t i = 0; i < k; i += 2) {
        const uint16_t* even = src + (ptrdiff_t)i * stride;
        const uint16_t* odd = i + 1 < k ? even + stride : even;
        const uint16_t keep = i + 1 < k ? 0xffff : 0;  // odd K: the last pair is half empty
        uint16_t* to = (uint16_t*)dst + i * kGemmColumns;
        size_t j = 0;
        for (; j + kGemmColumns <= n; j += kGemmColumns, to += panel)
            for (size_t c = 0; c < kGemmColumns; c++) {  // a constant count: unpack instructions
                to[2 * c] = even[j + c];
                to[2 * c + 1] = odd[j + c] & keep;
            }
        if (j < n)
            for (size_t c = 0; c < kGemmColumns; c++) {
                to[2 * c] = j + c < n ? even[j + c] : 0;
                to[2 * c + 1] = j + c < n ? odd[j + c] & keep : 0;
            }
    }
}

}  // namespace firth::FIRTH_LEVEL
