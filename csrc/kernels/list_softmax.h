// Kernels of softmax, for float and double: softmax.cpp.
#pragma once
#include "list.h"

#define FIRTH_SOFTMAX_KERNELS(K, T, type) \
    K(void, softmax, type, \
      (const T* x, ptrdiff_t x_stride, ptrdiff_t x_step, T* out, ptrdiff_t out_stride, \
       size_t rows, size_t n)) \
    K(void, softmax_columns, type, \
      (const T* x, ptrdiff_t x_stride, T* out, ptrdiff_t out_stride, size_t n, size_t columns)) \
    K(void, log_softmax, type, \
      (const T* x, ptrdiff_t x_stride, ptrdiff_t x_step, T* out, ptrdiff_t out_stride, \
       size_t rows, size_t n)) \
    K(void, log_softmax_columns, type, \
      (const T* x, ptrdiff_t x_stride, T* out, ptrdiff_t out_stride, size_t n, size_t columns))

FIRTH_DECLARE_LIST(FIRTH_SOFTMAX_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_SOFTMAX_KERNELS(FIRTH_DECLARE_OF, double, f64))
