// Cross-entropy of classes: of logits, of log-probabilities (nll_loss), of a linear layer whose
// logits never exist at once, and of the cosines of a batch (info_nce). With s = softmax(x), W the
// sum of the weights w of all n classes, a the share of label smoothing and t the target, a row of
// logits x has
//   loss = (1 - a) w_t (-log s_t) + a / n sum_c w_c (-log s_c)
//   dx_c = s_c ((1 - a) w_t + a W / n) - (1 - a) w_t [c = t] - a / n w_c
#include <math.h>

#include <algorithm>

#include "engines/nn/losses.h"
#include "memory.h"

namespace firth::nn {
namespace {

constexpr size_t kBlock = 8;  // rows whose losses make one term of the sum

// The class of each row: without ids that of its number, with `next` that of the next place in the
// row's sequence, where the last place has none.
struct Targets {
    enum : int64_t { kIgnored = -1, kWrong = -2 };

    const int64_t* ids = nullptr;
    size_t classes;
    int64_t ignored = 0;
    size_t length = 0;  // of a sequence, or 0

    explicit Targets(size_t classes_) : classes(classes_) {}
    Targets(const Array& target, size_t classes_, double ignored_, bool next)
        : ids(target.as<int64_t>()),
          classes(classes_),
          ignored(int64_t(ignored_)),
          length(next ? target.last() : 0) {}

    int64_t operator[](size_t row) const {
        if (!ids) return int64_t(row);
        if (length && row % length + 1 == length) return kIgnored;
        const int64_t id = ids[row + (length != 0)];
        if (id == ignored) return kIgnored;
        return id >= 0 && size_t(id) < classes ? id : kWrong;
    }
};

// The loss of a row of logits and its gradient; `sums` are those of the kernel softmax_sums.
template <class T>
struct Rows {
    const Call& call;
    Targets targets;
    const T* weight;  // of the classes, or null for ones
    double smoothing, all = 0;

    Rows(const Call& call_, const Targets& targets_, const T* weight_, double smoothing_)
        : call(call_), targets(targets_), weight(weight_), smoothing(smoothing_) {
        if (!weight) all = double(targets.classes);
        for (size_t c = 0; weight && c < targets.classes; c++) all += double(weight[c]);
    }

    double weight_of(int64_t target) const {
        return target == Targets::kIgnored ? 0 : target < 0 || !weight ? 1 : double(weight[target]);
    }
    // What a mean divides by.
    double total(size_t rows) const {
        double sum = 0;
        for (size_t i = 0; i < rows; i++) sum += weight_of(targets[i]);
        return sum;
    }

    // Of row i: NaN where the target is no class.
    double loss(size_t i, const T* x, const T* sums) const {
        const int64_t target = targets[i];
        if (target == Targets::kIgnored) return 0;
        if (target < 0) return NAN;
        const double log_sum = log(double(sums[1]));
        const double own = weight_of(target) * (log_sum - (double(x[target]) - double(sums[0])));
        if (smoothing == 0) return own;
        return (1 - smoothing) * own +
               smoothing / double(targets.classes) * (all * log_sum - double(sums[2]));
    }

