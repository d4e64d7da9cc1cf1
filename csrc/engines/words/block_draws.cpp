#include "engines/words/block_draws.h"

namespace firth::words {

BlockDraws::BlockDraws(const WordWindows& job, int epoch, size_t block, GensimRandom* gensim)
    : job_(job), gensim_(gensim) {
    if (gensim) {
        if (job.w_out || job.subsample) gensim->restart();
        return;
    }
    random_.state = job.seed;
    random_.state = random_.next() + static_cast<uint64_t>(epoch);
    random_.state = random_.next() + block;
    random_.state = random_.next();
}

// Sub-sampling first, windows afterwards, as word2vec.c and gensim do: a dropped word brings its
// neighbours nearer to each other.
void BlockDraws::choose(size_t begin, size_t end, std::vector<int32_t>& kept,
                        std::vector<uint32_t>& low, std::vector<uint32_t>& high) {
    const auto bits = [&] {
        return gensim_ ? gensim_->step() : static_cast<uint32_t>(random_.next() >> 32);
    };
    kept.clear();
    low.clear();
    high.clear();
    size_t sentence = 0;
    for (size_t t = begin; t < end; t++) {
        const bool last = job_.ids[t] < 0 || t + 1 == end;
        const int32_t id = job_.ids[t] < 0 ? ~job_.ids[t] : job_.ids[t];
        if (!job_.subsample || bits() <= job_.keep[id]) kept.push_back(id);
        if (!last) continue;
        // for now: where the sentence begins and ends
        const size_t stop = kept.size();
        low.resize(stop, static_cast<uint32_t>(sentence));
        high.resize(stop, static_cast<uint32_t>(stop - 1));
        sentence = stop;
    }
    const uint32_t window = static_cast<uint32_t>(job_.window);
    for (uint32_t i = 0; i < kept.size(); i++) {
        uint32_t reach = window;
        if (job_.shrink_windows)
            reach = gensim_ ? window - gensim_->below(window)
                            : 1 + static_cast<uint32_t>(random_.below(window));
        if (i - low[i] > reach) low[i] = i - reach;
        if (high[i] - i > reach) high[i] = i + reach;
    }
}

}  // namespace firth::words
