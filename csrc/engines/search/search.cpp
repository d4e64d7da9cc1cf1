#include "engines/search/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "engines/search/filter_plan.h"
#include "engines/search/worker.h"
#include "parallel.h"
#include "sizes.h"

namespace firth::search {
namespace {

constexpr size_t kTogether = 1024;             // queries that pass over a chunk together
constexpr size_t kFewRows = 16384;             // up to here threads share the queries, not the rows
constexpr size_t kChunkBytes = 256 << 10;      // a chunk of rows stays in L2
constexpr size_t kCodeChunkBytes = 512 << 10;  // of codes: thresholds rise between chunks
constexpr size_t kSample = 64;                 // blocks that set the first thresholds
constexpr size_t kExactShare = 32;             // if k > rows / kExactShare, score every row
constexpr size_t kShortRow = 64;               // up to here a scan is as fast as gathering
constexpr size_t kListsABlock = 16;            // slots of lists in a block for which codes pay
// Rows without codes get some for the search, if there are this many queries and rows.
constexpr size_t kFlyQueries = 12, kFlyNearQueries = 28;  // near: where float32 may judge
constexpr size_t kFlyRows = 1024;
constexpr size_t kSmall = size_t{1} << 18;  // multiplications below which one thread does it all
constexpr size_t kSmallCoded = size_t{1} << 22;  // the same, of bytes
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Which rows are scanned by their codes, which are scored.
struct Cuts {
    size_t n;    // dimensions
    bool exact;  // every row is scored
    bool fly;    // rows without codes get some
    bool cells;  // blocks in the order of cells are left to Run::visit

    size_t blocks(const Segment& segment) const {
        return exact || (cells && segment.order) ? 0 : segment.blocks;
    }
    size_t first_row(const Segment& segment) const { return exact ? 0 : segment.coded; }
    Chunk::Kind rest(const Segment& segment) const {
        const bool many = segment.keys.rows - first_row(segment) >= kFlyRows;
        return fly && many ? Chunk::kOnTheFly : Chunk::kRows;
    }
};

// All rows, cut for the workers.
std::vector<Chunk> cut(const std::vector<Segment>& segments, const Cuts& cuts) {
    std::vector<Chunk> chunks;
    const size_t block_bytes = round_up(cuts.n, 4) * kCodeBlock;
    const size_t blocks = std::clamp<size_t>(kCodeChunkBytes / (block_bytes + 1), 1, 64);
    const size_t rows = std::clamp<size_t>(kChunkBytes / 4 / (cuts.n + 1), 1, 8) * kExactRows;
    for (const Segment& segment : segments) {
        for (size_t b = 0; b < cuts.blocks(segment); b += blocks)
            chunks.push_back(
                {&segment, Chunk::kCodes, b, std::min(blocks, cuts.blocks(segment) - b)});
        const Chunk::Kind kind = cuts.rest(segment);
        for (size_t row = cuts.first_row(segment); row < segment.keys.rows; row += rows)
            chunks.push_back({&segment, kind, row, std::min(rows, segment.keys.rows - row)});
    }
    return chunks;
}

// Blocks spread over all scanned rows: their scores are the first thresholds of the scan.
std::vector<Chunk> sample(const std::vector<Segment>& segments, const Cuts& cuts) {
    const auto flying = [&](const Segment& segment) {
        return cuts.rest(segment) == Chunk::kOnTheFly
                   ? (segment.keys.rows - cuts.first_row(segment)) / kCodeBlock
                   : 0;
    };
    size_t blocks = 0;
    for (const Segment& segment : segments) blocks += cuts.blocks(segment) + flying(segment);
    std::vector<Chunk> chunks;
    const size_t step = std::max<size_t>(blocks / kSample, 8);
    size_t skip = 0;
    for (const Segment& segment : segments) {
        const size_t coded = cuts.blocks(segment), all = coded + flying(segment);
        for (; skip < all; skip += step)
            if (skip < coded)
                chunks.push_back({&segment, Chunk::kCodes, skip, 1});
            else
                chunks.push_back({&segment, Chunk::kOnTheFly,
                                  cuts.first_row(segment) + (skip - coded) * kCodeBlock,
                                  kCodeBlock});
        skip -= all;
    }
    return chunks;
}

// Which queries visit a cell: members[starts[cell] .. starts[cell + 1]) are places in
// Pass::coding.
struct Visits {
    std::vector<uint32_t> members;
    std::vector<size_t> starts;

