// softmax and log_softmax along rows (the axis is contiguous) and along columns (another axis is).
//
// softmax: e^x = p 2^k with p = e^r, |r| <= ln2/2, so e^x / sum = p 2^(k - K) / sum(p 2^(k - K))
// with K the k of the row's maximum. The shift is exact: unlike x - max, which rounds, it costs
// small results no precision (the representation of Dukhan and Ablavatski, "Two-Pass Softmax
// Algorithm", 2020). Every term carries a factor 2^guard more, which the division takes away again:
// terms that end as denormals are normal until then, and what is below half the least of them is
// exactly 0.
#include "../isa.h"
#include "list_softmax.h"

namespace firth::FIRTH_LEVEL {

template <class T>
constexpr int kGuard = sizeof(T) == 4 ? 24 : 53;
template <class T>
constexpr T kLowest = -T(__builtin_inff());

// How the elements under one maximum become terms: e^(x - base) scaled by magic; below low: 0.
template <class T>
struct Shift {
    vector_of<T> base, magic, low;
};

// top: the maximum. softmax: base is 0, or top where that is so large that x - top is exact for
// every x that counts (within a factor of 2: Sterbenz). log_softmax: base is top, as in its result.
template <bool kLog, class T>
FIRTH_INLINE Shift<T> shift_under(vector_of<T> top, T) {
    typedef Format<T> F;
    constexpr T offset = T(F::bias + kGuard<T>);
    const vector_of<T> zero = set1(T(0)), limit = set1(T(sizeof(T) == 4 ? 256 : 2048));
    const vector_of<T> base = kLog ? top : (max(top, -top) <= limit ? zero : top);
    const vector_of<T> round = set1(F::round_magic);
    const vector_of<T> k = fma(top - base, set1(T(1.4426950408889634)), round) - round;
    return {base, set1(F::round_magic + offset) - k,
            (k - set1(offset)) * set1(T(0.69314718055994531))};
}

template <class T>
FIRTH_INLINE vector_of<T> term(vector_of<T> x, const Shift<T>& shift) {
    return exp_scaled(max(shift.low, x - shift.base), shift.magic);  // max lets NaN through
}

// How many elements come before p's first address that suits whole vectors; NumPy's arrays often
// begin in the middle of a cache line, and vectors that straddle two lines cost twice.
template <class T>
FIRTH_INLINE size_t until_aligned(const T* p) {
    return (-(uintptr_t)p % FIRTH_VECTOR_BYTES) / sizeof(T);
}

// x: n contiguous.
template <class T>
FIRTH_INLINE T row_max(const T* x, size_t n) {
    constexpr size_t lanes = kLanes<T>;
    vector_of<T> best[4] = {set1(kLowest<T>), set1(kLowest<T>), set1(kLowest<T>), set1(kLowest<T>)};
    size_t i = 0;
    if (n >= lanes) {
        best[0] = load(x);
        i = until_aligned(x);
    }
    for (; i + 4 * lanes <= n; i += 4 * lanes)
        for (size_t u = 0; u < 4; u++) best[u] = max(best[u], load(x + i + u * lanes));
    for (; i + lanes <= n; i += lanes) best[0] = max(best[0], load(x + i));
    if (i < n) best[1] = max(best[1], load_partial(x + i, n - i, kLowest<T>));
    return max_lane(max(max(best[0], best[1]), max(best[2], best[3])));
}

// Compensated sums (Kahan): one rounding more than the exact sum, however many terms there are.
template <class T>
struct Sum {
    vector_of<T> total = set1(T(0)), lost = set1(T(0));

