// Longer than most files: each function stands here once for every level, in one place.
//
// The vector type of this level and the only intrinsics: load/store (partial too), fma, max, sums,
// exp, log (isa_math.h). No algorithm. Everything here is inlined into the objects of one level
// (namespace firth::<level>), so that no instruction of a higher level can leak into a lower one.
//
// Arithmetic on vectors is written with the compiler's operators (+ - * /, comparisons); a function
// stands here only where an operator cannot say it. Names carry the lane type and count: f32xN is
// the level's full register, N = 4 (SSE2, NEON), 8 (AVX2) or 16 (AVX-512) floats.
//
// FIRTH_BREAK=1 (a build option of the tests) makes partial loads and stores do nothing: every
// kernel then loses its last partial vector, and the tests must notice.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define FIRTH_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define FIRTH_VECTOR_BYTES 32
#else
#define FIRTH_VECTOR_BYTES 16
#endif

#define FIRTH_INLINE static inline __attribute__((always_inline))

namespace firth::FIRTH_LEVEL {

typedef float f32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
typedef double f64xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
typedef int32_t i32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
typedef int64_t i64xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
typedef float f32x4 __attribute__((vector_size(16)));  // the same on every level

constexpr size_t kLanesF32 = FIRTH_VECTOR_BYTES / sizeof(float);
constexpr size_t kLanesF64 = FIRTH_VECTOR_BYTES / sizeof(double);

// The register tile of the matrix product, kGemmRows x kGemmColumns floats of C: as many rows as
// leave registers for two vectors of B and a broadcast of A (32 registers: 14 x 2; 16: 6 x 2).
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr size_t kGemmRows = 14;
#else
constexpr size_t kGemmRows = 6;
#endif
constexpr size_t kGemmColumns = 2 * kLanesF32;

// The register type that belongs to an element type, for kernels written once for float and double.
template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef f32xN type;
};
template <>
struct VectorOf<double> {
    typedef f64xN type;
};
template <class T>
using vector_of = typename VectorOf<T>::type;
template <class T>
constexpr size_t kLanes = FIRTH_VECTOR_BYTES / sizeof(T);

// ---- broadcast ----------------------------------------------------------------------------------

FIRTH_INLINE f32xN set1(float x) {
#if defined(__AVX512F__)
    return (f32xN)_mm512_set1_ps(x);
#elif defined(__AVX2__)
    return (f32xN)_mm256_set1_ps(x);
#else
    return f32xN{x, x, x, x};
#endif
}

FIRTH_INLINE f64xN set1(double x) {
#if defined(__AVX512F__)
    return (f64xN)_mm512_set1_pd(x);
#elif defined(__AVX2__)
    return (f64xN)_mm256_set1_pd(x);
#else
    return f64xN{x, x};
#endif
}

FIRTH_INLINE i32xN set1(int32_t x) {
#if defined(__AVX512F__)
    return (i32xN)_mm512_set1_epi32(x);
#elif defined(__AVX2__)
    return (i32xN)_mm256_set1_epi32(x);
#else
    return i32xN{x, x, x, x};
#endif
}

// ---- load and store (no alignment assumed) ------------------------------------------------------

FIRTH_INLINE f32xN load(const float* p) {
    f32xN v;
    memcpy(&v, p, sizeof v);
    return v;
}

FIRTH_INLINE f64xN load(const double* p) {
    f64xN v;
    memcpy(&v, p, sizeof v);
    return v;
}

FIRTH_INLINE i32xN load(const int32_t* p) {
    i32xN v;
    memcpy(&v, p, sizeof v);
    return v;
}

