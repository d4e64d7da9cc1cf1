// The inner part of the packed matrix product: a block of C from operands packed by gemm_pack.cpp.
//
// Packed operands are made of units: one float32, one float64, or two neighbours along K in
// bfloat16, two bytes widened to 16 bits, or four bytes where the level multiplies them as they
// are. A tile of A is stored [unit][row], a panel of B [unit][column], so that one step of the
// inner loop broadcasts a unit of A and loads two registers of units of B. Where no instruction
// multiplies pairs of bfloat16, a tile of A is widened to float32 once for all panels, and B in
// registers: two operations for 28 multiply-adds. (Levels with matrix tiles have bfloat16 and bytes
// in gemm_tiles.cpp.)
//
// Every element of C is summed in the order of K, in one register, whatever the tile around it: the
// bits do not depend on how M and N are cut.
#include "../isa.h"
#include "list_gemm.h"

namespace firth::FIRTH_LEVEL {

namespace {

// One step along K: a, b one unit a lane. A is read as Lefts, of which a unit has `parts`, and
// `right` gives the part of a register of B that meets them. Here a unit of `numbers` meets a unit.
template <class T, class Sums, size_t numbers>
struct Units {
    typedef T Unit;
    typedef T Left;
    typedef Sums Sum;
    static constexpr size_t elements = numbers, parts = 1;
    FIRTH_INLINE vector_of<T> right(vector_of<T> b, size_t) { return b; }
};
struct StepF32 : Units<int32_t, float, 1> {
    FIRTH_INLINE f32xN apply(i32xN a, i32xN b, f32xN c) { return fma((f32xN)a, (f32xN)b, c); }
};
struct StepF64 : Units<double, double, 1> {
    FIRTH_INLINE f64xN apply(f64xN a, f64xN b, f64xN c) { return fma(a, b, c); }
};
#if FIRTH_NATIVE_BF16
struct StepBf16 : Units<int32_t, float, 2> {
    FIRTH_INLINE f32xN apply(i32xN a, i32xN b, f32xN c) { return dot_bf16(a, b, c); }
};
#else
struct StepBf16 {
    typedef int32_t Unit;
    typedef float Left;  // all even members of a tile, then all odd ones
    typedef float Sum;
    static constexpr size_t elements = 2, parts = 2;
    FIRTH_INLINE i32xN right(i32xN b, size_t part) {
        return part == 0 ? b << 16 : b & (int32_t)0xffff0000;
    }
    FIRTH_INLINE f32xN apply(f32xN a, i32xN b, f32xN c) { return fma(a, (f32xN)b, c); }
};
#endif

#if FIRTH_NATIVE_BYTES
struct StepU8S8 : Units<int32_t, int32_t, 4> {
    FIRTH_INLINE i32xN apply(i32xN a, i32xN b, i32xN c) { return dot_u8s8(a, b, c); }
};
struct StepS8S8 : Units<int32_t, int32_t, 4> {
    FIRTH_INLINE i32xN apply(i32xN a, i32xN b, i32xN c) { return dot_s8s8(a, b, c); }
};
#endif
// Bytes as signed 16-bit numbers; sums modulo 2^32, as those of dot_u8s8.
struct StepPairs : Units<int32_t, int32_t, 2> {
    FIRTH_INLINE i32xN apply(i32xN a, i32xN b, i32xN c) {
        typedef uint32_t u32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
        return (i32xN)((u32xN)c + (u32xN)dot_pairs(a, b));
    }
};

// Adds sums of two blocks of K; integers modulo 2^32.
FIRTH_INLINE f32xN add(f32xN a, f32xN b) { return a + b; }
FIRTH_INLINE f64xN add(f64xN a, f64xN b) { return a + b; }
FIRTH_INLINE i32xN add(i32xN a, i32xN b) {
    typedef uint32_t u32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
    return (i32xN)((u32xN)a + (u32xN)b);
}

}  // namespace

constexpr size_t kAhead = 8;  // steps between a panel's prefetch and its use

// a: parts x units x R; b: PANELS panels of units x columns, panel_stride units apart; c: R x n,
// n <= PANELS * columns.
template <class Step, size_t R, size_t PANELS>
FIRTH_INLINE void tile(const typename Step::Left* a, const typename Step::Unit* b,
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
    const size_t lefts = R * units;
    for (size_t u = 0; u < units; u++) {
        // C, a row a step: its rows are often a page apart, which no hardware foresees. B from L2.
        if (u < R)
#pragma GCC unroll 8
            for (size_t v = 0; v < V; v++)
                __builtin_prefetch(c + (ptrdiff_t)u * c_stride + (ptrdiff_t)(v * lanes), 1);
#pragma GCC unroll 8
        for (size_t v = 0; v < V; v++)
            __builtin_prefetch(b + (v / 2) * panel_stride + (v % 2) * lanes + kAhead * 2 * lanes);
#pragma GCC unroll 2
        for (size_t part = 0; part < Step::parts; part++) {
            UnitsXN columns[V];
#pragma GCC unroll 8
            for (size_t v = 0; v < V; v++)
                columns[v] = Step::right(load(b + (v / 2) * panel_stride + (v % 2) * lanes), part);
#pragma GCC unroll 16
            for (size_t r = 0; r < R; r++) {
                const auto row = set1(a[part * lefts + r]);
#pragma GCC unroll 8
                for (size_t v = 0; v < V; v++)
                    sums[r][v] = Step::apply(row, columns[v], sums[r][v]);
            }
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
                if (accumulate) sums[r][v] = add(sums[r][v], load(out + first));
                store(out + first, sums[r][v]);
            } else if (first < n) {
                if (accumulate) sums[r][v] = add(sums[r][v], load_partial(out + first, n - first));
                store_partial(out + first, sums[r][v], n - first);
            }
        }
    }
}

