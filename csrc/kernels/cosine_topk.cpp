// Cosine of queries with rows: norms of rows, scores of a block of rows, places above a threshold.
//
// Every sum here runs over 16 lanes whatever the level: lane j adds the elements j, j + 16, ... in
// this order, then the lanes are added by halving. A score depends on its query and its row alone,
// not on the tile that computed it, and is the same on every level that has fma.
#include "../isa.h"
#include "../kernels.h"

namespace firth::FIRTH_LEVEL {

constexpr size_t kParts = 16 / kLanesF32;  // registers that make up 16 lanes

// Queries and rows a tile takes at once: as many sums as the registers hold.
constexpr size_t kTileQueries = kParts == 1 ? 4 : kParts == 2 ? 3 : 1;
constexpr size_t kTileRows = kParts == 1 ? 4 : 2;

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

// query: query_stride apart, zeros from n up to a multiple of 16; row: n each; the sum of products
// of query i and row j goes to out[i * out_stride + j].
template <size_t Queries, size_t Rows>
FIRTH_INLINE void tile(const float* query, size_t query_stride, const float* const* row, size_t n,
                       float* out, size_t out_stride) {
    Sum sums[Queries * Rows] = {};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
#pragma GCC unroll 4
        for (size_t p = 0; p < kParts; p++) {
            f32xN x[Rows];
#pragma GCC unroll 4
            for (size_t j = 0; j < Rows; j++) x[j] = load(row[j] + i + p * kLanesF32);
#pragma GCC unroll 8
            for (size_t q = 0; q < Queries; q++) {
                const f32xN y = load(query + q * query_stride + i + p * kLanesF32);
#pragma GCC unroll 4
                for (size_t j = 0; j < Rows; j++)
                    sums[q * Rows + j].part[p] = fma(y, x[j], sums[q * Rows + j].part[p]);
            }
        }
    if (i < n)
#pragma GCC unroll 4
        for (size_t p = 0; p < kParts; p++)
#pragma GCC unroll 4
            for (size_t j = 0; j < Rows; j++) {
                const f32xN x = load_tail(row[j] + i, n - i, p);
#pragma GCC unroll 8
                for (size_t q = 0; q < Queries; q++) {
                    const f32xN y = load(query + q * query_stride + i + p * kLanesF32);
                    sums[q * Rows + j].part[p] = fma(y, x, sums[q * Rows + j].part[p]);
                }
            }
#pragma GCC unroll 8
    for (size_t q = 0; q < Queries; q++) {
        const Sum* s = sums + q * Rows;
        const f32x4 total =
            sum_each(halve(s[0]), halve(s[1 % Rows]), halve(s[2 % Rows]), halve(s[3 % Rows]));
        memcpy(out + q * out_stride, &total, Rows * sizeof(float));
    }
}

// kTileQueries queries or one, Rows rows key_stride apart; else as tile.
template <size_t Rows>
FIRTH_INLINE void tiles(size_t queries, const float* query, size_t query_stride, const float* keys,
                        ptrdiff_t key_stride, size_t n, float* out, size_t out_stride) {
    const float* row[Rows];
    for (size_t j = 0; j < Rows; j++) row[j] = keys + (ptrdiff_t)j * key_stride;
    if (queries == kTileQueries)
        tile<kTileQueries, Rows>(query, query_stride, row, n, out, out_stride);
    else
        tile<1, Rows>(query, query_stride, row, n, out, out_stride);
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

// keys: rows x n, row r at keys + r * stride; norms: rows.
void row_norms_f32(const float* keys, ptrdiff_t stride, size_t rows, size_t n, float* norms) {
    for (size_t r = 0; r < rows; r += 4) {
        f32x4 lanes[4];
        for (size_t j = 0; j < 4; j++) {
            const float* row = keys + (ptrdiff_t)(r + j < rows ? r + j : rows - 1) * stride;
            Sum sum = {};
            size_t i = 0;
            for (; i + 16 <= n; i += 16)
#pragma GCC unroll 4
                for (size_t p = 0; p < kParts; p++) {
                    const f32xN x = load(row + i + p * kLanesF32);
                    sum.part[p] = fma(x, x, sum.part[p]);
                }
            if (i < n)
#pragma GCC unroll 4
                for (size_t p = 0; p < kParts; p++) {
                    const f32xN x = load_tail(row + i, n - i, p);
                    sum.part[p] = fma(x, x, sum.part[p]);
                }
            lanes[j] = halve(sum);
        }
        const f32x4 squares = sum_each(lanes[0], lanes[1], lanes[2], lanes[3]);
        for (size_t j = 0; j < 4 && r + j < rows; j++) {
            // Between these bounds neither overflow nor denormal squares touch the result; NaN
            // fails both comparisons.
            norms[r + j] =
                squares[j] >= 0x1p-100f && squares[j] <= 0x1p120f
                    ? sqrt(set1(squares[j]))[0]
                    : (float)sqrt(set1(squared_norm_f64(keys + (ptrdiff_t)(r + j) * stride, n)))[0];
        }
    }
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
// to a multiple of 16; keys: rows x n, row r at keys + r * key_stride, to fit L2; norms: rows;
// scores: query_count x rows at score_stride >= rows rounded up to a multiple of 16 (the surplus is
// overwritten); NaN where the row or the query has no cosine.
void cosine_scores_f32(const float* queries, size_t query_stride, size_t query_count,
                       const float* keys, ptrdiff_t key_stride, size_t rows, size_t n,
                       const float* norms, float* scores, size_t score_stride) {
    // Touch the rows in the order of memory: the tiles read several rows at once, which the
    // hardware's prefetcher follows at three quarters of the bandwidth only.
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i += 16)
            (void)*(const volatile float*)(keys + (ptrdiff_t)r * key_stride + i);
    // The rows of the outer loop stay in L1 while all queries pass over them.
    const size_t fitting = 5120 / (n + 1) / kTileRows * kTileRows;
    const size_t block = fitting < kTileRows ? kTileRows : fitting;
    for (size_t begin = 0; begin < rows; begin += block) {
        const size_t end = begin + block < rows ? begin + block : rows;
        for (size_t q = 0; q < query_count;) {
            const size_t together = query_count - q < kTileQueries ? 1 : kTileQueries;
            const float* query = queries + q * query_stride;
            size_t r = begin;
            for (; r + kTileRows <= end; r += kTileRows)
                tiles<kTileRows>(together, query, query_stride, keys + (ptrdiff_t)r * key_stride,
                                 key_stride, n, scores + q * score_stride + r, score_stride);
            for (; r < end; r++)
                tiles<1>(together, query, query_stride, keys + (ptrdiff_t)r * key_stride,
                         key_stride, n, scores + q * score_stride + r, score_stride);
            q += together;
        }
    }
    for (size_t q = 0; q < query_count; q++) {
        float* score = scores + q * score_stride;
        size_t r = 0;
        for (; r + kLanesF32 <= rows; r += kLanesF32)
            store(score + r, cosine(load(score + r), load(norms + r)));
        if (r < rows) store(score + r, cosine(load(score + r), load_partial(norms + r, rows - r)));
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
