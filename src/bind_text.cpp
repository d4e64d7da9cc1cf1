// Bindings for tokenizing: texts to the ids of a WordPiece vocabulary, ids to rows for a model, and
// texts to counts of their terms.
#include <algorithm>
#include <optional>

#include "bindings.h"
#include "engines/text/rows.h"
#include "engines/text/term_counts.h"
#include "engines/text/wordpiece.h"

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

// Where Python keeps the texts; they stay there while the tuple lives. caller: how an error begins
std::vector<CodePoints> code_points(const py::tuple& texts, const std::string& caller) {
    std::vector<CodePoints> views;
    views.reserve(texts.size());
    for (const py::handle text : texts) {
        if (!PyUnicode_Check(text.ptr())) throw py::type_error(caller + ": want strings");
        views.push_back({PyUnicode_DATA(text.ptr()),
                         static_cast<size_t>(PyUnicode_GET_LENGTH(text.ptr())),
                         static_cast<int>(PyUnicode_KIND(text.ptr()))});
    }
    return views;
}

py::list numbers(const std::bitset<0x1100>& pages) {
    py::list result;
    for (size_t page = 0; page < pages.size(); page++)
        if (pages[page]) result.append(page);
    return result;
}

// Returns ids (N,), offsets (B + 1,), texts left to others, pages that are missing, spans (N, 2)
// and words (N,), both empty without `places`.
py::tuple encode(const WordPiece& self, const py::tuple& texts, size_t most_characters,
                 size_t most_ids, bool places) {
    const std::vector<CodePoints> views = code_points(texts, "WordPiece.encode");
    WordPiece::Encoded result;
    {
        WithoutGil unlocked;
        result = self.encode(views, most_characters, most_ids, places);
    }
    WordPiece::Found& found = result.found;
    return py::make_tuple(to_array(std::move(found.ids)), to_array(std::move(result.offsets)),
                          to_array(std::move(result.skipped)), numbers(found.missing),
                          to_matrix<int64_t>(std::move(found.spans)),
                          to_array(std::move(found.words)));
}

Cut as_cut(const std::string& truncation) {
    if (truncation == "longest_first") return Cut::kLongestFirst;
    if (truncation == "only_first") return Cut::kOnlyFirst;
    if (truncation == "only_second") return Cut::kOnlySecond;
    throw py::value_error("Layout: truncation must be longest_first, only_first or only_second");
}

// offsets: (texts + 1,) from 0; parts: as Layout has them; room: None where nothing is cut
std::unique_ptr<Layout> make_layout(const array<int64_t>& offsets, const std::vector<int>& parts,
                                    std::optional<size_t> room, const std::string& truncation,
                                    bool left, std::optional<size_t> stride) {
    const int64_t* starts = offsets.data();
    if (offsets.ndim() != 1 || offsets.size() < 1 || starts[0] != 0 ||
        !std::is_sorted(starts, starts + offsets.size()))
        throw py::value_error("Layout: offsets must rise from 0");
    std::vector<int> texts;
    std::copy_if(parts.begin(), parts.end(), std::back_inserter(texts),
                 [](int part) { return part >= 0; });
    std::sort(texts.begin(), texts.end());
    if (texts != std::vector<int>{0} && texts != std::vector<int>{0, 1})
        throw py::value_error("Layout: parts must hold 0, or 0 and 1, once");
    const size_t count = static_cast<size_t>(offsets.size()) - 1;
    if (count % texts.size()) throw py::value_error("Layout: want two texts a sample");
    std::optional<Limit> limit;
    if (room) {
        if (*room > PTRDIFF_MAX) throw py::value_error("Layout: room is too large");
        limit = Limit{*room, as_cut(truncation), left, stride};
    }
    WithoutGil unlocked;
    return std::make_unique<Layout>(starts, count, parts, limit);
}

// The shape of what `fill` returns, with `more` at its end; checked.
std::vector<size_t> filled_shape(const Layout& self, size_t around, std::optional<size_t> width) {
    if (around != self.parts().size()) throw py::value_error("Layout.fill: want a value a part");
    if (width && *width < self.longest())
        throw py::value_error("Layout.fill: a row is longer than the width");
    if (width) return {self.rows(), *width};
    return {static_cast<size_t>(self.offsets().back())};
}

template <class T>
py::array_t<T> filled(const Layout& self, const int32_t* values, const std::vector<T>& around,
                      std::optional<size_t> width, bool left, T padding) {
    py::array_t<T> out(filled_shape(self, around.size(), width));
    T* to = out.mutable_data();
    {
        WithoutGil unlocked;
        self.fill(values, around.data(), width, left, padding, to);
    }
    return out;
}

// values: (ids,), or None. Packed tokens are int32, padded ones int64, as models take them.
py::array fill(const Layout& self, const Optional<int32_t>& values,
               const std::vector<int32_t>& around, std::optional<size_t> width, bool left,
               int32_t padding) {
    if (values && (values->ndim() != 1 || values->size() != self.ids()))
        throw py::value_error("Layout.fill: want a value for each id");
    const int32_t* from = values ? values->data() : nullptr;
    if (!width) return filled<int32_t>(self, from, around, width, left, padding);
    return filled<int64_t>(self, from, {around.begin(), around.end()}, width, left, padding);
}

