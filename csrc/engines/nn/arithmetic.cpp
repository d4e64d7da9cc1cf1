// Arithmetic: functions of one and of two elements, sums, maxima, products of matrices. (Above 500
// lines: all operations of the page arithmetic.py.)
#include <math.h>

#include <algorithm>
#include <type_traits>

#include "engines/nn/operation.h"
#include "memory.h"

namespace firth::nn {
namespace {

bool is_real(const Array& x) { return x.kind == Kind::real; }

bool is_number(double option, size_t end) {
    return option >= 0 && option < double(end) && option == double(size_t(option));
}

// ---- map: a function of each element ------------------------------------------------------------

bool map_reads_input(int function) {
    return function == kReciprocal || function == kLog || function == kSquare || function == kAbs ||
           function == kClamp || function == kPower;
}
bool map_reads_output(int function) { return function == kExp || function == kSqrt; }
double map_cost(int function) { return function == kPower ? 50 : 2; }

}  // namespace

// options: the function and its numbers a, b (kernels/list_activation.h). in: x; out: y.
bool map_fits(const Call& c) {
    if (c.ins != 1 || c.outs != 1 || c.saves != 0 || c.option_count != 3) return false;
    if (!is_number(c.option(0), kPower + 1) || !c.out[0].has_shape_of(c.in[0])) return false;
    if (!is_real(c.in[0]) || !is_real(c.out[0])) return false;
    if (!c.backward) return c.in[0] && c.out[0];
    const int function = int(c.option(0));
    return c.dout[0] && c.din[0] && (!map_reads_input(function) || c.in[0]) &&
           (!map_reads_output(function) || c.out[0]);
}

template <class T>
void map_forward(const Call& c) {
    const int function = int(c.option(0));
    const double a = c.option(1), b = c.option(2);
    const T* x = c.in[0].as<T>();
    T* y = c.out[0].as<T>();
    for_items(c, c.in[0].size(), map_cost(function), [&](size_t begin, size_t end) {
        if (function == kPower)
            for (size_t i = begin; i < end; i++) y[i] = T(pow(double(x[i]), a));
        else
            c.kernels.of<T>().map(function, x + begin, y + begin, end - begin, a, b);
    });
}

template <class T>
void map_backward(const Call& c) {
    const int function = int(c.option(0));
    const double a = c.option(1), b = c.option(2);
    const bool add = c.adds(0);
    const T *dy = c.dout[0].as<T>(), *x = c.in[0].as<T>(), *y = c.out[0].as<T>();
    T* dx = c.din[0].as<T>();
    for_items(c, c.in[0].size(), map_cost(function), [&](size_t begin, size_t end) {
        if (function == kPower)
            for (size_t i = begin; i < end; i++) {
                const T d = a == 0 ? T(0) : T(double(dy[i]) * a * pow(double(x[i]), a - 1));
                dx[i] = add ? dx[i] + d : d;
            }
        else
            c.kernels.of<T>().map_backward(function, dy + begin, x ? x + begin : nullptr,
                                           y ? y + begin : nullptr, dx + begin, end - begin, a, b,
                                           add);
    });
}

// ---- combine: a function of two elements --------------------------------------------------------

namespace {

// Whether the shape of x, but for axes of 1 that lead it, is the end of the shape of y.
bool is_end_of(const Array& x, const Array& y) {
    size_t lead = 0;
    while (lead < x.axes && x.shape[lead] == 1) lead++;
    const size_t axes = x.axes - lead;
    return axes <= y.axes &&
           !memcmp(x.shape + lead, y.shape + y.axes - axes, axes * sizeof *x.shape);
}

// Rows that an operand of few elements is repeated along. Where these are few, they stand in
// scratch some times in a row, so that a row fills vectors.
constexpr size_t kWide = 512;
size_t wide(size_t n) { return n >= kWide / 2 ? n : n * (kWide / n); }

// x (n) repeated until the row has `width` elements; x itself where that is n.
template <class T>
const T* repeated(const T* x, size_t n, size_t width, const Scratch& into) {
    if (!x || width == n) return x;
    for (size_t i = 0; i < width; i++) into.data<T>()[i] = x[i % n];
    return into.data<T>();
}

// out (n) = or += sums over rows. `from` is rows x n elements, or a function that computes some of
// them: from(row, rows, begin, end, to) puts columns begin to end of these rows at `to`, end -
// begin elements each. In two levels, of blocks that the shape sets.
template <class T, class From>
void sum_rows(const Call& c, size_t rows, size_t n, T* out, bool add, const From& from) {
    constexpr size_t kColumns = 512, kRows = 256, kComputed = 8;
    constexpr bool there = std::is_convertible_v<From, const T*>;
    const size_t blocks = divide_up(rows, kRows), tiles = divide_up(n, kColumns);
    const auto& kernels = c.kernels.of<T>();
    const Scratch partial(std::max<size_t>(blocks, 1) * n * sizeof(T));
    const double cost = double(std::min(rows, kRows) * std::min(n, kColumns));
    for_items(c, blocks * tiles, cost, [&](size_t first, size_t last) {
        const Scratch computed(there ? 0 : kComputed * kColumns * sizeof(T));
        for (size_t item = first; item < last; item++) {
            const size_t block = item / tiles, begin = item % tiles * kColumns;
            const size_t end = std::min(n, begin + kColumns), width = end - begin;
            const size_t start = block * kRows, stop = std::min(rows, start + kRows);
            T* sums = partial.data<T>() + block * n + begin;
            if constexpr (there) {
                kernels.sum_columns(from + start * n + begin, ptrdiff_t(n), sums, stop - start,
                                    width, false);
            } else {
                for (size_t r = start; r < stop; r += kComputed) {
                    const size_t count = std::min(kComputed, stop - r);
                    from(r, count, begin, end, computed.data<T>());
                    kernels.sum_columns(computed.data<T>(), ptrdiff_t(width), sums, count, width,
                                        r > start);
                }
            }
        }
    });
    kernels.sum_columns(partial.data<T>(), ptrdiff_t(n), out, blocks, n, add);
}

// f(first, second) element by element: operands of `size` elements, or of n, repeated.
template <class T>
struct Pair {
    int function;
    const T *first, *second;
    bool first_repeats, second_repeats;
};

// rows x n of a pair, from element `start` on; each row `stride` after the other.
template <class T>
void evaluate(const Call& c, const Pair<T>& pair, size_t start, size_t column, size_t stride,
              T* out, size_t out_stride, size_t rows, size_t n, bool add) {
    const T* first = pair.first + (pair.first_repeats ? column : start);
    const T* second = pair.second + (pair.second_repeats ? column : start);
    c.kernels.of<T>().combine(pair.function, first, pair.first_repeats ? 0 : ptrdiff_t(stride),
                              second, pair.second_repeats ? 0 : ptrdiff_t(stride), out,
                              ptrdiff_t(out_stride), rows, n, add);
}

// out (size) = or += the pair, whose repeated operands have `width` elements.
template <class T>
void evaluate_all(const Call& c, const Pair<T>& pair, size_t size, size_t width, T* out, bool add) {
    if (size == 0) return;
    if (!pair.first_repeats && !pair.second_repeats)
        return for_items(c, size, 1, [&](size_t begin, size_t end) {
            evaluate(c, pair, begin, 0, 0, out + begin, 0, 1, end - begin, add);
        });
    const size_t rows = size / width, rest = size % width;
    for_items(c, rows, double(width), [&](size_t begin, size_t end) {
        evaluate(c, pair, begin * width, 0, width, out + begin * width, width, end - begin, width,
                 add);
    });
    if (rest) evaluate(c, pair, rows * width, 0, 0, out + rows * width, 0, 1, rest, add);
}

// out (n) = or += the sums of the pair's elements over the rows that it is repeated along.
template <class T>
void sum_of_pair(const Call& c, const Pair<T>& pair, size_t size, size_t n, size_t width, T* out,
                 bool add) {
    const size_t rows = size / width, rest = size % width;
    const bool folds = width != n;
    const Scratch scratch(2 * width * sizeof(T));
    T *sums = scratch.data<T>(), *last = sums + width;
    T* to = folds ? sums : out;
    if (pair.function == kFirst)
        sum_rows(c, rows, width, to, !folds && add, pair.first);
    else
        sum_rows(c, rows, width, to, !folds && add,
                 [&](size_t row, size_t count, size_t begin, size_t end, T* some) {
                     evaluate(c, pair, row * width + begin, begin, width, some, end - begin, count,
                              end - begin, false);
                 });
    if (!folds) return;
    const auto& kernels = c.kernels.of<T>();
    if (rest) {
        evaluate(c, pair, rows * width, 0, 0, last, 0, 1, rest, false);
        kernels.combine(kFirst, last, 0, last, 0, sums, 0, 1, rest, true);
    }
    if (n == 1) {
        const T all = T(kernels.total(sums, width));
        *out = add ? *out + all : all;
    } else {
        kernels.sum_columns(sums, ptrdiff_t(n), out, width / n, n, add);
    }
}

}  // namespace

// options: add, sub, mul or div. in: a, b, of which one may have the shape of the other's end; out:
// the larger's shape. Backward mul reads a and b, div reads b and y.
bool combine_fits(const Call& c) {
    if (c.ins != 2 || c.outs != 1 || c.saves != 0 || c.option_count != 1) return false;
    if (!is_number(c.option(0), kDiv + 1)) return false;
    const Array &a = c.in[0], &b = c.in[1], &y = c.out[0];
    if (!is_real(a) || !is_real(b) || !is_real(y)) return false;
    if (!(y.has_shape_of(a) && is_end_of(b, y)) && !(y.has_shape_of(b) && is_end_of(a, y)))
        return false;
    if (!c.backward) return a && b && y;
    const int function = int(c.option(0));
    if (function == kMul && ((c.din[0] && !b) || (c.din[1] && !a))) return false;
    if (function == kDiv && (!b || (c.din[1] && !y))) return false;
    return bool(c.dout[0]);
}

template <class T>
void combine_forward(const Call& c) {
    const size_t size = c.out[0].size(), a = c.in[0].size(), b = c.in[1].size();
    if (size == 0) return;
    const size_t n = std::min(a, b), width = n == size ? n : wide(n);
    const Scratch scratch(n == size ? 0 : width * sizeof(T));
    const bool a_repeats = a < size, b_repeats = b < size;
    const T *first = c.in[0].as<T>(), *second = c.in[1].as<T>();
    if (a_repeats) first = repeated(first, n, width, scratch);
    if (b_repeats) second = repeated(second, n, width, scratch);
    evaluate_all(c, Pair<T>{int(c.option(0)), first, second, a_repeats, b_repeats}, size, width,
                 c.out[0].as<T>(), false);
}

template <class T>
void combine_backward(const Call& c) {
    const size_t size = c.out[0].size(), a = c.in[0].size(), b = c.in[1].size();
    if (size == 0) {
        for (size_t i = 0; i < 2; i++)
            if (c.din[i] && !c.adds(i)) std::fill_n(c.din[i].as<T>(), c.in[i].size(), T(0));
        return;
    }
    const size_t n = std::min(a, b), width = n == size ? n : wide(n);
    const bool repeats[2] = {a < size, b < size};
    const Scratch scratch(n == size ? 0 : width * sizeof(T));
    const int function = int(c.option(0));
    const T* dy = c.dout[0].as<T>();
    const T* operand[2] = {c.in[0].as<T>(), c.in[1].as<T>()};
    for (size_t i = 0; i < 2; i++)
        if (repeats[i]) operand[i] = repeated(operand[i], n, width, scratch);
    const Scratch product(function == kDiv && c.din[1] ? size * sizeof(T) : 0);
    for (size_t i = 0; i < 2; i++) {
        if (!c.din[i]) continue;
        Pair<T> pair{kFirst, dy, dy, false, false};  // of add, and of what sub has on the left
        if (function == kMul) pair = {kMul, dy, operand[1 - i], false, repeats[1 - i]};
        if (function == kSub && i == 1) pair.function = kNegative;
        if (function == kDiv && i == 0) pair = {kDiv, dy, operand[1], false, repeats[1]};
        if (function == kDiv && i == 1) {  // -dy y / b
            evaluate_all(c, Pair<T>{kMul, dy, c.out[0].as<T>(), false, false}, size, size,
                         product.data<T>(), false);
            pair = {kNegativeDiv, product.data<T>(), operand[1], false, repeats[1]};
        }
        if (repeats[i])
            sum_of_pair(c, pair, size, n, width, c.din[i].as<T>(), c.adds(i));
        else
            evaluate_all(c, pair, size, width, c.din[i].as<T>(), c.adds(i));
    }
}

// ---- sum: over all elements or one axis ---------------------------------------------------------

namespace {

// An array as outer x n x inner around an axis; all of it where the axis is -1.
struct Around {
    size_t outer = 1, n = 1, inner = 1;
};
Around around(const Array& x, ptrdiff_t axis) {
    Around a;
    if (axis < 0) {
        a.n = x.size();
        return a;
    }
    for (size_t i = 0; i < size_t(axis); i++) a.outer *= x.shape[i];
    a.n = x.shape[axis];
    for (size_t i = size_t(axis) + 1; i < x.axes; i++) a.inner *= x.shape[i];
    return a;
}

}  // namespace

// options: the axis, or -1 for all of them, and whether the mean is asked for. in: x; out: y, which
// may keep the axis as one of 1.
bool sum_fits(const Call& c) {
    if (c.ins != 1 || c.outs != 1 || c.saves != 0 || c.option_count != 2) return false;
    if (c.option(0) != -1 && !is_number(c.option(0), c.in[0].axes)) return false;
    if (!is_real(c.in[0]) || !is_real(c.out[0])) return false;
    const Around a = around(c.in[0], ptrdiff_t(c.option(0)));
    if (c.out[0].size() != a.outer * a.inner) return false;
    return c.backward ? c.dout[0] && c.din[0] : c.in[0] && c.out[0];
}

namespace {

// y = or += the sums along the axis that `a` is around, or the means.
template <class T>
void sum_along(const Call& c, const Around& a, bool mean, const T* x, T* y, bool add) {
    const auto& kernels = c.kernels.of<T>();
    const auto put = [&](T* to, double all) {
        const T value = T(mean ? all / double(a.n) : all);
        *to = add ? *to + value : value;
    };
    if (a.inner == 1 && a.outer == 1) {
        constexpr size_t kBlock = 1 << 16;
        const size_t blocks = divide_up(a.n, kBlock);
        const Scratch partial(blocks * sizeof(double));
        for_items(c, blocks, double(std::min(a.n, kBlock)), [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; i++)
                partial.data<double>()[i] =
                    kernels.total(x + i * kBlock, std::min(kBlock, a.n - i * kBlock));
        });
        double all = 0;
        for (size_t i = 0; i < blocks; i++) all += partial.data<double>()[i];
        put(y, all);
    } else if (a.inner == 1) {
        for_items(c, a.outer, double(a.n), [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; i++) put(y + i, kernels.total(x + i * a.n, a.n));
        });
    } else {
        const bool many = a.outer >= 2 * size_t(c.threads);
        Call one = c;
        if (many) one.threads = 1;
        const auto each = [&](size_t first, size_t last) {
            for (size_t o = first; o < last; o++)
                sum_rows(one, a.n, a.inner, y + o * a.inner, add, x + o * a.n * a.inner);
        };
        many ? for_items(c, a.outer, double(a.n * a.inner), each) : each(0, a.outer);
        if (mean) kernels.map(kScale, y, y, a.outer * a.inner, 1 / double(a.n), 0);
    }
}

