// Bindings of the matrix product: pack, matmul, and the class Packed.
#include <optional>
#include <type_traits>

#include "bindings.h"
#include "engines/gemm.h"
#include "memory.h"

namespace firth {
namespace {

// B in the layout of one level. Python holds it; matmul reads it.
struct PackedObject {
    const Gemm* type;
    size_t k, n, bytes;
    AlignedBuffer buffer;
};

const Gemm& type_of(const Level& level, float) { return level->gemm_f32; }
const Gemm& type_of(const Level& level, double) { return level->gemm_f64; }
// Bytes: B is signed, A is what the type says.
const Gemm& type_of(const Level& level, uint8_t) { return level->gemm_u8s8; }
const Gemm& type_of(const Level& level, int8_t) { return level->gemm_s8s8; }
const Gemm& type_of(const Level& level, uint16_t) { return level->gemm_bf16; }

bool whole_strides(const py::array& x) {
    return x.strides(0) % x.itemsize() == 0 && x.strides(1) % x.itemsize() == 0;
}

// x: 2-D with contiguous rows or contiguous columns
Operand operand(const py::array& x, const char* name) {
    if (x.ndim() == 2 && whole_strides(x)) {
        const char* data = static_cast<const char*>(x.data());
        if (x.size() == 0 || x.shape(1) < 2 || x.strides(1) == x.itemsize())
            return {data, x.strides(0), false};
        if (x.shape(0) < 2 || x.strides(0) == x.itemsize()) return {data, x.strides(1), true};
    }
    throw py::value_error(std::string(name) + ": want 2-D, contiguous along one axis");
}

// out: (M, N); bias: (N,), residual: (M, N), contiguous in the last axis
template <class S>
Epilogue epilogue(const std::optional<array<S>>& bias, int activation, double scale,
                  const std::optional<py::array_t<S>>& residual, const array<S>& out) {
    if (activation < kNone || activation > kGeluNear)
        throw py::value_error("matmul: no activation has the number " + std::to_string(activation));
    Epilogue e{scale, activation, nullptr, nullptr, 0};
    if (bias) {
        if (bias->ndim() != 1 || bias->shape(0) != out.shape(1))
            throw py::value_error("matmul: bias: want shape (N,)");
        e.bias = bias->data();
    }
    if (residual) {
        if (residual->ndim() != 2 || residual->shape(0) != out.shape(0) ||
            residual->shape(1) != out.shape(1) ||
            (residual->size() > 0 &&
             (!whole_strides(*residual) ||
              (residual->shape(1) > 1 && residual->strides(1) != sizeof(S)))))
            throw py::value_error("matmul: residual: want shape (M, N), contiguous rows");
        e.residual = residual->data();
        e.stride = residual->strides(0) / ptrdiff_t(sizeof(S));
    }
    return e;
}

template <class S>
Result result(array<S>& out, const Epilogue& e) {
    const bool plain = !e.bias && !e.residual && e.activation == kNone && e.scale == 1;
    if (std::is_integral_v<S> && !plain)
        throw py::value_error("matmul: integers have no bias, activation, scale or residual");
    return {reinterpret_cast<char*>(out.mutable_data()), ptrdiff_t(out.shape(1)),
            plain ? nullptr : &e};
}

void check(const py::array& a, size_t k, size_t n, const py::array& out) {
    if (a.ndim() != 2 || size_t(a.shape(1)) != k || out.ndim() != 2 || out.shape(0) != a.shape(0) ||
        size_t(out.shape(1)) != n)
        throw py::value_error("matmul: shapes of a, b and out differ");
}

// unsigned_left: of int8, whether A is uint8
template <class T>
PackedObject pack(const Level& level, const py::array_t<T>& b, bool unsigned_left) {
    const Operand source = operand(b, "pack: b");
    const Gemm& type = sizeof(T) == 1 && unsigned_left ? level->gemm_u8s8 : type_of(level, T());
    const size_t k = size_t(b.shape(0)), n = size_t(b.shape(1));
    const size_t bytes = gemm_packed_bytes(type, k, n);
    PackedObject packed{&type, k, n, bytes, AlignedBuffer(bytes)};
    WithoutGil unlocked;
    gemm_pack(type, source, k, n, packed.buffer.data());
    return packed;
}

// Factors of rows and columns for a product of bytes: row_*: (M,), column_*: (N,).
struct ByteScales {
    array<float> row_scales, row_offsets, column_scales, column_sums;

