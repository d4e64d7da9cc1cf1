// Attention of networks that train, between the matrix products, and rotary positions:
// attention_backward.cpp.
#pragma once
#include "list.h"

namespace firth {

// What happens to a row of scores, common to a block of rows.
template <class T>
struct AttentionRows {
    T scale;
    const T* mask;          // rows of numbers that are added to the scores, or null
    ptrdiff_t mask_stride;  // elements from row to row, 0 where all have the same
    ptrdiff_t diagonal;     // row r sees columns up to diagonal + r
    const uint32_t* draws;  // dropout: a random number of each row; or null
    uint32_t dropped;       // chance of being dropped, in units of 2^-32
    T kept;                 // factor of what is not dropped
};

}  // namespace firth

#define FIRTH_ATTENTION_BACKWARD_KERNELS(K, T, type) \
    K(void, attention_mask, type, \
      (T * out, ptrdiff_t out_stride, const T* added, const uint8_t* flags, ptrdiff_t mask_stride, \
       bool dropped, const uint8_t* padding, size_t rows, size_t n)) \
    K(void, attention_weights, type, \
      (T * scores, ptrdiff_t stride, size_t rows, size_t keys, const AttentionRows<T>& of, \
       T* lse)) \
    K(void, attention_gradient, type, \
      (T * scores, T * gradients, size_t rows, size_t keys, size_t first_key, \
       const AttentionRows<T>& of, const T* lse, const T* totals)) \
    K(void, row_dots, type, \
      (const T* a, ptrdiff_t a_stride, const T* b, ptrdiff_t b_stride, size_t rows, size_t n, \
       T* out)) \
    K(void, put_panel, type, \
      (const T* panel, size_t n, size_t columns, T* out, ptrdiff_t out_stride, bool add)) \
    K(void, rotate, type, \
      (const T* x, T* out, const T* cosines, const T* sines, size_t heads, size_t half, bool back, \
       bool add))

FIRTH_DECLARE_LIST(FIRTH_ATTENTION_BACKWARD_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_ATTENTION_BACKWARD_KERNELS(FIRTH_DECLARE_OF, double, f64))
