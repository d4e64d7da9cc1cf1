#include "engines/fasttext/product_quantiser.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "parallel.h"

namespace firth::fasttext {
namespace {

constexpr size_t kCentroids = 256, kMostRows = 256 * kCentroids;
constexpr int kRounds = 25;

// The nearest centroid of one row; the first of several. `columns` holds them by column (d x 256),
// so that neighbouring lanes are neighbouring centroids.
uint8_t nearest(const float* x, const float* columns, size_t d) {
    float distance[kCentroids] = {};
    for (size_t j = 0; j < d; j++)
        for (size_t k = 0; k < kCentroids; k++) {
            const float difference = x[j] - columns[j * kCentroids + k];
            distance[k] += difference * difference;
        }
    return static_cast<uint8_t>(std::min_element(distance, distance + kCentroids) - distance);
}

void by_columns(const float* centroids, size_t d, std::vector<float>& columns) {
    columns.resize(d * kCentroids);
    for (size_t k = 0; k < kCentroids; k++)
        for (size_t j = 0; j < d; j++) columns[j * kCentroids + k] = centroids[k * d + j];
}

// x: n x d.
void k_means(const std::vector<float>& x, size_t n, size_t d, std::mt19937_64& random,
             float* centroids) {
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), random);
    for (size_t k = 0; k < kCentroids; k++)
        std::memcpy(centroids + k * d, x.data() + order[k] * d, d * sizeof(float));
    std::vector<float> columns;
    std::vector<uint8_t> codes(n);
    for (int round = 0; round < kRounds; round++) {
        by_columns(centroids, d, columns);
        for (size_t i = 0; i < n; i++) codes[i] = nearest(x.data() + i * d, columns.data(), d);
        std::vector<double> sums(kCentroids * d);
        std::vector<size_t> counts(kCentroids);
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < d; j++) sums[codes[i] * d + j] += x[i * d + j];
            counts[codes[i]]++;
        }
        for (size_t k = 0; k < kCentroids; k++)
            for (size_t j = 0; j < d && counts[k]; j++)
                centroids[k * d + j] =
                    static_cast<float>(sums[k * d + j] / static_cast<double>(counts[k]));
        // An empty cluster takes half of the largest, both moved apart a little.
        for (size_t k = 0; k < kCentroids; k++) {
            if (counts[k]) continue;
            const size_t m = static_cast<size_t>(std::max_element(counts.begin(), counts.end()) -
                                                 counts.begin());
            for (size_t j = 0; j < d; j++) {
                const float moved = j % 2 ? 1e-7f : -1e-7f;
                centroids[k * d + j] = centroids[m * d + j] + moved;
                centroids[m * d + j] -= moved;
            }
            counts[k] = counts[m] / 2;
            counts[m] -= counts[k];
        }
    }
}

}  // namespace

void train_product_quantiser(const float* values, size_t rows, size_t dim, size_t dsub,
                             uint64_t seed, float* centroids, uint8_t* codes) {
    const size_t parts = (dim + dsub - 1) / dsub;
    parallel_for(parts, 1, [&](size_t part, size_t) {
        const size_t first = part * dsub, d = std::min(dsub, dim - first);
        std::mt19937_64 random(seed + part);
        std::vector<size_t> order(rows);
        std::iota(order.begin(), order.end(), size_t{0});
        const size_t n = std::min(rows, kMostRows);
        if (n < rows) std::shuffle(order.begin(), order.end(), random);
        std::vector<float> x(n * d);
        for (size_t i = 0; i < n; i++)
            std::memcpy(x.data() + i * d, values + order[i] * dim + first, d * sizeof(float));
        float* const own = centroids + first * kCentroids;
        k_means(x, n, d, random, own);
        std::vector<float> columns;
        by_columns(own, d, columns);
        for (size_t i = 0; i < rows; i++)
            codes[i * parts + part] = nearest(values + i * dim + first, columns.data(), d);
    });
}

}  // namespace firth::fasttext