    // dx = or += factor times the gradient of row i; dx may be x.
    void gradient(size_t i, const T* x, const T* sums, double factor, T* dx, bool add) const {
        const int64_t target = targets[i];
        const size_t n = targets.classes;
        if (target < 0) {
            if (!add) std::fill_n(dx, n, T(0));
            return;
        }
        const double own = factor * (1 - smoothing) * weight_of(target);
        const double each = factor * smoothing / double(n);
        call.kernels.of<T>().softmax_gradient(x, sums[0], T((own + each * all) / double(sums[1])),
                                              weight, T(each), dx, n, add);
        dx[target] -= T(own);
    }
};

// The sum of count(begin, end) over blocks of rows, in their order.
template <class Body>
double sum_blocks(const Call& call, size_t rows, double cost, const Body& body) {
    const size_t blocks = divide_up(rows, kBlock);
    const Scratch scratch(blocks * sizeof(double));
    double* const parts = scratch.data<double>();
    for_items(call, blocks, kBlock * cost, [&](size_t begin, size_t end) {
        for (size_t b = begin; b < end; b++)
            parts[b] = body(b * kBlock, std::min(rows, (b + 1) * kBlock));
    });
    double sum = 0;
    for (size_t b = 0; b < blocks; b++) sum += parts[b];
    return sum;
}

double row_cost(size_t classes) { return 3 * double(classes) + 30; }

// What the operations of this file have in common: input (..., n), target (...), weight (n).
bool fits(const Call& c, const Array& target, const Array& weight, size_t classes, double ignored) {
    return target.there && (c.backward || target) && (!target || target.kind == Kind::index) &&
           classes > 0 && (!weight.there || (weight.axes == 1 && weight.shape[0] == classes)) &&
           (c.backward || !weight.there || weight) && (!weight || weight.kind == Kind::real) &&
           is_whole(ignored, -9e15, 9e15);
}

}  // namespace

// ---- cross_entropy ------------------------------------------------------------------------------

// options: reduction, ignore_index, label smoothing, whether targets are the next ids. in: x (...,
// n), target (...), weight (n) or absent; out: the loss, or one for each target; saved: sums (...,
// 3).
bool cross_entropy_fits(const Call& c) {
    if (c.ins != 3 || c.outs != 1 || c.saves != 1 || c.option_count != 4) return false;
    const Array &x = c.in[0], &target = c.in[1], &sums = c.saved[0];
    if (x.axes == 0 || target.axes + 1 != x.axes || sums.axes != x.axes || sums.last() != 3)
        return false;
    if (memcmp(x.shape, target.shape, target.axes * sizeof *x.shape) ||
        memcmp(x.shape, sums.shape, target.axes * sizeof *x.shape))
        return false;
    if (!fits(c, target, c.in[2], x.last(), c.option(1)) || !(c.option(2) >= 0) ||
        !(c.option(2) <= 1) || !is_whole(c.option(3), 0, target.axes ? 1 : 0) ||
        !fits_reduction(c.option(0), c.out[0], target.axes, target.shape))
        return false;
    const bool real = x.kind == Kind::real && sums.kind == Kind::real;
    if (!c.backward) return real && x && sums && c.out[0] && c.out[0].kind == Kind::real;
    return real && x && target && sums && c.dout[0] && (!c.in[2].there || c.in[2]) && !c.din[1] &&
           !c.din[2];
}

template <class T>
void cross_entropy_forward(const Call& c) {
    const T* const x = c.in[0].as<T>();
    const size_t rows = c.in[0].rows(), n = c.in[0].last();
    const T* const weight = c.in[2].as<T>();
    const Rows<T> all(c, Targets(c.in[1], n, c.option(1), c.flag(3)), weight, c.option(2));
    T* const sums = c.saved[0].as<T>();
    T* const each = c.option(0) == kEach ? c.out[0].as<T>() : nullptr;
    const double sum = sum_blocks(c, rows, row_cost(n), [&](size_t begin, size_t end) {
        c.kernels.of<T>().softmax_sums(x + begin * n, weight, c.option(2) > 0, sums + 3 * begin,
                                       end - begin, n);
        double part = 0;
        for (size_t i = begin; i < end; i++) {
            const double loss = all.loss(i, x + i * n, sums + 3 * i);
            if (each) each[i] = T(loss);
            part += loss;
        }
        return part;
    });
    if (!each) *c.out[0].as<T>() = T(c.option(0) == kMean ? sum / all.total(rows) : sum);
}

template <class T>
void cross_entropy_backward(const Call& c) {
    if (!c.din[0]) return;
    const T *const x = c.in[0].as<T>(), *const dy = c.dout[0].as<T>();
    const size_t rows = c.in[0].rows(), n = c.in[0].last();
    const Rows<T> all(c, Targets(c.in[1], n, c.option(1), c.flag(3)), c.in[2].as<T>(), c.option(2));
    const bool each = c.option(0) == kEach;
    const double factor = c.option(0) == kMean ? 1 / all.total(rows) : 1;
    for_items(c, rows, row_cost(n), [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i++)
            all.gradient(i, x + i * n, c.saved[0].as<T>() + 3 * i,
                         factor * double(dy[each ? i : 0]), c.din[0].as<T>() + i * n, c.adds(0));
    });
}

