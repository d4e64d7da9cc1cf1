// Bindings of the corpus scanner, the kernels of word windows, the trainer of word vectors, and
// word mover's distance.
#include "bindings.h"
#include "engines/words/corpus.h"
#include "engines/words/transport.h"
#include "engines/words/word_updates.h"
#include "engines/words/word_windows.h"

namespace firth {

using namespace words;

namespace {

// Vectors of words, which may not run backwards.
WordMatrix matrix(const Rows<float>& rows) {
    if (rows.stride < 0) throw py::value_error("a matrix of vectors must not be reversed");
    return {rows.data, static_cast<size_t>(rows.stride)};
}

void check_ids(const array<int64_t>& ids, size_t rows, bool may_be_missing, const char* name) {
    const int64_t low = may_be_missing ? -1 : 0;
    for (py::ssize_t i = 0; i < ids.size(); i++)
        if (ids.data()[i] < low || ids.data()[i] >= static_cast<int64_t>(rows))
            throw py::index_error(std::string(name) + ": an index is out of range");
}

double skipgram(const Level& level, py::array_t<float>& w_in, py::array_t<float>& w_out,
                const array<int64_t>& centers, const array<int64_t>& contexts,
                const array<int64_t>& negatives, float learning_rate) {
    const Rows<float> in(w_in, "w_in"), out(w_out, "w_out");
    const bool shared = contexts.ndim() == 2;
    const py::ssize_t rows = centers.size();
    if (in.n != out.n || centers.ndim() != 1 || negatives.ndim() != 2 || contexts.ndim() < 1 ||
        contexts.ndim() > 2 || contexts.shape(0) != rows || negatives.shape(0) != rows)
        throw py::value_error("skipgram_negative_sampling: shapes do not fit together");
    check_ids(centers, out.rows, false, "centers");
    check_ids(contexts, in.rows, shared, "contexts");
    check_ids(negatives, out.rows, false, "negatives");
    WithoutGil unlocked;
    return skipgram_batch(
        matrix(in), matrix(out), in.n, centers.data(), contexts.data(), negatives.data(),
        static_cast<size_t>(rows), shared ? static_cast<size_t>(contexts.shape(1)) : 1,
        static_cast<size_t>(negatives.shape(1)), shared, learning_rate, *level.kernels);
}

// negatives: (1, K) in shared mode, else (B, K)
double cbow(const Level& level, py::array_t<float>& w_in, py::array_t<float>& w_out,
            const array<int64_t>& centers, const array<int64_t>& contexts,
            const array<int64_t>& negatives, bool shared, float learning_rate, bool mean,
            float weight) {
    const Rows<float> in(w_in, "w_in"), out(w_out, "w_out");
    const py::ssize_t rows = centers.size();
    if (in.n != out.n || centers.ndim() != 1 || negatives.ndim() != 2 || contexts.ndim() != 2 ||
        contexts.shape(0) != rows || negatives.shape(0) != (shared ? 1 : rows))
        throw py::value_error("cbow_negative_sampling: shapes do not fit together");
    check_ids(centers, out.rows, false, "centers");
    check_ids(contexts, in.rows, true, "contexts");
    check_ids(negatives, out.rows, false, "negatives");
    WithoutGil unlocked;
    return cbow_batch(matrix(in), matrix(out), in.n, centers.data(), contexts.data(),
                      negatives.data(), static_cast<size_t>(rows),
                      static_cast<size_t>(contexts.shape(1)),
                      static_cast<size_t>(negatives.shape(1)), shared, mean, weight, learning_rate,
                      *level.kernels);
}

// contexts: (B, 1) where not shared
double hierarchical(const Level& level, py::array_t<float>& w_in, py::array_t<float>& w_tree,
                    const array<int64_t>& points, const array<uint8_t>& codes,
                    const array<int64_t>& contexts, bool shared, float learning_rate) {
    const Rows<float> in(w_in, "w_in"), tree(w_tree, "w_tree");
    if (in.n != tree.n || points.ndim() != 2 || codes.ndim() != 2 || contexts.ndim() != 2 ||
        codes.shape(0) != points.shape(0) || codes.shape(1) != points.shape(1) ||
        contexts.shape(0) != points.shape(0) || (!shared && contexts.shape(1) != 1))
        throw py::value_error("hierarchical_softmax: shapes do not fit together");
    check_ids(points, tree.rows, true, "points");
    check_ids(contexts, in.rows, true, "contexts");
    WithoutGil unlocked;
    return tree_batch(matrix(in), matrix(tree), in.n, points.data(), codes.data(), contexts.data(),
                      static_cast<size_t>(points.shape(0)), static_cast<size_t>(points.shape(1)),
                      static_cast<size_t>(contexts.shape(1)), shared, learning_rate,
                      *level.kernels);
}

// Lists of lists: start has `lists` + 1 rising offsets into ids, whose values are below `rows`.
template <class T>
void check_lists(const array<int64_t>& start, const array<T>& ids, size_t lists, size_t rows,
                 const char* name) {
    const int64_t* s = start.data();
    bool good =
        start.size() == static_cast<py::ssize_t>(lists) + 1 && s[0] == 0 && s[lists] == ids.size();
    for (size_t i = 0; good && i < lists; i++) good = s[i] <= s[i + 1];
    for (py::ssize_t i = 0; good && i < ids.size(); i++)
        good = ids.data()[i] >= 0 && static_cast<size_t>(ids.data()[i]) < rows;
    if (!good)
        throw py::value_error(std::string("WordTrainer: ") + name + ": want " +
                              std::to_string(lists + 1) + " rising offsets from 0 to " +
                              std::to_string(ids.size()) + ", and rows below " +
                              std::to_string(rows));
}

Locks locks(const Optional<float>& values, size_t rows, const char* name) {
    if (!values) return {nullptr, 0};
    const size_t count = static_cast<size_t>(values->size());
    if (count != 1 && count != rows)
        throw py::value_error(std::string("WordTrainer: ") + name +
                              ": want one value or one a row");
    return {values->data(), count};
}

// Holds the arrays of a training job; train() may be called block by block.
class WordTrainer {
  public:
    WordTrainer(const Level& level, py::array_t<float> w_in,
                std::optional<py::array_t<float>> w_out, std::optional<py::array_t<float>> w_tree,
                array<int32_t> ids, array<uint32_t> keep, const Optional<double>& noise,
                Optional<int64_t> tree_start, Optional<int32_t> tree_points,
                Optional<uint8_t> tree_codes, std::optional<py::array_t<float>> sub_rows,
                Optional<int64_t> sub_start, Optional<int32_t> sub_ids, Optional<float> lock,
                Optional<float> sub_lock, Optional<int64_t> jobs, Optional<double> progress,
                Optional<uint32_t> cumulative, bool skip_gram, bool mean, int window, int negative,
                bool shrink_windows, bool subsample, bool shared, bool whole_loss, double alpha,
                double min_alpha, int epochs, uint64_t seed)
        : kernels_(*level.kernels),
          w_in_(std::move(w_in)),
          w_out_(std::move(w_out)),
          w_tree_(std::move(w_tree)),
          sub_rows_(std::move(sub_rows)),
          ids_(std::move(ids)),
          keep_(std::move(keep)),
          tree_start_(std::move(tree_start)),
          sub_start_(std::move(sub_start)),
          jobs_(std::move(jobs)),
          tree_points_(std::move(tree_points)),
          sub_ids_(std::move(sub_ids)),
          tree_codes_(std::move(tree_codes)),
          lock_(std::move(lock)),
          sub_lock_(std::move(sub_lock)),
          progress_(std::move(progress)),
          cumulative_(std::move(cumulative)) {
        const Rows<float> in(w_in_, "WordTrainer: w_in");
        job_.stride = matrix(in).stride;
        job_.vocabulary = in.rows;
        job_.w_in = padded(w_in_, in.rows, "w_in");
        if (in.rows == 0 || keep_.size() != static_cast<py::ssize_t>(in.rows))
            throw py::value_error("WordTrainer: sizes of vocabulary differ");
        if (window < 1 || negative < 0 || epochs < 1 || (!w_out_ && !w_tree_) ||
            static_cast<bool>(w_out_) != (negative > 0))
            throw py::value_error(
                "WordTrainer: window and epochs must be positive, and there must "
                "be negatives with w_out or a tree with w_tree");
        if (w_out_) {
            job_.w_out = padded(*w_out_, in.rows, "w_out");
            if (!noise || noise->size() != keep_.size())
                throw py::value_error("WordTrainer: noise: want one weight a word");
            table_.resize(in.rows);
            build_alias(noise->data(), table_.size(), table_.data());
        }
        if (w_tree_) {
            job_.w_tree = padded(*w_tree_, in.rows, "w_tree");
            if (!tree_start_ || !tree_points_ || !tree_codes_ ||
                tree_codes_->size() != tree_points_->size())
                throw py::value_error("WordTrainer: w_tree needs a tree");
            check_lists(*tree_start_, *tree_points_, in.rows, in.rows, "the tree");
        }
        size_t sub_count = 0;
        if (sub_rows_) {
            sub_count = static_cast<size_t>(sub_rows_->ndim() == 2 ? sub_rows_->shape(0) : 0);
            job_.sub_rows = padded(*sub_rows_, sub_count, "sub_rows");
            if (!sub_start_ || !sub_ids_)
                throw py::value_error("WordTrainer: sub_rows needs lists of rows");
            check_lists(*sub_start_, *sub_ids_, in.rows, sub_count, "the list of further rows");
        }
        job_.lock = locks(lock_, in.rows, "lock");
        job_.sub_lock = locks(sub_lock_, sub_count, "sub_lock");
        for (py::ssize_t i = 0; i < ids_.size(); i++) {
            const int32_t id = ids_.data()[i] < 0 ? ~ids_.data()[i] : ids_.data()[i];
            if (static_cast<size_t>(id) >= in.rows)
                throw py::index_error("WordTrainer: an id is out of range");
        }
        if (jobs_) {
            const py::ssize_t count = jobs_->size() - 1;
            bool good = count >= 0 && progress_ && progress_->size() == count &&
                        jobs_->data()[0] == 0 && jobs_->data()[count] == ids_.size();
            for (py::ssize_t i = 0; good && i < count; i++)
                good = jobs_->data()[i] <= jobs_->data()[i + 1];
            if (good && w_out_) {
                good = cumulative_ && cumulative_->size() == keep_.size();
                const uint32_t last = good ? cumulative_->data()[keep_.size() - 1] : 0;
                good = last > 0;
                for (py::ssize_t i = 0; good && i < keep_.size(); i++)
                    good = cumulative_->data()[i] <= last;
            }
            if (!good)
                throw py::value_error(
                    "WordTrainer: jobs: want rising offsets from 0 to the number of tokens, one "
                    "progress a job and, with negatives, rising sums of weights in cumulative");
            job_.job_count = static_cast<size_t>(count);
            random_.move_to(static_cast<uint32_t>(seed), 0);
        }
        job_.tree_start = data_of(tree_start_);
        job_.tree_points = data_of(tree_points_);
        job_.tree_codes = data_of(tree_codes_);
        job_.sub_start = data_of(sub_start_);
        job_.sub_ids = data_of(sub_ids_);
        job_.ids = ids_.data();
        job_.tokens = static_cast<size_t>(ids_.size());
        job_.keep = keep_.data();
        job_.unigram = table_.data();
        job_.jobs = data_of(jobs_);
        job_.progress = data_of(progress_);
        job_.cumulative = data_of(cumulative_);
        job_.window = window;
        job_.negative = negative;
        job_.epochs = epochs;
        job_.skip_gram = skip_gram;
        job_.mean = mean;
        job_.shrink_windows = shrink_windows;
        job_.subsample = subsample;
        job_.shared = shared;
        job_.whole_loss = whole_loss;
        job_.alpha = alpha;
        job_.min_alpha = min_alpha;
        job_.seed = seed;
    }

