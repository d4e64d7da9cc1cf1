// A training step as a list of calls of operations over arrays in one arena: forward, backward,
// updates of the parameters. It is what the tape of Python did once; running it again takes no
// Python at all.
#pragma once
#include <vector>

#include "engines/nn/operation.h"
#include "memory.h"

namespace firth::nn {

// Where the data of an array is.
constexpr ptrdiff_t kOutside = -1;    // with the caller, at `Array::data`
constexpr ptrdiff_t kShapeOnly = -2;  // nowhere: a shape that operations must know

struct Place {
    Array array;
    ptrdiff_t offset;  // in the arena, in bytes, or one of the above
};

// A call: numbers of arrays, or kAbsent.
constexpr int kAbsent = -1;
struct Instruction {
    const Operation* operation;
    bool backward, bfloat16;
    bool draws;  // random numbers: the same for the two calls of one `draw`
    uint64_t draw, add;
    std::vector<double> options;
    std::vector<int> in, out, saved, dout, din;
};

class Program {
  public:
    // arena: bytes; every place in it must end there. Throws std::invalid_argument where a call
    // does not fit its operation or an array is out of range.
    Program(const Kernels& kernels, bool f64, size_t arena, std::vector<Place> places,
            std::vector<Instruction> instructions);

    // Another array of the same shape and kind in the place of one that is outside.
    void bind(size_t place, void* data);
    const Array& array(size_t place) const { return places_[place].array; }
    size_t places() const { return places_.size(); }
    bool outside(size_t place) const { return places_[place].offset == kOutside; }
    bool writes(size_t place) const { return written_[place]; }

    // All calls, in order. seed: of this step's random numbers.
    void run(uint64_t seed);

  private:
    struct Ready {
        const Operation* operation;
        bool backward, bfloat16, draws;
        uint64_t draw, add;
        std::vector<double> options;
        std::vector<Array> in, out, saved, dout, din;
    };
    Call call(const Ready& ready, uint64_t seed) const;

    const Kernels& kernels_;
    bool f64_;
    AlignedBuffer arena_;
    std::vector<Place> places_;
    std::vector<Ready> ready_;
    std::vector<std::vector<Array*>> uses_;  // of each place
    std::vector<bool> written_;              // whether a call writes to a place
};

}  // namespace firth::nn