    __attribute__((always_inline)) void add(vector_of<T> term) {
        const vector_of<T> more = term - lost, next = total + more;
        lost = (next - total) - more;
        total = next;
    }
};

// x: n contiguous; out: n contiguous, receives the terms where kStore, and may be x. Chains of 8
// additions in 4 registers, which are then compensated: the error does not grow with n.
template <bool kStore, class T>
FIRTH_INLINE T row_sum(const T* x, T* out, size_t n, const Shift<T>& shift) {
    constexpr size_t lanes = kLanes<T>;
    Sum<T> total;
    for (size_t i = 0; i < n;) {
        const size_t end = n - i > 32 * lanes ? i + 32 * lanes : n;
        vector_of<T> part[4] = {set1(T(0)), set1(T(0)), set1(T(0)), set1(T(0))};
        for (; i + 4 * lanes <= end; i += 4 * lanes)
            for (size_t u = 0; u < 4; u++) {
                const vector_of<T> e = term(load(x + i + u * lanes), shift);
                if (kStore) store(out + i + u * lanes, e);
                part[u] += e;
            }
        for (; i + lanes <= end; i += lanes) {
            const vector_of<T> e = term(load(x + i), shift);
            if (kStore) store(out + i, e);
            part[0] += e;
        }
        if (i < end) {
            const vector_of<T> e = term(load_partial(x + i, end - i, kLowest<T>), shift);
            if (kStore) store_partial(out + i, e, end - i);
            part[1] += e;
            i = end;
        }
        total.add((part[0] + part[1]) + (part[2] + part[3]));
    }
    return sum(total.total);
}

// out[i] = f(x[i]), for vectors.
template <class T, class F>
FIRTH_INLINE void map_row(const T* x, T* out, size_t n, const F& f) {
    constexpr size_t lanes = kLanes<T>;
    size_t i = until_aligned(out);
    if (i >= n) i = 0;
    if (i > 0) store_partial(out, f(load_partial(x, i)), i);
    for (; i + lanes <= n; i += lanes) store(out + i, f(load(x + i)));
    if (i < n) store_partial(out + i, f(load_partial(x + i, n - i)), n - i);
}

// x: n contiguous; out: n contiguous, may be x.
template <bool kLog, class T>
FIRTH_INLINE void softmax_row(const T* x, T* out, size_t n) {
    const vector_of<T> top = set1(row_max(x, n));
    const Shift<T> shift = shift_under<kLog>(top, T());
    const T total = row_sum<!kLog>(x, out, n, shift);
    if (kLog) {
        const vector_of<T> log_sum = log(set1(total / T(1ull << kGuard<T>)));
        map_row(x, out, n, [&](vector_of<T> v) { return (v - top) - log_sum; });
    } else {
        const auto sum = divisor(set1(total), T());
        map_row(out, out, n, [&](vector_of<T> v) { return divide(v, sum); });
    }
}

// kVectors vectors of neighbouring columns, the last of `count` lanes. x: n rows, x_stride apart;
// out: n rows, out_stride apart, may be x.
template <bool kLog, int kVectors, class T>
FIRTH_INLINE void softmax_columns_block(const T* x, ptrdiff_t x_stride, T* out,
                                        ptrdiff_t out_stride, size_t n, size_t count) {
    constexpr size_t lanes = kLanes<T>;
    const auto get = [&](const T* p, int v) {
        return count == lanes ? load(p + v * lanes) : load_partial(p, count, kLowest<T>);
    };
    const auto put = [&](T* p, int v, vector_of<T> value) {
        count == lanes ? store(p + v * lanes, value) : store_partial(p, value, count);
    };
    vector_of<T> top[kVectors], log_sum[kVectors];
    Divisor<vector_of<T>> total[kVectors];
    Sum<T> sums[kVectors];
    Shift<T> shift[kVectors];
    for (int v = 0; v < kVectors; v++) top[v] = set1(kLowest<T>);
    for (size_t r = 0; r < n; r++)
        for (int v = 0; v < kVectors; v++)
            top[v] = max(top[v], get(x + (ptrdiff_t)r * x_stride, v));
    for (int v = 0; v < kVectors; v++) shift[v] = shift_under<kLog>(top[v], T());
    for (size_t r = 0; r < n; r++)
        for (int v = 0; v < kVectors; v++) {
            const vector_of<T> e = term(get(x + (ptrdiff_t)r * x_stride, v), shift[v]);
            if (!kLog) put(out + (ptrdiff_t)r * out_stride, v, e);
            sums[v].add(e);
        }
    for (int v = 0; v < kVectors; v++)
        if (kLog)
            log_sum[v] = log(sums[v].total / set1(T(1ull << kGuard<T>)));
        else
            total[v] = divisor(sums[v].total, T());
    for (size_t r = 0; r < n; r++)
        for (int v = 0; v < kVectors; v++) {
            T* to = out + (ptrdiff_t)r * out_stride;
            put(to, v,
                kLog ? (get(x + (ptrdiff_t)r * x_stride, v) - top[v]) - log_sum[v]
                     : divide(get(to, v), total[v]));
        }
}

template <bool kLog, class T>
FIRTH_INLINE void softmax_columns(const T* x, ptrdiff_t x_stride, T* out, ptrdiff_t out_stride,
                                  size_t n, size_t columns) {
    constexpr size_t lanes = kLanes<T>;
    size_t c = 0;
    for (; c + 4 * lanes <= columns; c += 4 * lanes)
        softmax_columns_block<kLog, 4>(x + c, x_stride, out + c, out_stride, n, lanes);
    for (; c + lanes <= columns; c += lanes)
        softmax_columns_block<kLog, 1>(x + c, x_stride, out + c, out_stride, n, lanes);
    if (c < columns)
        softmax_columns_block<kLog, 1>(x + c, x_stride, out + c, out_stride, n, columns - c);
}

// Short rows, V vectors each: the maxima, and the sums, of as many rows as a vector has lanes are
// reduced together, so that all the arithmetic between them is done once for these rows. G such
// groups go side by side: what one waits for, the others do. Rows stay in a block of whole vectors
// until they are done: no store to out is loaded again. Missing rows are zeros: a row's bits do not
// depend on its company. x: rows <= G lanes x n, x_stride apart; out: likewise, out_stride apart,
// may be x.
template <bool kLog, size_t V, class T>
FIRTH_INLINE void softmax_short(const T* x, ptrdiff_t x_stride, T* out, ptrdiff_t out_stride,
                                size_t rows, size_t n) {
    constexpr size_t lanes = kLanes<T>, G = 4 / V;
    const size_t last = n - (V - 1) * lanes;  // elements of a row's last vector
    const size_t all = (rows + lanes - 1) / lanes * lanes;
    vector_of<T> block[G * lanes][V], part[G * lanes];
    vector_of<T> tops[G], log_sums[G];
    Shift<T> shifts[G];
    Divisor<vector_of<T>> sums[G];
    for (size_t i = 0; i < all; i++) {
        const T* row = x + (ptrdiff_t)i * x_stride;
        for (size_t v = 0; v < V; v++) {
            const T* from = row + v * lanes;
            block[i][v] = i >= rows                    ? set1(T(0))
                          : v + 1 < V || last == lanes ? load(from)
                                                       : load_partial(from, last, kLowest<T>);
        }
        part[i] = block[i][0];
        for (size_t v = 1; v < V; v++) part[i] = max(part[i], block[i][v]);
    }
    for (size_t g = 0; g * lanes < all; g++) {
        tops[g] = reduce_each(part + g * lanes, T(),
                              [](vector_of<T> a, vector_of<T> b) { return max(a, b); });
        shifts[g] = shift_under<kLog>(tops[g], T());
    }
    for (size_t i = 0; i < all; i++) {
        const Shift<T>& of = shifts[i / lanes];
        const size_t l = i % lanes;
        const Shift<T> shift = {set1(of.base[l]), set1(of.magic[l]), set1(of.low[l])};
        part[i] = set1(T(0));
        for (size_t v = 0; v < V; v++) {
            const vector_of<T> e = term(block[i][v], shift);
            if (!kLog) block[i][v] = e;
            part[i] += e;
        }
    }
    for (size_t g = 0; g * lanes < all; g++) {
        const vector_of<T> sum = reduce_each(part + g * lanes, T(),
                                             [](vector_of<T> a, vector_of<T> b) { return a + b; });
        if (kLog)
            log_sums[g] = log(sum / set1(T(1ull << kGuard<T>)));
        else
            sums[g] = divisor(sum, T());
    }
    for (size_t i = 0; i < rows; i++) {
        T* row = out + (ptrdiff_t)i * out_stride;
        const size_t g = i / lanes, l = i % lanes;
        for (size_t v = 0; v < V; v++) {
            const vector_of<T> y = kLog ? (block[i][v] - set1(tops[g][l])) - set1(log_sums[g][l])
                                        : divide(block[i][v], lane(sums[g], l));
            v + 1 < V || last == lanes ? store(row + v * lanes, y)
                                       : store_partial(row + v * lanes, y, last);
        }
    }
}

// x: rows x n, row r at x + r * x_stride, its elements x_step apart; out: rows x n, row r at
// out + r * out_stride, contiguous.
template <bool kLog, class T>
FIRTH_INLINE void softmax_rows(const T* x, ptrdiff_t x_stride, ptrdiff_t x_step, T* out,
                               ptrdiff_t out_stride, size_t rows, size_t n) {
    const size_t vectors = (n + kLanes<T> - 1) / kLanes<T>;
    const size_t together = vectors == 0 || vectors > 4 ? 1 : 4 / vectors * kLanes<T>;
    for (size_t r = 0; r < rows; r += together) {
        const size_t count = rows - r < together ? rows - r : together;
        const T* from = x + (ptrdiff_t)r * x_stride;
        T* to = out + (ptrdiff_t)r * out_stride;
        ptrdiff_t stride = x_stride;
        if (x_step != 1) {  // gather once, then in place
            for (size_t i = 0; i < count; i++)
                for (size_t c = 0; c < n; c++)
                    to[(ptrdiff_t)i * out_stride + (ptrdiff_t)c] =
                        from[(ptrdiff_t)i * x_stride + (ptrdiff_t)c * x_step];
            from = to;
            stride = out_stride;
        }
        switch (vectors) {
            case 1:
                softmax_short<kLog, 1>(from, stride, to, out_stride, count, n);
                break;
            case 2:
                softmax_short<kLog, 2>(from, stride, to, out_stride, count, n);
                break;
            case 3:
                softmax_short<kLog, 3>(from, stride, to, out_stride, count, n);
                break;
            case 4:
                softmax_short<kLog, 4>(from, stride, to, out_stride, count, n);
                break;
            default:
                softmax_row<kLog>(from, to, n);
        }
    }
}

// Rows. x: rows x n, row r at x + r * x_stride, its elements x_step apart; out: rows x n, row r at
// out + r * out_stride, its elements contiguous. out may be x exactly, but must not overlap it
// otherwise.
#define FIRTH_SOFTMAX_ROWS(name, T, kLog) \
    void name(const T* x, ptrdiff_t x_stride, ptrdiff_t x_step, T* out, ptrdiff_t out_stride, \
              size_t rows, size_t n) { \
        softmax_rows<kLog>(x, x_stride, x_step, out, out_stride, rows, n); \
    }
FIRTH_SOFTMAX_ROWS(softmax_f32, float, false)
FIRTH_SOFTMAX_ROWS(softmax_f64, double, false)
FIRTH_SOFTMAX_ROWS(log_softmax_f32, float, true)
FIRTH_SOFTMAX_ROWS(log_softmax_f64, double, true)

// Columns. x: n x columns, row r at x + r * x_stride; out: likewise, out_stride apart; each column
// on its own. out may be x exactly, but must not overlap it otherwise.
#define FIRTH_SOFTMAX_COLUMNS(name, T, kLog) \
    void name(const T* x, ptrdiff_t x_stride, T* out, ptrdiff_t out_stride, size_t n, \
              size_t columns) { \
        softmax_columns<kLog>(x, x_stride, out, out_stride, n, columns); \
    }
FIRTH_SOFTMAX_COLUMNS(softmax_columns_f32, float, false)
FIRTH_SOFTMAX_COLUMNS(softmax_columns_f64, double, false)
FIRTH_SOFTMAX_COLUMNS(log_softmax_columns_f32, float, true)
FIRTH_SOFTMAX_COLUMNS(log_softmax_columns_f64, double, true)

}  // namespace firth::FIRTH_LEVEL
