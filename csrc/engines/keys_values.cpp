#include "engines/keys_values.h"

#include <algorithm>
#include <cstring>

#include "parallel.h"

namespace firth {

void KeysValues::append(const char* const* key, ptrdiff_t key_stride, const char* const* value,
                        ptrdiff_t value_stride, size_t n) {
    const size_t key_row = block_.depth * block_.type.element;
    const size_t value_row = block_.values * block_.type.element;
    const size_t tail_of_head = kKeyBlock * (key_row + value_row);
    if (!tail_.data()) {
        tail_ = AlignedBuffer(heads_ * tail_of_head);
        tail_bytes_ = heads_ * tail_of_head;
    }
    const size_t wanted = divide_up(keys_ + n, kKeyBlock);
    std::vector<AlignedBuffer> more;
    while (blocks_.size() + more.size() < wanted) more.emplace_back(heads_ * block_.bytes());
    blocks_.reserve(wanted);
    for (AlignedBuffer& buffer : more) blocks_.push_back(std::move(buffer));

    parallel_for(heads_, 1, [&](size_t head, size_t) {
        // A block's layout depends on how many keys it holds: the last one is packed anew.
        char* const keys = tail_.data() + head * tail_of_head;
        char* const values = keys + kKeyBlock * key_row;
        for (size_t done = 0; done < n;) {
            const size_t held = (keys_ + done) % kKeyBlock;
            const size_t count = std::min(kKeyBlock - held, n - done);
            for (size_t i = 0; i < count; i++) {
                std::memcpy(keys + (held + i) * key_row,
                            key[head] + ptrdiff_t(done + i) * key_stride, key_row);
                std::memcpy(values + (held + i) * value_row,
                            value[head] + ptrdiff_t(done + i) * value_stride, value_row);
            }
            block_.pack(keys, ptrdiff_t(key_row), values, ptrdiff_t(value_row), held + count,
                        blocks_[(keys_ + done) / kKeyBlock].data() + head * block_.bytes());
            done += count;
        }
    });
    keys_ += n;
}

void KeysValues::unpack(char* key, char* value) const {
    const size_t size = block_.type.element;
    const Scratch transposed(block_.values * kKeyBlock * size);
    for (size_t head = 0; head < heads_; head++)
        for (size_t first = 0; first < keys_; first += kKeyBlock) {
            const size_t count = std::min(kKeyBlock, keys_ - first), row = head * keys_ + first;
            block_.unpack(at(head, first / kKeyBlock), count, key + row * block_.depth * size,
                          transposed.data());
            for (size_t i = 0; i < count; i++)
                for (size_t e = 0; e < block_.values; e++)
                    std::memcpy(value + ((row + i) * block_.values + e) * size,
                                transposed.data() + (e * count + i) * size, size);
        }
}

}  // namespace firth
