// Attention of new tokens to the keys and values in their texts' caches.
#pragma once
#include "engines/transformer/cache.h"

namespace firth::transformer {

// Puts keys and values of a layer behind those that a cache has, where there is room for them.
// rows: `count` of plan.keys() keys and as many values, `stride` elements apart.
void put_in_cache(const Kernels& kernels, const Plan& plan, size_t layer, const Cache& cache,
                  const float* rows, ptrdiff_t stride, size_t count, int threads);

// The new tokens of one text. queries: count x plan.queries(), `stride` elements apart; out:
// count x plan.queries().
struct NewTokens {
    const Cache* cache;
    size_t count;
    const float* queries;
    ptrdiff_t stride;
    float* out;
};

// What tokens see of a cache.
struct Sight {
    // Each token sees what comes before it and itself; new ones stand behind those that the cache
    // has. Else all see what the cache has.
    bool causal;
    ptrdiff_t window = -1;            // how far a key may be away; -1: any distance
    const float* relative = nullptr;  // H lines of relative_line(longest), added to scores; or null
    size_t longest = 0;               // tokens, of the new ones and those before
};

// Numbers of a line: at longest - 1 - d that of a key d before its query; what comes behind
// belongs to keys that no query sees.
constexpr size_t relative_line(size_t longest) { return longest + 2 * kPageKeys; }

// Keys are summed over in segments, which threads share, and the segments' results added in their
// order: both depend on positions alone, so that a token has the same bits in any company. A token
// that sees nothing gets 0.
void attend_cached(const Kernels& kernels, const Plan& plan, size_t layer, const Sight& sight,
                   const NewTokens* texts, size_t count, int threads);

}  // namespace firth::transformer