template <class Step, size_t R>
FIRTH_INLINE void tile_of_rows(size_t rows, const typename Step::Left* a,
                               const typename Step::Unit* b, typename Step::Sum* c,
                               ptrdiff_t c_stride, size_t n, size_t units, bool accumulate) {
    if constexpr (R > 1)
        if (rows < R)
            return tile_of_rows<Step, R - 1>(rows, a, b, c, c_stride, n, units, accumulate);
    tile<Step, R, 1>(a, b, 0, c, c_stride, n, units, accumulate);
}

// Units of a tile that are widened at a time: as many as fill half of L1d.
constexpr size_t kWidened = kGemmBlock / 2;

// units: n pairs of bfloat16; out: the even members, then the odd ones.
FIRTH_INLINE void widen_pairs(const int32_t* units, size_t n, float* out) {
    for (size_t i = 0; i < n; i += kLanesF32) {
        const size_t count = n - i < kLanesF32 ? n - i : kLanesF32;
        const i32xN pairs = count == kLanesF32
                                ? load(units + i)
                                : (i32xN)load_partial((const float*)units + i, count);
        const f32xN even = (f32xN)(pairs << 16), odd = (f32xN)(pairs & (int32_t)0xffff0000);
        if (count == kLanesF32) {
            store(out + i, even);
            store(out + n + i, odd);
        } else {
            store_partial(out + i, even, count);
            store_partial(out + n + i, odd, count);
        }
    }
}

