#include "engines/transformer/cache.h"

#include <cstring>

#include "sizes.h"

namespace firth::transformer {

Cache::Cache(size_t layers, size_t heads, size_t depth, bool half)
    : layers_(layers),
      heads_(heads),
      depth_(depth),
      values_(round_up(depth, kPageValues)),
      head_bytes_(
          round_up(kPageKeys * (depth + values_) * (half ? sizeof(uint16_t) : sizeof(float)), 64)),
      half_(half) {}

Cache::Cache(const Plan& plan, size_t layers, bool half)
    : Cache(layers, plan.key_heads, plan.head_width, half) {
    if (plan.memory) memory_.reset(new Cache(layers, plan.key_heads, plan.head_width, half));
}

Cache Cache::first(size_t n) const {
    Cache copy = *this;
    copy.shorten(n);
    return copy;
}

void Cache::shorten(size_t n) {
    length_ = n;
    pages_.resize(divide_up(n, kPageKeys));
}

void Cache::reserve(size_t n) {
    std::vector<std::shared_ptr<AlignedBuffer>> pages = pages_;
    const size_t last = length_ / kPageKeys;
    if (length_ % kPageKeys && pages_[last].use_count() > 1) {
        pages[last] = std::make_shared<AlignedBuffer>(page_bytes());
        std::memcpy(pages[last]->data(), pages_[last]->data(), page_bytes());
    }
    while (pages.size() < divide_up(length_ + n, kPageKeys)) {
        pages.push_back(std::make_shared<AlignedBuffer>(page_bytes()));
        // Keys that are not there yet get a weight of 0, times what is here.
        std::memset(pages.back()->data(), 0, page_bytes());
    }
    pages_ = std::move(pages);
}

}  // namespace firth::transformer