// x = or += scale y, repeated along the axis.
template <class T>
void repeat_along(const Call& c, const Around& a, T scale, const T* y, T* x, bool add) {
    const auto& kernels = c.kernels.of<T>();
    if (a.inner == 1 && a.outer == 1)
        return for_items(c, a.n, 1, [&](size_t begin, size_t end) {
            if (add)
                kernels.map(kShift, x + begin, x + begin, end - begin, double(scale * *y), 0);
            else
                std::fill(x + begin, x + end, scale * *y);
        });
    for_items(c, a.outer, double(a.n * a.inner), [&](size_t begin, size_t end) {
        const Scratch row(a.inner * sizeof(T));
        for (size_t o = begin; o < end; o++) {
            T* to = x + o * a.n * a.inner;
            if (a.inner == 1) {
                if (add)
                    kernels.map(kShift, to, to, a.n, double(scale * y[o]), 0);
                else
                    std::fill_n(to, a.n, scale * y[o]);
                continue;
            }
            kernels.map(kScale, y + o * a.inner, row.data<T>(), a.inner, double(scale), 0);
            kernels.combine(kFirst, row.data<T>(), 0, row.data<T>(), 0, to, ptrdiff_t(a.inner), a.n,
                            a.inner, add);
        }
    });
}

}  // namespace

