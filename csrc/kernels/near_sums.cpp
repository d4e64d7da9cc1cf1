// The first pass of analogies: sums of three rows of products, and at once the test whether a
// column may be among the best (engines/search/analogies.h). No sum is ever stored.
#include "../isa.h"
#include "list_search.h"

namespace firth::FIRTH_LEVEL {

namespace {

constexpr size_t kVectors = 4;  // of columns that are tested together
static_assert(kSumColumns % (kVectors * kLanesF32) == 0, "a block of columns is whole vectors");

}  // namespace

// products: rows of `columns` floats, a multiple of kSumColumns; analogies: count; least: count;
// hits: room for count x columns. Returns how many (analogy, column) have a sum of least[analogy]
// or more, in the order of the analogies.
size_t near_sums_f32(const float* products, size_t columns, const Analogy* analogies, size_t count,
                     const float* least, ScanHit* hits) {
    size_t found = 0;
    for (size_t q = 0; q < count; q++) {
        const float* a = products + analogies[q].a * columns;
        const float* b = products + analogies[q].b * columns;
        const float* c = products + analogies[q].c * columns;
        const f32xN threshold = set1(least[q]);
        for (size_t r = 0; r < columns; r += kVectors * kLanesF32) {
            f32xN sums[kVectors];
#pragma GCC unroll 4
            for (size_t v = 0; v < kVectors; v++) {
                const size_t at = r + v * kLanesF32;
                sums[v] = load(b + at) - load(a + at) + load(c + at);
            }
            const f32xN most = max(max(sums[0], sums[1]), max(sums[2], sums[3]));
            if (mask_bits(most >= threshold) == 0) continue;
            for (size_t v = 0; v < kVectors; v++)
                for (uint32_t bits = mask_bits(sums[v] >= threshold); bits; bits &= bits - 1)
                    hits[found++] = {(uint32_t)q,
                                     (uint32_t)(r + v * kLanesF32 + (size_t)__builtin_ctz(bits))};
        }
    }
    return found;
}

}  // namespace firth::FIRTH_LEVEL
