// Bindings of the corpus scanner, the skip-gram trainer, and word mover's distance.
#include "bindings.h"
#include "engines/corpus.h"
#include "engines/skipgram.h"
#include "engines/transport.h"

namespace firth {
namespace {

py::array_t<int32_t> ids_array(std::vector<int32_t> ids) {
    auto* owned = new std::vector<int32_t>(std::move(ids));
    const py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<int32_t>*>(p); });
    return py::array_t<int32_t>({owned->size()}, {sizeof(int32_t)}, owned->data(), owner);
}

// A float32 matrix whose rows are contiguous: its data and the floats from row to row.
struct Matrix {
    float* data;
    size_t stride, rows, dim;

    Matrix(py::array_t<float>& x, const char* name) {
        if (x.ndim() != 2 || (x.size() > 0 && (x.strides(1) != sizeof(float) || x.strides(0) < 0 ||
                                               x.strides(0) % sizeof(float))))
            throw py::value_error(std::string(name) + ": want a matrix with contiguous rows");
        data = x.mutable_data();
        rows = static_cast<size_t>(x.shape(0));
        dim = static_cast<size_t>(x.shape(1));
        stride = static_cast<size_t>(x.strides(0)) / sizeof(float);
    }
};

void check_ids(const array<int64_t>& ids, size_t rows, bool may_be_missing, const char* name) {
    const int64_t low = may_be_missing ? -1 : 0;
    for (py::ssize_t i = 0; i < ids.size(); i++)
        if (ids.data()[i] < low || ids.data()[i] >= static_cast<int64_t>(rows))
            throw py::index_error(std::string(name) + ": an index is out of range");
}

double skipgram_batch(const Level& level, py::array_t<float>& w_in, py::array_t<float>& w_out,
                      const array<int64_t>& centers, const array<int64_t>& contexts,
                      const array<int64_t>& negatives, float learning_rate) {
    const Matrix in(w_in, "w_in"), out(w_out, "w_out");
    const bool shared = contexts.ndim() == 2;
    const py::ssize_t rows = centers.size();
    if (in.dim != out.dim || centers.ndim() != 1 || negatives.ndim() != 2 || contexts.ndim() < 1 ||
        contexts.ndim() > 2 || contexts.shape(0) != rows || negatives.shape(0) != rows)
        throw py::value_error("skipgram_negative_sampling: shapes do not fit together");
    check_ids(centers, out.rows, false, "centers");
    check_ids(contexts, in.rows, shared, "contexts");
    check_ids(negatives, out.rows, false, "negatives");
    py::gil_scoped_release unlocked;
    return sgns_batch(in.data, in.stride, out.data, out.stride, in.dim, centers.data(),
                      contexts.data(), negatives.data(), static_cast<size_t>(rows),
                      shared ? static_cast<size_t>(contexts.shape(1)) : 1,
                      static_cast<size_t>(negatives.shape(1)), shared, learning_rate,
                      *level.kernels);
}

// Holds the arrays of a training job; train() may be called block by block.
class SkipGramTrainer {
  public:
    SkipGramTrainer(const Level& level, py::array_t<float> w_in, py::array_t<float> w_out,
                    array<int32_t> ids, array<uint32_t> keep, const array<double>& noise,
                    int window, int negative, bool shrink_windows, bool shared, float alpha,
                    float min_alpha, int epochs, uint64_t seed)
        : kernels_(*level.kernels),
          w_in_(std::move(w_in)),
          w_out_(std::move(w_out)),
          ids_(std::move(ids)),
          keep_(std::move(keep)),
          table_(static_cast<size_t>(noise.size())) {
        const Matrix in(w_in_, "w_in"), out(w_out_, "w_out");
        if (in.stride != out.stride || in.stride % 16 || in.dim != in.stride ||
            reinterpret_cast<uintptr_t>(in.data) % 64 || reinterpret_cast<uintptr_t>(out.data) % 64)
            throw py::value_error("SkipGramTrainer: rows must be padded and aligned to 64 bytes");
        if (in.rows != out.rows || keep_.size() != static_cast<py::ssize_t>(in.rows) ||
            noise.size() != keep_.size() || in.rows == 0)
            throw py::value_error("SkipGramTrainer: sizes of vocabulary differ");
        if (window < 1 || negative < 1 || epochs < 1)
            throw py::value_error("SkipGramTrainer: window, negative and epochs must be positive");
        for (py::ssize_t i = 0; i < ids_.size(); i++) {
            const int32_t id = ids_.data()[i] < 0 ? ~ids_.data()[i] : ids_.data()[i];
            if (static_cast<size_t>(id) >= in.rows)
                throw py::index_error("SkipGramTrainer: an id is out of range");
        }
        build_alias(noise.data(), table_.size(), table_.data());
        job_.w_in = in.data;
        job_.w_out = out.data;
        job_.stride = in.stride;
        job_.vocabulary = in.rows;
        job_.ids = ids_.data();
        job_.tokens = static_cast<size_t>(ids_.size());
        job_.keep = keep_.data();
        job_.unigram = table_.data();
        job_.window = window;
        job_.negative = negative;
        job_.epochs = epochs;
        job_.shrink_windows = shrink_windows;
        job_.shared = shared;
        job_.alpha = alpha;
        job_.min_alpha = min_alpha;
        job_.seed = seed;
    }

