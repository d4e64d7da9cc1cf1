// Attention of networks that train, between the matrix products, forward and backward
// (engines/nn/attention.cpp), and rotary positions. A row is a query, a lane a key.
//
//   weights     P = softmax(scale S + mask), kept with lse = log sum exp of each row
//   gradient    P = exp(scale S + mask - lse) again, and dS = scale P (dP - rows' sums of dO O)
//
// A row that sees no key has weights 0 and lse -inf.
#include "../isa.h"
#include "list_attention_backward.h"

namespace firth::FIRTH_LEVEL {

// out: rows x n numbers to add to scores: `added`'s or 0, -inf where flags (bytes; not 0 as
// `dropped` says) or padding (n bytes, not 0) forbid the key.
template <class T>
FIRTH_INLINE void mask_rows(T* out, ptrdiff_t out_stride, const T* added, const uint8_t* flags,
                            ptrdiff_t mask_stride, bool dropped, const uint8_t* padding,
                            size_t rows, size_t n) {
    const T never = -T(__builtin_inff());
    for (size_t r = 0; r < rows; r++) {
        T* to = out + (ptrdiff_t)r * out_stride;
        const ptrdiff_t at = (ptrdiff_t)r * mask_stride;
        if (added)
            memcpy(to, added + at, n * sizeof(T));
        else if (flags)
            for (size_t i = 0; i < n; i++)
                to[i] = (flags[at + (ptrdiff_t)i] != 0) == dropped ? never : T(0);
        else
            for (size_t i = 0; i < n; i++) to[i] = T(0);
        if (padding)
            for (size_t i = 0; i < n; i++) to[i] = padding[i] ? never : to[i];
    }
}

// Factors of the weights of keys first, first + 1, ...: 0 or `kept`, of a hash of the row's number
// and the key (the last steps of MurmurHash3).
template <class T>
FIRTH_INLINE void dropout_factors(uint32_t row, uint32_t first, const AttentionRows<T>& of,
                                  T* factors, size_t n) {
    for (uint32_t i = 0; i < (uint32_t)n; i++) {
        uint32_t h = row + (first + i) * 0x9e3779b9u;
        h = (h ^ h >> 16) * 0x85ebca6bu;
        h = (h ^ h >> 13) * 0xc2b2ae35u;
        h ^= h >> 16;
        factors[i] = h < of.dropped ? T(0) : of.kept;
    }
}

FIRTH_INLINE size_t clamped(ptrdiff_t x, size_t most) {
    return x < 0 ? 0 : (size_t)x < most ? (size_t)x : most;
}

// scores: rows x keys, stride apart, become the weights; lse: rows.
template <class T>
FIRTH_INLINE void weights_of_rows(T* scores, ptrdiff_t stride, size_t rows, size_t keys,
                                  const AttentionRows<T>& of, T* lse) {
    constexpr size_t lanes = kLanes<T>, strip = 64;
    typedef vector_of<T> V;
    const V scale = set1(of.scale);
    const T never = -T(__builtin_inff());
    for (size_t r = 0; r < rows; r++) {
        T* row = scores + (ptrdiff_t)r * stride;
        const T* mask = of.mask ? of.mask + (ptrdiff_t)r * of.mask_stride : nullptr;
        const size_t seen = clamped(of.diagonal + (ptrdiff_t)r + 1, keys);
        V best[2] = {set1(never), set1(never)};
        size_t i = 0;
        for (; i + lanes <= seen; i += lanes) {
            const V s = load(row + i), x = mask ? fma(s, scale, load(mask + i)) : s * scale;
            store(row + i, x);
            best[i / lanes % 2] = max(best[i / lanes % 2], x);
        }
        if (i < seen) {
            const V s = load_partial(row + i, seen - i);
            store_partial(row + i,
                          mask ? fma(s, scale, load_partial(mask + i, seen - i)) : s * scale,
                          seen - i);
            best[0] = max(best[0], load_partial(row + i, seen - i, never));
        }
        const T top = max_lane(max(best[0], best[1]));
        if (seen == 0 || top == never) {
            memset(row, 0, keys * sizeof(T));
            lse[r] = never;
            continue;
        }
        const V reference = set1(top);
        V sums[2] = {set1(T(0)), set1(T(0))};
        for (i = 0; i + lanes <= seen; i += lanes) {
            const V e = exp_negative(load(row + i) - reference, T());
            store(row + i, e);
            sums[i / lanes % 2] += e;
        }
        if (i < seen) {
            const V e = exp_negative(load_partial(row + i, seen - i, never) - reference, T());
            store_partial(row + i, e, seen - i);
            sums[0] += e;
        }
        const T total = (T)sum(sums[0] + sums[1]);
        lse[r] = top + log(set1(total))[0];
        const V inverse = set1(T(1)) / set1(total);
        if (of.draws) {
            T factors[strip];
            for (size_t first = 0; first < seen; first += strip) {
                const size_t n = seen - first < strip ? seen - first : strip;
                dropout_factors(of.draws[r], (uint32_t)first, of, factors, n);
                for (size_t c = 0; c < n; c += lanes) {
                    const size_t count = n - c < lanes ? n - c : lanes;
                    const V e = load_up_to(row + first + c, count);
                    store_up_to(row + first + c, e * inverse * load_up_to(factors + c, count),
                                count);
                }
            }
        } else {
            for (i = 0; i + lanes <= seen; i += lanes) store(row + i, load(row + i) * inverse);
            if (i < seen)
                store_partial(row + i, load_partial(row + i, seen - i) * inverse, seen - i);
        }
        memset(row + seen, 0, (keys - seen) * sizeof(T));
    }
}

// Panels of kGemmColumns columns, `keys` of them in use; the others receive anything. scores
// become the weights that met the values, gradients (dP) those of the products of query and key.
// first_key: the number of the first column. totals: rows' sums of dO O.
template <class T>
FIRTH_INLINE void gradient_of_rows(T* scores, T* gradients, size_t rows, size_t keys,
                                   size_t first_key, const AttentionRows<T>& of, const T* lse,
                                   const T* totals) {
    constexpr size_t columns = kGemmColumns<T>, lanes = kLanes<T>;
    typedef vector_of<T> V;
    const V scale = set1(of.scale), zero = set1(T(0));
    T numbers[lanes];
    for (size_t i = 0; i < lanes; i++) numbers[i] = T(i);
    const V lane = load(numbers);
    for (size_t r = 0; r < rows; r++) {
        T *s = scores + r * columns, *g = gradients + r * columns;
        const T* mask = of.mask ? of.mask + (ptrdiff_t)r * of.mask_stride : nullptr;
        const size_t seen = clamped(of.diagonal + (ptrdiff_t)r + 1, columns);
        // lse -inf: no key was seen, all weights are 0
        const V reference = set1(lse[r] == -T(__builtin_inff()) ? -lse[r] : lse[r]);
        const V total = set1(totals[r]);
        T factors[columns];
        if (of.draws) dropout_factors(of.draws[r], (uint32_t)first_key, of, factors, columns);
        for (size_t c = 0; c < columns; c += lanes) {
            V x = load(s + c) * scale;
            if (mask && c < keys) {
                const size_t count = keys - c < lanes ? keys - c : lanes;
                x = fma(load(s + c), scale, load_up_to(mask + c, count));
            }
            V p = exp_negative(x - reference, T());
            if (seen < c + lanes) p = lane + T(c) < T(seen) ? p : zero;
            V d = load(g + c), weight = p;
            if (of.draws) {
                const V factor = load(factors + c);
                d *= factor;
                weight *= factor;
            }
            store(s + c, weight);
            store(g + c, p * (d - total) * scale);
        }
    }
}

// out[r] = a[r] . b[r], rows of n.
template <class T>
FIRTH_INLINE void dots(const T* a, ptrdiff_t a_stride, const T* b, ptrdiff_t b_stride, size_t rows,
                       size_t n, T* out) {
    constexpr size_t lanes = kLanes<T>;
    for (size_t r = 0; r < rows; r++) {
        const T *x = a + (ptrdiff_t)r * a_stride, *y = b + (ptrdiff_t)r * b_stride;
        vector_of<T> total = set1(T(0));
        size_t i = 0;
        for (; i + lanes <= n; i += lanes) total = fma(load(x + i), load(y + i), total);
        if (i < n) total = fma(load_partial(x + i, n - i), load_partial(y + i, n - i), total);
        out[r] = (T)sum(total);
    }
}

// out (columns x n, rows out_stride apart) = or += the transpose of a panel, n rows of kGemmColumns
// of which `columns` are in use.
template <class T>
FIRTH_INLINE void put_transposed(const T* panel, size_t n, size_t columns, T* out,
                                 ptrdiff_t out_stride, bool add) {
    constexpr size_t lanes = kLanes<T>, width = kGemmColumns<T>;
    for (size_t c = 0; c < columns; c += lanes)
        for (size_t e = 0; e < n; e += lanes) {
            const size_t rows = columns - c < lanes ? columns - c : lanes;
            const size_t count = n - e < lanes ? n - e : lanes;
            vector_of<T> v[lanes];
            for (size_t i = 0; i < lanes; i++)
                v[i] = i < count ? load(panel + (e + i) * width + c) : set1(T(0));
            transpose(v, T());
            for (size_t i = 0; i < rows; i++) {
                T* to = out + (ptrdiff_t)(c + i) * out_stride + e;
                if (add) v[i] += load_up_to(to, count);
                store_up_to(to, v[i], count);
            }
        }
}

// x, out: heads of 2 half numbers each, contiguous; cosines, sines: half. Pairs (i, i + half) turn
// by their angle, or back. out may be x.
template <class T>
FIRTH_INLINE void rotate_heads(const T* x, T* out, const T* cosines, const T* sines, size_t heads,
                               size_t half, bool back, bool add) {
    constexpr size_t lanes = kLanes<T>;
    typedef vector_of<T> V;
    for (size_t h = 0; h < heads; h++, x += 2 * half, out += 2 * half)
        for (size_t i = 0; i < half; i += lanes) {
            const size_t count = half - i < lanes ? half - i : lanes;
            const V a = load_up_to(x + i, count), b = load_up_to(x + half + i, count);
            const V c = load_up_to(cosines + i, count), t = load_up_to(sines + i, count);
            const V s = back ? -t : t;
            V left = a * c - b * s, right = b * c + a * s;
            if (add) {
                left += load_up_to(out + i, count);
                right += load_up_to(out + half + i, count);
            }
            store_up_to(out + i, left, count);
            store_up_to(out + half + i, right, count);
        }
}

#define FIRTH_ATTENTION_OF(T, type) \
    void attention_mask_##type(T* out, ptrdiff_t out_stride, const T* added, const uint8_t* flags, \
                               ptrdiff_t mask_stride, bool dropped, const uint8_t* padding, \
                               size_t rows, size_t n) { \
        mask_rows(out, out_stride, added, flags, mask_stride, dropped, padding, rows, n); \
    } \
    void attention_weights_##type(T* scores, ptrdiff_t stride, size_t rows, size_t keys, \
                                  const AttentionRows<T>& of, T* lse) { \
        weights_of_rows(scores, stride, rows, keys, of, lse); \
    } \
    void attention_gradient_##type(T* scores, T* gradients, size_t rows, size_t keys, \
                                   size_t first_key, const AttentionRows<T>& of, const T* lse, \
                                   const T* totals) { \
        gradient_of_rows(scores, gradients, rows, keys, first_key, of, lse, totals); \
    } \
    void row_dots_##type(const T* a, ptrdiff_t a_stride, const T* b, ptrdiff_t b_stride, \
                         size_t rows, size_t n, T* out) { \
        dots(a, a_stride, b, b_stride, rows, n, out); \
    } \
    void put_panel_##type(const T* panel, size_t n, size_t columns, T* out, ptrdiff_t out_stride, \
                          bool add) { \
        put_transposed(panel, n, columns, out, out_stride, add); \
    } \
    void rotate_##type(const T* x, T* out, const T* cosines, const T* sines, size_t heads, \
                       size_t half, bool back, bool add) { \
        rotate_heads(x, out, cosines, sines, heads, half, back, add); \
    }
FIRTH_ATTENTION_OF(float, f32)
FIRTH_ATTENTION_OF(double, f64)

}  // namespace firth::FIRTH_LEVEL
