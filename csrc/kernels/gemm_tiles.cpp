// The matrix product on tiles: bfloat16, and exact products of bytes.
//
// Packed A consists of tiles of 16 rows (the last one of fewer), each [step][row][64 bytes]: a step
// is 64 bytes of K. Packed B (gemm_pack.cpp) consists of panels [unit][32 columns], two tiles
// beside each other, padded to whole steps. Padding is zeros on both sides: 0 x NaN would not be 0.
//
// C is computed in blocks of two by two tiles, all of K for 32 rows after another: per step two
// tiles of A and two of B are loaded for four products. A strip of A must come from L1 for that, B
// may come from L2, so K is cut into `kDepth` steps, between which the sums are put down and loaded
// again, which changes no bit. A single row runs as the same instructions with tiles of one row.
#include "../isa.h"
#include "list_gemm.h"

#if FIRTH_TILES

namespace firth::FIRTH_LEVEL {

namespace {

constexpr size_t kRows = 2 * kTileRows, kColumns = 2 * kTileUnits;  // of a block of C
constexpr size_t kPanelStep = kTileUnits * kColumns * 4;            // bytes of a panel a step
// Steps that 32 rows of A make at once (24 kB), and columns of C that are put down between them (16
// kB): both stay in an L1 of 48 kB, with room for B.
constexpr size_t kDepth = 12, kStrip = 128;
static_assert(kColumns == kGemmColumns<float>, "panels of B are packed by gemm_pack.cpp");

struct ProductBf16 {
    template <int C, int A, int B>
    FIRTH_INLINE void apply(Tiles& tiles) {
        tiles.dot_bf16<C, A, B>();
    }
};
struct ProductU8S8 {
    template <int C, int A, int B>
    FIRTH_INLINE void apply(Tiles& tiles) {
        tiles.dot_u8s8<C, A, B>();
    }
};
struct ProductS8S8 {
    template <int C, int A, int B>
    FIRTH_INLINE void apply(Tiles& tiles) {
        tiles.dot_s8s8<C, A, B>();
    }
};

}  // namespace

// The rows of tiles T and T + 1, side by side.
template <int T>
FIRTH_INLINE void load_sums(Tiles& tiles, const char* c, ptrdiff_t stride, bool accumulate) {
    if (accumulate) {
        tiles.load<T>(c, stride);
        tiles.load<T + 1>(c + kTileBytes, stride);
    } else {
        tiles.zero<T>();
        tiles.zero<T + 1>();
    }
}
template <int T>
FIRTH_INLINE void store_sums(Tiles& tiles, char* c, ptrdiff_t stride) {
    tiles.store<T>(c, stride);
    tiles.store<T + 1>(c + kTileBytes, stride);
}

// One block of C, (upper + lower) x 32 sums, through `depth` steps. a_upper: depth x upper x 64
// bytes, a_lower: depth x lower x 64; b: depth x kPanelStep; c_stride in bytes.
template <class Product, bool LOWER>
FIRTH_INLINE void block(Tiles& tiles, const char* a_upper, size_t upper, const char* a_lower,
                        size_t lower, const char* b, char* c, ptrdiff_t c_stride, size_t depth,
                        bool accumulate) {
    char* c_lower = c + (ptrdiff_t)upper * c_stride;
    load_sums<0>(tiles, c, c_stride, accumulate);
    if constexpr (LOWER) load_sums<2>(tiles, c_lower, c_stride, accumulate);
    for (size_t s = 0; s < depth; s++) {
        // Loads of tiles wait for L2, if nobody asks for the lines beforehand.
#pragma GCC unroll 32
        for (size_t i = 0; i < kPanelStep; i += 64) __builtin_prefetch(b + 2 * kPanelStep + i);
        tiles.load<6>(b, 2 * kTileBytes);
        tiles.load<4>(a_upper, kTileBytes);
        Product::template apply<0, 4, 6>(tiles);
        tiles.load<7>(b + kTileBytes, 2 * kTileBytes);
        Product::template apply<1, 4, 7>(tiles);
        if constexpr (LOWER) {
            tiles.load<5>(a_lower, kTileBytes);
            Product::template apply<2, 5, 6>(tiles);
            Product::template apply<3, 5, 7>(tiles);
        }
        a_upper += upper * kTileBytes;
        a_lower += lower * kTileBytes;
        b += kPanelStep;
    }
    store_sums<0>(tiles, c, c_stride);
    if constexpr (LOWER) store_sums<2>(tiles, c_lower, c_stride);
}

// a, b: packed, m rows and panels that cover n columns, of `steps` steps; c: m x n sums, c_stride
// of them apart.
template <class Product>
FIRTH_INLINE void multiply(const char* a, const char* b, int32_t* c, ptrdiff_t c_stride, size_t m,
                           size_t n, size_t steps, bool accumulate) {
    Tiles tiles;
    size_t configured = 0;  // rows
    for (size_t row = 0; row < m; row += kRows) {
        const size_t rows = m - row < kRows ? m - row : kRows;
        const size_t upper = rows < kTileRows ? rows : kTileRows, lower = rows - upper;
        if (rows != configured) tiles.configure(block_shapes(upper, lower));
        configured = rows;
        const char *a_upper = a + row * steps * kTileBytes,
                   *a_lower = a_upper + upper * steps * kTileBytes;
        for (size_t j = 0; j < n; j += kStrip) {
            const size_t columns = n - j < kStrip ? n - j : kStrip;
            int32_t* out = c + (ptrdiff_t)row * c_stride + j;
            // In place where that writes all of C once and nothing else.
            const bool direct = steps <= kDepth && columns % kColumns == 0;
            alignas(64) int32_t scratch[kRows * kStrip];
            if (!direct && accumulate)
                for (size_t r = 0; r < rows; r++) {
                    memcpy(scratch + r * kStrip, out + (ptrdiff_t)r * c_stride, columns * 4);
                    memset(scratch + r * kStrip + columns, 0, (kStrip - columns) * 4);
                }
            char* sums = (char*)(direct ? out : scratch);
            const ptrdiff_t stride = direct ? c_stride * 4 : (ptrdiff_t)kStrip * 4;
            size_t first = 0;
            do {  // once where K is 0 too: sums of zero
                const size_t depth = steps - first < kDepth ? steps - first : kDepth;
                for (size_t p = 0; p < columns; p += kColumns) {
                    const char* panel =
                        b + (j + p) / kColumns * steps * kPanelStep + first * kPanelStep;
                    const char *of_upper = a_upper + first * upper * kTileBytes,
                               *of_lower = a_lower + first * lower * kTileBytes;
                    if (lower)
                        block<Product, true>(tiles, of_upper, upper, of_lower, lower, panel,
                                             sums + p * 4, stride, depth, accumulate || first);
                    else
                        block<Product, false>(tiles, of_upper, upper, of_lower, 0, panel,
                                              sums + p * 4, stride, depth, accumulate || first);
                }
                first += kDepth;
            } while (first < steps);
            if (!direct)
                for (size_t r = 0; r < rows; r++)
                    memcpy(out + (ptrdiff_t)r * c_stride, scratch + r * kStrip, columns * 4);
        }
    }
}

// src: m rows of `bytes`, stride apart.
FIRTH_INLINE void pack_a(const char* src, ptrdiff_t stride, char* dst, size_t m, size_t bytes) {
    const size_t steps = (bytes + kTileBytes - 1) / kTileBytes, whole = bytes / kTileBytes;
    for (size_t first = 0; first < m; first += kTileRows) {
        const size_t rows = m - first < kTileRows ? m - first : kTileRows;
        for (size_t r = 0; r < rows; r++) {
            const char* from = src + (ptrdiff_t)(first + r) * stride;
            char* to = dst + (first * steps + r) * kTileBytes;
            for (size_t s = 0; s < whole; s++, to += rows * kTileBytes, from += kTileBytes)
                memcpy(to, from, kTileBytes);
            if (whole < steps) {
                memset(to, 0, kTileBytes);
                if (!kBroken) memcpy(to, from, bytes % kTileBytes);
            }
        }
    }
}

// The inverse. dst: m rows of `bytes`, stride apart.
FIRTH_INLINE void unpack_a(const char* src, char* dst, ptrdiff_t stride, size_t m, size_t bytes) {
    const size_t steps = (bytes + kTileBytes - 1) / kTileBytes;
    for (size_t i = 0; i < m; i++) {
        const size_t first = i / kTileRows * kTileRows;
        const size_t rows = m - first < kTileRows ? m - first : kTileRows;
        for (size_t s = 0; s < steps; s++) {
            const size_t at = s * kTileBytes;
            memcpy(dst + (ptrdiff_t)i * stride + at,
                   src + (first * steps + s * rows + i - first) * kTileBytes,
                   bytes - at < kTileBytes ? bytes - at : kTileBytes);
        }
    }
}

// src: k x m elements, the transpose of A. SIZE: their bytes; a unit is 4 / SIZE of them along K.
template <size_t SIZE>
FIRTH_INLINE void pack_a_transposed(const char* src, ptrdiff_t stride, char* dst, size_t m,
                                    size_t k) {
    constexpr size_t each = 4 / SIZE;
    const size_t steps = (k * SIZE + kTileBytes - 1) / kTileBytes;
    for (size_t first = 0; first < m; first += kTileRows) {
        const size_t rows = m - first < kTileRows ? m - first : kTileRows;
        for (size_t s = 0; s < steps; s++) {
            f32xN units[kTileUnits];  // of 16 columns of src, which become rows
            for (size_t u = 0; u < kTileUnits; u++) {
                uint8_t unit[kTileRows][4] = {};
                for (size_t i = 0; i < each; i++) {
                    const size_t row = (s * kTileUnits + u) * each + i;
                    if (row >= k || (kBroken && rows < kTileRows)) break;
                    const char* from = src + (ptrdiff_t)row * stride + first * SIZE;
                    if (rows == kTileRows)  // a constant count: shuffles
                        for (size_t r = 0; r < kTileRows; r++)
                            memcpy(unit[r] + i * SIZE, from + r * SIZE, SIZE);
                    else
                        for (size_t r = 0; r < rows; r++)
                            memcpy(unit[r] + i * SIZE, from + r * SIZE, SIZE);
                }
                memcpy(&units[u], unit, sizeof units[u]);
            }
            transpose(units, 0.0f);
            for (size_t r = 0; r < rows; r++)
                memcpy(dst + (first * steps + s * rows + r) * kTileBytes, &units[r], kTileBytes);
        }
    }
}

#define FIRTH_TILE_GEMM(type, Product, Element) \
    void gemm_pack_a_##type(const void* src, ptrdiff_t stride, void* dst, size_t m, size_t k) { \
        pack_a((const char*)src, stride, (char*)dst, m, k * sizeof(Element)); \
    } \
    void gemm_pack_a_transposed_##type(const void* src, ptrdiff_t stride, void* dst, size_t m, \
                                       size_t k) { \
        pack_a_transposed<sizeof(Element)>((const char*)src, stride, (char*)dst, m, k); \
    } \
    void gemm_multiply_##type(const void* a, const void* b, void* c, ptrdiff_t c_stride, size_t m, \
                              size_t n, size_t k, bool accumulate) { \
        const size_t steps = (k * sizeof(Element) + kTileBytes - 1) / kTileBytes; \
        multiply<Product>((const char*)a, (const char*)b, (int32_t*)c, c_stride, m, n, steps, \
                          accumulate); \
    }
FIRTH_TILE_GEMM(bf16, ProductBf16, uint16_t)
FIRTH_TILE_GEMM(u8s8, ProductU8S8, uint8_t)
FIRTH_TILE_GEMM(s8s8, ProductS8S8, int8_t)

void gemm_unpack_a_bf16(const void* src, void* dst, ptrdiff_t stride, size_t m, size_t k) {
    unpack_a((const char*)src, (char*)dst, stride, m, k * sizeof(uint16_t));
}

}  // namespace firth::FIRTH_LEVEL

#endif
