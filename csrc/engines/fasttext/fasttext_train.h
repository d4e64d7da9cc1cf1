// Training of fastText's classifier, and the vocabulary of its text.
//
// The text is cut into blocks of about kFastTextBlock bytes at ends of lines. A block is trained by
// one worker; its random numbers and learning rates follow from its place, so one worker gives the
// same bits in every run, and several (Hogwild) differ only by the order of updates.
#pragma once
#include "engines/fasttext/fasttext.h"

namespace firth::fasttext {

constexpr size_t kFastTextBlock = 1 << 14;

struct FastTextVocabulary {
    std::string text;
    std::vector<int64_t> ends, counts;
    size_t labels;
    int64_t tokens;
};

// Words, then labels, each by falling count (ties in order): those that occur at least
// min_count (labels: min_label_count) times.
FastTextVocabulary count_fasttext_words(const char* text, size_t size, const std::string& label,
                                        int64_t min_count, int64_t min_label_count);

struct FastTextTraining {
    const FastTextDictionary* dictionary;
    const char* text;
    size_t size;
    float* input;   // rows x dim
    float* output;  // labels x dim
    size_t dim;
    const int64_t* counts;  // of the labels, falling
    FastTextLoss loss;
    int negative, epochs;
    float rate;
    uint64_t seed;
    const Kernels* kernels;
};

struct FastTextProgress {
    double loss = 0;
    uint64_t examples = 0;
};

class FastTextTrainer {
  public:
    explicit FastTextTrainer(const FastTextTraining& job);
    size_t blocks() const { return (job_.size + kFastTextBlock - 1) / kFastTextBlock; }
    // Trains blocks [first, last) of one epoch.
    FastTextProgress train(int epoch, size_t first, size_t last, int workers) const;

  private:
    struct Worker;
    FastTextProgress train_block(int epoch, size_t block) const;
    double update(Worker& worker, float rate) const;
    double step(Worker& worker, size_t row, bool positive, float rate) const;
    void move(Worker& worker, size_t row, float alpha) const;
    size_t start(size_t block) const;

    FastTextTraining job_;
    std::vector<double> noise_;          // ns: running sums of count^0.5
    std::vector<int64_t> path_offsets_;  // hs: steps of each label, from the leaf to the root
    std::vector<std::pair<int32_t, bool>> paths_;
};

}  // namespace firth::fasttext
