// Operations of networks: each a pair of functions over arrays, forward and backward, of float or
// double. The tape of Python calls one at a time; a program (program.h) holds the list of a whole
// training step.
//
// An operation is a file (or a part of one) with `fits`, `forward<T>`, `backward<T>` and a row in
// table.cpp. Its page in python/firth/nn/operations/ has the contract, the derivation of backward
// and the NumPy reference of both; names, options and the order of arrays are those of the page.
//
// Same arrays, same bits, on any number of threads: sums over rows are cut by constants alone.
#pragma once
#include <string.h>

#include "kernels.h"
#include "parallel.h"
#include "sizes.h"

namespace firth::nn {

enum class Kind : uint8_t {
    real,    // T of the call: float or double
    index,   // int64_t
    byte,    // uint8_t
    number,  // double, whatever T is
};

constexpr size_t kMostAxes = 5;

// A C-contiguous array. data is null where it is absent, or where only its shape is known: what an
// operation does not read backward is not kept. `there` tells absent arrays from these.
struct Array {
    void* data = nullptr;
    bool there = false;
    bool writeable = false;  // for inputs that an operation changes; others are checked for all
    Kind kind = Kind::real;
    size_t axes = 0;
    size_t shape[kMostAxes] = {};

    explicit operator bool() const { return data != nullptr; }
    size_t size() const {
        size_t n = 1;
        for (size_t i = 0; i < axes; i++) n *= shape[i];
        return n;
    }
    // The last axis, and the product of the others.
    size_t last() const { return axes ? shape[axes - 1] : 1; }
    size_t rows() const {
        size_t n = 1;
        for (size_t i = 0; i + 1 < axes; i++) n *= shape[i];
        return n;
    }
    bool has_shape_of(const Array& other) const {
        return axes == other.axes && !memcmp(shape, other.shape, axes * sizeof *shape);
    }
    template <class T>
    T* as() const {
        return static_cast<T*>(data);
    }
};

// One call of an operation, forward or backward.
struct Call {
    const Kernels& kernels;
    int threads;
    bool backward;
    bool bfloat16;          // products of float32 may round their operands to bfloat16
    uint64_t seed;          // of random operations: the same forward and backward
    const double* options;  // numbers that say what is asked, in the order of the page
    size_t option_count;
    // Inputs, outputs and what forward keeps for backward. Forward writes out and saved; an input
    // that it changes (running statistics, parameters of an optimizer) is one that its page names.
    const Array *in, *out, *saved;
    size_t ins, outs, saves;
    // Backward: gradients of the outputs (without data where there is none) and of the inputs
    // (without data where nobody wants them), in the order of out and in. Gradient i of the inputs
    // is added to what is there where bit i of `add` is set, else written.
    const Array *dout, *din;
    uint64_t add;
    bool f64 = false;  // T is double

    // Whether an array holds doubles: numbers have the kind of reals where T is double.
    bool is_number(const Array& x) const {
        return x.kind == Kind::number || (f64 && x.kind == Kind::real);
    }
    bool adds(size_t i) const { return add >> i & 1; }
    double option(size_t i) const { return options[i]; }
    bool flag(size_t i) const { return options[i] != 0; }
};

struct Operation {
    const char* name;
    // Whether counts, shapes, kinds and options are those of the operation, and all that the call
    // reads and writes is there. (That din and dout have the shapes of in and out is checked for
    // all; arrays without data pass, so `fits` asks for what it needs.)
    bool (*fits)(const Call&);
    void (*forward_f32)(const Call&);
    void (*forward_f64)(const Call&);
    void (*backward_f32)(const Call&);  // null: has no gradient
    void (*backward_f64)(const Call&);
};

// By name; null where there is none.
const Operation* find_operation(const char* name);
// All of them, in the order of table.cpp.
const Operation* operations(size_t* count);

// ---- what operations share ----------------------------------------------------------------------

// A matrix inside of an array of T: element (i, j) at data[i * stride + j], or, transposed, at
// data[j * stride + i].
template <class T>
struct Matrix {
    const T* data;
    ptrdiff_t stride;
    bool transposed = false;
};

// c (m x n, c_stride from row to row) = a b + bias, or += a b, for a: m x k and b: k x n; bias: n,
// or null, as where it adds. With call.bfloat16 operands of float are rounded to bfloat16.
template <class T>
void product(const Call& call, const Matrix<T>& a, const Matrix<T>& b, T* c, ptrdiff_t c_stride,
             size_t m, size_t k, size_t n, bool add, const T* bias = nullptr);

// out (n) = or += the sums of the columns of x: rows x n. In blocks of rows that depend on the
// shape alone.
template <class T>
void sum_columns(const Call& call, const T* x, size_t rows, size_t n, T* out, bool add);

// body(begin, end) over ranges of items, each of about `cost` operations: on one thread where all
// are few, in ranges that threads share else. Only for work whose bits do not depend on the cut.
template <class Body>
void for_items(const Call& call, size_t n, double cost, const Body& body) {
    constexpr double kSerial = 1e5, kGrain = 5e4;  // waking a thread takes some microseconds
    if (n == 0) return;
    if (call.threads == 1 || double(n) * cost < kSerial) return body(size_t(0), n);
    const size_t grain = size_t(kGrain / cost) + 1;
    const size_t share = divide_up(n, 4 * size_t(call.threads));
    parallel_for(n, grain > share ? grain : share, body, call.threads);
}

}  // namespace firth::nn
