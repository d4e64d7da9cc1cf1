// Random numbers that are the same on every machine.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth {

// SplitMix64 (Steele, Lea, Flood 2014): any seed is good, so a stream can start from its place.
struct SplitMix64 {
    uint64_t state;
    uint64_t next() {
        uint64_t z = state += 0x9e3779b97f4a7c15ull;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ z >> 27) * 0x94d049bb133111ebull;
        return z ^ z >> 31;
    }
    // Uniform in [0, n), n < 2^32.
    size_t below(size_t n) { return static_cast<size_t>((next() >> 32) * n >> 32); }
};

}  // namespace firth