    size_t blocks() const { return block_count(job_); }

    size_t start(size_t block) const {
        if (block > blocks()) throw py::index_error("WordTrainer.start: no such block");
        return block_start(job_, block);
    }

    py::tuple train(int epoch, size_t first, size_t last, int workers, double loss, uint64_t pairs,
                    uint64_t effective, uint64_t draws) {
        if (first > last || last > blocks())
            throw py::index_error("WordTrainer.train: no such blocks");
        WordProgress progress{loss, pairs, effective};
        {
            WithoutGil unlocked;
            if (job_.jobs && random_.draws != draws)
                random_.move_to(static_cast<uint32_t>(job_.seed), draws);
            progress = train_blocks(job_, kernels_, epoch, first, last, workers, progress,
                                    job_.jobs ? &random_ : nullptr);
        }
        return py::make_tuple(progress.loss, progress.pairs, progress.effective, random_.draws);
    }

  private:
    float* padded(py::array_t<float>& x, size_t rows, const char* name) const {
        const Rows<float> given(x, std::string("WordTrainer: ") + name);
        if (given.rows != rows || given.stride != static_cast<ptrdiff_t>(job_.stride) ||
            job_.stride % 16 || given.n != job_.stride ||
            reinterpret_cast<uintptr_t>(given.data) % 64)
            throw py::value_error(std::string("WordTrainer: ") + name +
                                  ": rows must be padded and aligned to 64 bytes, one a word");
        return given.data;
    }

