// Dropout: which elements stay is computed from a key and their number, in integers, so it is the
// same on every level, and backward computes it again.
#include "../isa.h"
#include "list_activation.h"

namespace firth::FIRTH_LEVEL {

typedef uint32_t u32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));

// 30 random bits of each number: the finalizer of MurmurHash3 (Appleby) over number ^ low, with
// `high` added between its multiplications.
FIRTH_INLINE i32xN random_bits(u32xN number, uint32_t low, uint32_t high) {
    u32xN h = number ^ low;
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h += high;
    h *= 0xc2b2ae35u;
    h ^= h >> 16;
    return (i32xN)(h >> 2);
}

FIRTH_INLINE f32xN where(const int32_t* stays, f32xN v) { return (f32xN)(load(stays) & (i32xN)v); }
FIRTH_INLINE f64xN where(const int32_t* stays, f64xN v) {
    typedef int32_t half __attribute__((vector_size(FIRTH_VECTOR_BYTES / 2)));
    half mask;
    memcpy(&mask, stays, sizeof mask);
    return (f64xN)(__builtin_convertvector(mask, i64xN) & (i64xN)v);
}

// out = or += x scale where the bits of the element's number (from 0) are at least `limit`, else 0.
template <class T>
FIRTH_INLINE void drop(const T* x, T* out, size_t n, uint64_t key, int32_t limit, double scale,
                       bool add) {
    constexpr size_t lanes = kLanes<T>, block = 256;
    u32xN numbers;
    for (size_t l = 0; l < kLanesF32; l++) numbers[l] = (uint32_t)l;
    const vector_of<T> factor = set1(T(scale));
    int32_t stays[block];
    for (size_t start = 0; start < n; start += block) {
        const size_t count = n - start < block ? n - start : block;
        for (size_t i = 0; i < count; i += kLanesF32) {
            const i32xN bits = random_bits(numbers, (uint32_t)key, (uint32_t)(key >> 32));
            store(stays + i, bits >= limit);
            numbers += (uint32_t)kLanesF32;
        }
        for (size_t i = 0; i < count; i += lanes) {
            const size_t here = count - i < lanes ? count - i : lanes;
            vector_of<T> v = where(stays + i, load_up_to(x + start + i, here) * factor);
            if (add) v += load_up_to(out + start + i, here);
            store_up_to(out + start + i, v, here);
        }
    }
}

void dropout_f32(const float* x, float* out, size_t n, uint64_t key, int32_t limit, double scale,
                 bool add) {
    drop(x, out, n, key, limit, scale, add);
}
void dropout_f64(const double* x, double* out, size_t n, uint64_t key, int32_t limit, double scale,
                 bool add) {
    drop(x, out, n, key, limit, scale, add);
}

}  // namespace firth::FIRTH_LEVEL
