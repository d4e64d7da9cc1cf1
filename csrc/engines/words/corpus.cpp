// A piece is cut into one part a thread at white space; each part is scanned once, eight bytes a
// step, hashing a word while its end is looked for. Counting keeps one table a part slot, so that
// tables live on from piece to piece and are merged once; the place of a word's first occurrence
// settles the order.
#include "engines/words/corpus.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "parallel.h"

namespace firth::words {
namespace {

bool is_space(char c) { return static_cast<unsigned char>(c) <= ' '; }

struct Word {
    const char* data;
    size_t size;
    uint64_t hash;
    uint64_t
        head;  // the first eight bytes, zeros behind a shorter word: most words are compared by it
};

// The next bytes of the text, at most eight, zeros behind its end.
uint64_t load_bytes(const char* text, size_t left) {
    uint64_t bytes = 0;
    if (left >= 8)
        std::memcpy(&bytes, text, 8);
    else
        std::memcpy(&bytes, text, left);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bytes = __builtin_bswap64(bytes);
#endif
    return bytes;
}

// The word that starts at text[0]; ends before the first byte <= ' ' or after `left` bytes.
Word next_word(const char* text, size_t left) {
    constexpr uint64_t ones = 0x0101010101010101ull;
    Word word{text, 0, 0x9e3779b97f4a7c15ull, 0};
    for (;;) {
        uint64_t bytes = load_bytes(text + word.size, left - word.size);
        // Sets the high bit of each byte below 0x21; exact up to and including the first of them.
        const uint64_t ends = (bytes - ones * 0x21) & ~bytes & (ones * 0x80);
        const size_t n = ends ? static_cast<size_t>(__builtin_ctzll(ends)) / 8 : 8;
        if (n < 8) bytes &= (1ull << 8 * n) - 1;
        if (word.size == 0) word.head = bytes;
        word.hash = (word.hash ^ bytes) * 0xd6e8feb86659fd93ull;
        word.hash ^= word.hash >> 32;
        word.size += n;
        if (n < 8) return word;
    }
}

// A word that is given whole: it may hold spaces, which never match a word of a text.
Word whole_word(const std::string& text) {
    Word word = next_word(text.data(), text.size());
    if (word.size < text.size()) {
        word.size = text.size();
        word.hash = std::hash<std::string>()(text);
        word.head = load_bytes(text.data(), text.size());
    }
    return word;
}

// Calls on_word(Word, offset) for each word and on_line_end() for each line end, in order.
template <class OnWord, class OnLineEnd>
void scan(const char* text, size_t size, const OnWord& on_word, const OnLineEnd& on_line_end) {
    for (size_t i = 0; i < size;) {
        if (is_space(text[i])) {
            if (text[i] == '\n') on_line_end();
            i++;
            continue;
        }
        const Word word = next_word(text + i, size - i);
        on_word(word, i);
        i += word.size;
    }
}

// Open addressing over words kept in one growing buffer; values are indices in order of insertion.
class HashTable {
  public:
    struct Entry {
        uint64_t hash, head;
        size_t start, size;  // in text_
    };

    HashTable() : slots_(1 << 12, kEmpty) {}

    // The index of the word, or -1.
    int64_t find(const Word& word) const {
        for (size_t s = word.hash & (slots_.size() - 1);; s = (s + 1) & (slots_.size() - 1)) {
            const uint32_t index = slots_[s];
            if (index == kEmpty) return -1;
            if (same(entries_[index], word)) return index;
        }
    }

    // The index of the word, which is put in if it is new.
    size_t insert(const Word& word) {
        size_t s = word.hash & (slots_.size() - 1);
        for (;; s = (s + 1) & (slots_.size() - 1)) {
            const uint32_t index = slots_[s];
            if (index == kEmpty) break;
            if (same(entries_[index], word)) return index;
        }
        slots_[s] = static_cast<uint32_t>(entries_.size());
        entries_.push_back({word.hash, word.head, text_.size(), word.size});
        text_.append(word.data, word.size);
        if (entries_.size() * 2 > slots_.size()) grow();
        return entries_.size() - 1;
    }

    size_t size() const { return entries_.size(); }
    std::string text(size_t index) const {
        return text_.substr(entries_[index].start, entries_[index].size);
    }
    Word word(size_t index) const {
        const Entry& e = entries_[index];
        return {text_.data() + e.start, e.size, e.hash, e.head};
    }

  private:
    static constexpr uint32_t kEmpty = 0xffffffffu;

    bool same(const Entry& entry, const Word& word) const {
        return entry.head == word.head && entry.size == word.size && entry.hash == word.hash &&
               (word.size <= 8 ||
                std::memcmp(text_.data() + entry.start + 8, word.data + 8, word.size - 8) == 0);
    }

    void grow() {
        slots_.assign(slots_.size() * 2, kEmpty);
        for (size_t i = 0; i < entries_.size(); i++) {
            size_t s = entries_[i].hash & (slots_.size() - 1);
            while (slots_[s] != kEmpty) s = (s + 1) & (slots_.size() - 1);
            slots_[s] = static_cast<uint32_t>(i);
        }
    }

