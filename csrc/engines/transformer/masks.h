// What the attention of one text leaves out of its scores, and what it adds to them.
#pragma once
#include <cstdlib>

#include "engines/attention.h"
#include "engines/transformer/stack.h"

namespace firth::transformer {

class TextMask {
  public:
    // count: S, the text's tokens; window: how far keys may be from their query, or -1; seen: S,
    // which tokens are keys, mask: S x S, which keys a query sees; or null: all.
    TextMask(const Stack& stack, size_t count, ptrdiff_t window, const uint8_t* seen,
             const uint8_t* mask);

    // Fills the number of keys, and the kind and strides of the mask.
    void describe(AttentionShape* shape) const;
    // The mask of a head, or null.
    const void* of(size_t head) const;

  private:
    bool sees(size_t query, size_t key) const;
    bool near(ptrdiff_t distance) const { return window_ < 0 || std::abs(distance) <= window_; }
    void fill_relative(const Stack& stack, float* to) const;
    void fill_seen(uint8_t* to) const;

    size_t count_, keys_;
    ptrdiff_t window_;
    const uint8_t *seen_, *mask_;
    bool general_;   // else the mask depends on the distance of key and query alone
    bool relative_;  // additive, a mask for each head; else boolean, one for all
    size_t heads_;   // masks: H, 1 or 0
    size_t size_;    // of a mask: S x S, or 2 S - 1, read at key - query
    Scratch space_;  // heads_ x size_ of float or bytes
};

}  // namespace firth::transformer
