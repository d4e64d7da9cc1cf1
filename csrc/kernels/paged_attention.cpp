// Attention to keys and values that stay from call to call, in pages (list_attention.h): for
// generators. Queries that share keys go together, each with its own sums; all sums have the order
// of the keys' positions, so that a query's bits depend on what it sees alone.
#include "../isa.h"
#include "list_attention.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr float kNever = -1e30f;  // below all scores
constexpr float kLog2E = 1.44269504f;

FIRTH_INLINE f32xN widened(const float* p) { return load(p); }
FIRTH_INLINE f32xN widened(const uint16_t* p) { return load_f16(p); }
FIRTH_INLINE void narrow(float* p, f32xN v) { store(p, v); }
FIRTH_INLINE void narrow(uint16_t* p, f32xN v) { store_f16(p, v); }

template <size_t n>
struct Count {
    static constexpr size_t value = n;
};

// Vectors of sums that each of R queries has in registers.
template <size_t R>
constexpr size_t kVectors = kRegisters == 32 ? (R >= 8 ? 2 : 4)
                            : R >= 8         ? 1
                            : R >= 4         ? 2
                                             : 4;

}  // namespace

// queries: R pointers to depth numbers; keys: depth x kPageKeys, of which the first `end` are seen;
// scores: R x kPageKeys, undefined from the first vector on that nobody sees.
template <size_t R, class T>
FIRTH_INLINE void page_scores(const float* const* queries, const T* keys, size_t end, size_t depth,
                              float* scores) {
    constexpr size_t V = kVectors<R>, lanes = kLanesF32;
    for (size_t k = 0; k < end; k += V * lanes) {
        f32xN sums[R][V];
#pragma GCC unroll 8
        for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
            for (size_t v = 0; v < V; v++) sums[r][v] = set1(0.0f);
        for (size_t d = 0; d < depth; d++) {
#pragma GCC unroll 4
            for (size_t v = 0; v < V; v++) {
                const f32xN key = widened(keys + d * kPageKeys + k + v * lanes);
#pragma GCC unroll 8
                for (size_t r = 0; r < R; r++)
                    sums[r][v] = fma(set1(queries[r][d]), key, sums[r][v]);
            }
        }
#pragma GCC unroll 8
        for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
            for (size_t v = 0; v < V; v++)
                store(scores + r * kPageKeys + k + v * lanes, sums[r][v]);
    }
}

// out (R x n) = factors out + weights (R x kPageKeys) times values (kPageKeys x n), of which the
// first `end` have weights.
template <size_t R, class T>
FIRTH_INLINE void page_values(const float* weights, const float* factors, const T* values,
                              size_t end, size_t n, float* out) {
    constexpr size_t V = kVectors<R>, lanes = kLanesF32;
    for (size_t e = 0; e < n; e += V * lanes) {
        f32xN sums[R][V];
#pragma GCC unroll 8
        for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
            for (size_t v = 0; v < V; v++)
                sums[r][v] = load(out + r * n + e + v * lanes) * factors[r];
        for (size_t k = 0; k < end; k++) {
#pragma GCC unroll 4
            for (size_t v = 0; v < V; v++) {
                const f32xN value = widened(values + k * n + e + v * lanes);
#pragma GCC unroll 8
                for (size_t r = 0; r < R; r++)
                    sums[r][v] = fma(set1(weights[r * kPageKeys + k]), value, sums[r][v]);
            }
        }
#pragma GCC unroll 8
        for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
            for (size_t v = 0; v < V; v++) store(out + r * n + e + v * lanes, sums[r][v]);
    }
}

// tanh(x / cap) cap
FIRTH_INLINE f32xN capped(f32xN x, float cap) {
    const f32xN u = min(x * set1(2 * kLog2E / cap), set1(126.0f)), one = set1(1.0f);
    return set1(cap) * (one - set1(2.0f) / (one + exp2<5>(u)));
}

// The first n scores of one query to weights 2^(score - most), 0 for keys outside of [begin, end)
// of the page. bias: added to the scores (kPageKeys), or null; state: most and the sum so far;
// returns what earlier sums are multiplied by.
FIRTH_INLINE float page_softmax(float* scores, size_t n, int64_t begin, int64_t end,
                                const float* bias, float scale, float cap, float* state) {
    constexpr size_t lanes = kLanesF32;
    f32xN most = set1(state[0]);
    for (size_t k = 0; k < n; k += lanes) {
        f32xN x = load(scores + k) * set1(scale);
        if (cap > 0) x = capped(x, cap);
        if (bias) x += load(bias + k);
        x *= set1(kLog2E);
        if (begin > (int64_t)k || end < (int64_t)(k + lanes))
            for (size_t l = 0; l < lanes; l++)
                if ((int64_t)(k + l) < begin || (int64_t)(k + l) >= end) x[l] = -__builtin_inff();
        store(scores + k, x);
        most = max(x, most);
    }
    const float top = max_lane(most);
    f32xN total = set1(0.0f);
    for (size_t k = 0; k < n; k += lanes) {
        const f32xN weight = exp2<5>(load(scores + k) - set1(top));
        store(scores + k, weight);
        total += weight;
    }
    const float factor = exp2<5>(set1(state[0] - top))[0];
    state[0] = top;
    state[1] = state[1] * factor + sum(total);
    return factor;
}