// spans: (ids, 2); (0, 0) for special tokens and padding
py::array fill_spans(const Layout& self, const array<int64_t>& spans, std::optional<size_t> width,
                     bool left) {
    if (spans.ndim() != 2 || spans.shape(0) != self.ids() || spans.shape(1) != 2)
        throw py::value_error("Layout.fill_spans: want a span for each id");
    std::vector<size_t> shape = filled_shape(self, self.parts().size(), width);
    shape.push_back(2);
    py::array_t<int64_t> out(shape);
    const std::vector<Span> around(self.parts().size(), Span{0, 0});
    const auto* from = reinterpret_cast<const Span*>(spans.data());
    auto* to = reinterpret_cast<Span*>(out.mutable_data());
    {
        WithoutGil unlocked;
        self.fill(from, around.data(), width, left, Span{0, 0}, to);
    }
    return out;
}

using Unit = TermCounts::Unit;

// analyzer: scikit-learn's name of the unit
std::unique_ptr<TermCounts> make_counts(const std::string& analyzer, size_t shortest, size_t least,
                                        size_t most, const std::vector<std::string>& stop_words) {
    if (least < 1 || most < least) throw py::value_error("TermCounts: want 1 <= least <= most");
    const Unit unit = analyzer == "word"   ? Unit::kWords
                      : analyzer == "char" ? Unit::kCharacters
                                           : Unit::kWithinWords;
    return std::make_unique<TermCounts>(unit, shortest, least, most, stop_words);
}

void know(TermCounts& self, const py::list& terms) {
    std::string text;
    std::vector<size_t> ends;
    for (const py::handle term : terms) {
        if (!PyUnicode_Check(term.ptr())) throw py::type_error("TermCounts.know: want strings");
        if (PyUnicode_IS_ASCII(term.ptr())) {
            text.append(static_cast<const char*>(PyUnicode_DATA(term.ptr())),
                        static_cast<size_t>(PyUnicode_GET_LENGTH(term.ptr())));
        } else {
            PyObject* bytes = PyUnicode_AsEncodedString(term.ptr(), "utf-8", "surrogatepass");
            if (!bytes) throw py::error_already_set();
            text += py::reinterpret_steal<py::bytes>(bytes);
        }
        ends.push_back(text.size());
    }
    const WithoutGil unlocked;
    self.know(std::move(text), ends);
}

void set_term_page(TermCounts& self, size_t page, const array<uint32_t>& entries,
                   std::vector<uint32_t> more) {
    if (page >= TermCounts::kPages || entries.ndim() != 1 || entries.size() != 256)
        throw py::value_error("TermCounts.set_page: want 256 entries of a page below 0x1100");
    std::vector<uint32_t> all(entries.data(), entries.data() + 256);
    for (const uint32_t entry : all)
        if (entry & TermCounts::kSeveral &&
            (entry & ~TermCounts::kSeveral) / 32 + entry % 32 > more.size())
            throw py::value_error("TermCounts.set_page: an entry points behind the end");
    self.set_page(page, all.data(), std::move(more));
}

// Returns pages that are missing: nothing was added then.
py::list add_texts(TermCounts& self, const py::tuple& texts) {
    const std::vector<CodePoints> views = code_points(texts, "TermCounts.add");
    std::bitset<TermCounts::kPages> missing;
    {
        WithoutGil unlocked;
        missing = self.add(views);
    }
    return numbers(missing);
}

py::list terms(const TermCounts& self) {
    const Terms& all = self.terms();
    py::list result(all.size());
    for (size_t i = 0; i < all.size(); i++) {
        const Terms::Term term = all[i];
        PyObject* text =
            PyUnicode_DecodeUTF8(term.data, static_cast<Py_ssize_t>(term.size), "surrogatepass");
        if (!text) throw py::error_already_set();
        PyList_SET_ITEM(result.ptr(), static_cast<Py_ssize_t>(i), text);
    }
    return result;
}

py::array_t<int32_t> order(const TermCounts& self) {
    std::vector<int32_t> result;
    {
        WithoutGil unlocked;
        result = self.order();
    }
    return to_array(std::move(result));
}

py::tuple as_arrays(TermRows rows) {
    return py::make_tuple(to_array(std::move(rows.offsets)), to_array(std::move(rows.ids)),
                          to_array(std::move(rows.counts)));
}