    size_t blocks() const { return block_count(job_.tokens); }
    size_t start(size_t block) const { return block_start(job_.ids, job_.tokens, block); }

    py::tuple train(int epoch, size_t first, size_t last, int workers, double loss, uint64_t pairs,
                    uint64_t effective) {
        if (first > last || last > blocks())
            throw py::index_error("SkipGramTrainer.train: no such blocks");
        SkipGramProgress progress{loss, pairs, effective};
        {
            py::gil_scoped_release unlocked;
            progress = train_blocks(job_, kernels_, epoch, first, last, workers, progress);
        }
        return py::make_tuple(progress.loss, progress.pairs, progress.effective);
    }

  private:
    const Kernels& kernels_;
    py::array_t<float> w_in_, w_out_;
    array<int32_t> ids_;
    array<uint32_t> keep_;
    std::vector<AliasEntry> table_;
    SkipGram job_{};
};

}  // namespace

void bind_words(py::module_& module, py::class_<Level>& level) {
    level.def("skipgram_negative_sampling", &skipgram_batch, py::arg("w_in").noconvert(),
              py::arg("w_out").noconvert(), py::arg("centers").noconvert(),
              py::arg("contexts").noconvert(), py::arg("negatives").noconvert(),
              py::arg("learning_rate"));

    py::class_<SkipGramTrainer>(module, "SkipGramTrainer")
        .def(py::init<const Level&, py::array_t<float>, py::array_t<float>, array<int32_t>,
                      array<uint32_t>, const array<double>&, int, int, bool, bool, float, float,
                      int, uint64_t>(),
             py::arg("level"), py::arg("w_in").noconvert(), py::arg("w_out").noconvert(),
             py::arg("ids").noconvert(), py::arg("keep").noconvert(), py::arg("noise").noconvert(),
             py::kw_only(), py::arg("window"), py::arg("negative"), py::arg("shrink_windows"),
             py::arg("shared"), py::arg("alpha"), py::arg("min_alpha"), py::arg("epochs"),
             py::arg("seed"))
        .def_property_readonly("blocks", &SkipGramTrainer::blocks)
        .def("start", &SkipGramTrainer::start, py::arg("block"))
        .def("train", &SkipGramTrainer::train, py::arg("epoch"), py::arg("first"), py::arg("last"),
             py::arg("workers"), py::arg("loss") = 0.0, py::arg("pairs") = 0,
             py::arg("effective") = 0);

    py::class_<WordCounter>(module, "WordCounter")
        .def(py::init<>())
        .def(
            "add",
            [](WordCounter& self, const py::buffer& text) {
                const Bytes bytes(text);
                py::gil_scoped_release unlocked;
                self.add(bytes.data, bytes.size);
            },
            py::arg("text"))
        .def("finish",
             [](const WordCounter& self) {
                 const WordCounter::Words result = self.finish();
                 py::list words;
                 for (const std::string& word : result.words) words.append(py::bytes(word));
                 return py::make_tuple(
                     words, py::array_t<int64_t>(static_cast<py::ssize_t>(result.counts.size()),
                                                 result.counts.data()));
             })
        .def_property_readonly("total_words", &WordCounter::total_words)
        .def_property_readonly("sentences", &WordCounter::sentences);

    py::class_<WordEncoder>(module, "WordEncoder")
        .def(py::init([](const py::list& words) {
                 std::vector<std::string> texts;
                 for (const py::handle word : words) texts.push_back(py::cast<std::string>(word));
                 return std::make_unique<WordEncoder>(texts);
             }),
             py::arg("words"))
        .def(
            "encode",
            [](WordEncoder& self, const py::buffer& text, bool last) {
                const Bytes bytes(text);
                std::vector<int32_t> ids;
                {
                    py::gil_scoped_release unlocked;
                    ids = self.encode(bytes.data, bytes.size, last);
                }
                return ids_array(std::move(ids));
            },
            py::arg("text"), py::arg("last"));

    module.def(
        "cut_at_space",
        [](const py::buffer& text) {
            const Bytes bytes(text);
            return cut_at_space(bytes.data, bytes.size);
        },
        py::arg("text"));

    module.def(
        "transport",
        [](const array<double>& costs, const array<int64_t>& supply, const array<int64_t>& demand) {
            if (costs.ndim() != 2 || costs.shape(0) != supply.size() ||
                costs.shape(1) != demand.size() || costs.size() == 0)
                throw py::value_error("transport: shapes of costs, supply and demand differ");
            std::vector<int64_t> from(supply.data(), supply.data() + supply.size()),
                to(demand.data(), demand.data() + demand.size());
            const double* cost = costs.data();
            py::gil_scoped_release unlocked;
            return transport(cost, from.size(), to.size(), from.data(), to.data());
        },
        py::arg("costs").noconvert(), py::arg("supply").noconvert(), py::arg("demand").noconvert());
}

}  // namespace firth
