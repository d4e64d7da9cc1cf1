// The kernels over a plain matrix: cosine_topk is a search over one segment that has no codes.
#include "engines/search/cosine_topk.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engines/search/search.h"
#include "engines/search/worker.h"
#include "parallel.h"
#include "sizes.h"

namespace firth::search {
namespace {

// body(widened, first, rows) over blocks of at most kExactRows rows, on at most `threads` threads.
template <class Body>
void for_blocks(const Kernels& kernels, const KeyRows& keys, size_t queries, int threads,
                const Body& body) {
    const size_t grain =
        std::max<size_t>(1, (size_t{1} << 20) / (kExactRows * (keys.n + 1)) / queries);
    const size_t blocks = divide_up(keys.rows, kExactRows);
    const auto some = [&](size_t begin, size_t end) {
        Widened widened(kernels, keys.n);
        for (size_t row = begin * kExactRows; row < std::min(end * kExactRows, keys.rows);
             row += kExactRows)
            body(widened, row, std::min(kExactRows, keys.rows - row));
    };
    parallel_for(blocks, grain, some, std::clamp(threads, 1, num_threads()));
}

}  // namespace

void row_norms(const Kernels& kernels, const KeyRows& keys, float* norms) {
    for_blocks(kernels, keys, 1, num_threads(), [&](Widened& widened, size_t first, size_t rows) {
        const float* data = widened.load(keys, first, rows);
        double squares[kExactRows];
        kernels.squared_norms_f64(data, widened.stride, rows, keys.n, squares);
        for (size_t r = 0; r < rows; r++)
            norms[first + r] = static_cast<float>(std::sqrt(squares[r]));
    });
}

void cosine_topk(const Kernels& kernels, const float* queries, ptrdiff_t query_stride,
                 size_t query_count, const KeyRows& keys, const float* norms, size_t k, int threads,
                 float* scores, int64_t* indices) {
    Segment all;
    all.keys = keys;
    all.norms = norms;
    Request request;
    request.metric = kCosine;
    request.queries = queries;
    request.stride = query_stride;
    request.query_count = query_count;
    request.n = keys.n;
    request.threads = threads;
    std::vector<int64_t> counts(query_count);
    topk(kernels, {all}, request, k, indices, scores, counts.data());
    for (size_t q = 0; q < query_count; q++)
        for (auto j = static_cast<size_t>(counts[q]); j < k; j++) {
            scores[q * k + j] = std::numeric_limits<float>::quiet_NaN();
            indices[q * k + j] = -1;
        }
}

void cosine_scores(const Kernels& kernels, const float* queries, ptrdiff_t query_stride,
                   size_t query_count, const KeyRows& keys, const float* norms, int threads,
                   float* scores) {
    if (query_count == 0) return;
    const ExactQueries exact(kernels, kCosine, queries, query_stride, query_count, keys.n);
    for_blocks(kernels, keys, query_count, threads,
               [&](Widened& widened, size_t first, size_t rows) {
                   const float* data = widened.load(keys, first, rows);
                   kernels.exact_scores_f32(kCosine, exact.row(0), exact.stride, query_count,
                                            exact.norms.data(), data, widened.stride, rows, keys.n,
                                            scores + first, keys.rows);
                   for (size_t r = first; norms && r < first + rows; r++)
                       for (size_t q = 0; q < query_count && norms[r] != norms[r]; q++)
                           scores[q * keys.rows + r] = std::numeric_limits<float>::quiet_NaN();
               });
}

}  // namespace firth::search
