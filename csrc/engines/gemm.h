// The packed matrix product: C[M, N] = A[M, K] B[K, N], for each type that a level has a row of
// `Gemm` for. BLIS loop nest over the functions of that row; it alone knows the packed layout.
//
// Each element of C is summed along K in blocks of `block`, in an order that depends on K and the
// level alone (for bfloat16 at v4x also on the CPU's vendor: levels.cpp), and an epilogue is
// applied to the finished sum: the same bits for any M, N, place in the batch and number of
// threads.
#pragma once
#include "kernels.h"
#include "parallel.h"
#include "sizes.h"

namespace firth {

// A matrix as the caller holds it: row-major, or the transpose of one that is (weights, keys).
struct Operand {
    const char* data;
    ptrdiff_t stride;  // bytes from row to row
    bool transposed;
};

// B packed for one level: for each block of K, panels of `columns` columns, the last one padded.
struct Packed {
    const char* data;
    size_t k, n;
};

// C, m x n of the type's sums, row-major.
struct Result {
    char* data;
    ptrdiff_t stride;          // elements from row to row
    const Epilogue* epilogue;  // or null
    bool accumulate = false;   // adds to C, which a part of K gave that ends with a whole block
};

// Products with fewer multiplications run on one thread: waking another costs more.
constexpr double kSerialFlops = 2e6;

// Bytes of k elements of a packed row of A, or column of B.
inline size_t packed_k(const Gemm& type, size_t k) { return round_up(k, type.step) * type.packed; }

size_t gemm_packed_bytes(const Gemm& type, size_t k, size_t n);

// b: k x n; packed: gemm_packed_bytes bytes, aligned to 64.
Packed gemm_pack(const Gemm& type, const Operand& b, size_t k, size_t n, char* packed,
                 int threads = num_threads());

// a: m x b.k; c: m x b.n
void gemm(const Gemm& type, const Operand& a, const Packed& b, const Result& c, size_t m,
          int threads = num_threads());

// The same with B not packed yet: packs and multiplies a few megabytes of B at a time.
void gemm(const Gemm& type, const Operand& a, const Operand& b, const Result& c, size_t m, size_t k,
          size_t n, int threads = num_threads());

}  // namespace firth
