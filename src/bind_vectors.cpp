// Bindings of the readers and writers of vector files, of the scanner of pickles, of the strings
// of GGUF, and of the hashes of spaCy's tables.
#include <cstring>

#include "bindings.h"
#include "engines/files/murmur.h"
#include "engines/files/pickle_scan.h"
#include "engines/files/vector_files.h"

namespace firth {

using namespace files;

namespace {

using Spans = py::array_t<int64_t>;

// The matrix (rows, d) that a reader fills and one span a row.
template <class T>
py::tuple read_text(const Bytes& text, py::array_t<T>& out, bool last) {
    if (out.ndim() != 2 || out.shape(1) < 1 || !(out.flags() & py::array::c_style))
        throw py::value_error("read_text_rows: out must be a contiguous matrix");
    const size_t rows = static_cast<size_t>(out.shape(0)), d = static_cast<size_t>(out.shape(1));
    T* const data = out.mutable_data();
    Spans spans({out.shape(0), py::ssize_t{2}});
    auto* words = reinterpret_cast<WordSpan*>(spans.mutable_data());
    RowsRead got;
    {
        WithoutGil unlocked;
        got = read_text_rows(text.data, text.size, last, d, data, rows, words);
    }
    return py::make_tuple(got.rows, got.consumed, got.bad, spans);
}

py::tuple read_binary(const py::buffer& buffer, py::array_t<float>& out) {
    const Bytes data(buffer);
    if (out.ndim() != 2 || out.shape(1) < 1 || !(out.flags() & py::array::c_style))
        throw py::value_error("read_binary_rows: out must be a contiguous matrix");
    const size_t rows = static_cast<size_t>(out.shape(0)), d = static_cast<size_t>(out.shape(1));
    float* const matrix = out.mutable_data();
    Spans spans({out.shape(0), py::ssize_t{2}});
    auto* words = reinterpret_cast<WordSpan*>(spans.mutable_data());
    RowsRead got;
    {
        WithoutGil unlocked;
        got = read_binary_rows(data.data, data.size, d, matrix, rows, words);
    }
    return py::make_tuple(got.rows, got.consumed, spans);
}

// Strings of GGUF, each a length in 64 bits (little-endian) and UTF-8, and where the next one would
// begin; fewer than count where the data ends. Bytes that are no UTF-8 become surrogates.
py::tuple read_strings(const py::buffer& buffer, size_t at, size_t count) {
    const Bytes data(buffer);
    if (at > data.size) throw py::value_error("read_strings: at must be within data");
    py::list found;
    for (size_t i = 0; i < count && data.size - at >= 8; ++i) {
        uint64_t length;
        std::memcpy(&length, data.data + at, 8);
        if (length > data.size - at - 8) break;
        PyObject* text = PyUnicode_DecodeUTF8(data.data + at + 8, static_cast<py::ssize_t>(length),
                                              "surrogateescape");
        if (!text) throw py::error_already_set();
        found.append(py::reinterpret_steal<py::str>(text));
        at += 8 + static_cast<size_t>(length);
    }
    return py::make_tuple(found, at);
}

// Distinct words in the order of their first occurrence. A dict from word to row would do, but
// takes five times the memory: its rows are objects.
class DistinctWords {
  public:
    py::list words;

    // Appends the words at the spans (n, 2) of the text that are new. Returns None if all
    // were appended, else which of them were; begin -1 is no word.
    py::object add(const py::buffer& buffer, const array<int64_t>& spans,
                   const std::string& encoding, const std::string& errors) {
        const Bytes text(buffer);
        if (spans.ndim() != 2 || spans.shape(1) != 2)
            throw py::value_error("DistinctWords: spans must have shape (n, 2)");
        const bool utf8 = encoding == "utf-8" || encoding == "utf8";
        const py::ssize_t count = spans.shape(0);
        std::vector<int64_t> kept;
        kept.reserve(static_cast<size_t>(count));
        for (py::ssize_t i = 0; i < count; i++) {
            const int64_t begin = *spans.data(i, 0), end = *spans.data(i, 1);
            if (begin == -1) continue;
            if (begin < 0 || end < begin || static_cast<size_t>(end) > text.size)
                throw py::index_error("DistinctWords: a span is outside of the text");
            const char* const data = text.data + begin;
            const py::ssize_t size = end - begin;
            const auto word = py::reinterpret_steal<py::str>(
                utf8 ? PyUnicode_DecodeUTF8(data, size, errors.c_str())
                     : PyUnicode_Decode(data, size, encoding.c_str(), errors.c_str()));
            if (!word) throw py::error_already_set();
            if (append(word)) kept.push_back(i);
        }
        if (static_cast<py::ssize_t>(kept.size()) == count) return py::none();
        return py::array_t<int64_t>(static_cast<py::ssize_t>(kept.size()), kept.data());
    }

