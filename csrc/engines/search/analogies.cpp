#include "engines/search/analogies.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "caches.h"
#include "engines/gemm.h"
#include "engines/search/codes.h"
#include "engines/search/worker.h"
#include "memory.h"
#include "parallel.h"
#include "sizes.h"

namespace firth::search {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kTogether = 256;       // analogies that meet a chunk of rows in one call
constexpr size_t kMostColumns = 512;    // rows of a chunk
constexpr size_t kMostKept = 32;        // candidates of an analogy
constexpr size_t kScoredTogether = 64;  // analogies whose candidates are scored by one task

struct Candidate {
    float sum;
    size_t row;
};

// Of each analogy, those of the rows seen so far that may be among its best k.
class Candidates {
  public:
    Candidates(size_t count, size_t k, size_t n)
        : k_(k),
          margin_(analogy_margin(n)),
          least_(std::make_unique<std::atomic<float>[]>(count)),
          kept_(count) {
        std::fill_n(least_.get(), count, -kInfinity);
    }

    // The sum from which on a row is a candidate; infinity: there are too many.
    float least(size_t q) const { return least_[q].load(std::memory_order_relaxed); }

    void add(size_t q, const Candidate* more, size_t count) {
        Kept& kept = kept_[q];
        const std::lock_guard<std::mutex> lock(kept.mutex);
        for (size_t i = 0; i < count; i++) {
            if (!(more[i].sum >= least(q))) continue;
            kept.rows[kept.count++] = more[i];
            if (kept.count == kept.full) {
                narrow(q);
                kept.full = kept.count + k_;
                if (kept.full > kMostKept) least_[q] = kInfinity;
            }
        }
    }

    // The rest, without what cannot be among the best: pointers to the first and behind the last.
    std::pair<const Candidate*, const Candidate*> narrow(size_t q) {
        Kept& kept = kept_[q];
        Candidate *const first = kept.rows, *last = first + kept.count;
        if (kept.count > k_) {
            std::nth_element(first, first + k_ - 1, last,
                             [](const auto& x, const auto& y) { return x.sum > y.sum; });
            const float least = below(static_cast<double>(first[k_ - 1].sum) - margin_);
            last = std::partition(first + k_, last, [&](const auto& x) { return x.sum >= least; });
            kept.count = static_cast<size_t>(last - first);
            least_[q] = least;
        }
        return {first, last};
    }

  private:
    struct Kept {
        std::mutex mutex;
        size_t count = 0, full = kMostKept / 2;
        Candidate rows[kMostKept];
    };
    const size_t k_;
    const double margin_;
    const std::unique_ptr<std::atomic<float>[]> least_;
    std::vector<Kept> kept_;
};

// Words times rows: packed once, multiplied with a chunk of rows at a time.
class Products {
  public:
    Products(const Kernels& kernels, const Analogies& asked, size_t n)
        : type_(kernels.gemm_f32),
          words_(asked.word_count),
          n_(n),
          packed_(product(words_, packed_k(type_, n))) {
        for_blocks([&](size_t first, size_t depth) {
            type_.pack_a(asked.words + first, stride(), packed_.data() + at(words_, first), words_,
                         depth);
        });
    }

    // rows: columns x n; scratch: columns * packed_k(n) bytes; out: words x columns
    void multiply(const float* rows, size_t columns, char* scratch, float* out) const {
        for_blocks([&](size_t first, size_t depth) {
            type_.pack_b_transposed(rows + first, stride(), scratch, columns, depth);
            type_.multiply(packed_.data() + at(words_, first), scratch, out,
                           static_cast<ptrdiff_t>(columns), words_, columns, depth, first > 0);
        });
    }

  private:
    template <class Body>
    void for_blocks(const Body& body) const {
        for (size_t first = 0; first < n_; first += type_.block)
            body(first, std::min(type_.block, n_ - first));
    }
    ptrdiff_t stride() const { return static_cast<ptrdiff_t>(n_ * sizeof(float)); }
    size_t at(size_t rows, size_t first) const { return rows * packed_k(type_, first); }

    const Gemm& type_;
    const size_t words_, n_;
    const AlignedBuffer packed_;
};

// The first pass.
class Scan {
  public:
    Scan(const Kernels& kernels, const KeyRows& keys, const bool* left_out, const Analogies& asked,
         Candidates& candidates)
        : kernels_(kernels),
          keys_(keys),
          left_out_(left_out),
          asked_(asked),
          columns_(std::clamp(l2_bytes() / 2 / ((asked.word_count + keys.n) * sizeof(float)) /
                                  kSumColumns * kSumColumns,
                              kSumColumns, kMostColumns)),
          products_(kernels, asked, keys.n),
          candidates_(candidates) {}

