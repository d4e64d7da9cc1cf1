// Recurrent layers over whole sequences: RNN, GRU, LSTM.
//
// All steps' products with the input are one; so are, backward, those of the weights' gradients.
// What remains in the loop is h W_hh^T, or dgates W_hh, with W_hh packed once. Sequences do not
// depend on each other, nor do directions: each thread takes some through all steps, and nobody
// waits; the few of a small batch go step by step, and threads share the product of a step.
#include <algorithm>
#include <optional>

#include "activations.h"
#include "engines/gemm.h"
#include "engines/nn/operation.h"
#include "memory.h"

namespace firth::nn {
namespace {

enum Cell { kRnnCell, kGruCell, kLstmCell };

constexpr size_t gates_of(Cell cell) { return cell == kRnnCell ? 1 : cell == kGruCell ? 3 : 4; }
constexpr size_t states_of(Cell cell) { return cell == kLstmCell ? 2 : 1; }
// Arrays that are kept for each direction: gates, h before each step, and c or the GRU's inner.
constexpr size_t kept_of(Cell cell) { return cell == kRnnCell ? 2 : 3; }

constexpr size_t kLeastRows = 4;  // of a thread that takes sequences: fewer make no use of W_hh

// Sizes and places. Rows of x, y and what is kept: sequence b at step t is at b * of_sequence + t *
// of_step.
struct Shape {
    size_t steps, batch, inputs, n, directions, of_sequence, of_step;
    Shape(const Call& c, Cell cell) {
        const Array &x = c.in[0], &weight = c.in[2 + states_of(cell)];
        const bool batch_first = x.axes == 3 && c.flag(0);
        steps = x.axes < 2 ? 0 : x.shape[batch_first];
        batch = x.axes == 3 ? x.shape[!batch_first] : 1;
        inputs = x.last();
        n = weight.shape[0] / gates_of(cell);
        directions = c.ins > 6 + states_of(cell) ? 2 : 1;
        of_sequence = batch_first ? steps : 1;
        of_step = batch_first ? 1 : batch;
    }
    size_t rows() const { return steps * batch; }
};

// The arrays of a direction in the order of the page.
struct Direction {
    const Array *weight_ih, *weight_hh, *bias_ih, *bias_hh;
    const Array *gates, *h_before, *third;
    Direction(const Call& c, Cell cell, size_t d) {
        const Array* in = c.in + 2 + states_of(cell) + 4 * d;
        weight_ih = in, weight_hh = in + 1, bias_ih = in + 2, bias_hh = in + 3;
        const Array* saved = c.saved + kept_of(cell) * d;
        gates = saved, h_before = saved + 1, third = cell == kRnnCell ? nullptr : saved + 2;
    }
};

bool has_leading_of(const Array& a, const Array& x, size_t last) {
    if (a.axes != x.axes || a.last() != last) return false;
    return !memcmp(a.shape, x.shape, (x.axes - 1) * sizeof *x.shape);
}

bool is_vector(const Array& a, size_t n) { return a.axes == 1 && a.shape[0] == n; }
bool is_matrix(const Array& a, size_t rows, size_t columns) {
    return a.axes == 2 && a.shape[0] == rows && a.shape[1] == columns;
}

bool fits(const Call& c, Cell cell) {
    const size_t states = states_of(cell), G = gates_of(cell), kept = kept_of(cell);
    if (c.ins != 6 + states && c.ins != 10 + states) return false;
    if (c.outs != 1 + states || c.option_count != 1 + (cell == kRnnCell)) return false;
    if (cell == kRnnCell && c.option(1) != kTanh && c.option(1) != kRelu) return false;
    const Array& x = c.in[0];
    if (!x.there || (x.axes != 2 && x.axes != 3) || c.in[2 + states].axes != 2) return false;
    const Shape s(c, cell);
    if (c.saves != kept * s.directions) return false;
    const Array& lengths = c.in[1];
    if (lengths.there &&
        (!lengths || lengths.kind != Kind::index || x.axes != 3 || !is_vector(lengths, s.batch)))
        return false;
    const auto is_state = [&](const Array& a) {
        return a.axes == x.axes && a.shape[0] == s.directions && a.last() == s.n &&
               (a.axes == 2 || a.shape[1] == s.batch);
    };
    for (size_t i = 0; i < states; i++) {
        const Array &first = c.in[2 + i], &last = c.out[1 + i];
        if (!last.there || !is_state(last) || (first.there && !is_state(first))) return false;
        if (!c.backward && ((first.there && !first) || !last)) return false;
    }
    if (!has_leading_of(c.out[0], x, s.directions * s.n) || (!c.backward && !(x && c.out[0])))
        return false;
    for (size_t d = 0; d < s.directions; d++) {
        const Direction a(c, cell, d);
        if (!is_matrix(*a.weight_ih, G * s.n, s.inputs) || !is_matrix(*a.weight_hh, G * s.n, s.n))
            return false;
        if (a.bias_ih->there != a.bias_hh->there) return false;
        if (a.bias_ih->there &&
            (!is_vector(*a.bias_ih, G * s.n) || !is_vector(*a.bias_hh, G * s.n)))
            return false;
        for (size_t i = 0; i < kept; i++)
            if (!a.gates[i] || a.gates[i].kind != Kind::real ||
                !has_leading_of(a.gates[i], x, i == 0 ? G * s.n : s.n))
                return false;
        if (!*a.weight_hh || (!c.backward && !*a.weight_ih)) return false;
        if (!c.backward && a.bias_ih->there && (!*a.bias_ih || !*a.bias_hh)) return false;
        if (c.backward && ((c.din[0] && !*a.weight_ih) || (c.din[a.weight_ih - c.in] && !x)))
            return false;
    }
    // every array that is there with data is of T, but for the lengths
    for (size_t i = 0; i < c.ins; i++)
        if (i != 1 && c.in[i] && c.in[i].kind != Kind::real) return false;
    for (size_t i = 0; i < c.outs; i++)
        if (c.out[i] && c.out[i].kind != Kind::real) return false;
    return true;
}

// W_hh, or its transpose, packed once, and products of rows of T with it.
template <class T>
class Recurrence {
  public:
    // weight: k x n, or its transpose
    Recurrence(const Call& call, const T* weight, size_t k, size_t n, bool transposed)
        : kernels_(call.kernels),
          narrow_(sizeof(T) == 4 && call.bfloat16),
          type_(narrow_          ? call.kernels.gemm_bf16
                : sizeof(T) == 4 ? call.kernels.gemm_f32
                                 : call.kernels.gemm_f64),
          memory_(gemm_packed_bytes(type_, k, n)) {
        const size_t rows = transposed ? n : k, columns = transposed ? k : n;
        const Scratch half(narrow_ ? 2 * rows * columns + 64 : 0);
        const char* from = reinterpret_cast<const char*>(weight);
        if (narrow_) {
            narrow(weight, ptrdiff_t(columns), half.data<uint16_t>(), rows, columns);
            from = half.data();
        }
        packed_ = gemm_pack(type_, {from, ptrdiff_t(columns * type_.element), transposed}, k, n,
                            memory_.data(), call.threads);
    }

