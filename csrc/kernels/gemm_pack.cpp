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

#if FIRTH_VECTOR_BYTES == 64
// src: rows x units of 4 bytes, stride bytes apart, whole ones; dst: [unit][width] of at least
// `units` units; rows <= width. Zero above rows where width > 16. Registers of 16 units of 16 rows
// are transposed. Where a row of dst is shorter than a register, what is too much falls into the
// next one, which is written later.
FIRTH_INLINE void pack_registers(const char* src, ptrdiff_t stride, size_t rows, size_t units,
                                 int32_t* dst, size_t width) {
    constexpr size_t lanes = kLanesF32;
    for (size_t first = 0; first < width; first += lanes)
        for (size_t u = 0; u < units; u += lanes) {
            const size_t count = units - u < lanes ? units - u : lanes;
            f32xN v[lanes];
#pragma GCC unroll 16
            for (size_t r = 0; r < lanes; r++) {
                const float* from =
                    (const float*)(src + (ptrdiff_t)(first + r) * stride + sizeof(float) * u);
                v[r] = first + r >= rows ? set1(0.0f)
                       : count == lanes  ? load(from)
                                         : load_partial(from, count);
            }
            transpose(v, 0.0f);
            float* to = (float*)dst + u * width + first;
            const size_t room = width * (units - u) - first;
#pragma GCC unroll 16
            for (size_t i = 0; i < lanes; i++) {
                if (i >= count) break;
                if (i * width + lanes <= room)
                    store(to + i * width, v[i]);
                else
                    store_partial(to + i * width, v[i], width - first);
            }
        }
}
#endif

// src: rows x bytes, stride bytes apart; dst: [unit][width], rows <= width, the rest is zero.
template <class Unit>
FIRTH_INLINE void pack_rows(const char* src, ptrdiff_t stride, size_t rows, size_t bytes, Unit* dst,
                            size_t width) {
    constexpr size_t size = sizeof(Unit);
    const size_t whole = bytes / size, units = (bytes + size - 1) / size;
    size_t u = 0;
#if FIRTH_VECTOR_BYTES == 64
    if constexpr (size == 4) {
        pack_registers(src, stride, rows, whole, dst, width);
        u = whole;
    }
#endif
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

namespace {

// A matrix k x n whose rows run along N (B as it lies, the transpose of A): unit u of column c.
// `rows` packs one whose rows run along K: [unit][width], as pack_rows.
template <class T, class U>
struct UnitsWhole {  // units of one element
    typedef U Unit;
    typedef T Lane;
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

    FIRTH_INLINE void rows(const char* src, ptrdiff_t stride, size_t rows, size_t k, Unit* dst,
                           size_t width) {
        pack_rows(src, stride, rows, k * sizeof(T), dst, width);
    }
};

// Pairs of neighbours along K, the last one half empty where k is odd: bfloat16 as they are
// (uint16_t), bytes widened to 16 bits.
template <class T>
struct UnitsPairs {
    typedef int32_t Unit;
    typedef float Lane;
    const char* src;
    ptrdiff_t stride;
    size_t k;

    static size_t count(size_t k) { return (k + 1) / 2; }
    const T* at(size_t row, size_t c) const {
        return (const T*)(src + (ptrdiff_t)row * stride) + c;
    }
    Unit one(size_t u, size_t c) const {
        const uint32_t odd = 2 * u + 1 < k ? (uint32_t)*at(2 * u + 1, c) << 16 : 0;
        return (int32_t)(((uint32_t)*at(2 * u, c) & 0xffff) | odd);
    }
    f32xN vector(size_t u, size_t c) const {
        typedef T TxN __attribute__((vector_size(kLanesF32 * sizeof(T))));
        TxN even, odd = {};
        memcpy(&even, at(2 * u, c), sizeof even);
        if (2 * u + 1 < k) memcpy(&odd, at(2 * u + 1, c), sizeof odd);
        return (f32xN)((__builtin_convertvector(even, i32xN) & 0xffff) |
                       __builtin_convertvector(odd, i32xN) << 16);
    }

    FIRTH_INLINE void rows(const char* src, ptrdiff_t stride, size_t rows, size_t k, Unit* dst,
                           size_t width) {
        if constexpr (sizeof(T) == 2) {
            pack_rows(src, stride, rows, 2 * k, dst, width);
        } else {  // widened strip by strip
            constexpr size_t most = 2 * kLanesF32 > kGemmRows ? 2 * kLanesF32 : kGemmRows;
            constexpr size_t strip = 128;
            uint16_t wide[most][strip];
            for (size_t first = 0; first < k; first += strip) {
                const size_t n = k - first < strip ? k - first : strip;
                for (size_t r = 0; r < rows; r++) {
                    const T* from = (const T*)(src + (ptrdiff_t)r * stride) + first;
                    for (size_t i = 0; i < n; i++) wide[r][i] = (uint16_t)from[i];
                }
                pack_rows((const char*)wide, sizeof wide[0], rows, 2 * n, dst + first / 2 * width,
                          width);
            }
        }
    }
};

// Four neighbouring bytes along K, the last unit filled with zeros. FLIP: signed bytes become
// unsigned ones, 128 more.
template <bool FLIP>
struct UnitsQuads {
    typedef int32_t Unit;
    typedef float Lane;
    static constexpr uint32_t flip = FLIP ? 0x80808080u : 0;
    const char* src;
    ptrdiff_t stride;
    size_t k;

    static size_t count(size_t k) { return (k + 3) / 4; }
    const uint8_t* at(size_t row, size_t c) const {
        return (const uint8_t*)src + (ptrdiff_t)row * stride + c;
    }
    Unit one(size_t u, size_t c) const {
        uint32_t unit = 0;
        for (size_t i = 0; i < 4 && 4 * u + i < k; i++)
            unit |= (uint32_t)*at(4 * u + i, c) << (8 * i);
        return (int32_t)(unit ^ flip);
    }
    f32xN vector(size_t u, size_t c) const {
        typedef uint8_t u8xN __attribute__((vector_size(kLanesF32)));
        i32xN units = set1((int32_t)0);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            u8xN bytes = {};
            if (4 * u + i < k) memcpy(&bytes, at(4 * u + i, c), sizeof bytes);
            units |= __builtin_convertvector(bytes, i32xN) << (int32_t)(8 * i);
        }
        return (f32xN)(units ^ (int32_t)flip);
    }

    FIRTH_INLINE void rows(const char* src, ptrdiff_t stride, size_t rows, size_t k, Unit* dst,
                           size_t width) {
        pack_rows(src, stride, rows, k, dst, width);
        if constexpr (FLIP)
            for (size_t i = 0; i < count(k) * width; i++) dst[i] ^= (int32_t)flip;
    }
};

}  // namespace

