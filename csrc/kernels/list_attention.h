// Kernels of attention, besides those of the matrix product: attention.cpp,
// paged_attention.cpp.
#pragma once
#include "list.h"

namespace firth {

// Keys and values of a head that stay from call to call, for paged_attention.cpp: a page has those
// of kPageKeys tokens, depth x kPageKeys keys, then kPageKeys x values; what is not filled is 0.
constexpr size_t kPageKeys = 64;
constexpr size_t kPageValues = 64;  // rows of values are padded to a multiple of it

}  // namespace firth
#define FIRTH_PAGED_KERNELS(K, type) \
    K(void, attend_pages_##type, \
      (const float* const* queries, const int64_t* begins, const int64_t* ends, \
       const float* const* biases, size_t count, const void* const* pages, size_t page_count, \
       int64_t first_key, size_t depth, size_t values, float scale, float cap, float* state, \
       float* out)) \
    K(void, put_in_page_##type, \
      (const float* key, const float* value, size_t depth, size_t values, size_t stride, \
       size_t place, void* page))

#define FIRTH_PAGE_KERNELS(K) \
    FIRTH_PAGED_KERNELS(K, f16) \
    FIRTH_PAGED_KERNELS(K, f32)

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

FIRTH_DECLARE_LIST(FIRTH_PAGE_KERNELS(FIRTH_DECLARE))
FIRTH_DECLARE_REFINED(FIRTH_ATTENTION_KERNELS(FIRTH_DECLARE))
