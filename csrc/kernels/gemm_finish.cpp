// What a matrix product does to its finished sums: list_gemm.h, Epilogue.
#include "../isa.h"
#include "list_gemm.h"

namespace firth::FIRTH_LEVEL {

// z[0 .. n) = activation(z), with the choice outside of the loop.
template <int activation, class T>
FIRTH_INLINE void activate_each(vector_of<T>* z, size_t n) {
    for (size_t k = 0; k < n; k++) z[k] = activate(z[k], activation, T());
}
template <class T>
FIRTH_INLINE void activate_all(vector_of<T>* z, size_t n, int activation) {
    switch (activation) {
        case kRelu:
            return activate_each<kRelu, T>(z, n);
        case kGelu:
            return activate_each<kGelu, T>(z, n);
        case kGeluTanh:
            return activate_each<kGeluTanh, T>(z, n);
        case kSilu:
            return activate_each<kSilu, T>(z, n);
        case kGeluNear:
            return activate_each<kGeluNear, T>(z, n);
    }
}

// A block of R rows and V vectors of the result, from (i, j) on; of the last vector `count` lanes
// (V = 1), or all. c, Product: see finish.
template <class T, size_t R, size_t V, class Product>
FIRTH_INLINE void finish_block(T* c, ptrdiff_t c_stride, size_t i, size_t j, size_t count,
                               const Epilogue& e, const Product& product) {
    constexpr size_t lanes = kLanes<T>;
    vector_of<T> z[R * V];
    Product::template block<R, V>(product, i, j, count, z);
    if (e.bias)
        for (size_t v = 0; v < V; v++) {
            const vector_of<T> bias = load_up_to((const T*)e.bias + j + v * lanes, count);
            for (size_t r = 0; r < R; r++) z[r * V + v] += bias;
        }
    activate_all<T>(z, R * V, e.activation);
    for (size_t r = 0; r < R; r++)
        for (size_t v = 0; v < V; v++) {
            const size_t at = j + v * lanes;
            if (e.residual)
                z[r * V + v] +=
                    load_up_to((const T*)e.residual + (ptrdiff_t)(i + r) * e.stride + at, count);
            store_up_to(c + (ptrdiff_t)(i + r) * c_stride + at, z[r * V + v], count);
        }
}

// c: m x n sums, c_stride elements apart; bias: n; residual: m x n, e.stride apart. T: the type of
// the result. Product::block<R, V>(product, i, j, count, z): the vectors that are scale C, by row.
// Four rows at a time share what columns have in common, and hide latencies.
template <class T, class Product>
FIRTH_INLINE void finish(T* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e,
                         const Product& product) {
    constexpr size_t lanes = kLanes<T>, rows = 4;
    size_t i = 0;
    for (; i + rows <= m; i += rows) {
        size_t j = 0;
        for (; j + 2 * lanes <= n; j += 2 * lanes)
            finish_block<T, rows, 2>(c, c_stride, i, j, lanes, e, product);
        for (; j < n; j += lanes)
            finish_block<T, rows, 1>(c, c_stride, i, j, n - j < lanes ? n - j : lanes, e, product);
    }
    for (; i < m; i++)
        for (size_t j = 0; j < n; j += lanes)
            finish_block<T, 1, 1>(c, c_stride, i, j, n - j < lanes ? n - j : lanes, e, product);
}

// A product by 1 changes nothing: the same bits with a scale of 1 and without.
template <class T>
struct Floats {
    const T* c;
    ptrdiff_t stride;
    T scale;

    template <size_t R, size_t V>
    FIRTH_INLINE void block(const Floats& p, size_t i, size_t j, size_t count, vector_of<T>* z) {
        for (size_t r = 0; r < R; r++)
            for (size_t v = 0; v < V; v++)
                z[r * V + v] =
                    load_up_to(p.c + (ptrdiff_t)(i + r) * p.stride + j + v * kLanes<T>, count) *
                    set1(p.scale);
    }
};

void gemm_finish_f32(void* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e) {
    finish((float*)c, c_stride, m, n, e, Floats<float>{(const float*)c, c_stride, (float)e.scale});
}
void gemm_finish_f64(void* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e) {
    finish((double*)c, c_stride, m, n, e, Floats<double>{(const double*)c, c_stride, e.scale});
}

// int32 sums, which become float32 in their place. No fma: the same bits on every level, but for
// the activation.
struct Bytes {
    const int32_t* c;
    ptrdiff_t stride;
    const Epilogue& e;

    template <size_t R, size_t V>
    FIRTH_INLINE void block(const Bytes& p, size_t i, size_t j, size_t count, f32xN* z) {
        const Epilogue& e = p.e;
        for (size_t v = 0; v < V; v++) {
            const size_t at = j + v * kLanesF32;
            const f32xN ones = load_up_to(e.column_sums + at, count);
            const f32xN scales = load_up_to(e.column_scales + at, count);
            for (size_t r = 0; r < R; r++) {
                const f32xN sum =
                    to_f32(load_up_to(p.c + (ptrdiff_t)(i + r) * p.stride + at, count));
                z[r * V + v] =
                    (set1(e.row_scales[i + r]) * sum + set1(e.row_offsets[i + r]) * ones) * scales;
            }
        }
        for (size_t k = 0; k < e.rank; k++)
            for (size_t v = 0; v < V; v++) {
                const f32xN right =
                    load_up_to(e.right + (ptrdiff_t)k * e.right_stride + j + v * kLanesF32, count);
                for (size_t r = 0; r < R; r++)
                    z[r * V + v] += set1(e.left[(i + r) * e.rank + k]) * right;
            }
    }
};

void gemm_finish_u8s8(void* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e) {
    finish((float*)c, c_stride, m, n, e, Bytes{(const int32_t*)c, c_stride, e});
}

}  // namespace firth::FIRTH_LEVEL
