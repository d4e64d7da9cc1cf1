// Kernels of transformers beside the products and attention: norm.cpp (for float and double),
// rotary.cpp, quantize.cpp, gate.cpp, widen.cpp.
#pragma once
#include "../activations.h"
#include "list.h"

#define FIRTH_NORM_KERNELS(K, T, type) \
    K(void, layer_norm, type, \
      (const T* x, ptrdiff_t x_stride, const T* gain, const T* bias, double eps, T* out, \
       ptrdiff_t out_stride, size_t rows, size_t n)) \
    K(void, rms_norm, type, \
      (const T* x, ptrdiff_t x_stride, const T* gain, double eps, T* out, ptrdiff_t out_stride, \
       size_t rows, size_t n))

#define FIRTH_TRANSFORMER_KERNELS(K) \
    K(void, rotary_f32, \
      (float* x, ptrdiff_t row_stride, const float* cosines, const float* sines, \
       const int32_t* positions, size_t rows, size_t heads, size_t head_width, size_t rotated, \
       bool interleaved)) \
    K(void, quantize_rows, \
      (const float* x, ptrdiff_t stride, size_t rows, size_t n, uint8_t* codes, float* scales, \
       float* offsets, int32_t* sums)) \
    K(void, quantize_weights, \
      (const float* w, ptrdiff_t stride, size_t rows, size_t n, int8_t* codes, float* scales, \
       float* sums)) \
    K(void, gate_f32, \
      (const float* gate, const float* up, ptrdiff_t stride, float* out, ptrdiff_t out_stride, \
       size_t rows, size_t n, int activation)) \
    K(void, narrow_f32, \
      (const float* x, ptrdiff_t stride, uint16_t* out, ptrdiff_t out_stride, size_t rows, \
       size_t n))

FIRTH_DECLARE_LIST(FIRTH_NORM_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_NORM_KERNELS(FIRTH_DECLARE_OF, double, f64)
                           FIRTH_TRANSFORMER_KERNELS(FIRTH_DECLARE))
