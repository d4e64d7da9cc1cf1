// GloVe's update: weighted least squares on log counts, one AdaGrad step a record.
//
// Record (i, j): diff = w_i . c_j + b_i + b'_j - log x,  f = weight * diff; then for each dimension
//   g = clip(f c) rate,  w -= g / sqrt(S),  S += g^2     (and the same for c with the old w)
// and for both biases  b -= f / sqrt(S),  S += f^2: they take no rate and no clip, as in glove.c.
//
// A row is two planes, [vector, bias] and their sums of squared gradients S: one stream of memory.
#include "../isa.h"
#include "list_glove.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr size_t kAhead = 4;  // records whose rows are on their way into L1

FIRTH_INLINE void prefetch_row(const float* row, size_t plane, size_t dim) {
    for (size_t d = 0; d <= dim; d += 16) __builtin_prefetch(row + d, 1, 3);
    for (size_t d = 0; d <= dim; d += 16) __builtin_prefetch(row + plane + d, 1, 3);
}

template <bool Whole>
FIRTH_INLINE f32xN load_some(const float* p, size_t n, float fill) {
    return Whole ? load(p) : load_partial(p, n, fill);
}

template <bool Whole>
FIRTH_INLINE void store_some(float* p, f32xN v, size_t n) {
    Whole ? store(p, v) : store_partial(p, v, n);
}

// One vector of dimensions (`left` of them where it is not whole) of both rows. step: f * rate;
// limit: clip * rate, so that the clipped gradient comes out times the rate.
template <bool Whole>
FIRTH_INLINE void update_vector(float* w, float* w_sums, float* c, float* c_sums, size_t left,
                                f32xN step, f32xN limit) {
    const f32xN old_w = load_some<Whole>(w, left, 0.0f), old_c = load_some<Whole>(c, left, 0.0f);
    const f32xN sum_w = load_some<Whole>(w_sums, left, 1.0f);
    const f32xN sum_c = load_some<Whole>(c_sums, left, 1.0f);
    // The order of arguments lets NaN through: min and max give their second one.
    const f32xN g_w = min(limit, max(-limit, step * old_c));
    const f32xN g_c = min(limit, max(-limit, step * old_w));
    store_some<Whole>(w, fma(-g_w, rsqrt(sum_w), old_w), left);
    store_some<Whole>(c, fma(-g_c, rsqrt(sum_c), old_c), left);
    store_some<Whole>(w_sums, fma(g_w, g_w, sum_w), left);
    store_some<Whole>(c_sums, fma(g_c, g_c, sum_c), left);
}

FIRTH_INLINE float product(const float* w, const float* c, size_t dim) {
    f32xN sum0 = set1(0.0f), sum1 = sum0;
    size_t d = 0;
    for (; d + 2 * kLanesF32 <= dim; d += 2 * kLanesF32) {
        sum0 = fma(load(w + d), load(c + d), sum0);
        sum1 = fma(load(w + d + kLanesF32), load(c + d + kLanesF32), sum1);
    }
    for (; d + kLanesF32 <= dim; d += kLanesF32) sum0 = fma(load(w + d), load(c + d), sum0);
    if (d < dim) sum1 = fma(load_partial(w + d, dim - d), load_partial(c + d, dim - d), sum1);
    return sum(sum0 + sum1);
}

}  // namespace

// words, contexts: row i at i * stride, its sums of squares `plane` floats behind it; each is dim
// values and a bias. The two must not overlap. records: n, in the order of their updates. Returns
// the cost before the updates, sum of weight * diff^2 / 2.
double glove_adagrad_f32(float* words, size_t word_stride, size_t word_plane, float* contexts,
                         size_t context_stride, size_t context_plane, const GloveRecord* records,
                         size_t n, size_t dim, float rate, float clip) {
    const f32xN limit = set1(clip * rate);
    double cost = 0;
    for (size_t r = 0; r < n; r++) {
        if (r + kAhead < n) {
            const GloveRecord& next = records[r + kAhead];
            prefetch_row(words + next.row * word_stride, word_plane, dim);
            prefetch_row(contexts + next.column * context_stride, context_plane, dim);
        }
        const GloveRecord record = records[r];
        float* const w = words + record.row * word_stride;
        float* const c = contexts + record.column * context_stride;
        float* const w_sums = w + word_plane;
        float* const c_sums = c + context_plane;
        const float diff = product(w, c, dim) + (w[dim] + c[dim]) - record.log_count;
        const float f = record.weight * diff;
        cost += 0.5 * (double)f * (double)diff;
        const f32xN step = set1(f * rate);
        size_t d = 0;
        for (; d + kLanesF32 <= dim; d += kLanesF32)
            update_vector<true>(w + d, w_sums + d, c + d, c_sums + d, 0, step, limit);
        if (d < dim)
            update_vector<false>(w + d, w_sums + d, c + d, c_sums + d, dim - d, step, limit);
        f32xN sums = set1(w_sums[dim]);
        sums[1] = c_sums[dim];
        const f32xN inverse = rsqrt(sums);
        w[dim] -= f * inverse[0];
        c[dim] -= f * inverse[1];
        w_sums[dim] += f * f;
        c_sums[dim] += f * f;
    }
    return cost;
}

}  // namespace firth::FIRTH_LEVEL
