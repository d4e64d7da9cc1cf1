#include "engines/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "engines/codes.h"
#include "engines/gemm.h"
#include "parallel.h"

namespace firth {
namespace {

constexpr size_t kTogether = 256;           // queries that pass over a chunk together
constexpr size_t kChunkBytes = 256 << 10;   // a chunk of codes or rows stays in L2
constexpr size_t kExactRows = 128;          // rows that are scored together, at most
constexpr size_t kSample = 64;              // blocks that set the first thresholds
constexpr size_t kListShare = 32;           // a list of fewer than 1 / 32 of the slots is gathered
constexpr size_t kSmall = size_t{1} << 18;  // multiplications below which one thread does it all
constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool better(const Scored& a, const Scored& b) {
    return a.score > b.score || (a.score == b.score && a.label < b.label);
}

// The best k of what was added, with some more that have not been sorted out yet; or everything
// from a threshold on (k = 0).
struct Best {
    size_t k = 0;
    float threshold = -kInfinity;
    std::vector<Scored> found;

    void add(float score, int64_t label) {
        if (score < threshold) return;
        found.push_back({score, label});
        if (k && (found.size() == k || found.size() >= 2 * k + 32)) shrink();
    }
    void shrink() {
        const auto last = found.begin() + static_cast<ptrdiff_t>(k - 1);
        std::nth_element(found.begin(), last, found.end(), better);
        threshold = std::max(threshold, last->score);
        found.resize(k);
    }
};

bool alive(const Segment& segment, size_t row, int64_t version) {
    if (!segment.died) return true;
    // The writer may mark a row while we look: whether we see it does not matter, since its version
    // is later than ours.
    const int64_t died = __atomic_load_n(segment.died + row, __ATOMIC_RELAXED);
    return died == 0 || died > version;
}

int64_t label_of(const Segment& segment, size_t row) {
    return segment.labels ? segment.labels[row] : segment.first_label + static_cast<int64_t>(row);
}

bool in_bitmap(const SlotFilter& filter, size_t slot) {
    return slot / 8 < filter.bytes && (filter.bitmap[slot / 8] >> (slot % 8) & 1);
}

// Rows of a filter's list are visited one by one: it need not be asked.
bool allows(const SlotFilter* filter, const SlotFilter* exclusion, size_t slot) {
    if (filter && filter->bitmap && !in_bitmap(*filter, slot)) return false;
    if (!exclusion) return true;
    if (exclusion->bitmap) return !in_bitmap(*exclusion, slot);
    return !std::binary_search(exclusion->slots, exclusion->slots + exclusion->count,
                               static_cast<int64_t>(slot));
}

// Rows in float32: where they stand, or widened into a buffer.
class Widened {
  public:
    Widened(const Kernels& kernels, size_t n) : kernels_(kernels), padded_((n + 15) / 16 * 16) {}

    const float* load(const KeyRows& keys, size_t first, size_t rows) {
        const ptrdiff_t offset = static_cast<ptrdiff_t>(first) * keys.stride;
        stride = keys.stride;
        if (keys.type == RowType::f32) return static_cast<const float*>(keys.data) + offset;
        if (!buffer_.data()) buffer_ = AlignedBuffer(kExactRows * padded_ * sizeof(float));
        auto* out = reinterpret_cast<float*>(buffer_.data());
        stride = static_cast<ptrdiff_t>(padded_);
        if (keys.type == RowType::i8)
            kernels_.widen_rows_i8(static_cast<const int8_t*>(keys.data) + offset, keys.stride,
                                   keys.scales + first, rows, keys.n, out, padded_);
        else
            (keys.type == RowType::f16 ? kernels_.widen_rows_f16 : kernels_.widen_rows_bf16)(
                static_cast<const uint16_t*>(keys.data) + offset, keys.stride, rows, keys.n, out,
                padded_);
        return out;
    }
    ptrdiff_t stride = 0;

