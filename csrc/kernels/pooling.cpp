// Pools: the maximum or the mean of windows of planes, and their gradients.
#include "../isa.h"
#include "list_convolution.h"

namespace firth::FIRTH_LEVEL {

namespace {

// The taps of a window along one axis that are inside: [begin, end).
struct Inside {
    size_t begin, end;
};
FIRTH_INLINE Inside inside(size_t position, size_t stride, size_t before, size_t dilation,
                           size_t kernel, size_t n) {
    const size_t start = position * stride;  // less `before`
    const size_t begin = start >= before ? 0 : (before - start + dilation - 1) / dilation;
    const size_t room = n + before;  // taps end before it
    const size_t fit = room > start ? (room - start + dilation - 1) / dilation : 0;
    return {begin, fit < kernel ? fit : kernel};
}

// Lanes 0, 2, 4 ... and 1, 3, 5 ... of a and b, one after the other.
template <class V>
FIRTH_INLINE void deinterleave(V a, V b, V* even, V* odd) {
    constexpr size_t lanes = sizeof(V) / sizeof(a[0]);
    if constexpr (lanes == 16) {
        *even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28,
                                        30);
        *odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29,
                                       31);
    } else if constexpr (lanes == 8) {
        *even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
        *odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
    } else if constexpr (lanes == 4) {
        *even = __builtin_shufflevector(a, b, 0, 2, 4, 6);
        *odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
    } else {
        *even = __builtin_shufflevector(a, b, 0, 2);
        *odd = __builtin_shufflevector(a, b, 1, 3);
    }
}

// Two vectors of the first n elements of p, n up to both; the rest is not read.
template <class T>
FIRTH_INLINE void load_two(const T* p, size_t n, vector_of<T>* a, vector_of<T>* b) {
    constexpr size_t lanes = kLanes<T>;
    *a = load_up_to(p, n < lanes ? n : lanes);
    *b = n > lanes ? load_up_to(p + lanes, n - lanes) : set1(T(0));
}

// Windows of 2 x 2 that lie side by side are the usual ones: two vectors of two rows give a vector
// of results.
FIRTH_INLINE bool is_halving(const PoolShape& s) {
    return s.kernel_y == 2 && s.kernel_x == 2 && s.stride_y == 2 && s.stride_x == 2 && !s.top &&
           !s.left && s.dilation_y == 1 && s.dilation_x == 1 && 2 * s.out_height <= s.height &&
           2 * s.out_width <= s.width;
}

// Whether tap `v` takes the place of the greatest so far: if greater, or no number.
template <class V>
FIRTH_INLINE auto beats(V v, V most) {
    return (v > most) | (v != v);
}

template <class T>
FIRTH_INLINE void halve_max(const PoolShape& s, const T* x, T* y, uint8_t* places,
                            const uint8_t* end) {
    constexpr size_t lanes = kLanes<T>;
    typedef decltype(vector_of<T>() > vector_of<T>()) Places;  // whole numbers as wide as T
    typedef uint8_t Bytes __attribute__((vector_size(lanes)));
    for (size_t i = 0; i < s.out_height;
         i++, x += 2 * s.width, y += s.out_width, places += s.out_width)
        for (size_t j = 0; j < s.out_width; j += lanes) {
            const size_t count = s.out_width - j < lanes ? s.out_width - j : lanes;
            vector_of<T> a, b, taps[4];
            load_two(x + 2 * j, 2 * count, &a, &b);
            deinterleave(a, b, &taps[0], &taps[1]);
            load_two(x + s.width + 2 * j, 2 * count, &a, &b);
            deinterleave(a, b, &taps[2], &taps[3]);
            vector_of<T> most = taps[0];
            Places place = {};
#pragma GCC unroll 4
            for (int t = 1; t < 4; t++) {
                const auto take = beats(taps[t], most);
                most = take ? taps[t] : most;
                place = take ? Places{} + t : place;
            }
            store_up_to(y + j, most, count);
            const Bytes bytes = __builtin_convertvector(place, Bytes);
            // what is too much falls on places that are written later
            if (end - (places + j) >= (ptrdiff_t)lanes)
                memcpy(places + j, &bytes, lanes);
            else
                memcpy(places + j, &bytes, count);
        }
}

