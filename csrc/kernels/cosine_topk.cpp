// Cosine of queries with rows: norms of rows, scores of a block of rows, places above a threshold.
//
// Every sum here runs over 16 lanes whatever the level: lane j adds the elements j, j + 16, ... in
// this order, then the lanes are added by halving. A score depends on its query and its row alone,
// not on the tile that computed it, and is the same on every level that has fma.
#include "../isa.h"
#include "../kernels.h"

namespace firth::FIRTH_LEVEL {

constexpr size_t kParts = 16 / kLanesF32;  // registers that make up 16 lanes

// Queries and rows a tile takes at once: as many sums of one register as there is room for.
constexpr size_t kTileQueries = 4;
constexpr size_t kTileRows = kParts == 1 ? 4 : 3;

struct Sum {
    f32xN part[kParts];
};

FIRTH_INLINE f32x4 halve(const Sum& s) {
    if constexpr (kParts == 1)
        return halve_to_4(s.part[0]);
    else if constexpr (kParts == 2)
        return halve_to_4(s.part[0] + s.part[kParts - 1]);
    else
        return halve_to_4((s.part[0] + s.part[2 % kParts]) +
                          (s.part[1 % kParts] + s.part[3 % kParts]));
}

// Register `part` of the 16 lanes at x, of which n are left (n >= 1); zeros past the end.
FIRTH_INLINE f32xN load_tail(const float* x, size_t n, size_t part) {
    const size_t start = part * kLanesF32;
    if (n >= start + kLanesF32) return load(x + start);
    return n > start ? load_partial(x + start, n - start) : set1(0.0f);
}

// query: query_stride apart, zeros from n up to a multiple of 16; keys: Rows x n, key_stride apart;
// the sum of products of query i and row j goes to out[i * out_stride + j].
template <size_t Queries, size_t Rows>
FIRTH_INLINE void tile(const float* query, size_t query_stride, const float* keys,
                       ptrdiff_t key_stride, size_t n, float* out, size_t out_stride) {
    const float* row[Rows];
    for (size_t j = 0; j < Rows; j++) row[j] = keys + (ptrdiff_t)j * key_stride;
    Sum sums[Queries][Rows];
    // One register of the 16 lanes after the other: a tile of one register a sum is wide enough to
    // be bound by fma, not by loads.
    for (size_t p = 0; p < kParts; p++) {
        f32xN part[Queries][Rows] = {};
        size_t i = 0;
        for (; i + 16 <= n; i += 16) {
            f32xN x[Rows];
#pragma GCC unroll 4
            for (size_t j = 0; j < Rows; j++) x[j] = load(row[j] + i + p * kLanesF32);
#pragma GCC unroll 4
            for (size_t q = 0; q < Queries; q++) {
                const f32xN y = load(query + q * query_stride + i + p * kLanesF32);
#pragma GCC unroll 4
                for (size_t j = 0; j < Rows; j++) part[q][j] = fma(y, x[j], part[q][j]);
            }
        }
        if (i < n)
#pragma GCC unroll 4
            for (size_t j = 0; j < Rows; j++) {
                const f32xN x = load_tail(row[j] + i, n - i, p);
#pragma GCC unroll 4
                for (size_t q = 0; q < Queries; q++) {
                    const f32xN y = load(query + q * query_stride + i + p * kLanesF32);
                    part[q][j] = fma(y, x, part[q][j]);
                }
            }
#pragma GCC unroll 4
        for (size_t q = 0; q < Queries; q++)
#pragma GCC unroll 4
            for (size_t j = 0; j < Rows; j++) sums[q][j].part[p] = part[q][j];
    }
#pragma GCC unroll 4
    for (size_t q = 0; q < Queries; q++) {
        const Sum* s = sums[q];
        const f32x4 total =
            sum_each(halve(s[0]), halve(s[1 % Rows]), halve(s[2 % Rows]), halve(s[3 % Rows]));
        memcpy(out + q * out_stride, &total, Rows * sizeof(float));
    }
}

// The same for the rows [begin, end) of keys, their sums at out + row.
template <size_t Queries>
FIRTH_INLINE void tiles(const float* query, size_t query_stride, const float* keys,
                        ptrdiff_t key_stride, size_t begin, size_t end, size_t n, float* out,
                        size_t out_stride) {
    size_t r = begin;
    for (; r + kTileRows <= end; r += kTileRows)
        tile<Queries, kTileRows>(query, query_stride, keys + (ptrdiff_t)r * key_stride, key_stride,
                                 n, out + r, out_stride);
    for (; r < end; r++)
        tile<Queries, 1>(query, query_stride, keys + (ptrdiff_t)r * key_stride, key_stride, n,
                         out + r, out_stride);
}

// One row's squared norm where float32 cannot hold the squares; eight lanes, added by halving.
FIRTH_INLINE double squared_norm_f64(const float* row, size_t n) {
    double lanes[8] = {};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) lanes[j] += (double)row[i + j] * (double)row[i + j];
    for (size_t j = 0; i < n; i++, j++) lanes[j] += (double)row[i] * (double)row[i];
    for (size_t half = 4; half; half /= 2)
        for (size_t j = 0; j < half; j++) lanes[j] += lanes[j + half];
    return lanes[0];
}