// ---- nll_loss -----------------------------------------------------------------------------------

// options: reduction, ignore_index. in: x (..., n), target (...), weight (n) or absent; out: the
// loss, or one for each target.
bool nll_loss_fits(const Call& c) {
    if (c.ins != 3 || c.outs != 1 || c.saves != 0 || c.option_count != 2) return false;
    const Array &x = c.in[0], &target = c.in[1];
    if (x.axes == 0 || target.axes + 1 != x.axes ||
        memcmp(x.shape, target.shape, target.axes * sizeof *x.shape) ||
        !fits(c, target, c.in[2], x.last(), c.option(1)) ||
        !fits_reduction(c.option(0), c.out[0], target.axes, target.shape))
        return false;
    if (!c.backward) return x && x.kind == Kind::real && c.out[0] && c.out[0].kind == Kind::real;
    return target && c.dout[0] && (!c.in[2].there || c.in[2]) && !c.din[1] && !c.din[2];
}

template <class T>
void nll_loss_forward(const Call& c) {
    const T* const x = c.in[0].as<T>();
    const size_t rows = c.in[0].rows(), n = c.in[0].last();
    const Rows<T> all(c, Targets(c.in[1], n, c.option(1), false), c.in[2].as<T>(), 0);
    T* const each = c.option(0) == kEach ? c.out[0].as<T>() : nullptr;
    double sum = 0;
    for (size_t i = 0; i < rows; i++) {
        const int64_t target = all.targets[i];
        const double loss = target >= 0 ? -all.weight_of(target) * double(x[i * n + size_t(target)])
                            : target == Targets::kIgnored ? 0.0
                                                          : double(NAN);
        if (each) each[i] = T(loss);
        sum += loss;
    }
    if (!each) *c.out[0].as<T>() = T(c.option(0) == kMean ? sum / all.total(rows) : sum);
}

template <class T>
void nll_loss_backward(const Call& c) {
    if (!c.din[0]) return;
    const T* const dy = c.dout[0].as<T>();
    T* const dx = c.din[0].as<T>();
    const size_t rows = c.in[0].rows(), n = c.in[0].last();
    const Rows<T> all(c, Targets(c.in[1], n, c.option(1), false), c.in[2].as<T>(), 0);
    const bool each = c.option(0) == kEach;
    const double factor = c.option(0) == kMean ? 1 / all.total(rows) : 1;
    for_items(c, rows, double(n), [&](size_t begin, size_t end) {
        if (!c.adds(0)) std::fill(dx + begin * n, dx + end * n, T(0));
        for (size_t i = begin; i < end; i++)
            if (const int64_t target = all.targets[i]; target >= 0)
                dx[i * n + size_t(target)] -=
                    T(factor * double(dy[each ? i : 0]) * all.weight_of(target));
    });
}

// ---- linear_cross_entropy -----------------------------------------------------------------------

namespace {

// Rows whose logits exist at once: 64 MB of them, but enough to make products of.
size_t chunk_rows(size_t rows, size_t row_bytes) {
    return std::min(rows, std::max(size_t(256), (size_t(64) << 20) / row_bytes));
}

}  // namespace

