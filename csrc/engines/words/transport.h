// The transportation problem: the cheapest way to move supplies to demands.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth::words {

// costs: n x m, at least 0 and finite; supply: n, demand: m, at least 0, of one sum. Both are used
// up. Returns the least sum of amount x cost, exact but for the rounding of sums.
double transport(const double* costs, size_t n, size_t m, int64_t* supply, int64_t* demand);

}  // namespace firth::words
