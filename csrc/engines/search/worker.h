// One thread's part of a search: scans chunks of codes, scores what passes, keeps the best.
#pragma once
#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "engines/search/codes.h"
#include "engines/search/search.h"
#include "sizes.h"

namespace firth::search {

constexpr size_t kExactRows = 128;  // rows that exact_scores_f32 takes at once, at most

bool better(const Scored& a, const Scored& b);

// The best k of what was added, with some more that have not been sorted out yet; or everything
// from a threshold on (k = 0).
struct Best {
    size_t k = 0;
    float threshold = -std::numeric_limits<float>::infinity();
    std::vector<Scored> found;

    void add(float score, int64_t label);
};

// Rows in float32: in place, or widened into a buffer.
class Widened {
  public:
    Widened(const Kernels& kernels, size_t n) : kernels_(kernels), padded_(round_up(n, 16)) {}

    // At most kExactRows rows of keys; `stride` apart until the next call.
    const float* load(const KeyRows& keys, size_t first, size_t rows);
    ptrdiff_t stride = 0;

  private:
    const Kernels& kernels_;
    size_t padded_;
    AlignedBuffer buffer_;
};

// One piece of work, for all queries that are scanned or for some.
struct Chunk {
    enum Kind {
        kCodes,     // blocks [first, first + count) of the segment
        kOnTheFly,  // rows [first, first + count), which are coded for the purpose
        kRows,      // rows [first, first + count), which all get their score
    };
    const Segment* segment;
    Kind kind;
    size_t first, count;
    // Places in Pass::coding, or null: those of all that are scanned.
    const uint32_t* members = nullptr;
    size_t member_count = 0;
    // Of each member, if the chunk is one block: the rows that it may find, a bit each; or null.
    const uint32_t* masks = nullptr;
};

// Shared by all workers.
struct Pass {
    const Kernels& kernels;
    const Request& request;
    const std::vector<Segment>& segments;
    ExactQueries queries;
    std::vector<const SlotFilter*> filters, exclusions;  // of each query, or null
    std::vector<size_t> scanned;  // queries that scan all rows; others have lists of slots
    std::vector<size_t> coding;   // queries with codes: the scanned ones, then some with lists
    std::vector<std::pair<const float*, std::unique_ptr<CodedQueries>>> coded;  // by centre
    std::vector<float> units;      // scanned rows without codes: all queries / norm, as queries
    std::vector<float> no_centre;  // zeros: what rows are coded around on the fly
    // The highest k-th score that any worker has reached, of each query.
    std::unique_ptr<std::atomic<float>[]> reached;
};

class Worker {
  public:
    // thresholds: of each query, or null
    Worker(const Pass& pass, size_t k, const float* thresholds);

    void search(const Chunk& chunk);

    // Scores what has passed and was not scored yet.
    void finish();

    // The slots [begin, end) of the list of query q.
    void gather(size_t q, const int64_t* begin, const int64_t* end);

    std::vector<Best> best;  // of each query
    Stats stats;

  private:
    void scan(const Chunk& chunk);
    void score_near_rows(const Segment& segment, size_t first, size_t count);
    void raise(size_t q);
    void prefetch(const Segment& segment, size_t row) const;
    void score_row(size_t q, const Segment& segment, size_t row);
    void score_rows(const Segment& segment, size_t first, size_t count,
                    const std::vector<size_t>& queries);

    // Rows that have passed may be anywhere: the scan goes on while they are fetched.
    static constexpr size_t kAhead = 8;
    struct Passed {
        size_t q;
        const Segment* segment;  // null: none
        size_t row;
    };

    const Pass& pass_;
    std::array<Passed, kAhead> passed_{};
    size_t passed_count_ = 0;
    Widened widened_;
    std::vector<CodedQueries> coded_;       // with this worker's thresholds
    std::vector<size_t> survivors_, seen_;  // of each query
    std::vector<size_t> every_row_;         // of each: pieces that are scored row by row
    std::vector<size_t> near_, every_;
    std::vector<float> least_;
    std::vector<ScanHit> near_hits_;
    std::vector<uint32_t> everyone_;            // places of the scanned ones: 0, 1, ...
    std::vector<std::vector<float>> required_;  // the score that coded_ is set to, of each member
    AlignedBuffer hits_;
    size_t hit_bytes_ = 0;
    std::vector<float> scores_, bounds_;
    std::vector<int32_t> packed_;
    std::vector<ScanQuery> scan_;
    AlignedBuffer codes_;
    size_t code_bytes_ = 0;
};

}  // namespace firth::search
