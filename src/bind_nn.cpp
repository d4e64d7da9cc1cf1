// Bindings of the operations of networks and of programs of them: arrays checked, GIL dropped.
#include <memory>

#include "bindings.h"
#include "engines/nn/program.h"

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
        size_t size = sizeof(double);
        for (size_t i = 0; i < a.axes; i++) {
            a.shape[i] = shape[i].cast<size_t>();
            size = product(size, a.shape[i]);
        }
        if (size == SIZE_MAX) throw py::value_error("operation: a shape is out of all range");
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
    a.writeable = found.writeable();
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

// A program, and the arrays outside of its arena.
struct ProgramObject {
    nn::Program program;
    bool f64;
    std::vector<py::object> kept;  // by place
};

// places: (array, None), (shape and dtype as an empty array's, offset in the arena), or (shape,
// None), a tuple; calls: (name, backward, bfloat16, draws, draw, add, options, in, out, saved,
// dout, din), with numbers of places, -1 for what is absent.
std::unique_ptr<ProgramObject> make_program(const Level& level, bool f64, size_t arena,
                                            const py::sequence& places, const py::sequence& calls) {
    std::vector<nn::Place> where;
    std::vector<py::object> kept;
    for (const py::handle x : places) {
        const auto pair = x.cast<std::pair<py::object, py::object>>();
        const bool shape_only = py::isinstance<py::tuple>(pair.first);
        nn::Place place{view(pair.first, f64, false), shape_only ? nn::kShapeOnly : nn::kOutside};
        if (!pair.second.is_none()) place.offset = pair.second.cast<ptrdiff_t>();
        kept.push_back(place.offset == nn::kOutside ? pair.first : py::object());
        where.push_back(place);
    }
    std::vector<nn::Instruction> instructions;
    for (const py::handle x : calls) {
        const auto call = py::reinterpret_borrow<py::tuple>(x);
        const auto numbers = [&](size_t i) { return call[i].cast<std::vector<int>>(); };
        instructions.push_back({&found_operation(call[0].cast<std::string>()), call[1].cast<bool>(),
                                call[2].cast<bool>(), call[3].cast<bool>(),
                                call[4].cast<uint64_t>(), call[5].cast<uint64_t>(),
                                call[6].cast<std::vector<double>>(), numbers(7), numbers(8),
                                numbers(9), numbers(10), numbers(11)});
    }
    return std::unique_ptr<ProgramObject>(new ProgramObject{
        nn::Program(*level, f64, arena, std::move(where), std::move(instructions)), f64,
        std::move(kept)});
}

// arrays: those that take the places `numbers` for this step
void run_program(ProgramObject& self, const std::vector<size_t>& numbers,
                 const py::sequence& arrays, uint64_t seed) {
    if (numbers.size() != arrays.size())
        throw py::value_error("Program.run: want an array for each place");
    std::vector<Array> found;
    for (size_t i = 0; i < numbers.size(); i++) {
        if (numbers[i] >= self.program.places() || !self.program.outside(numbers[i]))
            throw py::index_error("Program.run: a place is out of range");
        const Array& wanted = self.program.array(numbers[i]);
        found.push_back(view(arrays[i], self.f64, self.program.writes(numbers[i])));
        if (!found[i] || !found[i].has_shape_of(wanted) || found[i].kind != wanted.kind)
            throw py::value_error(
                "Program.run: an array has another shape or dtype than its place");
    }
    for (size_t i = 0; i < numbers.size(); i++) {
        self.program.bind(numbers[i], found[i].data);
        self.kept[numbers[i]] = py::reinterpret_borrow<py::object>(arrays[i]);
    }
    WithoutGil unlocked;
    self.program.run(seed);
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
    py::class_<ProgramObject>(nn, "Program")
        .def(py::init(&make_program), py::arg("level"), py::kw_only(), py::arg("f64"),
             py::arg("arena"), py::arg("places"), py::arg("calls"))
        .def("run", &run_program, py::arg("places"), py::arg("arrays"), py::arg("seed"));
    nn.def("operations", [] {
        size_t count;
        const Operation* all = firth::nn::operations(&count);
        std::vector<std::string> names;
        for (size_t i = 0; i < count; i++) names.emplace_back(all[i].name);
        return names;
    });
}

}  // namespace firth
