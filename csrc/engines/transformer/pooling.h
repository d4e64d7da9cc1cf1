// One vector of the vectors of a text's tokens.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth::transformer {

// The first or the last token, the mean, the sum over the square root of the number, the mean with
// weights 1, 2, ..., or the maximum of each dimension.
enum class Pooling { none, first, last, mean, mean_sqrt, weighted, max };

// rows: count x width; seen: which of them take part, count, or null for all; out: width, zeros
// where none takes part. pooling is not none.
void pool_text(Pooling pooling, const float* rows, size_t count, size_t width, const uint8_t* seen,
               float* out);

}  // namespace firth::transformer
