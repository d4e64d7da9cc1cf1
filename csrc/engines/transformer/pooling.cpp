#include "engines/transformer/pooling.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace firth::transformer {

void pool_text(Pooling pooling, const float* rows, size_t count, size_t width, const uint8_t* seen,
               float* out) {
    std::fill(out, out + width, 0.0f);
    double divisor = 0;
    for (size_t i = 0; i < count; i++) {
        if (seen && !seen[i]) continue;
        const float* row = rows + i * width;
        const float weight = pooling == Pooling::weighted ? float(i + 1) : 1.0f;
        const bool begin = divisor == 0;
        divisor += double(weight);
        switch (pooling) {
            case Pooling::first:
                if (!begin) continue;
                [[fallthrough]];
            case Pooling::last:
                std::memcpy(out, row, width * sizeof(float));
                break;
            case Pooling::max:  // NaN stays
                for (size_t j = 0; j < width; j++)
                    out[j] = begin || row[j] > out[j] || row[j] != row[j] ? row[j] : out[j];
                break;
            default:
                for (size_t j = 0; j < width; j++) out[j] += weight * row[j];
        }
    }
    const bool sum =
        pooling == Pooling::mean || pooling == Pooling::weighted || pooling == Pooling::mean_sqrt;
    if (!sum || divisor == 0) return;
    if (pooling == Pooling::mean_sqrt) divisor = std::sqrt(divisor);
    for (size_t j = 0; j < width; j++) out[j] = float(double(out[j]) / divisor);
}

}  // namespace firth::transformer
