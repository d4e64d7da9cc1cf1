#include "memory.h"

#include <stdint.h>

#include <new>
#include <vector>

namespace firth {
namespace {

struct Stack {
    struct Level {
        AlignedBuffer buffer;
        size_t bytes = 0;
    };
    std::vector<Level> levels;
    size_t depth = 0;
};
thread_local Stack stack;

}  // namespace

AlignedBuffer::AlignedBuffer(size_t bytes) {
    if (bytes > PTRDIFF_MAX - 64) throw std::bad_alloc();
    memory_.reset(new char[bytes + 64]);
    data_ = memory_.get() + (64 - reinterpret_cast<uintptr_t>(memory_.get()) % 64) % 64;
}

Scratch::Scratch(size_t bytes) {
    if (stack.depth == stack.levels.size()) stack.levels.emplace_back();
    Stack::Level& mine = stack.levels[stack.depth];
    if (mine.bytes < bytes || !mine.buffer.data()) {
        mine = {};  // before the larger one
        mine.buffer = AlignedBuffer(bytes);
        mine.bytes = bytes;
    }
    data_ = mine.buffer.data();
    stack.depth++;
}

Scratch::~Scratch() { stack.depth--; }

}  // namespace firth
