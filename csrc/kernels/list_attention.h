// Kernels of attention, besides those of the matrix product: attention.cpp.
#pragma once
#include "list.h"

#define FIRTH_ATTENTION_KERNELS(K) \
    K(void, attention_softmax_f32, \
      (float* scores, size_t keys, float scale, const float* mask, bool additive, \
       ptrdiff_t diagonal, float* state, float* out, size_t values, void* weights)) \
    K(void, attention_softmax_bf16, \
      (float* scores, size_t keys, float scale, const float* mask, bool additive, \
       ptrdiff_t diagonal, float* state, float* out, size_t values, void* weights)) \
    K(void, attention_finish_f32, \
      (const float* sums, const float* state, size_t queries, size_t values, float* out, \
       ptrdiff_t stride)) \
    K(void, attention_finish_bf16, \
      (const float* sums, const float* state, size_t queries, size_t values, uint16_t* out, \
       ptrdiff_t stride))

FIRTH_DECLARE_LIST(FIRTH_ATTENTION_KERNELS(FIRTH_DECLARE))
