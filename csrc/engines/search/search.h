// Exact search over segments of rows: the best k of each query, or all above a threshold.
//
// First pass: bytes (codes.h) tell which rows may be among the best; second pass: those get
// their score (kernels/exact_scores.cpp), and the best of these are the result. It is bit for bit
// that of scoring every row, whichever rows passed the first.
#pragma once
#include <vector>

#include "engines/search/key_rows.h"
#include "kernels.h"

namespace firth::search {

// Rows that are stored together, as one snapshot sees them. Without codes it is all of `keys`.
struct Segment {
    KeyRows keys;                     // keys.rows: how many the snapshot shows
    size_t first_slot = 0;            // slot of row r: first_slot + r
    const int64_t* labels = nullptr;  // of each row, or null: first_label + r
    int64_t first_label = 0;
    const int64_t* died = nullptr;   // version that removed the row, 0: it lives; null: all live
    const float* norms = nullptr;    // of each row: NaN leaves it out; or null
    const uint8_t* codes = nullptr;  // blocks x units x 32 x 4
    const float* bounds = nullptr;   // blocks x 3 x 32
    size_t coded = 0;                // the first `coded` rows have codes
    size_t blocks = 0;               // in the order of the rows: coded / 32, which is whole
    const float* centre = nullptr;   // n
    const int32_t* order = nullptr;  // row of each lane of the blocks, -1: padding; null: in order
    const int64_t* cell_blocks = nullptr;  // with an order: first block of each cell, then the end
    size_t cells = 0;
};

// Slots that may, or may not, be found: bit s & 7 of byte s >> 3 of a bitmap, or a sorted list.
struct SlotFilter {
    const uint8_t* bitmap;
    size_t bytes;
    const int64_t* slots;
    size_t count;
};

struct Request {
    int metric = kCosine;
    const float* queries = nullptr;  // query_count x n at stride
    ptrdiff_t stride = 0;
    size_t query_count = 0, n = 0;
    int64_t version = 0;  // of the snapshot
    const std::vector<SlotFilter>* filters = nullptr;
    const int64_t* filter_of = nullptr;  // of each query: its filter, or -1; null: no filters
    const std::vector<SlotFilter>* exclusions = nullptr;  // slots that may not be found
    const int64_t* exclusion_of = nullptr;                // as filter_of
    // query_count x probes: the cells that a query visits, nearest first, -1: none; null: all.
    const int32_t* cells = nullptr;
    size_t probes = 0;
    int threads = 1;
    bool exact = false;  // score every row: to test the first pass
};

struct Stats {
    size_t coded = 0;      // pairs of query and row that the first pass decided
    size_t survivors = 0;  // of these, how many got a score
    size_t scored = 0;     // pairs that were scored without it

    Stats& operator+=(const Stats& other) {
        coded += other.coded;
        survivors += other.survivors;
        scored += other.scored;
        return *this;
    }
};

// labels, scores: query_count x k, the first counts[q] of a row are valid: score descending, label
// ascending.
Stats topk(const Kernels& kernels, const std::vector<Segment>& segments, const Request& request,
           size_t k, int64_t* labels, float* scores, int64_t* counts);

struct Scored {
    float score;
    int64_t label;
};

// All rows with a score of at least thresholds[q], in the same order.
Stats range(const Kernels& kernels, const std::vector<Segment>& segments, const Request& request,
            const float* thresholds, std::vector<std::vector<Scored>>& found);

// Codes rows, on all threads. order: blocks x 32, the row of each lane, -1 (behind the rows of a
// block) for padding; or null: in order. centre: n; codes: blocks x units x 32 x 4; bounds: blocks
// x 3 x 32.
void code_rows(const Kernels& kernels, const KeyRows& keys, int metric, const float* centre,
               const int32_t* order, size_t blocks, uint8_t* codes, float* bounds);

}  // namespace firth::search
