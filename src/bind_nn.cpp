// Bindings of the operations of networks: arrays checked, GIL dropped.
#include "bindings.h"
#include "engines/nn/operation.h"

namespace firth {
namespace {

using nn::Array;
using nn::Call;
using nn::Kind;
using nn::Operation;

// An array of Python, a tuple (the shape of an array that is not kept), or None.
Array view(const py::handle& x, bool f64, bool written) {
    Array a;
    if (x.is_none()) return a;
    a.there = true;
    const auto axes = [&](size_t count) {
        if (count > nn::kMostAxes) throw py::value_error("operation: an array has too many axes");
        a.axes = count;
    };
    if (py::isinstance<py::tuple>(x)) {
        const auto shape = py::reinterpret_borrow<py::tuple>(x);
        axes(shape.size());
        for (size_t i = 0; i < a.axes; i++) a.shape[i] = shape[i].cast<size_t>();
        return a;
    }
    if (!py::isinstance<py::array>(x)) throw py::type_error("operation: want arrays");
    const auto found = py::reinterpret_borrow<py::array>(x);
    constexpr int wanted = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if ((found.flags() & wanted) != wanted)
        throw py::value_error("operation: arrays must be contiguous and aligned");
    if (written && !found.writeable())
        throw py::value_error("operation: an array to be written is read-only");
    if (py::isinstance<py::array_t<double>>(found))
        a.kind = f64 ? Kind::real : Kind::number;
    else if (!f64 && py::isinstance<py::array_t<float>>(found))
        a.kind = Kind::real;
    else if (py::isinstance<py::array_t<int64_t>>(found))
        a.kind = Kind::index;
    else if (py::isinstance<py::array_t<uint8_t>>(found) ||
             py::isinstance<py::array_t<bool>>(found))
        a.kind = Kind::byte;
    else
        throw py::type_error("operation: an array has another dtype than the others");
    axes(static_cast<size_t>(found.ndim()));
    for (size_t i = 0; i < a.axes; i++) a.shape[i] = static_cast<size_t>(found.shape(ptrdiff_t(i)));
    a.data = const_cast<void*>(found.data());
    return a;
}

std::vector<Array> views(const py::sequence& from, bool f64, bool written) {
    std::vector<Array> result;
    result.reserve(from.size());
    for (const py::handle x : from) result.push_back(view(x, f64, written));
    return result;
}

const Operation& found_operation(const std::string& name) {
    const Operation* operation = nn::find_operation(name.c_str());
    if (!operation) throw py::key_error("operation: there is none named " + name);
    return *operation;
}

void run(const Operation& operation, const Call& call, bool f64) {
    if (!operation.fits(call))
        throw py::value_error(std::string("operation: arrays and options do not fit ") +
                              operation.name);
    WithoutGil unlocked;
    (call.backward ? f64 ? operation.backward_f64 : operation.backward_f32
     : f64         ? operation.forward_f64
                   : operation.forward_f32)(call);
}

void forward(const Level& level, const std::string& name, const std::vector<double>& options,
             const py::sequence& inputs, const py::sequence& outputs, const py::sequence& saved,
             bool f64, uint64_t seed, bool bfloat16) {
    const Operation& operation = found_operation(name);
    // What has no gradient is an update, which changes its inputs.
    const std::vector<Array> in = views(inputs, f64, !operation.backward_f32),
                             out = views(outputs, f64, true), kept = views(saved, f64, true);
    run(operation,
        Call{*level, num_threads(), false, bfloat16, seed, options.data(), options.size(),
             in.data(), out.data(), kept.data(), in.size(), out.size(), kept.size(), nullptr,
             nullptr, 0, f64},
        f64);
}

void backward(const Level& level, const std::string& name, const std::vector<double>& options,
              const py::sequence& inputs, const py::sequence& outputs, const py::sequence& saved,
              const py::sequence& output_gradients, const py::sequence& input_gradients,
              uint64_t add, bool f64, uint64_t seed, bool bfloat16) {
    const Operation& operation = found_operation(name);
    if (!operation.backward_f32)
        throw py::value_error("operation: there is no gradient of " + name);
    const std::vector<Array> in = views(inputs, f64, false), out = views(outputs, f64, false),
                             kept = views(saved, f64, false),
                             dout = views(output_gradients, f64, false),
                             din = views(input_gradients, f64, true);
    const auto alike = [](const std::vector<Array>& gradients, const std::vector<Array>& of) {
        if (gradients.size() != of.size() || of.size() > 64) return false;
        for (size_t i = 0; i < of.size(); i++)
            if (gradients[i] && (!of[i].there || !gradients[i].has_shape_of(of[i]) ||
                                 gradients[i].kind != Kind::real))
                return false;
        return true;
    };
    if (!alike(dout, out) || !alike(din, in))
        throw py::value_error("operation: gradients do not have the shapes of what they are of");
    run(operation,
        Call{*level, num_threads(), true, bfloat16, seed, options.data(), options.size(), in.data(),
             out.data(), kept.data(), in.size(), out.size(), kept.size(), dout.data(), din.data(),
             add, f64},
        f64);
}

}  // namespace

void bind_nn(py::module_& nn) {
    nn.def("forward", &forward, py::arg("level"), py::arg("name"), py::arg("options"),
           py::arg("inputs"), py::arg("outputs"), py::arg("saved"), py::kw_only(), py::arg("f64"),
           py::arg("seed") = 0, py::arg("bfloat16") = false);
    nn.def("backward", &backward, py::arg("level"), py::arg("name"), py::arg("options"),
           py::arg("inputs"), py::arg("outputs"), py::arg("saved"), py::arg("output_gradients"),
           py::arg("input_gradients"), py::kw_only(), py::arg("add"), py::arg("f64"),
           py::arg("seed") = 0, py::arg("bfloat16") = false);
    nn.def("operations", [] {
        size_t count;
        const Operation* all = firth::nn::operations(&count);
        std::vector<std::string> names;
        for (size_t i = 0; i < count; i++) names.emplace_back(all[i].name);
        return names;
    });
}

}  // namespace firth
