// Bindings of GloVe: counting, blocking, training, and the update as a kernel.
#include <algorithm>

#include "bindings.h"
#include "engines/words/glove.h"

namespace firth {

using namespace words;

namespace {

// Rows of a co-occurrence matrix: lengths (R,), columns (N,), values (N,).
struct Counts {
    array<int64_t> lengths;
    array<int32_t> columns;
    array<double> values;

    CooccurrenceView view() const { return {lengths.data(), columns.data(), values.data()}; }

    void check(const char* function, size_t rows, size_t vocabulary) const {
        int64_t total = 0;
        bool good = lengths.size() == static_cast<py::ssize_t>(rows);
        for (py::ssize_t i = 0; good && i < lengths.size(); i++) {
            good = lengths.data()[i] >= 0 && lengths.data()[i] <= columns.size() - total;
            total += good ? lengths.data()[i] : 0;
        }
        if (!good || total != columns.size() || total != values.size())
            throw py::value_error(std::string(function) + ": lengths do not fit");
        for (py::ssize_t i = 0; i < columns.size(); i++)
            if (columns.data()[i] < 0 || columns.data()[i] >= static_cast<int64_t>(vocabulary))
                throw py::index_error(std::string(function) + ": a column is out of range");
        for (py::ssize_t i = 0; i < values.size(); i++)
            if (!(values.data()[i] > 0))
                throw py::value_error(std::string(function) + ": a value is not positive");
    }
};

using CountArrays = std::tuple<array<int64_t>, array<int32_t>, array<double>>;

Counts counts_of(const CountArrays& arrays) {
    return {std::get<0>(arrays), std::get<1>(arrays), std::get<2>(arrays)};
}

class Counter {
  public:
    Counter(array<int32_t> ids, size_t lead, size_t vocabulary, const array<double>& weights,
            bool symmetric)
        : ids_(std::move(ids)), vocabulary_(vocabulary) {
        const size_t tokens = static_cast<size_t>(ids_.size());
        if (tokens >= uint64_t{1} << 32 || lead > tokens || vocabulary >= uint64_t{1} << 31)
            throw py::value_error("CooccurrenceCounter: the text or its vocabulary is too large");
        const double* const given = weights.data();
        if (weights.size() < 1 || weights.size() >= int64_t{1} << 31 ||
            !std::all_of(given, given + weights.size(), [](double x) { return x > 0; }))
            throw py::value_error("CooccurrenceCounter: weights must be positive");
        for (size_t i = 0; i < tokens; i++) {
            const int32_t id = ids_.data()[i] < 0 ? ~ids_.data()[i] : ids_.data()[i];
            if (static_cast<size_t>(id) >= vocabulary)
                throw py::index_error("CooccurrenceCounter: an id is out of range");
        }
        WithoutGil unlocked;
        counter_ = std::make_unique<CooccurrenceCounter>(
            ids_.data(), tokens, lead, vocabulary,
            std::vector<double>(given, given + weights.size()), symmetric);
    }

    array<uint64_t> bounds() const {
        array<uint64_t> result(static_cast<py::ssize_t>(vocabulary_));
        for (size_t i = 0; i < vocabulary_; i++) result.mutable_data()[i] = counter_->bound(i);
        return result;
    }

    py::tuple rows(size_t first, size_t last, const std::vector<CountArrays>& before) const {
        if (first > last || last > vocabulary_)
            throw py::index_error("CooccurrenceCounter.rows: no such rows");
        std::vector<CooccurrenceView> views;
        for (const CountArrays& arrays : before) {
            const Counts given = counts_of(arrays);
            given.check("CooccurrenceCounter.rows", last - first, vocabulary_);
            views.push_back(given.view());
        }
        CooccurrenceRows result;
        {
            WithoutGil unlocked;
            result = counter_->rows(first, last, views);
        }
        return py::make_tuple(to_array(std::move(result.lengths)),
                              to_array(std::move(result.columns)),
                              to_array(std::move(result.values)));
    }

