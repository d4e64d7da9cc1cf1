// Attention of new tokens to the keys and values in their texts' caches.
#pragma once
#include "engines/transformer/cache.h"

namespace firth::transformer {

// The new tokens of one text, which follow those that its cache has. joined: queries, keys and
// values, count x plan.joined(); out: count x plan.queries().
struct NewTokens {
    Cache* cache;
    size_t count;
    const float* joined;
    float* out;
};

// Puts keys and values of a layer into the caches, which have room for them, and attends: each
// token sees what comes before it, itself, and no key that is farther away than `window` (-1: any).
//
// Keys are summed over in segments, which threads share, and the segments' results added in their
// order: both depend on positions alone, so that a token has the same bits in any company.
void attend_cached(const Kernels& kernels, const Plan& plan, size_t layer, ptrdiff_t window,
                   const NewTokens* texts, size_t count, int threads);

}  // namespace firth::transformer
