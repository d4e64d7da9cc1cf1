// Bindings of the kernels: check shape, dtype and contiguity, drop the GIL, call. The Python page
// of each kernel has checked the meaning already; what is checked here keeps memory safe.
#include "bindings.h"
#include "engines/cosine_topk.h"
#include "parallel.h"

namespace firth {
namespace {

// Rows a task takes so that it holds about `work` element operations; small jobs stay on one
// thread.
size_t grain(size_t row_cost, size_t work = 1 << 18) {
    return row_cost >= work ? 1 : work / (row_cost ? row_cost : 1);
}

// Rows of n contiguous elements: the last axis contiguous, at most one axis before it.
template <class T>
struct Rows {
    const T* data;
    ptrdiff_t stride;
    size_t rows, n;

    Rows(const py::array_t<T>& x, const char* name) {
        if (x.ndim() != 2 || (x.size() > 0 && ((x.shape(1) > 1 && x.strides(1) != sizeof(T)) ||
                                               x.strides(0) % static_cast<ptrdiff_t>(sizeof(T)))))
            throw py::value_error(std::string(name) +
                                  ": want 2-D rows, contiguous in the last axis");
        data = x.data();
        rows = static_cast<size_t>(x.shape(0));
        n = static_cast<size_t>(x.shape(1));
        stride = x.strides(0) / static_cast<ptrdiff_t>(sizeof(T));
    }
};

template <class T>
auto dot_kernel(const Kernels& k) {
    if constexpr (sizeof(T) == 4)
        return k.dot_f32;
    else
        return k.dot_f64;
}

// a, b: (rows, n), rows at any stride; out: (rows,)
template <class T>
void dot(const Level& level, const py::array_t<T>& a, const py::array_t<T>& b, array<T>& out) {
    const Rows<T> x(a, "dot: a"), y(b, "dot: b");
    if (x.rows != y.rows || x.n != y.n || out.ndim() != 1 ||
        static_cast<size_t>(out.shape(0)) != x.rows)
        throw py::value_error("dot: shapes of a, b and out differ");
    T* result = out.mutable_data();
    const auto kernel = dot_kernel<T>(*level.kernels);
    py::gil_scoped_release unlocked;
    parallel_for(x.rows, grain(x.n), [&](size_t begin, size_t end) {
        kernel(x.data + static_cast<ptrdiff_t>(begin) * x.stride, x.stride,
               y.data + static_cast<ptrdiff_t>(begin) * y.stride, y.stride, result + begin,
               end - begin, x.n);
    });
}

// keys: (N, D), rows at any stride; norms: (N,)
void bind_row_norms(const Level& level, const py::array_t<float>& keys, array<float>& norms) {
    const Rows<float> x(keys, "row_norms: keys");
    if (norms.ndim() != 1 || static_cast<size_t>(norms.shape(0)) != x.rows)
        throw py::value_error("row_norms: norms must have one entry a row");
    float* result = norms.mutable_data();
    py::gil_scoped_release unlocked;
    row_norms(*level.kernels, x.data, x.stride, x.rows, x.n, result);
}

// queries: (Q, D), keys: (N, D), rows at any stride; norms: (N,) or None;
// scores, indices: (Q, k) with k <= N, or (0, 0)
void bind_cosine_topk(const Level& level, const py::array_t<float>& queries,
                      const py::array_t<float>& keys, const std::optional<array<float>>& norms,
                      array<float>& scores, array<int64_t>& indices) {
    const Rows<float> q(queries, "cosine_topk: queries"), x(keys, "cosine_topk: keys");
    if (scores.ndim() != 2 || indices.ndim() != 2 || scores.shape(0) != indices.shape(0) ||
        scores.shape(1) != indices.shape(1) || q.n != x.n ||
        static_cast<size_t>(scores.shape(1)) > x.rows ||
        (scores.size() > 0 && static_cast<size_t>(scores.shape(0)) != q.rows) ||
        (norms && (norms->ndim() != 1 || static_cast<size_t>(norms->shape(0)) != x.rows)))
        throw py::value_error("cosine_topk: shapes of queries, keys, norms and results differ");
    if (scores.size() == 0) return;
    const float* norm = norms ? norms->data() : nullptr;
    float* score = scores.mutable_data();
    int64_t* index = indices.mutable_data();
    const auto k = static_cast<size_t>(scores.shape(1));
    py::gil_scoped_release unlocked;
    cosine_topk(*level.kernels, q.data, q.stride, q.rows, x.data, x.stride, x.rows, x.n, norm, k,
                score, index);
}

}  // namespace

void bind_kernels(py::class_<Level>& level) {
    const auto a = py::arg("a").noconvert(), b = py::arg("b").noconvert(),
               out = py::arg("out").noconvert();
    level.def("dot", &dot<float>, a, b, out);
    level.def("dot", &dot<double>, a, b, out);

    const auto queries = py::arg("queries").noconvert(), keys = py::arg("keys").noconvert(),
               norms = py::arg("norms").noconvert(), scores = py::arg("scores").noconvert(),
               indices = py::arg("indices").noconvert();
    level.def("row_norms", &bind_row_norms, keys, norms);
    level.def("cosine_topk", &bind_cosine_topk, queries, keys, norms, scores, indices);
}

}  // namespace firth
