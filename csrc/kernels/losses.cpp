// Losses and their gradients, of rows (softmax) and of elements. What a row or a block of elements
// adds to the loss is summed here in T and leaves as double where it becomes part of a longer sum.
#include "../isa.h"
#include "list_losses.h"

namespace firth::FIRTH_LEVEL {

enum { kSquare, kAbsolute, kHuber };  // of difference_loss; engines/nn/losses.cpp has them too

// The sum of f(i, count) over the vectors of n elements, which begin at i and have count lanes.
// Chains of 32 vectors in each of 4 sums, which are then added in double: the error does not grow
// with n. f must be 0 in lanes from count on.
template <class T, class F>
FIRTH_INLINE double sum_of(size_t n, const F& f) {
    constexpr size_t lanes = kLanes<T>;
    double total = 0;
    for (size_t i = 0; i < n;) {
        const size_t end = n - i > 128 * lanes ? i + 128 * lanes : n;
        vector_of<T> part[4] = {set1(T(0)), set1(T(0)), set1(T(0)), set1(T(0))};
        for (; i + 4 * lanes <= end; i += 4 * lanes)
            for (size_t u = 0; u < 4; u++) part[u] += f(i + u * lanes, lanes);
        for (; i < end; i += lanes) part[0] += f(i, end - i < lanes ? end - i : lanes);
        i = end;
        total += double(sum((part[0] + part[1]) + (part[2] + part[3])));
    }
    return total;
}

// f(i, count) for the vectors of n elements.
template <class T, class F>
FIRTH_INLINE void for_vectors(size_t n, const F& f) {
    constexpr size_t lanes = kLanes<T>;
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) f(i, lanes);
    if (i < n) f(i, n - i);
}

// v in the first count lanes, 0 in others.
template <class T>
FIRTH_INLINE vector_of<T> first_lanes(vector_of<T> v, size_t count, T) {
    if (count == kLanes<T>) return v;
    T lanes[kLanes<T>];
    store(lanes, v);
    return load_partial(lanes, count);
}

template <class T>
FIRTH_INLINE T greatest(const T* x, size_t n) {
    constexpr size_t lanes = kLanes<T>;
    const T low = -T(__builtin_inff());
    vector_of<T> best[4] = {set1(low), set1(low), set1(low), set1(low)};
    size_t i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
        for (size_t u = 0; u < 4; u++) best[u] = max(best[u], load(x + i + u * lanes));
    for (; i + lanes <= n; i += lanes) best[0] = max(best[0], load(x + i));
    if (i < n) best[1] = max(best[1], load_partial(x + i, n - i, low));
    return max_lane(max(max(best[0], best[1]), max(best[2], best[3])));
}

// x: rows x n; sums: rows x 3 of the row's maximum, the sum of e^(x - maximum), and, where
// `smooth`, the sum of weight (x - maximum), else 0; weight: n, or null for ones.
template <class T>
FIRTH_INLINE void softmax_sums(const T* x, const T* weight, bool smooth, T* sums, size_t rows,
                               size_t n) {
    const T low = -T(__builtin_inff());
    for (size_t r = 0; r < rows; r++, x += n, sums += 3) {
        const T top = greatest(x, n);
        const vector_of<T> base = set1(top);
        sums[0] = top;
        sums[1] = T(sum_of<T>(n, [&](size_t i, size_t count) {
            return exp_negative(
                (count == kLanes<T> ? load(x + i) : load_partial(x + i, count, low)) - base, T());
        }));
        sums[2] = !smooth ? T(0) : T(sum_of<T>(n, [&](size_t i, size_t count) {
            const vector_of<T> rest = load_up_to(x + i, count) - base;
            return first_lanes(weight ? rest * load_up_to(weight + i, count) : rest, count, T());
        }));
    }
}

