// One worker's copies of rows that all workers update often.
//
// The top nodes of a tree are on most paths: their rows would go from core to core at every window.
// A worker has copies of its own and merges each with the common row after kHotUses uses divided by
// the number of workers, so that the uses which the others have not seen yet stay few. (The same
// for the output rows of frequent negatives gains nothing.)
#pragma once
#include <stddef.h>

namespace firth::words {

class HotRows {
  public:
    HotRows() = default;
    HotRows(const HotRows&) = delete;
    HotRows& operator=(const HotRows&) = delete;
    ~HotRows();

    // No copies yet. With one worker, or too many, there is nothing to gain: `row` returns the row.
    void begin(size_t stride, int workers);
    // The copy of the row at place `hot`, or the row itself where that is not below kHotRows.
    float* row(float* common, size_t hot) {
        return uses_ && hot < kHotRows ? copy(common, hot) : common;
    }
    // These rows (copies or not) were used.
    void used(float* const* rows, size_t n);
    // Merges all copies.
    void end();

  private:
    static constexpr size_t kHotRows = 256;
    static constexpr int kHotUses = 32;

    float* copy(float* common, size_t hot);
    // The copy and the common row take each other's changes.
    void merge(size_t hot);

    float* copies_ = nullptr;  // kHotRows x (now, when last merged) x stride
    size_t stride_ = 0;
    int uses_ = 0;
    float* common_[kHotRows];  // null: not copied yet
    int left_[kHotRows];       // uses until it is merged
};

}  // namespace firth::words
