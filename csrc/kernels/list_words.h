// Kernels of word windows: word_window.cpp.
#pragma once
#include "list.h"

#define FIRTH_WORD_KERNELS(K) \
    K(void, word_window_f32, \
      (float* const* in, size_t m, float* const* out, size_t n, size_t dim, const float* labels, \
       const float* times, float rate, float* scores, float* change, float* work)) \
    K(void, word_pair_f32, \
      (float* in, float* const* out, size_t n, size_t dim, const float* labels, float rate, \
       bool steps, float* scores, float* change, float* work)) \
    K(void, cbow_window_f32, \
      (float* const* in, size_t m, float* const* positive, float* const* negative, size_t n, \
       size_t dim, const float* times, float rate, float* scores, float* change, float* work)) \
    K(void, sum_rows_f32, \
      (const float* const* rows, size_t m, size_t dim, float scale, float* out)) \
    K(void, add_to_rows_f32, \
      (float* const* rows, size_t m, size_t dim, const float* scales, float scale, \
       const float* change))

FIRTH_DECLARE_LIST(FIRTH_WORD_KERNELS(FIRTH_DECLARE))
