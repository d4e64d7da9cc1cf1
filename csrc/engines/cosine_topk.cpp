// Threads pull blocks of rows; each keeps, per query, the best k that it has seen. A score has one
// definition, `cosine_scores_f32`, and (score, index) is a total order, so the k best are the same
// whoever scored what, and the merge needs no order of its own.
//
// Many queries at once are bound by arithmetic. Where bfloat16 products are twice as fast, a block
// is first multiplied in bfloat16, and only those rows get their score whose product says that they
// may be among the best. What it may be wrong by is bounded (`bound_of_bf16`), so that no row is
// missed: the filter changes the time, never a bit of the result.
#include "engines/cosine_topk.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "engines/gemm.h"
#include "parallel.h"

namespace firth {
namespace {

constexpr size_t kBlock = 128;              // rows of a block, at most
constexpr size_t kBlockStep = 32;           // a whole panel of the matrix product
constexpr size_t kBlockBytes = 256 << 10;   // a block and its scores stay in L2
constexpr size_t kQueries = 256;            // queries that pass over a block together
constexpr size_t kFilterQueries = 16;       // below, the scan is bound by memory
constexpr size_t kFilterRows = 64;          // rows per wanted one below which too many survive
constexpr size_t kSmall = size_t{1} << 20;  // multiplications below which one thread does it all
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Norms between these have a float32 inverse and no denormals that matter; the rows of others (0
// aside) are not filtered.
constexpr float kLeastNorm = 0x1p-100f, kGreatestNorm = 0x1p100f;

struct Candidate {
    float score;
    int64_t index;
};

bool better(const Candidate& a, const Candidate& b) {
    return a.score > b.score || (a.score == b.score && a.index < b.index);
}

// The best k of what was added, unordered, with some more that have not been sorted out yet.
// Indices must be added in ascending order: a later one that equals the k-th best score loses.
class Best {
  public:
    explicit Best(size_t k) : k_(k) {}

    void reserve(size_t rows) { found.reserve(std::min(2 * k_ + 32, rows + 1)); }

    void add(float score, size_t index) {
        if (!(score > threshold)) return;
        found.push_back({score, static_cast<int64_t>(index)});
        if (found.size() == k_ || found.size() == found.capacity()) {
            const auto last = found.begin() + static_cast<ptrdiff_t>(k_ - 1);
            std::nth_element(found.begin(), last, found.end(), better);
            found.resize(k_);
            threshold = last->score;
        }
    }

    std::vector<Candidate> found;
    float threshold = -kInfinity;

  private:
    size_t k_;
};

// Queries as unit vectors, in float32 and packed in bfloat16.
struct Queries {
    size_t count, stride;  // stride: n rounded up to a multiple of 16, zeros from n up
    AlignedBuffer unit;    // count x stride
    AlignedBuffer packed;  // for each block of K, what gemm_pack_a makes
    std::vector<float> bound;

    Queries(size_t most, size_t n)
        : stride((n + 15) / 16 * 16),
          unit(most * stride * sizeof(float)),
          packed(most * stride * sizeof(uint16_t)),
          bound(most) {}
    float* row(size_t q) const { return reinterpret_cast<float*>(unit.data()) + q * stride; }
};

// All zero for a zero query, all NaN for one without a direction. The norm is summed in double: no
// float32 query overflows.
void normalize(const float* query, size_t n, size_t stride, float* unit) {
    double square = 0;
    for (size_t i = 0; i < n; i++) square += static_cast<double>(query[i]) * query[i];
    const double norm = std::sqrt(square);
    for (size_t i = 0; i < n; i++)
        unit[i] = !std::isfinite(norm) ? std::numeric_limits<float>::quiet_NaN()
                  : norm == 0          ? 0.0f
                                       : static_cast<float>(query[i] / norm);
    std::fill(unit + n, unit + stride, 0.0f);
}

float widen(uint16_t bf16) {
    const uint32_t bits = static_cast<uint32_t>(bf16) << 16;
    float value;
    static_assert(sizeof value == sizeof bits);
    std::copy_n(reinterpret_cast<const char*>(&bits), sizeof bits, reinterpret_cast<char*>(&value));
    return value;
}

// How far the bfloat16 product p.y of a unit query q with a row x of norm m may be from its score.
// Exactly, p.y - q.x/m = (p - q).y + q.(y - x/m), so by Cauchy and Schwarz the rounding of the
// operands gives at most w |y| + |q| 2^-8 with w = |p - q| (bfloat16 rounds by 2^-8 at most). The
// sums add n 2^-24 for the product and, for the score, (n / 16 + 8) 2^-24 and n 2^-24 where
// products are denormal; all of that is doubled, and 1.01 covers that |q|, |y| and |x|/m are only
// nearly 1.
float bound_of_bf16(const float* query, const uint16_t* rounded, size_t n) {
    double square = 0;
    for (size_t i = 0; i < n; i++) {
        const double error = static_cast<double>(query[i]) - widen(rounded[i]);
        square += error * error;
    }
    const double sums = (2.0 * static_cast<double>(n) + static_cast<double>(n) / 16 + 32) * 0x1p-23;
    return static_cast<float>(1.01 * (std::sqrt(square) + 0x1p-8 + sums));
}

void pack(const Kernels& kernels, Queries& queries, size_t n) {
    const std::vector<float> ones(queries.count, 1.0f);
    std::vector<uint16_t> rounded(queries.count * queries.stride);
    kernels.unit_rows_bf16(queries.row(0), static_cast<ptrdiff_t>(queries.stride), queries.count, n,
                           ones.data(), 1, 1, rounded.data(), queries.stride);
    for (size_t q = 0; q < queries.count; q++)
        queries.bound[q] = bound_of_bf16(queries.row(q), rounded.data() + q * queries.stride, n);
    for (size_t first = 0; first < queries.stride; first += gemm_block_k<uint16_t>) {
        const size_t depth = std::min(gemm_block_k<uint16_t>, queries.stride - first);
        kernels.gemm_pack_a(rounded.data() + first,
                            static_cast<ptrdiff_t>(queries.stride * sizeof(uint16_t)),
                            queries.packed.data() + queries.count * first * sizeof(uint16_t),
                            queries.count, depth * sizeof(uint16_t));
    }
}

// A block of rows in float32: where they stand, or widened into a buffer that stays in cache.
class Block {
  public:
    Block(const Kernels& kernels, const KeyRows& keys, size_t most)
        : kernels_(kernels), keys_(keys), padded_((keys.n + 15) / 16 * 16) {
        if (keys.type != RowType::f32) buffer_ = AlignedBuffer(most * padded_ * sizeof(float));
    }

    void load(size_t first, size_t rows) {
        const ptrdiff_t offset = static_cast<ptrdiff_t>(first) * keys_.stride;
        auto* out = reinterpret_cast<float*>(buffer_.data());
        stride = keys_.type == RowType::f32 ? keys_.stride : static_cast<ptrdiff_t>(padded_);
        data = out;
        switch (keys_.type) {
            case RowType::f32:
                data = static_cast<const float*>(keys_.data) + offset;
                break;
            case RowType::f16:
                kernels_.widen_rows_f16(static_cast<const uint16_t*>(keys_.data) + offset,
                                        keys_.stride, rows, keys_.n, out, padded_);
                break;
            case RowType::bf16:
                kernels_.widen_rows_bf16(static_cast<const uint16_t*>(keys_.data) + offset,
                                         keys_.stride, rows, keys_.n, out, padded_);
                break;
            case RowType::i8:
                kernels_.widen_rows_i8(static_cast<const int8_t*>(keys_.data) + offset,
                                       keys_.stride, keys_.scales + first, rows, keys_.n, out,
                                       padded_);
                break;
        }
    }
    const float* row(size_t r) const { return data + static_cast<ptrdiff_t>(r) * stride; }

    const float* data = nullptr;
    ptrdiff_t stride = 0;

  private:
    const Kernels& kernels_;
    const KeyRows& keys_;
    size_t padded_;
    AlignedBuffer buffer_;
};

size_t rows_of_block(size_t n) {
    return std::clamp<size_t>(kBlockBytes / sizeof(float) / (n + 1) / kBlockStep * kBlockStep,
                              kBlockStep, kBlock);
}

// One thread's part of a search.
class Worker {
  public:
    Worker(const Kernels& kernels, const Queries& queries, const KeyRows& keys, const float* norms,
           size_t k, size_t block_rows, bool filter)
        : best(queries.count, Best(k)),
          kernels_(kernels),
          queries_(queries),
          keys_(keys),
          given_norms_(norms),
          filter_(filter),
          block_(kernels, keys, block_rows),
          scores_(queries.count * kBlock * sizeof(float)) {
        for (Best& b : best) b.reserve(keys.rows);
        if (filter) {
            rounded_ = AlignedBuffer(block_rows * queries.stride * sizeof(uint16_t));
            panels_ = AlignedBuffer((block_rows + kernels.gemm_columns) * queries.stride *
                                    sizeof(uint16_t));
        }
    }

    void search(size_t first, size_t rows) {
        block_.load(first, rows);
        // Rows that are near one another (a corpus of duplicates) pass any filter: then it is left
        // out. The first blocks, in which everything passes, are forgiven.
        if (filter_ && survivors_ <= products_ / 16 + 8 * kBlock * queries_.count)
            search_filtered(first, rows);
        else
            search_all(first, rows);
    }

    std::vector<Best> best;

  private:
    void search_all(size_t first, size_t rows) {
        float* scores = reinterpret_cast<float*>(scores_.data());
        kernels_.cosine_scores_f32(
            queries_.row(0), queries_.stride, queries_.count, block_.data, block_.stride, rows,
            keys_.n, given_norms_ ? given_norms_ + first : nullptr, norms_, scores, kBlock);
        for (size_t q = 0; q < queries_.count; q++, scores += kBlock) {
            const size_t count =
                kernels_.select_above_f32(scores, rows, best[q].threshold, places_);
            for (size_t i = 0; i < count; i++) best[q].add(scores[places_[i]], first + places_[i]);
        }
    }

    void search_filtered(size_t first, size_t rows) {
        const float* norms = given_norms_ ? given_norms_ + first : norms_;
        if (!given_norms_)
            kernels_.row_norms_f32(block_.data, block_.stride, rows, keys_.n, norms_);
        const size_t stride = queries_.stride;
        auto* rounded = reinterpret_cast<uint16_t*>(rounded_.data());
        float* products = reinterpret_cast<float*>(scores_.data());
        kernels_.unit_rows_bf16(block_.data, block_.stride, rows, keys_.n, norms, kLeastNorm,
                                kGreatestNorm, rounded, stride);
        for (size_t k = 0; k < stride; k += gemm_block_k<uint16_t>) {
            const size_t depth = std::min(gemm_block_k<uint16_t>, stride - k);
            kernels_.gemm_pack_b_transposed(rounded + k,
                                            static_cast<ptrdiff_t>(stride * sizeof(uint16_t)),
                                            panels_.data(), rows, depth * sizeof(uint16_t));
            kernels_.gemm_bf16(queries_.packed.data() + queries_.count * k * sizeof(uint16_t),
                               panels_.data(), products, kBlock, queries_.count, rows, depth,
                               k > 0);
        }
        // Rows that are not filtered pass for every query (but those that have no cosine at all).
        uint32_t unfiltered[kBlock];
        size_t passing = 0;
        for (size_t r = 0; r < rows; r++)
            if (norms[r] != 0 && norms[r] < kInfinity &&
                !(norms[r] >= kLeastNorm && norms[r] <= kGreatestNorm))
                unfiltered[passing++] = static_cast<uint32_t>(r);
        for (size_t q = 0; q < queries_.count; q++, products += kBlock) {
            size_t count = kernels_.select_above_f32(
                products, rows, best[q].threshold - queries_.bound[q], places_);
            if (passing) {
                std::copy_n(unfiltered, passing, places_ + count);
                std::inplace_merge(places_, places_ + count, places_ + count + passing);
                count =
                    static_cast<size_t>(std::unique(places_, places_ + count + passing) - places_);
            }
            for (size_t i = 0; i < count; i++) {
                float score;
                kernels_.cosine_scores_f32(queries_.row(q), stride, 1, block_.row(places_[i]),
                                           block_.stride, 1, keys_.n, norms + places_[i], nullptr,
                                           &score, 1);
                best[q].add(score, first + places_[i]);
            }
            survivors_ += count;
        }
        products_ += queries_.count * rows;
    }

    const Kernels& kernels_;
    const Queries& queries_;
    const KeyRows& keys_;
    const float* given_norms_;  // or null
    bool filter_;
    Block block_;
    size_t survivors_ = 0, products_ = 0;
    AlignedBuffer scores_, rounded_, panels_;
    float norms_[kBlock];
    uint32_t places_[2 * kBlock];
};

// The best k of all workers for query q, sorted; scores, indices: k.
void merge(std::vector<Worker>& workers, size_t q, size_t k, float* scores, int64_t* indices) {
    std::vector<Candidate> all;
    for (const Worker& w : workers)
        all.insert(all.end(), w.best[q].found.begin(), w.best[q].found.end());
    const size_t found = std::min(k, all.size());
    std::partial_sort(all.begin(), all.begin() + static_cast<ptrdiff_t>(found), all.end(), better);
    for (size_t j = 0; j < k; j++) {
        scores[j] = j < found ? all[j].score : std::numeric_limits<float>::quiet_NaN();
        indices[j] = j < found ? all[j].index : -1;
    }
}

// body(worker, first, rows) over blocks of the rows, by at most `threads` workers at once.
template <class Body>
void for_blocks(const KeyRows& keys, size_t block_rows, size_t workers, const Body& body) {
    std::atomic<size_t> next{0};
    parallel_for(workers, 1, [&](size_t worker, size_t) {
        for (size_t row; (row = next.fetch_add(block_rows)) < keys.rows;)
            body(worker, row, std::min(block_rows, keys.rows - row));
    });
}

size_t workers_for(const KeyRows& keys, size_t queries, int threads) {
    const bool small = keys.rows * (keys.n + 1) * queries < kSmall;
    return small ? 1 : static_cast<size_t>(std::clamp(threads, 1, num_threads()));
}

void normalize_all(Queries& part, const float* queries, ptrdiff_t stride, size_t n) {
    for (size_t i = 0; i < part.count; i++)
        normalize(queries + static_cast<ptrdiff_t>(i) * stride, n, part.stride, part.row(i));
}

}  // namespace

void row_norms(const Kernels& kernels, const KeyRows& keys, float* norms) {
    const size_t block_rows = rows_of_block(keys.n);
    const size_t workers = workers_for(keys, 1, num_threads());
    std::vector<Block> blocks;
    for (size_t i = 0; i < workers; i++) blocks.emplace_back(kernels, keys, block_rows);
    for_blocks(keys, block_rows, workers, [&](size_t worker, size_t first, size_t rows) {
        Block& block = blocks[worker];
        block.load(first, rows);
        kernels.row_norms_f32(block.data, block.stride, rows, keys.n, norms + first);
    });
}

void cosine_topk(const Kernels& kernels, const float* queries, ptrdiff_t query_stride,
                 size_t query_count, const KeyRows& keys, const float* norms, size_t k, int threads,
                 float* scores, int64_t* indices) {
    if (k == 0 || query_count == 0) return;
    const size_t block_rows = rows_of_block(keys.n);
    // The candidates of a large k take at most about 64 MB a thread.
    const size_t together = std::min(
        query_count,
        std::clamp<size_t>((size_t{64} << 20) / ((2 * k + 32) * sizeof(Candidate)), 1, kQueries));
    Queries part(together, keys.n);
    for (size_t q = 0; q < query_count; q += together) {
        part.count = std::min(together, query_count - q);
        normalize_all(part, queries + static_cast<ptrdiff_t>(q) * query_stride, query_stride,
                      keys.n);
        const bool filter = kernels.native_bf16 && part.count >= kFilterQueries &&
                            keys.rows / kFilterRows >= k && keys.n > 0;
        if (filter) pack(kernels, part, keys.n);
        std::vector<Worker> workers;
        for (size_t i = workers_for(keys, part.count, threads); i > 0; i--)
            workers.emplace_back(kernels, part, keys, norms, k, block_rows, filter);
        for_blocks(keys, block_rows, workers.size(), [&](size_t worker, size_t first, size_t rows) {
            workers[worker].search(first, rows);
        });
        for (size_t i = 0; i < part.count; i++)
            merge(workers, i, k, scores + (q + i) * k, indices + (q + i) * k);
    }
}

void cosine_scores(const Kernels& kernels, const float* queries, ptrdiff_t query_stride,
                   size_t query_count, const KeyRows& keys, const float* norms, int threads,
                   float* scores) {
    const size_t block_rows = rows_of_block(keys.n), together = std::min(query_count, kQueries);
    if (query_count == 0) return;
    Queries part(together, keys.n);
    for (size_t q = 0; q < query_count; q += together) {
        part.count = std::min(together, query_count - q);
        normalize_all(part, queries + static_cast<ptrdiff_t>(q) * query_stride, query_stride,
                      keys.n);
        const size_t workers = workers_for(keys, part.count, threads);
        std::vector<Block> blocks;
        for (size_t i = 0; i < workers; i++) blocks.emplace_back(kernels, keys, block_rows);
        for_blocks(keys, block_rows, workers, [&](size_t worker, size_t first, size_t rows) {
            Block& block = blocks[worker];
            block.load(first, rows);
            float computed[kBlock];
            kernels.cosine_scores_f32(part.row(0), part.stride, part.count, block.data,
                                      block.stride, rows, keys.n, norms ? norms + first : nullptr,
                                      computed, scores + q * keys.rows + first, keys.rows);
        });
    }
}

}  // namespace firth