  private:
    struct Slot {
        uint32_t hash, row;  // the word's row + 1; 0: empty
    };
    std::vector<Slot> slots_;  // open addressing; a power of two, at most half full

    bool append(const py::str& word) {
        const size_t size = words.size();
        if (size >= UINT32_MAX - 1) throw py::value_error("DistinctWords: too many words");
        if (2 * size >= slots_.size()) grow();
        const auto hash = static_cast<size_t>(py::hash(word));
        const auto bits = static_cast<uint32_t>(hash ^ hash >> 32);
        size_t place = bits & (slots_.size() - 1);
        for (; slots_[place].row; place = (place + 1) & (slots_.size() - 1))
            if (slots_[place].hash == bits &&
                PyUnicode_Compare(PyList_GET_ITEM(words.ptr(), slots_[place].row - 1),
                                  word.ptr()) == 0)
                return false;
        words.append(word);
        slots_[place] = {bits, static_cast<uint32_t>(size + 1)};
        return true;
    }

    void grow() {
        std::vector<Slot> slots(std::max<size_t>(1024, 2 * slots_.size()));
        for (const Slot& slot : slots_) {
            if (!slot.row) continue;
            size_t place = slot.hash & (slots.size() - 1);
            while (slots[place].row) place = (place + 1) & (slots.size() - 1);
            slots[place] = slot;
        }
        slots_ = std::move(slots);
    }
};

// Lines "word f1 ... fd\n" of the rows of a matrix, in the order of the words.
py::bytes write_rows(const py::list& words, const array<float>& vectors) {
    if (vectors.ndim() != 2 || static_cast<size_t>(vectors.shape(0)) != words.size())
        throw py::value_error("write_text_rows: want one word a row");
    const size_t d = static_cast<size_t>(vectors.shape(1));
    std::vector<std::string> texts;
    texts.reserve(words.size());
    for (const py::handle word : words) texts.push_back(py::cast<std::string>(word));
    const float* const data = vectors.data();
    std::string result;
    {
        WithoutGil unlocked;
        result = write_text_rows(texts, data, d);
    }
    return py::bytes(result);
}

}  // namespace

void bind_vectors(py::module_& module) {
    module.def(
        "count_lines",
        [](const py::buffer& buffer, bool last) {
            const Bytes text(buffer);
            WithoutGil unlocked;
            return count_lines(text.data, text.size, last);
        },
        py::arg("text"), py::arg("last"));
    module.def(
        "read_text_rows",
        [](const py::buffer& buffer, const py::array& out, bool last) {
            const Bytes text(buffer);
            if (py::isinstance<py::array_t<float>>(out)) {
                py::array_t<float> matrix(out);
                return read_text(text, matrix, last);
            }
            if (py::isinstance<py::array_t<double>>(out)) {
                py::array_t<double> matrix(out);
                return read_text(text, matrix, last);
            }
            throw py::type_error("read_text_rows: out must be float32 or float64");
        },
        py::arg("text"), py::arg("out"), py::arg("last"));
    module.def("read_binary_rows", &read_binary, py::arg("data"), py::arg("out").noconvert());
    py::class_<DistinctWords>(module, "DistinctWords")
        .def(py::init<>())
        .def_readonly("words", &DistinctWords::words)
        .def("add", &DistinctWords::add, py::arg("text"), py::arg("spans").noconvert(),
             py::arg("encoding"), py::arg("errors"));
    module.def(
        "murmur_64a",
        [](const py::list& words, uint64_t seed) {
            py::array_t<uint64_t> hashes(static_cast<py::ssize_t>(words.size()));
            uint64_t* out = hashes.mutable_data();
            for (const py::handle word : words) {
                const auto text = py::cast<std::string_view>(word);
                *out++ = murmur_64a(text.data(), text.size(), seed);
            }
            return hashes;
        },
        py::arg("words"), py::arg("seed"));
    module.def(
        "murmur3_128",
        [](const py::list& words, uint32_t seed) {
            py::array_t<uint64_t> hashes({static_cast<py::ssize_t>(words.size()), py::ssize_t{2}});
            uint64_t* out = hashes.mutable_data();
            for (const py::handle word : words) {
                const auto text = py::cast<std::string_view>(word);
                murmur3_128(text.data(), text.size(), seed, out);
                out += 2;
            }
            return hashes;
        },
        py::arg("words"), py::arg("seed"));
    module.def("read_strings", &read_strings, py::arg("data"), py::arg("at"), py::arg("count"));
    module.def(
        "scan_pickle",
        [](const py::buffer& buffer) {
            const Bytes data(buffer);
            WithoutGil unlocked;
            return scan_pickle(data.data, data.size);
        },
        py::arg("data"));
    module.def("write_text_rows", &write_rows, py::arg("words"), py::arg("vectors").noconvert());
}

}  // namespace firth
