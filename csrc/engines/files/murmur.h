// Austin Appleby's MurmurHash, of which spaCy and floret make the keys of their tables.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth::files {

// MurmurHash2, the variant 64A: spaCy's hash of a string is that of its UTF-8 with seed 1.
uint64_t murmur_64a(const char* data, size_t size, uint64_t seed);

// MurmurHash3, x64, 128 bits: out[0] and out[1].
void murmur3_128(const char* data, size_t size, uint32_t seed, uint64_t out[2]);

}  // namespace firth::files