// dx = or += e^(x - top) factor - smooth weight; weight: n, or null for ones; dx may be x.
template <class T>
FIRTH_INLINE void softmax_gradient(const T* x, T top, T factor, const T* weight, T smooth, T* dx,
                                   size_t n, bool add) {
    const vector_of<T> base = set1(top), times = set1(factor), less = set1(smooth);
    for_vectors<T>(n, [&](size_t i, size_t count) {
        vector_of<T> z = exp_negative(load_up_to(x + i, count) - base, T()) * times;
        z -= weight ? less * load_up_to(weight + i, count) : less;
        if (add) z += load_up_to(dx + i, count);
        store_up_to(dx + i, z, count);
    });
}

// f(d): d^2, |d|, or d^2 / 2 up to |d| = delta and delta (|d| - delta / 2) beyond.
template <class T>
FIRTH_INLINE vector_of<T> difference(vector_of<T> d, int kind, vector_of<T> delta, T) {
    if (kind == kSquare) return d * d;
    const vector_of<T> size = max(-d, d);
    if (kind == kAbsolute) return size;
    const vector_of<T> half = set1(T(0.5));
    return size > delta ? delta * (size - half * delta) : half * d * d;
}

// f'(d), 0 at 0.
template <class T>
FIRTH_INLINE vector_of<T> slope(vector_of<T> d, int kind, vector_of<T> delta, T) {
    const vector_of<T> zero = set1(T(0)), one = set1(T(1));
    if (kind == kSquare) return d + d;
    if (kind == kAbsolute) return d > zero ? one : d < zero ? -one : d;
    return max(-delta, min(delta, d));
}

// The sum of f(x - y) over n elements; f(x - y) itself to out unless null.
template <class T>
FIRTH_INLINE double difference_loss(const T* x, const T* y, T* out, size_t n, int kind, T delta) {
    const vector_of<T> limit = set1(delta);
    return sum_of<T>(n, [&](size_t i, size_t count) {
        const vector_of<T> z =
            difference(load_up_to(x + i, count) - load_up_to(y + i, count), kind, limit, T());
        if (out) store_up_to(out + i, z, count);
        return z;  // f(0) is 0
    });
}

// dx = or += factor dy f'(x - y); dy: n, or null for ones.
template <class T>
FIRTH_INLINE void difference_loss_backward(const T* x, const T* y, const T* dy, T factor, T* dx,
                                           size_t n, int kind, T delta, bool add) {
    const vector_of<T> limit = set1(delta), times = set1(factor);
    for_vectors<T>(n, [&](size_t i, size_t count) {
        vector_of<T> z =
            slope(load_up_to(x + i, count) - load_up_to(y + i, count), kind, limit, T()) * times;
        if (dy) z *= load_up_to(dy + i, count);
        if (add) z += load_up_to(dx + i, count);
        store_up_to(dx + i, z, count);
    });
}

// log(1 + e) = 2 artanh(s), s = e / (2 + e), for 0 <= e <= 1, within 2 ULP: Taylor's series, whose
// first term left out is below 2e-8 of the result for float, 2e-17 for double.
template <class T>
FIRTH_INLINE vector_of<T> log_one_and(vector_of<T> e, T) {
    constexpr int terms = sizeof(T) == 4 ? 7 : 16;
    const vector_of<T> s = e / (set1(T(2)) + e), square = s * s;
    vector_of<T> p = set1(T(2) / T(2 * terms + 1));
#pragma GCC unroll 16
    for (int k = terms - 1; k > 0; k--) p = fma(p, square, set1(T(2) / T(2 * k + 1)));
    return fma(s * square, p, s + s);
}

