// e^x - 1, tanh and the logistic function of vectors, accurate to some ULP everywhere: near 0,
// where e^x - 1 cancels, they do not compute it as a difference.
#pragma once
#include "../isa.h"

namespace firth::FIRTH_LEVEL {

// (e^r - 1) / r for |r| <= ln2/2: the polynomials of exp_reduced (isa/math.h), before their last
// step.
FIRTH_INLINE f32xN exp_slope(f32xN r) {
    f32xN p = set1(0.0013814320699690491606f);
    p = fma(p, r, set1(0.0083688510676732644966f));
    p = fma(p, r, set1(0.041668401081271447449f));
    p = fma(p, r, set1(0.16666519524078858822f));
    p = fma(p, r, set1(0.49999993373097571791f));
    return fma(p, r, set1(1.0f));
}

FIRTH_INLINE f64xN exp_slope(f64xN r) {
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
    return fma(p, r, set1(1.0));
}

// e^x - 1 for -709 <= x <= 40 (float: from -88): with x = k ln2 + r it is 2^k (e^r - 1) + (2^k -
// 1), whose second part is exact. NaN stays.
template <class V, class T>
FIRTH_INLINE V expm1_between(V x, T) {
    typedef Format<T> F;
    const V magic = set1(F::round_magic + T(F::bias));
    const V shifted = fma(x, set1(T(1.4426950408889634)), magic);
    const V k = shifted - magic;
    V r = fma(k, set1(-F::ln2_high), x);
    r = fma(k, set1(-F::ln2_low), r);
    const V power = (V)((typename F::bits)shifted << F::mantissa);
    return fma(r * exp_slope(r), power, power - set1(T(1)));
}

// e^x - 1 for x <= 0; -1 at -inf.
template <class V, class T>
FIRTH_INLINE V expm1_negative(V x, T) {
    return expm1_between(max(set1(T(sizeof(T) == 4 ? -88 : -709)), x), T());
}

// tanh(x) = t / (t + 2) with t = e^(2 |x|) - 1, and the sign of x; 1 from |x| = 20 on.
template <class V, class T>
FIRTH_INLINE V tanh(V x, T) {
    typedef typename Format<T>::bits bits;
    const bits sign = (bits)set1(T(-0.0));
    const V size = (V)((bits)x & ~sign);
    const V t = expm1_between(min(set1(T(20)), size) * set1(T(2)), T());  // NaN passes min
    return (V)((bits)(t / (t + set1(T(2)))) | ((bits)x & sign));
}

// 1 / (1 + e^-x), by e^-|x| so that nothing overflows; 0 where that would be denormal.
template <class V, class T>
FIRTH_INLINE V sigmoid(V x, T) {
    const V one = set1(T(1)), e = exp_negative(-max(x, -x), T());
    return (x < T(0) ? e : one) / (one + e);
}

// sigmoid(x) (1 - sigmoid(x)) = e / (1 + e)^2 with e = e^-|x|.
template <class V, class T>
FIRTH_INLINE V sigmoid_slope(V x, T) {
    const V e = exp_negative(-max(x, -x), T()), whole = set1(T(1)) + e;
    return e / (whole * whole);
}

}  // namespace firth::FIRTH_LEVEL