// One pass over the rows in the order of memory, the only order that the hardware's prefetcher
// follows at full bandwidth (tiles read several rows at once and get three quarters of it).
// query: one, as for tile; keys: rows x n, row r at keys + r * stride; norms, dots: rows.
template <bool Norms, bool Dots>
FIRTH_INLINE void stream(const float* query, const float* keys, ptrdiff_t stride, size_t rows,
                         size_t n, float* norms, float* dots) {
    for (size_t r = 0; r < rows; r += 4) {
        const size_t count = rows - r < 4 ? rows - r : 4;
        f32x4 squares[4] = {}, products[4] = {};
        for (size_t j = 0; j < count; j++) {
            const float* row = keys + (ptrdiff_t)(r + j) * stride;
            Sum square = {}, product = {};
            for (size_t i = 0; i < n; i += 16)
#pragma GCC unroll 4
                for (size_t p = 0; p < kParts; p++) {
                    const f32xN x =
                        i + 16 <= n ? load(row + i + p * kLanesF32) : load_tail(row + i, n - i, p);
                    if (Norms) square.part[p] = fma(x, x, square.part[p]);
                    if (Dots)
                        product.part[p] = fma(load(query + i + p * kLanesF32), x, product.part[p]);
                }
            squares[j] = halve(square);
            products[j] = halve(product);
        }
        if (Norms) {
            const f32x4 total = sum_each(squares[0], squares[1], squares[2], squares[3]);
            for (size_t j = 0; j < count; j++)
                // Between these bounds neither overflow nor denormal squares touch the result; NaN
                // fails both comparisons.
                norms[r + j] = total[j] >= 0x1p-100f && total[j] <= 0x1p120f
                                   ? sqrt(set1(total[j]))[0]
                                   : (float)sqrt(set1(squared_norm_f64(
                                         keys + (ptrdiff_t)(r + j) * stride, n)))[0];
        }
        if (Dots) {
            const f32x4 total = sum_each(products[0], products[1], products[2], products[3]);
            for (size_t j = 0; j < count; j++) dots[r + j] = total[j];
        }
    }
}

// keys: rows x n, row r at keys + r * stride; norms: rows.
void row_norms_f32(const float* keys, ptrdiff_t stride, size_t rows, size_t n, float* norms) {
    stream<true, false>(nullptr, keys, stride, rows, n, norms, nullptr);
}

// Cosines in place: dots: n sums of products with a unit query, norms: n.
FIRTH_INLINE f32xN cosine(f32xN dot, f32xN norm) {
    const f32xN zero = set1(0.0f), one = set1(1.0f), inf = set1(__builtin_inff());
    f32xN score = dot / norm;
    score = score > one ? one : score;
    score = score < -one ? -one : score;
    score = norm == zero ? zero * dot : score;  // 0, and NaN for a query that is NaN
    return norm < inf ? score : norm - norm;    // NaN where the norm is inf or NaN
}