template <class T>
void sum_forward(const Call& c) {
    const Around a = around(c.in[0], ptrdiff_t(c.option(0)));
    sum_along(c, a, c.flag(1), c.in[0].as<T>(), c.out[0].as<T>(), false);
}

template <class T>
void sum_backward(const Call& c) {
    const Around a = around(c.in[0], ptrdiff_t(c.option(0)));
    const T scale = c.flag(1) ? T(1 / double(a.n)) : T(1);
    repeat_along(c, a, scale, c.dout[0].as<T>(), c.din[0].as<T>(), c.adds(0));
}

// ---- expand: an axis of 1 repeated, which is sum the other way round ----------------------------

// options: the axis. in: x; out: y, longer along the axis.
bool expand_fits(const Call& c) {
    if (c.ins != 1 || c.outs != 1 || c.saves != 0 || c.option_count != 1) return false;
    if (!is_real(c.in[0]) || !is_real(c.out[0]) || c.in[0].axes != c.out[0].axes) return false;
    if (!is_number(c.option(0), c.in[0].axes)) return false;
    for (size_t i = 0; i < c.in[0].axes; i++)
        if (c.in[0].shape[i] != (i == size_t(c.option(0)) ? 1 : c.out[0].shape[i])) return false;
    return c.backward ? c.dout[0] && c.din[0] : c.in[0] && c.out[0];
}