// The sum over n elements of weight ((1 - y) log(1 + e^x) + positive y log(1 + e^-x)), itself to
// out unless null; weight, positive: n, or null for ones.
template <class T>
FIRTH_INLINE double logistic_loss(const T* x, const T* y, const T* weight, const T* positive,
                                  T* out, size_t n) {
    const vector_of<T> zero = set1(T(0)), one = set1(T(1));
    return sum_of<T>(n, [&](size_t i, size_t count) {
        const vector_of<T> v = load_up_to(x + i, count), t = load_up_to(y + i, count);
        const vector_of<T> common = log_one_and(exp_negative(-max(-v, v), T()), T());
        const vector_of<T> p = positive ? t * load_up_to(positive + i, count) : t;
        // log(1 + e^x) = max(x, 0) + log(1 + e^-|x|); (one - t) max(v, 0) keeps NaN of v by common.
        vector_of<T> z = (one - t) * (max(zero, v) + common) + p * (max(zero, -v) + common);
        if (weight) z *= load_up_to(weight + i, count);
        if (out) store_up_to(out + i, z, count);
        return first_lanes(z, count, T());
    });
}

// dx = or += factor dy weight ((1 - y) s(x) - positive y s(-x)), s(x) = 1 / (1 + e^-x).
template <class T>
FIRTH_INLINE void logistic_loss_backward(const T* x, const T* y, const T* weight, const T* positive,
                                         const T* dy, T factor, T* dx, size_t n, bool add) {
    const vector_of<T> one = set1(T(1)), times = set1(factor);
    for_vectors<T>(n, [&](size_t i, size_t count) {
        const vector_of<T> v = load_up_to(x + i, count), t = load_up_to(y + i, count);
        const vector_of<T> e = exp_negative(-max(-v, v), T()), part = times / (one + e);
        const vector_of<T> right = v < T(0) ? e * part : part, left = v < T(0) ? part : e * part;
        const vector_of<T> p = positive ? t * load_up_to(positive + i, count) : t;
        vector_of<T> z = (one - t) * right - p * left;
        if (weight) z *= load_up_to(weight + i, count);
        if (dy) z *= load_up_to(dy + i, count);
        if (add) z += load_up_to(dx + i, count);
        store_up_to(dx + i, z, count);
    });
}

// out = or += factor x; out may be x.
template <class T>
FIRTH_INLINE void scale(const T* x, T factor, T* out, size_t n, bool add) {
    const vector_of<T> times = set1(factor);
    for_vectors<T>(n, [&](size_t i, size_t count) {
        const vector_of<T> v = load_up_to(x + i, count);
        store_up_to(out + i, add ? fma(times, v, load_up_to(out + i, count)) : times * v, count);
    });
}

#define FIRTH_LOSSES(T, type) \
    void softmax_sums_##type(const T* x, const T* weight, bool smooth, T* sums, size_t rows, \
                             size_t n) { \
        softmax_sums(x, weight, smooth, sums, rows, n); \
    } \
    void softmax_gradient_##type(const T* x, T top, T factor, const T* weight, T smooth, T* dx, \
                                 size_t n, bool add) { \
        softmax_gradient(x, top, factor, weight, smooth, dx, n, add); \
    } \
    double difference_loss_##type(const T* x, const T* y, T* out, size_t n, int kind, T delta) { \
        return difference_loss(x, y, out, n, kind, delta); \
    } \
    void difference_loss_backward_##type(const T* x, const T* y, const T* dy, T factor, T* dx, \
                                         size_t n, int kind, T delta, bool add) { \
        difference_loss_backward(x, y, dy, factor, dx, n, kind, delta, add); \
    } \
    double logistic_loss_##type(const T* x, const T* y, const T* weight, const T* positive, \
                                T* out, size_t n) { \
        return logistic_loss(x, y, weight, positive, out, n); \
    } \
    void logistic_loss_backward_##type(const T* x, const T* y, const T* weight, const T* positive, \
                                       const T* dy, T factor, T* dx, size_t n, bool add) { \
        logistic_loss_backward(x, y, weight, positive, dy, factor, dx, n, add); \
    } \
    void scale_##type(const T* x, T factor, T* out, size_t n, bool add) { \
        scale(x, factor, out, n, add); \
    }
FIRTH_LOSSES(float, f32)
FIRTH_LOSSES(double, f64)

}  // namespace firth::FIRTH_LEVEL
