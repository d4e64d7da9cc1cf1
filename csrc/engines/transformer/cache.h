// Keys and values of a text's tokens in all layers, which stay from call to call.
//
// They lie in pages of kPageKeys tokens (kernels/list_attention.h), each with all layers and heads.
// Texts with a common beginning share its pages; a page that others have too is copied before a
// token is put into it. Not to be changed by two threads at once.
//
// Where the stack has cross-attention there are the keys and values of the memory too. They are
// computed once (run.h, remember), and copies of a cache share them.
#pragma once
#include <memory>
#include <vector>

#include "engines/transformer/stack.h"

namespace firth::transformer {

class Cache {
  public:
    // half: float16 in place of float32
    Cache(const Plan& plan, size_t layers, bool half);

    size_t length() const { return length_; }
    bool half() const { return half_; }
    size_t bytes() const { return pages_.size() * page_bytes() + (memory_ ? memory_->bytes() : 0); }

    // Whether the other is for the same stack.
    bool fits(const Cache& other) const {
        return layers_ == other.layers_ && heads_ == other.heads_ && depth_ == other.depth_ &&
               !memory_ == !other.memory_;
    }
    // Null where the stack has no cross-attention.
    Cache* memory() const { return memory_.get(); }
    // A cache of the first n tokens, n <= length(), that shares their pages.
    Cache first(size_t n) const;
    // Forgets all tokens but the first n.
    void shorten(size_t n);
    // Pages of its own for n more tokens. Changes nothing where memory is short.
    void reserve(size_t n);
    // n tokens have been put behind the last one.
    void extend(size_t n) { length_ += n; }

    size_t pages() const { return pages_.size(); }
    void* page(size_t i, size_t layer, size_t head) const {
        return pages_[i]->data() + (layer * heads_ + head) * head_bytes_;
    }

  private:
    Cache(size_t layers, size_t heads, size_t depth, bool half);

    size_t page_bytes() const { return layers_ * heads_ * head_bytes_; }

    size_t layers_, heads_, depth_, values_, head_bytes_, length_ = 0;
    bool half_;
    std::vector<std::shared_ptr<AlignedBuffer>> pages_;
    std::shared_ptr<Cache> memory_;
};

}  // namespace firth::transformer