// kLanesF32 numbers of half precision, widened exactly.
FIRTH_INLINE f32xN load_f16(const uint16_t* p) {
#if defined(__AVX512F__)
    __m256i half;
    memcpy(&half, p, sizeof half);
    return (f32xN)_mm512_cvtph_ps(half);
#elif defined(__F16C__)
    __m128i half;
    memcpy(&half, p, sizeof half);
    return (f32xN)_mm256_cvtph_ps(half);
#else
    typedef uint16_t u16xN __attribute__((vector_size(FIRTH_VECTOR_BYTES / 2)));
    u16xN half;
    memcpy(&half, p, sizeof half);
    const i32xN bits = __builtin_convertvector(half, i32xN);
    const i32xN magnitude = (bits & 0x7fff) << 13, sign = (bits & 0x8000) << 16;
    // The exponents differ by 112; the product is exact, and right for denormals too.
    const f32xN value = (f32xN)magnitude * set1(0x1p112f);
    const i32xN special = magnitude >= (0x7c00 << 13);  // inf and NaN
    return (f32xN)((special ? magnitude | 0x7f800000 : (i32xN)value) | sign);
#endif
}

FIRTH_INLINE f32xN load_i8(const int8_t* p) {
    typedef int8_t i8xN __attribute__((vector_size(FIRTH_VECTOR_BYTES / 4)));
    i8xN v;
    memcpy(&v, p, sizeof v);
#if defined(__AVX512F__)
    return (f32xN)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)v));
#elif defined(__AVX2__)
    return (f32xN)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_set1_epi64x((long long)v)));
#else
    return __builtin_convertvector(__builtin_convertvector(v, i32xN), f32xN);
#endif
}

FIRTH_INLINE void store(float* p, f32xN v) { memcpy(p, &v, sizeof v); }
FIRTH_INLINE void store(double* p, f64xN v) { memcpy(p, &v, sizeof v); }

// AVX2 masks: ones in the first n lanes, zeros above.
#if defined(__AVX2__) && !defined(__AVX512F__)
FIRTH_INLINE __m256i first_lanes_i32(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}
FIRTH_INLINE __m256i first_lanes_i64(size_t n) {
    const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)n), lane);
}
#endif

