// Convolutions, pools and batch norms: convolution.cpp, pooling.cpp, batch_norm.cpp.
#pragma once
#include "list.h"

namespace firth {

// A sum over planes starts each of them on a multiple of so many elements: whole vectors of every
// level.
constexpr size_t kPlaneUnit = 16;

// Windows of a pool over planes: height x width to out_height x out_width.
struct PoolShape {
    size_t height, width, out_height, out_width;
    size_t kernel_y, kernel_x, stride_y, stride_x, top, left, dilation_y, dilation_x;
};

// What batch norm reads as channels: rows of n contiguous elements, stride apart. `columns`: each
// of the n is a channel of its own (n is a vector at most), else all are of one channel.
struct BatchRows {
    size_t rows, n;
    ptrdiff_t stride;
    bool columns;
};

}  // namespace firth

#define FIRTH_CONVOLUTION_KERNELS(K, T, type) \
    K(void, convolve, type, \
      (const T* a, const T* x, const ptrdiff_t* offsets, T* out, ptrdiff_t out_stride, size_t m, \
       size_t n, size_t k, bool accumulate)) \
    K(void, convolve_weights, type, \
      (const T* dz, ptrdiff_t dz_stride, ptrdiff_t dz_next, const T* x, const ptrdiff_t* offsets, \
       ptrdiff_t x_next, size_t parts, size_t n, T* out, ptrdiff_t out_stride, size_t m, size_t k, \
       bool add)) \
    K(void, copy_rows, type, \
      (const T* src, ptrdiff_t src_stride, const T* result, T* dst, ptrdiff_t dst_stride, \
       size_t rows, size_t n)) \
    K(void, finish_rows, type, \
      (const T* sums, ptrdiff_t stride, T bias, bool relu, T* out, ptrdiff_t out_stride, \
       size_t rows, size_t n, bool add)) \
    K(void, max_pool, type, \
      (const PoolShape& shape, const T* x, T* y, uint8_t* near, int64_t* far, size_t planes)) \
    K(void, max_pool_backward, type, \
      (const PoolShape& shape, const T* dy, const uint8_t* near, const int64_t* far, T* dx, \
       size_t planes, bool add)) \
    K(void, avg_pool, type, \
      (const PoolShape& shape, bool count_pad, const T* x, T* y, size_t planes)) \
    K(void, avg_pool_backward, type, \
      (const PoolShape& shape, bool count_pad, const T* dy, T* dx, size_t planes, bool add)) \
    K(void, batch_statistics, type, (const BatchRows& shape, const T* x, T* mean, T* variance)) \
    K(void, batch_scale, type, \
      (const BatchRows& shape, const T* x, const T* mean, const T* inverse, const T* weight, \
       const T* bias, T* y)) \
    K(void, batch_norm_sums, type, \
      (const BatchRows& shape, const T* dy, const T* x, const T* mean, const T* inverse, T* sums, \
       T* products)) \
    K(void, batch_norm_backward, type, \
      (const BatchRows& shape, const T* dy, const T* x, const T* mean, const T* inverse, \
       const T* weight, const T* sums, const T* products, T* dx, bool add))

FIRTH_DECLARE_LIST(FIRTH_CONVOLUTION_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_CONVOLUTION_KERNELS(FIRTH_DECLARE_OF, double, f64))