// src: m rows of k elements, stride bytes apart. dst: tiles of at most kGemmRows rows, all of
// nearly the same height: tile t holds rows [t m / tiles, (t + 1) m / tiles), as [unit][row].
template <class Units>
FIRTH_INLINE void pack_a(const void* src, ptrdiff_t stride, void* dst, size_t m, size_t k) {
    const size_t tiles = (m + kGemmRows - 1) / kGemmRows, units = Units::count(k);
    for (size_t t = 0; t < tiles; t++) {
        const size_t row = t * m / tiles, rows = (t + 1) * m / tiles - row;
        Units::rows((const char*)src + (ptrdiff_t)row * stride, stride, rows, k,
                    (typename Units::Unit*)dst + row * units, rows);
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

// src: n rows (columns of B) of k elements, stride bytes apart. dst: panels [unit][columns], with
// zeros up to a multiple of STEP units.
template <class Units, size_t STEP>
FIRTH_INLINE void pack_b_transposed(const void* src, ptrdiff_t stride, void* dst, size_t n,
                                    size_t k) {
    constexpr size_t W = kGemmColumns<typename Units::Lane>;
    const size_t count = Units::count(k), units = (count + STEP - 1) / STEP * STEP;
    for (size_t j = 0; j < n; j += W) {
        auto* panel = (typename Units::Unit*)dst + j * units;
        Units::rows((const char*)src + (ptrdiff_t)j * stride, stride, n - j < W ? n - j : W, k,
                    panel, W);
        if (units > count) memset(panel + count * W, 0, (units - count) * W * sizeof *panel);
    }
}

// src: k x n, stride bytes apart. dst: as above. Unit by unit: a strip of columns would touch a new
// page with every step.
template <class Units, size_t STEP>
FIRTH_INLINE void pack_b(const Units& from, void* dst, size_t n) {
    typedef typename Units::Lane Lane;
    constexpr size_t lanes = kLanes<Lane>, W = kGemmColumns<Lane>;
    const size_t count = Units::count(from.k), units = (count + STEP - 1) / STEP * STEP;
    for (size_t u = 0; u < units; u++) {
        auto* to = (typename Units::Unit*)dst + u * W;
        size_t j = 0;
        for (; u < count && j + W <= n; j += W, to += units * W)
#pragma GCC unroll 4
            for (size_t c = 0; c < W; c += lanes) store((Lane*)(to + c), from.vector(u, j + c));
        for (; j < n; j += W, to += units * W)
            for (size_t c = 0; c < W; c++) to[c] = u < count && j + c < n ? from.one(u, j + c) : 0;
    }
}

// src: k x m (a left operand whose rows run along M: values, as attention has them). Tiles as of
// pack_a. Whole vectors are written although a row of a tile is shorter: what is too much falls
// into a neighbour that is written later. The last tile, whose loads would pass the end of a row of
// src, starts them so much earlier, and goes from the last unit to the first.
template <class Units>
FIRTH_INLINE void pack_a_transposed(const Units& from, void* dst, size_t m) {
    typedef typename Units::Lane Lane;
    constexpr size_t lanes = kLanes<Lane>;
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
                    store((Lane*)(to + r), from.vector(u, row + r));
            } else if (backward && u * rows >= shift) {
                for (size_t r = 0; r < width; r += lanes)
                    store((Lane*)(to - shift + r), from.vector(u, row - shift + r));
            } else {
                for (size_t r = 0; r < rows; r++) to[r] = from.one(u, row + r);
            }
        }
    }
}

