// What every level has in common, written with the compiler's operators and the functions of the
// target's file, whose contract is in the comments here.
//
// Of a target: FIRTH_VECTOR_BYTES; FIRTH_TRUE_FMA where fma rounds once; kRegisters; set1;
// load_f16, load_i8, load_f64 and load_first_f64 (widen exactly); load_first, store_first;
// store_low_bytes (the lowest byte of each lane); to_f32; fma (a * b + c); sqrt (correctly
// rounded); rsqrt_estimate; dot_pairs (in each
// 32-bit lane, the sum of the products of two signed 16-bit numbers); mask_bits (bit i is set where
// lane i of a comparison is true); interleave (lanes of a and b in turn: a0 b0 a1 b1 ..., the lower
// half in low, the upper in high); and the products of bytes.
#pragma once

namespace firth::FIRTH_LEVEL {

// The register tile of the matrix product, kGemmRows x kGemmColumns of C: as many rows as
// leave registers for two vectors of B and a broadcast of A (32 registers: 14 x 2; 16: 6 x 2).
constexpr size_t kGemmRows = kRegisters == 32 ? 14 : 6;
template <class Sum>
constexpr size_t kGemmColumns = 2 * kLanes<Sum>;
// Words of 4 bytes of a row of A between two stores of C, so that a tile of A fills half of L1d
// (14 rows: 21 KB). It sets the order of sums along K.
constexpr size_t kGemmBlock = 384;

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

FIRTH_INLINE void store(float* p, f32xN v) { memcpy(p, &v, sizeof v); }
FIRTH_INLINE void store(double* p, f64xN v) { memcpy(p, &v, sizeof v); }
FIRTH_INLINE void store(int32_t* p, i32xN v) { memcpy(p, &v, sizeof v); }

// FIRTH_BREAK (a build option of the tests): partial loads and stores do nothing, so that every
// kernel loses its last partial vector, and the tests must notice.
#ifdef FIRTH_BREAK
constexpr bool kBroken = true;
#else
constexpr bool kBroken = false;
#endif

// The first n lanes (n < lanes), `fill` above; memory past p + n is not touched.
FIRTH_INLINE f32xN load_partial(const float* p, size_t n, float fill = 0.0f) {
    return kBroken ? set1(fill) : load_first(p, n, fill);
}
FIRTH_INLINE f64xN load_partial(const double* p, size_t n, double fill = 0.0) {
    return kBroken ? set1(fill) : load_first(p, n, fill);
}
// The first n floats (n < kLanesF64), widened, zeros above.
FIRTH_INLINE f64xN load_f64_partial(const float* p, size_t n) {
    return kBroken ? set1(0.0) : load_first_f64(p, n);
}
FIRTH_INLINE void store_partial(float* p, f32xN v, size_t n) {
    if (!kBroken) store_first(p, v, n);
}
FIRTH_INLINE void store_partial(double* p, f64xN v, size_t n) {
    if (!kBroken) store_first(p, v, n);
}
FIRTH_INLINE i32xN load_partial(const int32_t* p, size_t n) {
    return (i32xN)load_partial((const float*)p, n);
}
FIRTH_INLINE void store_partial(int32_t* p, i32xN v, size_t n) {
    store_partial((float*)p, (f32xN)v, n);
}

// The first n lanes, which may be all of them.
template <class T>
FIRTH_INLINE vector_of<T> load_up_to(const T* p, size_t n) {
    return n == kLanes<T> ? load(p) : load_partial(p, n);
}
template <class T>
FIRTH_INLINE void store_up_to(T* p, vector_of<T> v, size_t n) {
    n == kLanes<T> ? store(p, v) : store_partial(p, v, n);
}

// ---- bfloat16: each 32-bit lane holds two, the lower half first ---------------------------------

// kLanesF32 bfloat16, widened exactly.
FIRTH_INLINE f32xN load_bf16(const uint16_t* p) {
    typedef uint16_t u16xN __attribute__((vector_size(FIRTH_VECTOR_BYTES / 2)));
    u16xN half;
    memcpy(&half, p, sizeof half);
    return (f32xN)(__builtin_convertvector(half, i32xN) << 16);
}

// Rounds to nearest, ties to even, and stores kLanesF32 bfloat16; NaN stays, denormals too.
FIRTH_INLINE void round_bf16(uint16_t* p, f32xN v) {
    typedef uint16_t u16xN __attribute__((vector_size(FIRTH_VECTOR_BYTES / 2)));
    typedef uint32_t u32xN __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
    const u32xN bits = (u32xN)v;
    const u32xN rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const u16xN half = __builtin_convertvector(v == v ? rounded : (bits >> 16) | 0x40, u16xN);
    memcpy(p, &half, sizeof half);
}

// The same as fast as the level can, which may take denormals for 0.
#if FIRTH_NATIVE_BF16
constexpr bool kNativeBf16 = true;
#else
constexpr bool kNativeBf16 = false;
FIRTH_INLINE void store_bf16(uint16_t* p, f32xN v) { round_bf16(p, v); }
#endif

// ---- bytes: each 32-bit lane holds four, which meet four signed bytes that all lanes have in
// common. A target says how: signed bytes of magnitude kCodeLimit at most multiply any unsigned
// bytes exactly; store_code puts four of them into kCodeWords words; split_bytes prepares the
// unsigned ones; dot_bytes(rows, code, sum) is sum + the four products, or, where kSignedRows,
// those with 128 less of each unsigned byte.
//
// FIRTH_NATIVE_BYTES: a level has one instruction for it, which then is the matrix product's too:
// dot_u8s8(a, b, sum) and dot_s8s8 are sum + the products of four bytes of a, of the first sign,
// and four of b, modulo 2^32. Where an instruction wants b unsigned (kFlipU8S8, kFlipS8S8), b is
// 128 more.

#if FIRTH_NATIVE_BYTES
constexpr bool kNativeBytes = true;
#else
constexpr bool kNativeBytes = false;
#endif

// FIRTH_PAIR_SUMS: a level sums products of neighbours in 16 bits first. add_pairs(rows, code,
// pairs) is pairs + the products of bytes 0 and 1, and of 2 and 3, of which no sum may exceed
// kPairLimit; widen_pairs adds both.
#if FIRTH_PAIR_SUMS
constexpr bool kPairSums = true;
#else
constexpr bool kPairSums = false;
constexpr int kPairLimit = 0;
FIRTH_INLINE i32xN add_pairs(i32xN rows, const int32_t* code, i32xN pairs) {
    return dot_bytes(split_bytes(rows), code, pairs);
}
FIRTH_INLINE i32xN widen_pairs(i32xN pairs) { return pairs; }
#endif

// A packed query is padded with zeros to a multiple of so many units of four codes: whole tiles.
#if FIRTH_TILES
constexpr size_t kCodeUnits = 16;
#else
constexpr size_t kCodeUnits = 1;
#endif

// ---- division

// A divisor that many numbers have in common. a / b is a (inverse + rest), with the inverse's
// rounding error as rest: correctly rounded but for a few cases, in which it is the neighbour; a /
// a is 1. Needs a true fma; without one it is the division itself.
#if FIRTH_TRUE_FMA
template <class V>
struct Divisor {
    V inverse, rest;
};
template <class V, class T>
FIRTH_INLINE Divisor<V> divisor(V b, T) {
    const V one = set1(T(1)), inverse = one / b;
    return {inverse, fma(-inverse, b, one) * inverse};
}
// The i-th lane in all lanes.
template <class V>
FIRTH_INLINE Divisor<V> lane(const Divisor<V>& b, size_t i) {
    return {set1(b.inverse[i]), set1(b.rest[i])};
}
template <class V>
FIRTH_INLINE V divide(V a, const Divisor<V>& b) {
    return fma(a, b.inverse, a * b.rest);
}
#else
template <class V>
struct Divisor {
    V value;
};
template <class V, class T>
FIRTH_INLINE Divisor<V> divisor(V b, T) {
    return {b};
}
template <class V>
FIRTH_INLINE Divisor<V> lane(const Divisor<V>& b, size_t i) {
    return {set1(b.value[i])};
}
template <class V>
FIRTH_INLINE V divide(V a, const Divisor<V>& b) {
    return a / b.value;
}
#endif

// ---- lane-wise maximum and minimum: b where either is NaN (the rule of x86's maxps)

FIRTH_INLINE f32xN max(f32xN a, f32xN b) { return a > b ? a : b; }
FIRTH_INLINE f64xN max(f64xN a, f64xN b) { return a > b ? a : b; }
FIRTH_INLINE f32xN min(f32xN a, f32xN b) { return a < b ? a : b; }
FIRTH_INLINE f64xN min(f64xN a, f64xN b) { return a < b ? a : b; }

// ---- across lanes, always by halving: lane i meets lane i + N/2, and so on ---------------------

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

// ---- 1 / sqrt(x) of normal positive numbers: an estimate of the processor (relative error 2^-14,
// 2^-11.4 or, on NEON, 2^-8) and Newton's y + y/2 (1 - x y^2), which squares it: within 4e-7.

FIRTH_INLINE f32xN rsqrt(f32xN x) {
    const f32xN y = rsqrt_estimate(x);
    return fma(set1(0.5f) * y, fma(-(x * y), y, set1(1.0f)), y);
}

// ---- 2^x ----------------------------------------------------------------------------------------

// 2^x in float32 by a polynomial of degree 3 (relative error 7.6e-5: for results in bfloat16) or 5
// (1.5e-7 with rounding), for x <= 127; 0 below -126.5, NaN stays. No instruction that scales by
// powers of 2: on Intel a result that underflows, as of every masked score, costs it 150 cycles.
// Coefficients: minimax in the relative error on [-1/2, 1/2], fitted by Lawson's iteration for this
// file.
template <int degree>
FIRTH_INLINE f32xN exp2(f32xN x) {
    static_assert(degree == 3 || degree == 5, "no coefficients");
    const f32xN low = set1(-127.0f);
    const f32xN round_magic = set1(12583039.0f);  // 1.5 2^23 + 127: k + 127 in the lowest bits
    const f32xN t = max(low, x);                  // NaN passes: max gives its second argument
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
    return p * (f32xN)((i32xN)shifted << 23);  // k = -127: 0
}

}  // namespace firth::FIRTH_LEVEL
