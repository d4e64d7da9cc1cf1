// Bindings of the kernels: check shape, dtype and contiguity, drop the GIL, call. The Python page
// of each kernel has checked the meaning already; checks here are for memory safety.
#include "bindings.h"
#include "engines/search/cosine_topk.h"
#include "parallel.h"
#include "sizes.h"

namespace firth {

using namespace search;

namespace {

// Rows a task takes so that it holds about `work` element operations; small jobs stay on one
// thread.
size_t grain(size_t row_cost, size_t work = 1 << 18) {
    return row_cost >= work ? 1 : work / (row_cost ? row_cost : 1);
}

// a, b: (rows, n), rows at any stride; out: (rows,)
template <class T>
void dot(const Level& level, const py::array_t<T>& a, const py::array_t<T>& b, array<T>& out) {
    const Rows<const T> x(a, "dot: a"), y(b, "dot: b");
    if (x.rows != y.rows || x.n != y.n || out.ndim() != 1 ||
        static_cast<size_t>(out.shape(0)) != x.rows)
        throw py::value_error("dot: shapes of a, b and out differ");
    T* result = out.mutable_data();
    const auto kernel = level->of<T>().dot;
    WithoutGil unlocked;
    parallel_for(x.rows, grain(x.n), [&](size_t begin, size_t end) {
        kernel(x.data + static_cast<ptrdiff_t>(begin) * x.stride, x.stride,
               y.data + static_cast<ptrdiff_t>(begin) * y.stride, y.stride, result + begin,
               end - begin, x.n);
    });
}

// Rows to search: float, half-precision bits (uint16) or int8, the latter with a scale for each
// row.
template <class T>
KeyRows key_rows(const py::array_t<T>& keys, const std::optional<array<float>>& scales) {
    const Rows<const T> x(keys, "keys");
    constexpr bool scaled = sizeof(T) == 1;
    if (scaled != scales.has_value() ||
        (scales && (scales->ndim() != 1 || static_cast<size_t>(scales->shape(0)) != x.rows)))
        throw py::value_error("scales: want one for each row of int8, none for other rows");
    const RowType type = scaled ? RowType::i8 : sizeof(T) == 2 ? RowType::f16 : RowType::f32;
    return {x.data, x.stride, x.rows, x.n, type, scales ? scales->data() : nullptr};
}

// keys: (N, D), rows at any stride; scales: (N,) or None; norms: (N,)
template <class T>
void bind_row_norms(const Level& level, const py::array_t<T>& keys,
                    const std::optional<array<float>>& scales, array<float>& norms) {
    const KeyRows x = key_rows(keys, scales);
    if (norms.ndim() != 1 || static_cast<size_t>(norms.shape(0)) != x.rows)
        throw py::value_error("row_norms: norms must have one entry a row");
    float* result = norms.mutable_data();
    WithoutGil unlocked;
    row_norms(*level, x, result);
}

// queries: (Q, D), keys: (N, D), rows at any stride; scales, norms: (N,) or None
void check_search(const Rows<const float>& queries, const KeyRows& keys,
                  const std::optional<array<float>>& norms, const array<float>& scores) {
    if (scores.ndim() != 2 || queries.n != keys.n ||
        (scores.size() > 0 && static_cast<size_t>(scores.shape(0)) != queries.rows) ||
        (norms && (norms->ndim() != 1 || static_cast<size_t>(norms->shape(0)) != keys.rows)))
        throw py::value_error("cosine: shapes of queries, keys, norms and results differ");
}

// scores, indices: (Q, k) with k <= N, or (0, 0); the rest as for check_search
template <class T>
void bind_cosine_topk(const Level& level, const py::array_t<float>& queries,
                      const py::array_t<T>& keys, const std::optional<array<float>>& scales,
                      const std::optional<array<float>>& norms, int threads, array<float>& scores,
                      array<int64_t>& indices) {
    const Rows<const float> q(queries, "cosine_topk: queries");
    const KeyRows x = key_rows(keys, scales);
    check_search(q, x, norms, scores);
    if (indices.ndim() != 2 || scores.shape(0) != indices.shape(0) ||
        scores.shape(1) != indices.shape(1) || static_cast<size_t>(scores.shape(1)) > x.rows)
        throw py::value_error("cosine_topk: want as many indices as scores, no more than rows");
    if (scores.size() == 0) return;
    const float* norm = norms ? norms->data() : nullptr;
    float* score = scores.mutable_data();
    int64_t* index = indices.mutable_data();
    const auto k = static_cast<size_t>(scores.shape(1));
    WithoutGil unlocked;
    cosine_topk(*level, q.data, q.stride, q.rows, x, norm, k, threads, score, index);
}

// scores: (Q, N); the rest as for check_search
template <class T>
void bind_cosine_scores(const Level& level, const py::array_t<float>& queries,
                        const py::array_t<T>& keys, const std::optional<array<float>>& scales,
                        const std::optional<array<float>>& norms, int threads,
                        array<float>& scores) {
    const Rows<const float> q(queries, "cosine_scores: queries");
    const KeyRows x = key_rows(keys, scales);
    check_search(q, x, norms, scores);
    if (static_cast<size_t>(scores.shape(0)) != q.rows ||
        static_cast<size_t>(scores.shape(1)) != x.rows)
        throw py::value_error("cosine_scores: scores must have a row a query, a column a key");
    if (scores.size() == 0) return;
    const float* norm = norms ? norms->data() : nullptr;
    float* score = scores.mutable_data();
    WithoutGil unlocked;
    cosine_scores(*level, q.data, q.stride, q.rows, x, norm, threads, score);
}

template <class T>
void bind_cosine(py::module_& kernels) {
    const auto queries = py::arg("queries").noconvert(), keys = py::arg("keys").noconvert(),
               scales = py::arg("scales").noconvert(), norms = py::arg("norms").noconvert(),
               threads = py::arg("threads"), scores = py::arg("scores").noconvert(),
               indices = py::arg("indices").noconvert();
    kernels.def("row_norms", &bind_row_norms<T>, py::arg("level"), keys, scales, norms);
    kernels.def("cosine_topk", &bind_cosine_topk<T>, py::arg("level"), queries, keys, scales, norms,
                threads, scores, indices);
    kernels.def("cosine_scores", &bind_cosine_scores<T>, py::arg("level"), queries, keys, scales,
                norms, threads, scores);
}

// x, out: (outer, n, columns), softmax over the middle axis. Either columns = 1 and out contiguous
// along n (x at any step), or both contiguous along columns. out is x, or does not overlap it.
template <class T, bool kLog>
void softmax(const Level& level, const py::array_t<T>& x, py::array_t<T>& out) {
    const ptrdiff_t item = sizeof(T);
    if (x.ndim() != 3 || out.ndim() != 3) throw py::value_error("softmax: want 3-D x and out");
    for (int axis = 0; axis < 3; axis++)
        if (x.shape(axis) != out.shape(axis) || x.strides(axis) % item || out.strides(axis) % item)
            throw py::value_error(
                "softmax: shapes differ, or a stride is not a multiple of the item");
    const size_t outer = static_cast<size_t>(x.shape(0)), n = static_cast<size_t>(x.shape(1)),
                 columns = static_cast<size_t>(x.shape(2));
    if (x.size() == 0) return;
    const bool rows = columns == 1;
    if (rows ? n > 1 && out.strides(1) != item : x.strides(2) != item || out.strides(2) != item)
        throw py::value_error("softmax: want out contiguous along n, or x and out along columns");
    const T* from = x.data();
    T* to = out.mutable_data();
    const ptrdiff_t x_outer = x.strides(0) / item, x_step = n > 1 ? x.strides(1) / item : 1,
                    out_outer = out.strides(0) / item, out_step = out.strides(1) / item;
    const Kernels::Of<T>& kernels = level->of<T>();
    const auto rows_kernel = kLog ? kernels.log_softmax : kernels.softmax;
    const auto columns_kernel = kLog ? kernels.log_softmax_columns : kernels.softmax_columns;
    WithoutGil unlocked;
    if (rows) {
        parallel_for(outer, grain(8 * n), [&](size_t begin, size_t end) {
            const ptrdiff_t first = static_cast<ptrdiff_t>(begin);
            rows_kernel(from + first * x_outer, x_outer, x_step, to + first * out_outer, out_outer,
                        end - begin, n);
        });
        return;
    }
    // Tasks are blocks of columns, whole cache lines of them; a block is about 256 KB.
    const size_t fit = grain(n, 1 << 16) / 64 * 64, width = fit < 64 ? 64 : fit;
    const size_t blocks = divide_up(columns, width);
    const size_t block_cost = 8 * n * (blocks == 1 ? columns : width);
    parallel_for(outer * blocks, grain(block_cost), [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; i++) {
            const ptrdiff_t o = static_cast<ptrdiff_t>(i / blocks);
            const size_t first = i % blocks * width;
            columns_kernel(from + o * x_outer + first, x_step, to + o * out_outer + first, out_step,
                           n, first + width < columns ? width : columns - first);
        }
    });
}

}  // namespace

void bind_kernels(py::module_& kernels) {
    const auto a = py::arg("a").noconvert(), b = py::arg("b").noconvert(),
               x = py::arg("x").noconvert(), out = py::arg("out").noconvert();
    kernels.def("dot", &dot<float>, py::arg("level"), a, b, out);
    kernels.def("dot", &dot<double>, py::arg("level"), a, b, out);

    bind_cosine<float>(kernels);
    bind_cosine<uint16_t>(kernels);
    bind_cosine<int8_t>(kernels);
    kernels.def("softmax", &softmax<float, false>, py::arg("level"), x, out);
    kernels.def("softmax", &softmax<double, false>, py::arg("level"), x, out);
    kernels.def("log_softmax", &softmax<float, true>, py::arg("level"), x, out);
    kernels.def("log_softmax", &softmax<double, true>, py::arg("level"), x, out);
}

}  // namespace firth