template <class T>
void expand_forward(const Call& c) {
    const Around a = around(c.out[0], ptrdiff_t(c.option(0)));
    repeat_along(c, a, T(1), c.in[0].as<T>(), c.out[0].as<T>(), false);
}

template <class T>
void expand_backward(const Call& c) {
    const Around a = around(c.out[0], ptrdiff_t(c.option(0)));
    sum_along(c, a, false, c.dout[0].as<T>(), c.din[0].as<T>(), c.adds(0));
}

// ---- masked_fill: a number where a mask is true -------------------------------------------------

// options: the number. in: x, mask (bytes), whose shape is the end of that of x; out: y.
bool masked_fill_fits(const Call& c) {
    if (c.ins != 2 || c.outs != 1 || c.saves != 0 || c.option_count != 1) return false;
    if (!is_real(c.in[0]) || !is_real(c.out[0]) || c.in[1].kind != Kind::byte) return false;
    if (!c.in[1] || !is_end_of(c.in[1], c.in[0]) || !c.out[0].has_shape_of(c.in[0])) return false;
    return c.backward ? c.dout[0] && c.din[0] : c.in[0] && c.out[0];
}

namespace {

// body(i, whether the mask is true there) for each element i of x.
template <class Body>
void for_masked(const Call& c, const Body& body) {
    const uint8_t* mask = c.in[1].as<uint8_t>();
    const size_t n = c.in[1].size();
    for_items(c, c.in[0].size(), 2, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end;) {
            const size_t at = i % n, stop = std::min(end, i + n - at);
            for (size_t j = at; i < stop; i++, j++) body(i, mask[j] != 0);
        }
    });
}

}  // namespace

