// Skip-gram training with negative sampling over a corpus of word ids.
//
// The corpus is cut into blocks of about kBlockTokens tokens, at ends of sentences where there are
// any. A block is trained by one worker from start to end; its random numbers and its learning rate
// follow from its place in the corpus, so one worker gives the same bits in every run, and several
// workers (Hogwild: they update shared rows without locks) differ only by the order of updates.
#pragma once
#include "kernels.h"

namespace firth {

constexpr size_t kBlockTokens = 10000;

// One entry a word: draw i uniformly and a 32-bit r; the word is r < threshold ? i : alias.
struct AliasEntry {
    uint32_t threshold;
    int32_t alias;
};

struct SkipGram {
    float* w_in;    // vocabulary x stride: the vectors; 64-byte aligned, columns past dim are zero
    float* w_out;   // vocabulary x stride: the output layer
    size_t stride;  // floats a row, a multiple of 16
    size_t vocabulary;
    const int32_t* ids;         // tokens in corpus order; the last of a sentence is stored as ~id
    size_t tokens;              // length of ids
    const uint32_t* keep;       // vocabulary: a token stays where a 32-bit draw is <= keep[id]
    const AliasEntry* unigram;  // vocabulary: Walker's alias table of the negatives
    int window, negative, epochs;
    bool shrink_windows;  // window sizes uniform in 1..window, else always window
    bool shared;          // one set of negatives a window, else one a pair
    float alpha, min_alpha;
    uint64_t seed;
};

// What a call of train_blocks did.
struct SkipGramProgress {
    double loss = 0;         // summed over the sampled pairs (every 64th window)
    uint64_t pairs = 0;      // how many pairs were sampled
    uint64_t effective = 0;  // tokens that sub-sampling left
};

// Blocks in an epoch.
size_t block_count(size_t tokens);

// Where block b starts: after the first end of sentence at or behind token b * kBlockTokens - 1, or
// at that token itself where the sentence is longer than a block.
size_t block_start(const int32_t* ids, size_t tokens, size_t block);

// Floats of scratch memory that sgns_window_f32 and sgns_pair_f32 need for m inputs and n outputs.
size_t sgns_work_floats(size_t m, size_t n, size_t dim);

// Trains blocks [first, last) of one epoch on `workers` threads. Adds to `before` block by block:
// the sum of the loss does not depend on how an epoch is cut into calls.
SkipGramProgress train_blocks(const SkipGram& job, const Kernels& kernels, int epoch, size_t first,
                              size_t last, int workers, const SkipGramProgress& before);

// One update batch in place, in the given order, on the calling thread; returns the summed loss.
// Shared mode: windows x width contexts (-1 fills short windows), one row of negatives a window.
// Independent mode (width 1): one context and one row of negatives a pair.
double sgns_batch(float* w_in, size_t in_stride, float* w_out, size_t out_stride, size_t dim,
                  const int64_t* centers, const int64_t* contexts, const int64_t* negatives,
                  size_t rows, size_t width, size_t negative, bool shared, float rate,
                  const Kernels& kernels);

// Fills table[0..n) so that word i is drawn with probability weights[i] / sum (Vose 1991).
void build_alias(const double* weights, size_t n, AliasEntry* table);

}  // namespace firth
