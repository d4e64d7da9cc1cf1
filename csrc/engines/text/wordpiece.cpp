// One pass over a text: a word is hashed while it is gathered, so that a word that is a token
// itself (most are) costs one look into the vocabulary. Other words are cut with the hashes of all
// their prefixes, from the longest down.
#include "engines/text/wordpiece.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "parallel.h"

namespace firth::text {

uint64_t WordPiece::Vocabulary::extend(uint64_t hash, char next) {
    return (hash ^ static_cast<unsigned char>(next)) * 0xd6e8feb86659fd93ull;
}

void WordPiece::Vocabulary::hash_prefixes(const char* text, size_t size, uint64_t* hashes) {
    uint64_t hash = kEmptyHash;
    for (size_t i = 0; i < size; i++) hashes[i] = hash = extend(hash, text[i]);
}

int32_t WordPiece::Vocabulary::find(const char* text, size_t size, uint64_t hash) const {
    const auto tag = static_cast<uint32_t>(hash >> 32);
    for (size_t s = (hash ^ tag) & (slots_.size() - 1);; s = (s + 1) & (slots_.size() - 1)) {
        const Slot slot = slots_[s];
        if (slot.entry == kEmpty) return -1;
        if (slot.tag != tag) continue;
        const Entry& entry = entries_[slot.entry];
        if (entry.size == size && std::memcmp(text_.data() + entry.start, text, size) == 0)
            return entry.id;
    }
}

void WordPiece::Vocabulary::insert(uint64_t hash, uint32_t entry) {
    const auto tag = static_cast<uint32_t>(hash >> 32);
    size_t s = (hash ^ tag) & (slots_.size() - 1);
    while (slots_[s].entry != kEmpty) s = (s + 1) & (slots_.size() - 1);
    slots_[s] = {tag, entry};
}

void WordPiece::Vocabulary::add(const char* text, size_t size, int32_t id) {
    uint64_t hash = kEmptyHash;
    for (size_t i = 0; i < size; i++) hash = extend(hash, text[i]);
    entries_.push_back({text_.size(), static_cast<uint32_t>(size), id});
    hashes_.push_back(hash);
    text_.append(text, size);
    longest_ = std::max(longest_, size);
    if (entries_.size() * 2 <= slots_.size()) {
        insert(hash, static_cast<uint32_t>(entries_.size() - 1));
        return;
    }
    slots_.assign(slots_.size() * 2, Slot{0, kEmpty});
    for (size_t i = 0; i < entries_.size(); i++) insert(hashes_[i], static_cast<uint32_t>(i));
}

WordPiece::WordPiece(const std::vector<std::string>& tokens, const int32_t* ids,
                     const std::string& prefix, int32_t unknown, size_t longest_word,
                     std::vector<Reserved> reserved)
    : unknown_(unknown), longest_word_(longest_word), reserved_(std::move(reserved)) {
    std::stable_sort(reserved_.begin(), reserved_.end(), [](const Reserved& a, const Reserved& b) {
        return a.text.size() > b.text.size();
    });
    for (size_t i = 0; i < tokens.size(); i++) {
        const std::string& token = tokens[i];
        words_.add(token.data(), token.size(), ids[i]);
        if (token.compare(0, prefix.size(), prefix) == 0)
            inner_.add(token.data() + prefix.size(), token.size() - prefix.size(), ids[i]);
    }
}

WordPiece::~WordPiece() {
    for (const auto& page : pages_) delete page.load();
}

void WordPiece::set_page(size_t page, const uint32_t* entries, std::vector<uint32_t> more) {
    auto* made = new Page{{}, std::move(more)};
    std::copy(entries, entries + 256, made->entries);
    const Page* none = nullptr;
    if (!pages_[page].compare_exchange_strong(none, made)) delete made;
}

// What one thread needs: the word that is being gathered, and what was found so far.
template <bool kPlaces>
class WordPiece::Scanner {
  public:
    explicit Scanner(const WordPiece& model)
        : model_(model),
          word_(4 * model.longest_word_),
          prefixes_(std::max(model.words_.longest(), model.inner_.longest())),
          places_(kPlaces ? word_.size() : 0) {}