  private:
    const Kernels& kernels_;
    size_t padded_;
    AlignedBuffer buffer_;
};

// Rows [first, first + rows) of a segment, all coded or none.
struct Chunk {
    const Segment* segment;
    size_t first, rows;
    bool coded;
};

// What all workers of one pass share.
struct Pass {
    const Kernels& kernels;
    const Search& request;
    const std::vector<Segment>& segments;
    size_t first_query;  // of the request
    ExactQueries queries;
    std::vector<const SlotFilter*> filters, exclusions;  // of each query, or null
    std::vector<size_t> scanned;                         // queries that see all rows
    std::vector<std::pair<const float*, std::unique_ptr<CodedQueries>>> coded;  // by centre
    // The best k-th score that anybody has seen, of each query.
    std::unique_ptr<std::atomic<float>[]> reached;

    const CodedQueries& coded_for(const float* centre) const {
        for (const auto& [of, queries_of] : coded)
            if (of == centre) return *queries_of;
        return *coded.front().second;  // not reached: there is one for every centre
    }
};

class Worker {
  public:
    Worker(const Pass& pass, size_t k, const float* thresholds)
        : best(pass.queries.count), pass_(pass), widened_(pass.kernels, pass.queries.n) {
        for (size_t q = 0; q < best.size(); q++) {
            best[q].k = k;
            if (thresholds) best[q].threshold = thresholds[q];
        }
        for (const auto& [centre, queries] : pass.coded) coded_.push_back(*queries);
        survivors_.resize(best.size());
        products_ = 0;
    }

    void search(const Chunk& chunk) {
        if (chunk.coded)
            scan(chunk);
        else
            score(chunk, pass_.scanned);
    }

    // The rows [first, last) of the slots in the filter of query q.
    void gather(size_t q, const int64_t* begin, const int64_t* end) {
        const std::vector<Segment>& segments = pass_.segments;
        size_t s = 0;
        for (; begin < end; begin++) {
            const auto slot = static_cast<size_t>(*begin);
            while (s + 1 < segments.size() && slot >= segments[s + 1].first_slot) s++;
            if (s < segments.size() && slot >= segments[s].first_slot &&
                slot - segments[s].first_slot < segments[s].keys.rows)
                score_row(q, segments[s], slot - segments[s].first_slot);
        }
    }

    std::vector<Best> best;
    SearchStats stats;

  private:
    void scan(const Chunk& chunk) {
        const Segment& segment = *chunk.segment;
        const size_t units = (pass_.queries.n + 3) / 4, blocks = chunk.rows / kCodeBlock;
        size_t c = 0;
        while (pass_.coded[c].first != segment.centre) c++;
        CodedQueries& queries = coded_[c];
        const std::vector<size_t>& members = pass_.scanned;
        std::vector<size_t> all_rows;
        for (size_t i = 0; i < members.size(); i++) {
            const size_t q = members[i];
            raise(q);
            // Too many pass (a corpus of duplicates): then every row gets its score, in blocks.
            // What passes at the start is forgiven.
            if (survivors_[q] > products_ / 8 + 64 * kCodeBlock) {
                queries.skip(i);
                all_rows.push_back(q);
            } else {
                queries.require(i, best[q].threshold);
            }
        }
        hits_.resize(chunk.rows * members.size());
        const size_t first_block = chunk.first / kCodeBlock;
        const size_t count = pass_.kernels.scan_codes(
            segment.codes + first_block * units * kCodeBlock * 4,
            segment.bounds + first_block * 3 * kCodeBlock, blocks, units, queries.packed.data(),
            queries.scan.data(), members.size(), hits_.data());
        products_ += chunk.rows;
        stats.coded += chunk.rows * members.size();
        for (size_t h = 0; h < count; h++) {
            const size_t q = members[hits_[h].query], row = chunk.first + hits_[h].row;
            survivors_[q]++;
            score_row(q, segment, row);
        }
        stats.survivors += count;
        if (!all_rows.empty()) score(chunk, all_rows);
    }

