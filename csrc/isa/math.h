// exp and log of vectors of float and double. No intrinsics, no tables. ULP figures are maxima over
// the tested range, on levels with fma (SSE2 has none: add half a unit).
#pragma once

namespace firth::FIRTH_LEVEL {

// Constants of the formats. round_magic: 1.5 * 2^mantissa; a sum with it has no bits below the
// point, so adding it rounds to an integer, whose two's complement then stands in the low bits.
// ln2 in two parts: multiples of the first by any exponent are exact (Cody and Waite).
template <class T>
struct Format;
template <>
struct Format<float> {
    typedef uint32_t bits __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
    static constexpr int mantissa = 23, bias = 127;
    static constexpr float round_magic = 12582912.0f;
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
};
template <>
struct Format<double> {
    typedef uint64_t bits __attribute__((vector_size(FIRTH_VECTOR_BYTES)));
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr double round_magic = 6755399441055744.0;
    static constexpr double ln2_high = 6.93147180369123816490e-01;
    static constexpr double ln2_low = 1.90821492927058770002e-10;
};

// e^r for |r| <= ln2/2: 1 + r + r^2 q(r). q has the least maximal relative error (Remez exchange in
// 60-digit arithmetic): 3.1e-9 for float, 3.8e-18 for double.
FIRTH_INLINE f32xN exp_reduced(f32xN r) {
    f32xN p = set1(0.0013814320699690491606f);
    p = fma(p, r, set1(0.0083688510676732644966f));
    p = fma(p, r, set1(0.041668401081271447449f));
    p = fma(p, r, set1(0.16666519524078858822f));
    p = fma(p, r, set1(0.49999993373097571791f));
    p = fma(p, r, set1(1.0f));
    return fma(p, r, set1(1.0f));
}

FIRTH_INLINE f64xN exp_reduced(f64xN r) {
    f64xN p = set1(2.4999858270472850371e-8);
    p = fma(p, r, set1(2.7630523467353601672e-7));
    p = fma(p, r, set1(2.7557588421289219252e-6));
    p = fma(p, r, set1(0.000024801492388293635494));
    p = fma(p, r, set1(0.00019841269502740906344));
    p = fma(p, r, set1(0.0013888888944249186531));
    p = fma(p, r, set1(0.0083333333334969236579));
    p = fma(p, r, set1(0.041666666666528103793));
    p = fma(p, r, set1(0.1666666666666640767));
    p = fma(p, r, set1(0.50000000000000108261));
    p = fma(p, r, set1(1.0));
    return fma(p, r, set1(1.0));
}

// e^x * 2^s, about 1 ULP, where magic = round_magic + bias + s for an integer s: the scale costs
// nothing, and neither overflow nor denormals need code. Wanted: 0 <= round(x / ln2) + bias + s <=
// 2 bias; at 0 the result is exactly +0. NaN stays NaN.
template <class V, class T>
FIRTH_INLINE V exp_scaled(V x, V magic, T) {
    typedef Format<T> F;
    const V shifted = fma(x, set1(T(1.4426950408889634)), magic);
    const V k = shifted - magic;
    V r = fma(k, set1(-F::ln2_high), x);
    r = fma(k, set1(-F::ln2_low), r);
    return exp_reduced(r) * (V)((typename F::bits)shifted << F::mantissa);
}
FIRTH_INLINE f32xN exp_scaled(f32xN x, f32xN magic) { return exp_scaled(x, magic, 0.0f); }
FIRTH_INLINE f64xN exp_scaled(f64xN x, f64xN magic) { return exp_scaled(x, magic, 0.0); }

// R(z) of log below. Source: FreeBSD msun e_logf.c and e_log.c (Sun Microsystems).
FIRTH_INLINE f32xN log_series(f32xN z) {
    f32xN p = set1(0.24279078841f);
    p = fma(p, z, set1(0.28498786688f));
    p = fma(p, z, set1(0.40000972152f));
    return z * fma(p, z, set1(0.66666662693f));
}

FIRTH_INLINE f64xN log_series(f64xN z) {
    f64xN p = set1(1.479819860511658591e-01);
    p = fma(p, z, set1(1.531383769920937332e-01));
    p = fma(p, z, set1(1.818357216161805012e-01));
    p = fma(p, z, set1(2.222219843214978396e-01));
    p = fma(p, z, set1(2.857142874366239149e-01));
    p = fma(p, z, set1(3.999999999940941908e-01));
    return z * fma(p, z, set1(6.666666666666735130e-01));
}

// Natural logarithm of normal positive numbers, at most 1 ULP; NaN stays NaN. x = 2^k (1 + f) with
// 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)), s = f / (2 + f).
template <class V, class T>
FIRTH_INLINE V log(V x, T) {
    typedef Format<T> F;
    typedef typename F::bits bits;
    const bits one = (bits)set1(T(1)), root = (bits)set1(T(0.70710678118654752));
    const bits exponent = ((bits)x + (one - root)) >> F::mantissa;  // k + bias
    // exponent in the low bits of 2^mantissa is the number 2^mantissa + exponent
    const V power = set1(F::round_magic / T(1.5));
    const V k = (V)((bits)power | exponent) - (power + set1(T(F::bias)));
    const V f = (V)((bits)x - (exponent << F::mantissa) + one) - set1(T(1));
    const V s = f / (f + set1(T(2)));
    const V half_square = set1(T(0.5)) * f * f;
    const V series = fma(s, half_square + log_series(s * s), k * set1(F::ln2_low));
    const V result = fma(k, set1(F::ln2_high), f - (half_square - series));
    return x == x ? result : x;
}
FIRTH_INLINE f32xN log(f32xN x) { return log(x, 0.0f); }
FIRTH_INLINE f64xN log(f64xN x) { return log(x, 0.0); }

}  // namespace firth::FIRTH_LEVEL