    void run() const {
        const size_t chunks = divide_up(keys_.rows, columns_);
        const size_t grain = chunks / (static_cast<size_t>(num_threads()) * 16) + 1;
        parallel_for(chunks, grain, [&](size_t begin, size_t end) {
            const size_t n = keys_.n, packed_bytes = columns_ * packed_k(kernels_.gemm_f32, n);
            const Scratch rows(columns_ * n * sizeof(float)), packed(packed_bytes),
                sums(asked_.word_count * columns_ * sizeof(float)),
                hits(kTogether * columns_ * sizeof(ScanHit)), usable(columns_);
            Widened widened(kernels_, n);
            for (size_t chunk = begin; chunk < end; chunk++) {
                load(widened, chunk * columns_, rows.data<float>(), usable.data<bool>());
                products_.multiply(rows.data<float>(), columns_, packed.data(), sums.data<float>());
                compare(chunk * columns_, sums.data<float>(), usable.data<bool>(),
                        hits.data<ScanHit>());
            }
        });
    }

  private:
    // Rows [first, first + columns) at length 1, and whether they may be found; zeros for others.
    void load(Widened& widened, size_t first, float* out, bool* usable) const {
        const size_t n = keys_.n, end = std::min(first + columns_, keys_.rows);
        std::fill_n(usable, columns_, false);
        for (size_t row = first; row < end; row += kExactRows) {
            const size_t rows = std::min(kExactRows, end - row);
            const float* data = widened.load(keys_, row, rows);
            double squares[kExactRows];
            kernels_.squared_norms_f64(data, widened.stride, rows, n, squares);
            for (size_t r = 0; r < rows; r++) {
                const size_t at = row - first + r;
                usable[at] = std::isfinite(squares[r]) && !left_out_[row + r];
                const double scale = squares[r] > 0 ? 1 / std::sqrt(squares[r]) : 0;
                const float* from = data + static_cast<ptrdiff_t>(r) * widened.stride;
                for (size_t i = 0; i < n; i++)
                    out[at * n + i] = static_cast<float>(from[i] * scale);
            }
        }
        for (size_t at = 0; at < columns_; at++)
            if (!usable[at]) std::fill_n(out + at * n, n, 0.0f);
    }

    // sums: words x columns, the products with rows from `first` on
    void compare(size_t first, const float* sums, const bool* usable, ScanHit* hits) const {
        float least[kTogether];
        Candidate more[kMostColumns];
        for (size_t q = 0; q < asked_.count; q += kTogether) {
            const size_t count = std::min(kTogether, asked_.count - q);
            for (size_t i = 0; i < count; i++) least[i] = candidates_.least(q + i);
            const size_t found =
                kernels_.near_sums_f32(sums, columns_, asked_.analogies + q, count, least, hits);
            for (size_t h = 0; h < found;) {
                const uint32_t of = hits[h].query;
                const auto [a, b, c] = asked_.analogies[q + of];
                size_t usable_count = 0;
                for (; h < found && hits[h].query == of; h++) {
                    const size_t row = hits[h].row;
                    if (usable[row])
                        more[usable_count++] = {sums[b * columns_ + row] -
                                                    sums[a * columns_ + row] +
                                                    sums[c * columns_ + row],
                                                first + row};
                }
                candidates_.add(q + of, more, usable_count);
            }
        }
    }

    const Kernels& kernels_;
    const KeyRows& keys_;
    const bool* const left_out_;
    const Analogies& asked_;
    const size_t columns_;  // rows of a chunk: they and their products with the words stay in L2
    const Products products_;
    Candidates& candidates_;
};

}  // namespace

void analogies_topk(const Kernels& kernels, const KeyRows& keys, const bool* left_out,
                    const Analogies& asked, size_t k, int64_t* rows, bool* undecided) {
    std::fill_n(rows, asked.count * k, -1);
    Candidates candidates(asked.count, k, keys.n);
    Scan(kernels, keys, left_out, asked, candidates).run();
    const auto stride = static_cast<ptrdiff_t>(keys.n);
    parallel_for(asked.count, kScoredTogether, [&](size_t begin, size_t end) {
        const ExactQueries queries(kernels, kCosine,
                                   asked.queries + static_cast<ptrdiff_t>(begin) * stride, stride,
                                   end - begin, keys.n);
        Widened widened(kernels, keys.n);
        std::vector<Scored> scored;
        for (size_t q = begin; q < end; q++) {
            undecided[q] = candidates.least(q) == kInfinity;
            if (undecided[q]) continue;
            scored.clear();
            const auto [first, last] = candidates.narrow(q);
            for (const Candidate* one = first; one < last; one++) {
                const float* row = widened.load(keys, one->row, 1);
                float score;
                kernels.exact_scores_f32(kCosine, queries.row(q - begin), 0, 1,
                                         &queries.norms[q - begin], row, 0, 1, keys.n, &score, 1);
                scored.push_back({score, static_cast<int64_t>(one->row)});
            }
            std::sort(scored.begin(), scored.end(), better);
            for (size_t j = 0; j < std::min(k, scored.size()); j++)
                rows[q * k + j] = scored[j].label;
        }
    });
}

}  // namespace firth::search