// For each type: A (m x k) and its transpose, B (k x n) and its transpose; stride in bytes.
#define FIRTH_PACK_A(type, Units) \
    void gemm_pack_a_##type(const void* src, ptrdiff_t stride, void* dst, size_t m, size_t k) { \
        pack_a<Units>(src, stride, dst, m, k); \
    } \
    void gemm_pack_a_transposed_##type(const void* src, ptrdiff_t stride, void* dst, size_t m, \
                                       size_t k) { \
        pack_a_transposed(Units{(const char*)src, stride, k}, dst, m); \
    }
#define FIRTH_UNPACK_A(type, Element, Unit) \
    void gemm_unpack_a_##type(const void* src, void* dst, ptrdiff_t stride, size_t m, size_t k) { \
        unpack_a<Unit>((const char*)src, (char*)dst, stride, m, k, sizeof(Element)); \
    }
#define FIRTH_PACK_B(type, Units, STEP) \
    void gemm_pack_b_##type(const void* src, ptrdiff_t stride, void* dst, size_t n, size_t k) { \
        pack_b<Units, STEP>(Units{(const char*)src, stride, k}, dst, n); \
    } \
    void gemm_pack_b_transposed_##type(const void* src, ptrdiff_t stride, void* dst, size_t n, \
                                       size_t k) { \
        pack_b_transposed<Units, STEP>(src, stride, dst, n, k); \
    }

typedef UnitsWhole<float, int32_t> UnitsF32;
typedef UnitsWhole<double, int64_t> UnitsF64;
FIRTH_PACK_A(f32, UnitsF32)
FIRTH_UNPACK_A(f32, float, int32_t)
FIRTH_PACK_B(f32, UnitsF32, 1)
FIRTH_PACK_A(f64, UnitsF64)
FIRTH_UNPACK_A(f64, double, int64_t)
FIRTH_PACK_B(f64, UnitsF64, 1)

#if FIRTH_TILES  // A is packed by gemm_tiles.cpp; a panel of B is two tiles beside each other
FIRTH_PACK_B(bf16, UnitsPairs<uint16_t>, kTileUnits)
FIRTH_PACK_B(u8s8, UnitsQuads<false>, kTileUnits)
FIRTH_PACK_B(s8s8, UnitsQuads<false>, kTileUnits)
#else
FIRTH_PACK_A(bf16, UnitsPairs<uint16_t>)
FIRTH_UNPACK_A(bf16, uint16_t, int32_t)
FIRTH_PACK_B(bf16, UnitsPairs<uint16_t>, 1)
#if FIRTH_NATIVE_BYTES
FIRTH_PACK_A(u8s8, UnitsQuads<false>)
FIRTH_PACK_B(u8s8, UnitsQuads<kFlipU8S8>, 1)
FIRTH_PACK_A(s8s8, UnitsQuads<false>)
FIRTH_PACK_B(s8s8, UnitsQuads<kFlipS8S8>, 1)
#else
FIRTH_PACK_A(u8s8, UnitsPairs<uint8_t>)
FIRTH_PACK_B(u8s8, UnitsPairs<int8_t>, 1)
FIRTH_PACK_A(s8s8, UnitsPairs<int8_t>)
FIRTH_PACK_B(s8s8, UnitsPairs<int8_t>, 1)
#endif
#endif

}  // namespace firth::FIRTH_LEVEL
