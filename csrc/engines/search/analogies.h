// The best rows of many analogies: each looks for b - a + c, and few words occur in all of them.
//
// First pass: products of the words with all rows, in float32 and a chunk of rows at a time; the
// score of an analogy, times the length of its query, is a sum of three of them. Second pass: rows
// whose sum may be among the best get their score, as in any search (search.h).
//
// Which may: u = 2^-24, n dimensions, x' = x / |x|, a', b', c' the words' unit vectors, p = b' - a'
// + c'. With float32 copies of x' and the words (each within 1.01 u of length) a product differs
// from x'.a' by less than
//     1.01 (n + 1) u    n products and n - 1 sums, in whatever order
//     2.03 u            the two copies
// and a sum of three, rounded twice, from p.x' by less than 3 (1.01 n + 3.04) u + 5.1 u < (3.03 n +
// 15) u = E. A score is the cosine with the query, p / |p| rounded to float32, itself rounded to
// float32: within 2.1 u of p.x' / |p|, and |p| < 3.01. So where the sum of x is less than that of y
// by more than 2 E + 2 * 2.1 * 3.01 u, x has a lower score than y. If k rows have a sum of at least
// s, no row below s - margin is among the best k, ties included.
#pragma once
#include "engines/search/key_rows.h"
#include "kernels.h"

namespace firth::search {

constexpr size_t kMostAnalogyDimensions = size_t{1} << 16;
constexpr size_t kMostAnalogyRows = 8;  // k
constexpr double analogy_margin(size_t n) { return (6.06 * static_cast<double>(n) + 43) * 0x1p-24; }

struct Analogies {
    const float* words;        // word_count x n: unit vectors, rounded to float32
    const Analogy* analogies;  // count
    const float* queries;      // count x n: b - a + c of the words, of length 1, rounded to float32
    size_t word_count, count;
};

// keys: 0 < n <= kMostAnalogyDimensions; left_out: keys.rows, those that may not be found; 0 < k <=
// kMostAnalogyRows. rows: count x k, by descending score, ties by ascending
// row, -1 where there are fewer; undecided: count, whether too many rows are too close to
// each other for float32: then there are no rows.
void analogies_topk(const Kernels& kernels, const KeyRows& keys, const bool* left_out,
                    const Analogies& asked, size_t k, int64_t* rows, bool* undecided);

}  // namespace firth::search
