// The arithmetic of word windows (skip-gram, CBOW; negative sampling, hierarchical softmax):
// scores, gradients, both updates. A little above the usual length: three update rules share its
// tiles.
//
// m inputs (context rows of w_in, or sums of them) meet n outputs (the centre and the negatives,
// rows of w_out; or the inner nodes on the centre's path):
//   score_ij = in_i . out_j,   g_ij = rate * (label_j - sigmoid(score_ij)),   label = (1, 0, 0,
//   ...)
//   in_i += sum_j g_ij out_j,  out_j += sum_i g_ij in_i      (all from the values before the
//   window)
// Three products of m x n x dim. A tile of outputs stays in registers while the inputs stream
// through it, one vector of dimensions at a time, so each row is loaded twice and stored once.
#include "../isa.h"
#include "list_words.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr size_t kTile = 6;  // outputs a tile: 1 + negative of gensim's 5
constexpr size_t kInputs = FIRTH_VECTOR_BYTES == 64 ? 3 : 2;  // inputs a score tile: 18 (12) sums

template <bool Whole>
FIRTH_INLINE f32xN load_some(const float* p, size_t n) {
    return Whole ? load(p) : load_partial(p, n);
}

template <bool Whole>
FIRTH_INLINE void store_some(float* p, f32xN v, size_t n) {
    Whole ? store(p, v) : store_partial(p, v, n);
}

// sums[i * n + j] (a vector of partial sums each) = in[i] . out[j] for M inputs and N outputs.
template <size_t M, size_t N>
FIRTH_INLINE void score_tile(const float* const* in, const float* const* out, size_t dim,
                             f32xN* sums, size_t n) {
    f32xN acc[M][N];
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) acc[i][j] = set1(0.0f);
    size_t d = 0;
    for (; d + kLanesF32 <= dim; d += kLanesF32) {
        f32xN x[M];
        for (size_t i = 0; i < M; i++) x[i] = load(in[i] + d);
        for (size_t j = 0; j < N; j++) {
            const f32xN y = load(out[j] + d);
            for (size_t i = 0; i < M; i++) acc[i][j] = fma(x[i], y, acc[i][j]);
        }
    }
    if (d < dim) {
        f32xN x[M];
        for (size_t i = 0; i < M; i++) x[i] = load_partial(in[i] + d, dim - d);
        for (size_t j = 0; j < N; j++) {
            const f32xN y = load_partial(out[j] + d, dim - d);
            for (size_t i = 0; i < M; i++) acc[i][j] = fma(x[i], y, acc[i][j]);
        }
    }
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) sums[i * n + j] = acc[i][j];
}

template <size_t N>
FIRTH_INLINE void score_columns(const float* const* in, size_t m, const float* const* out,
                                size_t dim, f32xN* sums, size_t n) {
    size_t i = 0;
    for (; i + kInputs <= m; i += kInputs)
        score_tile<kInputs, N>(in + i, out, dim, sums + i * n, n);
    for (; i < m; i++) score_tile<1, N>(in + i, out, dim, sums + i * n, n);
}

// One vector of dimensions (`left` of them where it is not whole) of the update with N outputs.
// gradients: m x n, this tile's columns at its start. pending: m x dim, what earlier tiles add to
// the inputs; null in the first tile. The last tile adds all to the inputs.
template <size_t N, bool Whole>
FIRTH_INLINE void update_vector(float* const* in, size_t m, float* const* out, size_t d,
                                size_t left, const float* gradients, size_t n, float* pending,
                                size_t dim, bool first, bool last) {
    f32xN y[N], change[N];
    for (size_t j = 0; j < N; j++) {
        y[j] = load_some<Whole>(out[j] + d, left);
        change[j] = y[j];
    }
    for (size_t i = 0; i < m; i++) {
        const f32xN x = load_some<Whole>(in[i] + d, left);
        f32xN sum = first ? set1(0.0f) : load_some<Whole>(pending + i * dim + d, left);
        for (size_t j = 0; j < N; j++) {
            const f32xN g = set1(gradients[i * n + j]);
            sum = fma(g, y[j], sum);
            change[j] = fma(g, x, change[j]);
        }
        if (last)
            store_some<Whole>(in[i] + d, x + sum, left);
        else
            store_some<Whole>(pending + i * dim + d, sum, left);
    }
    for (size_t j = 0; j < N; j++) store_some<Whole>(out[j] + d, change[j], left);
}

template <size_t N>
FIRTH_INLINE void update_columns(float* const* in, size_t m, float* const* out, size_t dim,
                                 const float* gradients, size_t n, float* pending, bool first,
                                 bool last) {
    size_t d = 0;
    for (; d + kLanesF32 <= dim; d += kLanesF32)
        update_vector<N, true>(in, m, out, d, 0, gradients, n, pending, dim, first, last);
    if (d < dim)
        update_vector<N, false>(in, m, out, d, dim - d, gradients, n, pending, dim, first, last);
}

