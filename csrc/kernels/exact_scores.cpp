// Scores that define what a search returns: products and sums in float64, one rounding to float32.
//
// A product of two float32 is exact in float64, so it does not matter whether a level has fma, and
// every sum runs over 16 lanes whatever the level: lane j adds the elements j, j + 16, ... in this
// order, then the lanes are added by halving. A score depends on its query and its row alone.
#include "../isa.h"
#include "list_search.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr size_t kParts = 16 / kLanesF64;  // registers that make up 16 lanes
constexpr size_t kMostRows = 128;          // of a call
constexpr size_t kAhead = 1024;            // elements from what is read to what is fetched

struct Lanes {
    f64xN part[kParts];
};

}  // namespace

FIRTH_INLINE double total(const Lanes& s) {
    f64xN v[kParts];
    for (size_t p = 0; p < kParts; p++) v[p] = s.part[p];
    for (size_t half = kParts / 2; half > 0; half /= 2)
        for (size_t p = 0; p < half; p++) v[p] += v[p + half];
    return sum(v[0]);
}

// Elements [i, i + kLanesF64) of a row of n; zeros from n up.
FIRTH_INLINE f64xN load_row(const float* row, size_t i, size_t n) {
    if (i + kLanesF64 <= n) return load_f64(row + i);
    return i < n ? load_f64_partial(row + i, n - i) : set1(0.0);
}

FIRTH_INLINE float cosine(double product, double scale) {
    double cosine = scale == 0 ? 0 : product / scale;  // NaN where a number is
    cosine = cosine > 1 ? 1 : cosine;
    return (float)(cosine < -1 ? -1 : cosine);
}

struct Product {
    FIRTH_INLINE f64xN apply(f64xN q, f64xN x, f64xN sum) { return fma(q, x, sum); }
};
// The difference is rounded, so its square is no exact product: no fma, on any level.
struct Difference {
    FIRTH_INLINE f64xN apply(f64xN q, f64xN x, f64xN sum) { return sum + (q - x) * (q - x); }
};

// out[q * out_stride + r] = the sum of Step over query q and row r. queries: Q x n in float64,
// zeros from n up to a multiple of 16; keys: R rows of n.
template <class Step, size_t Q, size_t R>
FIRTH_INLINE void tile(const double* queries, size_t query_stride, const float* keys,
                       ptrdiff_t key_stride, size_t n, double* out, size_t out_stride) {
    Lanes sums[Q][R] = {};
    // One part of the lanes after the other where a tile has several sums: they fit the registers.
    constexpr size_t together = Q * R == 1 ? kParts : 1;
    for (size_t first = 0; first < kParts; first += together) {
        f64xN part[Q][R][together] = {};
        for (size_t i = 0; i < n; i += 16)
#pragma GCC unroll 8
            for (size_t p = 0; p < together; p++) {
                const size_t at = i + (first + p) * kLanesF64;
                f64xN x[R];
#pragma GCC unroll 4
                for (size_t r = 0; r < R; r++)
                    x[r] = load_row(keys + (ptrdiff_t)r * key_stride, at, n);
#pragma GCC unroll 4
                for (size_t q = 0; q < Q; q++) {
                    f64xN y;
                    memcpy(&y, queries + q * query_stride + at, sizeof y);
#pragma GCC unroll 4
                    for (size_t r = 0; r < R; r++)
                        part[q][r][p] = Step::apply(y, x[r], part[q][r][p]);
                }
            }
#pragma GCC unroll 4
        for (size_t q = 0; q < Q; q++)
#pragma GCC unroll 4
            for (size_t r = 0; r < R; r++)
#pragma GCC unroll 8
                for (size_t p = 0; p < together; p++) sums[q][r].part[first + p] = part[q][r][p];
    }
#pragma GCC unroll 4
    for (size_t q = 0; q < Q; q++)
#pragma GCC unroll 4
        for (size_t r = 0; r < R; r++) out[q * out_stride + r] = total(sums[q][r]);
}