// R queries through the pages; page i holds the keys from first_key + i kPageKeys on.
template <size_t R, class T>
FIRTH_INLINE void attend(const float* const* queries, const int64_t* begins, const int64_t* ends,
                         const float* const* biases, const void* const* pages, size_t page_count,
                         int64_t first_key, size_t depth, size_t values, float scale, float cap,
                         float* state, float* out) {
    float scores[R * kPageKeys], factors[R];
    memset(out, 0, R * values * sizeof(float));
    for (size_t r = 0; r < R; r++) state[2 * r] = kNever, state[2 * r + 1] = 0;
    for (size_t i = 0; i < page_count; i++) {
        const int64_t first = first_key + (int64_t)(i * kPageKeys);
        int64_t end = 0;  // of the keys that any query sees
        for (size_t r = 0; r < R; r++)
            if (begins[r] < first + (int64_t)kPageKeys && ends[r] - first > end)
                end = ends[r] - first;
        if (end == 0) continue;
        if (end > (int64_t)kPageKeys) end = kPageKeys;
        const T* keys = (const T*)pages[i];
        page_scores<R>(queries, keys, (size_t)end, depth, scores);
        for (size_t r = 0; r < R; r++)
            factors[r] = page_softmax(scores + r * kPageKeys, (size_t)end, begins[r] - first,
                                      ends[r] - first, biases ? biases[r] + first : nullptr, scale,
                                      cap, state + 2 * r);
        page_values<R>(scores, factors, keys + depth * kPageKeys, (size_t)end, values, out);
    }
}

template <class T>
FIRTH_INLINE void attend_all(const float* const* queries, const int64_t* begins,
                             const int64_t* ends, const float* const* biases, size_t count,
                             const void* const* pages, size_t page_count, int64_t first_key,
                             size_t depth, size_t values, float scale, float cap, float* state,
                             float* out) {
    const auto go = [&](auto tile, size_t at) {
        attend<decltype(tile)::value, T>(
            queries + at, begins + at, ends + at, biases ? biases + at : nullptr, pages, page_count,
            first_key, depth, values, scale, cap, state + 2 * at, out + at * values);
    };
    size_t at = 0;
    for (; at + 8 <= count; at += 8) go(Count<8>(), at);
    if (at + 4 <= count) go(Count<4>(), at), at += 4;
    if (at + 2 <= count) go(Count<2>(), at), at += 2;
    if (at < count) go(Count<1>(), at);
}

template <class T>
FIRTH_INLINE void put(const float* key, const float* value, size_t depth, size_t values,
                      size_t stride, size_t place, void* page) {
    T* keys = (T*)page;
    T* to = keys + depth * kPageKeys + place * stride;
    constexpr size_t lanes = kLanesF32;
    const f32xN most = set1(sizeof(T) == 2 ? 65504.0f : __builtin_inff());
    T narrowed[lanes];
    for (size_t d = 0; d < depth; d += lanes) {
        narrow(narrowed,
               max(-most, min(load_up_to(key + d, depth - d < lanes ? depth - d : lanes), most)));
        for (size_t l = 0; l < lanes && d + l < depth; l++)
            keys[(d + l) * kPageKeys + place] = narrowed[l];
    }
    for (size_t e = 0; e < values; e += lanes) {
        const size_t n = values - e < lanes ? values - e : lanes;
        narrow(narrowed, max(-most, min(load_up_to(value + e, n), most)));
        memcpy(to + e, narrowed, n * sizeof(T));
    }
}

// What each of `count` queries (depth numbers each) sees of the pages of a head: the keys in
// [begins, ends), by their positions. state: count x 2, the greatest score (base 2) and the sum of
// weights; out: count x values, the weighted sum of values; values is a multiple of kPageValues.
// biases: what is added to the score of each key, by its position, up to the end of the page where
// the last query's keys end; or null. cap: of the scores (tanh), or 0.
void attend_pages_f16(const float* const* queries, const int64_t* begins, const int64_t* ends,
                      const float* const* biases, size_t count, const void* const* pages,
                      size_t page_count, int64_t first_key, size_t depth, size_t values,
                      float scale, float cap, float* state, float* out) {
    attend_all<uint16_t>(queries, begins, ends, biases, count, pages, page_count, first_key, depth,
                         values, scale, cap, state, out);
}
void attend_pages_f32(const float* const* queries, const int64_t* begins, const int64_t* ends,
                      const float* const* biases, size_t count, const void* const* pages,
                      size_t page_count, int64_t first_key, size_t depth, size_t values,
                      float scale, float cap, float* state, float* out) {
    attend_all<float>(queries, begins, ends, biases, count, pages, page_count, first_key, depth,
                      values, scale, cap, state, out);
}
// One token's key (depth) and value (values) to their place in the page of a head, whose rows of
// values are `stride` long. Numbers beyond float16 become its greatest.
void put_in_page_f16(const float* key, const float* value, size_t depth, size_t values,
                     size_t stride, size_t place, void* page) {
    put<uint16_t>(key, value, depth, values, stride, place, page);
}
void put_in_page_f32(const float* key, const float* value, size_t depth, size_t values,
                     size_t stride, size_t place, void* page) {
    put<float>(key, value, depth, values, stride, place, page);
}

}  // namespace firth::FIRTH_LEVEL
