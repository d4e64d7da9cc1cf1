// Packing for the matrix product: operands in the order in which the kernels of gemm.cpp, which
// describes the layouts, read them.
#include "../isa.h"
#include "list_gemm.h"

namespace firth::FIRTH_LEVEL {

// Transposes 4 rows of 4 units: out row u at out + u * width.
template <class Unit>
FIRTH_INLINE void transpose4(const char* rows, ptrdiff_t stride, Unit* out, size_t width) {
    typedef Unit UnitsX4 __attribute__((vector_size(4 * sizeof(Unit))));
    UnitsX4 a, b, c, d;
    memcpy(&a, rows, sizeof a);
    memcpy(&b, rows + stride, sizeof a);
    memcpy(&c, rows + 2 * stride, sizeof a);
    memcpy(&d, rows + 3 * stride, sizeof a);
    const UnitsX4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const UnitsX4 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const UnitsX4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const UnitsX4 cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    const UnitsX4 columns[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                                __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                                __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                                __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
    for (size_t u = 0; u < 4; u++) memcpy(out + u * width, &columns[u], sizeof a);
}

// src: rows x bytes, stride bytes apart; dst: [unit][width], rows <= width, the rest is zero.
template <class Unit>
FIRTH_INLINE void pack_rows(const char* src, ptrdiff_t stride, size_t rows, size_t bytes, Unit* dst,
                            size_t width) {
    constexpr size_t size = sizeof(Unit);
    const size_t whole = bytes / size, units = (bytes + size - 1) / size;
    size_t u = 0;
    for (; u + 4 <= whole; u += 4) {
        size_t r = 0;
        for (; r + 4 <= rows; r += 4)
            transpose4(src + (ptrdiff_t)r * stride + size * u, stride, dst + u * width + r, width);
        if (r < rows && rows >= 4) {  // the last four again, some for the second time
            r = rows - 4;
            transpose4(src + (ptrdiff_t)r * stride + size * u, stride, dst + u * width + r, width);
            continue;
        }
        for (; r < rows; r++)
            for (size_t i = 0; i < 4; i++)
                memcpy(dst + (u + i) * width + r, src + (ptrdiff_t)r * stride + size * (u + i),
                       size);
    }
    for (; u < units; u++)
        for (size_t r = 0; r < rows; r++) {
            Unit unit = 0;
            const char* from = src + (ptrdiff_t)r * stride + size * u;
            if (u < whole)
                memcpy(&unit, from, size);
            else
                for (size_t i = 0; i < bytes % size; i++) memcpy((char*)&unit + i, from + i, 1);
            dst[u * width + r] = unit;
        }
    if (rows < width)
        for (u = 0; u < units; u++)
            for (size_t r = rows; r < width; r++) dst[u * width + r] = 0;
}

// src: m rows of `bytes`, stride bytes apart. dst: tiles of at most kGemmRows rows, all of nearly
// the same height: tile t holds rows [t m / tiles, (t + 1) m / tiles), as [unit][row].
template <class Unit>
FIRTH_INLINE void pack_a(const void* src, ptrdiff_t stride, void* dst, size_t m, size_t bytes) {
    const size_t tiles = (m + kGemmRows - 1) / kGemmRows;
    const size_t units = (bytes + sizeof(Unit) - 1) / sizeof(Unit);
    for (size_t t = 0; t < tiles; t++) {
        const size_t row = t * m / tiles, rows = (t + 1) * m / tiles - row;
        pack_rows((const char*)src + (ptrdiff_t)row * stride, stride, rows, bytes,
                  (Unit*)dst + row * units, rows);
    }
}

// The inverse of pack_a, for elements of `size` bytes. dst: m rows of k elements, stride apart.
template <class Unit>
FIRTH_INLINE void unpack_a(const char* src, char* dst, ptrdiff_t stride, size_t m, size_t k,
                           size_t size) {
    const size_t tiles = (m + kGemmRows - 1) / kGemmRows;
    const size_t units = (k * size + sizeof(Unit) - 1) / sizeof(Unit);
    for (size_t t = 0; t < tiles; t++) {
        const size_t row = t * m / tiles, rows = (t + 1) * m / tiles - row;
        const char* tile = src + row * units * sizeof(Unit);
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < k * size; i += size)
                memcpy(dst + (ptrdiff_t)(row + r) * stride + i,
                       tile + (i / sizeof(Unit) * rows + r) * sizeof(Unit) + i % sizeof(Unit),
                       size);
    }
}

// src: n rows (columns of B) of `bytes`, stride bytes apart. dst: panels [unit][W].
template <class Unit, size_t W>
FIRTH_INLINE void pack_b_transposed(const void* src, ptrdiff_t stride, void* dst, size_t n,
                                    size_t bytes) {
    const size_t units = (bytes + sizeof(Unit) - 1) / sizeof(Unit);
    for (size_t j = 0; j < n; j += W)
        pack_rows((const char*)src + (ptrdiff_t)j * stride, stride, n - j < W ? n - j : W, bytes,
                  (Unit*)dst + j * units, W);
}

// src: k x n, stride bytes apart. dst: panels [k][W]. Row by row: a strip of columns would touch a
// new page with every step.
template <class T>
FIRTH_INLINE void pack_b(const char* src, ptrdiff_t stride, void* dst, size_t n, size_t k) {
    constexpr size_t W = kGemmColumns<T>;
    for (size_t i = 0; i < k; i++) {
        const T* from = (const T*)(src + (ptrdiff_t)i * stride);
        T* to = (T*)dst + i * W;
        size_t j = 0;
        for (; j + W <= n; j += W, to += k * W) memcpy(to, from + j, W * sizeof(T));
        if (j < n)
            for (size_t c = 0; c < W; c++) to[c] = j + c < n ? from[j + c] : 0;
    }
}

// src: k x n bfloat16, stride bytes apart. dst: panels [k/2][W][2].
FIRTH_INLINE void pack_b_pairs(const char* src, ptrdiff_t stride, void* dst, size_t n, size_t k) {
    constexpr size_t W = kGemmColumns<float>;
    const size_t panel = (k + 1) / 2 * 2 * W;
    for (size_t i = 0; i < k; i += 2) {
        const uint16_t* even = (const uint16_t*)(src + (ptrdiff_t)i * stride);
        const uint16_t* odd =
            i + 1 < k ? (const uint16_t*)(src + (ptrdiff_t)(i + 1) * stride) : even;
        const uint16_t keep = i + 1 < k ? 0xffff : 0;  // odd K: the last pair is half empty
        uint16_t* to = (uint16_t*)dst + i * W;
        size_t j = 0;
        for (; j + W <= n; j += W, to += panel)
            for (size_t c = 0; c < W; c++) {  // a constant count: unpack instructions
                to[2 * c] = even[j + c];
                to[2 * c + 1] = odd[j + c] & keep;
            }
        if (j < n)
            for (size_t c = 0; c < W; c++) {
                to[2 * c] = j + c < n ? even[j + c] : 0;
                to[2 * c + 1] = j + c < n ? odd[j + c] & keep : 0;
            }
    }
}

namespace {

// The units of a matrix k x m whose rows run along M: unit u of column c.
template <class T, class U>
struct UnitsWhole {
    typedef U Unit;
    typedef T Sum;
    const char* src;
    ptrdiff_t stride;
    size_t k;

