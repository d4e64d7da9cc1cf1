// Bindings of fastText's files and of its classifier.
#include "bindings.h"
#include "engines/fasttext_files.h"

namespace firth {
namespace {

// (bytes consumed, text, ends, counts, types) of at most `most` complete entries.
py::tuple entries(const py::buffer& buffer, size_t most) {
    const Bytes data(buffer);
    const FastTextEntries got = measure_fasttext_entries(data.data, data.size, most);
    const auto count = static_cast<py::ssize_t>(got.entries);
    py::array_t<uint8_t> text(static_cast<py::ssize_t>(got.text));
    py::array_t<int64_t> ends(count), counts(count);
    py::array_t<int8_t> types(count);
    read_fasttext_entries(data.data, got.entries, reinterpret_cast<char*>(text.mutable_data()),
                          ends.mutable_data(), counts.mutable_data(), types.mutable_data());
    return py::make_tuple(got.consumed, text, ends, counts, types);
}

}  // namespace

void bind_fasttext(py::module_& module) {
    module.def("fasttext_entries", &entries, py::arg("data"), py::arg("most"));
}

}  // namespace firth
