// Activations and their gradients, and sums of columns: activation.cpp.
#pragma once
#include "list.h"

#define FIRTH_ACTIVATION_KERNELS(K, T, type) \
    K(void, activate, type, (const T* x, T* out, size_t n, int activation, double slope)) \
    K(void, activate_backward, type, \
      (const T* dy, const T* x, const T* y, T* dx, size_t n, int activation, double slope, \
       bool add)) \
    K(void, sum_columns, type, \
      (const T* x, ptrdiff_t stride, T* out, size_t rows, size_t n, bool add))

FIRTH_DECLARE_LIST(FIRTH_ACTIVATION_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_ACTIVATION_KERNELS(FIRTH_DECLARE_OF, double, f64))