    // Take over what other workers have reached.
    void raise(size_t q) {
        Best& mine = best[q];
        if (!mine.k) return;
        std::atomic<float>& shared = pass_.reached[q];
        float other = shared.load(std::memory_order_relaxed);
        while (mine.threshold > other &&
               !shared.compare_exchange_weak(other, mine.threshold, std::memory_order_relaxed)) {
        }
        mine.threshold = std::max(mine.threshold, other);
    }

    void score_row(size_t q, const Segment& segment, size_t row) {
        if (!alive(segment, row, pass_.request.version) ||
            !allows(pass_.filters[q], pass_.exclusions[q], segment.first_slot + row))
            return;
        const float* data = widened_.load(segment.keys, row, 1);
        float score;
        pass_.kernels.exact_scores_f32(pass_.request.metric, pass_.queries.row(q), 0, 1,
                                       &pass_.queries.norms[q], data, 0, 1, pass_.queries.n, &score,
                                       1);
        best[q].add(score, label_of(segment, row));
    }

    // All rows of a chunk for these queries.
    void score(const Chunk& chunk, const std::vector<size_t>& members) {
        const Segment& segment = *chunk.segment;
        scores_.resize(kExactRows);
        for (size_t done = 0; done < chunk.rows; done += kExactRows) {
            const size_t first = chunk.first + done, rows = std::min(kExactRows, chunk.rows - done);
            const float* data = widened_.load(segment.keys, first, rows);
            // Neighbouring queries at once: in one tile they read the rows once.
            for (size_t i = 0; i < members.size();) {
                size_t count = 1;
                while (i + count < members.size() && members[i + count] == members[i] + count)
                    count++;
                const size_t q = members[i];
                scores_.resize(count * kExactRows);
                pass_.kernels.exact_scores_f32(pass_.request.metric, pass_.queries.row(q),
                                               pass_.queries.stride, count, &pass_.queries.norms[q],
                                               data, widened_.stride, rows, pass_.queries.n,
                                               scores_.data(), kExactRows);
                for (size_t j = 0; j < count; j++)
                    add(q + j, segment, first, rows, scores_.data() + j * kExactRows);
                i += count;
            }
        }
        stats.scored += chunk.rows * members.size();
    }

    void add(size_t q, const Segment& segment, size_t first, size_t rows, const float* scores) {
        for (size_t r = 0; r < rows; r++)
            if (scores[r] >= best[q].threshold &&
                alive(segment, first + r, pass_.request.version) &&
                allows(pass_.filters[q], pass_.exclusions[q], segment.first_slot + first + r))
                best[q].add(scores[r], label_of(segment, first + r));
    }

