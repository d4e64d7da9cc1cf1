// Binding for means and sums of the rows of a table, which turn texts into vectors.
#include <algorithm>
#include <optional>

#include "bindings.h"
#include "parallel.h"

namespace firth {

namespace {

template <class T>
auto embedding_bag_kernel(const Kernels& k, bool bfloat16) {
    if constexpr (sizeof(T) == 4)
        return k.embedding_bag_f32;
    else if constexpr (sizeof(T) == 1)
        return k.embedding_bag_i8;
    else
        return bfloat16 ? k.embedding_bag_bf16 : k.embedding_bag_f16;
}

// table: (V, D), rows at any stride, uint16 for both formats of 16 bits; rows: (N,), which row of
// the table each place takes; weights: (N,) or None; offsets: (B + 1,) from 0 up to N; out: (B, D)
template <class T>
void embedding_bag(const Level& level, const py::array_t<T>& table, bool bfloat16,
                   const array<int32_t>& rows, const std::optional<array<float>>& weights,
                   const array<int64_t>& offsets, bool normalize, array<float>& out) {
    const ptrdiff_t item = sizeof(T);
    if (table.ndim() != 2 || rows.ndim() != 1 || offsets.ndim() != 1 || offsets.size() < 1 ||
        out.ndim() != 2 || out.shape(0) != offsets.size() - 1 || out.shape(1) != table.shape(1) ||
        (weights && (weights->ndim() != 1 || weights->size() != rows.size())))
        throw py::value_error("embedding_bag: shapes differ");
    if (table.size() > 0 &&
        ((table.shape(1) > 1 && table.strides(1) != item) || table.strides(0) % item))
        throw py::value_error("embedding_bag: want rows of the table that are contiguous");
    const int64_t* starts = offsets.data();
    const size_t bags = static_cast<size_t>(offsets.size()) - 1;
    if (!std::is_sorted(starts, starts + offsets.size()) || starts[0] < 0 ||
        starts[bags] > rows.size())
        throw py::value_error("embedding_bag: offsets must rise from 0 to the number of ids");
    const int32_t* row = rows.data();
    if (std::any_of(row, row + rows.size(),
                    [height = table.shape(0)](int32_t r) { return r < 0 || r >= height; }))
        throw py::index_error("embedding_bag: a row is out of range");
    const T* data = table.data();
    const ptrdiff_t stride = table.strides(0) / item;
    const float* weight = weights ? weights->data() : nullptr;
    const auto dim = static_cast<size_t>(table.shape(1));
    float* result = out.mutable_data();
    const auto kernel = embedding_bag_kernel<T>(*level, bfloat16);
    WithoutGil unlocked;
    parallel_for(bags, 32, [&](size_t begin, size_t end) {
        kernel(data, stride, row, starts + begin, end - begin, weight, normalize, dim,
               result + begin * dim);
    });
}

}  // namespace

void bind_embedding(py::module_& kernels) {
    const auto table = py::arg("table").noconvert(), rows = py::arg("rows").noconvert(),
               weights = py::arg("weights").noconvert(), offsets = py::arg("offsets").noconvert(),
               out = py::arg("out").noconvert();
    const auto bfloat16 = py::arg("bfloat16"), normalize = py::arg("normalize");
    kernels.def("embedding_bag", &embedding_bag<float>, py::arg("level"), table, bfloat16, rows,
                weights, offsets, normalize, out);
    kernels.def("embedding_bag", &embedding_bag<uint16_t>, py::arg("level"), table, bfloat16, rows,
                weights, offsets, normalize, out);
    kernels.def("embedding_bag", &embedding_bag<int8_t>, py::arg("level"), table, bfloat16, rows,
                weights, offsets, normalize, out);
}

}  // namespace firth
