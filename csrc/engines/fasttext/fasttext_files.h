// The dictionary of a fastText model file: entries of `word \0 int64 count int8 type`.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth::fasttext {

struct FastTextEntries {
    size_t entries;   // complete ones
    size_t consumed;  // their bytes
    size_t text;      // bytes of their words, without the zeros
};

// What the first `most` complete entries of data[0, size) need; fewer where the data ends.
FastTextEntries measure_fasttext_entries(const char* data, size_t size, size_t most);

// Reads as many entries as were measured. Word i becomes text[i ? ends[i-1] : 0, ends[i]).
void read_fasttext_entries(const char* data, size_t entries, char* text, int64_t* ends,
                           int64_t* counts, int8_t* types);

}  // namespace firth::fasttext