#define FIRTH_BY_COUNT(count, call) \
    switch (count) { \
        case 1: \
            call(1); \
            break; \
        case 2: \
            call(2); \
            break; \
        case 3: \
            call(3); \
            break; \
        case 4: \
            call(4); \
            break; \
        case 5: \
            call(5); \
            break; \
        default: \
            call(6); \
            break; \
    }

// scores: m x n, written in whole vectors; sums: room for m x n vectors, rounded up to kLanesF32.
void score(const float* const* in, size_t m, const float* const* out, size_t n, size_t dim,
           f32xN* sums, float* scores) {
    for (size_t j = 0; j < n; j += kTile) {
        const size_t count = n - j < kTile ? n - j : kTile;
#define FIRTH_CALL(N) score_columns<N>(in, m, out + j, dim, sums + j, n)
        FIRTH_BY_COUNT(count, FIRTH_CALL)
#undef FIRTH_CALL
    }
    for (size_t p = 0; p < m * n; p += kLanesF32)
        store(scores + p, reduce_each(sums + p, 0.0f, [](f32xN a, f32xN b) { return a + b; }));
}

// One tile's part of the update; see update_vector.
void update(float* const* in, size_t m, float* const* out, size_t count, size_t dim,
            const float* gradients, size_t n, float* pending, bool first, bool last){
#define FIRTH_CALL(N) update_columns<N>(in, m, out, dim, gradients, n, pending, first, last)
    FIRTH_BY_COUNT(count, FIRTH_CALL)
#undef FIRTH_CALL
}

// 1 / (1 + e^-x), for x within +-88; what lies outside gives the value there.
FIRTH_INLINE f32xN sigmoid(f32xN x) {
    const f32xN one = set1(1.0f);
    const f32xN clamped = min(set1(88.0f), max(set1(-88.0f), -x));  // lets NaN through
    return one / (one + exp_scaled(clamped, set1(Format<float>::round_magic + 127)));
}

}  // namespace

// One window whose inputs share their outputs. in: m distinct rows, out: n distinct rows, `dim`
// values each. labels: n, 1 for an output that follows and 0 for one that does not; null for
// (1, 0, 0, ...). times: m x n, how often each pair occurs (a word twice in the window, a negative
// drawn twice), or null where all is once. scores: out, m x n values in room for m * n + 16.
// change: m x dim, what the inputs gain, which are not touched then; or null: they are updated.
// work: word_work_floats(m, n, dim) floats, 64-byte aligned.
void word_window_f32(float* const* in, size_t m, float* const* out, size_t n, size_t dim,
                     const float* labels, const float* times, float rate, float* scores,
                     float* change, float* work) {
    f32xN* sums = (f32xN*)work;
    float* gradients = work + (m * n + 16) * kLanesF32;
    float* pending = change ? change : gradients + m * n + 16;
    score(in, m, out, n, dim, sums, scores);
    for (size_t p = 0; p < m * n; p += kLanesF32)
        store(gradients + p, set1(-rate) * sigmoid(load(scores + p)));
    for (size_t i = 0; i < m; i++)
        if (labels)
            for (size_t j = 0; j < n; j++) gradients[i * n + j] += rate * labels[j];
        else
            gradients[i * n] += rate;
    if (times)
        for (size_t p = 0; p < m * n; p++) gradients[p] *= times[p];
    for (size_t j = 0; j < n; j += kTile) {
        const size_t count = n - j < kTile ? n - j : kTile;
        update(in, m, out + j, count, dim, gradients + j, n, pending, j == 0,
               !change && j + kTile >= n);
    }
}

// One input with its own outputs, in gensim's order: each output is scored and updated before the
// next, the input at the end. out: n rows; a row may occur twice. Where |score| >= 6 nothing is
// updated, as in gensim. Scores of distinct outputs do not depend on each other, so a run of
// distinct rows is one tile. scores: out, n values in room for n + 16. labels, change, work as in
// word_window_f32.
void word_pair_f32(float* in, float* const* out, size_t n, size_t dim, const float* labels,
                   float rate, bool steps, float* scores, float* change, float* work) {
    f32xN* sums = (f32xN*)work;
    float* gradients = work + 16 * kLanesF32;
    float* pending = change ? change : gradients + 16;
    for (size_t j = 0, count; j < n; j += count) {
        for (count = 1; count < kTile && j + count < n; count++) {
            bool seen = false;
            for (size_t k = j; k < j + count; k++) seen |= out[k] == out[j + count];
            if (seen) break;
        }
        float tile[2 * kLanesF32], g[2 * kLanesF32];
        score(&in, 1, out + j, count, dim, sums, tile);
        for (size_t p = 0; p < count; p += kLanesF32) {
            f32xN s = load(tile + p);
            if (steps) {
                const f32xN place = (s + set1(6.0f)) * set1(83.0f);
                const f32xN whole =
                    __builtin_convertvector(__builtin_convertvector(place, i32xN), f32xN);
                s = (whole * set1(0.002f) - set1(1.0f)) * set1(6.0f);
            }
            store(g + p, set1(-rate) * sigmoid(s));
        }
        for (size_t p = 0; p < count; p++) {
            const float label = labels ? labels[j + p] : (j + p == 0 ? 1.0f : 0.0f);
            // NaN fails both comparisons and so goes on into the update, as in the reference.
            gradients[p] = tile[p] >= 6.0f || tile[p] <= -6.0f ? 0.0f : g[p] + rate * label;
            scores[j + p] = tile[p];
        }
        update(&in, 1, out + j, count, dim, gradients, count, pending, j == 0,
               !change && j + count >= n);
    }
}

