// The k rows of a matrix with the highest cosine to each query, exact.
#pragma once
#include "engines/search/key_rows.h"
#include "kernels.h"

namespace firth::search {

// norms: keys.rows. The rows are split over the threads.
void row_norms(const Kernels& kernels, const KeyRows& keys, float* norms);

// queries: query_count x keys.n, at query_stride; norms: keys.rows, of which only NaN counts, which
// leaves a row out, or null. k <= keys.rows; threads: the most that work on it.
// scores, indices: query_count x k, by descending score, ties by ascending index; NaN and -1 where
// fewer than k rows have a cosine.
void cosine_topk(const Kernels& kernels, const float* queries, ptrdiff_t query_stride,
                 size_t query_count, const KeyRows& keys, const float* norms, size_t k, int threads,
                 float* scores, int64_t* indices);

// The same scores, all of them: scores: query_count x keys.rows, NaN where there is no cosine.
void cosine_scores(const Kernels& kernels, const float* queries, ptrdiff_t query_stride,
                   size_t query_count, const KeyRows& keys, const float* norms, int threads,
                   float* scores);

}  // namespace firth::search
