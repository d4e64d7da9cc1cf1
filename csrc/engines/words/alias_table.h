// Walker's alias table: draws from any distribution over n values in constant time.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth::words {

// One entry a value: draw i uniformly and a 32-bit r; the value is r < threshold ? i : alias.
struct AliasEntry {
    uint32_t threshold;
    int32_t alias;
};

// Fills table[0..n) so that value i is drawn with probability weights[i] / sum (Vose 1991).
void build_alias(const double* weights, size_t n, AliasEntry* table);

// The value that 64 random bits draw from table[0..n).
inline int32_t draw_alias(const AliasEntry* table, size_t n, uint64_t bits) {
    const size_t i = (bits >> 32) * n >> 32;
    const AliasEntry& entry = table[i];
    return static_cast<uint32_t>(bits) < entry.threshold ? static_cast<int32_t>(i) : entry.alias;
}

}  // namespace firth::words
