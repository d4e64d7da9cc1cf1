// The packed matrix product: C[M, N] (+)= A[M, K] B[K, N], float32 result, operands T = float or
// uint16_t (bfloat16 bits). BLIS loop nest over the kernels gemm_* of one ISA level.
//
// Each element of C is summed along K in blocks of `gemm_block_k`, in an order that depends on K
// and the level alone: the same bits for any M, N, place in the batch and number of threads.
#pragma once
#include <memory>

#include "kernels.h"

namespace firth {

// Memory for packed operands and scratch, aligned to cache lines; not initialised.
class AlignedBuffer {
  public:
    AlignedBuffer() = default;
    explicit AlignedBuffer(size_t bytes);
    char* data() const { return data_; }

  private:
    std::unique_ptr<char[]> memory_;
    char* data_ = nullptr;
};

// At least `bytes` of scratch that belongs to the calling thread; `slot` tells users apart that are
// active at the same time: 0 to 2 are the own ones of gemm.
char* thread_scratch(int slot, size_t bytes);

// B as the caller holds it: row-major k x n, or transposed: row-major n x k (weights, keys).
template <class T>
struct Operand {
    const T* data;
    ptrdiff_t stride;  // elements from row to row
    bool transposed;
};

// B packed for one level: for each block of K, panels of gemm_columns columns, the last one padded.
template <class T>
struct Packed {
    const char* data;
    size_t k, n;
};

// Elements of K in a block: 384 units of 4 bytes, so that a tile of A fills two thirds of L1d.
template <class T>
constexpr size_t gemm_block_k = 384 * 4 / sizeof(T);

template <class T>
size_t gemm_packed_bytes(const Kernels& kernels, size_t k, size_t n);

// On the calling thread. `packed` has gemm_packed_bytes bytes, aligned to 64.
template <class T>
Packed<T> gemm_pack(const Kernels& kernels, const Operand<T>& b, size_t k, size_t n, char* packed);

// The same, on all threads.
template <class T>
Packed<T> gemm_pack_parallel(const Kernels& kernels, const Operand<T>& b, size_t k, size_t n,
                             char* packed);

// C (+)= A B[:, column : column + n] on the calling thread. a: m x k, a_stride elements apart;
// column: a multiple of gemm_columns; c: m x n, c_stride apart, its first column that of `column`.
template <class T>
void gemm_serial(const Kernels& kernels, const T* a, ptrdiff_t a_stride, const Packed<T>& b,
                 float* c, ptrdiff_t c_stride, size_t m, size_t column, size_t n, bool accumulate);

// C (+)= A B on all threads.
template <class T>
void gemm(const Kernels& kernels, const T* a, ptrdiff_t a_stride, const Packed<T>& b, float* c,
          ptrdiff_t c_stride, size_t m, bool accumulate = false);

// The same with B not packed yet: packs and multiplies a few megabytes of B at a time.
template <class T>
void gemm(const Kernels& kernels, const T* a, ptrdiff_t a_stride, const Operand<T>& b, float* c,
          ptrdiff_t c_stride, size_t m, size_t k, size_t n, bool accumulate = false);

}  // namespace firth
