// Texts to counts of their terms: words, runs of words, or runs of characters, as scikit-learn's
// vectorizers cut them. What a code point becomes and what kind it is, a table says.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <array>
#include <bitset>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engines/text/wordpiece.h"

namespace firth::text {

// Distinct strings of bytes, numbered as they come: open addressing over one growing buffer.
class Terms {
  public:
    struct Term {
        const char* data;
        size_t size;
        uint64_t hash;
        uint64_t head;  // the first eight bytes, zeros behind a shorter term: most are known by it
    };
    static constexpr size_t kBehind = 8;  // bytes behind a term that are read (and do not count)
    static Term term(const char* data, size_t size);

    Terms() : slots_(1 << 8, Slot{0, kEmpty}) {}
    int64_t find(const Term& term) const;  // -1: not there
    void prefetch(const Term& term) const {
        __builtin_prefetch(&slots_[term.hash & (slots_.size() - 1)]);
    }
    size_t insert(const Term& term);  // its number, new or not; at most 2^31 - 1 terms

    size_t size() const { return entries_.size(); }
    // Valid until the next insert.
    Term operator[](size_t number) const {
        const Entry& entry = entries_[number];
        return {text_.data() + entry.start, entry.size, entry.hash, entry.head};
    }

  private:
    struct Entry {
        uint64_t hash, head;
        size_t start, size;  // in text_
    };
    struct Slot {
        uint32_t tag, entry;
    };
    static constexpr uint32_t kEmpty = 0xffffffffu;
    void place(uint64_t hash, uint32_t entry);

    std::vector<Slot> slots_;
    std::vector<Entry> entries_;
    std::string text_;
};

// Row r has offsets[r + 1] - offsets[r] terms; (rows + 1,), then twice (offsets.back(),).
struct TermRows {
    std::vector<int64_t> offsets{0};
    std::vector<int32_t> ids, counts;
};

class TermCounts {
  public:
    enum class Unit {
        kWords,        // runs of letters, separated by anything else; joined by a space
        kCharacters,   // of the whole text, where several white spaces are one
        kWithinWords,  // of each word with a space before and behind it; words end at white space
    };
    // An entry of the table: a code point in bits 0 to 20, its kind in bits 24 and 25. With bit 31
    // the code points more[value / 32], `value % 32` of them, value being bits 0 to 30.
    enum Kind : uint32_t { kWord = 1u << 24, kSpace = 1u << 25, kSeveral = 1u << 31 };
    static constexpr size_t kPages = 0x1100;

    // Words of fewer than `shortest` code points and stop words vanish. A term has `least` to
    // `most` units.
    TermCounts(Unit unit, size_t shortest, size_t least, size_t most,
               const std::vector<std::string>& stop_words);

    // Numbers terms, from 0; from now on others are left out. Before the first text. Term i is
    // text[ends[i - 1] : ends[i]].
    void know(std::string text, const std::vector<size_t>& ends);

    // The entries of the code points 256 * page, ..., 256 * page + 255.
    void set_page(size_t page, const uint32_t* entries, std::vector<uint32_t> more);

    // One row a text. Terms are numbered by their first occurrence, a text being read once for each
    // number of units. Where pages are missing they are returned, and nothing is added.
    std::bitset<kPages> add(const std::vector<CodePoints>& texts);

    const Terms& terms() const { return terms_; }
    // The rows so far, which leave; terms stay.
    TermRows take_rows() { return std::exchange(rows_, TermRows{}); }
    // The numbers of the terms, sorted by their code points.
    std::vector<int32_t> order() const;

  private:
    class Scanner;
    struct Page {
        std::array<uint32_t, 256> entries;
        std::vector<uint32_t> more;
    };

    Unit unit_;
    size_t shortest_, least_, most_;
    bool closed_ = false;  // to new terms
    // The letter that a code point of page 0 becomes, if it is one of ASCII; otherwise 0.
    std::array<char, 256> letters_{};
    Terms stop_words_, terms_;
    std::array<std::unique_ptr<Page>, kPages> pages_;
    TermRows rows_;
};

// The rows with columns[id] for id, without those below 0; each sorted by columns, or by ids.
// offsets: (rows + 1,), ids and counts: (offsets[rows],), each id below the size of columns.
TermRows place_terms(const int64_t* offsets, size_t rows, const int32_t* ids, const int32_t* counts,
                     const int32_t* columns, bool by_columns);

// Multiplies values by idf[id], if idf is not null, and divides those of each row by its length:
// the root of the sum of squares, or the sum of magnitudes; 0 counts as 1. Sums are float64, from
// left to right. False where a row has a value that is not finite.
enum class Norm { kNone, kL1, kL2 };
template <class Value>
bool weigh_terms(const int64_t* offsets, size_t rows, const int32_t* ids, Value* values,
                 const double* idf, Norm norm);

}  // namespace firth::text
