// Runs texts through a stack of layers, without padding.
//
// Texts are put into groups that fit a cache; each group goes through all layers on one thread, the
// longest first. Where there are fewer groups than threads, the threads share each step of a group.
// The bits of a text depend on itself alone: every step works row by row, in an order that knows
// neither its neighbours nor the threads, and attention sees one text.
#pragma once
#include <stdint.h>

#include "engines/transformer/cache.h"
#include "engines/transformer/pooling.h"
#include "engines/transformer/stack.h"

namespace firth::transformer {

// N tokens of B texts, one behind the other.
struct Texts {
    const int32_t* ids;             // N, each below the number of tokens
    const int64_t* offsets;         // B + 1
    size_t count;                   // B
    const int32_t* types;           // N, or null: 0
    const int32_t* positions;       // N, or null: counted in each text
    const uint8_t* seen;            // N: which tokens are keys; or null: all
    const uint8_t* const* masks;    // B pointers to S x S: which keys a query sees; or null: all
    const float* memory;            // M x C, that of all texts; or null: nothing
    const int64_t* memory_offsets;  // B + 1
    const uint8_t* memory_seen;     // M: which of it are keys; or null: all
    // B caches of different texts, which these tokens follow and are put into; or null. Then the
    // stack is causal, and seen, masks and memory are null: caches have what is remembered.
    Cache* const* caches = nullptr;
    // With caches: B + 1, where the states of each text's last tokens go; or null: those of all
    // tokens, by `offsets`. The last layer leaves out the others.
    const int64_t* wanted = nullptr;
};

struct Outputs {
    float* hidden;      // N x D, or as many as are wanted; or null
    float* states;      // (layers + 1) x N x D, or null
    float* attentions;  // layers x texts, H x S x S each; or null
    Pooling pooling;    // of the tokens that are seen
    float* pooled;      // B x D, where there is pooling
    // layers x (D + H W + D + F), raised to the largest magnitudes of the inputs of the products:
    // joined, out, up, down; or null. For a single text.
    float* greatest;
};

void run(const Stack& stack, const Texts& texts, const Outputs& outputs);

// Puts keys and values of a memory (count x C) into a cache that is empty.
void remember(const Stack& stack, const float* memory, size_t count, Cache* cache);

// Scores of all tokens from states of `count` tokens (count x D): count x stack.head_outputs().
void run_head(const Stack& stack, const float* states, size_t count, float* scores);

}  // namespace firth::transformer