template <class T>
void masked_fill_forward(const Call& c) {
    const T value = T(c.option(0)), *x = c.in[0].as<T>();
    T* y = c.out[0].as<T>();
    for_masked(c, [=](size_t i, bool masked) { y[i] = masked ? value : x[i]; });
}

template <class T>
void masked_fill_backward(const Call& c) {
    const T* dy = c.dout[0].as<T>();
    T* dx = c.din[0].as<T>();
    const bool add = c.adds(0);
    for_masked(c, [=](size_t i, bool masked) {
        const T d = masked ? T(0) : dy[i];
        dx[i] = add ? dx[i] + d : d;
    });
}

// ---- maximum: over an axis, or over pieces of one -----------------------------------------------

namespace {

Around pieces_of(const Call& c) {
    Around a = around(c.in[0], ptrdiff_t(c.option(0)));
    const size_t pieces = size_t(c.option(1));
    if (pieces) {
        a.inner *= a.n / pieces;
        a.n = pieces;
    }
    return a;
}

}  // namespace

// options: the axis; into how many pieces it is cut, or 0 for single elements. in: x; out: y, of
// each place in a piece the greatest, the first of equals; saved: the piece that has it (index).
bool maximum_fits(const Call& c) {
    if (c.ins != 1 || c.outs != 1 || c.saves != 1 || c.option_count != 2) return false;
    const Array &x = c.in[0], &y = c.out[0], &winner = c.saved[0];
    if (!is_number(c.option(0), x.axes) || !is_number(c.option(1), 1e9)) return false;
    const size_t n = x.shape[size_t(c.option(0))], pieces = size_t(c.option(1));
    if (n == 0 || (pieces && n % pieces)) return false;
    const Around a = pieces_of(c);
    if (!is_real(x) || !is_real(y) || y.size() != a.outer * a.inner) return false;
    if (winner.kind != Kind::index || !winner.has_shape_of(y) || !winner) return false;
    return c.backward ? c.dout[0] && c.din[0] : x && y;
}

