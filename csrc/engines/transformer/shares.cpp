// Plain loops: attention itself never has all shares of a text at once.
#include "engines/transformer/shares.h"

#include <algorithm>
#include <cmath>

namespace firth::transformer {

void shares(const Plan& plan, const AttentionShape& shape, const TextMask& mask,
            const float* joined, float* to) {
    const size_t sharing = plan.heads / plan.key_heads;
    for (size_t h = 0; h < plan.heads; h++)
        for (size_t q = 0; q < shape.queries; q++, to += shape.queries) {
            const float* query = joined + ptrdiff_t(q) * shape.query_stride + h * plan.head_width;
            std::fill(to, to + shape.queries, -HUGE_VALF);
            float best = -HUGE_VALF;
            for (size_t k = 0; k < shape.keys; k++) {
                if (shape.causal && k > q) break;
                const ptrdiff_t place =
                    ptrdiff_t(q) * shape.mask_stride + ptrdiff_t(k) * shape.mask_key_stride;
                if (shape.mask == AttentionShape::boolean &&
                    !static_cast<const uint8_t*>(mask.of(h))[place])
                    continue;
                const float* key = joined + ptrdiff_t(k) * shape.key_stride + plan.queries() +
                                   h / sharing * plan.head_width;
                double score = 0;
                for (size_t i = 0; i < shape.depth; i++) score += double(query[i]) * double(key[i]);
                score *= shape.scale;
                if (shape.mask == AttentionShape::additive)
                    score += double(static_cast<const float*>(mask.of(h))[place]);
                to[k] = float(score);
                best = std::max(best, to[k]);
            }
            double sum = 0;
            for (size_t k = 0; k < shape.queries; k++) {
                to[k] = best == -HUGE_VALF ? 0.0f : std::exp(to[k] - best);
                sum += double(to[k]);
            }
            for (size_t k = 0; k < shape.queries && sum > 0; k++)
                to[k] = float(double(to[k]) / sum);
        }
}

}  // namespace firth::transformer