    const Kernels& kernels_;
    py::array_t<float> w_in_;
    std::optional<py::array_t<float>> w_out_, w_tree_, sub_rows_;
    array<int32_t> ids_;
    array<uint32_t> keep_;
    Optional<int64_t> tree_start_, sub_start_, jobs_;
    Optional<int32_t> tree_points_, sub_ids_;
    Optional<uint8_t> tree_codes_;
    Optional<float> lock_, sub_lock_;
    Optional<double> progress_;
    Optional<uint32_t> cumulative_;
    std::vector<AliasEntry> table_;
    WordWindows job_{};
    GensimRandom random_;
};

}  // namespace

void bind_words(py::module_& module, py::module_& kernels) {
    kernels.def("skipgram_negative_sampling", &skipgram, py::arg("level"),
                py::arg("w_in").noconvert(), py::arg("w_out").noconvert(),
                py::arg("centers").noconvert(), py::arg("contexts").noconvert(),
                py::arg("negatives").noconvert(), py::arg("learning_rate"));
    kernels.def("cbow_negative_sampling", &cbow, py::arg("level"), py::arg("w_in").noconvert(),
                py::arg("w_out").noconvert(), py::arg("centers").noconvert(),
                py::arg("contexts").noconvert(), py::arg("negatives").noconvert(),
                py::arg("shared"), py::arg("learning_rate"), py::arg("cbow_mean"),
                py::arg("weight"));
    kernels.def("hierarchical_softmax", &hierarchical, py::arg("level"),
                py::arg("w_in").noconvert(), py::arg("w_tree").noconvert(),
                py::arg("points").noconvert(), py::arg("codes").noconvert(),
                py::arg("contexts").noconvert(), py::arg("shared"), py::arg("learning_rate"));

    py::class_<WordTrainer>(module, "WordTrainer")
        .def(py::init<const Level&, py::array_t<float>, std::optional<py::array_t<float>>,
                      std::optional<py::array_t<float>>, array<int32_t>, array<uint32_t>,
                      const Optional<double>&, Optional<int64_t>, Optional<int32_t>,
                      Optional<uint8_t>, std::optional<py::array_t<float>>, Optional<int64_t>,
                      Optional<int32_t>, Optional<float>, Optional<float>, Optional<int64_t>,
                      Optional<double>, Optional<uint32_t>, bool, bool, int, int, bool, bool, bool,
                      bool, double, double, int, uint64_t>(),
             py::arg("level"), py::arg("w_in").noconvert(), py::arg("w_out").noconvert(),
             py::arg("w_tree").noconvert(), py::arg("ids").noconvert(), py::arg("keep").noconvert(),
             py::arg("noise").noconvert(), py::kw_only(), py::arg("tree_start").noconvert(),
             py::arg("tree_points").noconvert(), py::arg("tree_codes").noconvert(),
             py::arg("sub_rows").noconvert(), py::arg("sub_start").noconvert(),
             py::arg("sub_ids").noconvert(), py::arg("lock").noconvert(),
             py::arg("sub_lock").noconvert(), py::arg("jobs").noconvert(),
             py::arg("progress").noconvert(), py::arg("cumulative").noconvert(),
             py::arg("skip_gram"), py::arg("mean"), py::arg("window"), py::arg("negative"),
             py::arg("shrink_windows"), py::arg("subsample"), py::arg("shared"),
             py::arg("whole_loss"), py::arg("alpha"), py::arg("min_alpha"), py::arg("epochs"),
             py::arg("seed"))
        .def_property_readonly("blocks", &WordTrainer::blocks)
        .def("start", &WordTrainer::start, py::arg("block"))
        .def("train", &WordTrainer::train, py::arg("epoch"), py::arg("first"), py::arg("last"),
             py::arg("workers"), py::arg("loss") = 0.0, py::arg("pairs") = 0,
             py::arg("effective") = 0, py::arg("draws") = 0);

    py::class_<WordCounter>(module, "WordCounter")
        .def(py::init<>())
        .def(
            "add",
            [](WordCounter& self, const py::buffer& text) {
                const Bytes bytes(text);
                WithoutGil unlocked;
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
                    WithoutGil unlocked;
                    ids = self.encode(bytes.data, bytes.size, last);
                }
                return to_array(std::move(ids));
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
            WithoutGil unlocked;
            return transport(cost, from.size(), to.size(), from.data(), to.data());
        },
        py::arg("costs").noconvert(), py::arg("supply").noconvert(), py::arg("demand").noconvert());
}

}  // namespace firth
