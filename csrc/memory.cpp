#include "memory.h"

#include <stdint.h>

#include <new>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace firth {
namespace {

// Buffers from kLarge on ask for huge pages, as NumPy's arrays do: packed panels are read a chunk
// here and a chunk there, and in a virtual machine a missing translation costs twice.
constexpr size_t kHugePage = size_t(2) << 20, kLarge = 2 * kHugePage;

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
    const size_t unit = bytes < kLarge ? 64 : kHugePage;
    if (bytes > PTRDIFF_MAX - 2 * unit) throw std::bad_alloc();
    memory_.reset(new char[bytes + unit]);
    data_ = memory_.get() + (unit - reinterpret_cast<uintptr_t>(memory_.get()) % unit) % unit;
#ifdef __linux__
    // The whole pages of it only: the rest belongs to whatever is behind it.
    if (bytes >= kLarge) madvise(data_, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
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