template <class T>
void maximum_forward(const Call& c) {
    const Around a = pieces_of(c);
    const T* x = c.in[0].as<T>();
    T* y = c.out[0].as<T>();
    int64_t* winners = c.saved[0].as<int64_t>();
    for_items(c, a.outer, double(a.n * a.inner), [&](size_t begin, size_t end) {
        for (size_t o = begin; o < end; o++) {
            const T* from = x + o * a.n * a.inner;
            T* best = y + o * a.inner;
            int64_t* winner = winners + o * a.inner;
            std::copy_n(from, a.inner, best);
            std::fill_n(winner, a.inner, 0);
            for (size_t p = 1; p < a.n; p++)
                for (size_t i = 0; i < a.inner; i++) {
                    const T value = from[p * a.inner + i];
                    // the first NaN wins
                    if (value > best[i] || (value != value && best[i] == best[i])) {
                        best[i] = value;
                        winner[i] = int64_t(p);
                    }
                }
        }
    });
}

template <class T>
void maximum_backward(const Call& c) {
    const Around a = pieces_of(c);
    const T* dy = c.dout[0].as<T>();
    T* dx = c.din[0].as<T>();
    const int64_t* winners = c.saved[0].as<int64_t>();
    const bool add = c.adds(0);
    for_items(c, a.outer, double(a.n * a.inner), [&](size_t begin, size_t end) {
        for (size_t o = begin; o < end; o++) {
            T* to = dx + o * a.n * a.inner;
            if (!add) std::fill_n(to, a.n * a.inner, T(0));
            for (size_t i = 0; i < a.inner; i++) {
                const size_t p = size_t(winners[o * a.inner + i]);
                if (p < a.n) to[p * a.inner + i] += dy[o * a.inner + i];
            }
        }
    });
}

// ---- matmul: products of matrices, or of as many as leading axes say ----------------------------

