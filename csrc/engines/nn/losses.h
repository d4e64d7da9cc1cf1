// What losses share: how those of many rows or elements become one number.
#pragma once
#include "engines/nn/operation.h"

namespace firth::nn {

enum Reduction { kEach, kMean, kSum };

inline bool is_whole(double option, double least, double most) {
    return option >= least && option <= most && option == double(int64_t(option));
}

// What the result of a reduction must be: `each` has the shape where nothing is reduced.
inline bool fits_reduction(double reduction, const Array& out, size_t axes, const size_t* each) {
    if (!is_whole(reduction, kEach, kSum)) return false;
    if (reduction != kEach) return out.axes == 0;
    return out.axes == axes && !memcmp(out.shape, each, axes * sizeof *each);
}

}  // namespace firth::nn
