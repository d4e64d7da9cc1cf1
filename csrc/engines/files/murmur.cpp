#include "engines/files/murmur.h"

#include <cstring>

namespace firth::files {
namespace {

// Up to eight bytes as a little-endian number.
uint64_t load(const char* p, size_t count) {
    uint64_t value = 0;
    std::memcpy(&value, p, count);
    return value;
}

uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

uint64_t finish(uint64_t x) {
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

}  // namespace

uint64_t murmur_64a(const char* data, size_t size, uint64_t seed) {
    constexpr uint64_t m = 0xc6a4a7935bd1e995u;
    uint64_t hash = seed ^ size * m;
    const char* const end = data + size / 8 * 8;
    for (; data < end; data += 8) {
        uint64_t k = load(data, 8) * m;
        k = (k ^ k >> 47) * m;
        hash = (hash ^ k) * m;
    }
    if (size % 8) hash = (hash ^ load(data, size % 8)) * m;
    hash = (hash ^ hash >> 47) * m;
    return hash ^ hash >> 47;
}

void murmur3_128(const char* data, size_t size, uint32_t seed, uint64_t out[2]) {
    constexpr uint64_t c1 = 0x87c37b91114253d5u, c2 = 0x4cf5ad432745937fu;
    uint64_t h1 = seed, h2 = seed;
    const char* const end = data + size / 16 * 16;
    for (; data < end; data += 16) {
        h1 ^= rotate(load(data, 8) * c1, 31) * c2;
        h1 = (rotate(h1, 27) + h2) * 5 + 0x52dce729;
        h2 ^= rotate(load(data + 8, 8) * c2, 33) * c1;
        h2 = (rotate(h2, 31) + h1) * 5 + 0x38495ab5;
    }
    const size_t rest = size % 16;
    if (rest > 8) h2 ^= rotate(load(data + 8, rest - 8) * c2, 33) * c1;
    if (rest > 0) h1 ^= rotate(load(data, rest < 8 ? rest : 8) * c1, 31) * c2;
    h1 ^= size;
    h2 ^= size;
    h1 += h2;
    h2 += h1;
    h1 = finish(h1);
    h2 = finish(h2);
    h1 += h2;
    h2 += h1;
    out[0] = h1;
    out[1] = h2;
}

}  // namespace firth::files