    Found found;

    // Appends at most `most_ids` ids; none, and false, where the text is left to others.
    bool scan(const CodePoints& text, size_t most_characters, size_t most_ids) {
        const size_t size = std::min(text.size, most_characters);
        if (text.width == 1) return scan(static_cast<const uint8_t*>(text.data), size, most_ids);
        if (text.width == 2) return scan(static_cast<const uint16_t*>(text.data), size, most_ids);
        return scan(static_cast<const uint32_t*>(text.data), size, most_ids);
    }

  private:
    template <class Char>
    bool scan(const Char* text, size_t size, size_t most_ids) {
        const size_t start = found.ids.size(), most = found.ids.max_size() - start;
        const size_t end = start + std::min(most_ids, most);
        clear();
        words_ = 0;
        for (size_t i = 0; i < size && found.ids.size() < end; i++) {
            const uint32_t c = text[i];
            const Page* page = c < kPages * 256 ? model_.pages_[c / 256].load() : nullptr;
            const uint32_t entry = page ? page->entries[c % 256] : kUnknown;
            const uint32_t kind = entry >> 24 & 0x7f;
            if (kind == kUnknown) {
                if (!page) note_missing(text + i, size - i);
                resize(start);
                return false;
            }
            if (entry >> 31) {
                const Reserved* reserved = find_reserved(text + i, size - i);
                if (reserved && reserved->id < 0) {
                    resize(start);
                    return false;
                }
                if (reserved) {
                    end_word();
                    push(reserved->id, i, i + reserved->text.size());
                    words_++;
                    i += reserved->text.size() - 1;
                    continue;
                }
            }
            if (kind == kSeveral) {
                const uint32_t* more = page->more.data() + (entry & 0xffffff) / 16;
                for (size_t j = 0; j < entry % 16; j++) take(more[j], i);
            } else {
                take(entry, i);
            }
        }
        end_word();
        if (found.ids.size() > end) resize(end);
        return true;
    }

    template <class Char>
    void note_missing(const Char* text, size_t size) {
        for (size_t i = 0; i < size; i++)
            if (const uint32_t c = text[i]; c < kPages * 256 && !model_.pages_[c / 256].load())
                found.missing.set(c / 256);
    }

    template <class Char>
    const Reserved* find_reserved(const Char* text, size_t size) const {
        for (const Reserved& one : model_.reserved_)
            if (one.text.size() <= size &&
                std::equal(one.text.begin(), one.text.end(), text,
                           [](char32_t a, Char b) { return a == static_cast<char32_t>(b); }))
                return &one;
        return nullptr;
    }

    void push(int32_t id, size_t start, size_t end) {
        found.ids.push_back(id);
        if constexpr (kPlaces) {
            found.spans.push_back({static_cast<int64_t>(start), static_cast<int64_t>(end)});
            found.words.push_back(words_);
        }
    }

    void resize(size_t count) {
        found.ids.resize(count);
        if constexpr (kPlaces) {
            found.spans.resize(count);
            found.words.resize(count);
        }
    }

    // The entry of the code point at `place` of the text.
    void take(uint32_t entry, size_t place) {
        const uint32_t value = entry & 0xffffff;
        switch (entry >> 24 & 0x7f) {
            case kLetter:
                append(value, place);
                break;
            case kSpace:
                end_word();
                break;
            case kPunctuation:
                end_word();
                append(value, place);
                end_word();
                break;
            default:
                break;
        }
    }

    void append(uint32_t c, size_t place) {
        if constexpr (kPlaces) {
            if (characters_ == 0) first_ = place;
            last_ = place;
        }
        if (characters_++ >= model_.longest_word_) return;
        if (c < 0x80) return append_byte(c, place);
        if (c < 0x800) {
            append_byte(0xc0 | c >> 6, place);
        } else {
            if (c < 0x10000) {
                append_byte(0xe0 | c >> 12, place);
            } else {
                append_byte(0xf0 | c >> 18, place);
                append_byte(0x80 | (c >> 12 & 0x3f), place);
            }
            append_byte(0x80 | (c >> 6 & 0x3f), place);
        }
        append_byte(0x80 | (c & 0x3f), place);
    }