// m inputs (means or sums of contexts), each with its own positive output; n distinct negative
// outputs are common to all. All scores are taken first; then each input meets its positive, then
// all meet the negatives. times: m x n, how much each pair with a negative counts (0: the negative
// is that input's positive). scores: out, m x n of the negatives, then m of the positives,
// in room for m * n + m + 16. change: out, m x dim, what the inputs gain; they are not touched.
// work: word_work_floats(m, n + 1, dim) floats, 64-byte aligned.
void cbow_window_f32(float* const* in, size_t m, float* const* positive, float* const* negative,
                     size_t n, size_t dim, const float* times, float rate, float* scores,
                     float* change, float* work) {
    const size_t all = m * n + m;
    f32xN* sums = (f32xN*)work;
    float* gradients = work + (all + 16) * kLanesF32;
    score(in, m, negative, n, dim, sums, scores);
    for (size_t i = 0; i < m; i++) score_tile<1, 1>(in + i, positive + i, dim, sums + i, 1);
    for (size_t p = 0; p < m; p += kLanesF32)
        store(scores + m * n + p,
              reduce_each(sums + p, 0.0f, [](f32xN a, f32xN b) { return a + b; }));
    for (size_t p = 0; p < all; p += kLanesF32)
        store(gradients + p, set1(-rate) * sigmoid(load(scores + p)));
    for (size_t p = 0; p < m * n; p++) gradients[p] *= times[p];
    for (size_t i = 0; i < m; i++) {
        const f32xN g = set1(gradients[m * n + i] + rate);
        const float* x = in[i];
        float *y = positive[i], *gain = change + i * dim;
        size_t d = 0;
        for (; d + kLanesF32 <= dim; d += kLanesF32) {
            const f32xN old = load(y + d);
            store(gain + d, g * old);
            store(y + d, fma(g, load(x + d), old));
        }
        if (d < dim) {
            const f32xN old = load_partial(y + d, dim - d);
            store_partial(gain + d, g * old, dim - d);
            store_partial(y + d, fma(g, load_partial(x + d, dim - d), old), dim - d);
        }
    }
    for (size_t j = 0; j < n; j += kTile) {
        const size_t count = n - j < kTile ? n - j : kTile;
        update(in, m, negative + j, count, dim, gradients + j, n, change, false, false);
    }
}

// out (dim) = scale * the sum of m rows, added in their order.
void sum_rows_f32(const float* const* rows, size_t m, size_t dim, float scale, float* out) {
    const f32xN factor = set1(scale);
    size_t d = 0;
    for (; d + kLanesF32 <= dim; d += kLanesF32) {
        f32xN sum = set1(0.0f);
        for (size_t i = 0; i < m; i++) sum += load(rows[i] + d);
        store(out + d, factor * sum);
    }
    if (d < dim) {
        f32xN sum = set1(0.0f);
        for (size_t i = 0; i < m; i++) sum += load_partial(rows[i] + d, dim - d);
        store_partial(out + d, factor * sum, dim - d);
    }
}

// rows[i] += scales[i] * scale * change; scales null: 1. A row may occur twice.
void add_to_rows_f32(float* const* rows, size_t m, size_t dim, const float* scales, float scale,
                     const float* change) {
    for (size_t i = 0; i < m; i++) {
        const f32xN factor = set1(scales ? scales[i] * scale : scale);
        size_t d = 0;
        for (; d + kLanesF32 <= dim; d += kLanesF32)
            store(rows[i] + d, fma(factor, load(change + d), load(rows[i] + d)));
        if (d < dim)
            store_partial(
                rows[i] + d,
                fma(factor, load_partial(change + d, dim - d), load_partial(rows[i] + d, dim - d)),
                dim - d);
    }
}

}  // namespace firth::FIRTH_LEVEL
