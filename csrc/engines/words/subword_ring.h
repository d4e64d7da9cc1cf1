// The vectors of words with further rows (n-grams), for the positions within reach of the window.
//
// A word's vector is computed once, when its position comes into reach; updates go to that copy,
// and what it gained is added to all of the word's rows once, when the window has left it.
#pragma once
#include <vector>

#include "engines/words/word_windows.h"

namespace firth::words {

class SubwordRing {
  public:
    // For the tokens `kept` of one block, and windows that reach over at most `slots` positions.
    // memory: slots x 2 x job.stride floats, 64-byte aligned.
    void begin(const WordWindows& job, const Kernels& kernels, const int32_t* kept, size_t slots,
               float* memory);
    // Positions [first, last) have a vector from now on; those before `first` leave.
    void move_to(size_t first, size_t last);
    // All positions leave.
    void end();

    // One position by itself, where its vector must not grow old; move_to and end are not called
    // then. A position that leaves gives all that it gained to its rows.
    void enter(size_t p);
    void leave(size_t p);

    void prefetch(size_t p) const;
    size_t row_count(size_t p) const {
        const int64_t* start = job_->sub_start + kept_[p];
        return 1 + static_cast<size_t>(start[1] - start[0]);
    }
    // The mean (CBOW: the sum) of position p's rows.
    float* vector(size_t p) const { return memory_ + p % slots_ * 2 * job_->stride; }
    // What a change of all its rows, as far as their locks allow, changes in position p's vector.
    float weight(size_t p) const { return weights_[p % slots_]; }
    float weight_of(const float* vector) const {
        return weights_[static_cast<size_t>(vector - memory_) / (2 * job_->stride)];
    }

  private:
    const float* gather(size_t p);

    const WordWindows* job_ = nullptr;
    const Kernels* kernels_ = nullptr;
    const int32_t* kept_ = nullptr;
    size_t slots_ = 0, entered_ = 0, left_ = 0;
    float* memory_ = nullptr;  // slots x (now, as it entered) x stride
    std::vector<float> weights_, scales_;
    std::vector<float*> rows_;
};

}  // namespace firth::words
