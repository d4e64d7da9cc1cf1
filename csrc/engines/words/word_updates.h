// What one word window updates: negative sampling and hierarchical softmax, over inputs that share
// their outputs or one by one. The trainer (word_windows.cpp) and the batches of firth.kernels both
// call the functions at the top; the batches are below. Rows may have any stride and alignment.
#pragma once
#include <vector>

#include "kernels.h"

namespace firth::words {

// Asks for a row of `stride` floats that will be updated.
inline void prefetch_row(const float* row, size_t stride) {
    for (size_t d = 0; d < stride; d += 16) __builtin_prefetch(row + d, 1, 3);
}

// Floats of scratch memory that the kernels need for m inputs and n outputs.
size_t word_work_floats(size_t m, size_t n, size_t dim);

// A list of distinct rows, with the number of times each was added.
struct DistinctRows {
    std::vector<float*> rows;
    std::vector<float> times;
    size_t size = 0;
    bool repeated = false;

    void reserve(size_t n);
    void clear();
    void add(float* row);
};

// Scratch memory of one worker for the updates, kept between windows.
struct UpdateScratch {
    std::vector<float> scores, times;
    bool steps = false;  // the logistic function in gensim's steps
    float* work = nullptr;
    size_t work_floats = 0;

    UpdateScratch() = default;
    UpdateScratch(const UpdateScratch&) = delete;
    UpdateScratch& operator=(const UpdateScratch&) = delete;
    ~UpdateScratch();

    // Room for m inputs together with n outputs, and for `extra` floats behind the kernels' memory.
    void reserve(size_t m, size_t n, size_t dim, size_t extra);
};

// Each update returns the loss of its pairs if want_loss, else 0. rate: learning rate.
// labels: n, 1 for an output that follows and 0 for one that does not; null for (1, 0, 0, ...).
// change: inputs x dim, what the inputs gain, which are not touched then; or null: they are
// updated.

// Inputs that share their outputs: all scores first. out: n distinct rows; out_times: how often
// each occurs, null for once.
double update_shared(const DistinctRows& in, float* const* out, size_t n, const float* out_times,
                     const float* labels, size_t dim, float rate, UpdateScratch& scratch,
                     float* change, const Kernels& kernels, bool want_loss);

// One input, output after output in gensim's order; out: n rows, which may repeat.
double update_pair(float* in, float* const* out, size_t n, const float* labels, size_t dim,
                   float rate, UpdateScratch& scratch, float* change, const Kernels& kernels,
                   bool want_loss);

// m inputs with an own positive output each, and common negatives that count `weight` each time
// they were drawn, and not for the input whose positive they are. change: m x dim, never null.
double update_group(float* const* in, size_t m, float* const* positives,
                    const DistinctRows& negatives, float weight, size_t dim, float rate,
                    UpdateScratch& scratch, float* change, const Kernels& kernels, bool want_loss);

// A matrix of word vectors: `stride` floats from row to row.
struct WordMatrix {
    float* data;
    size_t stride;
    float* row(int64_t id) const { return data + static_cast<size_t>(id) * stride; }
};

// The batches update in place, in the given order, on the calling thread, and return the summed
// loss. contexts: rows x width, -1 fills short windows.

// Skip-gram with negative sampling. Shared mode: a row of negatives (rows x negative) serves all
// contexts of its window. Independent mode (width 1): one context and one row of negatives a pair.
double skipgram_batch(WordMatrix w_in, WordMatrix w_out, size_t dim, const int64_t* centers,
                      const int64_t* contexts, const int64_t* negatives, size_t rows, size_t width,
                      size_t negative, bool shared, float rate, const Kernels& kernels);

// CBOW with negative sampling. Shared mode: one row of negatives serves all windows together, each
// counting `weight`. Independent mode: negatives rows x negative, window after window.
double cbow_batch(WordMatrix w_in, WordMatrix w_out, size_t dim, const int64_t* centers,
                  const int64_t* contexts, const int64_t* negatives, size_t rows, size_t width,
                  size_t negative, bool shared, bool mean, float weight, float rate,
                  const Kernels& kernels);

// Skip-gram with hierarchical softmax. points: rows x length inner nodes (rows of w_tree), none
// twice on a path, -1 fills short ones; codes: rows x length turns. Shared mode: all contexts of a
// window together; independent mode (width 1): one context a path.
double tree_batch(WordMatrix w_in, WordMatrix w_tree, size_t dim, const int64_t* points,
                  const uint8_t* codes, const int64_t* contexts, size_t rows, size_t length,
                  size_t width, bool shared, float rate, const Kernels& kernels);

}  // namespace firth::words