    void into(Epilogue& e, const array<float>& out) const {
        for (const auto* x : {&row_scales, &row_offsets})
            if (x->ndim() != 1 || x->shape(0) != out.shape(0))
                throw py::value_error("matmul_bytes: row scales and offsets: want shape (M,)");
        for (const auto* x : {&column_scales, &column_sums})
            if (x->ndim() != 1 || x->shape(0) != out.shape(1))
                throw py::value_error("matmul_bytes: column scales and sums: want shape (N,)");
        e.row_scales = row_scales.data();
        e.row_offsets = row_offsets.data();
        e.column_scales = column_scales.data();
        e.column_sums = column_sums.data();
    }
};

// a: uint8; b: int8, or packed for uint8; out: the sums, scaled.
template <class Right>
void matmul_bytes(const Level& level, const py::array_t<uint8_t>& a, const Right& b,
                  array<float>& out, const Optional<float>& bias, int activation,
                  const std::optional<py::array_t<float>>& residual, const array<float>& row_scales,
                  const array<float>& row_offsets, const array<float>& column_scales,
                  const array<float>& column_sums) {
    constexpr bool packed = std::is_same_v<Right, PackedObject>;
    const Operand left = operand(a, "matmul: a");
    Operand right{};
    size_t k, n;
    if constexpr (packed) {
        k = b.k;
        n = b.n;
    } else {
        right = operand(b, "matmul: b");
        k = size_t(b.shape(0));
        n = size_t(b.shape(1));
    }
    check(a, k, n, out);
    const Gemm& type = level->gemm_u8s8;
    if constexpr (packed)
        if (b.type != &type)
            throw py::value_error("matmul: b was packed for another level or dtype");
    Epilogue e = epilogue(bias, activation, 1, residual, out);
    ByteScales{row_scales, row_offsets, column_scales, column_sums}.into(e, out);
    const Result c{reinterpret_cast<char*>(out.mutable_data()), ptrdiff_t(n), &e};
    const size_t m = size_t(out.shape(0));
    WithoutGil unlocked;
    if constexpr (packed)
        gemm(type, left, Packed{b.buffer.data(), k, n}, c, m);
    else
        gemm(type, left, right, c, m, k, n);
}

// T: the operands' element (Right: that of B); S: that of the sums
template <class T, class S, class Right = T>
void matmul(const Level& level, const py::array_t<T>& a, const py::array_t<Right>& b, array<S>& out,
            const std::optional<array<S>>& bias, int activation, double scale,
            const std::optional<py::array_t<S>>& residual) {
    const Operand left = operand(a, "matmul: a"), right = operand(b, "matmul: b");
    const size_t k = size_t(b.shape(0)), n = size_t(b.shape(1));
    check(a, k, n, out);
    const Epilogue e = epilogue(bias, activation, scale, residual, out);
    const Result c = result(out, e);
    const size_t m = size_t(out.shape(0));
    WithoutGil unlocked;
    gemm(type_of(level, T()), left, right, c, m, k, n);
}

template <class T, class S>
void matmul_packed(const Level& level, const py::array_t<T>& a, const PackedObject& b,
                   array<S>& out, const std::optional<array<S>>& bias, int activation, double scale,
                   const std::optional<py::array_t<S>>& residual) {
    const Operand left = operand(a, "matmul: a");
    check(a, b.k, b.n, out);
    if (b.type != &type_of(level, T()))
        throw py::value_error("matmul: b was packed for another level or dtype");
    const Epilogue e = epilogue(bias, activation, scale, residual, out);
    const Result c = result(out, e);
    const size_t m = size_t(out.shape(0));
    WithoutGil unlocked;
    gemm(*b.type, left, Packed{b.buffer.data(), b.k, b.n}, c, m);
}

// a: (M, 4 K), b: (K, 4 N), c: (M, 4 N) bytes; M, K and N from 1 to 16
bool tile_product(const Level& level, int product, const array<uint8_t>& a, const array<uint8_t>& b,
                  array<uint8_t>& c) {
    if (a.ndim() != 2 || b.ndim() != 2 || c.ndim() != 2)
        throw py::value_error("tile_product: want matrices");
    const size_t rows = size_t(a.shape(0)), units = size_t(b.shape(0));
    const size_t columns = size_t(b.shape(1)) / 4;
    const auto fits = [](size_t n) { return n >= 1 && n <= 16; };
    if (!fits(rows) || !fits(units) || !fits(columns) || size_t(a.shape(1)) != 4 * units ||
        size_t(b.shape(1)) != 4 * columns || size_t(c.shape(0)) != rows ||
        size_t(c.shape(1)) != 4 * columns)
        throw py::value_error("tile_product: shapes of a, b and c do not fit a tile each");
    if (product < kTileBf16 || product > kTileU8S8)
        throw py::value_error("tile_product: no product has the number " + std::to_string(product));
    return level->tile_product(product, rows, columns, units, a.data(), b.data(), c.mutable_data());
}

}  // namespace

void bind_gemm(py::module_& kernels) {
    py::class_<PackedObject>(kernels, "Packed").def_readonly("nbytes", &PackedObject::bytes);
    const auto level = py::arg("level"), a = py::arg("a").noconvert(), b = py::arg("b").noconvert(),
               out = py::arg("out").noconvert(), bias = py::arg("bias").noconvert(),
               residual = py::arg("residual").noconvert();
    const auto activation = py::arg("activation"), scale = py::arg("scale");
    const auto unsigned_left = py::arg("unsigned_left") = false;
    kernels.def("pack", &pack<float>, level, b, py::kw_only(), unsigned_left);
    kernels.def("pack", &pack<double>, level, b, py::kw_only(), unsigned_left);
    kernels.def("pack", &pack<uint16_t>, level, b, py::kw_only(), unsigned_left);
    kernels.def("pack", &pack<int8_t>, level, b, py::kw_only(), unsigned_left);
    kernels.def("tile_product", &tile_product, level, py::arg("product"), a, b,
                py::arg("c").noconvert());
    kernels.def("matmul", &matmul<float, float>, level, a, b, out, bias, activation, scale,
                residual);
    kernels.def("matmul", &matmul<double, double>, level, a, b, out, bias, activation, scale,
                residual);
    kernels.def("matmul", &matmul<uint16_t, float>, level, a, b, out, bias, activation, scale,
                residual);
    kernels.def("matmul", &matmul<uint8_t, int32_t, int8_t>, level, a, b, out, bias, activation,
                scale, residual);
    kernels.def("matmul", &matmul<int8_t, int32_t>, level, a, b, out, bias, activation, scale,
                residual);
    kernels.def("matmul", &matmul_packed<float, float>, level, a, b, out, bias, activation, scale,
                residual);
    kernels.def("matmul", &matmul_packed<double, double>, level, a, b, out, bias, activation, scale,
                residual);
    kernels.def("matmul", &matmul_packed<uint16_t, float>, level, a, b, out, bias, activation,
                scale, residual);
    kernels.def("matmul", &matmul_packed<uint8_t, int32_t>, level, a, b, out, bias, activation,
                scale, residual);
    kernels.def("matmul", &matmul_packed<int8_t, int32_t>, level, a, b, out, bias, activation,
                scale, residual);
    const auto row_scales = py::arg("row_scales").noconvert(),
               row_offsets = py::arg("row_offsets").noconvert(),
               column_scales = py::arg("column_scales").noconvert(),
               column_sums = py::arg("column_sums").noconvert();
    kernels.def("matmul_bytes", &matmul_bytes<py::array_t<int8_t>>, level, a, b, out, bias,
                activation, residual, row_scales, row_offsets, column_scales, column_sums);
    kernels.def("matmul_bytes", &matmul_bytes<PackedObject>, level, a, b, out, bias, activation,
                residual, row_scales, row_offsets, column_scales, column_sums);
}

}  // namespace firth
