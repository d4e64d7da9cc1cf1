// Text to the ids of a WordPiece vocabulary, as BERT's tokenizers cut it: each code point is
// replaced by what a table says, words end at spaces and around punctuation, and a word becomes the
// longest tokens that it starts with, one after the other. What the table does not know is left to
// others.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <array>
#include <atomic>
#include <bitset>
#include <string>
#include <vector>

namespace firth::text {

// A text: `size` code points of `width` bytes (1, 2 or 4) each.
struct CodePoints {
    const void* data;
    size_t size;
    int width;
};

// The code points [start, end) of a text.
struct Span {
    int64_t start, end;
};

class WordPiece {
  public:
    // What a code point becomes: a kind in bits 24 to 30 of an entry, a value in the lower ones,
    // and in bit 31 whether a reserved text may start here. unknown = 0.
    enum Kind : uint32_t {
        kUnknown,      // the text is left to others
        kNothing,      // it vanishes
        kSpace,        // it ends a word
        kLetter,       // the code point `value` is appended to the word
        kPunctuation,  // the code point `value` is a word of its own
        kSeveral,      // the entries more[value / 16], `value % 16` of them, one after the other
    };

    // A text that is a token wherever it occurs, before anything else is looked at; where several
    // begin, the longest counts. id < 0: the whole text that holds it is left to others.
    struct Reserved {
        std::u32string text;  // not empty
        int32_t id;
    };

    // tokens[i], in UTF-8, has ids[i] >= 0; tokens inside a word carry `prefix`. A word of more
    // than `longest_word` code points, and one that cannot be cut into tokens, becomes `unknown`.
    WordPiece(const std::vector<std::string>& tokens, const int32_t* ids, const std::string& prefix,
              int32_t unknown, size_t longest_word, std::vector<Reserved> reserved);
    ~WordPiece();
    WordPiece(const WordPiece&) = delete;
    WordPiece& operator=(const WordPiece&) = delete;

    // The entries of the code points 256 * page, ..., 256 * page + 255; a page is set once, later
    // calls change nothing. Pages that were never set are unknown. Safe beside encode().
    void set_page(size_t page, const uint32_t* entries, std::vector<uint32_t> more);
    static constexpr size_t kPages = 0x1100;

    struct Found {
        std::vector<int32_t> ids;
        // Only where places are asked for. Of each id: what it stands for, and which word of its
        // text it belongs to; a reserved text is a word, and so is a punctuation mark.
        std::vector<Span> spans;
        std::vector<int32_t> words;
        std::bitset<kPages> missing;  // pages that were needed and are not set
    };
    struct Encoded {
        Found found;
        std::vector<int64_t> offsets;  // text i has ids[offsets[i], offsets[i + 1])
        std::vector<int64_t> skipped;  // texts left to others; they have no ids
    };

    // Of each text the first `most_characters`, then of its ids the first `most_ids`.
    Encoded encode(const std::vector<CodePoints>& texts, size_t most_characters, size_t most_ids,
                   bool places) const;

  private:
    // Open addressing over strings kept in one buffer.
    class Vocabulary {
      public:
        void add(const char* text, size_t size, int32_t id);
        // hashes[i] receives the hash of the first i + 1 bytes.
        static void hash_prefixes(const char* text, size_t size, uint64_t* hashes);
        static uint64_t extend(uint64_t hash, char next);
        static constexpr uint64_t kEmptyHash = 0x9e3779b97f4a7c15ull;
        int32_t find(const char* text, size_t size, uint64_t hash) const;  // -1: not there
        size_t longest() const { return longest_; }

      private:
        struct Entry {
            size_t start;
            uint32_t size;
            int32_t id;
        };
        struct Slot {
            uint32_t tag, entry;
        };
        static constexpr uint32_t kEmpty = 0xffffffffu;
        void insert(uint64_t hash, uint32_t entry);

        std::vector<Slot> slots_ = std::vector<Slot>(16, Slot{0, kEmpty});
        std::vector<Entry> entries_;
        std::vector<uint64_t> hashes_;
        std::string text_;
        size_t longest_ = 0;
    };

    struct Page {
        uint32_t entries[256];
        std::vector<uint32_t> more;
    };

    template <bool kPlaces>
    class Scanner;
    template <bool kPlaces>
    Encoded encode_texts(const std::vector<CodePoints>& texts, size_t most_characters,
                         size_t most_ids) const;

    Vocabulary words_, inner_;  // inner_: the tokens inside a word, without their prefix
    int32_t unknown_;
    size_t longest_word_;
    std::vector<Reserved> reserved_;  // longest first
    std::array<std::atomic<const Page*>, kPages> pages_{};
};

}  // namespace firth::text
