#include "engines/fasttext/fasttext_files.h"

#include <cstring>

namespace firth::fasttext {
namespace {

constexpr size_t kBehindWord = 1 + sizeof(int64_t) + 1;  // the zero, the count, the type

}  // namespace

FastTextEntries measure_fasttext_entries(const char* data, size_t size, size_t most) {
    FastTextEntries got{0, 0, 0};
    while (got.entries < most && got.consumed < size) {
        const char* const word = data + got.consumed;
        const size_t left = size - got.consumed;
        const void* const zero = std::memchr(word, 0, left);
        if (!zero) break;
        const size_t length = static_cast<size_t>(static_cast<const char*>(zero) - word);
        if (left - length < kBehindWord) break;
        got.entries++;
        got.consumed += length + kBehindWord;
        got.text += length;
    }
    return got;
}

void read_fasttext_entries(const char* data, size_t entries, char* text, int64_t* ends,
                           int64_t* counts, int8_t* types) {
    int64_t end = 0;
    for (size_t i = 0; i < entries; i++) {
        const size_t length = std::strlen(data);
        std::memcpy(text + end, data, length);
        end += static_cast<int64_t>(length);
        ends[i] = end;
        std::memcpy(counts + i, data + length + 1, sizeof(int64_t));
        types[i] = static_cast<int8_t>(data[length + kBehindWord - 1]);
        data += length + kBehindWord;
    }
}

}  // namespace firth::fasttext