    void append_byte(uint32_t byte, size_t place) {
        const char c = static_cast<char>(byte);
        if constexpr (kPlaces) places_[size_] = place;
        word_[size_++] = c;
        hash_ = Vocabulary::extend(hash_, c);
    }

    void clear() {
        size_ = characters_ = 0;
        hash_ = Vocabulary::kEmptyHash;
    }

    void end_word() {
        if (characters_ > 0) {
            const int32_t id = characters_ > model_.longest_word_
                                   ? model_.unknown_
                                   : model_.words_.find(word_.data(), size_, hash_);
            if (id >= 0)
                push(id, first_, last_ + 1);
            else
                cut_word();
            words_++;
        }
        clear();
    }

    void cut_word() {
        const size_t before = found.ids.size();
        for (size_t start = 0; start < size_;) {
            const Vocabulary& vocabulary = start == 0 ? model_.words_ : model_.inner_;
            size_t n = std::min(size_ - start, vocabulary.longest());
            Vocabulary::hash_prefixes(word_.data() + start, n, prefixes_.data());
            int32_t id = -1;
            for (; n > 0; n--) {
                id = vocabulary.find(word_.data() + start, n, prefixes_[n - 1]);
                if (id >= 0) break;
            }
            if (n == 0) {
                resize(before);
                push(model_.unknown_, first_, last_ + 1);
                return;
            }
            if constexpr (kPlaces)
                push(id, places_[start], places_[start + n - 1] + 1);
            else
                push(id, 0, 0);
            start += n;
        }
    }

    const WordPiece& model_;
    std::vector<char> word_;
    std::vector<uint64_t> prefixes_;
    std::vector<size_t> places_;        // of the word's bytes in the text
    size_t size_ = 0, characters_ = 0;  // of the word: bytes, code points
    size_t first_ = 0, last_ = 0;       // its first and last place
    int32_t words_ = 0;                 // words of this text before it
    uint64_t hash_ = 0;
};

template <bool kPlaces>
WordPiece::Encoded WordPiece::encode_texts(const std::vector<CodePoints>& texts,
                                           size_t most_characters, size_t most_ids) const {
    constexpr size_t kTexts = 64;  // a task
    Encoded result;
    result.offsets.assign(texts.size() + 1, 0);
    std::vector<Found> parts((texts.size() + kTexts - 1) / kTexts);
    std::vector<char> skipped(texts.size());
    parallel_for(texts.size(), kTexts, [&](size_t begin, size_t end) {
        Scanner<kPlaces> scanner(*this);
        for (size_t i = begin; i < end; i++) {
            skipped[i] = !scanner.scan(texts[i], most_characters, most_ids);
            result.offsets[i + 1] = static_cast<int64_t>(scanner.found.ids.size());  // of the part
        }
        parts[begin / kTexts] = std::move(scanner.found);
    });
    size_t total = 0;
    for (const Found& part : parts) total += part.ids.size();
    Found& all = result.found;
    all.ids.reserve(total);
    if (kPlaces) {
        all.spans.reserve(total);
        all.words.reserve(total);
    }
    for (size_t p = 0; p < parts.size(); p++) {
        const auto before = static_cast<int64_t>(all.ids.size());
        for (size_t i = p * kTexts; i < std::min(texts.size(), (p + 1) * kTexts); i++) {
            result.offsets[i + 1] += before;
            if (skipped[i]) result.skipped.push_back(static_cast<int64_t>(i));
        }
        const Found& part = parts[p];
        all.ids.insert(all.ids.end(), part.ids.begin(), part.ids.end());
        all.spans.insert(all.spans.end(), part.spans.begin(), part.spans.end());
        all.words.insert(all.words.end(), part.words.begin(), part.words.end());
        all.missing |= part.missing;
    }
    return result;
}

WordPiece::Encoded WordPiece::encode(const std::vector<CodePoints>& texts, size_t most_characters,
                                     size_t most_ids, bool places) const {
    return places ? encode_texts<true>(texts, most_characters, most_ids)
                  : encode_texts<false>(texts, most_characters, most_ids);
}

}  // namespace firth::text
