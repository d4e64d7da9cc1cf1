#include "engines/transformer/masks.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace firth::transformer {
namespace {

constexpr size_t kScattered = size_t(-1);

// Keys are often the first tokens, all that come before the padding: their number. kScattered where
// others are seen too, or a mask says more.
size_t leading_keys(size_t count, const uint8_t* seen, const uint8_t* mask) {
    if (mask) return kScattered;
    if (!seen) return count;
    const size_t leading = size_t(std::find(seen, seen + count, 0) - seen);
    const bool more = std::any_of(seen + leading, seen + count, [](uint8_t s) { return s; });
    return more ? kScattered : leading;
}

}  // namespace

TextMask::TextMask(const Stack& stack, size_t count, ptrdiff_t window, const uint8_t* seen,
                   const uint8_t* mask)
    : count_(count),
      keys_(leading_keys(count, seen, mask)),
      window_(window),
      seen_(keys_ == kScattered ? seen : nullptr),
      mask_(mask),
      general_(keys_ == kScattered),
      relative_(stack.relative.data),
      heads_(relative_                 ? stack.plan.heads
             : general_ || window >= 0 ? 1
                                       : 0),
      size_(general_ ? count * count : 2 * count - 1),
      space_(heads_ * size_ * (relative_ ? sizeof(float) : 1)) {
    if (relative_)
        fill_relative(stack, space_.data<float>());
    else if (heads_)
        fill_seen(space_.data<uint8_t>());
}

void TextMask::describe(AttentionShape* shape) const {
    shape->keys = keys_ == kScattered ? count_ : keys_;
    shape->mask_stride = general_ ? ptrdiff_t(count_) : -1;
    shape->mask_key_stride = 1;
    shape->mask = relative_ ? AttentionShape::additive
                  : heads_  ? AttentionShape::boolean
                            : AttentionShape::none;
}

const void* TextMask::of(size_t head) const {
    if (!heads_) return nullptr;
    const size_t middle = general_ ? 0 : count_ - 1;  // where query 0 meets key 0
    if (relative_) return space_.data<float>() + head * size_ + middle;
    return space_.data<uint8_t>() + middle;
}

bool TextMask::sees(size_t query, size_t key) const {
    return (!seen_ || seen_[key]) && (!mask_ || mask_[query * count_ + key]) &&
           near(ptrdiff_t(key) - ptrdiff_t(query));
}

void TextMask::fill_relative(const Stack& stack, float* to) const {
    const size_t line = 2 * count_ - 1, heads = stack.plan.heads;
    std::vector<size_t> buckets(line);
    const auto distance = [&](size_t d) { return ptrdiff_t(d) - ptrdiff_t(count_ - 1); };
    for (size_t d = 0; d < line; d++)
        buckets[d] = relative_bucket(distance(d), stack.relative.rows, stack.plan.distances);
    for (size_t h = 0; h < heads; h++) {
        const auto bias = [&](size_t d) { return stack.relative.data[buckets[d] * heads + h]; };
        for (size_t d = 0; !general_ && d < line; d++)
            *to++ = near(distance(d)) ? bias(d) : -HUGE_VALF;
        for (size_t q = 0; general_ && q < count_; q++)
            for (size_t k = 0; k < count_; k++)
                *to++ = sees(q, k) ? bias(k + count_ - 1 - q) : -HUGE_VALF;
    }
}

void TextMask::fill_seen(uint8_t* to) const {
    for (size_t d = 0; !general_ && d < size_; d++)
        *to++ = near(ptrdiff_t(d) - ptrdiff_t(count_ - 1));
    for (size_t q = 0; general_ && q < count_; q++)
        for (size_t k = 0; k < count_; k++) *to++ = sees(q, k);
}

}  // namespace firth::transformer
