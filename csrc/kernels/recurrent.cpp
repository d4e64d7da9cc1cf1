// Gates of recurrent networks, from sums to states, and their gradients. The products around them
// are engines/nn/recurrent.cpp's; python/firth/nn/operations/recurrent.py has the equations and
// derives the gradients.
#include "hyperbolic.h"
#include "list_recurrent.h"

namespace firth::FIRTH_LEVEL {

namespace {

template <class T>
FIRTH_INLINE vector_of<T> load_or_0(const T* p, size_t at, size_t count) {
    return p ? load_up_to(p + at, count) : set1(T(0));
}

template <class T>
FIRTH_INLINE void copy(const T* from, T* to, size_t n) {
    memcpy(to, from, n * sizeof(T));
}
template <class T>
FIRTH_INLINE void zero(T* to, size_t n) {
    memset(to, 0, n * sizeof(T));
}

// The arrays of one sequence at one step.
template <class T, size_t G>
struct Row {
    bool over;
    T *gates, *h, *c, *h_before, *c_before, *inner, *y, *dgates, *dhidden, *dh, *dc;
    const T *hidden, *dy;

    FIRTH_INLINE Row of(const RecurrentStep<T>& s, size_t r) {
        const size_t near = r * s.n, far = r * s.apart * s.n, y = r * s.apart * s.y_width;
        const auto move = [](auto* p, size_t by) { return p ? p + by : p; };
        return {s.lengths && s.lengths[r] <= s.t,
                move(s.gates, G * far),
                move(s.h, near),
                move(s.c, near),
                move(s.h_before, far),
                move(s.c_before, far),
                move(s.inner, far),
                move(s.y, y),
                move(s.dgates, G * far),
                move(s.dhidden, G * far),
                move(s.dh, near),
                move(s.dc, near),
                move(s.hidden, G * near),
                move(s.dy, y)};
    }
};

// is_over(row) for each sequence that is over; for others body(row, j, count) for each vector of
// states.
template <class T, size_t G, class Over, class Body>
FIRTH_INLINE void for_states(const RecurrentStep<T>& s, const Over& is_over, const Body& body) {
    constexpr size_t lanes = kLanes<T>;
    for (size_t r = 0; r < s.rows; r++) {
        const Row<T, G> row = Row<T, G>::of(s, r);
        if (row.over) {
            is_over(row);
            continue;
        }
        for (size_t j = 0; j < s.n; j += lanes) body(row, j, s.n - j < lanes ? s.n - j : lanes);
    }
}

template <class T>
FIRTH_INLINE void lstm_forward(const RecurrentStep<T>& s) {
    typedef vector_of<T> V;
    const size_t n = s.n;
    for_states<T, 4>(
        s,
        [&](const Row<T, 4>& row) {
            copy(row.h, row.h_before, n);
            copy(row.c, row.c_before, n);
            zero(row.y, n);
        },
        [&](const Row<T, 4>& row, size_t j, size_t count) {
            T* gates = row.gates + j;
            const V h = load_up_to(row.h + j, count), c = load_up_to(row.c + j, count);
            const V i = sigmoid(load_up_to(gates, count), T());
            const V f = sigmoid(load_up_to(gates + n, count), T());
            const V g = tanh(load_up_to(gates + 2 * n, count), T());
            const V o = sigmoid(load_up_to(gates + 3 * n, count), T());
            const V next = fma(f, c, i * g), y = o * tanh(next, T());
            store_up_to(gates, i, count);
            store_up_to(gates + n, f, count);
            store_up_to(gates + 2 * n, g, count);
            store_up_to(gates + 3 * n, o, count);
            store_up_to(row.h_before + j, h, count);
            store_up_to(row.c_before + j, c, count);
            store_up_to(row.c + j, next, count);
            store_up_to(row.h + j, y, count);
            store_up_to(row.y + j, y, count);
        });
}

template <class T>
FIRTH_INLINE void lstm_backward(const RecurrentStep<T>& s) {
    typedef vector_of<T> V;
    const size_t n = s.n;
    for_states<T, 4>(
        s, [&](const Row<T, 4>& row) { zero(row.dgates, 4 * n); },
        [&](const Row<T, 4>& row, size_t j, size_t count) {
            const T* gates = row.gates + j;
            T* dgates = row.dgates + j;
            const V one = set1(T(1)), before = load_up_to(row.c_before + j, count);
            const V i = load_up_to(gates, count), f = load_up_to(gates + n, count);
            const V g = load_up_to(gates + 2 * n, count), o = load_up_to(gates + 3 * n, count);
            const V tanh_c = tanh(fma(f, before, i * g), T());
            const V dh = load_up_to(row.dh + j, count) + load_or_0(row.dy, j, count);
            const V dc = fma(dh * o, one - tanh_c * tanh_c, load_up_to(row.dc + j, count));
            store_up_to(dgates, dc * g * i * (one - i), count);
            store_up_to(dgates + n, dc * before * f * (one - f), count);
            store_up_to(dgates + 2 * n, dc * i * (one - g * g), count);
            store_up_to(dgates + 3 * n, dh * tanh_c * o * (one - o), count);
            store_up_to(row.dc + j, dc * f, count);
            store_up_to(row.dh + j, set1(T(0)), count);
        });
}

template <class T>
FIRTH_INLINE void gru_forward(const RecurrentStep<T>& s) {
    typedef vector_of<T> V;
    const size_t n = s.n;
    for_states<T, 3>(
        s,
        [&](const Row<T, 3>& row) {
            copy(row.h, row.h_before, n);
            zero(row.y, n);
        },
        [&](const Row<T, 3>& row, size_t j, size_t count) {
            T* gates = row.gates + j;
            const T* hidden = row.hidden + j;
            const V h = load_up_to(row.h + j, count);
            const V inner = load_up_to(hidden + 2 * n, count);
            const V r = sigmoid(load_up_to(gates, count) + load_up_to(hidden, count), T());
            const V z = sigmoid(load_up_to(gates + n, count) + load_up_to(hidden + n, count), T());
            const V next = tanh(fma(r, inner, load_up_to(gates + 2 * n, count)), T());
            const V y = fma(z, h - next, next);
            store_up_to(gates, r, count);
            store_up_to(gates + n, z, count);
            store_up_to(gates + 2 * n, next, count);
            store_up_to(row.h_before + j, h, count);
            store_up_to(row.inner + j, inner, count);
            store_up_to(row.h + j, y, count);
            store_up_to(row.y + j, y, count);
        });
}

template <class T>
FIRTH_INLINE void gru_backward(const RecurrentStep<T>& s) {
    typedef vector_of<T> V;
    const size_t n = s.n;
    for_states<T, 3>(
        s,
        [&](const Row<T, 3>& row) {
            zero(row.dgates, 3 * n);
            zero(row.dhidden, 3 * n);
        },
        [&](const Row<T, 3>& row, size_t j, size_t count) {
            const T* gates = row.gates + j;
            T *dgates = row.dgates + j, *dhidden = row.dhidden + j;
            const V one = set1(T(1)), before = load_up_to(row.h_before + j, count);
            const V inner = load_up_to(row.inner + j, count);
            const V r = load_up_to(gates, count), z = load_up_to(gates + n, count);
            const V next = load_up_to(gates + 2 * n, count);
            const V dh = load_up_to(row.dh + j, count) + load_or_0(row.dy, j, count);
            const V dn = dh * (one - z) * (one - next * next);
            const V dz = dh * (before - next) * z * (one - z);
            const V dr = dn * inner * r * (one - r);
            store_up_to(dgates, dr, count);
            store_up_to(dgates + n, dz, count);
            store_up_to(dgates + 2 * n, dn, count);
            store_up_to(dhidden, dr, count);
            store_up_to(dhidden + n, dz, count);
            store_up_to(dhidden + 2 * n, dn * r, count);
            store_up_to(row.dh + j, dh * z, count);
        });
}

template <class T>
FIRTH_INLINE void rnn_forward(const RecurrentStep<T>& s) {
    typedef vector_of<T> V;
    const size_t n = s.n;
    for_states<T, 1>(
        s,
        [&](const Row<T, 1>& row) {
            copy(row.h, row.h_before, n);
            zero(row.y, n);
        },
        [&](const Row<T, 1>& row, size_t j, size_t count) {
            const V z = load_up_to(row.gates + j, count);
            const V y = s.relu ? activate(z, kRelu, T()) : tanh(z, T());
            store_up_to(row.h_before + j, load_up_to(row.h + j, count), count);
            store_up_to(row.gates + j, y, count);
            store_up_to(row.h + j, y, count);
            store_up_to(row.y + j, y, count);
        });
}

template <class T>
FIRTH_INLINE void rnn_backward(const RecurrentStep<T>& s) {
    typedef vector_of<T> V;
    const size_t n = s.n;
    for_states<T, 1>(
        s, [&](const Row<T, 1>& row) { zero(row.dgates, n); },
        [&](const Row<T, 1>& row, size_t j, size_t count) {
            const V y = load_up_to(row.gates + j, count), zero = set1(T(0));
            const V dh = load_up_to(row.dh + j, count) + load_or_0(row.dy, j, count);
            const V dz = s.relu ? y > T(0) ? dh : zero : dh * (set1(T(1)) - y * y);
            store_up_to(row.dgates + j, dz, count);
            store_up_to(row.dh + j, zero, count);
        });
}

}  // namespace

#define FIRTH_RECURRENT_OF(T, type) \
    void rnn_step_##type(const RecurrentStep<T>& step) { rnn_forward(step); } \
    void rnn_step_backward_##type(const RecurrentStep<T>& step) { rnn_backward(step); } \
    void gru_step_##type(const RecurrentStep<T>& step) { gru_forward(step); } \
    void gru_step_backward_##type(const RecurrentStep<T>& step) { gru_backward(step); } \
    void lstm_step_##type(const RecurrentStep<T>& step) { lstm_forward(step); } \
    void lstm_step_backward_##type(const RecurrentStep<T>& step) { lstm_backward(step); }
FIRTH_RECURRENT_OF(float, f32)
FIRTH_RECURRENT_OF(double, f64)

}  // namespace firth::FIRTH_LEVEL
