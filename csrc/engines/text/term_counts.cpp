// A text is written to a buffer as UTF-8 in which every term is one stretch of bytes: words stand
// there with a space between them. Each task looks terms up among those of earlier calls and keeps
// the new ones for itself; they are numbered afterwards in the order of the tasks, so that numbers
// do not depend on the threads.
#include "engines/text/term_counts.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "parallel.h"
#include "sizes.h"

namespace firth::text {

namespace {

// The first bytes of a text as a number; there are kBehind bytes behind it.
uint64_t load(const char* text) {
    uint64_t bytes;
    std::memcpy(&bytes, text, sizeof bytes);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bytes = __builtin_bswap64(bytes);
#endif
    return bytes;
}

}  // namespace

Terms::Term Terms::term(const char* data, size_t size) {
    uint64_t hash = 0x9e3779b97f4a7c15ull ^ size, head = 0;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t bytes = load(data + i);
        if (size - i < 8) bytes &= (1ull << 8 * (size - i)) - 1;
        if (i == 0) head = bytes;
        hash = (hash ^ bytes) * 0xd6e8feb86659fd93ull;
        hash ^= hash >> 32;
    }
    return {data, size, hash, head};
}

int64_t Terms::find(const Term& term) const {
    const auto tag = static_cast<uint32_t>(term.hash >> 32);
    for (size_t s = term.hash & (slots_.size() - 1);; s = (s + 1) & (slots_.size() - 1)) {
        const Slot slot = slots_[s];
        if (slot.entry == kEmpty) return -1;
        if (slot.tag != tag) continue;
        const Entry& entry = entries_[slot.entry];
        if (entry.head == term.head && entry.size == term.size &&
            (term.size <= 8 || std::memcmp(text_.data() + entry.start, term.data, term.size) == 0))
            return slot.entry;
    }
}

void Terms::place(uint64_t hash, uint32_t entry) {
    size_t s = hash & (slots_.size() - 1);
    while (slots_[s].entry != kEmpty) s = (s + 1) & (slots_.size() - 1);
    slots_[s] = {static_cast<uint32_t>(hash >> 32), entry};
}

size_t Terms::insert(const Term& term) {
    if (const int64_t number = find(term); number >= 0) return static_cast<size_t>(number);
    const size_t number = entries_.size();
    if (number >= INT32_MAX) throw std::length_error("TermCounts: too many terms");
    entries_.push_back({term.hash, term.head, text_.size(), term.size});
    text_.append(term.data, term.size);
    if (entries_.size() * 2 <= slots_.size()) {
        place(term.hash, static_cast<uint32_t>(number));
    } else {
        slots_.assign(slots_.size() * 4, Slot{0, kEmpty});
        for (size_t i = 0; i < entries_.size(); i++)
            place(entries_[i].hash, static_cast<uint32_t>(i));
    }
    return number;
}

// The numbers of `size` terms, inserted in turn.
template <class TermAt>
static std::vector<int32_t> insert_all(Terms& terms, size_t size, const TermAt& term_at) {
    constexpr size_t kTogether = 16;  // are looked up when their slots have come from memory
    Terms::Term block[kTogether];
    std::vector<int32_t> numbers(size);
    for (size_t first = 0; first < size; first += kTogether) {
        const size_t n = std::min(kTogether, size - first);
        for (size_t i = 0; i < n; i++) terms.prefetch(block[i] = term_at(first + i));
        for (size_t i = 0; i < n; i++)
            numbers[first + i] = static_cast<int32_t>(terms.insert(block[i]));
    }
    return numbers;
}

TermCounts::TermCounts(Unit unit, size_t shortest, size_t least, size_t most,
                       const std::vector<std::string>& stop_words)
    : unit_(unit), shortest_(shortest), least_(least), most_(most) {
    for (const std::string& word : stop_words) {
        const std::string padded = word + std::string(Terms::kBehind, '\0');
        stop_words_.insert(Terms::term(padded.data(), word.size()));
    }
}

