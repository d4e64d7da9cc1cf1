// What SSE2 and NEON share: registers of 16 bytes, no masks.
#pragma once

#define FIRTH_VECTOR_BYTES 16
#include "types.h"

namespace firth::FIRTH_LEVEL {

FIRTH_INLINE f32xN set1(float x) { return f32xN{x, x, x, x}; }
FIRTH_INLINE f64xN set1(double x) { return f64xN{x, x}; }
FIRTH_INLINE i32xN set1(int32_t x) { return i32xN{x, x, x, x}; }

FIRTH_INLINE f32xN load_f16(const uint16_t* p) {
    typedef uint16_t u16xN __attribute__((vector_size(FIRTH_VECTOR_BYTES / 2)));
    u16xN half;
    memcpy(&half, p, sizeof half);
    const i32xN bits = __builtin_convertvector(half, i32xN);
    const i32xN magnitude = (bits & 0x7fff) << 13, sign = (bits & 0x8000) << 16;
    // The exponents differ by 112; the product is exact, and right for denormals too.
    const f32xN value = (f32xN)magnitude * set1(0x1p112f);
    const i32xN special = magnitude >= (0x7c00 << 13);  // inf and NaN
    return (f32xN)((special ? magnitude | 0x7f800000 : (i32xN)value) | sign);
}

// To nearest, ties to even; beyond float16: inf; NaN is not asked for.
FIRTH_INLINE void store_f16(uint16_t* p, f32xN v) {
    const i32xN bits = (i32xN)v, magnitude = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    // The least bit of a float16 of this size, where the sum with it rounds.
    const i32xN exponent = magnitude & 0x7f800000, least = set1((int32_t)(113 << 23));
    const f32xN step = (f32xN)((exponent > least ? exponent : least) + (13 << 23));
    const f32xN rounded = ((f32xN)magnitude + step) - step;
    const i32xN half = (i32xN)(rounded * set1(0x1p-112f)) >> 13;
    for (size_t i = 0; i < kLanesF32; i++)
        p[i] = (uint16_t)((half[i] > 0x7c00 ? 0x7c00 : half[i]) | sign[i]);
}
FIRTH_INLINE f32xN load_i8(const int8_t* p) {
    typedef int8_t i8xN __attribute__((vector_size(FIRTH_VECTOR_BYTES / 4)));
    i8xN v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(__builtin_convertvector(v, i32xN), f32xN);
}

FIRTH_INLINE f64xN load_f64(const float* p) { return f64xN{p[0], p[1]}; }

FIRTH_INLINE f32xN load_first(const float* p, size_t n, float fill) {
    f32xN v = set1(fill);
    for (size_t i = 0; i < n; i++) v[i] = p[i];
    return v;
}
FIRTH_INLINE f64xN load_first(const double* p, size_t n, double fill) {
    f64xN v = set1(fill);
    for (size_t i = 0; i < n; i++) v[i] = p[i];
    return v;
}
FIRTH_INLINE f64xN load_first_f64(const float* p, size_t n) {
    return n ? f64xN{p[0], 0} : f64xN{0, 0};
}
FIRTH_INLINE void store_first(float* p, f32xN v, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = v[i];
}
FIRTH_INLINE void store_first(double* p, f64xN v, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = v[i];
}
FIRTH_INLINE void store_low_bytes(uint8_t* p, i64xN v) {
    for (size_t i = 0; i < kLanesF64; i++) p[i] = (uint8_t)(uint64_t)v[i];
}
FIRTH_INLINE void store_low_bytes(uint8_t* p, i32xN v) {
    for (size_t i = 0; i < kLanesF32; i++) p[i] = (uint8_t)(uint32_t)v[i];
}

FIRTH_INLINE f32xN to_f32(i32xN v) { return __builtin_convertvector(v, f32xN); }

FIRTH_INLINE void interleave(f32xN a, f32xN b, f32xN* low, f32xN* high) {
    *low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    *high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
}
FIRTH_INLINE void interleave(f64xN a, f64xN b, f64xN* low, f64xN* high) {
    *low = __builtin_shufflevector(a, b, 0, 2);
    *high = __builtin_shufflevector(a, b, 1, 3);
}

// ---- bytes, as 16-bit numbers: the bytes 0 and 2, the bytes 1 and 3

#if !FIRTH_NATIVE_BYTES
constexpr size_t kCodeWords = 2;
constexpr int kCodeLimit = 127;
struct BytesXN {
    i32xN even, odd;
};
FIRTH_INLINE BytesXN split_bytes(i32xN v) {
    const i32xN mask = set1((int32_t)0x00ff00ff);
    return {v & mask, (v >> 8) & mask};
}
FIRTH_INLINE void store_code(const int8_t* code, int32_t* words) {
    const int16_t halves[4] = {code[0], code[2], code[1], code[3]};
    memcpy(words, halves, sizeof halves);
}
// Sums of two neighbouring products of 16-bit numbers.
FIRTH_INLINE i32xN dot_pairs(i32xN a, i32xN b);
FIRTH_INLINE i32xN dot_bytes(const BytesXN& rows, const int32_t* code, i32xN sum) {
    return sum + dot_pairs(rows.even, set1(code[0])) + dot_pairs(rows.odd, set1(code[1]));
}
constexpr bool kSignedRows = false;
#endif

}  // namespace firth::FIRTH_LEVEL