// a: `rows` rows of `units`; b: panels that cover n columns, panel_units long; c: rows x n.
template <class Step>
FIRTH_INLINE void tiles_of_rows(const typename Step::Left* a, const typename Step::Unit* b,
                                size_t panel_units, typename Step::Sum* c, ptrdiff_t c_stride,
                                size_t rows, size_t n, size_t units, bool accumulate) {
    constexpr size_t width = kGemmColumns<typename Step::Sum>;
    size_t j = 0;
    if (rows == 1)  // one panel has two sums: too few to hide the latency of fma
        for (; j + 4 * width <= n; j += 4 * width)
            tile<Step, 1, 4>(a, b + j * panel_units, panel_units * width, c + j, c_stride,
                             4 * width, units, accumulate);
    for (; j < n; j += width)
        tile_of_rows<Step, kGemmRows>(rows, a, b + j * panel_units, c + j, c_stride,
                                      n - j < width ? n - j : width, units, accumulate);
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
        if constexpr (Step::parts == 1) {
            tiles_of_rows<Step>(rows_a, b, units, c, c_stride, rows, n, units, accumulate);
        } else {
            typename Step::Left wide[Step::parts * kWidened * kGemmRows];
            size_t first = 0;
            do {
                const size_t count = units - first < kWidened ? units - first : kWidened;
                widen_pairs(rows_a + first * rows, count * rows, wide);
                tiles_of_rows<Step>(wide, b + first * width, units, c, c_stride, rows, n, count,
                                    accumulate || first > 0);
                first += count;
            } while (first < units);
        }
    }
}

#if FIRTH_NATIVE_BYTES
// c -= what 128 more in each byte of packed b has added: 128 times the sum of a's row. a: packed, m
// rows of units; c: m x n.
template <class Step>
FIRTH_INLINE void subtract_row_sums(const int32_t* a, int32_t* c, ptrdiff_t c_stride, size_t m,
                                    size_t n, size_t units) {
    constexpr size_t lanes = kLanesF32;
    const size_t tiles = (m + kGemmRows - 1) / kGemmRows;
    for (size_t t = 0; t < tiles; t++) {
        const size_t row = t * m / tiles, rows = (t + 1) * m / tiles - row;
        for (size_t r = 0; r < rows; r += lanes) {
            const size_t members = rows - r < lanes ? rows - r : lanes;
            i32xN sums = set1((int32_t)0);
            for (size_t u = 0; u < units; u++)
                sums = Step::apply(load_up_to(a + row * units + u * rows + r, members),
                                   set1((int32_t)0x80808080), sums);
            for (size_t i = 0; i < members; i++) {
                const i32xN less = set1((int32_t)(0u - (uint32_t)sums[i]));
                int32_t* out = c + (ptrdiff_t)(row + r + i) * c_stride;
                for (size_t j = 0; j < n; j += lanes) {
                    const size_t count = n - j < lanes ? n - j : lanes;
                    store_up_to(out + j, add(load_up_to(out + j, count), less), count);
                }
            }
        }
    }
}
#endif

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
#if !FIRTH_TILES  // gemm_tiles.cpp has the others
FIRTH_BLOCK(gemm_multiply_bf16, StepBf16)
#if FIRTH_NATIVE_BYTES
#define FIRTH_BYTE_BLOCK(name, Step, flip) \
    void name(const void* a, const void* b, void* c, ptrdiff_t c_stride, size_t m, size_t n, \
              size_t k, bool accumulate) { \
        block<Step>(a, b, c, c_stride, m, n, k, accumulate); \
        if (flip) \
            subtract_row_sums<Step>((const int32_t*)a, (int32_t*)c, c_stride, m, n, (k + 3) / 4); \
    }
FIRTH_BYTE_BLOCK(gemm_multiply_u8s8, StepU8S8, kFlipU8S8)
FIRTH_BYTE_BLOCK(gemm_multiply_s8s8, StepS8S8, kFlipS8S8)
#else
FIRTH_BLOCK(gemm_multiply_u8s8, StepPairs)
FIRTH_BLOCK(gemm_multiply_s8s8, StepPairs)
#endif
#endif

#define FIRTH_ROW(name, T) \
    void name(const void* a, const void* b, ptrdiff_t b_stride, void* c, size_t n, size_t k, \
              bool accumulate) { \
        row((const T*)a, (const char*)b, b_stride, (T*)c, n, k, accumulate); \
    }
FIRTH_ROW(gemm_row_f32, float)
FIRTH_ROW(gemm_row_f64, double)

}  // namespace firth::FIRTH_LEVEL