void TermCounts::know(std::string text, const std::vector<size_t>& ends) {
    text.append(Terms::kBehind, '\0');
    insert_all(terms_, ends.size(), [&](size_t i) {
        const size_t start = i ? ends[i - 1] : 0;
        return Terms::term(text.data() + start, ends[i] - start);
    });
    closed_ = true;
}

void TermCounts::set_page(size_t page, const uint32_t* entries, std::vector<uint32_t> more) {
    auto made = std::make_unique<Page>();
    std::copy(entries, entries + 256, made->entries.begin());
    made->more = std::move(more);
    if (page == 0)
        for (size_t c = 0; c < 256; c++)
            if (const uint32_t entry = entries[c]; (entry & ~0x7fu) == kWord)
                letters_[c] = static_cast<char>(entry & 0x7f);
    pages_[page] = std::move(made);
}

// What one task needs, and its rows: ids from `known` on are those of `fresh`.
class TermCounts::Scanner {
  public:
    explicit Scanner(const TermCounts& model)
        : model_(model), known_(model.terms_.size()), places_(known_) {}

    Terms fresh;
    TermRows rows;
    std::bitset<kPages> missing;

    void scan(const CodePoints& text) {
        if (model_.unit_ == Unit::kWords)
            scan<Unit::kWords>(text);
        else if (model_.unit_ == Unit::kCharacters)
            scan<Unit::kCharacters>(text);
        else
            scan<Unit::kWithinWords>(text);
    }

  private:
    template <Unit unit>
    void scan(const CodePoints& text) {
        if (text.width == 1)
            scan<unit>(static_cast<const uint8_t*>(text.data), text.size);
        else if (text.width == 2)
            scan<unit>(static_cast<const uint16_t*>(text.data), text.size);
        else
            scan<unit>(static_cast<const uint32_t*>(text.data), text.size);
    }

    template <Unit unit, class Char>
    void scan(const Char* text, size_t size) {
        clear();
        row_ = rows.ids.size();
        for (size_t i = 0; i < size; i++) {
            const uint32_t c = text[i];
            const Page* page = c < kPages * 256 ? model_.pages_[c / 256].get() : nullptr;
            if (!page) {
                for (; i < size; i++)
                    if (const uint32_t d = text[i]; d < kPages * 256 && !model_.pages_[d / 256])
                        missing.set(d / 256);
                return;
            }
            const uint32_t entry = page->entries[c % 256];
            make_room();
            if (entry & kSeveral) {
                const uint32_t* more = page->more.data() + (entry & ~kSeveral) / 32;
                for (size_t j = 0; j < entry % 32; j++) take<unit>(more[j]);
            } else {
                take<unit>(entry);
            }
            if constexpr (unit == Unit::kWords) i += take_letters(text + i + 1, size - i - 1);
        }
        make_room();
        if constexpr (unit == Unit::kWords) {
            end_word();
            emit_words();
        } else if constexpr (unit == Unit::kCharacters) {
            emit_characters();
        } else {
            end_padded_word();
        }
        rows.offsets.push_back(static_cast<int64_t>(rows.ids.size()));
    }

    // For the code points of an entry (31 at most), kRun letters, a space and what `Terms::term`
    // reads.
    void make_room() {
        if (size_ + 31 * 4 + kRun + 2 + Terms::kBehind > buffer_.size())
            buffer_.resize(2 * buffer_.size());
    }

    template <Unit unit>
    void take(uint32_t entry) {
        if constexpr (unit == Unit::kWords) {
            if (!(entry & kWord)) return end_word();
            characters_++;
        } else if constexpr (unit == Unit::kCharacters) {
            if (entry & kSpace) {
                if (spaces_++ > 0) {  // all of them are one space
                    size_ = starts_.back() + 1;
                    buffer_[size_ - 1] = ' ';
                    return;
                }
            } else {
                spaces_ = 0;
            }
            starts_.push_back(size_);
        } else {
            if (entry & kSpace) return end_padded_word();
            if (size_ == 0) append_space();
            starts_.push_back(size_);
        }
        append(entry & 0x1fffff);
    }