  private:
    array<int32_t> ids_;
    size_t vocabulary_;
    std::unique_ptr<CooccurrenceCounter> counter_;
};

py::tuple blocks(const CountArrays& rows, size_t first, size_t vocabulary, size_t block,
                 double x_max, double alpha, uint64_t seed) {
    const Counts given = counts_of(rows);
    const size_t count = static_cast<size_t>(given.lengths.size());
    if (block < 1 || block > 1 << 16 || first % block || first + count > vocabulary || !(x_max > 0))
        throw py::value_error("glove_blocks: arguments out of range");
    given.check("glove_blocks", count, vocabulary);
    GloveBlocks result;
    {
        WithoutGil unlocked;
        result =
            glove_blocks(given.view(), first, first + count, vocabulary, block, x_max, alpha, seed);
    }
    return py::make_tuple(to_matrix<uint32_t>(std::move(result.records)),
                          to_matrix<int64_t>(std::move(result.units)));
}

// The state of words or contexts, (V, 2, >= D + 1), see glove_adagrad.py.
struct State {
    float* data;
    size_t rows, stride, plane;

    State(py::array_t<float>& x, size_t least, const char* name) {
        const py::ssize_t one = sizeof(float);
        if (x.ndim() != 3 || x.shape(1) != 2 || static_cast<size_t>(x.shape(2)) < least ||
            (x.size() > 0 && (x.strides(2) != one || x.strides(1) < one * x.shape(2) ||
                              x.strides(0) < x.strides(1) + one * x.shape(2) ||
                              x.strides(0) % one || x.strides(1) % one)))
            throw py::value_error(std::string(name) + ": want (V, 2, D + 1), rows contiguous");
        data = x.mutable_data();
        rows = static_cast<size_t>(x.shape(0));
        stride = static_cast<size_t>(x.strides(0)) / sizeof(float);
        plane = static_cast<size_t>(x.strides(1)) / sizeof(float);
    }
};

double adagrad(const Level& level, py::array_t<float>& words, py::array_t<float>& contexts,
               const array<int64_t>& rows, const array<int64_t>& columns,
               const array<float>& log_counts, const array<float>& weights, float learning_rate,
               float grad_clip) {
    const State w(words, 2, "words"), c(contexts, 2, "contexts");
    const py::ssize_t n = rows.size();
    if (words.shape(2) != contexts.shape(2) || columns.size() != n || log_counts.size() != n ||
        weights.size() != n || std::max(w.rows, c.rows) >= uint64_t{1} << 32)
        throw py::value_error("glove_adagrad: shapes do not fit together");
    std::vector<GloveRecord> records(static_cast<size_t>(n));
    for (py::ssize_t i = 0; i < n; i++) {
        const int64_t row = rows.data()[i], column = columns.data()[i];
        if (row < 0 || row >= static_cast<int64_t>(w.rows) || column < 0 ||
            column >= static_cast<int64_t>(c.rows))
            throw py::index_error("glove_adagrad: an index is out of range");
        records[static_cast<size_t>(i)] = {static_cast<uint32_t>(row),
                                           static_cast<uint32_t>(column), log_counts.data()[i],
                                           weights.data()[i]};
    }
    const size_t dim = static_cast<size_t>(words.shape(2)) - 1;
    WithoutGil unlocked;
    return level->glove_adagrad_f32(w.data, w.stride, w.plane, c.data, c.stride, c.plane,
                                    records.data(), records.size(), dim, learning_rate, grad_clip);
}

class Trainer {
  public:
    Trainer(const Level& level, py::array_t<float> words, py::array_t<float> contexts,
            std::vector<array<uint32_t>> parts, const array<int64_t>& units, size_t dim,
            bool symmetric, float rate, float clip, uint64_t seed)
        : kernels_(*level),
          words_(std::move(words)),
          contexts_(std::move(contexts)),
          parts_(std::move(parts)) {
        const State w(words_, dim + 1, "words"), c(contexts_, dim + 1, "contexts");
        if (w.rows != c.rows || w.stride != c.stride || w.plane != c.plane || dim < 1)
            throw py::value_error("GloveTrainer: words and contexts differ in shape");
        constexpr py::ssize_t numbers = sizeof(GloveUnit) / sizeof(int64_t);
        if (units.ndim() != 2 || units.shape(1) != numbers)
            throw py::value_error("GloveTrainer: units must be (U, 7)");
        for (const array<uint32_t>& part : parts_) {
            if (part.ndim() != 2 || part.shape(1) != 3)
                throw py::value_error("GloveTrainer: parts must be (N, 3)");
            job_.parts.push_back(reinterpret_cast<const StoredRecord*>(part.data()));
        }
        const GloveUnit* given = reinterpret_cast<const GloveUnit*>(units.data());
        job_.units.assign(given, given + units.shape(0));
        const int64_t vocabulary = static_cast<int64_t>(w.rows);
        for (const GloveUnit& u : job_.units) {
            if (u.part < 0 || u.part >= static_cast<int64_t>(parts_.size()))
                throw py::index_error("GloveTrainer: no such part");
            const int64_t size = parts_[static_cast<size_t>(u.part)].shape(0);
            if (u.offset < 0 || u.offset > size || u.count < 0 || u.count > size - u.offset ||
                u.row < 0 || u.row > vocabulary || u.rows < 0 || u.rows > vocabulary - u.row ||
                u.column < 0 || u.column > vocabulary || u.columns < 0 ||
                u.columns > vocabulary - u.column)
                throw py::index_error("GloveTrainer: a unit is out of range");
            const StoredRecord* records = job_.parts[static_cast<size_t>(u.part)] + u.offset;
            for (int64_t i = 0; i < u.count; i++)
                if (records[i].row >= u.rows || records[i].column >= u.columns)
                    throw py::index_error("GloveTrainer: a record is out of range");
        }
        job_.words = w.data;
        job_.contexts = c.data;
        job_.stride = w.stride;
        job_.plane = w.plane;
        job_.dim = dim;
        job_.symmetric = symmetric;
        job_.rate = rate;
        job_.clip = clip;
        job_.seed = seed;
    }

