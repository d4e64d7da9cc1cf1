// Bindings of hashed character n-grams and of the means over their vectors.
#include "bindings.h"
#include "engines/words/subwords.h"

namespace firth {

using namespace words;

namespace {

// (offsets (N + 1,) int64, ids int32) of N words.
py::tuple word_subwords(const py::bytes& text, const array<int64_t>& ends, int min_n, int max_n,
                        int64_t bucket) {
    char* data;
    py::ssize_t size;
    if (PyBytes_AsStringAndSize(text.ptr(), &data, &size) != 0) throw py::error_already_set();
    if (ends.ndim() != 1) throw py::value_error("subword_ids: ends must have one dimension");
    int64_t before = 0;
    for (py::ssize_t i = 0; i < ends.size(); before = ends.data()[i++])
        if (ends.data()[i] < before || ends.data()[i] > size)
            throw py::value_error("subword_ids: ends must rise within the text");
    if (bucket < 0 || bucket > INT32_MAX)
        throw py::value_error("subword_ids: bucket must be from 0 to 2**31 - 1, got " +
                              std::to_string(bucket));
    const WordList words{data, ends.data(), static_cast<size_t>(ends.size())};
    const Subwords rule{min_n, max_n, static_cast<uint32_t>(bucket)};
    py::array_t<int64_t> offsets(ends.size() + 1);
    int64_t* const starts = offsets.mutable_data();
    {
        WithoutGil unlocked;
        subword_offsets(words, rule, starts);
    }
    py::array_t<int32_t> ids(starts[words.count]);
    {
        int32_t* const out = ids.mutable_data();
        WithoutGil unlocked;
        subword_ids(words, rule, starts, out);
    }
    return py::make_tuple(offsets, ids);
}

// (rows, dim) float32
Rows<const float> vectors(const py::array& x, py::ssize_t dim, const char* name) {
    const std::string where = std::string("subword_means: ") + name;
    if (!py::isinstance<py::array_t<float>>(x) || x.ndim() != 2 || x.shape(1) != dim)
        throw py::value_error(where + " must be a float32 matrix with contiguous rows of " +
                              std::to_string(dim) + " numbers");
    const Rows<const float> rows(py::reinterpret_borrow<py::array_t<float>>(x), where);
    if (rows.stride < 0) throw py::value_error(where + " must not be reversed");
    return rows;
}

void word_means(const std::optional<py::array>& rows, const py::array& ngrams,
                const array<int64_t>& offsets, const array<int32_t>& ids, array<float>& out) {
    if (out.ndim() != 2 || offsets.ndim() != 1 || offsets.size() != out.shape(0) + 1 ||
        (rows && (rows->ndim() != 2 || rows->shape(0) != out.shape(0))))
        throw py::value_error("subword_means: shapes do not fit together");
    const Rows<const float> buckets = vectors(ngrams, out.shape(1), "ngrams");
    SubwordMeans job{};
    if (rows) {
        const Rows<const float> own = vectors(*rows, out.shape(1), "rows");
        job.rows = own.data;
        job.row_stride = static_cast<size_t>(own.stride);
    }
    const int64_t* const starts = offsets.data();
    if (starts[0] != 0 || starts[out.shape(0)] != ids.size())
        throw py::value_error("subword_means: offsets must run from 0 to the number of ids");
    for (py::ssize_t i = 0; i < out.shape(0); i++)
        if (starts[i + 1] < starts[i])
            throw py::value_error("subword_means: offsets must not fall");
    for (py::ssize_t i = 0; i < ids.size(); i++)
        if (ids.data()[i] < 0 || ids.data()[i] >= ngrams.shape(0))
            throw py::index_error("subword_means: an id is out of range");
    job.ngrams = buckets.data;
    job.ngram_stride = static_cast<size_t>(buckets.stride);
    job.dim = static_cast<size_t>(out.shape(1));
    job.count = static_cast<size_t>(out.shape(0));
    job.offsets = starts;
    job.ids = ids.data();
    job.out = out.mutable_data();
    WithoutGil unlocked;
    subword_means(job);
}

}  // namespace

void bind_subwords(py::module_& module) {
    module.def("subword_ids", &word_subwords, py::arg("text"), py::arg("ends").noconvert(),
               py::arg("min_n"), py::arg("max_n"), py::arg("bucket"));
    module.def("subword_means", &word_means, py::arg("rows").none(true), py::arg("ngrams"),
               py::arg("offsets").noconvert(), py::arg("ids").noconvert(),
               py::arg("out").noconvert());
}

}  // namespace firth
