// Kernels of softmax and its gradient, for float and double: softmax.cpp, softmax_backward.cpp.
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
      (const T* x, ptrdiff_t x_stride, T* out, ptrdiff_t out_stride, size_t n, size_t columns)) \
    K(void, softmax_backward, type, \
      (const T* dy, ptrdiff_t dy_stride, const T* y, ptrdiff_t y_stride, T* dx, \
       ptrdiff_t dx_stride, size_t rows, size_t n)) \
    K(void, log_softmax_backward, type, \
      (const T* dy, ptrdiff_t dy_stride, const T* y, ptrdiff_t y_stride, T* dx, \
       ptrdiff_t dx_stride, size_t rows, size_t n))

FIRTH_DECLARE_LIST(FIRTH_SOFTMAX_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_SOFTMAX_KERNELS(FIRTH_DECLARE_OF, double, f64))
