// AVX2 with FMA and F16C, and with AVX-VNNI where the level has it (v3x).
#pragma once
#include <immintrin.h>

#define FIRTH_VECTOR_BYTES 32
#define FIRTH_TRUE_FMA 1
#include "types.h"

namespace firth::FIRTH_LEVEL {

constexpr size_t kRegisters = 16;  // of vectors

FIRTH_INLINE f32xN set1(float x) { return (f32xN)_mm256_set1_ps(x); }
FIRTH_INLINE f64xN set1(double x) { return (f64xN)_mm256_set1_pd(x); }
FIRTH_INLINE i32xN set1(int32_t x) { return (i32xN)_mm256_set1_epi32(x); }

FIRTH_INLINE f32xN load_f16(const uint16_t* p) {
    __m128i half;
    memcpy(&half, p, sizeof half);
    return (f32xN)_mm256_cvtph_ps(half);
}

FIRTH_INLINE void store_f16(uint16_t* p, f32xN v) {
    const __m128i half = _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
    memcpy(p, &half, sizeof half);
}
FIRTH_INLINE f32xN load_i8(const int8_t* p) {
    long long v;
    memcpy(&v, p, sizeof v);
    return (f32xN)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_set1_epi64x(v)));
}

FIRTH_INLINE f64xN load_f64(const float* p) {
    __m128 v;
    memcpy(&v, p, sizeof v);
    return (f64xN)_mm256_cvtps_pd(v);
}

// Masks: ones in the first n lanes, zeros above.
FIRTH_INLINE __m256i first_lanes_i32(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}
FIRTH_INLINE __m256i first_lanes_i64(size_t n) {
    const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)n), lane);
}

FIRTH_INLINE f32xN load_first(const float* p, size_t n, float fill) {
    const __m256i mask = first_lanes_i32(n);
    return (f32xN)_mm256_blendv_ps((__m256)set1(fill), _mm256_maskload_ps(p, mask), (__m256)mask);
}
FIRTH_INLINE f64xN load_first(const double* p, size_t n, double fill) {
    const __m256i mask = first_lanes_i64(n);
    return (f64xN)_mm256_blendv_pd((__m256d)set1(fill), _mm256_maskload_pd(p, mask), (__m256d)mask);
}
FIRTH_INLINE f64xN load_first_f64(const float* p, size_t n) {
    const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32((int)n), _mm_setr_epi32(0, 1, 2, 3));
    return (f64xN)_mm256_cvtps_pd(_mm_maskload_ps(p, mask));
}
FIRTH_INLINE void store_first(float* p, f32xN v, size_t n) {
    _mm256_maskstore_ps(p, first_lanes_i32(n), (__m256)v);
}
FIRTH_INLINE void store_first(double* p, f64xN v, size_t n) {
    _mm256_maskstore_pd(p, first_lanes_i64(n), (__m256d)v);
}
FIRTH_INLINE void store_low_bytes(uint8_t* p, i64xN v) {
    for (size_t i = 0; i < kLanesF64; i++) p[i] = (uint8_t)(uint64_t)v[i];
}
FIRTH_INLINE void store_low_bytes(uint8_t* p, i32xN v) {
    const __m256i lowest =
        _mm256_shuffle_epi8((__m256i)v, _mm256_broadcastsi128_si256(_mm_setr_epi8(
                                            0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12)));
    const __m128i bytes =
        _mm_unpacklo_epi32(_mm256_castsi256_si128(lowest), _mm256_extracti128_si256(lowest, 1));
    memcpy(p, &bytes, 8);
}

