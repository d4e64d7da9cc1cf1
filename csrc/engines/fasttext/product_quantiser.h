// Product quantisation: columns in parts of `dsub` (the last has the rest), 256 centroids a part.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth::fasttext {

// rows x dim floats -> centroids (dim * 256: part after part, each 256 x its columns) and codes
// (rows x parts): k-means, 25 rounds, over at most 65536 rows (fastText's ProductQuantizer). Wants
// at least 256 rows. The result depends on the seed only.
void train_product_quantiser(const float* values, size_t rows, size_t dim, size_t dsub,
                             uint64_t seed, float* centroids, uint8_t* codes);

}  // namespace firth::fasttext