template <class Step>
FIRTH_INLINE void tiles(const double* queries, size_t query_stride, size_t count, const float* keys,
                        ptrdiff_t key_stride, size_t rows, size_t n, double* out) {
    size_t q = 0;
    for (; q + 4 <= count; q += 4) {
        size_t r = 0;
        for (; r + 2 <= rows; r += 2)
            tile<Step, 4, 2>(queries + q * query_stride, query_stride,
                             keys + (ptrdiff_t)r * key_stride, key_stride, n,
                             out + q * kMostRows + r, kMostRows);
        if (r < rows)
            tile<Step, 4, 1>(queries + q * query_stride, query_stride,
                             keys + (ptrdiff_t)r * key_stride, key_stride, n,
                             out + q * kMostRows + r, kMostRows);
    }
    for (; q < count; q++)
        for (size_t r = 0; r < rows; r++)
            tile<Step, 1, 1>(queries + q * query_stride, query_stride,
                             keys + (ptrdiff_t)r * key_stride, key_stride, n,
                             out + q * kMostRows + r, kMostRows);
}

// keys: rows x n, row r at keys + r * stride; squares: rows, the sum that a row gets with itself.
void squared_norms_f64(const float* keys, ptrdiff_t stride, size_t rows, size_t n,
                       double* squares) {
    for (size_t r = 0; r < rows; r++) {
        const float* row = keys + (ptrdiff_t)r * stride;
        Lanes square = {};
        for (size_t i = 0; i < n; i += 16) {
            __builtin_prefetch(row + i + kAhead, 0, 2);
#pragma GCC unroll 8
            for (size_t p = 0; p < kParts; p++) {
                const f64xN x = load_row(row, i + p * kLanesF64, n);
                square.part[p] = fma(x, x, square.part[p]);
            }
        }
        squares[r] = total(square);
    }
}

// One query and one row, both sums in one pass: what a search does with what passed its scan.
FIRTH_INLINE float cosine_of_row(const double* query, double query_norm, const float* row,
                                 size_t n) {
    Lanes product = {}, square = {};
    const auto add = [&](size_t i, size_t end) {
#pragma GCC unroll 8
        for (size_t p = 0; p < kParts; p++) {
            const f64xN x = load_row(row, i + p * kLanesF64, end);
            f64xN y;
            memcpy(&y, query + i + p * kLanesF64, sizeof y);
            product.part[p] = fma(y, x, product.part[p]);
            square.part[p] = fma(x, x, square.part[p]);
        }
    };
    size_t i = 0;
    for (; i + 16 <= n; i += 16) add(i, i + 16);
    if (i < n) add(i, n);
    return cosine(total(product), query_norm * sqrt(set1(total(square)))[0]);
}

// metric: of enum Metric; queries: query_count x n in float64, query_stride apart, zeros from n up
// to a multiple of 16; query_norms: query_count (the square root of the sum that a row equal to the
// query would get); keys: rows x n, at most 128 rows; scores: query_count x rows at score_stride.
// Inputs are finite.
void exact_scores_f32(int metric, const double* queries, size_t query_stride, size_t query_count,
                      const double* query_norms, const float* keys, ptrdiff_t key_stride,
                      size_t rows, size_t n, float* scores, size_t score_stride) {
    if (metric == kCosine && query_count == 1) {
        for (size_t r = 0; r < rows; r++)
            scores[r] = cosine_of_row(queries, query_norms[0], keys + (ptrdiff_t)r * key_stride, n);
        return;
    }
    double norms[kMostRows];
    if (metric == kCosine) {
        squared_norms_f64(keys, key_stride, rows, n, norms);
        for (size_t r = 0; r < rows; r++) norms[r] = sqrt(set1(norms[r]))[0];
    }
    constexpr size_t kTogether = 16;
    double sums[kTogether * kMostRows];
    for (size_t first = 0; first < query_count; first += kTogether) {
        const size_t count = query_count - first < kTogether ? query_count - first : kTogether;
        const double* part = queries + first * query_stride;
        if (metric == kL2)
            tiles<Difference>(part, query_stride, count, keys, key_stride, rows, n, sums);
        else
            tiles<Product>(part, query_stride, count, keys, key_stride, rows, n, sums);
        for (size_t q = 0; q < count; q++) {
            const double* sum = sums + q * kMostRows;
            float* score = scores + (first + q) * score_stride;
            const double norm = query_norms[first + q];
            for (size_t r = 0; r < rows; r++) {
                if (metric == kCosine) {
                    score[r] = cosine(sum[r], norm * norms[r]);
                } else {
                    score[r] = (float)(metric == kL2 ? -sum[r] : sum[r]);
                }
            }
        }
    }
}

}  // namespace firth::FIRTH_LEVEL
