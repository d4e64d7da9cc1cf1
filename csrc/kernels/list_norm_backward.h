// Norms that keep what their gradients need, and these: norm_backward.cpp.
#pragma once
#include "list.h"

#define FIRTH_NORM_BACKWARD_KERNELS(K, T, type) \
    K(void, norm_forward, type, \
      (const T* x, const T* gain, const T* bias, T eps, T* out, T* means, T* factors, size_t rows, \
       size_t n)) \
    K(void, norm_backward, type, \
      (const T* x, const T* dy, const T* gain, const T* means, const T* factors, T* dx, T* dgain, \
       T* dbias, size_t rows, size_t n, bool add))

FIRTH_DECLARE_LIST(FIRTH_NORM_BACKWARD_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_NORM_BACKWARD_KERNELS(FIRTH_DECLARE_OF, double, f64))
