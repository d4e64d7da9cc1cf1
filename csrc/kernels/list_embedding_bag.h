// Kernel of embedding_bag for four types of tables: embedding_bag.cpp.
#pragma once
#include "list.h"

#define FIRTH_EMBEDDING_BAG_KERNEL(K, T, type) \
    K(void, embedding_bag_##type, \
      (const T* table, ptrdiff_t stride, const int32_t* rows, const int64_t* offsets, size_t bags, \
       const float* weights, bool normalize, size_t dim, float* out))

#define FIRTH_EMBEDDING_BAG_KERNELS(K) \
    FIRTH_EMBEDDING_BAG_KERNEL(K, float, f32) \
    FIRTH_EMBEDDING_BAG_KERNEL(K, uint16_t, bf16) \
    FIRTH_EMBEDDING_BAG_KERNEL(K, uint16_t, f16) \
    FIRTH_EMBEDDING_BAG_KERNEL(K, int8_t, i8)

FIRTH_DECLARE_LIST(FIRTH_EMBEDDING_BAG_KERNELS(FIRTH_DECLARE))