namespace {

// b may be one matrix for all of a, whose rows then are those of one matrix.
struct Products {
    size_t count, m, k, n;
};
Products products_of(const Call& c) {
    const Array &a = c.in[0], &b = c.in[1];
    const size_t k = a.last(), n = b.last();
    if (b.axes == 2) return {1, a.rows(), k, n};
    const size_t m = a.shape[a.axes - 2];
    size_t count = 1;
    for (size_t i = 0; i + 2 < a.axes; i++) count *= a.shape[i];
    return {count, m, k, n};
}

// body(call, i) for each product: shared by the threads where they are many, else one by one.
template <class Body>
void for_products(const Call& c, const Products& p, const Body& body) {
    if (p.count < 2 * size_t(c.threads)) {
        for (size_t i = 0; i < p.count; i++) body(c, i);
        return;
    }
    Call one = c;
    one.threads = 1;
    for_items(c, p.count, double(p.m) * double(p.n) * double(p.k) / 8 + 100,
              [&](size_t begin, size_t end) {
                  for (size_t i = begin; i < end; i++) body(one, i);
              });
}

}  // namespace

// in: a (..., M, K), b (..., K, N) with the leading axes of a, or (K, N); out: y (..., M, N).
bool matmul_fits(const Call& c) {
    if (c.ins != 2 || c.outs != 1 || c.saves != 0 || c.option_count != 0) return false;
    const Array &a = c.in[0], &b = c.in[1], &y = c.out[0];
    if (!is_real(a) || !is_real(b) || !is_real(y)) return false;
    if (a.axes < 2 || b.axes < 2 || y.axes != a.axes || (b.axes != 2 && b.axes != a.axes))
        return false;
    if (a.last() != b.shape[b.axes - 2] || y.last() != b.last()) return false;
    for (size_t i = 0; i + 1 < a.axes; i++)
        if (y.shape[i] != a.shape[i]) return false;
    if (b.axes != 2 && memcmp(a.shape, b.shape, (a.axes - 2) * sizeof *a.shape)) return false;
    if (!c.backward) return a && b && y;
    return c.dout[0] && (!c.din[0] || b) && (!c.din[1] || a);
}

template <class T>
void matmul_forward(const Call& c) {
    const Products p = products_of(c);
    const T *a = c.in[0].as<T>(), *b = c.in[1].as<T>();
    T* y = c.out[0].as<T>();
    for_products(c, p, [&](const Call& call, size_t i) {
        product<T>(call, {a + i * p.m * p.k, ptrdiff_t(p.k)}, {b + i * p.k * p.n, ptrdiff_t(p.n)},
                   y + i * p.m * p.n, ptrdiff_t(p.n), p.m, p.k, p.n, false);
    });
}

// da = dy b^T, db = a^T dy
template <class T>
void matmul_backward(const Call& c) {
    const Products p = products_of(c);
    const T *a = c.in[0].as<T>(), *b = c.in[1].as<T>(), *dy = c.dout[0].as<T>();
    T *da = c.din[0].as<T>(), *db = c.din[1].as<T>();
    for_products(c, p, [&](const Call& call, size_t i) {
        const Matrix<T> d{dy + i * p.m * p.n, ptrdiff_t(p.n)};
        if (da)
            product<T>(call, d, {b + i * p.k * p.n, ptrdiff_t(p.n), true}, da + i * p.m * p.k,
                       ptrdiff_t(p.k), p.m, p.n, p.k, c.adds(0));
        if (db)
            product<T>(call, {a + i * p.m * p.k, ptrdiff_t(p.k), true}, d, db + i * p.k * p.n,
                       ptrdiff_t(p.n), p.k, p.m, p.n, c.adds(1));
    });
}

#define FIRTH_INSTANTIATE(name) \
    template void name##_forward<float>(const Call&); \
    template void name##_forward<double>(const Call&); \
    template void name##_backward<float>(const Call&); \
    template void name##_backward<double>(const Call&);
FIRTH_INSTANTIATE(map)
FIRTH_INSTANTIATE(combine)
FIRTH_INSTANTIATE(sum)
FIRTH_INSTANTIATE(expand)
FIRTH_INSTANTIATE(masked_fill)
FIRTH_INSTANTIATE(maximum)
FIRTH_INSTANTIATE(matmul)

}  // namespace firth::nn