    // The letters of ASCII that a text begins with, at most kRun; how many they are.
    template <class Char>
    size_t take_letters(const Char* text, size_t size) {
        const char* letters = model_.letters_.data();
        char* to = buffer_.data() + size_;
        size_t n = 0;
        for (const size_t most = std::min(size, kRun); n < most; n++) {
            const uint32_t c = text[n];
            const char letter = c < 256 ? letters[c] : 0;
            if (letter == 0) break;
            to[n] = letter;
        }
        size_ += n;
        characters_ += n;
        return n;
    }

    void append_space() {
        starts_.push_back(size_);
        buffer_[size_++] = ' ';
    }

    void append(uint32_t c) {
        if (c < 0x80) return append_byte(c);
        if (c < 0x800) {
            append_byte(0xc0 | c >> 6);
        } else {
            if (c < 0x10000) {
                append_byte(0xe0 | c >> 12);
            } else {
                append_byte(0xf0 | c >> 18);
                append_byte(0x80 | (c >> 12 & 0x3f));
            }
            append_byte(0x80 | (c >> 6 & 0x3f));
        }
        append_byte(0x80 | (c & 0x3f));
    }

    void append_byte(uint32_t byte) { buffer_[size_++] = static_cast<char>(byte); }

    void clear() {
        size_ = first_ = characters_ = spaces_ = 0;
        starts_.clear();
        ends_.clear();
    }

    // Words: the newest begins at first_, those before it at starts_.
    void end_word() {
        if (characters_ == 0) return;
        const bool kept =
            characters_ >= model_.shortest_ &&
            (model_.stop_words_.size() == 0 ||
             model_.stop_words_.find(Terms::term(buffer_.data() + first_, size_ - first_)) < 0);
        characters_ = 0;
        if (!kept) {
            size_ = first_;
            return;
        }
        starts_.push_back(first_);
        ends_.push_back(size_);
        buffer_[size_++] = ' ';
        first_ = size_;
        make_room();
    }

    void emit_words() {
        const size_t words = starts_.size();
        for (size_t n = model_.least_; n <= std::min(model_.most_, words); n++)
            for (size_t i = 0; i + n <= words; i++) emit(starts_[i], ends_[i + n - 1]);
        count_emitted();
    }

    // Characters: each begins at starts_ and ends where the next one begins.
    void emit_characters() {
        const size_t characters = starts_.size();
        starts_.push_back(size_);
        for (size_t n = model_.least_; n <= std::min(model_.most_, characters); n++)
            for (size_t i = 0; i + n <= characters; i++) emit(starts_[i], starts_[i + n]);
        count_emitted();
    }

    void end_padded_word() {
        if (size_ == 0) return;
        append_space();
        const size_t characters = starts_.size();
        starts_.push_back(size_);
        for (size_t n = model_.least_; n <= model_.most_; n++) {
            if (n >= characters) {  // counted once
                emit(0, size_);
                break;
            }
            for (size_t i = 0; i + n <= characters; i++) emit(starts_[i], starts_[i + n]);
        }
        count_emitted();
        clear();
    }

    // Terms are looked up some later, when what they need has come from memory.
    void emit(size_t start, size_t end) {
        const Terms::Term term = Terms::term(buffer_.data() + start, end - start);
        model_.terms_.prefetch(term);
        fresh.prefetch(term);
        emitted_.push_back(term);
        if (emitted_.size() == kTogether) count_emitted();
    }

    void count_emitted() {
        for (const Terms::Term& term : emitted_) count(term);
        emitted_.clear();
    }

