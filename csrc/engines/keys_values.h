// Keys and values of attention, packed for one level, in blocks of kKeyBlock keys.
#pragma once
#include <vector>

#include "engines/gemm.h"
#include "memory.h"

namespace firth {

constexpr size_t kKeyBlock = 128;

// A block: its keys as a left operand, keys x E, and its values transposed, Ev x keys. Every block
// has the room of a whole one.
struct KeyBlock {
    const Gemm& type;
    size_t depth, values;  // E, Ev

    size_t key_bytes() const { return kKeyBlock * packed_k(type, depth); }
    size_t bytes() const { return key_bytes() + packed_k(type, kKeyBlock) * values; }

    // key: keys x E, value: keys x Ev, strides in bytes; keys <= kKeyBlock; to: bytes()
    void pack(const char* key, ptrdiff_t key_stride, const char* value, ptrdiff_t value_stride,
              size_t keys, char* to) const {
        type.pack_a(key, key_stride, to, keys, depth);
        type.pack_a_transposed(value, value_stride, to + key_bytes(), values, keys);
    }
    // key: keys x E; value: Ev x keys; contiguous
    void unpack(const char* block, size_t keys, char* key, char* value) const {
        type.unpack_a(block, key, ptrdiff_t(depth * type.element), keys, depth);
        type.unpack_a(block + key_bytes(), value, ptrdiff_t(keys * type.element), values, keys);
    }
};

// Keys and values of several heads, to which more are appended. The blocks are the same as of all
// keys at once. Not to be read while keys are appended.
class KeysValues {
  public:
    KeysValues(const Gemm& type, size_t heads, size_t depth, size_t values)
        : block_{type, depth, values}, heads_(heads) {}

    // key: heads of n x E, value: heads of n x Ev; each[h] is the first row of head h; strides in
    // bytes. Changes nothing where memory is short.
    void append(const char* const* key, ptrdiff_t key_stride, const char* const* value,
                ptrdiff_t value_stride, size_t n);

    const KeyBlock& block() const { return block_; }
    size_t heads() const { return heads_; }
    size_t keys() const { return keys_; }
    size_t bytes() const { return blocks_.size() * heads_ * block_.bytes() + tail_bytes_; }

    // The block'th block of a head.
    const char* at(size_t head, size_t block) const {
        return blocks_[block].data() + head * block_.bytes();
    }

    // key: heads x keys x E, value: heads x keys x Ev, as they were appended.
    void unpack(char* key, char* value) const;

  private:
    KeyBlock block_;
    size_t heads_, keys_ = 0, tail_bytes_ = 0;
    std::vector<AlignedBuffer> blocks_;  // each of all heads
    AlignedBuffer tail_;  // for each head, keys and values of the last block as they came
};

}  // namespace firth
