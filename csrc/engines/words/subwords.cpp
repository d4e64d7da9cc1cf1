#include "engines/words/subwords.h"

#include <algorithm>
#include <cstring>

#include "parallel.h"

namespace firth::words {
namespace {

constexpr size_t kWordsATask = 2048, kRowsATask = 256;

bool starts_code_point(char byte) { return (byte & 0xC0) != 0x80; }

struct Text {
    const char* data;
    size_t size;

    Text(const WordList& words, size_t i) {
        const int64_t begin = i ? words.ends[i - 1] : 0;
        data = words.text + begin;
        size = static_cast<size_t>(words.ends[i] - begin);
    }
    bool is_end_of_line() const { return size == 4 && std::memcmp(data, "</s>", 4) == 0; }
};

// How many n-grams "<word>" has: c code points have c - n + 1 of length n, less its two edges.
int64_t count_subwords(const Text& word, const Subwords& rule) {
    int64_t code_points = 2;
    for (size_t i = 0; i < word.size; i++) code_points += starts_code_point(word.data[i]);
    const int64_t low = std::max(1, rule.min_n), high = std::min<int64_t>(code_points, rule.max_n);
    if (high < low) return 0;
    const int64_t most = code_points - low + 1, least = code_points - high + 1;
    return (most + least) * (high - low + 1) / 2 - (low == 1 ? 2 : 0);
}

}  // namespace

void subword_offsets(const WordList& words, const Subwords& rule, int64_t* offsets) {
    parallel_for(words.count, kWordsATask, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i++) {
            const Text word(words, i);
            const bool none = rule.bucket == 0 || word.is_end_of_line();
            offsets[i + 1] = none ? 0 : count_subwords(word, rule);
        }
    });
    offsets[0] = 0;
    for (size_t i = 0; i < words.count; i++) offsets[i + 1] += offsets[i];
}

void subword_ids(const WordList& words, const Subwords& rule, const int64_t* offsets,
                 int32_t* ids) {
    parallel_for(words.count, kWordsATask, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i++)
            if (offsets[i + 1] > offsets[i]) {
                const Text word(words, i);
                int32_t* out = ids + offsets[i];
                for_each_subword(word.data, word.size, rule,
                                 [&](uint32_t bucket) { *out++ = static_cast<int32_t>(bucket); });
            }
    });
}

void subword_means(const SubwordMeans& job) {
    parallel_for(job.count, kRowsATask, [&](size_t begin, size_t end) {
        const int64_t last = job.offsets[end];
        for (size_t i = begin; i < end; i++) {
            float* out = job.out + i * job.dim;
            const int64_t from = job.offsets[i], to = job.offsets[i + 1];
            if (job.rows)
                std::memcpy(out, job.rows + i * job.row_stride, job.dim * sizeof(float));
            else
                std::memset(out, 0, job.dim * sizeof(float));
            for (int64_t k = from; k < to; k++) {
                const unaligned_float* row =
                    job.ngrams + static_cast<size_t>(job.ids[k]) * job.ngram_stride;
                if (k + 2 < last) {  // rows come from anywhere: fetch the one after the next
                    const unaligned_float* ahead =
                        job.ngrams + static_cast<size_t>(job.ids[k + 2]) * job.ngram_stride;
                    for (size_t d = 0; d < job.dim; d += 16) __builtin_prefetch(ahead + d);
                }
                for (size_t d = 0; d < job.dim; d++) out[d] += row[d];
            }
            const int64_t rows = to - from + (job.rows ? 1 : 0);
            if (rows > 1)
                for (size_t d = 0; d < job.dim; d++) out[d] /= static_cast<float>(rows);
        }
    });
}

}  // namespace firth::words
