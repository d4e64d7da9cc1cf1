// The random numbers of gensim's trainers, in gensim's order.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <random>

namespace firth::words {

// The RandomState (MT19937) gives seeds and window sizes; a linear congruential generator gives
// sub-sampling and negatives.
struct GensimRandom {
    std::mt19937 twister;
    uint64_t draws = 0;  // numbers taken from the twister
    uint64_t state = 0;  // of the congruential generator

    // The next 32 bits of the congruential generator.
    uint32_t step() {
        const uint64_t before = state >> 16;
        state = (state * 25214903917ull + 11) & 281474976710655ull;
        return static_cast<uint32_t>(before);
    }
    // A negative: the place of a draw in the running sums cumulative[0..n).
    int32_t place(const uint32_t* cumulative, size_t n);
    // RandomState.randint(0, n): the lowest bits that can hold n - 1, again while they are too
    // large
    uint32_t below(uint32_t n);
    // A new state for the congruential generator, as each of gensim's jobs begins with.
    void restart();
    void move_to(uint32_t seed, uint64_t position);
};

}  // namespace firth::words