    // c (rows x n) = a (rows x k) W, plus bias, or += a W
    void multiply(const T* a, ptrdiff_t stride, T* c, ptrdiff_t c_stride, size_t rows, bool add,
                  const T* bias, int threads) const {
        Epilogue epilogue{};
        epilogue.scale = 1;
        epilogue.bias = bias;
        const Result result{reinterpret_cast<char*>(c), c_stride, bias ? &epilogue : nullptr, add};
        const size_t k = packed_.k;
        if (!narrow_) {
            const Operand wide{reinterpret_cast<const char*>(a), stride * ptrdiff_t(sizeof(T)),
                               false};
            return gemm(type_, wide, packed_, result, rows, threads);
        }
        const Scratch half(2 * rows * k + 64);
        narrow(a, stride, half.data<uint16_t>(), rows, k);
        gemm(type_, {half.data(), ptrdiff_t(2 * k), false}, packed_, result, rows, threads);
    }

  private:
    void narrow(const T* x, ptrdiff_t stride, uint16_t* to, size_t rows, size_t n) const {
        if constexpr (sizeof(T) == 4) kernels_.narrow_f32(x, stride, to, ptrdiff_t(n), rows, n);
    }

    const Kernels& kernels_;
    bool narrow_;
    const Gemm& type_;
    Scratch memory_;
    Packed packed_{};
};

// body(direction, first, rows, threads) for sequences of each direction, on several threads; the
// last number is how many may work inside of it.
template <class Body>
void for_sequences(const Call& call, const Shape& s, Cell cell, const Body& body) {
    const double flops = 2.0 * double(s.rows() * s.directions) * double(gates_of(cell) * s.n * s.n);
    if (s.batch == 0) return;
    const size_t threads = flops < kSerialFlops ? 1 : size_t(call.threads);
    const size_t wanted = divide_up(threads, s.directions);
    const size_t parts = std::clamp(s.batch / kLeastRows, size_t(1), wanted);
    const int inside = parts * s.directions == 1 ? int(threads) : 1;
    parallel_for(
        parts * s.directions, 1,
        [&](size_t i, size_t) {
            const size_t part = i % parts, first = part * s.batch / parts;
            body(i / parts, first, (part + 1) * s.batch / parts - first, inside);
        },
        int(threads));
}

template <class T>
void run(const Call& call, Cell cell, const RecurrentStep<T>& step) {
    const auto& k = call.kernels.of<T>();
    if (cell == kRnnCell)
        call.backward ? k.rnn_step_backward(step) : k.rnn_step(step);
    else if (cell == kGruCell)
        call.backward ? k.gru_step_backward(step) : k.gru_step(step);
    else
        call.backward ? k.lstm_step_backward(step) : k.lstm_step(step);
}

// The places of sequences [first, first + rows) in what both ways have in common.
template <class T>
RecurrentStep<T> sequences(const Call& c, Cell cell, const Shape& s, size_t first, size_t rows) {
    RecurrentStep<T> step{};
    step.rows = rows;
    step.n = s.n;
    step.apart = s.of_sequence;
    step.lengths = c.in[1] ? c.in[1].as<int64_t>() + first : nullptr;
    step.relu = cell == kRnnCell && c.option(1) == kRelu;
    step.y_width = s.directions * s.n;
    return step;
}

// The arrays of a direction at the step whose first row is `row`.
template <class T>
void place(RecurrentStep<T>& step, const Direction& a, Cell cell, size_t row) {
    const size_t n = step.n;
    step.gates = a.gates->as<T>() + row * gates_of(cell) * n;
    step.h_before = a.h_before->as<T>() + row * n;
    if (cell == kLstmCell) step.c_before = a.third->as<T>() + row * n;
    if (cell == kGruCell) step.inner = a.third->as<T>() + row * n;
}

template <class T>
void copy_or_zero(const Array& from, size_t at, T* to, size_t n) {
    if (from)
        std::copy_n(from.as<T>() + at, n, to);
    else
        std::fill_n(to, n, T(0));
}

template <class T>
void forward_sequences(const Call& c, Cell cell, const Shape& s, const Recurrence<T>& recurrence,
                       size_t d, size_t first, size_t rows, int threads) {
    const Direction a(c, cell, d);
    const size_t width = gates_of(cell) * s.n, own = (d * s.batch + first) * s.n;
    const Scratch hidden(cell == kGruCell ? rows * width * sizeof(T) : 0);
    RecurrentStep<T> step = sequences<T>(c, cell, s, first, rows);
    step.hidden = hidden.data<T>();
    step.h = c.out[1].as<T>() + own;
    copy_or_zero(c.in[2], own, step.h, rows * s.n);
    if (cell == kLstmCell) {
        step.c = c.out[2].as<T>() + own;
        copy_or_zero(c.in[3], own, step.c, rows * s.n);
    }
    for (size_t i = 0; i < s.steps; i++) {
        const size_t t = d ? s.steps - 1 - i : i, row = first * s.of_sequence + t * s.of_step;
        step.t = int64_t(t);
        place(step, a, cell, row);
        step.y = c.out[0].as<T>() + row * step.y_width + d * s.n;
        if (threads > 1) keep_threads_awake();
        if (cell == kGruCell)
            recurrence.multiply(step.h, ptrdiff_t(s.n), hidden.data<T>(), ptrdiff_t(width), rows,
                                false, a.bias_hh->as<T>(), threads);
        else
            recurrence.multiply(step.h, ptrdiff_t(s.n), step.gates,
                                ptrdiff_t(s.of_sequence * width), rows, true, nullptr, threads);
        run(c, cell, step);
    }
}

template <class T>
void forward(const Call& c, Cell cell) {
    const Shape s(c, cell);
    const size_t width = gates_of(cell) * s.n;
    for (size_t d = 0; d < s.directions; d++) {
        const Direction a(c, cell, d);
        const Scratch sums(width * sizeof(T));
        const T* bias = a.bias_ih->as<T>();
        if (bias && cell != kGruCell) {
            const T* more = a.bias_hh->as<T>();
            std::transform(bias, bias + width, more, sums.data<T>(),
                           [](T x, T y) { return x + y; });
            bias = sums.data<T>();
        }
        product<T>(c, {c.in[0].as<T>(), ptrdiff_t(s.inputs)},
                   {a.weight_ih->as<T>(), ptrdiff_t(s.inputs), true}, a.gates->as<T>(),
                   ptrdiff_t(width), s.rows(), s.inputs, width, false, bias);
    }
    std::optional<Recurrence<T>> weights[2];
    for (size_t d = 0; d < s.directions; d++)
        weights[d].emplace(c, Direction(c, cell, d).weight_hh->as<T>(), s.n, width, true);
    for_sequences(c, s, cell, [&](size_t d, size_t first, size_t rows, int threads) {
        forward_sequences<T>(c, cell, s, *weights[d], d, first, rows, threads);
    });
}

// What comes back: gradients by the sums of all steps, of each direction, and by the first states.
template <class T>
struct Gradients {
    T *dgates, *dhidden, *dh, *dc;
};

template <class T>
void backward_sequences(const Call& c, Cell cell, const Shape& s, const Recurrence<T>& recurrence,
                        const Gradients<T>& to, size_t d, size_t first, size_t rows, int threads) {
    const Direction a(c, cell, d);
    const size_t width = gates_of(cell) * s.n, own = (d * s.batch + first) * s.n;
    RecurrentStep<T> step = sequences<T>(c, cell, s, first, rows);
    step.dh = to.dh + own;
    copy_or_zero(c.dout[1], own, step.dh, rows * s.n);
    if (cell == kLstmCell) {
        step.dc = to.dc + own;
        copy_or_zero(c.dout[2], own, step.dc, rows * s.n);
    }
    for (size_t i = s.steps; i-- > 0;) {
        const size_t t = d ? s.steps - 1 - i : i, row = first * s.of_sequence + t * s.of_step;
        step.t = int64_t(t);
        place(step, a, cell, row);
        if (c.dout[0]) step.dy = c.dout[0].as<T>() + row * step.y_width + d * s.n;
        step.dgates = to.dgates + row * width;
        if (to.dhidden) step.dhidden = to.dhidden + row * width;
        run(c, cell, step);
        if (threads > 1) keep_threads_awake();
        recurrence.multiply(to.dhidden ? step.dhidden : step.dgates,
                            ptrdiff_t(s.of_sequence * width), step.dh, ptrdiff_t(s.n), rows, true,
                            nullptr, threads);
    }
}

template <class T>
void give(const Call& c, size_t i, const T* from, size_t n) {
    T* to = c.din[i].as<T>();
    if (!to) return;
    for (size_t j = 0; j < n; j++) to[j] = c.adds(i) ? to[j] + from[j] : from[j];
}

template <class T>
void backward(const Call& c, Cell cell) {
    const Shape s(c, cell);
    const size_t width = gates_of(cell) * s.n, rows = s.rows();
    const size_t state = s.directions * s.batch * s.n, sums = s.directions * rows * width;
    const Scratch dgates(sums * sizeof(T)), dhidden(cell == kGruCell ? sums * sizeof(T) : 0);
    const Scratch dh(state * sizeof(T)), dc(state * sizeof(T)), dbias(width * sizeof(T));
    const auto of = [&](size_t d) {
        T* x = dgates.data<T>() + d * rows * width;
        T* h = cell == kGruCell ? dhidden.data<T>() + d * rows * width : nullptr;
        return Gradients<T>{x, h, dh.data<T>(), dc.data<T>()};
    };
    {
        std::optional<Recurrence<T>> weights[2];
        for (size_t d = 0; d < s.directions; d++)
            weights[d].emplace(c, Direction(c, cell, d).weight_hh->as<T>(), width, s.n, false);
        for_sequences(c, s, cell, [&](size_t d, size_t first, size_t count, int threads) {
            backward_sequences<T>(c, cell, s, *weights[d], of(d), d, first, count, threads);
        });
    }
    give(c, 2, dh.data<T>(), state);
    if (cell == kLstmCell) give(c, 3, dc.data<T>(), state);
    for (size_t d = 0; d < s.directions; d++) {
        const Direction a(c, cell, d);
        const size_t i = size_t(a.weight_ih - c.in);
        const T *by_x = of(d).dgates, *by_h = cell == kGruCell ? of(d).dhidden : by_x;
        const auto weight_gradient = [&](size_t i, const T* gradients, const Array& of, size_t n) {
            if (c.din[i])
                product<T>(c, {gradients, ptrdiff_t(width), true}, {of.as<T>(), ptrdiff_t(n)},
                           c.din[i].as<T>(), ptrdiff_t(n), width, rows, n, c.adds(i));
        };
        weight_gradient(i, by_x, c.in[0], s.inputs);
        weight_gradient(i + 1, by_h, *a.h_before, s.n);
        if (c.din[0])
            product<T>(c, {by_x, ptrdiff_t(width)}, {a.weight_ih->as<T>(), ptrdiff_t(s.inputs)},
                       c.din[0].as<T>(), ptrdiff_t(s.inputs), rows, width, s.inputs,
                       c.adds(0) || d > 0);
        if (c.din[i + 2] || (c.din[i + 3] && by_h == by_x))
            sum_columns(c, by_x, rows, width, dbias.data<T>(), false);
        give(c, i + 2, dbias.data<T>(), width);
        if (c.din[i + 3] && by_h != by_x) sum_columns(c, by_h, rows, width, dbias.data<T>(), false);
        give(c, i + 3, dbias.data<T>(), width);
    }
}

}  // namespace

// options: batch_first; RNN: its activation. in: x (T, B, I), or (B, T, I) where batch_first, or
// (T, I); lengths (B) or absent; first states h and, LSTM, c: (D, B, H), or (D, H), or absent; for
// each of D directions weight_ih (G H, I), weight_hh (G H, H), bias_ih and bias_hh (G H) or absent.
// out: y (T, B, D H), as x lies; the last states. saved: for each direction what comes of the sums
// (T, B, G H), h before each step (T, B, H), and, LSTM, c before each step, or, GRU, the last part
// of h W_hh^T + b_hh, both (T, B, H); all as x lies.
#define FIRTH_RECURRENT(name, cell) \
    bool name##_fits(const Call& c) { return fits(c, cell); } \
    template <class T> \
    void name##_forward(const Call& c) { \
        forward<T>(c, cell); \
    } \
    template <class T> \
    void name##_backward(const Call& c) { \
        backward<T>(c, cell); \
    } \
    template void name##_forward<float>(const Call&); \
    template void name##_forward<double>(const Call&); \
    template void name##_backward<float>(const Call&); \
    template void name##_backward<double>(const Call&);
FIRTH_RECURRENT(rnn, kRnnCell)
FIRTH_RECURRENT(gru, kGruCell)
FIRTH_RECURRENT(lstm, kLstmCell)

}  // namespace firth::nn