// queries: query_count unit vectors (or all zero, or all NaN), query_stride apart, zeros from n up
// to a multiple of 16; keys: rows x n, row r at keys + r * key_stride, to fit L2; norms: rows, or
// null: then they are computed and left in new_norms: rows;
// scores: query_count x rows at score_stride; NaN where the row or the query has no cosine.
void cosine_scores_f32(const float* queries, size_t query_stride, size_t query_count,
                       const float* keys, ptrdiff_t key_stride, size_t rows, size_t n,
                       const float* norms, float* new_norms, float* scores, size_t score_stride) {
    // The first query takes the rows from memory, the others from cache.
    if (norms) {
        stream<false, true>(queries, keys, key_stride, rows, n, nullptr, scores);
    } else {
        stream<true, true>(queries, keys, key_stride, rows, n, new_norms, scores);
        norms = new_norms;
    }
    // The rows of the outer loop stay in L1 while all queries pass over them.
    const size_t fitting = 5120 / (n + 1) / kTileRows * kTileRows;
    const size_t block = fitting < kTileRows ? kTileRows : fitting;
    for (size_t begin = 0; begin < rows && query_count > 1; begin += block) {
        const size_t end = begin + block < rows ? begin + block : rows;
        size_t q =
            query_count % kTileQueries == 0 ? 0 : 1;  // twice the first: no query is left over
        for (; q + kTileQueries <= query_count; q += kTileQueries)
            tiles<kTileQueries>(queries + q * query_stride, query_stride, keys, key_stride, begin,
                                end, n, scores + q * score_stride, score_stride);
        for (; q < query_count; q++)
            tiles<1>(queries + q * query_stride, query_stride, keys, key_stride, begin, end, n,
                     scores + q * score_stride, score_stride);
    }
    for (size_t q = 0; q < query_count; q++) {
        float* score = scores + q * score_stride;
        size_t r = 0;
        for (; r + kLanesF32 <= rows; r += kLanesF32)
            store(score + r, cosine(load(score + r), load(norms + r)));
        if (r < rows)
            store_partial(
                score + r,
                cosine(load_partial(score + r, rows - r), load_partial(norms + r, rows - r)),
                rows - r);
    }
}

// keys: rows x n, row r at keys + r * key_stride; norms: rows; out: rows x out_stride bfloat16,
// out_stride = n rounded up to a multiple of 16: unit vectors, zeros from n up. A row whose norm is
// not within [least, greatest] becomes NaN, a zero row stays zero.
void unit_rows_bf16(const float* keys, ptrdiff_t key_stride, size_t rows, size_t n,
                    const float* norms, float least, float greatest, uint16_t* out,
                    size_t out_stride) {
    for (size_t r = 0; r < rows; r++) {
        const float* row = keys + (ptrdiff_t)r * key_stride;
        const float norm = norms[r];
        const f32xN scale = set1(norm == 0                           ? 0.0f
                                 : norm >= least && norm <= greatest ? 1 / norm
                                                                     : __builtin_nanf(""));
        for (size_t i = 0; i < out_stride; i += kLanesF32) {
            const f32xN x = i + kLanesF32 <= n ? load(row + i)
                            : i < n            ? load_partial(row + i, n - i)
                                               : set1(0.0f);
            store_bf16(out + r * out_stride + i, x * scale);
        }
    }
}

// values: n; places: n, receives the places of the values above threshold (never those of NaN), in
// ascending order. Returns how many.
size_t select_above_f32(const float* values, size_t n, float threshold, uint32_t* places) {
    size_t count = 0, i = 0;
    const f32xN bound = set1(threshold);
    for (; i + kLanesF32 <= n; i += kLanesF32)
        for (uint32_t bits = mask_bits(load(values + i) > bound); bits; bits &= bits - 1)
            places[count++] = (uint32_t)(i + (size_t)__builtin_ctz(bits));
    for (; i < n; i++)
        if (values[i] > threshold) places[count++] = (uint32_t)i;
    return count;
}

}  // namespace firth::FIRTH_LEVEL
