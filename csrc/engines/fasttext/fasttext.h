// fastText's classifier: lines of text -> rows of the input matrix -> their mean -> labels.
//
// A line is what fastText's Dictionary::getLine reads: words between white space (space, \n, \r,
// \t, \v, \f, \0), up to and with the end of the line, which is the word "</s>".
#pragma once
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "engines/words/subwords.h"
#include "kernels.h"

namespace firth::fasttext {

struct FastTextLine {
    std::vector<int32_t> rows;     // of the input matrix
    std::vector<int32_t> labels;   // known ones
    std::vector<uint32_t> hashes;  // of the words, for the n-grams of words
    size_t tokens;
};

// Open addressing: the entry of a word.
class FastTextTable {
  public:
    explicit FastTextTable(size_t entries);
    // The slot of this hash whose entry `same` accepts, or the empty one where it belongs.
    template <class Same>
    size_t find(uint32_t hash, const Same& same) const {
        size_t at = (hash * 0x9E3779B1u) & mask_;
        while (slots_[at].second >= 0 && !(slots_[at].first == hash && same(slots_[at].second)))
            at = (at + 1) & mask_;
        return at;
    }
    int32_t entry(size_t slot) const { return slots_[slot].second; }
    void set(size_t slot, uint32_t hash, int32_t entry) { slots_[slot] = {hash, entry}; }
    size_t capacity() const { return slots_.size() / 2; }
    void grow();

  private:
    std::vector<std::pair<uint32_t, int32_t>> slots_;
    size_t mask_;
};

struct FastTextRules {
    words::Subwords subwords;
    int word_ngrams;
    std::string label;  // what labels begin with
};

// The next word of [p, end) as [*word, p); false at the end. The end of a line is the word "\n".
bool next_fasttext_word(const char*& p, const char* end, const char** word);

class FastTextDictionary {
  public:
    // Holds on to the entries' memory: words, then `labels` labels. `pruned`: (bucket, row behind
    // the words) of the n-grams that are left, or null for all. `keep` the rows of each word, not
    // to hash it again.
    FastTextDictionary(const words::WordList& entries, size_t labels, const FastTextRules& rules,
                       const int32_t* pruned, size_t pruned_count, bool keep);

    size_t words() const { return entries_.count - labels_; }
    size_t labels() const { return labels_; }
    int32_t find(const char* word, size_t size) const;  // entry, or -1
    // Adds the rows of a word: its own, if it is known, and those of its n-grams.
    void add_rows(const char* word, size_t size, std::vector<int32_t>& rows) const;
    // Reads one line of [p, end), p < end; returns where the next one begins.
    const char* read_line(const char* p, const char* end, FastTextLine& line) const;

  private:
    int32_t find(const char* word, size_t size, uint32_t hash) const;
    void add_ngrams(const char* word, size_t size, std::vector<int32_t>& rows) const;
    void add_bucket(uint32_t bucket, std::vector<int32_t>& rows) const;
    void add_token(const char* word, size_t size, FastTextLine& line) const;

    words::WordList entries_;
    size_t labels_;
    FastTextRules rules_;
    FastTextTable table_;
    bool pruned_;
    std::vector<uint64_t> left_;    // pruned: one bit a bucket, whether it is left
    FastTextTable left_rows_;       // pruned: bucket -> row
    std::vector<int64_t> offsets_;  // keep: rows_[offsets_[i], offsets_[i + 1]) belong to word i
    std::vector<int32_t> rows_;
};

// rows x dim floats, or product-quantised: each row `parts` codes of `dsub` columns (the last part
// has what is left), 256 centroids a part, times norm_centroids[norm_codes[row]] where given.
struct FastTextMatrix {
    const words::unaligned_float* values;  // or null
    const uint8_t* codes;
    const float* centroids;
    size_t parts, dsub;
    const uint8_t* norm_codes;  // or null
    const float* norm_centroids;
    size_t rows, dim;

    void add_row(size_t row, float* sum) const;
    // mean[dim] of some rows; zeros of none.
    void mean(const int32_t* which, size_t count, float* mean) const;
    // The same scaled to length 1; zeros stay.
    void unit_mean(const int32_t* which, size_t count, float* mean) const;
};

enum class FastTextLoss { hs = 1, ns, softmax, ova };

struct FastTextPrediction {
    float score;  // natural logarithm of the probability (+ 1e-5, as fastText)
    int32_t label;
    float probability() const { return std::exp(score); }
};

// Huffman's tree over labels by falling count, fastText's way of breaking ties: leaves are nodes
// [0, labels), the root is the last. Children of inner node `labels + i`: left[i], right[i]; the
// output row i belongs to it and says how likely the right child is.
struct FastTextTree {
    std::vector<int32_t> left, right;
    FastTextTree(const int64_t* counts, size_t labels);
};

class FastTextClassifier {
  public:
    // Holds on to the output matrix: labels x dim.
    FastTextClassifier(const FastTextMatrix& input, const float* output, const int64_t* counts,
                       size_t labels, FastTextLoss loss, const Kernels& kernels);

    struct Scratch {
        std::vector<float> hidden, output;
        std::vector<std::pair<int32_t, float>> nodes;
        std::vector<FastTextPrediction> best;
    };
    // The k likeliest labels of at least this probability in scratch.best, the likeliest first.
    void predict(const std::vector<int32_t>& rows, size_t k, float threshold,
                 Scratch& scratch) const;

  private:
    void search_tree(size_t k, float threshold, Scratch& scratch) const;
    void score_all(Scratch& scratch) const;

    FastTextMatrix input_;
    const float* output_;
    size_t labels_;
    FastTextLoss loss_;
    FastTextTree tree_;
    const Kernels& kernels_;
};

// fastText's table of the logistic function: 512 steps over [-8, 8], 0 and 1 beyond.
float fasttext_sigmoid(float x);

}  // namespace firth::fasttext
