// NEON: what every arm64 has; with products of bytes of the same sign (dotprod), and of both signs
// (i8mm), where the level has them.
#pragma once
#include <arm_neon.h>

#if defined(__ARM_FEATURE_DOTPROD)
#define FIRTH_NATIVE_BYTES 1
#endif
#include "vector128.h"

#define FIRTH_TRUE_FMA 1

namespace firth::FIRTH_LEVEL {

constexpr size_t kRegisters = 32;  // of vectors

FIRTH_INLINE f32xN fma(f32xN a, f32xN b, f32xN c) {
    return (f32xN)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
FIRTH_INLINE f64xN fma(f64xN a, f64xN b, f64xN c) {
    return (f64xN)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}

FIRTH_INLINE i32xN dot_pairs(i32xN a, i32xN b) {
    const int16x8_t x = (int16x8_t)a, y = (int16x8_t)b;
    return (i32xN)vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
}

FIRTH_INLINE f32xN sqrt(f32xN v) { return (f32xN)vsqrtq_f32((float32x4_t)v); }
FIRTH_INLINE f64xN sqrt(f64xN v) { return (f64xN)vsqrtq_f64((float64x2_t)v); }
FIRTH_INLINE f32xN rsqrt_estimate(f32xN x) {
    const float32x4_t rough = vrsqrteq_f32((float32x4_t)x);
    return (f32xN)vmulq_f32(rough, vrsqrtsq_f32(vmulq_f32((float32x4_t)x, rough), rough));
}

FIRTH_INLINE uint32_t mask_bits(i32xN truth) {
    uint32_t bits = 0;
    for (size_t i = 0; i < kLanesF32; i++) bits |= (uint32_t)(truth[i] & 1) << i;
    return bits;
}

// ---- bytes

// values[code] for each byte of codes, each below 16.
FIRTH_INLINE i32xN look_up_bytes(const uint8_t* values, i32xN codes) {
    return (i32xN)vqtbl1q_u8(vld1q_u8(values), (uint8x16_t)codes);
}

#if FIRTH_NATIVE_BYTES
constexpr size_t kCodeWords = 1;
constexpr int kCodeLimit = 127;
typedef i32xN BytesXN;
FIRTH_INLINE void store_code(const int8_t* code, int32_t* words) { memcpy(words, code, 4); }

constexpr bool kFlipS8S8 = false;
FIRTH_INLINE i32xN dot_s8s8(i32xN a, i32xN b, i32xN sum) {
    return (i32xN)vdotq_s32((int32x4_t)sum, (int8x16_t)a, (int8x16_t)b);
}
#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr bool kFlipU8S8 = false;
FIRTH_INLINE i32xN dot_u8s8(i32xN a, i32xN b, i32xN sum) {
    return (i32xN)vusdotq_s32((int32x4_t)sum, (uint8x16_t)a, (int8x16_t)b);
}
#else
constexpr bool kFlipU8S8 = true;
FIRTH_INLINE i32xN dot_u8s8(i32xN a, i32xN b, i32xN sum) {
    return (i32xN)vdotq_u32((uint32x4_t)sum, (uint8x16_t)a, (uint8x16_t)b);
}
#endif

constexpr bool kSignedRows = true;
FIRTH_INLINE BytesXN split_bytes(i32xN v) { return v ^ (int32_t)0x80808080; }
FIRTH_INLINE i32xN dot_bytes(BytesXN rows, const int32_t* code, i32xN sum) {
    return dot_s8s8(rows, set1(code[0]), sum);
}
#endif

}  // namespace firth::FIRTH_LEVEL
