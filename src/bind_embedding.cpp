// Bindings for turning texts into vectors: the WordPiece tokenizer and means of rows.
#include <algorithm>
#include <optional>

#include "bindings.h"
#include "engines/text/wordpiece.h"
#include "parallel.h"

namespace firth {

using namespace text;

namespace {

std::unique_ptr<WordPiece> make_wordpiece(
    const std::vector<std::string>& tokens, const array<int32_t>& ids, const std::string& prefix,
    int32_t unknown, size_t longest_word,
    std::vector<std::pair<std::u32string, int32_t>> reserved) {
    if (ids.ndim() != 1 || static_cast<size_t>(ids.size()) != tokens.size() ||
        std::any_of(ids.data(), ids.data() + ids.size(), [](int32_t id) { return id < 0; }) ||
        unknown < 0 || longest_word > 1 << 16)
        throw py::value_error("WordPiece: want an id >= 0 for each token");
    std::vector<WordPiece::Reserved> all;
    for (auto& [text, id] : reserved) {
        if (text.empty()) throw py::value_error("WordPiece: a reserved text is empty");
        all.push_back({std::move(text), id});
    }
    return std::make_unique<WordPiece>(tokens, ids.data(), prefix, unknown, longest_word,
                                       std::move(all));
}

void set_page(WordPiece& self, size_t page, const array<uint32_t>& entries,
              std::vector<uint32_t> more) {
    if (page >= WordPiece::kPages || entries.ndim() != 1 || entries.size() != 256)
        throw py::value_error("WordPiece.set_page: want 256 entries of a page below 0x1100");
    for (py::ssize_t i = 0; i < 256; i++) {
        const uint32_t entry = entries.data()[i];
        if ((entry >> 24 & 0x7f) == WordPiece::kSeveral &&
            (entry & 0xffffff) / 16 + entry % 16 > more.size())
            throw py::value_error("WordPiece.set_page: an entry points behind the end");
    }
    self.set_page(page, entries.data(), std::move(more));
}

// The texts are read where Python keeps them; `texts` is a tuple, so that they stay there. Returns
// ids (N,), offsets (B + 1,), texts left to others, pages that are missing, spans (N, 2) and words
// (N,), both empty without `places`.
py::tuple encode(const WordPiece& self, const py::tuple& texts, size_t most_characters,
                 size_t most_ids, bool places) {
    std::vector<CodePoints> views;
    views.reserve(texts.size());
    for (const py::handle text : texts) {
        if (!PyUnicode_Check(text.ptr())) throw py::type_error("WordPiece.encode: want strings");
        views.push_back({PyUnicode_DATA(text.ptr()),
                         static_cast<size_t>(PyUnicode_GET_LENGTH(text.ptr())),
                         static_cast<int>(PyUnicode_KIND(text.ptr()))});
    }
    WordPiece::Encoded result;
    {
        WithoutGil unlocked;
        result = self.encode(views, most_characters, most_ids, places);
    }
    WordPiece::Found& found = result.found;
    py::list missing;
    for (size_t page = 0; page < WordPiece::kPages; page++)
        if (found.missing[page]) missing.append(page);
    return py::make_tuple(to_array(std::move(found.ids)), to_array(std::move(result.offsets)),
                          to_array(std::move(result.skipped)), missing,
                          to_matrix<int64_t>(std::move(found.spans)),
                          to_array(std::move(found.words)));
}

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

void bind_embedding(py::module_& text, py::module_& kernels) {
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

    py::class_<WordPiece>(text, "WordPiece")
        .def(py::init(&make_wordpiece), py::arg("tokens"), py::arg("ids").noconvert(),
             py::arg("prefix"), py::arg("unknown"), py::arg("longest_word"), py::arg("reserved"))
        .def("set_page", &set_page, py::arg("page"), py::arg("entries").noconvert(),
             py::arg("more"))
        .def("encode", &encode, py::arg("texts"), py::arg("most_characters"), py::arg("most_ids"),
             py::arg("places"));
}

}  // namespace firth
