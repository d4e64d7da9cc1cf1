// GloVe: counting co-occurrences of a corpus of word ids, blocking them, training on the blocks.
//
// Counting goes by rows: all occurrences of a word are visited with their windows, so a row needs
// one accumulator a word and is finished at once. Nothing is sorted. Weights are whole numbers in
// float64, so sums are exact whatever their order, as long as they are below 2^53: the result does
// not depend on threads, nor on how the text is cut where it is counted in pieces.
// A symmetric matrix is kept as its lower half (columns up to the row).
#pragma once
#include <cstdint>
#include <vector>

#include "kernels.h"

namespace firth::words {

// Rows [first, first + lengths.size()) of the matrix; the columns of a row are in the order in
// which the corpus first shows them.
struct CooccurrenceRows {
    std::vector<int64_t> lengths;
    std::vector<int32_t> columns;
    std::vector<double> values;
};

// The same without ownership.
struct CooccurrenceView {
    const int64_t* lengths;
    const int32_t* columns;
    const double* values;
};

class CooccurrenceCounter {
  public:
    // ids: tokens in corpus order, the last of a sentence as ~id, below 2^32 of them. The first
    // `lead` belong to the text before: pairs among them are not counted. Keeps the pointer.
    // weights: what a pair at distance 1, 2, ... counts, positive; as many as the window has words.
    CooccurrenceCounter(const int32_t* ids, size_t tokens, size_t lead, size_t vocabulary,
                        std::vector<double> weights, bool symmetric);

    // The most entries that row can have.
    uint64_t bound(size_t row) const;

    // Rows [first, last), added to what other texts gave for them, in the order of these.
    CooccurrenceRows rows(size_t first, size_t last,
                          const std::vector<CooccurrenceView>& before) const;

  private:
    const int32_t* ids_;
    size_t tokens_, lead_, vocabulary_, window_;
    bool symmetric_;
    std::vector<double> weights_;   // by distance
    std::vector<uint64_t> starts_;  // vocabulary + 1: where a word's places begin
    std::vector<uint32_t> places_;  // tokens: the places of each word, rising
};

// A record as it is kept: row and column relative to their unit.
struct StoredRecord {
    uint16_t row, column;
    float log_count, weight;
};

// Records that are trained together: those of one block of rows and some blocks of columns, in
// random order.
struct GloveUnit {
    int64_t part;           // which array of records
    int64_t offset, count;  // in records
    int64_t row, column;    // what the records' rows and columns are relative to
    int64_t rows, columns;  // extents
};

struct GloveBlocks {
    std::vector<StoredRecord> records;
    std::vector<GloveUnit> units;  // part is 0
};

// Blocks of `block` rows of [first, last), where first is a multiple of block. weight is
// min(1, (x / x_max)^alpha).
GloveBlocks glove_blocks(CooccurrenceView rows, size_t first, size_t last, size_t vocabulary,
                         size_t block, double x_max, double alpha, uint64_t seed);

struct Glove {
    float* words;     // vocabulary rows of two planes, see glove_adagrad.cpp; 64-byte aligned
    float* contexts;  // likewise
    size_t stride, plane, dim;
    std::vector<const StoredRecord*> parts;
    std::vector<GloveUnit> units;
    bool symmetric;  // a record is also used as its mirror image
    float rate, clip;
    uint64_t seed;
};

// A unit, or its mirror image: rows as columns.
struct GloveVisit {
    uint32_t unit;
    bool mirrored;
};

// The visits of one epoch in random order: each unit once, and also mirrored where symmetric.
std::vector<GloveVisit> glove_order(const Glove& job, uint64_t epoch);

struct GloveProgress {
    double cost = 0;
    uint64_t records = 0;
};

// Trains `count` visits of an epoch on `workers` threads. One worker: in this order, the same bits
// in every run. More take visits that share no rows where they can, else update shared rows without
// locks (Hogwild).
GloveProgress glove_train(const Glove& job, const Kernels& kernels, uint64_t epoch,
                          const GloveVisit* visits, size_t count, int workers);

}  // namespace firth::words
