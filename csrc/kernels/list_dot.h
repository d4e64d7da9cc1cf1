// Kernel of dot, for float and double: dot.cpp.
#pragma once
#include "list.h"

#define FIRTH_DOT_KERNELS(K, T, type) \
    K(void, dot, type, \
      (const T* a, ptrdiff_t a_stride, const T* b, ptrdiff_t b_stride, T* out, size_t rows, \
       size_t n))

FIRTH_DECLARE_LIST(FIRTH_DOT_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_DOT_KERNELS(FIRTH_DECLARE_OF, double, f64))
