// Binding of attention: arrays of any layout become pointers to heads.
#include <cfloat>
#include <vector>

#include "bindings.h"
#include "engines/attention.h"

namespace firth {
namespace {

// Stride of an axis in elements; of an axis that has fewer than two places it does not matter.
ptrdiff_t stride(const py::array& x, py::ssize_t axis) {
    if (axis < 0) axis += x.ndim();
    if (x.size() == 0 || x.shape(axis) < 2) return 0;
    if (x.strides(axis) % x.itemsize()) throw py::value_error("attention: a stride is no multiple");
    return x.strides(axis) / x.itemsize();
}

// x: (*lead, rows, columns); returns the offset of each head in elements, in C order of lead.
std::vector<ptrdiff_t> head_offsets(const py::array& x, const py::array& like, size_t rows,
                                    size_t columns, bool contiguous, const char* name) {
    const std::string where = std::string("attention: ") + name;
    const py::ssize_t lead = x.ndim() - 2;
    if (lead < 0 || x.ndim() != like.ndim() || size_t(x.shape(lead)) != rows ||
        size_t(x.shape(lead + 1)) != columns)
        throw py::value_error(where + ": wrong shape");
    if (contiguous && columns > 1 && x.size() > 0 && stride(x, -1) != 1)
        throw py::value_error(where + ": want contiguous rows");
    std::vector<ptrdiff_t> offsets{0};
    for (py::ssize_t axis = 0; axis < lead; axis++) {
        if (x.shape(axis) != like.shape(axis)) throw py::value_error(where + ": wrong shape");
        std::vector<ptrdiff_t> next;
        for (ptrdiff_t offset : offsets)
            for (py::ssize_t i = 0; i < x.shape(axis); i++)
                next.push_back(offset + i * stride(x, axis));
        offsets = next;
    }
    return offsets;
}

// query: (*lead, L, E), key: (*lead, S, E), value: (*lead, S, Ev), out: (*lead, L, Ev), rows
// contiguous; mask: (*lead, L, S) bool or float32, or None. Broadcast axes have stride 0.
template <class T>
void attention_binding(const Level& level, const py::array_t<T>& query, const py::array_t<T>& key,
                       const py::array_t<T>& value, const py::object& mask, bool causal,
                       double scale, py::array_t<T>& out) {
    if (query.ndim() < 2 || key.ndim() < 2 || value.ndim() < 2)
        throw py::value_error("attention: want at least 2 axes");
    if (!(scale >= 0 && scale <= double(FLT_MAX)))
        throw py::value_error("attention: scale must be finite in float32 and not negative, got " +
                              std::to_string(scale));
    AttentionShape shape{};
    shape.queries = size_t(query.shape(query.ndim() - 2));
    shape.depth = size_t(query.shape(query.ndim() - 1));
    shape.keys = size_t(key.shape(key.ndim() - 2));
    shape.values = size_t(value.shape(value.ndim() - 1));
    const auto of_query = head_offsets(query, query, shape.queries, shape.depth, true, "query");
    const auto of_key = head_offsets(key, query, shape.keys, shape.depth, true, "key");
    const auto of_value = head_offsets(value, query, shape.keys, shape.values, true, "value");
    const auto of_out = head_offsets(out, query, shape.queries, shape.values, true, "out");
    shape.query_stride = stride(query, -2);
    shape.key_stride = stride(key, -2);
    shape.value_stride = stride(value, -2);
    shape.out_stride = stride(out, -2);
    shape.causal = causal;
    shape.scale = scale;

    std::vector<ptrdiff_t> of_mask(of_query.size(), 0);
    const char* mask_data = nullptr;
    ptrdiff_t mask_bytes = 0;
    if (!mask.is_none()) {
        const py::array array = py::cast<py::array>(mask);
        const bool boolean = py::isinstance<py::array_t<bool>>(array);
        if (!boolean && !py::isinstance<py::array_t<float>>(array))
            throw py::type_error("attention: mask must be bool or float32");
        of_mask = head_offsets(array, query, shape.queries, shape.keys, false, "mask");
        shape.mask = boolean ? AttentionShape::boolean : AttentionShape::additive;
        shape.mask_stride = stride(array, -2);
        shape.mask_key_stride = stride(array, -1);
        mask_data = static_cast<const char*>(array.data());
        mask_bytes = array.itemsize();
    }
    std::vector<AttentionHead<T>> heads(of_query.size());
    T* result = out.mutable_data();
    for (size_t i = 0; i < heads.size(); i++)
        heads[i] = {query.data() + of_query[i], key.data() + of_key[i], value.data() + of_value[i],
                    mask_data ? mask_data + of_mask[i] * mask_bytes : nullptr, result + of_out[i]};
    WithoutGil unlocked;
    attention(*level.kernels, shape, heads.data(), heads.size());
}

}  // namespace

void bind_attention(py::class_<Level>& level) {
    const auto query = py::arg("query").noconvert(), key = py::arg("key").noconvert(),
               value = py::arg("value").noconvert(), mask = py::arg("mask"),
               causal = py::arg("causal"), scale = py::arg("scale"),
               out = py::arg("out").noconvert();
    level.def("attention", &attention_binding<float>, query, key, value, mask, causal, scale, out);
    level.def("attention", &attention_binding<uint16_t>, query, key, value, mask, causal, scale,
              out);
}

}  // namespace firth