template <class T>
FIRTH_INLINE void halve_max_backward(const PoolShape& s, const T* dy, const uint8_t* places,
                                     const uint8_t* end, T* dx, bool add) {
    constexpr size_t lanes = kLanes<T>;
    typedef decltype(vector_of<T>() > vector_of<T>()) Places;
    typedef uint8_t Bytes __attribute__((vector_size(lanes)));
    for (size_t i = 0; i < s.out_height;
         i++, dx += 2 * s.width, dy += s.out_width, places += s.out_width)
        for (size_t j = 0; j < s.out_width; j += lanes) {
            const size_t count = s.out_width - j < lanes ? s.out_width - j : lanes;
            Bytes bytes = {};
            if (end - (places + j) >= (ptrdiff_t)lanes)
                memcpy(&bytes, places + j, lanes);
            else
                memcpy(&bytes, places + j, count);
            const Places place = __builtin_convertvector(bytes, Places);
            const vector_of<T> d = load_up_to(dy + j, count), none = set1(T(0));
#pragma GCC unroll 2
            for (int row = 0; row < 2; row++) {
                vector_of<T> low, high;
                interleave(place == 2 * row ? d : none, place == 2 * row + 1 ? d : none, &low,
                           &high);
                T* to = dx + (size_t)row * s.width + 2 * j;
                const size_t first = 2 * count < lanes ? 2 * count : lanes;
                if (add) low += load_up_to(to, first);
                store_up_to(to, low, first);
                if (2 * count > lanes) {
                    if (add) high += load_up_to(to + lanes, 2 * count - lanes);
                    store_up_to(to + lanes, high, 2 * count - lanes);
                }
            }
        }
}

}  // namespace

// x: planes x height x width; y: planes x out_height x out_width. Which tap of the window gave the
// maximum, row by row, the first of equal ones and the last that is no number: in `near`, or, where
// there are too many taps for a byte, in `far`. A window without a tap inside has -inf, and a place
// outside.
template <class T>
FIRTH_INLINE void max_pool(const PoolShape& s, const T* x, T* y, uint8_t* near, int64_t* far,
                           size_t planes) {
    const size_t plane = s.height * s.width, out_plane = s.out_height * s.out_width;
    const bool halving = near && is_halving(s);
    const uint8_t* end = near ? near + planes * out_plane : near;
    for (size_t p = 0; p < planes; p++, x += plane) {
        if (halving) {
            halve_max(s, x, y, near, end);
            y += out_plane;
            near += out_plane;
            continue;
        }
        for (size_t i = 0; i < s.out_height; i++) {
            const Inside rows = inside(i, s.stride_y, s.top, s.dilation_y, s.kernel_y, s.height);
            for (size_t j = 0; j < s.out_width; j++) {
                const Inside columns =
                    inside(j, s.stride_x, s.left, s.dilation_x, s.kernel_x, s.width);
                T most = T(-__builtin_inf());
                size_t place = s.kernel_y * s.kernel_x;
                for (size_t ty = rows.begin; ty < rows.end; ty++) {
                    const T* row = x + (i * s.stride_y + ty * s.dilation_y - s.top) * s.width;
                    for (size_t tx = columns.begin; tx < columns.end; tx++) {
                        const T value = row[j * s.stride_x + tx * s.dilation_x - s.left];
                        if (place == s.kernel_y * s.kernel_x || value > most || value != value) {
                            most = value;
                            place = ty * s.kernel_x + tx;
                        }
                    }
                }
                *y++ = most;
                if (near)
                    *near++ = (uint8_t)place;
                else
                    *far++ = (int64_t)place;
            }
        }
    }
}

// dx = or += dy at the places; a place outside of the plane gets nothing.
template <class T>
FIRTH_INLINE void max_pool_backward(const PoolShape& s, const T* dy, const uint8_t* near,
                                    const int64_t* far, T* dx, size_t planes, bool add) {
    const size_t plane = s.height * s.width, out_plane = s.out_height * s.out_width;
    const bool halving = near && is_halving(s);
    const uint8_t* end = near ? near + planes * out_plane : near;
    const bool covered = 2 * s.out_height == s.height && 2 * s.out_width == s.width;
    for (size_t p = 0; p < planes; p++, dx += plane) {
        if (!add && !(halving && covered)) memset(dx, 0, plane * sizeof(T));
        if (halving) {
            halve_max_backward(s, dy, near, end, dx, add);
            dy += out_plane;
            near += out_plane;
            continue;
        }
        for (size_t i = 0; i < s.out_height; i++)
            for (size_t j = 0; j < s.out_width; j++) {
                const size_t place = near ? *near++ : (size_t)*far++;
                const size_t ty = place / s.kernel_x, tx = place % s.kernel_x;
                const T d = *dy++;
                if (ty >= s.kernel_y) continue;
                const size_t row = i * s.stride_y + ty * s.dilation_y - s.top;
                const size_t column = j * s.stride_x + tx * s.dilation_x - s.left;
                if (row < s.height && column < s.width) dx[row * s.width + column] += d;
            }
    }
}