// The first n lanes (n < lanes), `fill` above; memory past p + n is not touched.
FIRTH_INLINE f32xN load_partial(const float* p, size_t n, float fill = 0.0f) {
#ifdef FIRTH_BREAK
    (void)p, (void)n;
    return set1(fill);
#elif defined(__AVX512F__)
    return (f32xN)_mm512_mask_loadu_ps((__m512)set1(fill), (__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__)
    const __m256i mask = first_lanes_i32(n);
    return (f32xN)_mm256_blendv_ps((__m256)set1(fill), _mm256_maskload_ps(p, mask), (__m256)mask);
#else
    f32xN v = set1(fill);
    for (size_t i = 0; i < n; i++) v[i] = p[i];
    return v;
#endif
}

FIRTH_INLINE f64xN load_partial(const double* p, size_t n, double fill = 0.0) {
#ifdef FIRTH_BREAK
    (void)p, (void)n;
    return set1(fill);
#elif defined(__AVX512F__)
    return (f64xN)_mm512_mask_loadu_pd((__m512d)set1(fill), (__mmask8)((1u << n) - 1), p);
#elif defined(__AVX2__)
    const __m256i mask = first_lanes_i64(n);
    return (f64xN)_mm256_blendv_pd((__m256d)set1(fill), _mm256_maskload_pd(p, mask), (__m256d)mask);
#else
    f64xN v = set1(fill);
    for (size_t i = 0; i < n; i++) v[i] = p[i];
    return v;
#endif
}

FIRTH_INLINE void store_partial(float* p, f32xN v, size_t n) {
#ifdef FIRTH_BREAK
    (void)p, (void)v, (void)n;
#elif defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#elif defined(__AVX2__)
    _mm256_maskstore_ps(p, first_lanes_i32(n), (__m256)v);
#else
    for (size_t i = 0; i < n; i++) p[i] = v[i];
#endif
}

FIRTH_INLINE void store_partial(double* p, f64xN v, size_t n) {
#ifdef FIRTH_BREAK
    (void)p, (void)v, (void)n;
#elif defined(__AVX512F__)
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
#elif defined(__AVX2__)
    _mm256_maskstore_pd(p, first_lanes_i64(n), (__m256d)v);
#else
    for (size_t i = 0; i < n; i++) p[i] = v[i];
#endif
}

// ---- fused multiply-add: a * b + c (one rounding, but two on SSE2, which has no such instruction)

FIRTH_INLINE f32xN fma(f32xN a, f32xN b, f32xN c) {
#if defined(__AVX512F__)
    return (f32xN)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (f32xN)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (f32xN)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

FIRTH_INLINE f64xN fma(f64xN a, f64xN b, f64xN c) {
#if defined(__AVX512F__)
    return (f64xN)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
    return (f64xN)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
    return (f64xN)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

// ---- bfloat16: each 32-bit lane holds two, the lower half first ---------------------------------

#if defined(__AVX512BF16__)
constexpr bool kNativeBf16 = true;
#else
constexpr bool kNativeBf16 = false;
#endif

// Rounds to nearest, ties to even (denormals may become zero), and stores kLanesF32 bfloat16.
FIRTH_INLINE void store_bf16(uint16_t* p, f32xN v) {
#if defined(__AVX512BF16__)
    const __m256bh half = _mm512_cvtneps_pbh((__m512)v);
    memcpy(p, &half, sizeof half);
#else
    typedef uint16_t u16xN __attribute__((vector_size(FIRTH_VECTOR_BYTES / 2)));
    typedef uint32_t u32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
    const u32xN bits = (u32xN)v;
    const u32xN rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const u16xN half = __builtin_convertvector(v == v ? rounded : (bits >> 16) | 0x40, u16xN);
    memcpy(p, &half, sizeof half);
#endif
}

// kLanesF32 bfloat16, widened exactly.
FIRTH_INLINE f32xN load_bf16(const uint16_t* p) {
    typedef uint16_t u16xN __attribute__((vector_size(FIRTH_VECTOR_BYTES / 2)));
    u16xN half;
    memcpy(&half, p, sizeof half);
    return (f32xN)(__builtin_convertvector(half, i32xN) << 16);
}

// sum + a.low * b.low + a.high * b.high in float32. The AVX-512 BF16 instruction takes denormal
// inputs and results as zero.
FIRTH_INLINE f32xN dot_bf16(i32xN a, i32xN b, f32xN sum) {
#if defined(__AVX512BF16__)
    return (f32xN)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    const i32xN high = set1((int32_t)0xffff0000);
    sum = fma((f32xN)(a << 16), (f32xN)(b << 16), sum);
    return fma((f32xN)(a & high), (f32xN)(b & high), sum);
#endif
}

// ---- bytes: each 32-bit lane holds four, which meet four signed bytes that all lanes have in
// common

// Signed bytes of magnitude kCodeLimit at most multiply any unsigned bytes exactly: where only
// vpmaddubsw is there, two products must stay below 2^15.
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
constexpr int kCodeLimit = 63;
#else
constexpr int kCodeLimit = 127;
#endif

#if defined(__AVX2__)
constexpr size_t kCodeWords =
    1;  // 32-bit words that hold four signed bytes as dot_bytes wants them
typedef i32xN BytesXN;
FIRTH_INLINE BytesXN split_bytes(i32xN v) { return v; }

FIRTH_INLINE void store_code(const int8_t* code, int32_t* words) { memcpy(words, code, 4); }

// sum + the four products of unsigned bytes of rows and signed ones at code.
FIRTH_INLINE i32xN dot_bytes(BytesXN rows, const int32_t* code, i32xN sum) {
    const i32xN query = set1(code[0]);
#if defined(__AVX512VNNI__)
    return (i32xN)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)rows, (__m512i)query);
#elif defined(__AVX512F__)
    const __m512i pairs = _mm512_maddubs_epi16((__m512i)rows, (__m512i)query);
    return sum + (i32xN)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#else
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)rows, (__m256i)query);
    return sum + (i32xN)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#endif
}
#else
// As 16-bit numbers: the bytes 0 and 2, the bytes 1 and 3.
constexpr size_t kCodeWords = 2;
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
FIRTH_INLINE i32xN dot_pairs(i32xN a, i32xN b) {
#if defined(__aarch64__)
    const int16x8_t x = (int16x8_t)a, y = (int16x8_t)b;
    return (i32xN)vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
#else
    return (i32xN)_mm_madd_epi16((__m128i)a, (__m128i)b);
#endif
}