// options: reduction (not kEach), ignore_index, label smoothing, whether targets are the next ids,
// whether gradients are computed. in: x (..., k), weight (n, k), bias (n) or absent, target (...);
// out: the loss; saved where gradients are computed: those of the loss by x, weight and the bias.
//
// The logits' gradient is made of the logits while they are there. So gradients take two products
// in forward and none in backward, which multiplies them by that of the loss; logits that backward
// had to make again would be one product more.
bool linear_cross_entropy_fits(const Call& c) {
    if (c.ins != 4 || c.outs != 1 || c.option_count != 5) return false;
    const Array &x = c.in[0], &weight = c.in[1], &bias = c.in[2], &target = c.in[3];
    if (!x.there || x.axes == 0 || target.axes + 1 != x.axes ||
        memcmp(x.shape, target.shape, target.axes * sizeof *x.shape) || !weight.there ||
        weight.axes != 2 || weight.shape[1] != x.last() ||
        !fits(c, target, bias, weight.shape[0], c.option(1)))
        return false;
    if (!is_whole(c.option(0), kMean, kSum) || !(c.option(2) >= 0) || !(c.option(2) <= 1) ||
        !is_whole(c.option(3), 0, target.axes ? 1 : 0) || !is_whole(c.option(4), 0, 1) ||
        c.out[0].axes != 0)
        return false;
    const size_t kept = !c.flag(4) ? 0 : bias.there ? 3 : 2;
    if (c.saves != kept) return false;
    for (size_t i = 0; i < kept; i++)
        if (!c.saved[i] || c.saved[i].kind != Kind::real || !c.saved[i].has_shape_of(c.in[i]))
            return false;
    if (c.backward) return c.flag(4) && c.dout[0] && !c.din[3] && (bias.there || !c.din[2]);
    return x && x.kind == Kind::real && weight && weight.kind == Kind::real && c.out[0] &&
           c.out[0].kind == Kind::real;
}

template <class T>
void linear_cross_entropy_forward(const Call& c) {
    const T *const x = c.in[0].as<T>(), *const weight = c.in[1].as<T>();
    const size_t k = c.in[0].last(), n = c.in[1].shape[0];
    const Rows<T> all(c, Targets(c.in[3], n, c.option(1), c.flag(3)), nullptr, c.option(2));
    const double divisor = c.option(0) == kMean ? all.total(c.in[0].rows()) : 1;
    const bool gradients = c.flag(4);
    T* const dx = gradients ? c.saved[0].as<T>() : nullptr;
    T* const dweight = gradients ? c.saved[1].as<T>() : nullptr;
    T* const dbias = c.saves > 2 ? c.saved[2].as<T>() : nullptr;

    // Rows that do not count have no logits: of masked words, six in seven.
    const Scratch numbers(c.in[0].rows() * sizeof(size_t));
    size_t *const counted = numbers.data<size_t>(), rows = 0;
    for (size_t i = 0; i < c.in[0].rows(); i++)
        if (all.targets[i] != Targets::kIgnored) counted[rows++] = i;
    if (gradients && rows < c.in[0].rows()) std::fill_n(dx, c.in[0].size(), T(0));
    if (gradients && rows == 0) std::fill_n(dweight, n * k, T(0));
    if (dbias && rows == 0) std::fill_n(dbias, n, T(0));

    const size_t chunk = chunk_rows(rows, n * sizeof(T));
    const Scratch scratch(chunk * (n + 3 + k) * sizeof(T));
    T *const logits = scratch.data<T>(), *const sums = logits + chunk * n,
             *const gathered = sums + 3 * chunk;
    double sum = 0;
    for (size_t first = 0; first < rows; first += chunk) {
        const size_t count = std::min(chunk, rows - first), *const own = counted + first;
        const bool together = own[count - 1] - own[0] == count - 1;
        // Moves rows of x to `gathered`, or back from it to rows of dx.
        const auto move = [&](const T* from, T* to, bool back) {
            for_items(c, count, double(k), [&](size_t begin, size_t end) {
                for (size_t i = begin; i < end; i++)
                    std::copy_n(from + (back ? i : own[i]) * k, k, to + (back ? own[i] : i) * k);
            });
        };
        if (!together) move(x, gathered, false);
        const T* const here = together ? x + own[0] * k : gathered;
        product<T>(c, {here, ptrdiff_t(k)}, {weight, ptrdiff_t(k), true}, logits, ptrdiff_t(n),
                   count, k, n, false, c.in[2].as<T>());
        sum += sum_blocks(c, count, 2 * row_cost(n), [&](size_t begin, size_t end) {
            double part = 0;
            for (size_t i = begin; i < end; i++) {
                T *const row = logits + i * n, *const mine = sums + 3 * i;
                c.kernels.of<T>().softmax_sums(row, nullptr, c.option(2) > 0, mine, 1, n);
                part += all.loss(own[i], row, mine);
                if (gradients) all.gradient(own[i], row, mine, 1 / divisor, row, false);
            }
            return part;
        });
        if (!gradients) continue;
        product<T>(c, {logits, ptrdiff_t(n), true}, {here, ptrdiff_t(k)}, dweight, ptrdiff_t(k), n,
                   count, k, first > 0);
        if (dbias) sum_columns(c, logits, count, n, dbias, first > 0);
        T* const there = together ? dx + own[0] * k : gathered;
        product<T>(c, {logits, ptrdiff_t(n)}, {weight, ptrdiff_t(k)}, there, ptrdiff_t(k), count, n,
                   k, false);
        if (!together) move(gathered, dx, true);
    }
    *c.out[0].as<T>() = T(sum / divisor);
}