// 1 over the number of pixels that a mean is of: those of the window inside of the plane, or, with
// count_pad, of the padded plane.
template <class T>
FIRTH_INLINE T share(const PoolShape& s, bool count_pad, const Inside& rows,
                     const Inside& columns) {
    return T(1) / (count_pad ? T(s.kernel_y * s.kernel_x)
                             : T((rows.end - rows.begin) * (columns.end - columns.begin)));
}

// As max_pool, the means; dilations are 1.
template <class T>
FIRTH_INLINE void avg_pool(const PoolShape& s, bool count_pad, const T* x, T* y, size_t planes) {
    constexpr size_t lanes = kLanes<T>;
    const bool whole = s.kernel_y == s.height && s.kernel_x == s.width && !s.top && !s.left;
    for (size_t p = 0; p < planes; p++, x += s.height * s.width) {
        if (whole) {  // the mean of the plane
            const size_t n = s.height * s.width;
            vector_of<T> sums[4] = {set1(T(0)), set1(T(0)), set1(T(0)), set1(T(0))};
            size_t i = 0;
            for (; i + 4 * lanes <= n; i += 4 * lanes)
#pragma GCC unroll 4
                for (size_t v = 0; v < 4; v++) sums[v] += load(x + i + v * lanes);
            for (; i < n; i += lanes) sums[0] += load_up_to(x + i, n - i < lanes ? n - i : lanes);
            *y++ = sum((sums[0] + sums[1]) + (sums[2] + sums[3])) / T(n);
            continue;
        }
        for (size_t i = 0; i < s.out_height; i++) {
            const Inside rows = inside(i, s.stride_y, s.top, 1, s.kernel_y, s.height);
            for (size_t j = 0; j < s.out_width; j++) {
                const Inside columns = inside(j, s.stride_x, s.left, 1, s.kernel_x, s.width);
                T total = 0;
                for (size_t ty = rows.begin; ty < rows.end; ty++) {
                    const T* row = x + (i * s.stride_y + ty - s.top) * s.width;
                    for (size_t tx = columns.begin; tx < columns.end; tx++)
                        total += row[j * s.stride_x + tx - s.left];
                }
                *y++ = total * share<T>(s, count_pad, rows, columns);
            }
        }
    }
}

template <class T>
FIRTH_INLINE void avg_pool_backward(const PoolShape& s, bool count_pad, const T* dy, T* dx,
                                    size_t planes, bool add) {
    const size_t plane = s.height * s.width;
    for (size_t p = 0; p < planes; p++, dx += plane) {
        if (!add) memset(dx, 0, plane * sizeof(T));
        for (size_t i = 0; i < s.out_height; i++) {
            const Inside rows = inside(i, s.stride_y, s.top, 1, s.kernel_y, s.height);
            for (size_t j = 0; j < s.out_width; j++) {
                const Inside columns = inside(j, s.stride_x, s.left, 1, s.kernel_x, s.width);
                const T d = *dy++ * share<T>(s, count_pad, rows, columns);
                for (size_t ty = rows.begin; ty < rows.end; ty++) {
                    T* row = dx + (i * s.stride_y + ty - s.top) * s.width;
                    for (size_t tx = columns.begin; tx < columns.end; tx++)
                        row[j * s.stride_x + tx - s.left] += d;
                }
            }
        }
    }
}

#define FIRTH_POOLS_OF(T, type) \
    void max_pool_##type(const PoolShape& shape, const T* x, T* y, uint8_t* near, int64_t* far, \
                         size_t planes) { \
        max_pool(shape, x, y, near, far, planes); \
    } \
    void max_pool_backward_##type(const PoolShape& shape, const T* dy, const uint8_t* near, \
                                  const int64_t* far, T* dx, size_t planes, bool add) { \
        max_pool_backward(shape, dy, near, far, dx, planes, add); \
    } \
    void avg_pool_##type(const PoolShape& shape, bool count_pad, const T* x, T* y, \
                         size_t planes) { \
        avg_pool(shape, count_pad, x, y, planes); \
    } \
    void avg_pool_backward_##type(const PoolShape& shape, bool count_pad, const T* dy, T* dx, \
                                  size_t planes, bool add) { \
        avg_pool_backward(shape, count_pad, dy, dx, planes, add); \
    }
FIRTH_POOLS_OF(float, f32)
FIRTH_POOLS_OF(double, f64)

}  // namespace firth::FIRTH_LEVEL
