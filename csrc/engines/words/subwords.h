// Character n-grams of words, hashed into buckets as fastText does (Dictionary::computeSubwords),
// and the vectors that are means over a word's row and the rows of its n-grams.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace firth::words {

// FNV-1a over signed bytes: fastText's hash, sign extension included.
constexpr uint32_t kSubwordHashStart = 2166136261u;
inline uint32_t subword_hash_step(uint32_t hash, char byte) {
    return (hash ^ static_cast<uint32_t>(static_cast<int8_t>(byte))) * 16777619u;
}

// count words, one after the other in `text`; word i ends at ends[i].
struct WordList {
    const char* text;
    const int64_t* ends;
    size_t count;
};

// Which n-grams: of min_n..max_n code points of "<word>", but never a lone '<' or '>'.
// The word "</s>" (end of a line) has none. No bucket, no n-grams.
struct Subwords {
    int min_n, max_n;
    uint32_t bucket;
};

// push(bucket) for each n-gram of a word, by its first code point, then by length.
template <class Push>
void for_each_subword(const char* word, size_t size, const Subwords& rule, const Push& push) {
    const bool is_end_of_line = size == 4 && memcmp(word, "</s>", 4) == 0;
    if (rule.bucket == 0 || rule.max_n <= 0 || is_end_of_line) return;
    const auto at = [&](size_t i) {  // byte i of "<word>"
        return i == 0 ? '<' : i <= size ? word[i - 1] : '>';
    };
    const auto starts_code_point = [](char byte) { return (byte & 0xC0) != 0x80; };
    const size_t last = size + 2;
    for (size_t i = 0; i < last; i++) {
        if (!starts_code_point(at(i))) continue;
        uint32_t hash = kSubwordHashStart;
        size_t j = i;
        for (int n = 1; j < last && n <= rule.max_n; n++) {
            do hash = subword_hash_step(hash, at(j++));
            while (j < last && !starts_code_point(at(j)));
            if (n >= rule.min_n && !(n == 1 && (i == 0 || j == last))) push(hash % rule.bucket);
        }
    }
}

// offsets[0..count]: where the ids of each word begin and end in one list of them all.
void subword_offsets(const WordList& words, const Subwords& rule, int64_t* offsets);

// ids[offsets[count]]: buckets of the n-grams, by their first code point, then by length.
void subword_ids(const WordList& words, const Subwords& rule, const int64_t* offsets, int32_t* ids);

// A float that may lie at any address: matrices mapped from a file do.
typedef float unaligned_float __attribute__((aligned(1)));

// out[i] (D floats) = (rows[i] + the sum of ngrams[ids of i]) / (how many rows these are), for i in
// [0, count), added in this order; without `rows` only the n-grams, and zeros where there are none.
// Strides are in floats.
struct SubwordMeans {
    const unaligned_float* rows;  // count x dim, or null
    const unaligned_float* ngrams;
    size_t row_stride, ngram_stride, dim, count;
    const int64_t* offsets;
    const int32_t* ids;
    float* out;  // count x dim, contiguous
};
void subword_means(const SubwordMeans& job);

}  // namespace firth::words