FIRTH_INLINE f32xN fma(f32xN a, f32xN b, f32xN c) {
    return (f32xN)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
FIRTH_INLINE f64xN fma(f64xN a, f64xN b, f64xN c) {
    return (f64xN)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}

FIRTH_INLINE f32xN to_f32(i32xN v) { return (f32xN)_mm256_cvtepi32_ps((__m256i)v); }
FIRTH_INLINE f32xN sqrt(f32xN v) { return (f32xN)_mm256_sqrt_ps((__m256)v); }
FIRTH_INLINE f64xN sqrt(f64xN v) { return (f64xN)_mm256_sqrt_pd((__m256d)v); }
FIRTH_INLINE f32xN rsqrt_estimate(f32xN x) { return (f32xN)_mm256_rsqrt_ps((__m256)x); }

FIRTH_INLINE uint32_t mask_bits(i32xN truth) { return (uint32_t)_mm256_movemask_ps((__m256)truth); }

FIRTH_INLINE void interleave(f32xN a, f32xN b, f32xN* low, f32xN* high) {
    const f32xN even = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    const f32xN odd = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    *low = __builtin_shufflevector(even, odd, 0, 1, 2, 3, 8, 9, 10, 11);
    *high = __builtin_shufflevector(even, odd, 4, 5, 6, 7, 12, 13, 14, 15);
}
FIRTH_INLINE void interleave(f64xN a, f64xN b, f64xN* low, f64xN* high) {
    const f64xN even = __builtin_shufflevector(a, b, 0, 4, 2, 6);
    const f64xN odd = __builtin_shufflevector(a, b, 1, 5, 3, 7);
    *low = __builtin_shufflevector(even, odd, 0, 1, 4, 5);
    *high = __builtin_shufflevector(even, odd, 2, 3, 6, 7);
}

// ---- bytes

// values[code] for each byte of codes, each below 16.
FIRTH_INLINE i32xN look_up_bytes(const uint8_t* values, i32xN codes) {
    __m128i table;
    memcpy(&table, values, sizeof table);
    return (i32xN)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), (__m256i)codes);
}

constexpr size_t kCodeWords = 1;
constexpr bool kSignedRows = false;
typedef i32xN BytesXN;
FIRTH_INLINE BytesXN split_bytes(i32xN v) { return v; }
FIRTH_INLINE void store_code(const int8_t* code, int32_t* words) { memcpy(words, code, 4); }
FIRTH_INLINE i32xN dot_pairs(i32xN a, i32xN b) {
    return (i32xN)_mm256_madd_epi16((__m256i)a, (__m256i)b);
}

#if FIRTH_AVX_VNNI  // set by CMake for the levels that have it
#define FIRTH_NATIVE_BYTES 1
// AVX-VNNI's instruction, or in builds for tests (v3x_emulated) the one of AVX512_VNNI and VL,
// which does the same to the same registers. Both in asm, so that all else is the same code.
#if FIRTH_AVX_VNNI_EMULATED
#define FIRTH_BYTE_PRODUCT "vpdpbusd"
#else
#define FIRTH_BYTE_PRODUCT "%{vex%} vpdpbusd"
#endif
constexpr bool kFlipU8S8 = false, kFlipS8S8 = true;
FIRTH_INLINE i32xN dot_u8s8(i32xN a, i32xN b, i32xN sum) {
    asm(FIRTH_BYTE_PRODUCT " %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
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
    return (i32xN)_mm256_maddubs_epi16((__m256i)rows, (__m256i)set1(code[0]));
}
FIRTH_INLINE i32xN add_pairs(i32xN rows, const int32_t* code, i32xN pairs) {
    return (i32xN)_mm256_add_epi16((__m256i)pairs, (__m256i)pair_products(rows, code));
}
FIRTH_INLINE i32xN widen_pairs(i32xN pairs) {
    return (i32xN)_mm256_madd_epi16((__m256i)pairs, _mm256_set1_epi16(1));
}
FIRTH_INLINE i32xN dot_bytes(BytesXN rows, const int32_t* code, i32xN sum) {
    return sum + widen_pairs(pair_products(rows, code));
}
#endif

}  // namespace firth::FIRTH_LEVEL
