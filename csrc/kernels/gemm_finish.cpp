// What a matrix product does to its finished sums: list_gemm.h, Epilogue.
#include "../isa.h"
#include "list_gemm.h"

namespace firth::FIRTH_LEVEL {

// c: m x n sums, c_stride elements apart; bias: n; residual: m x n, e.stride apart. T: the type of
// the result. product(i, j, count): the vector that is scale C for columns j and up of row i.
template <class T, class Product>
FIRTH_INLINE void finish(T* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e,
                         const Product& product) {
    constexpr size_t lanes = kLanes<T>;
    for (size_t i = 0; i < m; i++) {
        T* row = c + (ptrdiff_t)i * c_stride;
        const T* bias = (const T*)e.bias;
        const T* residual = e.residual ? (const T*)e.residual + (ptrdiff_t)i * e.stride : nullptr;
        for (size_t j = 0; j < n; j += lanes) {
            const size_t count = n - j < lanes ? n - j : lanes;
            vector_of<T> z = product(i, j, count);
            if (bias) z += load_up_to(bias + j, count);
            z = activate(z, e.activation, T());
            if (residual) z += load_up_to(residual + j, count);
            store_up_to(row + j, z, count);
        }
    }
}

template <class T>
FIRTH_INLINE void finish_floats(T* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e) {
    const vector_of<T> scale = set1(T(e.scale));
    // A product by 1 changes nothing: the same bits with a scale of 1 and without.
    finish(c, c_stride, m, n, e, [=](size_t i, size_t j, size_t count) {
        return load_up_to(c + (ptrdiff_t)i * c_stride + j, count) * scale;
    });
}

void gemm_finish_f32(void* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e) {
    finish_floats((float*)c, c_stride, m, n, e);
}
void gemm_finish_f64(void* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e) {
    finish_floats((double*)c, c_stride, m, n, e);
}

// c: int32 sums, which become float32 in their place. No fma: the same bits on every level, but for
// the activation.
void gemm_finish_u8s8(void* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e) {
    const int32_t* sums = (const int32_t*)c;
    finish((float*)c, c_stride, m, n, e, [=, &e](size_t i, size_t j, size_t count) {
        const f32xN sum = to_f32(load_up_to(sums + (ptrdiff_t)i * c_stride + j, count));
        const f32xN ones = set1(e.row_offsets[i]) * load_up_to(e.column_sums + j, count);
        f32xN z = (set1(e.row_scales[i]) * sum + ones) * load_up_to(e.column_scales + j, count);
        for (size_t r = 0; r < e.rank; r++) {
            const float* right = e.right + (ptrdiff_t)r * e.right_stride + j;
            z += set1(e.left[i * e.rank + r]) * load_up_to(right, count);
        }
        return z;
    });
}

}  // namespace firth::FIRTH_LEVEL
