// layer_norm and rms_norm for training: forward keeps each row's mean and factor, backward takes
// one pass over the rows. With h = (x - mean) factor, a = dy gain and averages over the row,
//   dx = factor (a - average(a) - h average(a h))     dgain = sum of dy h     dbias = sum of dy
// rms_norm has neither mean nor average(a).
#include "../isa.h"
#include "list_norm_backward.h"

namespace firth::FIRTH_LEVEL {

// f(i, count) for the vectors of a row of n, in four lots in turn: f gets the lot's number first.
template <class T, class F>
FIRTH_INLINE void for_lots(size_t n, const F& f) {
    constexpr size_t lanes = kLanes<T>;
    size_t i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes)
        for (size_t u = 0; u < 4; u++) f(u, i + u * lanes, lanes);
    for (; i + lanes <= n; i += lanes) f(0, i, lanes);
    if (i < n) f(1, i, n - i);
}

template <class T>
FIRTH_INLINE T sum_lots(const vector_of<T>* lots, T) {
    return sum((lots[0] + lots[1]) + (lots[2] + lots[3]));
}

// x, out: rows x n; means (null for rms_norm), factors: rows; gain, bias: n, or null.
template <class T>
FIRTH_INLINE void norm_forward(const T* x, const T* gain, const T* bias, T eps, T* out, T* means,
                               T* factors, size_t rows, size_t n) {
    typedef vector_of<T> V;
    constexpr size_t lanes = kLanes<T>;
    const V zero = set1(T(0));
    for (size_t r = 0; r < rows; r++, x += n, out += n) {
        T mean = 0;
        if (means) {
            V sums[4] = {zero, zero, zero, zero};
            for_lots<T>(
                n, [&](size_t u, size_t i, size_t count) { sums[u] += load_up_to(x + i, count); });
            means[r] = mean = sum_lots(sums, T()) / T(n);
        }
        const V middle = set1(mean);
        V squares[4] = {zero, zero, zero, zero};
        for_lots<T>(n, [&](size_t u, size_t i, size_t count) {
            const V v = (count == lanes ? load(x + i) : load_partial(x + i, count, mean)) - middle;
            squares[u] = fma(v, v, squares[u]);
        });
        const V factor = set1(T(1)) / sqrt(set1(sum_lots(squares, T()) / T(n) + eps));
        factors[r] = factor[0];
        for_lots<T>(n, [&](size_t, size_t i, size_t count) {
            V z = (load_up_to(x + i, count) - middle) * factor;
            if (gain) z *= load_up_to(gain + i, count);
            if (bias) z += load_up_to(bias + i, count);
            store_up_to(out + i, z, count);
        });
    }
}

// x, dy, dx: rows x n. dx is written, or added to with `add`; dgain, dbias: n, added to; each of
// the three may be null. dx may be dy. means: null for rms_norm; gain: n, or null for ones.
template <class T>
FIRTH_INLINE void norm_backward(const T* x, const T* dy, const T* gain, const T* means,
                                const T* factors, T* dx, T* dgain, T* dbias, size_t rows, size_t n,
                                bool add) {
    typedef vector_of<T> V;
    const V zero = set1(T(0));
    for (size_t r = 0; r < rows; r++, x += n, dy += n) {
        const V middle = set1(means ? means[r] : T(0)), factor = set1(factors[r]);
        V plain[4] = {zero, zero, zero, zero}, along[4] = {zero, zero, zero, zero};
        for_lots<T>(n, [&](size_t u, size_t i, size_t count) {
            const V d = load_up_to(dy + i, count);
            const V h = (load_up_to(x + i, count) - middle) * factor;
            if (dgain) store_up_to(dgain + i, fma(d, h, load_up_to(dgain + i, count)), count);
            if (dbias) store_up_to(dbias + i, d + load_up_to(dbias + i, count), count);
            const V a = gain ? d * load_up_to(gain + i, count) : d;  // 0 in lanes from count on
            plain[u] += a;
            along[u] = fma(a, h, along[u]);
        });
        if (!dx) continue;
        const V less = set1(means ? sum_lots(plain, T()) / T(n) : T(0));
        const V much = set1(sum_lots(along, T()) / T(n));
        for_lots<T>(n, [&](size_t, size_t i, size_t count) {
            const V d = load_up_to(dy + i, count);
            const V h = (load_up_to(x + i, count) - middle) * factor;
            const V a = gain ? d * load_up_to(gain + i, count) : d;
            const V z = factor * fma(-h, much, a - less);
            store_up_to(dx + i, add ? z + load_up_to(dx + i, count) : z, count);
        });
        dx += n;
    }
}

#define FIRTH_NORMS_BACKWARD(T, type) \
    void norm_forward_##type(const T* x, const T* gain, const T* bias, T eps, T* out, T* means, \
                             T* factors, size_t rows, size_t n) { \
        norm_forward(x, gain, bias, eps, out, means, factors, rows, n); \
    } \
    void norm_backward_##type(const T* x, const T* dy, const T* gain, const T* means, \
                              const T* factors, T* dx, T* dgain, T* dbias, size_t rows, size_t n, \
                              bool add) { \
        norm_backward(x, dy, gain, means, factors, dx, dgain, dbias, rows, n, add); \
    }
FIRTH_NORMS_BACKWARD(float, f32)
FIRTH_NORMS_BACKWARD(double, f64)

}  // namespace firth::FIRTH_LEVEL