    // Of the columns [begin, end) of the request's cells.
    Visits(const Pass& pass, size_t first_query, size_t cells, size_t begin, size_t end)
        : starts(cells + 2) {
        const auto each = [&](const auto& body) {
            for (size_t i = 0; i < pass.scanned.size(); i++) {
                const int32_t* row =
                    pass.request.cells + (first_query + pass.scanned[i]) * pass.request.probes;
                for (size_t p = begin; p < end; p++)
                    if (row[p] >= 0 && static_cast<size_t>(row[p]) < cells)
                        body(static_cast<size_t>(row[p]), static_cast<uint32_t>(i));
            }
        };
        each([&](size_t cell, uint32_t) { starts[cell + 2]++; });
        for (size_t cell = 2; cell < starts.size(); cell++) starts[cell] += starts[cell - 1];
        members.resize(starts.back());
        each([&](size_t cell, uint32_t i) { members[starts[cell + 1]++] = i; });
    }
};

// body(worker, item) for every item, by `workers` workers.
template <class Body>
void share(size_t items, size_t workers, const Body& body) {
    std::atomic<size_t> next{0};
    parallel_for(workers, 1, [&](size_t worker, size_t) {
        for (size_t item; (item = next.fetch_add(1)) < items;) body(worker, item);
    });
}

// A walk through the lists of some queries: next(last) gives each one's slots before `last`.
class Lists {
  public:
    Lists(const Pass& pass, const std::vector<size_t>& members, int64_t begin) {
        for (const size_t q : members) {
            const SlotFilter& list = *pass.filters[q];
            const int64_t* end = list.slots + list.count;
            places_.push_back({std::lower_bound(list.slots, end, begin), end});
        }
    }
    // body(i, begin, end) for each member i that has some.
    template <class Body>
    void next(int64_t last, const Body& body) {
        for (size_t i = 0; i < places_.size(); i++) {
            auto& [place, end] = places_[i];
            const int64_t* begin = place;
            while (place < end && *place < last) place++;
            if (begin < place) body(i, begin, place);
        }
    }

  private:
    std::vector<std::pair<const int64_t*, const int64_t*>> places_;
};

// Queries whose list of slots is short: rows come chunk by chunk, so that a row that several
// queries want is in cache for the second. Without those rows that have codes, if `uncoded`.
void gather_lists(const Pass& pass, const std::vector<size_t>& members, bool uncoded,
                  std::vector<Worker>& workers) {
    const size_t rows = std::max<size_t>(kChunkBytes / 4 / (pass.queries.n + 1), 32);
    struct Share {
        int64_t begin, end;
    };
    std::vector<Share> shares;
    for (const Segment& segment : pass.segments) {
        const size_t share = rows * std::clamp<size_t>(segment.keys.rows / rows / 64, 1, 256);
        for (size_t row = uncoded ? segment.coded : 0; row < segment.keys.rows; row += share)
            shares.push_back({static_cast<int64_t>(segment.first_slot + row),
                              static_cast<int64_t>(segment.first_slot +
                                                   std::min(row + share, segment.keys.rows))});
    }
    share(shares.size(), workers.size(), [&](size_t worker, size_t item) {
        const auto [begin, end] = shares[item];
        Lists lists(pass, members, begin);
        for (int64_t chunk = begin; chunk < end; chunk += static_cast<int64_t>(rows))
            lists.next(std::min(chunk + static_cast<int64_t>(rows), end),
                       [&](size_t i, const int64_t* first, const int64_t* last) {
                           workers[worker].gather(members[i], first, last);
                       });
    });
}

// The same by codes: a block is scanned for the queries that want some of its rows.
void scan_lists(const Pass& pass, const std::vector<size_t>& members,
                std::vector<Worker>& workers) {
    constexpr size_t kBlocks = 128;  // of a share
    struct Share {
        const Segment* segment;
        size_t block;
    };
    std::vector<Share> shares;
    for (const Segment& segment : pass.segments)
        for (size_t block = 0; block < segment.blocks; block += kBlocks)
            shares.push_back({&segment, block});
    share(shares.size(), workers.size(), [&](size_t worker, size_t item) {
        const Segment& segment = *shares[item].segment;
        const size_t end = std::min(shares[item].block + kBlocks, segment.blocks);
        const auto slot = [&](size_t block) {
            return static_cast<int64_t>(segment.first_slot + block * kCodeBlock);
        };
        Lists lists(pass, members, slot(shares[item].block));
        std::vector<uint32_t> places, masks;
        for (size_t block = shares[item].block; block < end; block++) {
            places.clear();
            masks.clear();
            lists.next(slot(block + 1), [&](size_t i, const int64_t* first, const int64_t* last) {
                places.push_back(static_cast<uint32_t>(pass.scanned.size() + i));
                masks.push_back(0);
                for (; first < last; first++) masks.back() |= 1u << (*first - slot(block));
            });
            if (!places.empty())
                workers[worker].search({&segment, Chunk::kCodes, block, 1, places.data(),
                                        places.size(), masks.data()});
        }
    });
}

// A search of up to kTogether queries: plan(), then execute().
class Run {
  public:
    // Of `count` queries of the request from `first` on; filters: those of the request, planned;
    // thresholds: of each query of the request, or null.
    Run(const Kernels& kernels, const std::vector<Segment>& segments, const Request& request,
        size_t first, size_t count, size_t k, const float* thresholds, const FilterPlan& filters)
        : first_(first),
          count_(count),
          k_(k),
          thresholds_(thresholds),
          filters_(filters),
          pass_{kernels,
                request,
                segments,
                ExactQueries(kernels, request.metric,
                             request.queries + static_cast<ptrdiff_t>(first) * request.stride,
                             request.stride, count, request.n),
                std::vector<const SlotFilter*>(count),
                std::vector<const SlotFilter*>(count),
                {},
                {},
                {},
                {},
                {},
                std::make_unique<std::atomic<float>[]>(count)} {}

