#include "engines/words/subword_ring.h"

#include <cstring>

#include "engines/words/word_updates.h"

namespace firth::words {

void SubwordRing::begin(const WordWindows& job, const Kernels& kernels, const int32_t* kept,
                        size_t slots, float* memory) {
    job_ = &job;
    kernels_ = &kernels;
    kept_ = kept;
    slots_ = slots;
    memory_ = memory;
    entered_ = left_ = 0;
    weights_.resize(slots);
}

void SubwordRing::move_to(size_t first, size_t last) {
    while (left_ < first) leave(left_++);
    while (entered_ < last) enter(entered_++);
}

void SubwordRing::end() {
    while (left_ < entered_) leave(left_++);
}

void SubwordRing::prefetch(size_t p) const {
    const int64_t* start = job_->sub_start + kept_[p];
    for (int64_t k = start[0]; k < start[1]; k++)
        prefetch_row(job_->sub_rows + static_cast<size_t>(job_->sub_ids[k]) * job_->stride,
                     job_->stride);
}

// The rows of position p in rows_; returns their locks, or null where there are none.
const float* SubwordRing::gather(size_t p) {
    const WordWindows& job = *job_;
    const size_t id = static_cast<size_t>(kept_[p]);
    rows_.clear();
    rows_.push_back(job.w_in + id * job.stride);
    for (int64_t k = job.sub_start[id]; k < job.sub_start[id + 1]; k++)
        rows_.push_back(job.sub_rows + static_cast<size_t>(job.sub_ids[k]) * job.stride);
    if (!job.lock.values && !job.sub_lock.values) return nullptr;
    scales_.assign(1, job.lock.values ? job.lock.at(id) : 1.0f);
    for (int64_t k = job.sub_start[id]; k < job.sub_start[id + 1]; k++)
        scales_.push_back(job.sub_lock.values ? job.sub_lock.at(static_cast<size_t>(job.sub_ids[k]))
                                              : 1.0f);
    return scales_.data();
}

void SubwordRing::enter(size_t p) {
    const float* scales = gather(p);
    const size_t dim = job_->stride;
    const float count = static_cast<float>(rows_.size());
    float taken = scales ? 0.0f : count;
    if (scales)
        for (size_t i = 0; i < rows_.size(); i++) taken += scales[i];
    weights_[p % slots_] = job_->skip_gram ? taken / count : taken;
    float* now = vector(p);
    const float scale = job_->skip_gram ? 1.0f / count : 1.0f;
    kernels_->sum_rows_f32(rows_.data(), rows_.size(), dim, scale, now);
    std::memcpy(now + dim, now, dim * sizeof(float));
}

// Adds what the position gained to all of its rows: each takes the whole of it.
void SubwordRing::leave(size_t p) {
    if (weight(p) == 0) return;  // all are locked
    const float* scales = gather(p);
    const size_t dim = job_->stride;
    float *now = vector(p), *start = now + dim;
    for (size_t d = 0; d < dim; d++) start[d] = now[d] - start[d];
    kernels_->add_to_rows_f32(rows_.data(), rows_.size(), dim, scales, 1.0f / weight(p), start);
}

}  // namespace firth::words