FIRTH_INLINE i32xN dot_bytes(const BytesXN& rows, const int32_t* code, i32xN sum) {
    return sum + dot_pairs(rows.even, set1(code[0])) + dot_pairs(rows.odd, set1(code[1]));
}
#endif

FIRTH_INLINE f32xN to_f32(i32xN v) {
#if defined(__AVX512F__)
    return (f32xN)_mm512_cvtepi32_ps((__m512i)v);
#elif defined(__AVX2__)
    return (f32xN)_mm256_cvtepi32_ps((__m256i)v);
#else
    return __builtin_convertvector(v, f32xN);
#endif
}

// kLanesF64 floats, widened exactly.
FIRTH_INLINE f64xN load_f64(const float* p) {
#if defined(__AVX512F__)
    __m256 v;
    memcpy(&v, p, sizeof v);
    return (f64xN)_mm512_cvtps_pd(v);
#elif defined(__AVX2__)
    __m128 v;
    memcpy(&v, p, sizeof v);
    return (f64xN)_mm256_cvtps_pd(v);
#else
    return f64xN{p[0], p[1]};
#endif
}

// The lowest byte of each lane, kLanesF64 of them.
FIRTH_INLINE void store_low_bytes(uint8_t* p, i64xN v) {
#if defined(__AVX512F__)
    const __m128i bytes = _mm512_cvtepi64_epi8((__m512i)v);
    memcpy(p, &bytes, 8);
#else
    for (size_t i = 0; i < kLanesF64; i++) p[i] = (uint8_t)(uint64_t)v[i];
#endif
}

// The first n lanes (n < lanes), zeros above; memory past p + n is not touched.
FIRTH_INLINE f64xN load_f64_partial(const float* p, size_t n) {
#ifdef FIRTH_BREAK
    (void)p, (void)n;
    return set1(0.0);
#elif defined(__AVX512F__)
    return (f64xN)_mm512_cvtps_pd(_mm256_maskz_loadu_ps((__mmask8)((1u << n) - 1), p));
#elif defined(__AVX2__)
    const __m128i mask = _mm_cmpgt_epi32(_mm_set1_epi32((int)n), _mm_setr_epi32(0, 1, 2, 3));
    return (f64xN)_mm256_cvtps_pd(_mm_maskload_ps(p, mask));
#else
    return n ? f64xN{p[0], 0} : f64xN{0, 0};
#endif
}

// A divisor that many numbers have in common. a / b is a (inverse + rest), with the inverse's
// rounding error as rest: correctly rounded but for a few cases, in which it is the neighbour; a /
// a is 1. Needs a true fma; without one it is the division itself.
template <class V>
struct Divisor {
#if defined(__FMA__) || defined(__aarch64__)
    V inverse, rest;
#else
    V value;
#endif
};

template <class V, class T>
FIRTH_INLINE Divisor<V> divisor(V b, T) {
#if defined(__FMA__) || defined(__aarch64__)
    const V one = set1(T(1)), inverse = one / b;
    return {inverse, fma(-inverse, b, one) * inverse};
#else
    return {b};
#endif
}

// The i-th lane in all lanes.
template <class V>
FIRTH_INLINE Divisor<V> lane(const Divisor<V>& b, size_t i) {
#if defined(__FMA__) || defined(__aarch64__)
    return {set1(b.inverse[i]), set1(b.rest[i])};
#else
    return {set1(b.value[i])};
#endif
}

