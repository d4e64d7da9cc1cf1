// The shares that the queries of a text give its keys, for people to look at.
#pragma once
#include "engines/transformer/masks.h"

namespace firth::transformer {

// joined: queries, keys and values of a text, S x plan.joined(), whose attention shape and mask
// describe; to: H x S x S, 0 where a query sees nothing.
void shares(const Plan& plan, const AttentionShape& shape, const TextMask& mask,
            const float* joined, float* to);

}  // namespace firth::transformer