    std::vector<uint32_t> slots_;
    std::vector<Entry> entries_;
    std::string text_;
};

// Ends of the parts of a piece, each behind white space.
std::vector<size_t> part_ends(const char* text, size_t size) {
    const size_t parts =
        std::max<size_t>(1, std::min<size_t>(static_cast<size_t>(num_threads()), size >> 16));
    std::vector<size_t> ends;
    for (size_t p = 1; p < parts; p++) {
        size_t end = size / parts * p;
        while (end < size && !is_space(text[end])) end++;
        ends.push_back(std::max(end, ends.empty() ? 0 : ends.back()));
    }
    ends.push_back(size);
    return ends;
}

template <class Body>
void for_each_part(const std::vector<size_t>& ends, const Body& body) {
    parallel_for(ends.size(), 1, [&](size_t p, size_t) { body(p, p ? ends[p - 1] : 0, ends[p]); });
}

}  // namespace

struct WordCounter::Shard {
    HashTable table;
    std::vector<int64_t> counts;
    std::vector<uint64_t> first;  // byte offset in the whole text
    // Of the part scanned last:
    uint64_t words = 0, closed = 0;  // closed: line ends with a word of this part before them
    bool saw_line_end = false, word_before_line_end = false, open_word = false;
};

WordCounter::WordCounter() = default;
WordCounter::~WordCounter() = default;

void WordCounter::add(const char* text, size_t size) {
    const std::vector<size_t> ends = part_ends(text, size);
    while (shards_.size() < ends.size()) shards_.push_back(std::make_unique<Shard>());
    for_each_part(ends, [&](size_t p, size_t begin, size_t end) {
        Shard& shard = *shards_[p];
        shard.words = shard.closed = 0;
        shard.saw_line_end = shard.word_before_line_end = shard.open_word = false;
        scan(
            text + begin, end - begin,
            [&](const Word& word, size_t start) {
                const size_t index = shard.table.insert(word);
                if (index == shard.counts.size()) {
                    shard.counts.push_back(0);
                    shard.first.push_back(offset_ + begin + start);
                }
                shard.counts[index]++;
                shard.words++;
                shard.open_word = true;
            },
            [&] {
                if (!shard.saw_line_end) shard.word_before_line_end = shard.open_word;
                shard.saw_line_end = true;
                shard.closed += shard.open_word;
                shard.open_word = false;
            });
    });
    for (size_t p = 0; p < ends.size(); p++) {
        const Shard& shard = *shards_[p];
        total_words_ += shard.words;
        sentences_ += shard.closed;
        if (!shard.saw_line_end) {
            line_has_word_ |= shard.open_word;
            continue;
        }
        if (line_has_word_ && !shard.word_before_line_end) sentences_++;
        line_has_word_ = shard.open_word;
    }
    offset_ += size;
}

WordCounter::Words WordCounter::finish() const {
    HashTable merged;
    std::vector<int64_t> counts;
    std::vector<uint64_t> first;
    for (const auto& shard : shards_) {
        for (size_t i = 0; i < shard->table.size(); i++) {
            const size_t index = merged.insert(shard->table.word(i));
            if (index == counts.size()) {
                counts.push_back(0);
                first.push_back(shard->first[i]);
            }
            counts[index] += shard->counts[i];
            first[index] = std::min(first[index], shard->first[i]);
        }
    }
    std::vector<uint32_t> order(counts.size());
    for (size_t i = 0; i < order.size(); i++) order[i] = static_cast<uint32_t>(i);
    std::sort(order.begin(), order.end(),
              [&](uint32_t a, uint32_t b) { return first[a] < first[b]; });
    Words result;
    for (const uint32_t i : order) {
        result.words.push_back(merged.text(i));
        result.counts.push_back(counts[i]);
    }
    return result;
}

uint64_t WordCounter::total_words() const { return total_words_; }
uint64_t WordCounter::sentences() const { return sentences_ + line_has_word_; }

struct WordEncoder::Table {
    HashTable words;
};

WordEncoder::WordEncoder(const std::vector<std::string>& words)
    : table_(std::make_unique<Table>()) {
    for (const std::string& text : words) table_->words.insert(whole_word(text));
}

WordEncoder::~WordEncoder() = default;

std::vector<int32_t> WordEncoder::encode(const char* text, size_t size, bool last) {
    struct Part {
        std::vector<int32_t> ids;
        bool closes_before = false;  // a line ends before the first id
    };
    const std::vector<size_t> ends = part_ends(text, size);
    std::vector<Part> parts(ends.size());
    for_each_part(ends, [&](size_t p, size_t begin, size_t end) {
        Part& part = parts[p];
        part.ids.reserve((end - begin) / 6);
        scan(
            text + begin, end - begin,
            [&](const Word& word, size_t) {
                const int64_t id = table_->words.find(word);
                if (id >= 0) part.ids.push_back(static_cast<int32_t>(id));
            },
            [&] {
                if (part.ids.empty())
                    part.closes_before = true;
                else if (part.ids.back() >= 0)
                    part.ids.back() = ~part.ids.back();
            });
    });
    std::vector<int32_t> ids;
    size_t total = 1;
    for (const Part& part : parts) total += part.ids.size();
    ids.reserve(total);
    if (holding_) ids.push_back(held_);
    for (const Part& part : parts) {
        if (part.closes_before && !ids.empty() && ids.back() >= 0) ids.back() = ~ids.back();
        ids.insert(ids.end(), part.ids.begin(), part.ids.end());
    }
    holding_ = false;
    if (ids.empty()) return ids;
    if (last) {
        if (ids.back() >= 0) ids.back() = ~ids.back();
    } else if (ids.back() >= 0) {
        holding_ = true;
        held_ = ids.back();
        ids.pop_back();
    }
    return ids;
}

size_t cut_at_space(const char* text, size_t size) {
    for (size_t n = size; n > 0; n--)
        if (text[n - 1] == '\n') return n;
    for (size_t n = size; n > 0; n--)
        if (is_space(text[n - 1])) return n;
    return size;
}

}  // namespace firth::words
