// Steps of optimizers: one pass over a range of a parameter, its gradient and its states. Rounded
// where PyTorch's loops over one tensor round.
#include "../isa.h"
#include "list_updates.h"

namespace firth::FIRTH_LEVEL {

// body(i, count) for vectors at i of n elements, the last of which may be partial.
template <class T, class Body>
FIRTH_INLINE void for_vectors(size_t n, const Body& body) {
    constexpr size_t lanes = kLanes<T>;
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) body(i, lanes);
    if (i < n) body(i, n - i);
}

// The gradient that the step uses: scaled, with decay towards 0.
template <class T>
FIRTH_INLINE vector_of<T> gradient(vector_of<T> p, const T* g, size_t count, double factor,
                                   double decay) {
    return fma(set1(T(decay)), p, load_up_to(g, count) * set1(T(factor)));
}

// a + weight (b - a), from the end that is nearer.
template <class T>
FIRTH_INLINE vector_of<T> between(vector_of<T> a, vector_of<T> b, double weight, T) {
    return weight < 0.5 ? fma(set1(T(weight)), b - a, a) : fma(set1(T(weight - 1)), b - a, b);
}

// buffer is null where there is no momentum.
template <class T>
FIRTH_INLINE void sgd_all(T* p, const T* g, T* buffer, size_t n, const SgdStep& s) {
    for_vectors<T>(n, [&](size_t i, size_t count) {
        const vector_of<T> old = load_up_to(p + i, count);
        vector_of<T> d = gradient<T>(old, g + i, count, s.factor, s.weight_decay);
        if (buffer) {
            vector_of<T> b = load_up_to(buffer + i, count) * set1(T(s.momentum));
            b = fma(set1(T(s.share)), d, b);
            store_up_to(buffer + i, b, count);
            d = s.nesterov ? fma(set1(T(s.momentum)), b, d) : b;
        }
        store_up_to(p + i, fma(set1(T(-s.lr)), d, old), count);
    });
}

template <class T>
FIRTH_INLINE void adam_all(T* p, const T* g, T* m, T* v, size_t n, const AdamStep& s) {
    const auto root = divisor(set1(T(s.root)), T());
    for_vectors<T>(n, [&](size_t i, size_t count) {
        const vector_of<T> old = load_up_to(p + i, count);
        const vector_of<T> d = gradient<T>(old, g + i, count, s.factor, s.weight_decay);
        const vector_of<T> mean = between(load_up_to(m + i, count), d, 1 - s.beta1, T());
        const vector_of<T> square =
            load_up_to(v + i, count) * set1(T(s.beta2)) + set1(T(1 - s.beta2)) * d * d;
        store_up_to(m + i, mean, count);
        store_up_to(v + i, square, count);
        const vector_of<T> size = divide(sqrt(square), root) + set1(T(s.eps));
        store_up_to(p + i, old * set1(T(s.keep)) + set1(T(-s.rate)) * mean / size, count);
    });
}

template <class T>
FIRTH_INLINE void adagrad_all(T* p, const T* g, T* sums, size_t n, const AdagradStep& s) {
    for_vectors<T>(n, [&](size_t i, size_t count) {
        const vector_of<T> old = load_up_to(p + i, count);
        const vector_of<T> d = gradient<T>(old, g + i, count, s.factor, s.weight_decay);
        const vector_of<T> sum = load_up_to(sums + i, count) + d * d;
        store_up_to(sums + i, sum, count);
        store_up_to(p + i, old + set1(T(-s.rate)) * d / (sqrt(sum) + set1(T(s.eps))), count);
    });
}

// means is null where the step is not centered, buffer where there is no momentum.
template <class T>
FIRTH_INLINE void rmsprop_all(T* p, const T* g, T* squares, T* means, T* buffer, size_t n,
                              const RmspropStep& s) {
    for_vectors<T>(n, [&](size_t i, size_t count) {
        const vector_of<T> old = load_up_to(p + i, count);
        const vector_of<T> d = gradient<T>(old, g + i, count, s.factor, s.weight_decay);
        vector_of<T> square =
            load_up_to(squares + i, count) * set1(T(s.alpha)) + set1(T(1 - s.alpha)) * d * d;
        store_up_to(squares + i, square, count);
        if (means) {
            const vector_of<T> mean = between(load_up_to(means + i, count), d, 1 - s.alpha, T());
            store_up_to(means + i, mean, count);
            square -= mean * mean;
        }
        const vector_of<T> size = sqrt(square) + set1(T(s.eps));
        if (buffer) {
            const vector_of<T> b = load_up_to(buffer + i, count) * set1(T(s.momentum)) + d / size;
            store_up_to(buffer + i, b, count);
            store_up_to(p + i, fma(set1(T(-s.lr)), b, old), count);
        } else {
            store_up_to(p + i, old + set1(T(-s.lr)) * d / size, count);
        }
    });
}

FIRTH_INLINE f64xN widened(const float* x) { return load_f64(x); }
FIRTH_INLINE f64xN widened(const double* x) { return load(x); }
FIRTH_INLINE f64xN widened(const float* x, size_t n) { return load_f64_partial(x, n); }
FIRTH_INLINE f64xN widened(const double* x, size_t n) { return load_partial(x, n); }

template <class T>
FIRTH_INLINE double squares_of(const T* x, size_t n) {
    constexpr size_t lanes = kLanesF64, V = 4;
    f64xN sums[V];
    for (size_t v = 0; v < V; v++) sums[v] = set1(0.0);
    size_t i = 0;
    for (; i + V * lanes <= n; i += V * lanes)
        for (size_t v = 0; v < V; v++) {
            const f64xN one = widened(x + i + v * lanes);
            sums[v] = fma(one, one, sums[v]);
        }
    for (; i < n; i += lanes) {
        const f64xN one = n - i < lanes ? widened(x + i, n - i) : widened(x + i);
        sums[0] = fma(one, one, sums[0]);
    }
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

#define FIRTH_UPDATES_OF(T, type) \
    void sgd_step_##type(T* p, const T* g, T* buffer, size_t n, const SgdStep& step) { \
        sgd_all(p, g, buffer, n, step); \
    } \
    void adam_step_##type(T* p, const T* g, T* m, T* v, size_t n, const AdamStep& step) { \
        adam_all(p, g, m, v, n, step); \
    } \
    void adagrad_step_##type(T* p, const T* g, T* sums, size_t n, const AdagradStep& step) { \
        adagrad_all(p, g, sums, n, step); \
    } \
    void rmsprop_step_##type(T* p, const T* g, T* squares, T* means, T* buffer, size_t n, \
                             const RmspropStep& step) { \
        rmsprop_all(p, g, squares, means, buffer, n, step); \
    } \
    double sum_of_squares_##type(const T* x, size_t n) { return squares_of(x, n); }
FIRTH_UPDATES_OF(float, f32)
FIRTH_UPDATES_OF(double, f64)

}  // namespace firth::FIRTH_LEVEL