    // Decides which rows are scanned for which queries, by codes or not, and on how many threads.
    void plan() {
        const Request& request = pass_.request;
        const size_t wanted = split_queries();
        size_t rows = 0, blocks = 0;
        bool cells = false;
        for (const Segment& segment : pass_.segments) {
            rows += segment.keys.rows;
            blocks += segment.blocks;
            cells = cells || segment.order;
        }
        const bool exact = request.exact || (k_ && rows / kExactShare < k_) || rows < kFlyRows ||
                           request.n > kMostCodedDimensions || request.n == 0;
        near_ = request.metric == kCosine && !request.exact && k_ <= rows / kExactShare &&
                request.n > 0 && request.n <= kMostNearDimensions;
        size_t visited = rows;
        for (const Segment& segment : pass_.segments)
            if (request.cells && segment.order && segment.cells > request.probes)
                visited -= segment.coded - segment.coded / segment.cells * request.probes;
        const size_t scanned = visited * pass_.scanned.size() * (request.n + 1);
        threads_ = scanned < (exact ? kSmall : kSmallCoded) && wanted * (request.n + 1) < kSmall
                       ? 1
                       : static_cast<size_t>(std::clamp(request.threads, 1, num_threads()));
        cuts_ = {request.n, exact,
                 !exact && pass_.scanned.size() >= (near_ ? kFlyNearQueries : kFlyQueries),
                 request.cells != nullptr};
        // Lists are scanned by codes where they have many rows in a block, unless cells order it.
        const size_t many = pass_.kernels.vector_bytes == 64 ? kListsABlock : 4 * kListsABlock;
        coded_lists_ = !exact && !cells && blocks && wanted / blocks >= many;
        pass_.coding = pass_.scanned;
        if (coded_lists_) pass_.coding.insert(pass_.coding.end(), listed_.begin(), listed_.end());
    }

    void execute() {
        if (!cuts_.exact && !pass_.coding.empty()) code_queries();
        if (near_) divide_queries();
        if (!pass_.scanned.empty() && !cuts_.exact && k_) {
            // Keep only the thresholds of the sample: the scan finds its rows again.
            workers_ = new_workers();
            search(sample(pass_.segments, cuts_));
            for (const Worker& worker : workers_)
                for (size_t q = 0; q < count_; q++)
                    pass_.reached[q] = std::max(pass_.reached[q].load(), worker.best[q].threshold);
        }
        workers_ = new_workers();
        if (!pass_.scanned.empty()) {
            search(cut(pass_.segments, cuts_));
            if (cuts_.cells && !cuts_.exact)
                for (const Segment& segment : pass_.segments)
                    if (segment.order) {
                        // The nearest cell first: it sets the threshold for the others.
                        visit(segment, 0, std::min<size_t>(1, pass_.request.probes));
                        visit(segment, 1, pass_.request.probes);
                    }
        }
        if (coded_lists_) scan_lists(pass_, listed_, workers_);
        if (!listed_.empty()) gather_lists(pass_, listed_, coded_lists_, workers_);
        for (Worker& worker : workers_) worker.finish();
    }

