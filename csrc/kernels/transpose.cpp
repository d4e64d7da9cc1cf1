// Transposes of matrices.
#include "../isa.h"
#include "list_activation.h"

namespace firth::FIRTH_LEVEL {

// out (n x rows) = or += the transpose of x (rows x n): squares of vectors go through registers.
template <class T>
FIRTH_INLINE void transpose_all(const T* x, ptrdiff_t x_stride, T* out, ptrdiff_t out_stride,
                                size_t rows, size_t n, bool add) {
    constexpr size_t lanes = kLanes<T>;
    for (size_t r = 0; r < rows; r += lanes)
        for (size_t j = 0; j < n; j += lanes) {
            const size_t height = rows - r < lanes ? rows - r : lanes;
            const size_t width = n - j < lanes ? n - j : lanes;
            vector_of<T> v[lanes];
            for (size_t i = 0; i < lanes; i++)
                v[i] = i < height ? load_up_to(x + (ptrdiff_t)(r + i) * x_stride + j, width)
                                  : set1(T(0));
            transpose(v, T());
            for (size_t i = 0; i < width; i++) {
                T* to = out + (ptrdiff_t)(j + i) * out_stride + r;
                if (add) v[i] += load_up_to(to, height);
                store_up_to(to, v[i], height);
            }
        }
}

void transpose_f32(const float* x, ptrdiff_t x_stride, float* out, ptrdiff_t out_stride,
                   size_t rows, size_t n, bool add) {
    transpose_all(x, x_stride, out, out_stride, rows, n, add);
}
void transpose_f64(const double* x, ptrdiff_t x_stride, double* out, ptrdiff_t out_stride,
                   size_t rows, size_t n, bool add) {
    transpose_all(x, x_stride, out, out_stride, rows, n, add);
}

}  // namespace firth::FIRTH_LEVEL
