// Means of gathered rows: what turns the ids of a text into its vector.
#include "../isa.h"
#include "../kernels.h"

namespace firth::FIRTH_LEVEL {

FIRTH_INLINE f32xN load_row(const float* p) { return load(p); }
FIRTH_INLINE f32xN load_row(const int8_t* p) { return load_i8(p); }
FIRTH_INLINE f32xN load_row_partial(const float* p, size_t n) { return load_partial(p, n); }

// Nothing behind a row may be read: the last, partial vector goes through a buffer.
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
    const int32_t* ids;
    size_t count;
    const int32_t* rows;   // or null
    const float* weights;  // or null
};

template <class T>
FIRTH_INLINE const T* row(const Bag<T>& bag, size_t i) {
    const int32_t id = bag.ids[i];
    return bag.table + (ptrdiff_t)(bag.rows ? bag.rows[id] : id) * bag.stride;
}

template <class T>
FIRTH_INLINE f32xN weight(const Bag<T>& bag, size_t i) {
    return set1(bag.weights ? bag.weights[bag.ids[i]] : 1.0f);
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

// x: n numbers, divided by their norm + 1e-32.
FIRTH_INLINE void to_unit_length(float* x, size_t n) {
    f32xN squares = set1(0.0f);
    size_t d = 0;
    for (; d + kLanesF32 <= n; d += kLanesF32) squares = fma(load(x + d), load(x + d), squares);
    const size_t whole = d;
    if (d < n) {
        const f32xN last = load_partial(x + d, n - d);
        squares = fma(last, last, squares);
    }
    const f32xN norm = sqrt(set1(sum(squares))) + 1e-32f;
    for (d = 0; d < whole; d += kLanesF32) store(x + d, load(x + d) / norm);
    if (d < n) store_partial(x + d, load_partial(x + d, n - d) / norm, n - d);
}

// table: rows of dim, `stride` elements apart; bag b: the ids from offsets[b] to offsets[b + 1].
// An id stands for the row rows[id] and counts weights[id] times; without them, for its own row,
// once. out: bags x dim, sum of weight * row / number of ids, in the order of the ids; zeros for
// no ids; then, if wanted, divided by its length.
template <class T>
FIRTH_INLINE void embedding_bag(const T* table, ptrdiff_t stride, const int32_t* ids,
                                const int64_t* offsets, size_t bags, const int32_t* rows,
                                const float* weights, bool normalize, size_t dim, float* out) {
    for (size_t b = 0; b < bags; b++, out += dim) {
        const Bag<T> bag{table, stride, ids + offsets[b], (size_t)(offsets[b + 1] - offsets[b]),
                         rows,  weights};
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
        if (normalize) to_unit_length(out, dim);
    }
}

void embedding_bag_f32(const float* table, ptrdiff_t stride, const int32_t* ids,
                       const int64_t* offsets, size_t bags, const int32_t* rows,
                       const float* weights, bool normalize, size_t dim, float* out) {
    embedding_bag(table, stride, ids, offsets, bags, rows, weights, normalize, dim, out);
}

void embedding_bag_bf16(const uint16_t* table, ptrdiff_t stride, const int32_t* ids,
                        const int64_t* offsets, size_t bags, const int32_t* rows,
                        const float* weights, bool normalize, size_t dim, float* out) {
    embedding_bag((const BFloat16*)table, stride, ids, offsets, bags, rows, weights, normalize, dim,
                  out);
}

void embedding_bag_f16(const uint16_t* table, ptrdiff_t stride, const int32_t* ids,
                       const int64_t* offsets, size_t bags, const int32_t* rows,
                       const float* weights, bool normalize, size_t dim, float* out) {
    embedding_bag((const Half*)table, stride, ids, offsets, bags, rows, weights, normalize, dim,
                  out);
}

void embedding_bag_i8(const int8_t* table, ptrdiff_t stride, const int32_t* ids,
                      const int64_t* offsets, size_t bags, const int32_t* rows,
                      const float* weights, bool normalize, size_t dim, float* out) {
    embedding_bag(table, stride, ids, offsets, bags, rows, weights, normalize, dim, out);
}

}  // namespace firth::FIRTH_LEVEL