    Stats stats() const {
        Stats all;
        for (const Worker& worker : workers_) all += worker.stats;
        return all;
    }

    std::vector<Scored> found(size_t q) const {
        std::vector<Scored> all;
        for (const Worker& worker : workers_)
            all.insert(all.end(), worker.best[q].found.begin(), worker.best[q].found.end());
        return all;
    }

  private:
    // Parts queries that scan all rows from those with a list of slots; returns how many slots.
    size_t split_queries() {
        const Request& request = pass_.request;
        size_t wanted = 0;
        for (size_t q = 0; q < count_; q++) {
            pass_.reached[q] = -kInfinity;
            const int64_t number = request.filter_of ? request.filter_of[first_ + q] : -1;
            if (number >= 0) pass_.filters[q] = &filters_.filters[static_cast<size_t>(number)];
            const int64_t without = request.exclusion_of ? request.exclusion_of[first_ + q] : -1;
            if (without >= 0)
                pass_.exclusions[q] = &(*request.exclusions)[static_cast<size_t>(without)];
            if (pass_.filters[q] && !pass_.filters[q]->bitmap) {
                listed_.push_back(q);
                wanted += pass_.filters[q]->count;
            } else {
                pass_.scanned.push_back(q);
            }
        }
        return wanted;
    }

    void divide_queries() {
        const ExactQueries& queries = pass_.queries;
        pass_.units.resize(queries.count * queries.stride);
        for (size_t i = 0; i < pass_.units.size(); i++)
            pass_.units[i] =
                static_cast<float>(queries.row(0)[i] / queries.norms[i / queries.stride]);
    }

    void code_queries() {
        const auto add = [&](const float* centre) {
            for (const auto& [of, queries] : pass_.coded)
                if (of == centre) return;
            pass_.coded.emplace_back(
                centre, std::make_unique<CodedQueries>(pass_.kernels, pass_.request.metric,
                                                       pass_.queries, pass_.coding, centre));
        };
        for (const Segment& segment : pass_.segments) {
            if (segment.blocks) add(segment.centre);
            if (cuts_.rest(segment) == Chunk::kOnTheFly) {
                pass_.no_centre.resize(cuts_.n);
                add(pass_.no_centre.data());
            }
        }
    }

    std::vector<Worker> new_workers() const {
        std::vector<Worker> workers;
        workers.reserve(threads_);
        for (size_t i = 0; i < threads_; i++)
            workers.emplace_back(pass_, k_, thresholds_ ? thresholds_ + first_ : nullptr);
        return workers;
    }

    void search(const std::vector<Chunk>& chunks) {
        share(chunks.size(), threads_,
              [&](size_t worker, size_t i) { workers_[worker].search(chunks[i]); });
        for (Worker& worker : workers_) worker.finish();
    }

    // Columns [begin, end) of the cells that the queries visit.
    void visit(const Segment& segment, size_t begin, size_t end) {
        const Visits visits(pass_, first_, segment.cells, begin, end);
        share(segment.cells, threads_, [&](size_t worker, size_t cell) {
            const size_t members = visits.starts[cell + 1] - visits.starts[cell];
            if (members == 0) return;
            // Few blocks first, while the thresholds are low.
            const auto last = static_cast<size_t>(segment.cell_blocks[cell + 1]);
            size_t blocks = 0;
            for (auto b = static_cast<size_t>(segment.cell_blocks[cell]); b < last; b += blocks) {
                blocks = std::min({2 * blocks + 1, size_t{64}, last - b});
                workers_[worker].search({&segment, Chunk::kCodes, b, blocks,
                                         visits.members.data() + visits.starts[cell], members});
            }
        });
    }

