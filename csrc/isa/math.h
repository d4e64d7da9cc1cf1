// exp, log and activations of vectors of float and double. No intrinsics, no tables. ULP figures
// are maxima over the tested range, on levels with fma (SSE2 has none: add half a unit).
#pragma once

namespace firth::FIRTH_LEVEL {

// Constants of the formats. round_magic: 1.5 * 2^mantissa; a sum with it has no bits below the
// point, so adding it rounds to an integer, whose two's complement is then in the low bits.
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

// e^x for x <= 0, about 1 ULP; 0 below -87.7 (double: -708.7), NaN stays.
template <class V, class T>
FIRTH_INLINE V exp_negative(V x, T) {
    typedef Format<T> F;
    const V low = set1(T(sizeof(T) == 4 ? -88 : -709));
    return exp_scaled(max(low, x), set1(F::round_magic + T(F::bias)));
}

// e^(a a / 2) P(X > a) (a + c) for a standard normal X, as a polynomial in t = (a - c) / (a + c);
// interpolated at Chebyshev's nodes in 60-digit arithmetic. c = 4 for float, to a = 14: relative
// error 1.2e-8; c = 5 for double, to a = 39: 1.2e-17.
FIRTH_INLINE f32xN tail_series(f32xN t) {
    f32xN p = set1(-0.00012018440110144361403f);
    p = fma(p, t, set1(0.00020126173028404673561f));
    p = fma(p, t, set1(0.0015723178794425629206f));
    p = fma(p, t, set1(-0.0035261837003900367139f));
    p = fma(p, t, set1(-0.0075292507030986269399f));
    p = fma(p, t, set1(0.060406688729805270654f));
    p = fma(p, t, set1(-0.18652268490998792352f));
    p = fma(p, t, set1(0.38713668408577257074f));
    p = fma(p, t, set1(-0.60789661828226910277f));
    return fma(p, t, set1(0.75528513832277221799f));
}

FIRTH_INLINE f64xN tail_series(f64xN t) {
    f64xN p = set1(-1.5877468827473365378e-10);
    p = fma(p, t, set1(1.7530484014082319805e-9));
    p = fma(p, t, set1(7.6630718007600410458e-9));
    p = fma(p, t, set1(-9.3135609943260591435e-9));
    p = fma(p, t, set1(-6.5942216624772230429e-8));
    p = fma(p, t, set1(4.2274993740065348384e-8));
    p = fma(p, t, set1(4.3314103568625849535e-7));
    p = fma(p, t, set1(-3.3661536810124711722e-7));
    p = fma(p, t, set1(-2.7692670959974302454e-6));
    p = fma(p, t, set1(3.9809021578680411194e-6));
    p = fma(p, t, set1(0.000016681213742042061453));
    p = fma(p, t, set1(-0.00004976281427058580517));
    p = fma(p, t, set1(-0.000059375728009915863678));
    p = fma(p, t, set1(0.00054489906477312989385));
    p = fma(p, t, set1(-0.00079786939846607010544));
    p = fma(p, t, set1(-0.0029933767705085424387));
    p = fma(p, t, set1(0.020795066799883179639));
    p = fma(p, t, set1(-0.069118638706310163575));
    p = fma(p, t, set1(0.16502036617038471792));
    p = fma(p, t, set1(-0.3135331566713045447));
    p = fma(p, t, set1(0.49530561596997641327));
    p = fma(p, t, set1(-0.66538250289005670039));
    return fma(p, t, set1(0.76919304975006295856));
}

// P(X > a) = erfc(a / sqrt(2)) / 2 for a standard normal X and a >= 0: ULPS; 0 where the result
// would be denormal, NaN stays.
template <class V, class T>
FIRTH_INLINE V normal_tail(V a, T) {
    const T centre = sizeof(T) == 4 ? 4 : 5;
    a = min(set1(T(sizeof(T) == 4 ? 14 : 39)), a);  // NaN passes
    const V inverse = set1(T(1)) / (a + set1(centre));
    const V series = tail_series((a - set1(centre)) * inverse) * inverse;
    // e^(-square / 2), with what the rounding of the square has lost (nothing on SSE2)
    const V square = a * a, lost = fma(a, a, -square);
    const V e = exp_negative(square * set1(T(-0.5)), T());
    return series * fma(e * lost, set1(T(-0.5)), e);
}

// z sigmoid(x) = z / (1 + e^-x), with e^-|x| so that nothing overflows. Far left it is 0 (times
// the sign of z), for z = -inf too. x has the sign of z.
template <class V, class T>
FIRTH_INLINE V times_sigmoid(V z, V x, T) {
    const V e = exp_negative(-max(x, -x), T());
    const V numerator = z < T(0) ? max(set1(T(-1000)), z) * e : z;
    return numerator / (set1(T(1)) + e);
}

// z Phi(z) to 4e-5 absolute: Phi(c) - 1/2 = c p(c c), c = z cut to [-4.4, 4.4], where c p is 1/2
// exactly; of these p the one of least error |z (c p + 1/2 - Phi)|, found by linear programming.
FIRTH_INLINE f32xN gelu_near(f32xN z) {
    const f32xN edge = set1(4.4f), right = max(-edge, z), c = min(edge, right), u = c * c;
    f32xN p = set1(3.56921367e-11f);
    p = fma(p, u, set1(-3.75388165e-09f));
    p = fma(p, u, set1(1.74079588e-07f));
    p = fma(p, u, set1(-4.72479087e-06f));
    p = fma(p, u, set1(8.42924783e-05f));
    p = fma(p, u, set1(-0.00105499185f));
    p = fma(p, u, set1(0.00964303967f));
    p = fma(p, u, set1(-0.0660764799f));
    p = fma(p, u, set1(0.39876166f));
    return right * fma(c, p, set1(0.5f));
}

// relu: max(z, 0). silu: z sigmoid(z). gelu: z Phi(z), Phi the normal distribution (Hendrycks and
// Gimpel, arXiv:1606.08415); gelu_tanh: their approximation z/2 (1 + tanh(u)) = z sigmoid(2 u),
// u = sqrt(2/pi) (z + 0.044715 z^3). NaN stays; +inf stays; -inf gives 0.
template <class V, class T>
FIRTH_INLINE V activate(V z, int activation, T) {
    const V zero = set1(T(0));
    switch (activation) {
        case kRelu:
            return zero > z ? zero : z;
        case kSilu:
            return times_sigmoid(z, z, T());
        case kGelu: {
            const V far = set1(T(100)), tail = normal_tail(max(z, -z), T());
            // NaN fails every comparison and passes through the last one.
            return z < zero ? max(-far, z) * tail : z > far ? z : fma(-z, tail, z);
        }
        case kGeluNear:
            if constexpr (sizeof(T) == 4) return gelu_near(z);
            return activate(z, kGelu, T());
        case kGeluTanh: {
            const V square = z * z, twice = set1(T(1.5957691216057308)) * z;
            return times_sigmoid(z, fma(twice * set1(T(0.044715)), square, twice), T());
        }
        default:
            return z;
    }
}

}  // namespace firth::FIRTH_LEVEL
