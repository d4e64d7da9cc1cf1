// Kernels of elements: activation.cpp (activations and their gradients, sums of columns),
// arithmetic.cpp, dropout.cpp, transpose.cpp.
#pragma once
#include "list.h"

namespace firth {

// Functions of one element, with numbers a and b.
enum Map {
    kScale,       // x a
    kShift,       // x + a
    kQuotient,    // x / a
    kReciprocal,  // a / x
    kExp,
    kLog,
    kSqrt,
    kSquare,
    kAbs,
    kClamp,  // to [a, b]
    kPower   // x^a: engines/nn/arithmetic.cpp computes it
};

// Functions of two elements.
enum Combine {
    kAdd,
    kSub,
    kMul,
    kDiv,
    kFirst,
    kNegative,
    kNegativeDiv
};  // the last: a, -a, -a / b

}  // namespace firth

#define FIRTH_ACTIVATION_KERNELS(K, T, type) \
    K(void, activate, type, (const T* x, T* out, size_t n, int activation, double slope)) \
    K(void, activate_backward, type, \
      (const T* dy, const T* x, const T* y, T* dx, size_t n, int activation, double slope, \
       bool add)) \
    K(void, sum_columns, type, \
      (const T* x, ptrdiff_t stride, T* out, size_t rows, size_t n, bool add)) \
    K(double, total, type, (const T* x, size_t n)) \
    K(void, map, type, (int function, const T* x, T* out, size_t n, double a, double b)) \
    K(void, map_backward, type, \
      (int function, const T* dy, const T* x, const T* y, T* dx, size_t n, double a, double b, \
       bool add)) \
    K(void, combine, type, \
      (int function, const T* a, ptrdiff_t a_stride, const T* b, ptrdiff_t b_stride, T* out, \
       ptrdiff_t out_stride, size_t rows, size_t n, bool add)) \
    K(void, dropout, type, \
      (const T* x, T* out, size_t n, uint64_t key, int32_t limit, double scale, bool add)) \
    K(void, transpose, type, \
      (const T* x, ptrdiff_t x_stride, T* out, ptrdiff_t out_stride, size_t rows, size_t n, \
       bool add))

FIRTH_DECLARE_LIST(FIRTH_ACTIVATION_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_ACTIVATION_KERNELS(FIRTH_DECLARE_OF, double, f64))