template <class V>
FIRTH_INLINE V divide(V a, const Divisor<V>& b) {
#if defined(__FMA__) || defined(__aarch64__)
    return fma(a, b.inverse, a * b.rest);
#else
    return a / b.value;
#endif
}

// ---- lane-wise maximum and minimum: b where either is NaN (the rule of x86's maxps)

FIRTH_INLINE f32xN max(f32xN a, f32xN b) { return a > b ? a : b; }
FIRTH_INLINE f64xN max(f64xN a, f64xN b) { return a > b ? a : b; }
FIRTH_INLINE f32xN min(f32xN a, f32xN b) { return a < b ? a : b; }
FIRTH_INLINE f64xN min(f64xN a, f64xN b) { return a < b ? a : b; }

// ---- across lanes, always by halving: lane i meets lane i + N/2, and so on ---------------------

typedef double f64x2 __attribute__((vector_size(16)));  // the same on every level
FIRTH_INLINE f32x4 halve_to_4(f32x4 v) { return v; }
FIRTH_INLINE float max_lane(f32x4 v) {
    const float even = v[0] > v[2] ? v[0] : v[2], odd = v[1] > v[3] ? v[1] : v[3];
    return even > odd ? even : odd;
}
FIRTH_INLINE double sum(f64x2 v) { return v[0] + v[1]; }
FIRTH_INLINE double max_lane(f64x2 v) { return v[0] > v[1] ? v[0] : v[1]; }

#if FIRTH_VECTOR_BYTES >= 32
typedef float f32x8 __attribute__((vector_size(32)));
typedef double f64x4 __attribute__((vector_size(32)));
FIRTH_INLINE f32x4 low_half(f32x8 v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3); }
FIRTH_INLINE f32x4 high_half(f32x8 v) { return __builtin_shufflevector(v, v, 4, 5, 6, 7); }
FIRTH_INLINE f64x2 low_half(f64x4 v) { return __builtin_shufflevector(v, v, 0, 1); }
FIRTH_INLINE f64x2 high_half(f64x4 v) { return __builtin_shufflevector(v, v, 2, 3); }
FIRTH_INLINE f32x4 halve_to_4(f32x8 v) { return low_half(v) + high_half(v); }
FIRTH_INLINE double sum(f64x4 v) { return sum(low_half(v) + high_half(v)); }
FIRTH_INLINE float max_lane(f32x8 v) {
    return max_lane(low_half(v) > high_half(v) ? low_half(v) : high_half(v));
}
FIRTH_INLINE double max_lane(f64x4 v) {
    return max_lane(low_half(v) > high_half(v) ? low_half(v) : high_half(v));
}
#endif

#if FIRTH_VECTOR_BYTES == 64
FIRTH_INLINE f32x8 low_half(f32xN v) {
    return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
}
FIRTH_INLINE f32x8 high_half(f32xN v) {
    return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
}
FIRTH_INLINE f64x4 low_half(f64xN v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3); }
FIRTH_INLINE f64x4 high_half(f64xN v) { return __builtin_shufflevector(v, v, 4, 5, 6, 7); }
FIRTH_INLINE f32x4 halve_to_4(f32xN v) { return halve_to_4(low_half(v) + high_half(v)); }
FIRTH_INLINE double sum(f64xN v) { return sum(low_half(v) + high_half(v)); }
FIRTH_INLINE float max_lane(f32xN v) {
    return max_lane(low_half(v) > high_half(v) ? low_half(v) : high_half(v));
}
FIRTH_INLINE double max_lane(f64xN v) {
    return max_lane(low_half(v) > high_half(v) ? low_half(v) : high_half(v));
}
#endif

FIRTH_INLINE float sum(f32xN v) {
    const f32x4 four = halve_to_4(v);
    return (four[0] + four[2]) + (four[1] + four[3]);
}