    const Pass& pass_;
    Widened widened_;
    std::vector<CodedQueries> coded_;  // this worker's thresholds
    std::vector<size_t> survivors_;    // of each query
    size_t products_;
    std::vector<ScanHit> hits_;
    std::vector<float> scores_;
};

// The rows of all segments, cut for the workers. A small k needs codes; the uncoded rows are
// scored.
std::vector<Chunk> cut(const std::vector<Segment>& segments, size_t n, bool exact) {
    std::vector<Chunk> chunks;
    const size_t units = (n + 3) / 4;
    const size_t coded_rows =
        std::clamp<size_t>(kChunkBytes / (units * 4 + 1) / kCodeBlock, 1, 64) * kCodeBlock;
    const size_t exact_rows = std::clamp<size_t>(kChunkBytes / 4 / (n + 1), 1, 8) * kExactRows;
    for (const Segment& segment : segments) {
        const size_t coded =
            exact ? 0 : std::min(segment.coded, segment.keys.rows / kCodeBlock * kCodeBlock);
        for (size_t row = 0; row < coded; row += coded_rows)
            chunks.push_back({&segment, row, std::min(coded_rows, coded - row), true});
        for (size_t row = coded; row < segment.keys.rows; row += exact_rows)
            chunks.push_back({&segment, row, std::min(exact_rows, segment.keys.rows - row), false});
    }
    return chunks;
}

// Blocks spread over all that is coded: what they reach is where the scan begins.
std::vector<Chunk> sample(const std::vector<Segment>& segments) {
    size_t blocks = 0;
    for (const Segment& segment : segments) blocks += segment.coded / kCodeBlock;
    std::vector<Chunk> chunks;
    const size_t step = std::max<size_t>(blocks / kSample, 8);
    size_t skip = 0;
    for (const Segment& segment : segments) {
        const size_t own = segment.coded / kCodeBlock;
        for (; skip < own; skip += step)
            chunks.push_back({&segment, skip * kCodeBlock, kCodeBlock, true});
        skip -= own;
    }
    return chunks;
}

size_t workers_for(size_t work, int threads) {
    return work < kSmall ? 1 : static_cast<size_t>(std::clamp(threads, 1, num_threads()));
}

// body(worker, item) for every item, by so many workers.
template <class Body>
void share(size_t items, size_t workers, const Body& body) {
    std::atomic<size_t> next{0};
    parallel_for(workers, 1, [&](size_t worker, size_t) {
        for (size_t item; (item = next.fetch_add(1)) < items;) body(worker, item);
    });
}

size_t slots_of(const std::vector<Segment>& segments) {
    size_t slots = 0;
    for (const Segment& segment : segments)
        slots = std::max(slots, segment.first_slot + segment.keys.rows);
    return slots;
}

// Queries whose list of slots is short: rows come chunk by chunk, so that a row that several
// queries want is in cache for the second.
void gather_lists(const Pass& pass, const std::vector<size_t>& members,
                  std::vector<Worker>& workers) {
    const size_t slots = slots_of(pass.segments);
    const size_t rows = std::max<size_t>(kChunkBytes / 4 / (pass.queries.n + 1), 32);
    share((slots + rows - 1) / rows, workers.size(), [&](size_t worker, size_t chunk) {
        const auto first = static_cast<int64_t>(chunk * rows),
                   last = static_cast<int64_t>((chunk + 1) * rows);
        for (const size_t q : members) {
            const SlotFilter& list = *pass.filters[q];
            const int64_t* end = list.slots + list.count;
            const int64_t* begin = std::lower_bound(list.slots, end, first);
            workers[worker].gather(q, begin, std::lower_bound(begin, end, last));
        }
    });
}

// Filters in the form that suits how much they allow: few slots as a list, to be gathered, many as
// a bitmap, to be asked by what passes the scan.
class Plan {
  public:
    Plan(const std::vector<SlotFilter>* given, size_t slots) {
        if (!given) return;
        filters = *given;
        for (SlotFilter& filter : filters) {
            size_t count = filter.count;
            if (filter.bitmap) {
                filter.bytes = std::min(filter.bytes, (slots + 7) / 8);
                count = 0;
                for (size_t i = 0; i < filter.bytes; i++)
                    count += static_cast<size_t>(__builtin_popcount(filter.bitmap[i]));
            }
            const bool list = count < slots / kListShare + 1;
            if (list == !filter.bitmap) continue;
            if (list) {
                lists_.emplace_back();
                for (size_t i = 0; i < filter.bytes * 8; i++)
                    if (filter.bitmap[i / 8] >> (i % 8) & 1)
                        lists_.back().push_back(static_cast<int64_t>(i));
                filter = {nullptr, 0, lists_.back().data(), lists_.back().size()};
            } else {
                bitmaps_.emplace_back((slots + 7) / 8);
                for (size_t i = 0; i < filter.count; i++) {
                    const auto slot = static_cast<size_t>(filter.slots[i]);
                    if (slot < slots)
                        bitmaps_.back()[slot / 8] |= static_cast<uint8_t>(1 << slot % 8);
                }
                filter = {bitmaps_.back().data(), bitmaps_.back().size(), nullptr, 0};
            }
        }
    }