template <class T>
void linear_cross_entropy_backward(const Call& c) {
    for (size_t a = 0; a < c.saves; a++)
        if (c.din[a])
            for_items(c, c.din[a].size(), 1, [&](size_t begin, size_t end) {
                c.kernels.of<T>().scale(c.saved[a].as<T>() + begin, *c.dout[0].as<T>(),
                                        c.din[a].as<T>() + begin, end - begin, c.adds(a));
            });
}

// ---- info_nce -----------------------------------------------------------------------------------

namespace {

// Rows of x (rows x n) over their lengths, to out; inverses: 1 / length of each, 0 of one of zeros.
template <class T>
void normalise(const Call& c, const T* x, size_t rows, size_t n, T* out, T* inverses) {
    for_items(c, rows, 3 * double(n), [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i++) {
            double squares[4] = {};
            for (size_t j = 0; j < n; j++)
                squares[j % 4] += double(x[i * n + j]) * double(x[i * n + j]);
            const double square = (squares[0] + squares[1]) + (squares[2] + squares[3]);
            inverses[i] = square > 0 ? T(1 / sqrt(square)) : square == 0 ? T(0) : T(NAN);
            c.kernels.of<T>().scale(x + i * n, inverses[i], out + i * n, n, false);
        }
    });
}

// The sum of the losses of the products over temperature (rows x n) in x, which become gradients.
template <class T>
double diagonal_losses(const Call& c, T* x, size_t rows, size_t n, double factor) {
    const Rows<T> all(c, Targets(n), nullptr, 0);
    const T inverse = T(1 / c.option(0));
    return sum_blocks(c, rows, 2 * row_cost(n), [&](size_t begin, size_t end) {
        double part = 0;
        for (size_t i = begin; i < end; i++) {
            T *const row = x + i * n, sums[3];
            c.kernels.of<T>().scale(row, inverse, row, n, false);
            c.kernels.of<T>().softmax_sums(row, nullptr, false, sums, 1, n);
            part += all.loss(i, row, sums);
            all.gradient(i, row, sums, factor, row, false);
        }
        return part;
    });
}

}  // namespace

// options: the temperature, whether keys look for their queries too. in: queries (m, k), keys (n,
// k), n >= m, of which the first m are the queries' own; out: the loss; saved: queries and keys
// over their lengths, 1 / lengths (m), (n), and the gradient of the loss by the products (m, n).
bool info_nce_fits(const Call& c) {
    if (c.ins != 2 || c.outs != 1 || c.saves != 5 || c.option_count != 2) return false;
    const Array &queries = c.in[0], &keys = c.in[1];
    if (queries.axes != 2 || keys.axes != 2 || queries.shape[1] != keys.shape[1] ||
        queries.shape[0] > keys.shape[0] || !(c.option(0) > 0) || !is_whole(c.option(1), 0, 1) ||
        (c.flag(1) && queries.shape[0] != keys.shape[0]) || c.out[0].axes != 0)
        return false;
    for (size_t a = 0; a < 5; a++)
        if (!c.saved[a] || c.saved[a].kind != Kind::real) return false;
    const Array &lengths = c.saved[2], &others = c.saved[3], &by = c.saved[4];
    if (!c.saved[0].has_shape_of(queries) || !c.saved[1].has_shape_of(keys) || lengths.axes != 1 ||
        lengths.shape[0] != queries.shape[0] || others.axes != 1 ||
        others.shape[0] != keys.shape[0] || by.axes != 2 || by.shape[0] != queries.shape[0] ||
        by.shape[1] != keys.shape[0])
        return false;
    if (c.backward) return bool(c.dout[0]);
    return queries && queries.kind == Kind::real && keys && keys.kind == Kind::real && c.out[0] &&
           c.out[0].kind == Kind::real;
}

