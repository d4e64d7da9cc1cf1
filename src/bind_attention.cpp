// Binding of attention: arrays of any layout become pointers to heads; the class KeysValues.
#include <cfloat>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <vector>

#include "bindings.h"
#include "engines/attention.h"

namespace firth {
namespace {

// Stride of an axis in elements; of an axis that has fewer than two places it does not matter.
ptrdiff_t stride(const py::array& x, py::ssize_t axis) {
    if (axis < 0) axis += x.ndim();
    if (x.size() == 0 || x.shape(axis) < 2) return 0;
    if (x.strides(axis) % x.itemsize())
        throw py::value_error("attention: a stride is not a multiple");
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

// Packed keys and values as Python holds them: (heads, keys, E) and (heads, keys, Ev).
struct KeysValuesObject {
    const Kernels* kernels;
    KeysValues data;
    mutable std::shared_mutex mutex = {};  // readers of data share it, append has it alone
};

// Waits without the GIL: a thread that holds the lock may need the GIL before it releases it.
using Reading = std::shared_lock<std::shared_mutex>;
Reading reading(const KeysValuesObject& object) {
    WithoutGil unlocked;
    return Reading(object.mutex);
}

template <class T>
const Gemm& type_of(const Level& level) {
    if constexpr (sizeof(T) == 4)
        return level->gemm_f32;
    else
        return level->gemm_bf16;
}

template <class T>
std::unique_ptr<KeysValuesObject> keys_values(const Level& level, size_t heads, size_t depth,
                                              size_t values) {
    return std::unique_ptr<KeysValuesObject>(
        new KeysValuesObject{&*level, KeysValues(type_of<T>(level), heads, depth, values)});
}

// key: (*lead, n, E), value: (*lead, n, Ev), rows contiguous; the product of lead is heads
template <class T>
void append(KeysValuesObject& self, const py::array_t<T>& key, const py::array_t<T>& value) {
    const KeyBlock& block = self.data.block();
    if (block.type.element != sizeof(T)) throw py::type_error("append: another dtype");
    if (key.ndim() < 2 || value.ndim() < 2) throw py::value_error("append: want at least 2 axes");
    const size_t n = size_t(key.shape(key.ndim() - 2));
    const auto of_key = head_offsets(key, key, n, block.depth, true, "key");
    const auto of_value = head_offsets(value, key, n, block.values, true, "value");
    if (of_key.size() != self.data.heads()) throw py::value_error("append: wrong number of heads");
    std::vector<const char*> keys, values;
    for (size_t h = 0; h < of_key.size(); h++) {
        keys.push_back(reinterpret_cast<const char*>(key.data() + of_key[h]));
        values.push_back(reinterpret_cast<const char*>(value.data() + of_value[h]));
    }
    const ptrdiff_t size = sizeof(T);
    const ptrdiff_t key_stride = stride(key, -2) * size, value_stride = stride(value, -2) * size;
    WithoutGil unlocked;
    const std::unique_lock<std::shared_mutex> lock(self.mutex);
    self.data.append(keys.data(), key_stride, values.data(), value_stride, n);
}

// (heads, keys, E) and (heads, keys, Ev)
py::tuple unpack(const KeysValuesObject& self) {
    const Reading lock = reading(self);
    const KeysValues& data = self.data;
    const py::dtype type = data.block().type.element == sizeof(float) ? py::dtype::of<float>()
                                                                      : py::dtype::of<uint16_t>();
    py::array key(type, std::vector<size_t>{data.heads(), data.keys(), data.block().depth});
    py::array value(type, std::vector<size_t>{data.heads(), data.keys(), data.block().values});
    data.unpack(static_cast<char*>(key.mutable_data()), static_cast<char*>(value.mutable_data()));
    return py::make_tuple(key, value);
}

// query: (*lead, L, E), out: (*lead, L, Ev), rows contiguous; lse: (*lead, L, 1), contiguous, or
// None; mask: (*lead, L, S) bool or float32, or None. Broadcast axes have stride 0. key: (*lead, S,
// E), value: (*lead, S, Ev), rows contiguous; or else packed, with head: (*lead, 1, 1), the number
// of the packed head.
template <class T>
void run(const Level& level, const py::array_t<T>& query, const py::array_t<T>* key,
         const py::array_t<T>* value, const KeysValuesObject* packed, const array<int64_t>* head,
         const py::object& mask, bool causal, double scale, py::array_t<T>& out,
         std::optional<array<float>>& lse) {
    if (query.ndim() < 2 || (key && (key->ndim() < 2 || value->ndim() < 2)))
        throw py::value_error("attention: want at least 2 axes");
    if (!(scale >= 0 && scale <= double(FLT_MAX)))
        throw py::value_error("attention: scale must be finite in float32 and not negative, got " +
                              std::to_string(scale));
    AttentionShape shape{};
    shape.queries = size_t(query.shape(query.ndim() - 2));
    shape.depth = size_t(query.shape(query.ndim() - 1));
    std::vector<ptrdiff_t> of_key, of_value, of_head;
    Reading lock;
    if (packed) {
        lock = reading(*packed);
        const KeyBlock& block = packed->data.block();
        if (packed->kernels != &*level || &block.type != &type_of<T>(level) ||
            block.depth != shape.depth)
            throw py::value_error("attention: packed for another level, dtype or depth");
        shape.keys = packed->data.keys();
        shape.values = block.values;
        of_head = head_offsets(*head, query, 1, 1, false, "head");
        for (ptrdiff_t i : of_head)
            if (head->data()[i] < 0 || size_t(head->data()[i]) >= packed->data.heads())
                throw py::value_error("attention: head: out of range");
    } else {
        shape.keys = size_t(key->shape(key->ndim() - 2));
        shape.values = size_t(value->shape(value->ndim() - 1));
        of_key = head_offsets(*key, query, shape.keys, shape.depth, true, "key");
        of_value = head_offsets(*value, query, shape.keys, shape.values, true, "value");
        shape.key_stride = stride(*key, -2);
        shape.value_stride = stride(*value, -2);
    }
    const auto of_query = head_offsets(query, query, shape.queries, shape.depth, true, "query");
    const auto of_out = head_offsets(out, query, shape.queries, shape.values, true, "out");
    std::vector<ptrdiff_t> of_lse;
    if (lse) of_lse = head_offsets(*lse, query, shape.queries, 1, true, "lse");
    shape.query_stride = stride(query, -2);
    shape.out_stride = stride(out, -2);
    shape.causal = causal;
    shape.scale = scale;

    std::vector<ptrdiff_t> of_mask(of_query.size(), 0);
    const char* mask_data = nullptr;
    ptrdiff_t mask_bytes = 0;
    if (!mask.is_none()) {
        // An array already: one made here would not outlive this block.
        const bool boolean = py::isinstance<py::array_t<bool>>(mask);
        if (!boolean && !py::isinstance<py::array_t<float>>(mask))
            throw py::type_error("attention: mask must be bool or float32");
        const auto array = py::reinterpret_borrow<py::array>(mask);
        of_mask = head_offsets(array, query, shape.queries, shape.keys, false, "mask");
        shape.mask = boolean ? AttentionShape::boolean : AttentionShape::additive;
        shape.mask_stride = stride(array, -2);
        shape.mask_key_stride = stride(array, -1);
        mask_data = static_cast<const char*>(array.data());
        mask_bytes = array.itemsize();
    }
    std::vector<AttentionHead<T>> heads(of_query.size());
    T* result = out.mutable_data();
    float* sums = lse ? lse->mutable_data() : nullptr;
    for (size_t i = 0; i < heads.size(); i++)
        heads[i] = {query.data() + of_query[i],
                    packed ? nullptr : key->data() + of_key[i],
                    packed ? nullptr : value->data() + of_value[i],
                    packed ? size_t(head->data()[of_head[i]]) : 0,
                    mask_data ? mask_data + of_mask[i] * mask_bytes : nullptr,
                    result + of_out[i],
                    sums ? sums + of_lse[i] : nullptr};
    WithoutGil unlocked;
    const Reading until_done = std::move(lock);  // which ends before the GIL is waited for
    attention(*level, shape, heads.data(), heads.size(), packed ? &packed->data : nullptr);
}

template <class T>
void attention_binding(const Level& level, const py::array_t<T>& query, const py::array_t<T>& key,
                       const py::array_t<T>& value, const py::object& mask, bool causal,
                       double scale, py::array_t<T>& out, std::optional<array<float>>& lse) {
    run<T>(level, query, &key, &value, nullptr, nullptr, mask, causal, scale, out, lse);
}

template <class T>
void attention_packed(const Level& level, const py::array_t<T>& query,
                      const KeysValuesObject& packed, const array<int64_t>& head,
                      const py::object& mask, bool causal, double scale, py::array_t<T>& out,
                      std::optional<array<float>>& lse) {
    run<T>(level, query, nullptr, nullptr, &packed, &head, mask, causal, scale, out, lse);
}

template <class T>
void bind(py::class_<KeysValuesObject>& object, py::module_& kernels) {
    const auto level = py::arg("level"), query = py::arg("query").noconvert(),
               key = py::arg("key").noconvert(), value = py::arg("value").noconvert(),
               packed = py::arg("packed"), head = py::arg("head").noconvert(),
               mask = py::arg("mask"), causal = py::arg("causal"), scale = py::arg("scale"),
               out = py::arg("out").noconvert(), lse = py::arg("lse").noconvert();
    kernels.def("attention", &attention_binding<T>, level, query, key, value, mask, causal, scale,
                out, lse);
    kernels.def("attention", &attention_packed<T>, level, query, packed, head, mask, causal, scale,
                out, lse);
    object.def("append", &append<T>, key, value);
}

}  // namespace

void bind_attention(py::module_& kernels) {
    py::class_<KeysValuesObject> object(kernels, "KeysValues");
    object.def_property_readonly("keys", [](const KeysValuesObject& x) {
        const Reading lock = reading(x);
        return x.data.keys();
    });
    object.def_property_readonly("nbytes", [](const KeysValuesObject& x) {
        const Reading lock = reading(x);
        return x.data.bytes();
    });
    object.def("unpack", &unpack);
    const auto level = py::arg("level"), heads = py::arg("heads"), depth = py::arg("depth"),
               values = py::arg("values");
    kernels.def("keys_values_f32", &keys_values<float>, level, heads, depth, values);
    kernels.def("keys_values_bf16", &keys_values<uint16_t>, level, heads, depth, values);
    bind<float>(object, kernels);
    bind<uint16_t>(object, kernels);
}

}  // namespace firth
