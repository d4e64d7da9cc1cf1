// Batch norm: statistics of channels, and what follows from them.
#include "../isa.h"
#include "list_convolution.h"

namespace firth::FIRTH_LEVEL {

namespace {

// A number of each channel: in each lane its own where the rows are of as many channels, else the
// same in all.
template <class T>
FIRTH_INLINE vector_of<T> of_channels(const BatchRows& s, const T* p) {
    return s.columns ? load_up_to(p, s.n) : set1(*p);
}

// Sums of the rows, one row after the other; each(r, i, count) is what vector i of row r adds to
// the two sums.
template <class T, class Each>
FIRTH_INLINE void sum_rows(const BatchRows& s, T* first, T* second, const Each& each) {
    constexpr size_t lanes = kLanes<T>;
    vector_of<T> totals[2] = {set1(T(0)), set1(T(0))};
    for (size_t r = 0; r < s.rows; r++) {
        vector_of<T> sums[2] = {set1(T(0)), set1(T(0))};
        for (size_t i = 0; i < s.n; i += lanes)
            each((ptrdiff_t)r * s.stride + (ptrdiff_t)i, s.n - i < lanes ? s.n - i : lanes, sums);
        totals[0] += sums[0];
        totals[1] += sums[1];
    }
    if (s.columns) {
        store_up_to(first, totals[0], s.n);
        if (second) store_up_to(second, totals[1], s.n);
    } else {
        *first = sum(totals[0]);
        if (second) *second = sum(totals[1]);
    }
}

// v in the first `count` lanes, 0 in the others.
template <class T>
FIRTH_INLINE vector_of<T> cut(vector_of<T> v, size_t count, T) {
    if (count == kLanes<T>) return v;
    T lanes[kLanes<T>];
    store(lanes, v);
    return load_up_to((const T*)lanes, count);
}

}  // namespace

// Mean and variance (of the sample: divided by its size) of each channel.
template <class T>
FIRTH_INLINE void batch_statistics(const BatchRows& s, const T* x, T* mean, T* variance) {
    const size_t channels = s.columns ? s.n : 1;
    const T size = T(s.columns ? s.rows : s.rows * s.n);
    sum_rows<T>(s, mean, nullptr, [&](ptrdiff_t at, size_t count, vector_of<T>* sums) {
        sums[0] += load_up_to(x + at, count);
    });
    for (size_t c = 0; c < channels; c++) mean[c] /= size;
    const vector_of<T> centre = of_channels(s, mean);
    sum_rows<T>(s, variance, nullptr, [&](ptrdiff_t at, size_t count, vector_of<T>* sums) {
        const vector_of<T> d = cut(load_up_to(x + at, count) - centre, count, T());
        sums[0] = fma(d, d, sums[0]);
    });
    for (size_t c = 0; c < channels; c++) variance[c] /= size;
}

// y = (x - mean) inverse weight + bias; without weight or bias (null) 1 and 0.
template <class T>
FIRTH_INLINE void batch_scale(const BatchRows& s, const T* x, const T* mean, const T* inverse,
                              const T* weight, const T* bias, T* y) {
    constexpr size_t lanes = kLanes<T>;
    const vector_of<T> centre = of_channels(s, mean);
    vector_of<T> scale = of_channels(s, inverse);
    if (weight) scale *= of_channels(s, weight);
    const vector_of<T> shift = bias ? of_channels(s, bias) : set1(T(0));
    for (size_t r = 0; r < s.rows; r++)
        for (size_t i = 0; i < s.n; i += lanes) {
            const size_t count = s.n - i < lanes ? s.n - i : lanes;
            const ptrdiff_t at = (ptrdiff_t)r * s.stride + (ptrdiff_t)i;
            store_up_to(y + at, fma(load_up_to(x + at, count) - centre, scale, shift), count);
        }
}

// Of each channel the sum of dy, and that of dy times the normalised x.
template <class T>
FIRTH_INLINE void batch_norm_sums(const BatchRows& s, const T* dy, const T* x, const T* mean,
                                  const T* inverse, T* sums, T* products) {
    const vector_of<T> centre = of_channels(s, mean);
    sum_rows<T>(s, sums, products, [&](ptrdiff_t at, size_t count, vector_of<T>* both) {
        const vector_of<T> d = load_up_to(dy + at, count);  // 0 in the other lanes
        both[0] += d;
        both[1] = fma(d, cut(load_up_to(x + at, count) - centre, count, T()), both[1]);
    });
    const size_t channels = s.columns ? s.n : 1;
    for (size_t c = 0; c < channels; c++) products[c] *= inverse[c];
}

// dx = or += weight inverse (dy - sums - xn products), xn the normalised x; sums and products are
// of the whole channel, divided by its size, or null: 0.
template <class T>
FIRTH_INLINE void batch_norm_backward(const BatchRows& s, const T* dy, const T* x, const T* mean,
                                      const T* inverse, const T* weight, const T* sums,
                                      const T* products, T* dx, bool add) {
    constexpr size_t lanes = kLanes<T>;
    const vector_of<T> rate = of_channels(s, inverse);
    const vector_of<T> scale = weight ? rate * of_channels(s, weight) : rate;
    const vector_of<T> centre = sums ? of_channels(s, mean) : set1(T(0));
    const vector_of<T> shift = sums ? of_channels(s, sums) : set1(T(0));
    const vector_of<T> slope = sums ? rate * of_channels(s, products) : set1(T(0));
    for (size_t r = 0; r < s.rows; r++)
        for (size_t i = 0; i < s.n; i += lanes) {
            const size_t count = s.n - i < lanes ? s.n - i : lanes;
            const ptrdiff_t at = (ptrdiff_t)r * s.stride + (ptrdiff_t)i;
            vector_of<T> d = load_up_to(dy + at, count);
            if (sums) d = d - shift - (load_up_to(x + at, count) - centre) * slope;
            d *= scale;
            if (add) d += load_up_to(dx + at, count);
            store_up_to(dx + at, d, count);
        }
}

#define FIRTH_BATCH_NORM_OF(T, type) \
    void batch_statistics_##type(const BatchRows& shape, const T* x, T* mean, T* variance) { \
        batch_statistics(shape, x, mean, variance); \
    } \
    void batch_scale_##type(const BatchRows& shape, const T* x, const T* mean, const T* inverse, \
                            const T* weight, const T* bias, T* y) { \
        batch_scale(shape, x, mean, inverse, weight, bias, y); \
    } \
    void batch_norm_sums_##type(const BatchRows& shape, const T* dy, const T* x, const T* mean, \
                                const T* inverse, T* sums, T* products) { \
        batch_norm_sums(shape, dy, x, mean, inverse, sums, products); \
    } \
    void batch_norm_backward_##type(const BatchRows& shape, const T* dy, const T* x, \
                                    const T* mean, const T* inverse, const T* weight, \
                                    const T* sums, const T* products, T* dx, bool add) { \
        batch_norm_backward(shape, dy, x, mean, inverse, weight, sums, products, dx, add); \
    }
FIRTH_BATCH_NORM_OF(float, f32)
FIRTH_BATCH_NORM_OF(double, f64)

}  // namespace firth::FIRTH_LEVEL
