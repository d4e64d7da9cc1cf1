// Kernels of the matrix product, a row of `Gemm` for each type: gemm.cpp, gemm_pack.cpp,
// gemm_finish.cpp; table.cpp fills the rows.
#pragma once
#include "../activations.h"
#include "list.h"

namespace firth {

// What a product does to its finished sums: C = activation(scale C + bias) + residual. Unsigned by
// signed bytes, of which row i stands for row_offsets[i] + row_scales[i] a and column j for
// column_scales[j] b, with sums column_sums of b: in place of scale C the float32
//   (row_scales[i] C + row_offsets[i] column_sums[j]) column_scales[j] + sum_r left[i, r] right[r,
//   j]
// whose last part holds what is not left to bytes.
struct Epilogue {
    double scale;
    int activation;
    const void *bias, *residual;  // of the type of the result: n, and m x n; or null
    ptrdiff_t stride;             // of residual, in elements
    const float *row_scales = nullptr, *row_offsets = nullptr;     // m; bytes only
    const float *column_scales = nullptr, *column_sums = nullptr;  // n
    const float *left = nullptr, *right = nullptr;                 // m x rank; rank x n
    size_t rank = 0;
    ptrdiff_t right_stride = 0;
};

// What a level does with one type of operands in the product C = A B (engines/gemm.h): the layout
// of packed operands, which is the level's own, the register tile, and the functions. Strides of A
// and B are in bytes; `transposed` means that src is the transpose of what is packed.
struct Gemm {
    size_t element, sum;   // bytes of an element of A and B, and of C
    size_t packed;         // bytes of an element of packed A and B
    size_t step;           // packed operands are padded to a multiple of it along K
    size_t block;          // along K between two stores of C: it sets the order of the sums
    size_t rows, columns;  // the register tile; packed B consists of panels of `columns`
    // A: m rows of round_up(k, step) elements. B: panels of as many for each column.
    void (*pack_a)(const void* src, ptrdiff_t stride, void* dst, size_t m, size_t k);
    void (*pack_a_transposed)(const void* src, ptrdiff_t stride, void* dst, size_t m, size_t k);
    void (*pack_b)(const void* src, ptrdiff_t stride, void* dst, size_t n, size_t k);
    void (*pack_b_transposed)(const void* src, ptrdiff_t stride, void* dst, size_t n, size_t k);
    // the inverse of pack_a; null for types that nobody unpacks
    void (*unpack_a)(const void* src, void* dst, ptrdiff_t stride, size_t m, size_t k);
    // C (+)= A B, packed; c_stride in elements
    void (*multiply)(const void* a, const void* b, void* c, ptrdiff_t c_stride, size_t m, size_t n,
                     size_t k, bool accumulate);
    // c (+)= a B for one contiguous row and B as it lies, k x n; null where packing costs less
    void (*row)(const void* a, const void* b, ptrdiff_t b_stride, void* c, size_t n, size_t k,
                bool accumulate);
    // null: sums of signed bytes have no epilogue
    void (*finish)(void* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& epilogue);
};

}  // namespace firth

#define FIRTH_GEMM_KERNELS(K, type) \
    K(void, gemm_pack_a, type, (const void* src, ptrdiff_t stride, void* dst, size_t m, size_t k)) \
    K(void, gemm_pack_a_transposed, type, \
      (const void* src, ptrdiff_t stride, void* dst, size_t m, size_t k)) \
    K(void, gemm_pack_b, type, (const void* src, ptrdiff_t stride, void* dst, size_t n, size_t k)) \
    K(void, gemm_pack_b_transposed, type, \
      (const void* src, ptrdiff_t stride, void* dst, size_t n, size_t k)) \
    K(void, gemm_multiply, type, \
      (const void* a, const void* b, void* c, ptrdiff_t c_stride, size_t m, size_t n, size_t k, \
       bool accumulate))

#define FIRTH_GEMM_UNPACK_KERNELS(K, type) \
    K(void, gemm_unpack_a, type, (const void* src, void* dst, ptrdiff_t stride, size_t m, size_t k))

#define FIRTH_GEMM_ROW_KERNELS(K, type) \
    K(void, gemm_row, type, \
      (const void* a, const void* b, ptrdiff_t b_stride, void* c, size_t n, size_t k, \
       bool accumulate))

#define FIRTH_GEMM_FINISH_KERNELS(K, type) \
    K(void, gemm_finish, type, \
      (void* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& epilogue))

// clang-format off
FIRTH_DECLARE_REFINED(FIRTH_GEMM_KERNELS(FIRTH_DECLARE_OF, f32)
                      FIRTH_GEMM_KERNELS(FIRTH_DECLARE_OF, f64)
                      FIRTH_GEMM_KERNELS(FIRTH_DECLARE_OF, bf16)
                      FIRTH_GEMM_KERNELS(FIRTH_DECLARE_OF, u8s8)
                      FIRTH_GEMM_KERNELS(FIRTH_DECLARE_OF, s8s8)
                      FIRTH_GEMM_UNPACK_KERNELS(FIRTH_DECLARE_OF, f32)
                      FIRTH_GEMM_UNPACK_KERNELS(FIRTH_DECLARE_OF, f64)
                      FIRTH_GEMM_UNPACK_KERNELS(FIRTH_DECLARE_OF, bf16)
                      FIRTH_GEMM_ROW_KERNELS(FIRTH_DECLARE_OF, f32)
                      FIRTH_GEMM_ROW_KERNELS(FIRTH_DECLARE_OF, f64))
FIRTH_DECLARE_LIST(FIRTH_GEMM_FINISH_KERNELS(FIRTH_DECLARE_OF, f32)
                   FIRTH_GEMM_FINISH_KERNELS(FIRTH_DECLARE_OF, f64)
                   FIRTH_GEMM_FINISH_KERNELS(FIRTH_DECLARE_OF, u8s8))
// clang-format on
