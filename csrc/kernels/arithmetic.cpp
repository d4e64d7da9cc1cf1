// Arithmetic of elements and sums of them.
#include "elements.h"
#include "list_activation.h"

namespace firth::FIRTH_LEVEL {

// The sum of x (n): in blocks, whose sums are added in double.
template <class T>
FIRTH_INLINE double total(const T* x, size_t n) {
    constexpr size_t lanes = kLanes<T>, block = 4096;
    double result = 0;
    for (size_t start = 0; start < n; start += block) {
        const size_t end = n - start < block ? n : start + block;
        vector_of<T> sums[4] = {set1(T(0)), set1(T(0)), set1(T(0)), set1(T(0))};
        size_t i = start;
        for (; i + 4 * lanes <= end; i += 4 * lanes)
            for (size_t u = 0; u < 4; u++) sums[u] += load(x + i + u * lanes);
        for (; i + lanes <= end; i += lanes) sums[0] += load(x + i);
        if (i < end) sums[1] += load_partial(x + i, end - i);
        result += double(sum((sums[0] + sums[1]) + (sums[2] + sums[3])));
    }
    return result;
}

// e^x everywhere: half of the exponent's range is put aside, so that results beyond it and denormal
// ones are rounded once, by the last multiplication.
template <class V, class T>
FIRTH_INLINE V exp_anywhere(V x, T) {
    typedef Format<T> F;
    constexpr bool single = sizeof(T) == 4;
    constexpr int aside = single ? 64 : 512;
    const T up = single ? T(0x1p64f) : T(0x1p512), down = single ? T(0x1p-64f) : T(0x1p-512);
    const V cut = min(set1(T(single ? 89 : 710)), max(set1(T(single ? -104 : -746)), x));
    const V middle = set1(F::round_magic + T(F::bias));
    const V result = exp_scaled(cut, x > T(0) ? middle - set1(T(aside)) : middle + set1(T(aside)));
    return result * (x > T(0) ? set1(up) : set1(down));
}

// log everywhere: -inf at 0, NaN below.
template <class V, class T>
FIRTH_INLINE V log_anywhere(V x, T) {
    constexpr bool single = sizeof(T) == 4;
    const T least = single ? T(0x1p-126f) : T(0x1p-1022), up = single ? T(0x1p24f) : T(0x1p53);
    const T infinity = T(__builtin_inff());
    const V shift = x < least ? set1(T(single ? 24 : 53) * T(0.69314718055994531)) : set1(T(0));
    const V usual = log(x < least ? x * up : x) - shift;
    return x == T(0)      ? set1(-infinity)
           : x < T(0)     ? set1(T(__builtin_nanf("")))
           : x < infinity ? usual
                          : x;  // inf and NaN
}

// x, out: n; out may be x.
template <class T>
FIRTH_INLINE void map_all(int function, const T* x, T* out, size_t n, double first, double second) {
    typedef vector_of<T> V;
    const V a = set1(T(first)), b = set1(T(second));
    switch (function) {
        case kScale:
            return each(x, out, n, [&](V z) { return z * a; });
        case kShift:
            return each(x, out, n, [&](V z) { return z + a; });
        case kQuotient:
            return each(x, out, n, [&](V z) { return z / a; });
        case kReciprocal:
            return each(x, out, n, [&](V z) { return a / z; });
        case kExp:
            return each(x, out, n, [&](V z) { return exp_anywhere(z, T()); });
        case kLog:
            return each(x, out, n, [&](V z) { return log_anywhere(z, T()); });
        case kSqrt:
            return each(x, out, n, [&](V z) { return sqrt(z); });
        case kSquare:
            return each(x, out, n, [&](V z) { return z * z; });
        case kAbs:
            return each(x, out, n, [&](V z) {
                typedef typename Format<T>::bits bits;
                return (V)((bits)z & ~(bits)set1(T(-0.0)));
            });
        case kClamp:  // NaN passes
            return each(x, out, n, [&](V z) { return min(b, max(a, z)); });
        default:
            return;
    }
}

// dx = or += dy f'(x), of x or of y = f(x); dx may be dy.
template <class T>
FIRTH_INLINE void map_backward(int function, const T* dy, const T* x, const T* y, T* dx, size_t n,
                               double first, double second, bool add) {
    typedef vector_of<T> V;
    const V a = set1(T(first)), b = set1(T(second)), zero = set1(T(0));
    switch (function) {
        case kScale:
            return each_of_two(dy, dy, dx, n, add, [&](V d, V) { return d * a; });
        case kShift:
            return each_of_two(dy, dy, dx, n, add, [&](V d, V) { return d; });
        case kQuotient:
            return each_of_two(dy, dy, dx, n, add, [&](V d, V) { return d / a; });
        case kReciprocal:
            return each_of_two(dy, x, dx, n, add, [&](V d, V z) { return -(a / z) * d / z; });
        case kExp:
            return each_of_two(dy, y, dx, n, add, [&](V d, V v) { return d * v; });
        case kLog:
            return each_of_two(dy, x, dx, n, add, [&](V d, V z) { return d / z; });
        case kSqrt:
            return each_of_two(dy, y, dx, n, add, [&](V d, V v) { return set1(T(0.5)) * d / v; });
        case kSquare:
            return each_of_two(dy, x, dx, n, add, [&](V d, V z) { return d * (z + z); });
        case kAbs:
            return each_of_two(dy, x, dx, n, add, [&](V d, V z) {
                return z > zero ? d : z < zero ? -d : d * z;
            });
        case kClamp:
            return each_of_two(dy, x, dx, n, add, [&](V d, V z) {
                const V below = z <= b ? d : zero;
                return z >= a ? below : zero;
            });
        default:
            return;
    }
}

template <class T, class F>
FIRTH_INLINE void combine_rows(const T* a, ptrdiff_t a_stride, const T* b, ptrdiff_t b_stride,
                               T* out, ptrdiff_t out_stride, size_t rows, size_t n, bool add,
                               const F& f) {
    for (size_t r = 0; r < rows; r++)
        each_of_two(a + (ptrdiff_t)r * a_stride, b + (ptrdiff_t)r * b_stride,
                    out + (ptrdiff_t)r * out_stride, n, add, f);
}

// out = or += f(a, b): rows x n each; a stride of 0 repeats a row. out may be a or b.
template <class T>
FIRTH_INLINE void combine(int function, const T* a, ptrdiff_t as, const T* b, ptrdiff_t bs, T* out,
                          ptrdiff_t os, size_t rows, size_t n, bool add) {
    typedef vector_of<T> V;
    const auto with = [&](const auto& f) { combine_rows(a, as, b, bs, out, os, rows, n, add, f); };
    switch (function) {
        case kAdd:
            return with([](V x, V y) { return x + y; });
        case kSub:
            return with([](V x, V y) { return x - y; });
        case kMul:
            return with([](V x, V y) { return x * y; });
        case kDiv:
            return with([](V x, V y) { return x / y; });
        case kFirst:
            return with([](V x, V) { return x; });
        case kNegative:
            return with([](V x, V) { return -x; });
        case kNegativeDiv:
            return with([](V x, V y) { return -(x / y); });
        default:
            return;
    }
}

#define FIRTH_ARITHMETIC_OF(T, type) \
    double total_##type(const T* x, size_t n) { return total(x, n); } \
    void map_##type(int function, const T* x, T* out, size_t n, double a, double b) { \
        map_all(function, x, out, n, a, b); \
    } \
    void map_backward_##type(int function, const T* dy, const T* x, const T* y, T* dx, size_t n, \
                             double a, double b, bool add) { \
        map_backward(function, dy, x, y, dx, n, a, b, add); \
    } \
    void combine_##type(int function, const T* a, ptrdiff_t a_stride, const T* b, \
                        ptrdiff_t b_stride, T* out, ptrdiff_t out_stride, size_t rows, size_t n, \
                        bool add) { \
        combine(function, a, a_stride, b, b_stride, out, out_stride, rows, n, add); \
    }
FIRTH_ARITHMETIC_OF(float, f32)
FIRTH_ARITHMETIC_OF(double, f64)

}  // namespace firth::FIRTH_LEVEL