// The last halvings of four sums at once: lane i of the result is the sum of the i-th argument.
FIRTH_INLINE f32x4 sum_each(f32x4 a, f32x4 b, f32x4 c, f32x4 d) {
    const f32x4 ab =
        __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
    const f32x4 cd =
        __builtin_shufflevector(c, d, 0, 1, 4, 5) + __builtin_shufflevector(c, d, 2, 3, 6, 7);
    return __builtin_shufflevector(ab, cd, 0, 2, 4, 6) +
           __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
}

// Lanes of a and b in turn: a0 b0 a1 b1 ..., the lower half in low, the upper in high.
FIRTH_INLINE void interleave(f32xN a, f32xN b, f32xN* low, f32xN* high) {
#if FIRTH_VECTOR_BYTES == 64
    *low = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *high =
        __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif FIRTH_VECTOR_BYTES == 32
    const f32xN even = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    const f32xN odd = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    *low = __builtin_shufflevector(even, odd, 0, 1, 2, 3, 8, 9, 10, 11);
    *high = __builtin_shufflevector(even, odd, 4, 5, 6, 7, 12, 13, 14, 15);
#else
    *low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    *high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

FIRTH_INLINE void interleave(f64xN a, f64xN b, f64xN* low, f64xN* high) {
#if FIRTH_VECTOR_BYTES == 64
    *low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    *high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#elif FIRTH_VECTOR_BYTES == 32
    const f64xN even = __builtin_shufflevector(a, b, 0, 4, 2, 6);
    const f64xN odd = __builtin_shufflevector(a, b, 1, 5, 3, 7);
    *low = __builtin_shufflevector(even, odd, 0, 1, 4, 5);
    *high = __builtin_shufflevector(even, odd, 2, 3, 6, 7);
#else
    *low = __builtin_shufflevector(a, b, 0, 2);
    *high = __builtin_shufflevector(a, b, 1, 3);
#endif
}

// Rows become columns: lane j of v[i] goes to lane i of v[j], by log2(lanes) perfect shuffles.
template <class T>
FIRTH_INLINE void transpose(vector_of<T>* v, T) {
    constexpr size_t lanes = kLanes<T>;
#pragma GCC unroll 4
    for (size_t done = 1; done < lanes; done *= 2) {
        vector_of<T> next[lanes];
#pragma GCC unroll 8
        for (size_t i = 0; i < lanes / 2; i++)
            interleave(v[i], v[i + lanes / 2], &next[2 * i], &next[2 * i + 1]);
#pragma GCC unroll 16
        for (size_t i = 0; i < lanes; i++) v[i] = next[i];
    }
}

// Lane i of the result: the lanes of v[i] reduced by op, by halving as sum and max_lane do; v is
// overwritten. 2 (lanes - 1) shuffles and lanes - 1 operations for all.
template <class T, class Op>
FIRTH_INLINE vector_of<T> reduce_each(vector_of<T>* v, T, const Op& op) {
#pragma GCC unroll 4
    for (size_t half = kLanes<T> / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (size_t i = 0; i < half; i++) {
            vector_of<T> low, high;
            interleave(v[i], v[i + half], &low, &high);
            v[i] = op(low, high);
        }
    return v[0];
}

// ---- square root, correctly rounded

FIRTH_INLINE f32xN sqrt(f32xN v) {
#if defined(__AVX512F__)
    return (f32xN)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX2__)
    return (f32xN)_mm256_sqrt_ps((__m256)v);
#elif defined(__aarch64__)
    return (f32xN)vsqrtq_f32((float32x4_t)v);
#else
    return (f32xN)_mm_sqrt_ps((__m128)v);
#endif
}

FIRTH_INLINE f64xN sqrt(f64xN v) {
#if defined(__AVX512F__)
    return (f64xN)_mm512_sqrt_pd((__m512d)v);
#elif defined(__AVX2__)
    return (f64xN)_mm256_sqrt_pd((__m256d)v);
#elif defined(__aarch64__)
    return (f64xN)vsqrtq_f64((float64x2_t)v);
#else
    return (f64xN)_mm_sqrt_pd((__m128d)v);
#endif
}

// ---- 1 / sqrt(x) of normal positive numbers: an estimate of the processor (relative error 2^-14,
// 2^-11.4 or, on NEON, 2^-8) and Newton's y + y/2 (1 - x y^2), which squares it: within 4e-7.

FIRTH_INLINE f32xN rsqrt(f32xN x) {
#if defined(__AVX512F__)
    const f32xN y = (f32xN)_mm512_rsqrt14_ps((__m512)x);
#elif defined(__AVX2__)
    const f32xN y = (f32xN)_mm256_rsqrt_ps((__m256)x);
#elif defined(__aarch64__)
    const float32x4_t rough = vrsqrteq_f32((float32x4_t)x);
    const f32xN y = (f32xN)vmulq_f32(rough, vrsqrtsq_f32(vmulq_f32((float32x4_t)x, rough), rough));
#else
    const f32xN y = (f32xN)_mm_rsqrt_ps((__m128)x);
#endif
    return fma(set1(0.5f) * y, fma(-(x * y), y, set1(1.0f)), y);
}

// ---- bits of a comparison: bit i is set where lane i is true (all ones)

FIRTH_INLINE uint32_t mask_bits(i32xN truth) {
#if defined(__AVX512F__)
    return (uint32_t)_mm512_movepi32_mask((__m512i)truth);
#elif defined(__AVX2__)
    return (uint32_t)_mm256_movemask_ps((__m256)truth);
#elif defined(__x86_64__)
    return (uint32_t)_mm_movemask_ps((__m128)truth);
#else
    uint32_t bits = 0;
    for (size_t i = 0; i < kLanesF32; i++) bits |= (uint32_t)(truth[i] & 1) << i;
    return bits;
#endif
}

// ---- 2^x ----------------------------------------------------------------------------------------

// 2^x in float32 by a polynomial of degree 3 (relative error 7.6e-5: for results in bfloat16) or 5
// (1.5e-7 with rounding), for x <= 127; 0 below -150 (without AVX-512: below -126.5, no denormals),
// NaN stays. Coefficients: minimax in the relative error on [-1/2, 1/2], fitted by Lawson's
// iteration for this file.
template <int degree>
FIRTH_INLINE f32xN exp2(f32xN x) {
    static_assert(degree == 3 || degree == 5, "no coefficients");
#if defined(__AVX512F__)
    const f32xN low = set1(-160.0f);
#else
    const f32xN low = set1(-127.0f);
#endif
    const f32xN round_magic = set1(12582912.0f);
    const f32xN t = max(low, x);  // NaN goes through: max gives its second argument
    const f32xN shifted = t + round_magic;
    const f32xN k = shifted - round_magic, r = t - k;
    f32xN p;
    if constexpr (degree == 3) {
        p = fma(set1(0.0551716685295105f), r, set1(0.2426111251115799f));
        p = fma(p, r, set1(0.6932609677314758f));
        p = fma(p, r, set1(0.9999280571937561f));
    } else {
        p = fma(set1(0.0013276472454890609f), r, set1(0.009675540961325169f));
        p = fma(p, r, set1(0.05550713092088699f));
        p = fma(p, r, set1(0.24022120237350464f));
        p = fma(p, r, set1(0.6931469440460205f));
        p = fma(p, r, set1(1.0f));
    }
#if defined(__AVX512F__)
    return (f32xN)_mm512_scalef_ps((__m512)p, (__m512)k);
#else
    // k = -127 gives the bits of 0.
    return p * (f32xN)(((i32xN)shifted - (i32xN)round_magic + 127) << 23);
#endif
}

}  // namespace firth::FIRTH_LEVEL

#include "isa_math.h"
