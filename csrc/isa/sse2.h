// SSE2: what every x86-64 has.
#pragma once
#include <immintrin.h>

#include "vector128.h"

namespace firth::FIRTH_LEVEL {

constexpr size_t kRegisters = 16;  // of vectors

// Two roundings: there is no such instruction.
FIRTH_INLINE f32xN fma(f32xN a, f32xN b, f32xN c) { return a * b + c; }
FIRTH_INLINE f64xN fma(f64xN a, f64xN b, f64xN c) { return a * b + c; }

FIRTH_INLINE i32xN dot_pairs(i32xN a, i32xN b) {
    return (i32xN)_mm_madd_epi16((__m128i)a, (__m128i)b);
}

FIRTH_INLINE f32xN sqrt(f32xN v) { return (f32xN)_mm_sqrt_ps((__m128)v); }
FIRTH_INLINE f64xN sqrt(f64xN v) { return (f64xN)_mm_sqrt_pd((__m128d)v); }
FIRTH_INLINE f32xN rsqrt_estimate(f32xN x) { return (f32xN)_mm_rsqrt_ps((__m128)x); }

FIRTH_INLINE uint32_t mask_bits(i32xN truth) { return (uint32_t)_mm_movemask_ps((__m128)truth); }

// values[code] for each byte of codes, each below 16.
FIRTH_INLINE i32xN look_up_bytes(const uint8_t* values, i32xN codes) {
    uint8_t bytes[sizeof codes];
    memcpy(bytes, &codes, sizeof codes);
    for (size_t i = 0; i < sizeof codes; i++) bytes[i] = values[bytes[i]];
    memcpy(&codes, bytes, sizeof codes);
    return codes;
}

}  // namespace firth::FIRTH_LEVEL