    std::vector<Worker> workers_;
    const size_t first_, count_, k_;
    const float* const thresholds_;
    const FilterPlan& filters_;
    std::vector<size_t> listed_;  // queries with a list of slots
    Cuts cuts_{};
    size_t threads_ = 1;
    bool coded_lists_ = false;
    bool near_ = false;  // rows without codes are judged by their cosine in float32 first
    Pass pass_;
};

// Whether a long list of rows is gathered for a query. Not with cells: which rows are found there
// must not depend on how many queries come together.
bool alone(const Request& request) {
    return request.query_count == 1 && request.n > kShortRow && !request.cells;
}

}  // namespace

Stats topk(const Kernels& kernels, const std::vector<Segment>& segments, const Request& request,
           size_t k, int64_t* labels, float* scores, int64_t* counts) {
    Stats stats;
    std::fill_n(counts, request.query_count, 0);
    if (k == 0) return stats;
    const FilterPlan filters(request.filters, slots_of(segments), alone(request));
    // The candidates of a large k take at most about 64 MB a thread.
    const size_t most = std::max<size_t>((size_t{64} << 20) / ((2 * k + 32) * sizeof(Scored)), 1);
    const auto answer = [&](const Request& some, size_t first, size_t count) {
        Run run(kernels, segments, some, first, count, k, nullptr, filters);
        run.plan();
        run.execute();
        for (size_t q = 0; q < count; q++) {
            std::vector<Scored> all = run.found(q);
            const size_t found = std::min(k, all.size());
            std::partial_sort(all.begin(), all.begin() + static_cast<ptrdiff_t>(found), all.end(),
                              better);
            counts[first + q] = static_cast<int64_t>(found);
            for (size_t j = 0; j < found; j++) {
                scores[(first + q) * k + j] = all[j].score;
                labels[(first + q) * k + j] = all[j].label;
            }
        }
        return run.stats();
    };
    const size_t queries = request.query_count;
    const auto threads = static_cast<size_t>(std::clamp(request.threads, 1, num_threads()));
    if (slots_of(segments) <= kFewRows && threads > 1 && queries >= threads * kFlyQueries) {
        // Few rows: threads share the queries.
        const size_t groups = std::max(threads, divide_up(queries, kTogether));
        const size_t together = std::min(most, divide_up(queries, groups));
        Request some = request;
        some.threads = 1;
        std::vector<Stats> parts(divide_up(queries, together));
        share(parts.size(), threads, [&](size_t, size_t group) {
            const size_t first = group * together;
            parts[group] = answer(some, first, std::min(together, queries - first));
        });
        for (const Stats& part : parts) stats += part;
        return stats;
    }
    const size_t together = std::min(most, kTogether);
    for (size_t first = 0; first < queries; first += together)
        stats += answer(request, first, std::min(together, queries - first));
    return stats;
}

Stats range(const Kernels& kernels, const std::vector<Segment>& segments, const Request& request,
            const float* thresholds, std::vector<std::vector<Scored>>& found) {
    Stats stats;
    found.clear();
    const FilterPlan filters(request.filters, slots_of(segments), alone(request));
    for (size_t first = 0; first < request.query_count; first += kTogether) {
        const size_t count = std::min(kTogether, request.query_count - first);
        Run run(kernels, segments, request, first, count, 0, thresholds, filters);
        run.plan();
        run.execute();
        stats += run.stats();
        for (size_t q = 0; q < count; q++) {
            found.push_back(run.found(q));
            std::sort(found.back().begin(), found.back().end(), better);
        }
    }
    return stats;
}

void code_rows(const Kernels& kernels, const KeyRows& keys, int metric, const float* centre,
               const int32_t* order, size_t blocks, uint8_t* codes, float* bounds) {
    double norm = 0;
    for (size_t i = 0; i < keys.n; i++) norm += static_cast<double>(centre[i]) * centre[i];
    const double slack = 0x1p-48 * std::sqrt(norm);
    const size_t units = (keys.n + 3) / 4;
    const size_t grain = std::max<size_t>(1, (size_t{1} << 18) / (kCodeBlock * (keys.n + 1)));
    parallel_for(blocks, grain, [&](size_t begin, size_t end) {
        Widened widened(kernels, keys.n);
        std::vector<float> ordered(order ? kCodeBlock * keys.n : 0);
        for (size_t b = begin; b < end; b++) {
            size_t rows = std::min(kCodeBlock, keys.rows - std::min(keys.rows, b * kCodeBlock));
            const float* data;
            ptrdiff_t stride;
            if (order) {
                const int32_t* lanes = order + b * kCodeBlock;
                for (rows = 0; rows < kCodeBlock && lanes[rows] >= 0; rows++)
                    std::copy_n(widened.load(keys, static_cast<size_t>(lanes[rows]), 1), keys.n,
                                ordered.data() + rows * keys.n);
                data = ordered.data();
                stride = static_cast<ptrdiff_t>(keys.n);
            } else {
                data = widened.load(keys, b * kCodeBlock, rows);
                stride = widened.stride;
            }
            kernels.code_rows_f32(data, stride, rows, keys.n, metric, centre, slack,
                                  codes + b * units * kCodeBlock * 4, bounds + b * 3 * kCodeBlock);
        }
    });
}

}  // namespace firth::search
