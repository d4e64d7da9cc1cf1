// Loops over the elements of arrays, for kernels of elements.
#pragma once
#include "../isa.h"

namespace firth::FIRTH_LEVEL {

// How many of n elements come before the first whose place in `out` suits whole vectors; 0 where n
// is small. NumPy's arrays often begin in the middle of a cache line, all of them at the same place
// of it, and vectors that straddle two lines cost twice.
template <class T>
FIRTH_INLINE size_t until_aligned(const T* out, size_t n) {
    return n < 16 * kLanes<T> ? 0 : (-(uintptr_t)out % FIRTH_VECTOR_BYTES) / sizeof(T);
}

// out[i] = f(x[i]); out may be x.
template <class T, class F>
FIRTH_INLINE void each(const T* x, T* out, size_t n, const F& f) {
    constexpr size_t lanes = kLanes<T>;
    size_t i = until_aligned(out, n);
    if (i) store_partial(out, f(load_partial(x, i)), i);
    for (; i + lanes <= n; i += lanes) store(out + i, f(load(x + i)));
    if (i < n) store_partial(out + i, f(load_partial(x + i, n - i)), n - i);
}

// out[i] = or += f(d[i], v[i]); out may be d or v.
template <class T, class F>
FIRTH_INLINE void each_of_two(const T* d, const T* v, T* out, size_t n, bool add, const F& f) {
    constexpr size_t lanes = kLanes<T>;
    const auto some = [&](size_t i, size_t count) {
        vector_of<T> z = f(load_partial(d + i, count), load_partial(v + i, count));
        if (add) z += load_partial(out + i, count);
        store_partial(out + i, z, count);
    };
    size_t i = until_aligned(out, n);
    if (i) some(0, i);
    if (add)
        for (; i + lanes <= n; i += lanes)
            store(out + i, load(out + i) + f(load(d + i), load(v + i)));
    else
        for (; i + lanes <= n; i += lanes) store(out + i, f(load(d + i), load(v + i)));
    if (i < n) some(i, n - i);
}

}  // namespace firth::FIRTH_LEVEL
