// What a matrix product does to its finished sums: C = activation(scale C + bias) + residual.
#include "../isa.h"
#include "list_gemm.h"

namespace firth::FIRTH_LEVEL {

// z sigmoid(x) = z / (1 + e^-x), with e^-|x| so that nothing overflows. Far left it is 0 (times
// the sign of z), for z = -inf too. x has the sign of z.
template <class V, class T>
FIRTH_INLINE V times_sigmoid(V z, V x, T) {
    const V e = exp_negative(-max(x, -x), T());
    const V numerator = z < T(0) ? max(set1(T(-1000)), z) * e : z;
    return numerator / (set1(T(1)) + e);
}

// relu: max(z, 0). silu: z sigmoid(z). gelu: z Phi(z), Phi the normal distribution (Hendrycks and
// Gimpel, arXiv:1606.08415); gelu_tanh: their approximation z/2 (1 + tanh(u)) = z sigmoid(2 u),
// u = sqrt(2/pi) (z + 0.044715 z^3). NaN stays; +inf stays; -inf gives 0.
template <class V, class T>
FIRTH_INLINE V activate(V z, int activation, T) {
    const V zero = set1(T(0));
    switch (activation) {
        case kRelu:
            return zero > z ? zero : z;
        case kSilu:
            return times_sigmoid(z, z, T());
        case kGelu: {
            const V far = set1(T(100)), tail = normal_tail(max(z, -z), T());
            // NaN fails every comparison and passes through the last one.
            return z < zero ? max(-far, z) * tail : z > far ? z : fma(-z, tail, z);
        }
        case kGeluTanh: {
            const V square = z * z, twice = set1(T(1.5957691216057308)) * z;
            return times_sigmoid(z, fma(twice * set1(T(0.044715)), square, twice), T());
        }
        default:
            return z;
    }
}

// c: m x n, c_stride elements apart; bias: n; residual: m x n, e.stride apart.
template <class T>
FIRTH_INLINE void finish(T* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e) {
    constexpr size_t lanes = kLanes<T>;
    const vector_of<T> scale = set1(T(e.scale));
    for (size_t i = 0; i < m; i++) {
        T* row = c + (ptrdiff_t)i * c_stride;
        const T* bias = (const T*)e.bias;
        const T* residual = e.residual ? (const T*)e.residual + (ptrdiff_t)i * e.stride : nullptr;
        for (size_t j = 0; j < n; j += lanes) {
            const size_t count = n - j < lanes ? n - j : lanes;
            const auto read = [&](const T* from) {
                return count == lanes ? load(from + j) : load_partial(from + j, count);
            };
            // A product by 1 changes nothing: the same bits with a scale of 1 and without.
            vector_of<T> z = read(row) * scale;
            if (bias) z += read(bias);
            z = activate(z, e.activation, T());
            if (residual) z += read(residual);
            count == lanes ? store(row + j, z) : store_partial(row + j, z, count);
        }
    }
}

void gemm_finish_f32(void* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e) {
    finish((float*)c, c_stride, m, n, e);
}
void gemm_finish_f64(void* c, ptrdiff_t c_stride, size_t m, size_t n, const Epilogue& e) {
    finish((double*)c, c_stride, m, n, e);
}

}  // namespace firth::FIRTH_LEVEL
