// Bindings of stacks of transformer layers: the class Stack.
#include <algorithm>
#include <limits>

#include "bindings.h"
#include "stack_object.h"

namespace firth {

using namespace transformer;

void check_ids(const array<int32_t>& ids, size_t n, size_t below, const char* name) {
    if (ids.ndim() != 1 || size_t(ids.size()) != n)
        throw py::value_error(std::string("Stack.run: ") + name + ": want one for each token");
    for (size_t i = 0; i < n; i++)
        if (ids.data()[i] < 0 || size_t(ids.data()[i]) >= below)
            throw py::value_error(std::string("Stack.run: ") + name + ": " +
                                  std::to_string(ids.data()[i]) + " is not in [0, " +
                                  std::to_string(below) + ")");
}

size_t places_of(const Stack& stack) {
    size_t places = std::numeric_limits<int32_t>::max();
    if (stack.positions.data) places = stack.positions.rows;
    for (const auto& table : stack.angles) places = std::min(places, table->rows);
    return places;
}

namespace {

// arrays[name], float32 of the shape (rows, columns), rows alone where columns is 0; or nothing.
// rows = 0: any number of them.
class Reader {
  public:
    Reader(const py::dict& arrays, std::vector<py::object>* kept) : arrays_(arrays), kept_(kept) {}

    Array matrix(const std::string& name, size_t rows, size_t columns) const {
        return read(name, rows, columns, 2);
    }
    Array vector(const std::string& name, size_t n) const { return read(name, n, 1, 1); }
    // (ggml's number of a type, rows of bytes, columns), or arrays without such a name: type null.
    StoredArray stored(const std::string& name, size_t rows, size_t columns) const {
        if (!arrays_.contains(name)) return {};
        const auto from = py::cast<py::tuple>(arrays_[name.c_str()]);
        if (from.size() != 3)
            throw py::value_error("Stack: " + name + ": want a type and its bytes");
        const BlockType* type = block_type(py::cast<int>(from[0]));
        if (!type) throw py::value_error("Stack: " + name + ": no such type of blocks");
        if (!py::isinstance<py::array_t<uint8_t>>(from[1]))
            throw py::type_error("Stack: " + name + ": want rows of bytes");
        const py::array_t<uint8_t> bytes = py::reinterpret_borrow<py::array_t<uint8_t>>(from[1]);
        const Rows<const uint8_t> data(bytes, "Stack: " + name);
        const size_t n = py::cast<size_t>(from[2]);
        if ((rows && data.rows != rows) || (columns && n != columns) || n % type->block ||
            data.n != product(n / type->block, type->bytes))
            throw py::value_error("Stack: " + name + " does not have the shape that is planned");
        return {type, {data.data, data.stride, data.rows}, n};
    }
    Norm norm(const std::string& name, size_t n) const {
        return Norm(vector(name + ".gain", n), vector(name + ".bias", n));
    }

