// Kernels of the matrix product: gemm.cpp, gemm_pack.cpp.
#pragma once
#include "list.h"

#define FIRTH_GEMM_KERNELS(K) \
    K(void, gemm_f32, \
      (const void* a, const void* b, float* c, ptrdiff_t c_stride, size_t m, size_t n, size_t k, \
       bool accumulate)) \
    K(void, gemm_bf16, \
      (const void* a, const void* b, float* c, ptrdiff_t c_stride, size_t m, size_t n, size_t k, \
       bool accumulate)) \
    K(void, gemm_row_f32, \
      (const float* a, const float* b, ptrdiff_t b_stride, float* c, size_t n, size_t k, \
       bool accumulate)) \
    K(void, gemm_pack_a, (const void* src, ptrdiff_t stride, void* dst, size_t m, size_t bytes)) \
    K(void, gemm_pack_b_transposed, \
      (const void* src, ptrdiff_t stride, void* dst, size_t n, size_t bytes)) \
    K(void, gemm_pack_b_f32, (const float* src, ptrdiff_t stride, void* dst, size_t k, size_t n)) \
    K(void, gemm_pack_b_bf16, \
      (const uint16_t* src, ptrdiff_t stride, void* dst, size_t k, size_t n)) \
    K(void, gemm_pack_a_transposed_f32, \
      (const float* src, ptrdiff_t stride, void* dst, size_t k, size_t m)) \
    K(void, gemm_pack_a_transposed_bf16, \
      (const uint16_t* src, ptrdiff_t stride, void* dst, size_t k, size_t m))

FIRTH_DECLARE_LIST(FIRTH_GEMM_KERNELS(FIRTH_DECLARE))
