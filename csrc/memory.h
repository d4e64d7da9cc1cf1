// Memory for packed operands and scratch: aligned to cache lines, not initialised.
#pragma once
#include <stddef.h>

#include <memory>

namespace firth {

class AlignedBuffer {
  public:
    AlignedBuffer() = default;
    explicit AlignedBuffer(size_t bytes);
    char* data() const { return data_; }

  private:
    std::unique_ptr<char[]> memory_;
    char* data_ = nullptr;
};

// Scratch of the calling thread until the end of the scope. Leases nest to any depth: each thread
// has a stack of buffers, a lease takes the next of them, and they stay for later leases.
class Scratch {
  public:
    explicit Scratch(size_t bytes);
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    template <class T = char>
    T* data() const {
        return reinterpret_cast<T*>(data_);
    }

  private:
    char* data_;
};

}  // namespace firth