  private:
    Array read(const std::string& name, size_t rows, size_t columns, int axes) const {
        if (!arrays_.contains(name)) return {};
        const py::object x = arrays_[name.c_str()];
        if (!py::isinstance<array<float>>(x))
            throw py::type_error("Stack: " + name + ": want a contiguous array of float32");
        const auto values = py::reinterpret_borrow<array<float>>(x);
        if (values.ndim() != axes || (rows && size_t(values.shape(0)) != rows) ||
            (axes == 2 && size_t(values.shape(1)) != columns))
            throw py::value_error("Stack: " + name + " does not have the shape that is planned");
        if (kept_) kept_->push_back(x);
        return {values.data(), size_t(values.shape(0)), columns};
    }
    const py::dict& arrays_;
    std::vector<py::object>* kept_;
};

template <class T>
T field(const py::object& plan, const char* name) {
    return py::cast<T>(attribute(plan, name));
}

Plan read_plan(const py::object& from) {
    Plan plan{};
    plan.width = field<size_t>(from, "width");
    plan.heads = field<size_t>(from, "heads");
    plan.key_heads = field<size_t>(from, "key_heads");
    plan.head_width = field<size_t>(from, "head_width");
    plan.hidden = field<size_t>(from, "hidden");
    plan.activation = field<int>(from, "activation_number");
    plan.rms = field<std::string>(from, "norm") == "rms";
    plan.epsilon = field<double>(from, "epsilon");
    plan.causal = field<bool>(from, "causal");
    plan.scale = field<double>(from, "scale");
    plan.softcap = field<float>(from, "softcap");
    plan.joint_norms = field<bool>(from, "joint_norms");
    plan.position_offset = field<size_t>(from, "position_offset");
    plan.embedding_factor = field<float>(from, "embedding_factor");
    plan.rotated = field<size_t>(from, "rotated");
    plan.interleaved = field<bool>(from, "interleaved");
    plan.distances = field<ptrdiff_t>(from, "distances");
    plan.memory = field<size_t>(from, "memory");
    // Products of these are sizes; files and people give them.
    const size_t most = size_t(1) << 24;
    for (size_t n : {plan.width, plan.heads, plan.key_heads, plan.head_width, plan.hidden})
        if (n < 1 || n > most) throw py::value_error("Stack: sizes of a plan are from 1 to 2^24");
    if (plan.memory > most) throw py::value_error("Stack: a memory is at most 2^24 wide");
    if (plan.heads % plan.key_heads || plan.rotated > plan.head_width || plan.rotated % 2)
        throw py::value_error("Stack: heads, key_heads and rotated do not fit");
    if (plan.queries() > most || plan.keys() > most)
        throw py::value_error("Stack: heads are too wide");
    if (plan.activation < kNone || plan.activation > kSilu)
        throw py::value_error("Stack: no activation has this number");
    return plan;
}

// Which inputs of a layer's products stay in float32, ascending: joined, out, up, down.
using Apart = std::vector<std::vector<uint32_t>>;

std::shared_ptr<Layer> read_layer(const Kernels& kernels, Precision precision, const Plan& plan,
                                  const py::dict& arrays, const Apart& apart) {
    const Reader from(arrays, nullptr);  // everything is packed or copied
    const size_t width = plan.width, queries = plan.queries(), keys = plan.keys();
    const auto linear = [&](std::vector<std::string> names, std::vector<size_t> outputs,
                            size_t inputs, const std::vector<uint32_t>& without) {
        for (size_t i = 0; i < without.size(); i++)
            if (without.size() > kMostApart || without[i] >= inputs ||
                (i > 0 && without[i] <= without[i - 1]))
                throw py::value_error("Stack: apart: want few inputs, ascending");
        std::vector<Array> weights, biases;
        std::vector<StoredArray> stored;
        for (size_t i = 0; i < names.size(); i++) {
            const std::string name = names[i] + ".weight";
            if (!arrays.contains(name)) throw py::value_error("Stack: " + name + " is missing");
            biases.push_back(from.vector(names[i] + ".bias", outputs[i]));
            if (is_stored(precision))
                stored.push_back(from.stored(name, outputs[i], inputs));
            else
                weights.push_back(from.matrix(name, outputs[i], inputs));
        }
        WithoutGil unlocked;
        if (is_stored(precision)) return Linear(kernels, stored, biases);
        return Linear(kernels, precision, weights, biases, without);
    };
    const auto sublayer = [&](const std::string& name) {
        return Sublayer{from.norm(name + ".before", width), from.norm(name + ".inner", width),
                        from.norm(name + ".after", width)};
    };
    auto layer = std::make_shared<Layer>();
    layer->attention = sublayer("attention");
    layer->feed = sublayer("feed");
    const bool joint = plan.joint_norms;
    layer->query_norm = from.norm("attention.query_norm", joint ? queries : plan.head_width);
    layer->key_norm = from.norm("attention.key_norm", joint ? keys : plan.head_width);
    layer->joined = linear({"attention.query", "attention.key", "attention.value"},
                           {queries, keys, keys}, width, apart[0]);
    layer->out = linear({"attention.out"}, {width}, queries, apart[1]);
    if (plan.memory) {
        layer->cross = sublayer("cross");
        layer->cross_query = linear({"cross.query"}, {queries}, width, {});
        layer->cross_joined = linear({"cross.key", "cross.value"}, {keys, keys}, plan.memory, {});
        layer->cross_out = linear({"cross.out"}, {width}, queries, {});
    }
    layer->gated = arrays.contains("feed.gate.weight");
    layer->up = layer->gated
                    ? linear({"feed.gate", "feed.up"}, {plan.hidden, plan.hidden}, width, apart[2])
                    : linear({"feed.up"}, {plan.hidden}, width, apart[2]);
    layer->down = linear({"feed.down"}, {width}, plan.hidden, apart[3]);
    return layer;
}

Precision read_precision(const std::string& name) {
    if (name == "float32") return Precision::float32;
    if (name == "bfloat16") return Precision::bfloat16;
    if (name == "int8") return Precision::int8;
    if (name == "stored") return Precision::stored;
    if (name == "stored_int8") return Precision::stored_int8;
    throw py::value_error("Stack: no precision is named " + name);
}

// outside, layers: dicts of arrays, as firth.transformer.plan names them. A dict that stands in
// `layers` several times is packed once. angles: a pair of tables for each layer, or none. packed:
// is called with each dict when its matrices have been packed.
std::unique_ptr<StackObject> make(const Level& level, const py::object& plan_of,
                                  const py::dict& outside, const std::vector<py::dict>& layers,
                                  const std::vector<std::pair<array<float>, array<float>>>& angles,
                                  const std::string& precision, const std::vector<Apart>& apart,
                                  const py::object& packed) {
    const Kernels& kernels = *level;
    auto made = std::unique_ptr<StackObject>(
        new StackObject{Stack(kernels, read_plan(plan_of), read_precision(precision)), {}});
    Stack& stack = made->stack;
    const Plan& plan = stack.plan;
    const Reader from(outside, &made->kept);
    size_t width = plan.width;
    if (outside.contains("projection.weight")) {
        const auto shape =
            py::cast<std::vector<size_t>>(outside["projection.weight"].attr("shape"));
        width = shape.empty() ? 0 : shape.back();
        if (width == 0) throw py::value_error("Stack: projection.weight has no columns");
        const Array weight = from.matrix("projection.weight", plan.width, width);
        const Array bias = from.vector("projection.bias", plan.width);
        WithoutGil unlocked;
        stack.projection = Linear(kernels, stack.precision, {weight}, {bias});
    }
    if (!outside.contains("tokens")) throw py::value_error("Stack: tokens is missing");
    if (is_stored(stack.precision)) {
        const StoredArray tokens = from.stored("tokens", 0, width);
        const StoredArray head = from.stored("head.weight", 0, plan.width);
        {
            WithoutGil unlocked;
            stack.stored_tokens =
                std::make_unique<BlockMatrix>(kernels, *tokens.type, std::vector{tokens.of}, width);
            if (head.type) stack.head = Linear(kernels, {head}, {Array{}});
        }
        stack.tied = !head.type && !stack.projection.present();
        packed(outside);
    } else {
        stack.tokens = from.matrix("tokens", 0, width);
    }
    stack.positions = from.matrix("positions", 0, width);
    stack.types = from.matrix("types", 0, width);
    stack.relative = from.matrix("relative", 0, plan.heads);
    stack.embedding = from.norm("embedding", width);
    stack.final = from.norm("final", plan.width);
    if (stack.relative.data && (stack.relative.rows < 4 || stack.relative.rows % 4))
        throw py::value_error("Stack: relative must have 4, 8, ... rows");
    if (stack.relative.data &&
        size_t(std::max(plan.distances, ptrdiff_t(0))) <= stack.relative.rows / 4)
        throw py::value_error("Stack: distances must exceed a quarter of the rows of relative");
    std::vector<std::pair<PyObject*, std::shared_ptr<const Layer>>> known;
    const Apart nothing(4);
    for (const Apart& one : apart)
        if (apart.size() != layers.size() || one.size() != 4)
            throw py::value_error("Stack: apart: want four lists a layer");
    for (const py::dict& arrays : layers) {
        std::shared_ptr<const Layer> layer;
        for (const auto& [dict, same] : known)
            if (dict == arrays.ptr()) layer = same;
        if (!layer) {
            layer = read_layer(kernels, stack.precision, plan, arrays,
                               apart.empty() ? nothing : apart[stack.layers.size()]);
            known.emplace_back(arrays.ptr(), layer);
            packed(arrays);
        }
        stack.layers.push_back(layer);
    }
    if (!(plan.softcap >= 0 && plan.softcap <= 1e6f))
        throw py::value_error("Stack: softcap must be from 0 to a million");
    if (plan.softcap > 0 && (!plan.causal || stack.relative.data || plan.memory))
        throw py::value_error("Stack: softcap wants a causal stack without relative positions");
    stack.windows = field<std::vector<ptrdiff_t>>(plan_of, "windows");
    if (!stack.windows.empty() && stack.windows.size() != layers.size())
        throw py::value_error("Stack: windows: want one a layer");
    if (!angles.empty() && angles.size() != layers.size())
        throw py::value_error("Stack: angles: want one pair a layer");
    std::vector<std::pair<const float*, std::shared_ptr<const Angles>>> tables;
    for (const auto& [cosines, sines] : angles) {
        if (cosines.ndim() != 2 || sines.ndim() != 2 || cosines.shape(0) != sines.shape(0) ||
            size_t(cosines.shape(1)) != plan.rotated / 2 ||
            size_t(sines.shape(1)) != plan.rotated / 2)
            throw py::value_error("Stack: angles: want two tables of rotated / 2 columns");
        std::shared_ptr<const Angles> table;
        for (const auto& [data, same] : tables)
            if (data == cosines.data()) table = same;
        if (!table) {
            table =
                std::make_shared<Angles>(Angles{{cosines.data(), cosines.data() + cosines.size()},
                                                {sines.data(), sines.data() + sines.size()},
                                                size_t(cosines.shape(0))});
            tables.emplace_back(cosines.data(), table);
        }
        stack.angles.push_back(table);
    }
    return made;
}

Pooling read_pooling(const std::string& name) {
    const std::pair<const char*, Pooling> known[] = {{"", Pooling::none},
                                                     {"cls", Pooling::first},
                                                     {"lasttoken", Pooling::last},
                                                     {"mean", Pooling::mean},
                                                     {"max", Pooling::max},
                                                     {"mean_sqrt_len_tokens", Pooling::mean_sqrt},
                                                     {"weightedmean", Pooling::weighted}};
    for (const auto& [text, pooling] : known)
        if (name == text) return pooling;
    throw py::value_error("Stack.run: no pooling is named " + name);
}

// (hidden, states, attentions, pooled), each None where it is not wanted. attentions: flat, layers
// x texts of H x S x S each.
py::tuple run_texts(const StackObject& self, const array<int32_t>& ids,
                    const array<int64_t>& offsets, const Optional<int32_t>& types,
                    const Optional<int32_t>& positions, const Optional<bool>& seen,
                    const std::optional<std::vector<array<bool>>>& masks,
                    const Optional<float>& memory, const Optional<int64_t>& memory_offsets,
                    const Optional<bool>& memory_seen, bool want_hidden, bool want_states,
                    bool want_attentions, const std::string& pooling_name) {
    const Stack& stack = self.stack;
    const Plan& plan = stack.plan;
    if (offsets.ndim() != 1 || offsets.size() < 1 || offsets.data()[0] != 0)
        throw py::value_error("Stack.run: offsets: want B + 1 numbers from 0 on");
    const size_t count = size_t(offsets.size()) - 1, n = size_t(ids.size());
    const Pooling pooling = read_pooling(pooling_name);
    size_t longest = 0, squares = 0;
    for (size_t b = 0; b < count; b++) {
        const int64_t begin = offsets.data()[b], end = offsets.data()[b + 1];
        if (end < begin || size_t(end) > n)
            throw py::value_error("Stack.run: offsets must not decrease or pass the last token");
        const size_t length = size_t(end - begin);
        longest = std::max(longest, length);
        squares += plan.heads * length * length;
        if (masks &&
            (masks->size() != count || (*masks)[b].ndim() != 2 ||
             size_t((*masks)[b].shape(0)) != length || size_t((*masks)[b].shape(1)) != length))
            throw py::value_error("Stack.run: masks: want one of S x S for each text");
    }
    if (size_t(offsets.data()[count]) != n)
        throw py::value_error("Stack.run: offsets must end at the last token");
    check_ids(ids, n, stack.token_count(), "ids");
    if (types) check_ids(*types, n, stack.types.data ? stack.types.rows : 1, "types");
    const size_t places = places_of(stack);
    if (positions)
        check_ids(*positions, n, places, "positions");
    else if (longest + plan.position_offset > places)
        throw py::value_error("Stack.run: a text of " + std::to_string(longest) +
                              " tokens, positions are for " +
                              std::to_string(places - std::min(places, plan.position_offset)));
    if (seen && (seen->ndim() != 1 || size_t(seen->size()) != n))
        throw py::value_error("Stack.run: seen: want one for each token");
    if (memory) {
        if (plan.memory == 0)
            throw py::value_error("Stack.run: a memory, but no cross-attention is planned");
        if (memory->ndim() != 2 || size_t(memory->shape(1)) != plan.memory)
            throw py::value_error("Stack.run: memory: want vectors as wide as planned");
        if (!memory_offsets || memory_offsets->ndim() != 1 ||
            size_t(memory_offsets->size()) != count + 1 || memory_offsets->data()[0] != 0 ||
            memory_offsets->data()[count] != memory->shape(0) ||
            !std::is_sorted(memory_offsets->data(), memory_offsets->data() + count + 1))
            throw py::value_error(
                "Stack.run: memory_offsets: want B + 1 from 0 to the last vector");
        if (memory_seen && (memory_seen->ndim() != 1 || memory_seen->size() != memory->shape(0)))
            throw py::value_error("Stack.run: memory_seen: want one for each vector");
    } else if (memory_offsets || memory_seen) {
        throw py::value_error("Stack.run: memory_offsets and memory_seen need a memory");
    }

    std::vector<const uint8_t*> mask_data;
    if (masks)
        for (const auto& mask : *masks)
            mask_data.push_back(reinterpret_cast<const uint8_t*>(mask.data()));
    const Texts texts{
        ids.data(),
        offsets.data(),
        count,
        types ? types->data() : nullptr,
        positions ? positions->data() : nullptr,
        seen ? reinterpret_cast<const uint8_t*>(seen->data()) : nullptr,
        masks ? mask_data.data() : nullptr,
        memory ? memory->data() : nullptr,
        memory_offsets ? memory_offsets->data() : nullptr,
        memory_seen ? reinterpret_cast<const uint8_t*>(memory_seen->data()) : nullptr};
    if (plan.softcap > 0 && (seen || masks || memory || want_attentions))
        throw py::value_error("Stack.run: softcap goes with no mask, memory or attentions");
    Outputs outputs{nullptr, nullptr, nullptr, pooling, nullptr, nullptr};
    py::object hidden = py::none(), states = py::none(), attentions = py::none(),
               pooled = py::none();
    const auto make_array = [](std::vector<size_t> shape, py::object* holder) {
        auto made = py::array_t<float>(shape);
        *holder = made;
        return made.mutable_data();
    };
    if (want_hidden) outputs.hidden = make_array({n, plan.width}, &hidden);
    if (want_states) outputs.states = make_array({stack.layers.size() + 1, n, plan.width}, &states);
    if (want_attentions)
        outputs.attentions = make_array({stack.layers.size(), squares}, &attentions);
    if (pooling != Pooling::none) outputs.pooled = make_array({count, plan.width}, &pooled);
    {
        WithoutGil unlocked;
        run(stack, texts, outputs);
    }
    return py::make_tuple(hidden, states, attentions, pooled);
}

// For each layer the largest magnitudes of the inputs of its products, one behind the other: joined
// (D), out (H W), up (D), down (F), while a text of these ids runs.
py::array_t<float> greatest_inputs(const StackObject& self, const array<int32_t>& ids) {
    const Stack& stack = self.stack;
    const size_t n = size_t(ids.size());
    check_ids(ids, n, stack.token_count(), "ids");
    if (n + stack.plan.position_offset > places_of(stack))
        throw py::value_error("Stack.greatest_inputs: more ids than positions");
    const size_t columns = 2 * stack.plan.width + stack.plan.queries() + stack.plan.hidden;
    py::array_t<float> found({stack.layers.size(), columns});
    std::fill_n(found.mutable_data(), found.size(), 0.0f);
    const int64_t offsets[] = {0, int64_t(n)};
    const Texts text{ids.data(), offsets, 1,       nullptr, nullptr,
                     nullptr,    nullptr, nullptr, nullptr, nullptr};
    const Outputs outputs{nullptr, nullptr, nullptr, Pooling::none, nullptr, found.mutable_data()};
    {
        WithoutGil unlocked;
        run(stack, text, outputs);
    }
    return found;
}

}  // namespace

void bind_transformer(py::module_& transformer) {
    py::class_<StackObject>(transformer, "Stack")
        .def(py::init(&make), py::arg("level"), py::arg("plan"), py::arg("outside"),
             py::arg("layers"), py::arg("angles"), py::arg("precision"), py::arg("apart"),
             py::arg("packed"))
        .def("greatest_inputs", &greatest_inputs, py::arg("ids").noconvert())
        .def_property_readonly("nbytes", [](const StackObject& self) { return self.stack.bytes(); })
        .def("run", &run_texts, py::arg("ids").noconvert(), py::arg("offsets").noconvert(),
             py::kw_only(), py::arg("types").noconvert(), py::arg("positions").noconvert(),
             py::arg("seen").noconvert(), py::arg("masks").noconvert(),
             py::arg("memory").noconvert(), py::arg("memory_offsets").noconvert(),
             py::arg("memory_seen").noconvert(), py::arg("hidden"), py::arg("states"),
             py::arg("attentions"), py::arg("pooling"));
}

}  // namespace firth
