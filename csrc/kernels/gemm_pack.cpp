// Packing for the matrix product: operands in the order in which the kernels of gemm.cpp, which
// describes the layouts, read them.
#include "../isa.h"
#include "list_gemm.h"

namespace firth::FIRTH_LEVEL {

namespace {

typedef int32_t i32x4 __attribute__((vector_size(16)));

}  // namespace

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
        if (r < rows && rows >= 4) {  // the last four again, some for the second time
            r = rows - 4;
            transpose4(src + (ptrdiff_t)r * stride + 4 * u, stride, dst + u * width + r, width);
            continue;
        }
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

namespace {

// The units of a matrix k x m whose rows run along M: unit u of column c.
struct UnitsF32 {
    const float* src;
    ptrdiff_t stride;
    size_t k;

    static size_t count(size_t k) { return k; }
    int32_t one(size_t u, size_t c) const {
        int32_t unit;
        memcpy(&unit, src + (ptrdiff_t)u * stride + c, 4);
        return unit;
    }
    f32xN vector(size_t u, size_t c) const { return load(src + (ptrdiff_t)u * stride + c); }
};
struct UnitsBf16 {  // pairs of neighbours along K, the last one half empty where k is odd
    const uint16_t* src;
    ptrdiff_t stride;
    size_t k;

    static size_t count(size_t k) { return (k + 1) / 2; }
    int32_t one(size_t u, size_t c) const {
        const uint16_t* even = src + 2 * (ptrdiff_t)u * stride + c;
        return (int32_t)(even[0] | (2 * u + 1 < k ? (uint32_t)even[stride] << 16 : 0));
    }
    f32xN vector(size_t u, size_t c) const {
        typedef uint16_t u16xN __attribute__((vector_size(FIRTH_VECTOR_BYTES / 2)));
        typedef uint32_t u32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
        const uint16_t* from = src + 2 * (ptrdiff_t)u * stride + c;
        u16xN even, odd = {};
        memcpy(&even, from, sizeof even);
        if (2 * u + 1 < k) memcpy(&odd, from + stride, sizeof odd);
        return (f32xN)(__builtin_convertvector(even, u32xN) | __builtin_convertvector(odd, u32xN)
                                                                  << 16);
    }
};

}  // namespace

// Tiles as of gemm_pack_a. Whole vectors are written although a row of a tile is shorter: what is
// too much falls into a neighbour that is written later. The last tile, whose loads would pass the
// end of a row of src, starts them so much earlier, and goes from the last unit to the first.
template <class Units>
FIRTH_INLINE void pack_a_transposed(const Units& from, int32_t* dst, size_t m) {
    const size_t tiles = (m + kGemmRows - 1) / kGemmRows, units = Units::count(from.k);
    for (size_t t = 0; t < tiles; t++) {
        const size_t row = t * m / tiles, rows = (t + 1) * m / tiles - row;
        const size_t width = (rows + kLanesF32 - 1) / kLanesF32 * kLanesF32, shift = width - rows;
        int32_t *tile = dst + row * units, *end = tile + rows * units;
        const bool forward = row + width <= m, backward = !forward && row + rows >= width;
        for (size_t i = 0; i < units; i++) {
            const size_t u = forward ? i : units - 1 - i;
            int32_t* to = tile + u * rows;
            if (forward && to + width <= end) {
                for (size_t r = 0; r < width; r += kLanesF32)
                    store((float*)to + r, from.vector(u, row + r));
            } else if (backward && u * rows >= shift) {
                for (size_t r = 0; r < width; r += kLanesF32)
                    store((float*)(to - shift) + r, from.vector(u, row - shift + r));
            } else {
                for (size_t r = 0; r < rows; r++) to[r] = from.one(u, row + r);
            }
        }
    }
}

// src: k x m (a left operand whose rows run along K: values, as attention has them), stride
// elements apart. dst: tiles as of gemm_pack_a.
void gemm_pack_a_transposed_f32(const float* src, ptrdiff_t stride, void* dst, size_t k, size_t m) {
    pack_a_transposed(UnitsF32{src, stride, k}, (int32_t*)dst, m);
}

void gemm_pack_a_transposed_bf16(const uint16_t* src, ptrdiff_t stride, void* dst, size_t k,
                                 size_t m) {
    pack_a_transposed(UnitsBf16{src, stride, k}, (int32_t*)dst, m);
}

}  // namespace firth::FIRTH_LEVEL