    void count(const Terms::Term& term) {
        const int64_t number = model_.terms_.find(term);
        if (number < 0 && model_.closed_) return;
        const size_t id = number >= 0 ? static_cast<size_t>(number) : known_ + fresh.insert(term);
        if (id > INT32_MAX) throw std::length_error("TermCounts: too many terms");
        if (id >= places_.size()) places_.resize(id + 1);
        size_t& place = places_[id];
        const auto same = static_cast<int32_t>(id);
        if (place >= row_ && place < rows.ids.size() && rows.ids[place] == same) {
            rows.counts[place]++;
        } else {
            place = rows.ids.size();
            rows.ids.push_back(same);
            rows.counts.push_back(1);
        }
    }

    static constexpr size_t kRun = 64, kTogether = 32;

    const TermCounts& model_;
    size_t known_;
    std::vector<char> buffer_ = std::vector<char>(1 << 10);
    size_t size_ = 0, first_ = 0, characters_ = 0, spaces_ = 0;
    std::vector<size_t> starts_, ends_;
    std::vector<Terms::Term> emitted_;
    size_t row_ = 0;              // where the row of this text begins
    std::vector<size_t> places_;  // where in rows.ids each id was put last
};

std::bitset<TermCounts::kPages> TermCounts::add(const std::vector<CodePoints>& texts) {
    const size_t grain = divide_up(texts.size(), 4 * static_cast<size_t>(num_threads()));
    std::bitset<kPages> missing;
    if (texts.empty()) return missing;
    std::vector<std::unique_ptr<Scanner>> parts(divide_up(texts.size(), grain));
    parallel_for(texts.size(), grain, [&](size_t begin, size_t end) {
        auto scanner = std::make_unique<Scanner>(*this);
        for (size_t i = begin; i < end; i++) scanner->scan(texts[i]);
        parts[begin / grain] = std::move(scanner);
    });
    for (const auto& part : parts) missing |= part->missing;
    if (missing.any()) return missing;

    const auto known = static_cast<int32_t>(terms_.size());
    std::vector<size_t> starts;  // of the ids of each part
    std::vector<std::vector<int32_t>> numbers(parts.size());
    size_t ids = rows_.ids.size();
    for (size_t p = 0; p < parts.size(); p++) {
        const Terms& fresh = parts[p]->fresh;
        numbers[p] = insert_all(terms_, fresh.size(), [&](size_t i) { return fresh[i]; });
        starts.push_back(ids);
        for (size_t r = 1; r < parts[p]->rows.offsets.size(); r++)
            rows_.offsets.push_back(static_cast<int64_t>(ids) + parts[p]->rows.offsets[r]);
        ids += parts[p]->rows.ids.size();
    }
    rows_.ids.resize(ids);
    rows_.counts.resize(ids);
    parallel_for(parts.size(), 1, [&](size_t p, size_t) {
        const TermRows& part = parts[p]->rows;
        std::copy(part.counts.begin(), part.counts.end(), rows_.counts.begin() + starts[p]);
        std::transform(part.ids.begin(), part.ids.end(), rows_.ids.begin() + starts[p],
                       [&](int32_t id) { return id < known ? id : numbers[p][id - known]; });
    });
    return missing;
}

std::vector<int32_t> TermCounts::order() const {
    struct Key {
        uint64_t head, next;  // the first bytes, the first of them highest: most terms differ there
        int32_t number;
    };
    std::vector<Key> keys(terms_.size());
    const size_t grain = std::max<size_t>(1, divide_up(keys.size(), num_threads()));
    // UTF-8 has the order of its code points.
    const auto below = [&](const Key& a, const Key& b) {
        if (a.head != b.head) return a.head < b.head;
        if (a.next != b.next) return a.next < b.next;
        const Terms::Term s = terms_[a.number], t = terms_[b.number];
        const int order = std::memcmp(s.data, t.data, std::min(s.size, t.size));
        return order ? order < 0 : s.size < t.size;
    };
    parallel_for(keys.size(), grain, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i++) {
            const Terms::Term term = terms_[i];
            char head[16] = {};
            std::memcpy(head, term.data, std::min(term.size, sizeof head));
            keys[i] = {__builtin_bswap64(load(head)), __builtin_bswap64(load(head + 8)),
                       static_cast<int32_t>(i)};
        }
        std::sort(keys.begin() + begin, keys.begin() + end, below);
    });
    for (size_t size = grain; size < keys.size(); size *= 2)
        parallel_for(keys.size(), 2 * size, [&](size_t begin, size_t end) {
            const auto first = keys.begin() + begin;
            std::inplace_merge(first, first + std::min(size, end - begin), keys.begin() + end,
                               below);
        });
    std::vector<int32_t> result(keys.size());
    for (size_t i = 0; i < keys.size(); i++) result[i] = keys[i].number;
    return result;
}

