// Bindings of the matrix product: Level.pack, Level.matmul, and the class Packed.
#include "bindings.h"
#include "engines/gemm.h"

namespace firth {
namespace {

// B in the layout of one level. Python holds it; Level.matmul reads it.
struct PackedObject {
    const Kernels* kernels;
    size_t k, n, bytes, element_bytes;
    AlignedBuffer buffer;
};

template <class T>
bool whole_strides(const py::array_t<T>& x) {
    return x.strides(0) % ptrdiff_t(sizeof(T)) == 0 && x.strides(1) % ptrdiff_t(sizeof(T)) == 0;
}

// b: (K, N) with contiguous rows or contiguous columns
template <class T>
Operand<T> operand(const py::array_t<T>& b, const char* name) {
    if (b.ndim() == 2 && whole_strides(b)) {
        if (b.size() == 0 || b.shape(1) < 2 || b.strides(1) == sizeof(T))
            return {b.data(), b.strides(0) / ptrdiff_t(sizeof(T)), false};
        if (b.shape(0) < 2 || b.strides(0) == sizeof(T))
            return {b.data(), b.strides(1) / ptrdiff_t(sizeof(T)), true};
    }
    throw py::value_error(std::string(name) + ": want 2-D, contiguous along one axis");
}

// a: (M, K), contiguous in the last axis; out: (M, N)
template <class T>
void check(const py::array_t<T>& a, size_t k, size_t n, const array<float>& out) {
    if (a.ndim() != 2 ||
        (a.size() > 0 && (!whole_strides(a) || (a.shape(1) > 1 && a.strides(1) != sizeof(T)))))
        throw py::value_error("matmul: a: want 2-D, contiguous in the last axis");
    if (size_t(a.shape(1)) != k || out.ndim() != 2 || out.shape(0) != a.shape(0) ||
        size_t(out.shape(1)) != n)
        throw py::value_error("matmul: shapes of a, b and out differ");
}

template <class T>
PackedObject pack(const Level& level, const py::array_t<T>& b) {
    const Operand<T> source = operand(b, "pack: b");
    const size_t k = size_t(b.shape(0)), n = size_t(b.shape(1));
    const size_t bytes = gemm_packed_bytes<T>(*level.kernels, k, n);
    PackedObject packed{level.kernels, k, n, bytes, sizeof(T), AlignedBuffer(bytes)};
    WithoutGil unlocked;
    gemm_pack_parallel(*level.kernels, source, k, n, packed.buffer.data());
    return packed;
}

template <class T>
void matmul(const Level& level, const py::array_t<T>& a, const py::array_t<T>& b,
            array<float>& out) {
    const Operand<T> source = operand(b, "matmul: b");
    const size_t k = size_t(b.shape(0)), n = size_t(b.shape(1)), m = size_t(out.shape(0));
    check(a, k, n, out);
    float* c = out.mutable_data();
    WithoutGil unlocked;
    gemm(*level.kernels, a.data(), a.strides(0) / ptrdiff_t(sizeof(T)), source, c, ptrdiff_t(n), m,
         k, n);
}

template <class T>
void matmul_packed(const Level& level, const py::array_t<T>& a, const PackedObject& b,
                   array<float>& out) {
    check(a, b.k, b.n, out);
    if (b.kernels != level.kernels || b.element_bytes != sizeof(T))
        throw py::value_error("matmul: b was packed for another level or dtype");
    float* c = out.mutable_data();
    const size_t m = size_t(out.shape(0));
    WithoutGil unlocked;
    gemm(*level.kernels, a.data(), a.strides(0) / ptrdiff_t(sizeof(T)),
         Packed<T>{b.buffer.data(), b.k, b.n}, c, ptrdiff_t(b.n), m);
}

}  // namespace

void bind_gemm(py::module_& module, py::class_<Level>& level) {
    py::class_<PackedObject>(module, "Packed").def_readonly("nbytes", &PackedObject::bytes);
    const auto a = py::arg("a").noconvert(), b = py::arg("b").noconvert(),
               out = py::arg("out").noconvert();
    level.def("pack", &pack<float>, b);
    level.def("pack", &pack<uint16_t>, b);
    level.def("matmul", &matmul<float>, a, b, out);
    level.def("matmul", &matmul<uint16_t>, a, b, out);
    level.def("matmul", &matmul_packed<float>, a, b, out);
    level.def("matmul", &matmul_packed<uint16_t>, a, b, out);
}

}  // namespace firth
