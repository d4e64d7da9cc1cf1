#include "engines/words/alias_table.h"

#include <vector>

namespace firth::words {

void build_alias(const double* weights, size_t n, AliasEntry* table) {
    double total = 0;
    for (size_t i = 0; i < n; i++) total += weights[i];
    std::vector<double> scaled(n);
    std::vector<int32_t> small, large;
    for (size_t i = 0; i < n; i++) {
        scaled[i] = weights[i] / total * static_cast<double>(n);
        (scaled[i] < 1 ? small : large).push_back(static_cast<int32_t>(i));
    }
    for (size_t i = 0; i < n; i++) table[i] = {0xffffffffu, static_cast<int32_t>(i)};
    while (!small.empty() && !large.empty()) {
        const int32_t s = small.back(), l = large.back();
        small.pop_back();
        table[s] = {static_cast<uint32_t>(scaled[s] * 4294967295.0), l};
        scaled[l] -= 1 - scaled[s];
        if (scaled[l] < 1) {
            large.pop_back();
            small.push_back(l);
        }
    }
}

}  // namespace firth::words