template <class T>
void info_nce_forward(const Call& c) {
    const size_t m = c.in[0].shape[0], n = c.in[1].shape[0], k = c.in[0].shape[1];
    T *const queries = c.saved[0].as<T>(), *const keys = c.saved[1].as<T>(),
             *const by = c.saved[4].as<T>();
    normalise(c, c.in[0].as<T>(), m, k, queries, c.saved[2].as<T>());
    normalise(c, c.in[1].as<T>(), n, k, keys, c.saved[3].as<T>());
    const double sides = c.flag(1) ? 2 : 1, factor = 1 / (sides * double(m) * c.option(0));
    product<T>(c, {queries, ptrdiff_t(k)}, {keys, ptrdiff_t(k), true}, by, ptrdiff_t(n), m, k, n,
               false);
    double sum = 0;
    if (c.flag(1)) {
        const Scratch scratch(n * n * sizeof(T));
        T* const other = scratch.data<T>();
        for_items(c, n, 2 * double(n), [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; i++)
                for (size_t j = 0; j < n; j++) other[i * n + j] = by[j * n + i];
        });
        sum = diagonal_losses(c, by, n, n, factor) + diagonal_losses(c, other, n, n, factor);
        for_items(c, n, 2 * double(n), [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; i++)
                for (size_t j = 0; j < n; j++) by[i * n + j] += other[j * n + i];
        });
    } else {
        sum = diagonal_losses(c, by, m, n, factor);
    }
    *c.out[0].as<T>() = T(sum / (sides * double(m)));
}

// Of h = x / |x| for each row: dx = (dh - h <h, dh>) / |x|.
template <class T>
void info_nce_backward(const Call& c) {
    const size_t m = c.in[0].shape[0], n = c.in[1].shape[0], k = c.in[0].shape[1];
    const T *const by = c.saved[4].as<T>(), dy = *c.dout[0].as<T>();
    for (size_t a = 0; a < 2; a++) {
        if (!c.din[a]) continue;
        const size_t rows = a ? n : m;
        const T *const own = c.saved[a].as<T>(), *const inverses = c.saved[2 + a].as<T>();
        const Scratch scratch(rows * k * sizeof(T));
        T* const dh = scratch.data<T>();
        product<T>(c, {by, ptrdiff_t(n), a == 1}, {c.saved[1 - a].as<T>(), ptrdiff_t(k)}, dh,
                   ptrdiff_t(k), rows, a ? m : n, k, false);
        for_items(c, rows, 4 * double(k), [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; i++) {
                const T* const h = own + i * k;
                double along[4] = {};
                for (size_t j = 0; j < k; j++) along[j % 4] += double(h[j]) * double(dh[i * k + j]);
                const T much = T((along[0] + along[1]) + (along[2] + along[3]));
                c.kernels.of<T>().scale(h, -much, dh + i * k, k, true);
                c.kernels.of<T>().scale(dh + i * k, dy * inverses[i], c.din[a].as<T>() + i * k, k,
                                        c.adds(a));
            }
        });
    }
}

#define FIRTH_INSTANTIATE(T) \
    template void info_nce_forward<T>(const Call&); \
    template void info_nce_backward<T>(const Call&); \
    template void cross_entropy_forward<T>(const Call&); \
    template void cross_entropy_backward<T>(const Call&); \
    template void nll_loss_forward<T>(const Call&); \
    template void nll_loss_backward<T>(const Call&); \
    template void linear_cross_entropy_forward<T>(const Call&); \
    template void linear_cross_entropy_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
