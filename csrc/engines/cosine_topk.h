// The k rows of a matrix with the highest cosine to each query, exact.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

namespace firth {

// keys: rows x n, row r at keys + r * stride; norms: rows. The rows are split over the threads.
void row_norms(const Kernels& kernels, const float* keys, ptrdiff_t stride, size_t rows, size_t n,
               float* norms);

// queries: query_count x n, at query_stride; keys: key_count x n, at key_stride; norms: key_count,
// or null: then they are computed on the way. k <= key_count.
// scores, indices: query_count x k, by descending score, ties by ascending index; NaN and -1 where
// fewer than k rows have a cosine.
void cosine_topk(const Kernels& kernels, const float* queries, ptrdiff_t query_stride,
                 size_t query_count, const float* keys, ptrdiff_t key_stride, size_t key_count,
                 size_t n, const float* norms, size_t k, float* scores, int64_t* indices);

}  // namespace firth
