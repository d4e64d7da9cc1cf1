// The random choices of one block: which tokens stay, how wide windows are, what the negatives are.
#pragma once
#include <vector>

#include "engines/words/word_windows.h"
#include "random.h"

namespace firth::words {

class BlockDraws {
  public:
    // gensim: its numbers; or null: the block's own, which follow from its place.
    BlockDraws(const WordWindows& job, int epoch, size_t block, GensimRandom* gensim);

    // The tokens of [begin, end) that stay, and the window kept[low .. high] of each (without
    // itself).
    void choose(size_t begin, size_t end, std::vector<int32_t>& kept, std::vector<uint32_t>& low,
                std::vector<uint32_t>& high);

    int32_t negative() {
        if (gensim_) return gensim_->place(job_.cumulative, job_.vocabulary);
        return draw_alias(job_.unigram, job_.vocabulary, random_.next());
    }

  private:
    const WordWindows& job_;
    GensimRandom* gensim_;
    SplitMix64 random_{};
};

}  // namespace firth::words
