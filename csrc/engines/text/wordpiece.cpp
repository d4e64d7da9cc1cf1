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
                     std::vector<std::u32string> reserved)
    : unknown_(unknown), longest_word_(longest_word), reserved_(std::move(reserved)) {
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

// What one thread needs: the word that is being gathered, and the ids found so far.
class WordPiece::Scanner {
  public:
    explicit Scanner(const WordPiece& model)
        : model_(model),
          word_(4 * model.longest_word_),
          prefixes_(std::max(model.words_.longest(), model.inner_.longest())) {}

    std::vector<int32_t> ids;

    // Appends at most `most_ids` ids; false, without a change, where the text is left to others.
    bool scan(const CodePoints& text, size_t most_characters, size_t most_ids) {
        const size_t size = std::min(text.size, most_characters);
        if (text.width == 1) return scan(static_cast<const uint8_t*>(text.data), size, most_ids);
        if (text.width == 2) return scan(static_cast<const uint16_t*>(text.data), size, most_ids);
        return scan(static_cast<const uint32_t*>(text.data), size, most_ids);
    }

  private:
    template <class Char>
    bool scan(const Char* text, size_t size, size_t most_ids) {
        const size_t start = ids.size();
        const size_t end = most_ids < ids.max_size() - start ? start + most_ids : ids.max_size();
        clear();
        for (size_t i = 0; i < size && ids.size() < end; i++) {
            const uint32_t c = text[i];
            const Page* page = c < kPages * 256 ? model_.pages_[c / 256].load() : nullptr;
            const uint32_t entry = page ? page->entries[c % 256] : kUnknown;
            const uint32_t kind = entry >> 24 & 0x7f;
            if (kind == kUnknown || (entry >> 31 && is_reserved(text + i, size - i))) {
                ids.resize(start);
                return false;
            }
            if (kind == kSeveral) {
                const uint32_t* more = page->more.data() + (entry & 0xffffff) / 16;
                for (size_t j = 0; j < entry % 16; j++) take(more[j]);
            } else {
                take(entry);
            }
        }
        end_word();
        if (ids.size() > end) ids.resize(end);
        return true;
    }

    template <class Char>
    bool is_reserved(const Char* text, size_t size) const {
        return std::any_of(model_.reserved_.begin(), model_.reserved_.end(), [&](const auto& r) {
            return r.size() <= size && std::equal(r.begin(), r.end(), text, [](char32_t a, Char b) {
                       return a == static_cast<char32_t>(b);
                   });
        });
    }

    void take(uint32_t entry) {
        const uint32_t value = entry & 0xffffff;
        switch (entry >> 24 & 0x7f) {
            case kLetter:
                append(value);
                break;
            case kSpace:
                end_word();
                break;
            case kPunctuation:
                end_word();
                append(value);
                end_word();
                break;
            default:
                break;
        }
    }

    void append(uint32_t c) {
        if (characters_++ >= model_.longest_word_) return;
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

    void append_byte(uint32_t byte) {
        const char c = static_cast<char>(byte);
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
                ids.push_back(id);
            else
                cut_word();
        }
        clear();
    }

    void cut_word() {
        const size_t first = ids.size();
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
                ids.resize(first);
                ids.push_back(model_.unknown_);
                return;
            }
            ids.push_back(id);
            start += n;
        }
    }

    const WordPiece& model_;
    std::vector<char> word_;
    std::vector<uint64_t> prefixes_;
    size_t size_ = 0, characters_ = 0;  // of the word: bytes, code points
    uint64_t hash_ = 0;
};

WordPiece::Encoded WordPiece::encode(const std::vector<CodePoints>& texts, size_t most_characters,
                                     size_t most_ids) const {
    constexpr size_t kTexts = 64;  // a task
    Encoded result;
    result.offsets.assign(texts.size() + 1, 0);
    std::vector<std::vector<int32_t>> parts((texts.size() + kTexts - 1) / kTexts);
    std::vector<char> skipped(texts.size());
    parallel_for(texts.size(), kTexts, [&](size_t begin, size_t end) {
        Scanner scanner(*this);
        for (size_t i = begin; i < end; i++) {
            skipped[i] = !scanner.scan(texts[i], most_characters, most_ids);
            result.offsets[i + 1] = static_cast<int64_t>(scanner.ids.size());  // of this part
        }
        parts[begin / kTexts] = std::move(scanner.ids);
    });
    for (size_t p = 0; p < parts.size(); p++) {
        const auto before = static_cast<int64_t>(result.ids.size());
        for (size_t i = p * kTexts; i < std::min(texts.size(), (p + 1) * kTexts); i++) {
            result.offsets[i + 1] += before;
            if (skipped[i]) result.skipped.push_back(static_cast<int64_t>(i));
        }
        result.ids.insert(result.ids.end(), parts[p].begin(), parts[p].end());
    }
    return result;
}

}  // namespace firth::text