TermRows place_terms(const int64_t* offsets, size_t rows, const int32_t* ids, const int32_t* counts,
                     const int32_t* columns, bool by_columns) {
    constexpr size_t kRows = 512;  // a task
    TermRows result;
    result.offsets.resize(rows + 1);
    parallel_for(rows, kRows, [&](size_t begin, size_t end) {
        for (size_t r = begin; r < end; r++)
            result.offsets[r + 1] = std::count_if(ids + offsets[r], ids + offsets[r + 1],
                                                  [&](int32_t id) { return columns[id] >= 0; });
    });
    for (size_t r = 0; r < rows; r++) result.offsets[r + 1] += result.offsets[r];
    result.ids.resize(static_cast<size_t>(result.offsets[rows]));
    result.counts.resize(result.ids.size());
    parallel_for(rows, kRows, [&](size_t begin, size_t end) {
        std::vector<uint64_t> row;  // a column or id above its count
        for (size_t r = begin; r < end; r++) {
            row.clear();
            for (int64_t i = offsets[r]; i < offsets[r + 1]; i++)
                if (const int32_t column = columns[ids[i]]; column >= 0)
                    row.push_back(static_cast<uint64_t>(by_columns ? column : ids[i]) << 32 |
                                  static_cast<uint32_t>(counts[i]));
            std::sort(row.begin(), row.end());
            auto to = static_cast<size_t>(result.offsets[r]);
            for (const uint64_t one : row) {
                const auto key = static_cast<int32_t>(one >> 32);
                result.ids[to] = by_columns ? key : columns[key];
                result.counts[to++] = static_cast<int32_t>(one & 0xffffffffu);
            }
        }
    });
    return result;
}

template <class Value>
bool weigh_terms(const int64_t* offsets, size_t rows, const int32_t* ids, Value* values,
                 const double* idf, Norm norm) {
    constexpr size_t kRows = 512;  // a task
    std::atomic<bool> finite = true;
    parallel_for(rows, kRows, [&](size_t begin, size_t end) {
        for (size_t r = begin; r < end; r++) {
            const int64_t from = offsets[r], to = offsets[r + 1];
            if (idf)
                for (int64_t i = from; i < to; i++)
                    values[i] = static_cast<Value>(values[i] * idf[ids[i]]);
            if (norm == Norm::kNone) continue;
            double length = 0;
            for (int64_t i = from; i < to; i++) {
                const Value one = norm == Norm::kL1 ? std::abs(values[i]) : values[i] * values[i];
                length += one;
            }
            if (!std::isfinite(length) &&
                !std::all_of(values + from, values + to, [](Value v) { return std::isfinite(v); }))
                finite = false;
            if (norm == Norm::kL2) length = std::sqrt(length);
            if (length == 0) continue;
            for (int64_t i = from; i < to; i++) values[i] = static_cast<Value>(values[i] / length);
        }
    });
    return finite;
}

template bool weigh_terms(const int64_t*, size_t, const int32_t*, float*, const double*, Norm);
template bool weigh_terms(const int64_t*, size_t, const int32_t*, double*, const double*, Norm);

}  // namespace firth::text
