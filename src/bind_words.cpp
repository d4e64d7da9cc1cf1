// Bindings of the corpus scanner, the kernels of word windows, the trainer of word vectors, and
// word mover's distance.
#include <algorithm>

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
    return skipgram_batch(matrix(in), matrix(out), in.n, centers.data(), contexts.data(),
                          negatives.data(), static_cast<size_t>(rows),
                          shared ? static_cast<size_t>(contexts.shape(1)) : 1,
                          static_cast<size_t>(negatives.shape(1)), shared, learning_rate, *level);
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
    return cbow_batch(
        matrix(in), matrix(out), in.n, centers.data(), contexts.data(), negatives.data(),
        static_cast<size_t>(rows), static_cast<size_t>(contexts.shape(1)),
        static_cast<size_t>(negatives.shape(1)), shared, mean, weight, learning_rate, *level);
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
                      static_cast<size_t>(contexts.shape(1)), shared, learning_rate, *level);
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

// Holds the arrays of a training job; train() may be called block by block.
class WordTrainer {
  public:
    // network: a firth.words.training.Network, whose attributes are read here and nowhere else. To
    // add an option: a field there, a member of WordWindows, a line here, and where it is used.
    WordTrainer(const Level& level, const py::object& network, array<int32_t> ids, double alpha,
                double min_alpha, int epochs)
        : kernels_(*level), ids_(std::move(ids)) {
        job_.window = py::cast<int>(attribute(network, "window"));
        job_.negative = py::cast<int>(attribute(network, "negative"));
        job_.skip_gram = py::bool_(attribute(network, "sg"));
        job_.mean = py::bool_(attribute(network, "cbow_mean"));
        job_.shrink_windows = py::bool_(attribute(network, "shrink_windows"));
        job_.subsample = py::bool_(attribute(network, "sample"));
        job_.shared = py::bool_(attribute(network, "shared"));
        job_.whole_loss = py::bool_(attribute(network, "whole_loss"));
        job_.seed = py::cast<uint64_t>(attribute(network, "seed"));
        job_.alpha = alpha;
        job_.min_alpha = min_alpha;
        job_.epochs = epochs;
        read_matrices(network);
        read_ids();
        if (const py::object subwords = attribute(network, "subwords"); !subwords.is_none())
            read_subwords(subwords);
        job_.lock = read_locks(network, job_.vocabulary, "lockf");
        if (const py::object jobs = attribute(network, "jobs"); !jobs.is_none())
            read_jobs(jobs, network);
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
    // The trainer holds what its job points into.
    template <class Array>
    Array hold(Array x) {
        held_.append(x);
        return x;
    }

    void read_matrices(const py::object& network) {
        const array<float> w_in = hold(attribute<float>(network, "w_in"));
        const Rows<float> in(w_in, "WordTrainer: w_in");
        const size_t words = in.rows;
        job_.stride = matrix(in).stride;
        job_.vocabulary = words;
        job_.w_in = padded(w_in, words, "w_in");
        const array<uint32_t> keep = hold(attribute<uint32_t>(network, "keep"));
        if (words == 0 || keep.size() != static_cast<py::ssize_t>(words))
            throw py::value_error("WordTrainer: sizes of vocabulary differ");
        job_.keep = keep.data();
        const Optional<float> w_out = maybe<float>(network, "w_out"),
                              w_tree = maybe<float>(network, "w_tree");
        if (job_.window < 1 || job_.negative < 0 || job_.epochs < 1 || (!w_out && !w_tree) ||
            w_out.has_value() != (job_.negative > 0))
            throw py::value_error(
                "WordTrainer: window and epochs must be positive, and there must "
                "be negatives with w_out or a tree with w_tree");
        if (w_out) {
            job_.w_out = padded(hold(*w_out), words, "w_out");
            const array<double> noise = attribute<double>(network, "noise");
            if (noise.size() != keep.size())
                throw py::value_error("WordTrainer: noise: want one weight a word");
            table_.resize(words);
            build_alias(noise.data(), words, table_.data());
            job_.unigram = table_.data();
        }
        if (w_tree) {
            job_.w_tree = padded(hold(*w_tree), words, "w_tree");
            const py::object tree = attribute(network, "tree");
            if (tree.is_none()) throw py::value_error("WordTrainer: w_tree needs a tree");
            const auto start = hold(attribute<int64_t>(tree, "start"));
            const auto points = hold(attribute<int32_t>(tree, "points"));
            const auto codes = hold(attribute<uint8_t>(tree, "codes"));
            if (codes.size() != points.size())
                throw py::value_error("WordTrainer: the tree: want one code a point");
            check_lists(start, points, words, words, "the tree");
            job_.tree_start = start.data();
            job_.tree_points = points.data();
            job_.tree_codes = codes.data();
        }
    }

    void read_ids() {
        for (py::ssize_t i = 0; i < ids_.size(); i++) {
            const int32_t id = ids_.data()[i] < 0 ? ~ids_.data()[i] : ids_.data()[i];
            if (static_cast<size_t>(id) >= job_.vocabulary)
                throw py::index_error("WordTrainer: an id is out of range");
        }
        job_.ids = ids_.data();
        job_.tokens = static_cast<size_t>(ids_.size());
    }

    void read_subwords(const py::object& subwords) {
        const auto vectors = hold(attribute<float>(subwords, "vectors"));
        const auto start = hold(attribute<int64_t>(subwords, "start"));
        const auto ids = hold(attribute<int32_t>(subwords, "ids"));
        const size_t count = static_cast<size_t>(vectors.ndim() == 2 ? vectors.shape(0) : 0);
        job_.sub_rows = padded(vectors, count, "subwords.vectors");
        check_lists(start, ids, job_.vocabulary, count, "the list of further rows");
        job_.sub_start = start.data();
        job_.sub_ids = ids.data();
        job_.sub_lock = read_locks(subwords, count, "subwords.lockf");
    }

    // Factors of the updates, from any array of numbers; none where all are 1.
    Locks read_locks(const py::object& from, size_t rows, const char* name) {
        const py::object given = attribute(from, "lockf");
        if (given.is_none()) return {nullptr, 0};
        const auto values = py::array_t<float, py::array::c_style | py::array::forcecast>(given);
        const size_t count = static_cast<size_t>(values.size());
        if (count != 1 && count != rows)
            throw py::value_error(std::string("WordTrainer: ") + name +
                                  ": want one value or one a row");
        if (std::all_of(values.data(), values.data() + count, [](float x) { return x == 1; }))
            return {nullptr, 0};
        return {hold(values).data(), count};
    }

    void read_jobs(const py::object& jobs, const py::object& network) {
        const auto start = hold(attribute<int64_t>(jobs, "start"));
        const auto progress = hold(attribute<double>(jobs, "progress"));
        const py::ssize_t count = start.size() - 1;
        bool good = count >= 0 && progress.size() == count && start.data()[0] == 0 &&
                    start.data()[count] == ids_.size() &&
                    std::is_sorted(start.data(), start.data() + start.size());
        if (good && job_.w_out) {
            const auto cumulative = hold(attribute<uint32_t>(network, "cum_table"));
            const uint32_t* const sums = cumulative.data();
            good = cumulative.size() == static_cast<py::ssize_t>(job_.vocabulary) &&
                   sums[job_.vocabulary - 1] > 0 &&
                   *std::max_element(sums, sums + job_.vocabulary) == sums[job_.vocabulary - 1];
            job_.cumulative = sums;
        }
        if (!good)
            throw py::value_error(
                "WordTrainer: jobs: want rising offsets from 0 to the number of tokens, one "
                "progress a job and, with negatives, rising sums of weights in cum_table");
        job_.jobs = start.data();
        job_.progress = progress.data();
        job_.job_count = static_cast<size_t>(count);
        random_.move_to(static_cast<uint32_t>(job_.seed), 0);
    }

    float* padded(const array<float>& x, size_t rows, const char* name) const {
        const Rows<float> given(x, std::string("WordTrainer: ") + name);
        if (given.rows != rows || given.stride != static_cast<ptrdiff_t>(job_.stride) ||
            job_.stride % 16 || given.n != job_.stride ||
            reinterpret_cast<uintptr_t>(given.data) % 64)
            throw py::value_error(std::string("WordTrainer: ") + name +
                                  ": rows must be padded and aligned to 64 bytes, one a word");
        return given.data;
    }

    const Kernels& kernels_;
    array<int32_t> ids_;
    py::list held_;
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
        .def(py::init<const Level&, const py::object&, array<int32_t>, double, double, int>(),
             py::arg("level"), py::arg("network"), py::arg("ids").noconvert(), py::arg("alpha"),
             py::arg("min_alpha"), py::arg("epochs"))
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
