// Threads pull chunks of rows; each keeps, per query, the best k that it has seen. A score has one
// definition (csrc/kernels/cosine_topk.cpp) and (score, index) is a total order, so the k best are
// the same set whoever scored what, and the merge needs no order of its own.
#include "engines/cosine_topk.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "parallel.h"

namespace firth {
namespace {

constexpr size_t kBlock = 128;             // rows scored at once, at most
constexpr size_t kBlockBytes = 256 << 10;  // they and their scores stay in L2
constexpr size_t kQueries = 256;           // queries that pass over a block together
constexpr size_t kSmall = 1 << 20;         // multiplications below which one thread does it all

struct Candidate {
    float score;
    int64_t index;
};

bool better(const Candidate& a, const Candidate& b) {
    return a.score > b.score || (a.score == b.score && a.index < b.index);
}

// The best k of what was added, unordered, with some more that have not been sorted out yet.
// Indices must be added in ascending order: a later one that equals the k-th best score loses.
struct Best {
    std::vector<Candidate> found;
    size_t k;
    float threshold = -std::numeric_limits<float>::infinity();

    Best(size_t keep, size_t capacity) : k(keep) { found.reserve(capacity); }

    void add(const float* scores, const uint32_t* places, size_t count, size_t first) {
        if (found.size() + count > found.capacity()) prune();
        for (size_t i = 0; i < count; i++)
            found.push_back({scores[places[i]], static_cast<int64_t>(first + places[i])});
        if (threshold == -std::numeric_limits<float>::infinity()) prune();
    }

    void prune() {
        if (found.size() < k) return;
        std::nth_element(found.begin(), found.begin() + static_cast<ptrdiff_t>(k - 1), found.end(),
                         better);
        found.resize(k);
        threshold = found[k - 1].score;
    }
};

// Unit vectors in rows of `stride` floats, zeros from n up; all zero for a zero query, all NaN for
// one that has no direction. The norm is summed in double: no float32 query overflows.
void normalize(const float* queries, ptrdiff_t query_stride, size_t count, size_t n, size_t stride,
               float* out) {
    for (size_t q = 0; q < count; q++) {
        const float* query = queries + static_cast<ptrdiff_t>(q) * query_stride;
        float* unit = out + q * stride;
        double square = 0;
        for (size_t i = 0; i < n; i++) square += static_cast<double>(query[i]) * query[i];
        const double norm = std::sqrt(square);
        for (size_t i = 0; i < n; i++)
            unit[i] = !std::isfinite(norm) ? std::numeric_limits<float>::quiet_NaN()
                      : norm == 0          ? 0.0f
                                           : static_cast<float>(query[i] / norm);
        std::fill(unit + n, unit + stride, 0.0f);
    }
}

}  // namespace

void row_norms(const Kernels& kernels, const float* keys, ptrdiff_t stride, size_t rows, size_t n,
               float* norms) {
    const size_t grain = std::max<size_t>(64, kSmall / 2 / (n + 1));
    parallel_for(rows, grain, [&](size_t begin, size_t end) {
        kernels.row_norms_f32(keys + static_cast<ptrdiff_t>(begin) * stride, stride, end - begin, n,
                              norms + begin);
    });
}

void cosine_topk(const Kernels& kernels, const float* queries, ptrdiff_t query_stride,
                 size_t query_count, const float* keys, ptrdiff_t key_stride, size_t key_count,
                 size_t n, const float* norms, size_t k, float* scores, int64_t* indices) {
    if (k == 0 || query_count == 0) return;
    // Room for the k best and for what comes in until they are sorted out again; at most about 64
    // MB a thread.
    const size_t capacity = std::min(2 * k, key_count) + 2 * kBlock;
    const size_t together =
        std::clamp<size_t>((size_t{64} << 20) / (capacity * sizeof(Candidate)), 1, kQueries);
    const size_t block_rows = std::clamp<size_t>(kBlockBytes / sizeof(float) / (n + 1), 16, kBlock);
    const size_t stride = (n + 15) / 16 * 16;
    std::vector<float> storage(std::min(query_count, together) * stride + 16);
    float* unit = storage.data();
    unit += (64 - reinterpret_cast<uintptr_t>(unit) % 64) % 64 / sizeof(float);

    for (size_t q = 0; q < query_count; q += together) {
        const size_t count = std::min(together, query_count - q);
        normalize(queries + static_cast<ptrdiff_t>(q) * query_stride, query_stride, count, n,
                  stride, unit);
        const bool small = key_count * (n + 1) * count < kSmall;
        const size_t workers = small ? 1 : static_cast<size_t>(num_threads());
        std::vector<std::vector<Best>> best(workers);
        for (auto& mine : best) mine.assign(count, Best(k, capacity));
        for (auto& mine : best)
            for (Best& b : mine) b.found.reserve(capacity);
        std::vector<std::vector<float>> block_scores(workers, std::vector<float>(count * kBlock));

        std::atomic<size_t> next{0};
        parallel_for(workers, 1, [&](size_t worker, size_t) {
            float* block = block_scores[worker].data();
            float block_norms[kBlock];
            uint32_t places[kBlock];
            for (size_t row; (row = next.fetch_add(block_rows)) < key_count;) {
                const size_t rows = std::min(block_rows, key_count - row);
                const float* x = keys + static_cast<ptrdiff_t>(row) * key_stride;
                const float* row_norm = norms ? norms + row : block_norms;
                if (!norms) kernels.row_norms_f32(x, key_stride, rows, n, block_norms);
                kernels.cosine_scores_f32(unit, stride, count, x, key_stride, rows, n, row_norm,
                                          block, kBlock);
                for (size_t i = 0; i < count; i++) {
                    Best& mine = best[worker][i];
                    const size_t hits =
                        kernels.select_above_f32(block + i * kBlock, rows, mine.threshold, places);
                    if (hits) mine.add(block + i * kBlock, places, hits, row);
                }
            }
        });

        parallel_for(count, small ? count : 16, [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; i++) {
                std::vector<Candidate>& all = best[0][i].found;
                for (size_t w = 1; w < workers; w++)
                    all.insert(all.end(), best[w][i].found.begin(), best[w][i].found.end());
                const size_t found = std::min(k, all.size());
                std::partial_sort(all.begin(), all.begin() + static_cast<ptrdiff_t>(found),
                                  all.end(), better);
                for (size_t j = 0; j < k; j++) {
                    const size_t place = (q + i) * k + j;
                    scores[place] = j < found ? all[j].score : std::nanf("");
                    indices[place] = j < found ? all[j].index : -1;
                }
            }
        });
    }
}

}  // namespace firth
