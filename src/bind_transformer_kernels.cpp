// Bindings of the kernels of transformers: shape and contiguity checked, GIL dropped.
#include <algorithm>

#include "activations.h"
#include "bindings.h"
#include "parallel.h"

namespace firth {
namespace {

// body(begin, end) over rows of n numbers, on all threads where there are many of them.
template <class Body>
void for_rows(size_t rows, size_t n, const Body& body) {
    parallel_for(rows, (size_t(1) << 17) / (n + 1) + 1, body);
}

// x: (n,) or None; name: how an error begins
template <class T>
const T* numbers(const Optional<T>& x, size_t n, const char* name) {
    if (!x) return nullptr;
    if (x->ndim() != 1 || size_t(x->shape(0)) != n)
        throw py::value_error(std::string(name) + ": want shape (n,)");
    return x->data();
}

// x, out: (rows, n), contiguous in the last axis; gain, bias: (n,) or None; out is x, or does not
// overlap it
template <class T>
void layer_norm(const Level& level, const py::array_t<T>& x, const Optional<T>& gain,
                const Optional<T>& bias, double eps, py::array_t<T>& out) {
    const Rows<const T> from(x, "layer_norm: x");
    const Rows<T> to(out, "layer_norm: out");
    if (from.rows != to.rows || from.n != to.n)
        throw py::value_error("layer_norm: shapes of x and out differ");
    const T* factors = numbers(gain, from.n, "layer_norm: gain");
    const T* addends = numbers(bias, from.n, "layer_norm: bias");
    const auto kernel = level->of<T>().layer_norm;
    WithoutGil unlocked;
    for_rows(from.rows, from.n, [&](size_t begin, size_t end) {
        const ptrdiff_t first = ptrdiff_t(begin);
        kernel(from.data + first * from.stride, from.stride, factors, addends, eps,
               to.data + first * to.stride, to.stride, end - begin, from.n);
    });
}

// As layer_norm.
template <class T>
void rms_norm(const Level& level, const py::array_t<T>& x, const Optional<T>& gain, double eps,
              py::array_t<T>& out) {
    const Rows<const T> from(x, "rms_norm: x");
    const Rows<T> to(out, "rms_norm: out");
    if (from.rows != to.rows || from.n != to.n)
        throw py::value_error("rms_norm: shapes of x and out differ");
    const T* factors = numbers(gain, from.n, "rms_norm: gain");
    const auto kernel = level->of<T>().rms_norm;
    WithoutGil unlocked;
    for_rows(from.rows, from.n, [&](size_t begin, size_t end) {
        const ptrdiff_t first = ptrdiff_t(begin);
        kernel(from.data + first * from.stride, from.stride, factors, eps,
               to.data + first * to.stride, to.stride, end - begin, from.n);
    });
}

// x: (rows, heads, width), changed in place; cosines, sines: (P, rotated / 2); positions: (rows,),
// rows of these tables
void rotary(const Level& level, array<float>& x, const array<float>& cosines,
            const array<float>& sines, const array<int32_t>& positions, bool interleaved) {
    if (x.ndim() != 3 || cosines.ndim() != 2 || sines.ndim() != 2 ||
        cosines.shape(0) != sines.shape(0) || cosines.shape(1) != sines.shape(1) ||
        2 * cosines.shape(1) > x.shape(2))
        throw py::value_error("rotary: shapes of x, cosines and sines do not fit together");
    if (positions.ndim() != 1 || positions.shape(0) != x.shape(0))
        throw py::value_error("rotary: positions: want one for each row");
    const size_t rows = size_t(x.shape(0)), heads = size_t(x.shape(1)), width = size_t(x.shape(2));
    const int32_t* places = positions.data();
    if (std::any_of(places, places + rows,
                    [&](int32_t p) { return p < 0 || p >= cosines.shape(0); }))
        throw py::index_error("rotary: a position is out of range");
    const size_t rotated = 2 * size_t(cosines.shape(1)), stride = heads * width;
    const float *c = cosines.data(), *s = sines.data();
    float* to = x.mutable_data();
    const auto kernel = level->rotary_f32;
    WithoutGil unlocked;
    for_rows(rows, stride, [&](size_t begin, size_t end) {
        kernel(to + begin * stride, ptrdiff_t(stride), c, s, places + begin, end - begin, heads,
               width, rotated, interleaved);
    });
}

// x: (rows, n), contiguous in the last axis; codes: (rows, n); scales, others: (rows,)
template <class Code, class Kernel>
void quantize(const py::array_t<float>& x, array<Code>& codes, array<float>& scales,
              array<float>& others, Kernel kernel) {
    const Rows<const float> from(x, "quantize: x");
    if (codes.ndim() != 2 || size_t(codes.shape(0)) != from.rows ||
        size_t(codes.shape(1)) != from.n)
        throw py::value_error("quantize: codes: want the shape of x");
    for (const array<float>* one : {&scales, &others})
        if (one->ndim() != 1 || size_t(one->shape(0)) != from.rows)
            throw py::value_error("quantize: want one scale and one offset or sum for each row");
    Code* bytes = codes.mutable_data();
    float *scale = scales.mutable_data(), *other = others.mutable_data();
    WithoutGil unlocked;
    for_rows(from.rows, from.n, [&](size_t begin, size_t end) {
        kernel(from.data + ptrdiff_t(begin) * from.stride, from.stride, end - begin, from.n,
               bytes + begin * from.n, scale + begin, other + begin);
    });
}

void quantize_rows(const Level& level, const py::array_t<float>& x, array<uint8_t>& codes,
                   array<float>& scales, array<float>& offsets) {
    quantize(x, codes, scales, offsets,
             [&](const float* from, ptrdiff_t stride, size_t rows, size_t n, uint8_t* bytes,
                 float* scale, float* low) {
                 level->quantize_rows(from, stride, rows, n, bytes, scale, low, nullptr);
             });
}

void quantize_weights(const Level& level, const py::array_t<float>& x, array<int8_t>& codes,
                      array<float>& scales, array<float>& sums) {
    quantize(x, codes, scales, sums, level->quantize_weights);
}

// gate, up, out: (rows, n), contiguous in the last axis; rows of gate and up as far apart; out is
// one of them, or overlaps neither
void gated(const Level& level, const py::array_t<float>& gate, const py::array_t<float>& up,
           int activation, py::array_t<float>& out) {
    const Rows<const float> g(gate, "gated: gate"), u(up, "gated: up");
    const Rows<float> to(out, "gated: out");
    if (g.rows != u.rows || g.rows != to.rows || g.n != u.n || g.n != to.n)
        throw py::value_error("gated: shapes of gate, up and out differ");
    if (g.rows > 1 && g.stride != u.stride)
        throw py::value_error("gated: strides of gate and up differ");
    if (activation < kNone || activation > kSilu)
        throw py::value_error("gated: no activation has the number " + std::to_string(activation));
    const auto kernel = level->gate_f32;
    WithoutGil unlocked;
    for_rows(g.rows, 8 * g.n, [&](size_t begin, size_t end) {
        const ptrdiff_t first = ptrdiff_t(begin);
        kernel(g.data + first * g.stride, u.data + first * g.stride, g.stride,
               to.data + first * to.stride, to.stride, end - begin, g.n, activation);
    });
}

// x, out: (rows, n), contiguous in the last axis
void to_bfloat16(const Level& level, const py::array_t<float>& x, py::array_t<uint16_t>& out) {
    const Rows<const float> from(x, "to_bfloat16: x");
    const Rows<uint16_t> to(out, "to_bfloat16: out");
    if (from.rows != to.rows || from.n != to.n)
        throw py::value_error("to_bfloat16: shapes of x and out differ");
    const auto kernel = level->narrow_f32;
    WithoutGil unlocked;
    for_rows(from.rows, from.n, [&](size_t begin, size_t end) {
        const ptrdiff_t first = ptrdiff_t(begin);
        kernel(from.data + first * from.stride, from.stride, to.data + first * to.stride, to.stride,
               end - begin, from.n);
    });
}

}  // namespace

void bind_transformer_kernels(py::module_& kernels) {
    const auto level = py::arg("level"), x = py::arg("x").noconvert(),
               gain = py::arg("gain").noconvert(), bias = py::arg("bias").noconvert(),
               eps = py::arg("eps"), out = py::arg("out").noconvert(),
               codes = py::arg("codes").noconvert(), scales = py::arg("scales").noconvert();
    kernels.def("layer_norm", &layer_norm<float>, level, x, gain, bias, eps, out);
    kernels.def("layer_norm", &layer_norm<double>, level, x, gain, bias, eps, out);
    kernels.def("rms_norm", &rms_norm<float>, level, x, gain, eps, out);
    kernels.def("rms_norm", &rms_norm<double>, level, x, gain, eps, out);
    kernels.def("rotary", &rotary, level, x, py::arg("cosines").noconvert(),
                py::arg("sines").noconvert(), py::arg("positions").noconvert(),
                py::arg("interleaved"));
    kernels.def("quantize_rows", &quantize_rows, level, x, codes, scales,
                py::arg("offsets").noconvert());
    kernels.def("quantize_weights", &quantize_weights, level, x, codes, scales,
                py::arg("sums").noconvert());
    kernels.def("gated", &gated, level, py::arg("gate").noconvert(), py::arg("up").noconvert(),
                py::arg("activation"), out);
    kernels.def("to_bfloat16", &to_bfloat16, level, x, out);
}

}  // namespace firth
