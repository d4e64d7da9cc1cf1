#include "engines/words/hot_rows.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "engines/words/word_updates.h"

namespace firth::words {

HotRows::~HotRows() { std::free(copies_); }

void HotRows::begin(size_t stride, int workers) {
    uses_ = workers > 1 ? kHotUses / workers : 0;
    if (uses_ < 2) uses_ = 0;
    if (!uses_) return;
    if (stride != stride_) {
        std::free(copies_);
        stride_ = 0;
        copies_ = static_cast<float*>(std::aligned_alloc(64, kHotRows * 8 * stride));
        if (!copies_) throw std::bad_alloc();
        stride_ = stride;
    }
    std::memset(common_, 0, sizeof common_);
}

float* HotRows::copy(float* common, size_t hot) {
    float* const copy = copies_ + hot * 2 * stride_;
    if (!common_[hot]) {
        common_[hot] = common;
        left_[hot] = uses_;
        std::memcpy(copy, common, stride_ * 4);
        std::memcpy(copy + stride_, common, stride_ * 4);
    }
    return copy;
}

void HotRows::used(float* const* rows, size_t n) {
    if (!uses_) return;
    for (size_t i = 0; i < n; i++) {
        const size_t place = static_cast<size_t>(rows[i] - copies_);
        if (place >= kHotRows * 2 * stride_) continue;
        const size_t hot = place / (2 * stride_);
        left_[hot]--;
        if (left_[hot] == 1) prefetch_row(common_[hot], stride_);
        if (left_[hot] <= 0) merge(hot);
    }
}

void HotRows::end() {
    if (!uses_) return;
    for (size_t hot = 0; hot < kHotRows; hot++)
        if (common_[hot] && left_[hot] < uses_) merge(hot);
}

void HotRows::merge(size_t hot) {
    float *copy = copies_ + hot * 2 * stride_, *before = copy + stride_, *common = common_[hot];
    for (size_t d = 0; d < stride_; d++) copy[d] = before[d] = common[d] += copy[d] - before[d];
    left_[hot] = uses_;
}

}  // namespace firth::words
