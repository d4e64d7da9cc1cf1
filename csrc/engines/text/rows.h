// Rows of tokens for a model: texts cut to a length, between special tokens, padded.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <optional>
#include <vector>

namespace firth::text {

// Which text of a sample is cut: the longer one first, or only one.
enum class Cut { kLongestFirst, kOnlyFirst, kOnlySecond };

struct Limit {
    size_t room;  // ids of a sample that stay, special tokens not counted
    Cut cut;
    bool left;  // texts lose their beginning instead of their end
    // Ids that rows share, where what is cut off becomes rows too.
    std::optional<size_t> stride;
};

// Where the ids of texts and special tokens go. A sample has one text, or two that stand one after
// the other; it becomes a row, or several.
class Layout {
  public:
    // offsets: (texts + 1,), text t has the ids [offsets[t], offsets[t + 1]). parts: what a row
    // consists of, 0 for the first text of its sample, 1 for the second, -1 for a special token;
    // each text once. Throws std::invalid_argument where the text that may be cut has no room, or
    // `stride` leaves no step.
    Layout(const int64_t* offsets, size_t texts, std::vector<int> parts,
           const std::optional<Limit>& limit);

    size_t rows() const { return samples_.size(); }
    const std::vector<int>& parts() const { return parts_; }
    int64_t ids() const { return ids_; }             // of all texts
    size_t truncated() const { return truncated_; }  // samples that were cut
    size_t longest() const { return longest_; }      // tokens of the longest row
    // The sample that a row comes from, (rows,).
    const std::vector<int64_t>& samples() const { return samples_; }
    // Row r has the tokens [offsets[r], offsets[r + 1]), (rows + 1,).
    const std::vector<int64_t>& offsets() const { return offsets_; }

    // A value for each token. values: (ids,), those of the texts, or null; around: a value for each
    // part, that of special tokens, and without `values` also that of texts. width: tokens of a
    // padded row, at least longest(); `padding` then comes first or last. out: (rows, width), or
    // without `width` (offsets().back(),). From int32_t to itself or int64_t, and Span.
    template <class In, class Out>
    void fill(const In* values, const Out* around, std::optional<size_t> width, bool left,
              Out padding, Out* out) const;

  private:
    struct Run {
        int64_t start, length;
    };
    void add_row(size_t sample, const Run* runs);
    void add_windows(size_t sample, const Run* texts, const Run* kept, const Limit& limit);

    std::vector<int> parts_;
    size_t per_sample_ = 1;  // texts
    size_t specials_ = 0;    // a row
    int64_t ids_;
    size_t truncated_ = 0, longest_ = 0;
    std::vector<int64_t> samples_, offsets_;
    std::vector<Run> runs_;  // (rows, per_sample): the ids of each text that are in a row
};

}  // namespace firth::text