    std::vector<SlotFilter> filters;

  private:
    std::vector<std::vector<int64_t>> lists_;
    std::vector<std::vector<uint8_t>> bitmaps_;
};

// What the workers found for up to kTogether queries.
std::vector<Worker> run(const Kernels& kernels, const std::vector<Segment>& segments,
                        const Search& request, size_t first, size_t count, size_t k,
                        const float* thresholds, const Plan& plan, std::unique_ptr<Pass>& keep) {
    keep.reset(
        new Pass{kernels,
                 request,
                 segments,
                 first,
                 ExactQueries(kernels, request.metric,
                              request.queries + static_cast<ptrdiff_t>(first) * request.stride,
                              request.stride, count, request.n),
                 std::vector<const SlotFilter*>(count),
                 std::vector<const SlotFilter*>(count),
                 {},
                 {},
                 std::make_unique<std::atomic<float>[]>(count)});
    Pass& pass = *keep;
    for (size_t q = 0; q < count; q++) pass.reached[q] = -kInfinity;
    size_t rows = 0;
    for (const Segment& segment : segments) rows += segment.keys.rows;
    std::vector<size_t> listed;
    size_t wanted = 0;
    for (size_t q = 0; q < count; q++) {
        const int64_t number = request.filter_of ? request.filter_of[first + q] : -1;
        if (number >= 0) pass.filters[q] = &plan.filters[static_cast<size_t>(number)];
        const int64_t without = request.exclusion_of ? request.exclusion_of[first + q] : -1;
        if (without >= 0) pass.exclusions[q] = &(*request.exclusions)[static_cast<size_t>(without)];
        if (pass.filters[q] && !pass.filters[q]->bitmap) {
            listed.push_back(q);
            wanted += pass.filters[q]->count;
        } else {
            pass.scanned.push_back(q);
        }
    }
    const bool exact = request.exact || (k && rows / 32 < k) || rows < 32 * kCodeBlock ||
                       request.n > kMostCodedDimensions;
    if (!exact && !pass.scanned.empty())
        for (const Segment& segment : segments)
            if (segment.coded &&
                std::none_of(pass.coded.begin(), pass.coded.end(),
                             [&](const auto& c) { return c.first == segment.centre; }))
                pass.coded.emplace_back(segment.centre, std::make_unique<CodedQueries>(
                                                            kernels, request.metric, pass.queries,
                                                            pass.scanned, segment.centre));
    const size_t work = (rows * pass.scanned.size() + wanted) * (request.n + 1);
    const auto make = [&](size_t of) {
        std::vector<Worker> workers;
        workers.reserve(of);
        for (size_t i = 0; i < of; i++)
            workers.emplace_back(pass, k, thresholds ? thresholds + first : nullptr);
        return workers;
    };
    const size_t threads = workers_for(work, request.threads);
    if (!pass.scanned.empty() && !exact && k) {
        // The sample's own finds are dropped: the scan meets them again.
        const std::vector<Chunk> chunks = sample(segments);
        std::vector<Worker> workers = make(threads);
        share(chunks.size(), threads,
              [&](size_t worker, size_t i) { workers[worker].search(chunks[i]); });
        for (const Worker& worker : workers)
            for (size_t q = 0; q < count; q++)
                pass.reached[q] = std::max(pass.reached[q].load(), worker.best[q].threshold);
    }
    std::vector<Worker> workers = make(threads);
    if (!pass.scanned.empty()) {
        const std::vector<Chunk> chunks = cut(segments, request.n, exact);
        share(chunks.size(), threads,
              [&](size_t worker, size_t i) { workers[worker].search(chunks[i]); });
    }
    if (!listed.empty()) gather_lists(pass, listed, workers);
    return workers;
}

void add_stats(SearchStats& stats, const std::vector<Worker>& workers) {
    for (const Worker& worker : workers) {
        stats.coded += worker.stats.coded;
        stats.survivors += worker.stats.survivors;
        stats.scored += worker.stats.scored;
    }
}

std::vector<Scored> collect(std::vector<Worker>& workers, size_t q) {
    std::vector<Scored> all;
    for (Worker& worker : workers)
        all.insert(all.end(), worker.best[q].found.begin(), worker.best[q].found.end());
    return all;
}

}  // namespace

SearchStats search(const Kernels& kernels, const std::vector<Segment>& segments,
                   const Search& request, size_t k, int64_t* labels, float* scores,
                   int64_t* counts) {
    SearchStats stats;
    std::fill_n(counts, request.query_count, 0);
    if (k == 0) return stats;
    const Plan plan(request.filters, slots_of(segments));
    // The candidates of a large k take at most about 64 MB a thread.
    const size_t together =
        std::clamp<size_t>((size_t{64} << 20) / ((2 * k + 32) * sizeof(Scored)), 1, kTogether);
    for (size_t first = 0; first < request.query_count; first += together) {
        const size_t count = std::min(together, request.query_count - first);
        std::unique_ptr<Pass> pass;
        std::vector<Worker> workers =
            run(kernels, segments, request, first, count, k, nullptr, plan, pass);
        add_stats(stats, workers);
        for (size_t q = 0; q < count; q++) {
            std::vector<Scored> all = collect(workers, q);
            const size_t found = std::min(k, all.size());
            std::partial_sort(all.begin(), all.begin() + static_cast<ptrdiff_t>(found), all.end(),
                              better);
            counts[first + q] = static_cast<int64_t>(found);
            for (size_t j = 0; j < found; j++) {
                scores[(first + q) * k + j] = all[j].score;
                labels[(first + q) * k + j] = all[j].label;
            }
        }
    }
    return stats;
}

SearchStats search_range(const Kernels& kernels, const std::vector<Segment>& segments,
                         const Search& request, const float* thresholds,
                         std::vector<std::vector<Scored>>& found) {
    SearchStats stats;
    found.clear();
    const Plan plan(request.filters, slots_of(segments));
    for (size_t first = 0; first < request.query_count; first += kTogether) {
        const size_t count = std::min(kTogether, request.query_count - first);
        std::unique_ptr<Pass> pass;
        std::vector<Worker> workers =
            run(kernels, segments, request, first, count, 0, thresholds, plan, pass);
        add_stats(stats, workers);
        for (size_t q = 0; q < count; q++) {
            found.push_back(collect(workers, q));
            std::sort(found.back().begin(), found.back().end(), better);
        }
    }
    return stats;
}

void code_rows(const Kernels& kernels, const KeyRows& keys, int metric, const float* centre,
               uint8_t* codes, float* bounds) {
    double norm = 0;
    for (size_t i = 0; i < keys.n; i++) norm += static_cast<double>(centre[i]) * centre[i];
    const double slack = 0x1p-48 * std::sqrt(norm);
    const size_t units = (keys.n + 3) / 4, blocks = (keys.rows + kCodeBlock - 1) / kCodeBlock;
    const size_t grain = std::max<size_t>(1, (size_t{1} << 18) / (kCodeBlock * (keys.n + 1)));
    parallel_for(blocks, grain, [&](size_t begin, size_t end) {
        Widened widened(kernels, keys.n);
        for (size_t b = begin; b < end; b++) {
            const size_t rows = std::min(kCodeBlock, keys.rows - b * kCodeBlock);
            const float* data = widened.load(keys, b * kCodeBlock, rows);
            kernels.code_rows_f32(data, widened.stride, rows, keys.n, metric, centre, slack,
                                  codes + b * units * kCodeBlock * 4, bounds + b * 3 * kCodeBlock);
        }
    });
}

}  // namespace firth
