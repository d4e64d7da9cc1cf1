// Rows of small numbers become float32, exactly: for loops that keep a block of them in cache. And
// rows of float32 become bfloat16.
#include "../isa.h"
#include "list_search.h"
#include "list_transformer.h"

namespace firth::FIRTH_LEVEL {

// load(p): kLanesF32 values at p. The last, partial vector is copied to a buffer, since nothing
// behind the row may be read.
template <class T, class Load>
FIRTH_INLINE void widen_row(const T* row, size_t n, float* out, const Load& load) {
    size_t i = 0;
    for (; i + kLanesF32 <= n; i += kLanesF32) store(out + i, load(row + i));
    if (i < n) {
        T rest[kLanesF32] = {};
        memcpy(rest, row + i, (n - i) * sizeof(T));
        store_partial(out + i, load(rest), n - i);
    }
}

// keys: rows x n IEEE half-precision numbers, row r at keys + r * stride; out: rows x n at
// out_stride.
void widen_rows_f16(const uint16_t* keys, ptrdiff_t stride, size_t rows, size_t n, float* out,
                    size_t out_stride) {
    for (size_t r = 0; r < rows; r++)
        widen_row(keys + (ptrdiff_t)r * stride, n, out + r * out_stride,
                  [](const uint16_t* p) { return load_f16(p); });
}

// keys: rows x n bfloat16, row r at keys + r * stride; out: rows x n at out_stride.
void widen_rows_bf16(const uint16_t* keys, ptrdiff_t stride, size_t rows, size_t n, float* out,
                     size_t out_stride) {
    for (size_t r = 0; r < rows; r++)
        widen_row(keys + (ptrdiff_t)r * stride, n, out + r * out_stride,
                  [](const uint16_t* p) { return load_bf16(p); });
}

// keys: rows x n, row r at keys + r * stride; scales: rows; out: rows x n at out_stride, each
// number times the scale of its row.
void widen_rows_i8(const int8_t* keys, ptrdiff_t stride, const float* scales, size_t rows, size_t n,
                   float* out, size_t out_stride) {
    for (size_t r = 0; r < rows; r++) {
        const f32xN scale = set1(scales[r]);
        widen_row(keys + (ptrdiff_t)r * stride, n, out + r * out_stride,
                  [scale](const int8_t* p) { return load_i8(p) * scale; });
    }
}

// x: rows x n, `stride` apart; out: rows x n bfloat16, out_stride apart. To nearest, ties to even;
// NaN stays, and denormals do on every level.
void narrow_f32(const float* x, ptrdiff_t stride, uint16_t* out, ptrdiff_t out_stride, size_t rows,
                size_t n) {
    for (size_t r = 0; r < rows; r++) {
        const float* row = x + (ptrdiff_t)r * stride;
        uint16_t* to = out + (ptrdiff_t)r * out_stride;
        size_t i = 0;
        for (; i + kLanesF32 <= n; i += kLanesF32) round_bf16(to + i, load(row + i));
        if (i < n) {
            uint16_t rest[kLanesF32];
            round_bf16(rest, load_partial(row + i, n - i));
            memcpy(to + i, rest, (n - i) * sizeof(uint16_t));
        }
    }
}

}  // namespace firth::FIRTH_LEVEL
