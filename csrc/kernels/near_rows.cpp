// The first pass over rows that have no codes: cosines in float32, at once the test whether a row
// may score what it must. Half the arithmetic of float64, so that one query takes as long as
// reading the rows.
//
// u = 2^-24, q' = q / |q| rounded to float32, c = least, the score T that counts less a margin
// (near_margin): a row x is left out only if q'.x < c |x| in float32. That it can't score T then:
// each term of a sum is rounded at most m = n / 4 + 16 times (four lanes or more, two sums), so
//     q'.x      is within 1.02 m u |x| of its value, and q' within 1.01 u of q / |q|;
//     |x|       is within 0.54 m u + 2 u (square root, product with c) of its value;
//     a score   is within 1.01 u of the cosine (its rounding to float32).
// Together less than 2 m u + 8 u, the margin, for n up to 2^20. This leaves out underflow and
// overflow: rows with |x|^2 outside [2^-60, 2^100], or not finite, pass always. A query that is
// zero or not finite lets all rows pass.
#include "../isa.h"
#include "list_search.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr size_t kLine = 64 / sizeof(float);
constexpr size_t kAhead = 4096 / sizeof(float);  // what is fetched while a row is read
constexpr size_t kVectors = 2 * kLine / kLanesF32;
constexpr size_t kQueries = 4;  // of a tile
constexpr size_t kMostRows = 128;

}  // namespace

// One row against Q queries: products[q * kMostRows] = q.x; *square = x.x, if Squares. ahead: from
// an element to the one that is fetched meanwhile.
template <size_t Q, bool Squares>
FIRTH_INLINE void row_products(const float* queries, size_t query_stride, const float* row,
                               size_t n, ptrdiff_t ahead, float* products, float* square) {
    f32xN product[Q][2] = {}, squares[2] = {};
    const auto add = [&](size_t i, size_t part, f32xN x) {
#pragma GCC unroll 4
        for (size_t q = 0; q < Q; q++)
            product[q][part] = fma(x, load(queries + q * query_stride + i), product[q][part]);
        if (Squares) squares[part] = fma(x, x, squares[part]);
    };
    size_t i = 0;
    for (; i + 2 * kLine <= n; i += 2 * kLine) {
        if (Squares) {
            __builtin_prefetch(row + i + ahead, 0, 2);
            __builtin_prefetch(row + i + ahead + (ptrdiff_t)kLine, 0, 2);
        }
#pragma GCC unroll 8
        for (size_t v = 0; v < kVectors; v++)
            add(i + v * kLanesF32, v % 2, load(row + i + v * kLanesF32));
    }
    if (Squares && i < n) __builtin_prefetch(row + i + ahead, 0, 2);
    for (; i + kLanesF32 <= n; i += kLanesF32) add(i, 0, load(row + i));
    if (i < n) add(i, 1, load_partial(row + i, n - i));
#pragma GCC unroll 4
    for (size_t q = 0; q < Q; q++) products[q * kMostRows] = sum(product[q][0] + product[q][1]);
    if (Squares) *square = sum(squares[0] + squares[1]);
}

template <size_t Q, bool Squares>
FIRTH_INLINE void tile_of(size_t count, const float* queries, size_t query_stride, const float* row,
                          size_t n, ptrdiff_t ahead, float* products, float* square) {
    if constexpr (Q > 1)
        if (count < Q)
            return tile_of<Q - 1, Squares>(count, queries, query_stride, row, n, ahead, products,
                                           square);
    row_products<Q, Squares>(queries, query_stride, row, n, ahead, products, square);
}

// queries: count x n unit vectors, query_stride apart, zeros from n up to a multiple of 16; least:
// count; keys: rows x n, at most 128 rows; hits: room for count x rows. Returns how many (query,
// row) may have a cosine of least[query] or more.
size_t near_rows_f32(const float* queries, size_t query_stride, size_t count, const float* least,
                     const float* keys, ptrdiff_t key_stride, size_t rows, size_t n,
                     ScanHit* hits) {
    // In whole rows where these have gaps between them.
    const ptrdiff_t ahead = n >= kAhead || key_stride == (ptrdiff_t)n
                                ? (ptrdiff_t)kAhead
                                : (ptrdiff_t)(kAhead / (n + 1) + 1) * key_stride;
    size_t found = 0;
    float squares[kMostRows], products[kQueries * kMostRows];
    for (size_t r = rows; r < kMostRows; r++) squares[r] = 0;
    for (size_t first = 0; first < count; first += kQueries) {
        const size_t members = count - first < kQueries ? count - first : kQueries;
        const float* part = queries + first * query_stride;
        for (size_t r = 0; r < rows; r++) {
            const float* row = keys + (ptrdiff_t)r * key_stride;
            if (first == 0)
                tile_of<kQueries, true>(members, part, query_stride, row, n, ahead, products + r,
                                        squares + r);
            else
                tile_of<kQueries, false>(members, part, query_stride, row, n, ahead, products + r,
                                         squares + r);
        }
        for (size_t q = 0; q < members; q++)
            for (size_t r = 0; r < rows; r += kLanesF32) {
                const f32xN square = load(squares + r);
                const i32xN out =
                    (load(products + q * kMostRows + r) < set1(least[first + q]) * sqrt(square)) &
                    (square >= set1(0x1p-60f)) & (square <= set1(0x1p100f));
                uint32_t bits = mask_bits(~out);
                for (; bits; bits &= bits - 1) {
                    const size_t lane = r + (size_t)__builtin_ctz(bits);
                    if (lane < rows) hits[found++] = {(uint32_t)(first + q), (uint32_t)lane};
                }
            }
    }
    return found;
}

}  // namespace firth::FIRTH_LEVEL