    size_t visits() const { return job_.units.size() * (job_.symmetric ? 2 : 1); }

    py::tuple train(uint64_t epoch, size_t first, size_t last, int workers) {
        if (first > last || last > visits())
            throw py::index_error("GloveTrainer.train: no such visits");
        GloveProgress progress;
        {
            WithoutGil unlocked;
            if (order_.empty() || epoch != epoch_) order_ = glove_order(job_, epoch_ = epoch);
            progress =
                glove_train(job_, kernels_, epoch, order_.data() + first, last - first, workers);
        }
        return py::make_tuple(progress.cost, progress.records);
    }

  private:
    const Kernels& kernels_;
    py::array_t<float> words_, contexts_;
    std::vector<array<uint32_t>> parts_;
    Glove job_{};
    std::vector<GloveVisit> order_;  // of epoch_
    uint64_t epoch_ = 0;
};

}  // namespace

void bind_glove(py::module_& module, py::module_& kernels) {
    kernels.def("glove_adagrad", &adagrad, py::arg("level"), py::arg("words").noconvert(),
                py::arg("contexts").noconvert(), py::arg("rows").noconvert(),
                py::arg("columns").noconvert(), py::arg("log_counts").noconvert(),
                py::arg("weights").noconvert(), py::arg("learning_rate"), py::arg("grad_clip"));

    py::class_<Counter>(module, "CooccurrenceCounter")
        .def(py::init<array<int32_t>, size_t, size_t, const array<double>&, bool>(),
             py::arg("ids").noconvert(), py::kw_only(), py::arg("lead"), py::arg("vocabulary"),
             py::arg("weights").noconvert(), py::arg("symmetric"))
        .def("bounds", &Counter::bounds)
        .def("rows", &Counter::rows, py::arg("first"), py::arg("last"),
             py::arg("before").noconvert());

    module.def("glove_blocks", &blocks, py::arg("rows").noconvert(), py::arg("first"),
               py::arg("vocabulary"), py::arg("block"), py::arg("x_max"), py::arg("alpha"),
               py::arg("seed"));

    py::class_<Trainer>(module, "GloveTrainer")
        .def(py::init<const Level&, py::array_t<float>, py::array_t<float>,
                      std::vector<array<uint32_t>>, const array<int64_t>&, size_t, bool, float,
                      float, uint64_t>(),
             py::arg("level"), py::arg("words").noconvert(), py::arg("contexts").noconvert(),
             py::arg("parts").noconvert(), py::arg("units").noconvert(), py::kw_only(),
             py::arg("dim"), py::arg("symmetric"), py::arg("rate"), py::arg("clip"),
             py::arg("seed"))
        .def_property_readonly("visits", &Trainer::visits)
        .def("train", &Trainer::train, py::arg("epoch"), py::arg("first"), py::arg("last"),
             py::arg("workers"));
}

}  // namespace firth
