// softmax(scale Q K^T + mask) V for many heads, in blocks: never more than a panel of scores.
//
// T = float or uint16_t (bfloat16 bits); sums are float32. The order of every sum is fixed by the
// position of the key: the same bits in any batch, with padding keys masked away, on any number of
// threads.
#pragma once
#include "engines/keys_values.h"

namespace firth {

// Common to all heads. Strides are in elements; rows of query, key, value and out are contiguous.
struct AttentionShape {
    size_t queries, keys, depth, values;  // L, S, E, Ev
    ptrdiff_t query_stride, key_stride, value_stride, out_stride;
    ptrdiff_t mask_stride, mask_key_stride;
    enum Mask { none, boolean, additive } mask;  // boolean: bytes, 1 = take part; additive: float
    bool causal;                                 // query i sees keys 0 to i
    double scale;                                // finite in float32, not negative
};

template <class T>
struct AttentionHead {
    const T *query, *key, *value;
    size_t packed;  // where keys and values are packed: the number of the head among them
    const void* mask;
    T* out;
    float* lse;  // logarithm of the sum of the exponentials of each query; contiguous, or null
};

// Heads that share key and value should follow each other: they are packed once. packed: their keys
// and values, or null where heads have their own.
template <class T>
void attention(const Kernels& kernels, const AttentionShape& shape, const AttentionHead<T>* heads,
               size_t count, const KeysValues* packed);

}  // namespace firth