// offsets (rows + 1,), ids and counts (N,), columns (terms,), -1 where a term has none. Returns
// offsets (rows + 1,), columns and counts (M,).
py::tuple place(const array<int64_t>& offsets, const array<int32_t>& ids,
                const array<int32_t>& counts, const array<int32_t>& columns, bool by_columns) {
    const int64_t* starts = offsets.data();
    if (offsets.ndim() != 1 || offsets.size() < 1 || starts[0] != 0 ||
        !std::is_sorted(starts, starts + offsets.size()))
        throw py::value_error("place_terms: offsets must rise from 0");
    if (ids.ndim() != 1 || counts.ndim() != 1 || columns.ndim() != 1 ||
        ids.size() != starts[offsets.size() - 1] || counts.size() != ids.size())
        throw py::value_error("place_terms: want an id and a count for each place");
    const int32_t* begin = ids.data();
    const auto terms = static_cast<int64_t>(columns.size());
    if (std::any_of(begin, begin + ids.size(), [&](int32_t id) { return id < 0 || id >= terms; }))
        throw py::index_error("place_terms: an id has no column");
    TermRows rows;
    {
        WithoutGil unlocked;
        rows = place_terms(starts, static_cast<size_t>(offsets.size()) - 1, begin, counts.data(),
                           columns.data(), by_columns);
    }
    return as_arrays(std::move(rows));
}

// Changes values (N,) in place. offsets (rows + 1,), ids (N,), idf (terms,) or None. Returns
// whether all lengths are those of finite numbers.
template <class Value>
bool weigh(const array<int64_t>& offsets, const array<int32_t>& ids, array<Value> values,
           const Optional<double>& idf, const std::optional<std::string>& norm) {
    const int64_t* starts = offsets.data();
    if (offsets.ndim() != 1 || offsets.size() < 1 || starts[0] != 0 ||
        !std::is_sorted(starts, starts + offsets.size()))
        throw py::value_error("weigh_terms: offsets must rise from 0");
    if (ids.ndim() != 1 || values.ndim() != 1 || ids.size() != starts[offsets.size() - 1] ||
        values.size() != ids.size())
        throw py::value_error("weigh_terms: want an id and a value for each place");
    const int32_t* begin = ids.data();
    if (idf && (idf->ndim() != 1 || std::any_of(begin, begin + ids.size(), [&](int32_t id) {
                    return id < 0 || id >= idf->size();
                })))
        throw py::index_error("weigh_terms: an id has no weight");
    Value* all = values.mutable_data();
    const Norm kind = !norm ? Norm::kNone : *norm == "l1" ? Norm::kL1 : Norm::kL2;
    const WithoutGil unlocked;
    return weigh_terms(starts, static_cast<size_t>(offsets.size()) - 1, begin, all,
                       idf ? idf->data() : nullptr, kind);
}

}  // namespace

void bind_text(py::module_& text) {
    py::class_<WordPiece>(text, "WordPiece")
        .def(py::init(&make_wordpiece), py::arg("tokens"), py::arg("ids").noconvert(),
             py::arg("prefix"), py::arg("unknown"), py::arg("longest_word"), py::arg("reserved"))
        .def("set_page", &set_page, py::arg("page"), py::arg("entries").noconvert(),
             py::arg("more"))
        .def("encode", &encode, py::arg("texts"), py::arg("most_characters"), py::arg("most_ids"),
             py::arg("places"));

    const auto width = py::arg("width"), left = py::arg("left");
    py::class_<Layout>(text, "Layout")
        .def(py::init(&make_layout), py::arg("offsets").noconvert(), py::arg("parts"),
             py::arg("room"), py::arg("truncation"), left, py::arg("stride"))
        .def_property_readonly("samples",
                               [](const Layout& self) { return to_array(self.samples()); })
        .def_property_readonly("offsets",
                               [](const Layout& self) { return to_array(self.offsets()); })
        .def_property_readonly("truncated", &Layout::truncated)
        .def_property_readonly("longest", &Layout::longest)
        .def("fill", &fill, py::arg("values").noconvert(), py::arg("around"), width, left,
             py::arg("padding"))
        .def("fill_spans", &fill_spans, py::arg("spans").noconvert(), width, left);

    py::class_<TermCounts>(text, "TermCounts")
        .def(py::init(&make_counts), py::arg("analyzer"), py::arg("shortest"), py::arg("least"),
             py::arg("most"), py::arg("stop_words"))
        .def("know", &know, py::arg("terms"))
        .def("set_page", &set_term_page, py::arg("page"), py::arg("entries").noconvert(),
             py::arg("more"))
        .def("add", &add_texts, py::arg("texts"))
        .def("terms", &terms)
        .def("order", &order)
        .def("rows", [](TermCounts& self) { return as_arrays(self.take_rows()); });
    text.def("place_terms", &place, py::arg("offsets").noconvert(), py::arg("ids").noconvert(),
             py::arg("counts").noconvert(), py::arg("columns").noconvert(), py::arg("by_columns"));
    const auto weigh_as = [&](auto value) {
        text.def("weigh_terms", &weigh<decltype(value)>, py::arg("offsets").noconvert(),
                 py::arg("ids").noconvert(), py::arg("values").noconvert(),
                 py::arg("idf").noconvert(), py::arg("norm"));
    };
    weigh_as(float());
    weigh_as(double());
}

}  // namespace firth
