// Activations, their gradients, and sums of columns.
#include "../activations.h"
#include "elements.h"
#include "hyperbolic.h"
#include "list_activation.h"

namespace firth::FIRTH_LEVEL {

// x, out: n; slope: of leaky_relu and elu; out may be x.
template <class T>
FIRTH_INLINE void activate_all(const T* x, T* out, size_t n, int activation, double slope_of_call) {
    typedef vector_of<T> V;
    const V zero = set1(T(0)), one = set1(T(1)), slope = set1(T(slope_of_call));
    switch (activation) {
        case kRelu:
            return each(x, out, n, [&](V z) { return activate(z, kRelu, T()); });
        case kGelu:
            return each(x, out, n, [&](V z) { return activate(z, kGelu, T()); });
        case kGeluTanh:
            return each(x, out, n, [&](V z) { return activate(z, kGeluTanh, T()); });
        case kSilu:
            return each(x, out, n, [&](V z) { return activate(z, kSilu, T()); });
        case kTanh:
            return each(x, out, n, [&](V z) { return tanh(z, T()); });
        case kSigmoid:
            return each(x, out, n, [&](V z) { return sigmoid(z, T()); });
        case kLeakyRelu:
            return each(x, out, n, [&](V z) { return z > zero ? z : slope * z; });
        case kElu:
            return each(x, out, n,
                        [&](V z) { return z > zero ? z : slope * expm1_negative(z, T()); });
        case kStep:  // NaN stays
            return each(x, out, n, [&](V z) { return z >= zero ? one : z < zero ? zero : z; });
        default:
            return each(x, out, n, [&](V z) { return z; });
    }
}

// e^(-x x / 2), with what the rounding of the square has lost; 0 where that would be denormal.
template <class V, class T>
FIRTH_INLINE V bell(V x, T) {
    const V a = min(set1(T(sizeof(T) == 4 ? 14 : 39)), max(x, -x));
    const V square = a * a, lost = fma(a, a, -square);
    const V e = exp_negative(square * set1(T(-0.5)), T());
    return fma(e * lost, set1(T(-0.5)), e);
}

// dx = or += dy f'(x): y = f(x) is read in place of x where that is enough (activations.py). dx may
// be dy. What is multiplied by an exponential is cut to [-100, 100] first: beyond, that is 0.
template <class T>
FIRTH_INLINE void backward_all(const T* dy, const T* x, const T* y, T* dx, size_t n, int activation,
                               double slope_of_call, bool add) {
    typedef vector_of<T> V;
    const V zero = set1(T(0)), one = set1(T(1)), slope = set1(T(slope_of_call));
    const auto cut = [&](V z) { return min(set1(T(100)), max(set1(T(-100)), z)); };
    switch (activation) {
        case kRelu:
            return each_of_two(dy, y, dx, n, add, [&](V d, V v) { return v <= zero ? zero : d; });
        case kTanh:
            return each_of_two(dy, y, dx, n, add, [&](V d, V v) { return d * fma(-v, v, one); });
        case kSigmoid:
            return each_of_two(dy, y, dx, n, add, [&](V d, V v) { return d * (v * (one - v)); });
        case kStep:
            return each_of_two(dy, y, dx, n, add, [&](V, V) { return zero; });
        case kLeakyRelu:
            return each_of_two(dy, x, dx, n, add,
                               [&](V d, V z) { return z > zero ? d : slope * d; });
        case kElu:
            return each_of_two(dy, x, dx, n, add, [&](V d, V z) {
                return z > zero ? d : d * slope * exp_negative(z, T());
            });
        case kSilu:  // s + x s (1 - s)
            return each_of_two(dy, x, dx, n, add, [&](V d, V z) {
                return d * fma(cut(z), sigmoid_slope(z, T()), sigmoid(z, T()));
            });
        case kGelu:  // Phi(x) + x e^(-x x / 2) / sqrt(2 pi)
            return each_of_two(dy, x, dx, n, add, [&](V d, V z) {
                const V tail = normal_tail(max(z, -z), T());
                const V scaled = bell(z, T()) * set1(T(0.3989422804014327));
                return d * fma(cut(z), scaled, z < zero ? tail : one - tail);
            });
        case kGeluTanh:  // s + x s (1 - s) u', s = sigmoid(u), u = sqrt(8/pi) (x + 0.044715 x^3)
            return each_of_two(dy, x, dx, n, add, [&](V d, V z) {
                const V c = cut(z), square = c * c, k = set1(T(1.5957691216057308));
                const V u = k * c * fma(set1(T(0.044715)), square, one);
                const V du = k * fma(set1(T(3 * 0.044715)), square, one);
                return d * fma(c * du, sigmoid_slope(u, T()), sigmoid(u, T()));
            });
        default:
            return each_of_two(dy, dy, dx, n, add, [&](V d, V) { return d; });
    }
}

// out (n) = or += sums of the columns of x: rows x n, stride apart, in the order of the rows. So
// many rows at a time that all that is read stays near: a row may be a page.
template <class T>
FIRTH_INLINE void sum_columns(const T* x, ptrdiff_t stride, T* out, size_t rows, size_t n,
                              bool add) {
    constexpr size_t lanes = kLanes<T>, V = 4, block = 32;
    size_t start = 0;
    do {
        const size_t end = rows - start < block ? rows : start + block;
        const bool more = add || start > 0;
        size_t j = 0;
        for (; j + V * lanes <= n; j += V * lanes) {
            vector_of<T> sums[V];
            for (size_t v = 0; v < V; v++) sums[v] = more ? load(out + j + v * lanes) : set1(T(0));
            for (size_t r = start; r < end; r++)
                for (size_t v = 0; v < V; v++)
                    sums[v] += load(x + (ptrdiff_t)r * stride + j + v * lanes);
            for (size_t v = 0; v < V; v++) store(out + j + v * lanes, sums[v]);
        }
        for (; j < n; j += lanes) {
            const size_t count = n - j < lanes ? n - j : lanes;
            vector_of<T> sums = more ? load_up_to(out + j, count) : set1(T(0));
            for (size_t r = start; r < end; r++)
                sums += load_up_to(x + (ptrdiff_t)r * stride + j, count);
            store_up_to(out + j, sums, count);
        }
        start = end;
    } while (start < rows);
}

#define FIRTH_ACTIVATIONS_OF(T, type) \
    void activate_##type(const T* x, T* out, size_t n, int activation, double slope) { \
        activate_all(x, out, n, activation, slope); \
    } \
    void activate_backward_##type(const T* dy, const T* x, const T* y, T* dx, size_t n, \
                                  int activation, double slope, bool add) { \
        backward_all(dy, x, y, dx, n, activation, slope, add); \
    } \
    void sum_columns_##type(const T* x, ptrdiff_t stride, T* out, size_t rows, size_t n, \
                            bool add) { \
        sum_columns(x, stride, out, rows, n, add); \
    }
FIRTH_ACTIVATIONS_OF(float, f32)
FIRTH_ACTIVATIONS_OF(double, f64)

}  // namespace firth::FIRTH_LEVEL
