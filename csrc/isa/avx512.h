// AVX-512 (F, BW, CD, DQ, VL), with VNNI and BF16 where the level has them.
#pragma once
#include <immintrin.h>

#define FIRTH_VECTOR_BYTES 64
#define FIRTH_TRUE_FMA 1
#include "types.h"

namespace firth::FIRTH_LEVEL {

constexpr size_t kRegisters = 32;  // of vectors

FIRTH_INLINE f32xN set1(float x) { return (f32xN)_mm512_set1_ps(x); }
FIRTH_INLINE f64xN set1(double x) { return (f64xN)_mm512_set1_pd(x); }
FIRTH_INLINE i32xN set1(int32_t x) { return (i32xN)_mm512_set1_epi32(x); }

FIRTH_INLINE f32xN load_f16(const uint16_t* p) {
    __m256i half;
    memcpy(&half, p, sizeof half);
    return (f32xN)_mm512_cvtph_ps(half);
}

FIRTH_INLINE void store_f16(uint16_t* p, f32xN v) {
    const __m256i half = _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT);
    memcpy(p, &half, sizeof half);
}
FIRTH_INLINE f32xN load_i8(const int8_t* p) {
    __m128i v;
    memcpy(&v, p, sizeof v);
    return (f32xN)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v));
}

FIRTH_INLINE f64xN load_f64(const float* p) {
    __m256 v;
    memcpy(&v, p, sizeof v);
    return (f64xN)_mm512_cvtps_pd(v);
}

FIRTH_INLINE f32xN load_first(const float* p, size_t n, float fill) {
    return (f32xN)_mm512_mask_loadu_ps((__m512)set1(fill), (__mmask16)((1u << n) - 1), p);
}
FIRTH_INLINE f64xN load_first(const double* p, size_t n, double fill) {
    return (f64xN)_mm512_mask_loadu_pd((__m512d)set1(fill), (__mmask8)((1u << n) - 1), p);
}
FIRTH_INLINE f64xN load_first_f64(const float* p, size_t n) {
    return (f64xN)_mm512_cvtps_pd(_mm256_maskz_loadu_ps((__mmask8)((1u << n) - 1), p));
}
FIRTH_INLINE void store_first(float* p, f32xN v, size_t n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
FIRTH_INLINE void store_first(double* p, f64xN v, size_t n) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
}
FIRTH_INLINE void store_low_bytes(uint8_t* p, i64xN v) {
    const __m128i bytes = _mm512_cvtepi64_epi8((__m512i)v);
    memcpy(p, &bytes, 8);
}
FIRTH_INLINE void store_low_bytes(uint8_t* p, i32xN v) {
    const __m128i bytes = _mm512_cvtepi32_epi8((__m512i)v);
    memcpy(p, &bytes, 16);
}

FIRTH_INLINE f32xN fma(f32xN a, f32xN b, f32xN c) {
    return (f32xN)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
FIRTH_INLINE f64xN fma(f64xN a, f64xN b, f64xN c) {
    return (f64xN)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}

FIRTH_INLINE f32xN to_f32(i32xN v) { return (f32xN)_mm512_cvtepi32_ps((__m512i)v); }
FIRTH_INLINE f32xN sqrt(f32xN v) { return (f32xN)_mm512_sqrt_ps((__m512)v); }
FIRTH_INLINE f64xN sqrt(f64xN v) { return (f64xN)_mm512_sqrt_pd((__m512d)v); }
FIRTH_INLINE f32xN rsqrt_estimate(f32xN x) { return (f32xN)_mm512_rsqrt14_ps((__m512)x); }

FIRTH_INLINE uint32_t mask_bits(i32xN truth) {
    return (uint32_t)_mm512_movepi32_mask((__m512i)truth);
}

FIRTH_INLINE void interleave(f32xN a, f32xN b, f32xN* low, f32xN* high) {
    *low = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *high =
        __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
FIRTH_INLINE void interleave(f64xN a, f64xN b, f64xN* low, f64xN* high) {
    *low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    *high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

// ---- bfloat16

#if defined(__AVX512BF16__)
#define FIRTH_NATIVE_BF16 1
// Denormals become zero.
FIRTH_INLINE void store_bf16(uint16_t* p, f32xN v) {
    const __m256bh half = _mm512_cvtneps_pbh((__m512)v);
    memcpy(p, &half, sizeof half);
}
// Denormal inputs and results count as zero.
FIRTH_INLINE f32xN dot_bf16(i32xN a, i32xN b, f32xN sum) {
    return (f32xN)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
#endif

// ---- bytes

// values[code] for each byte of codes, each below 16.
FIRTH_INLINE i32xN look_up_bytes(const uint8_t* values, i32xN codes) {
    __m128i table;
    memcpy(&table, values, sizeof table);
    return (i32xN)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), (__m512i)codes);
}

constexpr size_t kCodeWords = 1;
constexpr bool kSignedRows = false;
typedef i32xN BytesXN;
FIRTH_INLINE BytesXN split_bytes(i32xN v) { return v; }
FIRTH_INLINE void store_code(const int8_t* code, int32_t* words) { memcpy(words, code, 4); }

FIRTH_INLINE i32xN dot_pairs(i32xN a, i32xN b) {
    return (i32xN)_mm512_madd_epi16((__m512i)a, (__m512i)b);
}

#if defined(__AVX512VNNI__)
#define FIRTH_NATIVE_BYTES 1
constexpr bool kFlipU8S8 = false, kFlipS8S8 = true;
FIRTH_INLINE i32xN dot_u8s8(i32xN a, i32xN b, i32xN sum) {
    return (i32xN)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
}
FIRTH_INLINE i32xN dot_s8s8(i32xN a, i32xN b, i32xN sum) { return dot_u8s8(b, a, sum); }
constexpr int kCodeLimit = 127;
FIRTH_INLINE i32xN dot_bytes(BytesXN rows, const int32_t* code, i32xN sum) {
    return dot_u8s8(rows, set1(code[0]), sum);
}
#else
constexpr int kCodeLimit = 63;  // vpmaddubsw: two products must stay below 2^15
#define FIRTH_PAIR_SUMS 1
constexpr int kPairLimit = 32767;
FIRTH_INLINE i32xN pair_products(i32xN rows, const int32_t* code) {
    return (i32xN)_mm512_maddubs_epi16((__m512i)rows, (__m512i)set1(code[0]));
}
FIRTH_INLINE i32xN add_pairs(i32xN rows, const int32_t* code, i32xN pairs) {
    return (i32xN)_mm512_add_epi16((__m512i)pairs, (__m512i)pair_products(rows, code));
}
FIRTH_INLINE i32xN widen_pairs(i32xN pairs) {
    return (i32xN)_mm512_madd_epi16((__m512i)pairs, _mm512_set1_epi16(1));
}
FIRTH_INLINE i32xN dot_bytes(BytesXN rows, const int32_t* code, i32xN sum) {
    return sum + widen_pairs(pair_products(rows, code));
}
#endif

}  // namespace firth::FIRTH_LEVEL
