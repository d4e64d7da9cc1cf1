#include "engines/words/gensim_random.h"

#include <algorithm>

namespace firth::words {

int32_t GensimRandom::place(const uint32_t* cumulative, size_t n) {
    const uint32_t draw = step() % cumulative[n - 1];
    return static_cast<int32_t>(std::lower_bound(cumulative, cumulative + n, draw) - cumulative);
}

uint32_t GensimRandom::below(uint32_t n) {
    uint32_t mask = n - 1;
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    if (!mask) return 0;
    for (;;) {
        draws++;
        const uint32_t value = static_cast<uint32_t>(twister()) & mask;
        if (value < n) return value;
    }
}

void GensimRandom::restart() {
    state = static_cast<uint64_t>(below(1 << 24)) << 24;
    state += below(1 << 24);
}

void GensimRandom::move_to(uint32_t seed, uint64_t position) {
    twister.seed(seed);
    twister.discard(position);
    draws = position;
}

}  // namespace firth::words
