// Text to word counts and word ids: one sentence a line, words split at ASCII white space.
// Bytes are taken as they are (UTF-8 passes through); no limit on the length of a line or a word.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <memory>
#include <string>
#include <vector>

namespace firth::words {

// Counts words over pieces of a text that are given in order. A piece must end at white space,
// unless it is the last; cut_at_space finds such an end.
class WordCounter {
  public:
    WordCounter();
    ~WordCounter();

    void add(const char* text, size_t size);

    struct Words {
        std::vector<std::string> words;  // in the order of their first occurrence
        std::vector<int64_t> counts;
    };
    Words finish() const;

    uint64_t total_words() const;
    uint64_t sentences() const;  // lines with at least one word

  private:
    struct Shard;
    std::vector<std::unique_ptr<Shard>> shards_;  // one a task slot, merged by finish()
    uint64_t offset_ = 0;
    bool line_has_word_ = false;
    uint64_t total_words_ = 0, sentences_ = 0;
};

// Replaces words by ids. The last id of a sentence is stored as ~id; words without an id vanish.
class WordEncoder {
  public:
    // words[i] has id i.
    explicit WordEncoder(const std::vector<std::string>& words);
    ~WordEncoder();

    // The ids of the next piece of the text. The newest id is held back until it is known whether
    // it ends its sentence; `last` closes the sentence and releases it.
    std::vector<int32_t> encode(const char* text, size_t size, bool last);

  private:
    struct Table;
    std::unique_ptr<Table> table_;
    bool holding_ = false;
    int32_t held_ = 0;
};

// The largest n <= size so that text[0, n) ends behind a line end, else behind other white space,
// else `size` itself (one word fills the piece).
size_t cut_at_space(const char* text, size_t size);

}  // namespace firth::words