    static size_t count(size_t k) { return k; }
    const T* at(size_t u, size_t c) const { return (const T*)(src + (ptrdiff_t)u * stride) + c; }
    Unit one(size_t u, size_t c) const {
        Unit unit;
        memcpy(&unit, at(u, c), sizeof unit);
        return unit;
    }
    vector_of<T> vector(size_t u, size_t c) const { return load(at(u, c)); }
};
struct UnitsBf16 {  // pairs of neighbours along K, the last one half empty where k is odd
    typedef int32_t Unit;
    typedef float Sum;
    const char* src;
    ptrdiff_t stride;
    size_t k;

    static size_t count(size_t k) { return (k + 1) / 2; }
    const uint16_t* at(size_t row, size_t c) const {
        return (const uint16_t*)(src + (ptrdiff_t)row * stride) + c;
    }
    Unit one(size_t u, size_t c) const {
        return (int32_t)(*at(2 * u, c) | (2 * u + 1 < k ? (uint32_t)*at(2 * u + 1, c) << 16 : 0));
    }
    f32xN vector(size_t u, size_t c) const {
        typedef uint16_t u16xN __attribute__((vector_size(FIRTH_VECTOR_BYTES / 2)));
        typedef uint32_t u32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
        u16xN even, odd = {};
        memcpy(&even, at(2 * u, c), sizeof even);
        if (2 * u + 1 < k) memcpy(&odd, at(2 * u + 1, c), sizeof odd);
        return (f32xN)(__builtin_convertvector(even, u32xN) | __builtin_convertvector(odd, u32xN)
                                                                  << 16);
    }
};

}  // namespace

// src: k x m (a left operand whose rows run along K: values, as attention has them). Tiles as of
// pack_a. Whole vectors are written although a row of a tile is shorter: what is too much falls
// into a neighbour that is written later. The last tile, whose loads would pass the end of a row of
// src, starts them so much earlier, and goes from the last unit to the first.
template <class Units>
FIRTH_INLINE void pack_a_transposed(const Units& from, void* dst, size_t m) {
    typedef typename Units::Sum Sum;
    constexpr size_t lanes = kLanes<Sum>;
    const size_t tiles = (m + kGemmRows - 1) / kGemmRows, units = Units::count(from.k);
    for (size_t t = 0; t < tiles; t++) {
        const size_t row = t * m / tiles, rows = (t + 1) * m / tiles - row;
        const size_t width = (rows + lanes - 1) / lanes * lanes, shift = width - rows;
        auto *tile = (typename Units::Unit*)dst + row * units, *end = tile + rows * units;
        const bool forward = row + width <= m, backward = !forward && row + rows >= width;
        for (size_t i = 0; i < units; i++) {
            const size_t u = forward ? i : units - 1 - i;
            auto* to = tile + u * rows;
            if (forward && to + width <= end) {
                for (size_t r = 0; r < width; r += lanes)
                    store((Sum*)(to + r), from.vector(u, row + r));
            } else if (backward && u * rows >= shift) {
                for (size_t r = 0; r < width; r += lanes)
                    store((Sum*)(to - shift + r), from.vector(u, row - shift + r));
            } else {
                for (size_t r = 0; r < rows; r++) to[r] = from.one(u, row + r);
            }
        }
    }
}

// For each type: A (m x k) and its transpose, B (k x n) and its transpose; stride in bytes.
#define FIRTH_PACK(T, Element, Unit, Sum, Units, b) \
    void gemm_pack_a_##T(const void* src, ptrdiff_t stride, void* dst, size_t m, size_t k) { \
        pack_a<Unit>(src, stride, dst, m, k * sizeof(Element)); \
    } \
    void gemm_pack_a_transposed_##T(const void* src, ptrdiff_t stride, void* dst, size_t m, \
                                    size_t k) { \
        pack_a_transposed(Units{(const char*)src, stride, k}, dst, m); \
    } \
    void gemm_unpack_a_##T(const void* src, void* dst, ptrdiff_t stride, size_t m, size_t k) { \
        unpack_a<Unit>((const char*)src, (char*)dst, stride, m, k, sizeof(Element)); \
    } \
    void gemm_pack_b_##T(const void* src, ptrdiff_t stride, void* dst, size_t n, size_t k) { \
        b((const char*)src, stride, dst, n, k); \
    } \
    void gemm_pack_b_transposed_##T(const void* src, ptrdiff_t stride, void* dst, size_t n, \
                                    size_t k) { \
        pack_b_transposed<Unit, kGemmColumns<Sum>>(src, stride, dst, n, k * sizeof(Element)); \
    }
typedef UnitsWhole<float, int32_t> UnitsF32;
typedef UnitsWhole<double, int64_t> UnitsF64;
FIRTH_PACK(f32, float, int32_t, float, UnitsF32, pack_b<float>)
FIRTH_PACK(f64, double, int64_t, double, UnitsF64, pack_b<double>)
FIRTH_PACK(bf16, uint16_t, int32_t, float, UnitsBf16, pack_b_pairs)

}  // namespace firth::FIRTH_LEVEL
