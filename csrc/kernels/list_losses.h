// Losses and their gradients: losses.cpp.
#pragma once
#include "list.h"

#define FIRTH_LOSS_KERNELS(K, T, type) \
    K(void, softmax_sums, type, \
      (const T* x, const T* weight, bool smooth, T* sums, size_t rows, size_t n)) \
    K(void, softmax_gradient, type, \
      (const T* x, T top, T factor, const T* weight, T smooth, T* dx, size_t n, bool add)) \
    K(double, difference_loss, type, \
      (const T* x, const T* y, T* out, size_t n, int kind, T delta)) \
    K(void, difference_loss_backward, type, \
      (const T* x, const T* y, const T* dy, T factor, T* dx, size_t n, int kind, T delta, \
       bool add)) \
    K(double, logistic_loss, type, \
      (const T* x, const T* y, const T* weight, const T* positive, T* out, size_t n)) \
    K(void, logistic_loss_backward, type, \
      (const T* x, const T* y, const T* weight, const T* positive, const T* dy, T factor, T* dx, \
       size_t n, bool add)) \
    K(void, scale, type, (const T* x, T factor, T* out, size_t n, bool add))

FIRTH_DECLARE_LIST(FIRTH_LOSS_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_LOSS_KERNELS(FIRTH_DECLARE_OF, double, f64))
