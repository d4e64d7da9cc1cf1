// Means of gathered rows: what turns the ids of a text into its vector.
#include "../isa.h"
#include "list_embedding_bag.h"

namespace firth::FIRTH_LEVEL {

FIRTH_INLINE f32xN load_row(const float* p) { return load(p); }
FIRTH_INLINE f32xN load_row(const int8_t* p) { return load_i8(p); }
FIRTH_INLINE f32xN load_row_partial(const float* p, size_t n) { return load_partial(p, n); }

// Nothing behind a row may be read: the last, partial vector is copied to a buffer.
FIRTH_INLINE f32xN load_row_partial(const int8_t* p, size_t n) {
    int8_t rest[kLanesF32] = {};
    memcpy(rest, p, n);
    return load_i8(rest);
}

// Two formats of 16 bits share one type; a struct tells them apart.
struct Half {
    uint16_t bits;
};
struct BFloat16 {
    uint16_t bits;
};
FIRTH_INLINE f32xN load_row(const Half* p) { return load_f16(&p->bits); }
FIRTH_INLINE f32xN load_row(const BFloat16* p) { return load_bf16(&p->bits); }
template <class T>
FIRTH_INLINE f32xN load_row_partial(const T* p, size_t n) {
    T rest[kLanesF32] = {};
    memcpy(rest, p, n * sizeof(T));
    return load_row(rest);
}

// One text: its rows of the table, and what they count.
template <class T>
struct Bag {
    const T* table;
    ptrdiff_t stride;
    const int32_t* rows;
    size_t count;
    const float* weights;  // or null
};

template <class T>
FIRTH_INLINE const T* row(const Bag<T>& bag, size_t i) {
    return bag.table + (ptrdiff_t)bag.rows[i] * bag.stride;
}

template <class T>
FIRTH_INLINE f32xN weight(const Bag<T>& bag, size_t i) {
    return set1(bag.weights ? bag.weights[i] : 1.0f);
}

// out: Vectors registers of the mean, from element d on.
template <size_t Vectors, class T>
FIRTH_INLINE void mean(const Bag<T>& bag, size_t d, float* out) {
    f32xN sums[Vectors];
    for (size_t v = 0; v < Vectors; v++) sums[v] = set1(0.0f);
    for (size_t i = 0; i < bag.count; i++) {
        const T* values = row(bag, i) + d;
        const f32xN factor = weight(bag, i);
#pragma GCC unroll 8
        for (size_t v = 0; v < Vectors; v++)
            sums[v] = fma(load_row(values + v * kLanesF32), factor, sums[v]);
    }
    const f32xN count = set1((float)bag.count);
    for (size_t v = 0; v < Vectors; v++) store(out + d + v * kLanesF32, sums[v] / count);
}

// x: n numbers, divided by their length unless that is 0. In float64, which holds the square of
// every float32: neither tiny rows nor huge ones lose their length.
FIRTH_INLINE void to_unit_length(float* x, size_t n) {
    f64xN squares = set1(0.0);
    size_t d = 0;
    for (; d + kLanesF64 <= n; d += kLanesF64)
        squares = fma(load_f64(x + d), load_f64(x + d), squares);
    if (d < n) {
        const f64xN last = load_f64_partial(x + d, n - d);
        squares = fma(last, last, squares);
    }
    const double length = sqrt(set1(sum(squares)))[0];
    if (length == 0) return;
    const double factor = 1 / length;
    for (d = 0; d < n; d++) x[d] = (float)(x[d] * factor);
}

FIRTH_INLINE bool all_finite(const float* x, size_t n) {
    bool finite = true;
    for (size_t d = 0; d < n; d++) finite &= x[d] - x[d] == 0;  // inf and NaN give NaN
    return finite;
}

// The bag's mean with sums and length in float64, where neither products nor sums of float32
// numbers overflow: for the rare bags that leave the range of float32 on the way.
template <class T>
static void mean_in_f64(const Bag<T>& bag, bool normalize, size_t dim, float* out) {
    double squares = 0, factor = 1;
    for (int pass = normalize ? 0 : 1; pass < 2; pass++) {
        for (size_t d = 0; d < dim; d += kLanesF32) {
            const size_t n = dim - d < kLanesF32 ? dim - d : kLanesF32;
            double sums[kLanesF32] = {};
            for (size_t i = 0; i < bag.count; i++) {
                float values[kLanesF32];
                store(values, load_row_partial(row(bag, i) + d, n));
                const double factor_of_row = bag.weights ? bag.weights[i] : 1.0;
                for (size_t e = 0; e < n; e++) sums[e] += factor_of_row * (double)values[e];
            }
            for (size_t e = 0; e < n; e++) {
                const double value = sums[e] / (double)bag.count;
                if (pass == 0)
                    squares += value * value;
                else
                    out[d + e] = (float)(value * factor);
            }
        }
        if (pass == 0 && squares != 0) factor = 1 / sqrt(set1(squares))[0];
    }
}

// table: rows of dim, `stride` elements apart; bag b: the places i from offsets[b] to
// offsets[b + 1], each of which takes the row rows[i], weights[i] times (without weights: once).
// out: bags x dim, sum of weight * row / number of places, in their order; zeros for an empty bag;
// where `normalize`, divided by its length.
template <class T>
FIRTH_INLINE void embedding_bag(const T* table, ptrdiff_t stride, const int32_t* rows,
                                const int64_t* offsets, size_t bags, const float* weights,
                                bool normalize, size_t dim, float* out) {
    for (size_t b = 0; b < bags; b++, out += dim) {
        const Bag<T> bag{table, stride, rows + offsets[b], (size_t)(offsets[b + 1] - offsets[b]),
                         weights ? weights + offsets[b] : nullptr};
        if (bag.count == 0) {
            memset(out, 0, dim * sizeof(float));
            continue;
        }
        size_t d = 0;
        for (; d + 8 * kLanesF32 <= dim; d += 8 * kLanesF32) mean<8>(bag, d, out);
        for (; d + kLanesF32 <= dim; d += kLanesF32) mean<1>(bag, d, out);
        if (d < dim) {
            f32xN total = set1(0.0f);
            for (size_t i = 0; i < bag.count; i++)
                total = fma(load_row_partial(row(bag, i) + d, dim - d), weight(bag, i), total);
            store_partial(out + d, total / set1((float)bag.count), dim - d);
        }
        if (!all_finite(out, dim))
            mean_in_f64(bag, normalize, dim, out);
        else if (normalize)
            to_unit_length(out, dim);
    }
}

void embedding_bag_f32(const float* table, ptrdiff_t stride, const int32_t* rows,
                       const int64_t* offsets, size_t bags, const float* weights, bool normalize,
                       size_t dim, float* out) {
    embedding_bag(table, stride, rows, offsets, bags, weights, normalize, dim, out);
}

void embedding_bag_bf16(const uint16_t* table, ptrdiff_t stride, const int32_t* rows,
                        const int64_t* offsets, size_t bags, const float* weights, bool normalize,
                        size_t dim, float* out) {
    embedding_bag((const BFloat16*)table, stride, rows, offsets, bags, weights, normalize, dim,
                  out);
}

void embedding_bag_f16(const uint16_t* table, ptrdiff_t stride, const int32_t* rows,
                       const int64_t* offsets, size_t bags, const float* weights, bool normalize,
                       size_t dim, float* out) {
    embedding_bag((const Half*)table, stride, rows, offsets, bags, weights, normalize, dim, out);
}

void embedding_bag_i8(const int8_t* table, ptrdiff_t stride, const int32_t* rows,
                      const int64_t* offsets, size_t bags, const float* weights, bool normalize,
                      size_t dim, float* out) {
    embedding_bag(table, stride, rows, offsets, bags, weights, normalize, dim, out);
}

}  // namespace firth::FIRTH_LEVEL
