// Training of word vectors over a corpus of word ids: skip-gram and CBOW, negative sampling and
// hierarchical softmax, words with one row or with further rows of their n-grams. One window loop.
//
// The corpus is cut into blocks of about kBlockTokens tokens, at ends of sentences where there are
// any. A block is trained by one worker from start to end; its random numbers and its learning rate
// follow from its place in the corpus, so one worker gives the same bits in every run, and several
// workers (Hogwild: they update shared rows without locks) differ only by the order of updates.
// Where `jobs` is given, blocks are gensim's jobs instead, one after another on one thread, and the
// random numbers are gensim's.
#pragma once
#include "engines/words/alias_table.h"
#include "engines/words/gensim_random.h"
#include "kernels.h"

namespace firth::words {

constexpr size_t kBlockTokens = 10000;

// How much of an update each row takes: count values, one for each row or one for all; null: 1.
struct Locks {
    const float* values;
    size_t count;
    float at(size_t row) const { return values[count == 1 ? 0 : row]; }
};

// All matrices: rows of `stride` floats (a multiple of 16), 64-byte aligned, columns past the
// dimension zero.
struct WordWindows {
    float* w_in;    // vocabulary x stride: the vectors
    float* w_out;   // vocabulary x stride: the output layer of negative sampling; null without
    float* w_tree;  // vocabulary x stride: the inner nodes of hierarchical softmax; null without
    size_t stride, vocabulary;
    // Word w's path: tree_points and tree_codes [tree_start[w], tree_start[w + 1]), root first.
    const int64_t* tree_start;
    const int32_t* tree_points;
    const uint8_t* tree_codes;
    // Word w's further rows: sub_rows[sub_ids[sub_start[w] .. sub_start[w + 1])]; null without.
    float* sub_rows;
    const int64_t* sub_start;
    const int32_t* sub_ids;
    Locks lock, sub_lock;
    const int32_t* ids;         // tokens in corpus order; the last of a sentence is stored as ~id
    size_t tokens;              // length of ids
    const uint32_t* keep;       // vocabulary: a token stays where a 32-bit draw is <= keep[id]
    const AliasEntry* unigram;  // vocabulary: the negatives' distribution
    // gensim's streams: job j is ids [jobs[j], jobs[j + 1]) and starts at progress[j] of an epoch;
    // a negative is the place of a draw in `cumulative` (vocabulary). jobs is null without.
    const int64_t* jobs;
    const double* progress;
    size_t job_count;
    const uint32_t* cumulative;
    int window, negative, epochs;
    bool skip_gram, mean;  // CBOW: mean or sum of the contexts
    bool shrink_windows;   // window sizes uniform in 1..window, else always window
    bool subsample;        // whether tokens are drawn at all (gensim's streams depend on it)
    bool shared;      // one set of negatives a window (CBOW: for some windows), else one a pair
    bool whole_loss;  // the loss of every window, else of every 64th
    double alpha, min_alpha;
    uint64_t seed;
};

// Results of train_blocks.
struct WordProgress {
    double loss = 0;         // summed over the sampled pairs
    uint64_t pairs = 0;      // how many pairs (CBOW: windows) were sampled
    uint64_t effective = 0;  // tokens that sub-sampling left
};

// Blocks in an epoch.
size_t block_count(const WordWindows& job);

// Where block b starts: after the first end of sentence at or behind token b * kBlockTokens - 1, or
// at that token itself where the sentence is longer than a block.
size_t block_start(const WordWindows& job, size_t block);

// Trains blocks [first, last) of one epoch on `workers` threads; where `gensim` is given (and
// job.jobs), one after another with its numbers. Adds to `before` block by block:
// the sum of the loss does not depend on how an epoch is cut into calls.
WordProgress train_blocks(const WordWindows& job, const Kernels& kernels, int epoch, size_t first,
                          size_t last, int workers, const WordProgress& before,
                          GensimRandom* gensim);

}  // namespace firth::words
