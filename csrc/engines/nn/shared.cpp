// What operations of networks share: products of float, double or bfloat16, and sums of columns.
#include <algorithm>

#include "engines/gemm.h"
#include "engines/nn/operation.h"
#include "memory.h"

namespace firth::nn {
namespace {

// x (rows x n, as it lies) in bfloat16, into out (rows x n).
void narrow(const Call& call, const Matrix<float>& x, size_t rows, size_t n, uint16_t* out) {
    for_items(call, rows, double(n), [&](size_t begin, size_t end) {
        call.kernels.narrow_f32(x.data + ptrdiff_t(begin) * x.stride, x.stride, out + begin * n,
                                ptrdiff_t(n), end - begin, n);
    });
}

template <class T>
Operand operand(const Matrix<T>& x) {
    return {reinterpret_cast<const char*>(x.data), x.stride * ptrdiff_t(sizeof(T)), x.transposed};
}

}  // namespace

template <class T>
void product(const Call& call, const Matrix<T>& a, const Matrix<T>& b, T* c, ptrdiff_t c_stride,
             size_t m, size_t k, size_t n, bool add, const T* bias) {
    Epilogue epilogue{};
    epilogue.scale = 1;
    epilogue.bias = bias;
    const Result result{reinterpret_cast<char*>(c), c_stride, bias ? &epilogue : nullptr, add};
    if constexpr (sizeof(T) == 4) {
        if (call.bfloat16) {
            const size_t a_rows = a.transposed ? k : m, a_columns = a.transposed ? m : k;
            const size_t b_rows = b.transposed ? n : k, b_columns = b.transposed ? k : n;
            const Scratch left(2 * a_rows * a_columns + 64), right(2 * b_rows * b_columns + 64);
            narrow(call, a, a_rows, a_columns, left.data<uint16_t>());
            narrow(call, b, b_rows, b_columns, right.data<uint16_t>());
            const Matrix<uint16_t> a16{left.data<uint16_t>(), ptrdiff_t(a_columns), a.transposed};
            const Matrix<uint16_t> b16{right.data<uint16_t>(), ptrdiff_t(b_columns), b.transposed};
            return gemm(call.kernels.gemm_bf16, operand(a16), operand(b16), result, m, k, n,
                        call.threads);
        }
        gemm(call.kernels.gemm_f32, operand(a), operand(b), result, m, k, n, call.threads);
    } else {
        gemm(call.kernels.gemm_f64, operand(a), operand(b), result, m, k, n, call.threads);
    }
}

template <class T>
void sum_columns(const Call& call, const T* x, size_t rows, size_t n, T* out, bool add) {
    // Each column is summed in the order of the rows, so ranges of columns are free.
    for_items(call, n, double(rows), [&](size_t begin, size_t end) {
        call.kernels.of<T>().sum_columns(x + begin, ptrdiff_t(n), out + begin, rows, end - begin,
                                         add);
    });
}

template void product<float>(const Call&, const Matrix<float>&, const Matrix<float>&, float*,
                             ptrdiff_t, size_t, size_t, size_t, bool, const float*);
template void product<double>(const Call&, const Matrix<double>&, const Matrix<double>&, double*,
                              ptrdiff_t, size_t, size_t, size_t, bool, const double*);
template void sum_columns<float>(const Call&, const float*, size_t, size_t, float*, bool);
template void sum_columns<double>(const Call&, const double*, size_t, size_t, double*, bool);

}  // namespace firth::nn
