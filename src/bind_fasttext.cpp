// Bindings of fastText's files, its classifier, its training and product quantisation.
#include <cstring>
#include <memory>
#include <optional>

#include "bindings.h"
#include "engines/fasttext/fasttext.h"
#include "engines/fasttext/fasttext_files.h"
#include "engines/fasttext/fasttext_train.h"
#include "engines/fasttext/product_quantiser.h"
#include "parallel.h"

namespace firth {

using namespace fasttext;
using namespace words;

namespace {

constexpr size_t kTextsATask = 256;

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

// (text, ends, counts, labels, tokens)
py::tuple vocabulary(const py::buffer& buffer, const std::string& label, int64_t min_count,
                     int64_t min_label_count) {
    const Bytes text(buffer);
    FastTextVocabulary made;
    {
        WithoutGil unlocked;
        made = count_fasttext_words(text.data, text.size, label, min_count, min_label_count);
    }
    const py::array_t<uint8_t> bytes(static_cast<py::ssize_t>(made.text.size()),
                                     reinterpret_cast<const uint8_t*>(made.text.data()));
    return py::make_tuple(bytes, to_array(std::move(made.ends)), to_array(std::move(made.counts)),
                          made.labels, made.tokens);
}

// A dictionary and the two matrices; holds the arrays that its parts point into.
class FastTextModel {
  public:
    FastTextModel(const Level& level, array<uint8_t> text, array<int64_t> ends,
                  array<int64_t> counts, size_t labels, const std::string& label, int min_n,
                  int max_n, uint32_t bucket, int word_ngrams, std::optional<array<int32_t>> pruned,
                  int loss, bool supervised, const py::array& input,
                  std::optional<array<float>> output,
                  std::optional<std::tuple<array<float>, size_t, std::optional<array<uint8_t>>,
                                           std::optional<array<float>>>>
                      quantiser)
        : level_(&*level),
          text_(std::move(text)),
          ends_(std::move(ends)),
          counts_(std::move(counts)),
          pruned_(std::move(pruned)),
          output_(std::move(output)) {
        const auto size = static_cast<size_t>(ends_.size());
        int64_t before = 0;
        for (size_t i = 0; i < size; before = ends_.data()[i++])
            if (ends_.data()[i] < before || ends_.data()[i] > text_.size())
                throw py::value_error("FastTextModel: ends must rise within the text");
        if (labels > size || counts_.size() != ends_.size() || bucket > INT32_MAX)
            throw py::value_error("FastTextModel: counts and labels must fit the entries");
        if (input.ndim() != 2 || input.shape(1) < 1)
            throw py::value_error("FastTextModel: input must be a matrix");
        hold_input(input, quantiser);
        check_rows(size - labels, min_n, max_n, bucket, word_ngrams);
        const WordList words{reinterpret_cast<const char*>(text_.data()), ends_.data(), size};
        const FastTextRules rules{{min_n, max_n, bucket}, word_ngrams, label};
        const int32_t* const kept = pruned_ ? pruned_->data() : nullptr;
        const size_t kept_count = pruned_ ? static_cast<size_t>(pruned_->size()) / 2 : 0;
        WithoutGil unlocked;
        dictionary_ = std::make_unique<FastTextDictionary>(words, labels, rules, kept, kept_count,
                                                           supervised);
        if (!supervised) return;
        if (!output_ || output_->ndim() != 2 ||
            output_->shape(0) != static_cast<py::ssize_t>(labels) ||
            output_->shape(1) != static_cast<py::ssize_t>(input_.dim) || loss < 1 || loss > 4)
            throw py::value_error("FastTextModel: output must be (labels, dim), loss from 1 to 4");
        classifier_ = std::make_unique<FastTextClassifier>(
            input_, output_->data(), counts_.data() + (size - labels), labels,
            static_cast<FastTextLoss>(loss), *level_);
    }

    int32_t find(const std::string& word) const {
        return dictionary_->find(word.data(), word.size());
    }

    py::array_t<int32_t> word_rows(const std::string& word) const {
        std::vector<int32_t> rows;
        dictionary_->add_rows(word.data(), word.size(), rows);
        return to_array(std::move(rows));
    }

    py::array_t<int32_t> line_rows(const std::string& text) const {
        FastTextLine line;
        if (!text.empty()) dictionary_->read_line(text.data(), text.data() + text.size(), line);
        return to_array(std::move(line.rows));
    }

    py::array_t<float> mean(const array<int32_t>& rows) const {
        for (py::ssize_t i = 0; i < rows.size(); i++)
            if (rows.data()[i] < 0 || static_cast<size_t>(rows.data()[i]) >= input_.rows)
                throw py::index_error("FastTextModel.mean: a row is out of range");
        py::array_t<float> made(static_cast<py::ssize_t>(input_.dim));
        input_.mean(rows.data(), static_cast<size_t>(rows.size()), made.mutable_data());
        return made;
    }

    // (words, D): the vector of each word, of length 1 or zeros.
    py::array_t<float> unit_vectors() const {
        const size_t dim = input_.dim;
        py::array_t<float> made({dictionary_->words(), dim});
        float* const out = made.mutable_data();
        const char* const text = reinterpret_cast<const char*>(text_.data());
        WithoutGil unlocked;
        parallel_for(dictionary_->words(), kTextsATask, [&](size_t begin, size_t end) {
            std::vector<int32_t> rows;
            for (size_t i = begin; i < end; i++) {
                const int64_t from = i ? ends_.data()[i - 1] : 0;
                rows.clear();
                dictionary_->add_rows(text + from, static_cast<size_t>(ends_.data()[i] - from),
                                      rows);
                input_.unit_mean(rows.data(), rows.size(), out + i * dim);
            }
        });
        return made;
    }

    // Lists of names and arrays of probabilities, one of each a text.
    py::tuple predict(const py::list& texts, size_t k, float threshold,
                      const py::list& names) const {
        if (!classifier_ || names.size() != dictionary_->labels())
            throw py::value_error("FastTextModel.predict: want one name a label");
        const size_t count = texts.size();
        std::string text;  // with a newline behind each: a copy, since the list may change
        std::vector<size_t> ends;
        for (const py::handle one : texts) {
            py::ssize_t size;
            const char* const data = PyUnicode_AsUTF8AndSize(one.ptr(), &size);
            if (!data) throw py::error_already_set();
            if (std::memchr(data, '\n', static_cast<size_t>(size)))
                throw py::value_error("predict processes one line at a time (remove '\\n')");
            text.append(data, static_cast<size_t>(size)).push_back('\n');
            ends.push_back(text.size());
        }
        std::vector<std::vector<FastTextPrediction>> found((count + kTextsATask - 1) / kTextsATask);
        std::vector<size_t> found_counts(count);
        {
            WithoutGil unlocked;
            parallel_for(count, kTextsATask, [&](size_t begin, size_t end) {
                FastTextLine line;
                FastTextClassifier::Scratch scratch;
                auto& own = found[begin / kTextsATask];
                for (size_t i = begin; i < end; i++) {
                    dictionary_->read_line(text.data() + (i ? ends[i - 1] : 0),
                                           text.data() + ends[i], line);
                    classifier_->predict(line.rows, k, threshold, scratch);
                    found_counts[i] = scratch.best.size();
                    own.insert(own.end(), scratch.best.begin(), scratch.best.end());
                }
            });
        }
        py::list all_labels(count), all_probabilities(count);
        const FastTextPrediction* next = nullptr;
        for (size_t i = 0; i < count; i++) {
            if (i % kTextsATask == 0) next = found[i / kTextsATask].data();
            py::list own(found_counts[i]);
            py::array_t<float> probabilities(static_cast<py::ssize_t>(found_counts[i]));
            float* const values = probabilities.mutable_data();
            for (size_t j = 0; j < found_counts[i]; j++, next++) {
                own[j] = names[static_cast<size_t>(next->label)];
                values[j] = next->probability();
            }
            all_labels[i] = std::move(own);
            all_probabilities[i] = std::move(probabilities);
        }
        return py::make_tuple(all_labels, all_probabilities);
    }

    // Of each line with words and known labels: (how many true labels, how many predicted; the
    // true ones, the predicted ones, their scores, one after the other).
    py::tuple evaluate(const py::buffer& buffer, size_t k, float threshold) const {
        if (!classifier_) throw py::value_error("FastTextModel.evaluate: not supervised");
        const Bytes text(buffer);
        std::vector<int32_t> true_counts, predicted_counts, truth, predicted;
        std::vector<float> scores;
        {
            WithoutGil unlocked;
            FastTextLine line;
            FastTextClassifier::Scratch scratch;
            const char *p = text.data, *const end = text.data + text.size;
            while (p < end) {
                p = dictionary_->read_line(p, end, line);
                if (line.labels.empty() || line.rows.empty()) continue;
                classifier_->predict(line.rows, k, threshold, scratch);
                true_counts.push_back(static_cast<int32_t>(line.labels.size()));
                predicted_counts.push_back(static_cast<int32_t>(scratch.best.size()));
                truth.insert(truth.end(), line.labels.begin(), line.labels.end());
                for (const FastTextPrediction& one : scratch.best) {
                    predicted.push_back(one.label);
                    scores.push_back(one.score);
                }
            }
        }
        return py::make_tuple(to_array(std::move(true_counts)),
                              to_array(std::move(predicted_counts)), to_array(std::move(truth)),
                              to_array(std::move(predicted)), to_array(std::move(scores)));
    }

    const FastTextDictionary& dictionary() const { return *dictionary_; }
    const FastTextMatrix& input() const { return input_; }
    const array<int64_t>& counts() const { return counts_; }
    array<float>& output() { return *output_; }
    bool trainable() const { return classifier_ && input_.values; }
    const Kernels* level() const { return level_; }

  private:
    template <class Quantiser>
    void hold_input(const py::array& input, const Quantiser& quantiser) {
        input_array_ = input;
        input_.rows = static_cast<size_t>(input.shape(0));
        input_.dim = static_cast<size_t>(input.shape(1));
        const bool contiguous = (input.flags() & py::array::c_style) != 0;
        if (!quantiser) {
            if (!py::isinstance<py::array_t<float>>(input) || !contiguous)
                throw py::type_error("FastTextModel: input must be contiguous float32");
            input_.values = static_cast<const unaligned_float*>(input.data());
            return;
        }
        centroids_ = std::get<0>(*quantiser);
        norm_codes_ = std::get<2>(*quantiser);
        norm_centroids_ = std::get<3>(*quantiser);
        input_.dim = static_cast<size_t>(centroids_->size()) / 256;
        input_.dsub = std::get<1>(*quantiser);
        input_.parts = static_cast<size_t>(input.shape(1));
        if (!py::isinstance<py::array_t<uint8_t>>(input) || !contiguous || input_.dsub < 1 ||
            input_.dim < 1 || input_.parts != (input_.dim + input_.dsub - 1) / input_.dsub ||
            norm_codes_.has_value() != norm_centroids_.has_value() ||
            (norm_codes_ &&
             (norm_codes_->size() != input.shape(0) || norm_centroids_->size() != 256)))
            throw py::value_error("FastTextModel: the quantiser does not fit its codes");
        input_.codes = static_cast<const uint8_t*>(input.data());
        input_.centroids = centroids_->data();
        if (norm_codes_) {
            input_.norm_codes = norm_codes_->data();
            input_.norm_centroids = norm_centroids_->data();
        }
    }

    // The matrix must have every row that a word or an n-gram can name.
    void check_rows(size_t words, int min_n, int max_n, uint32_t bucket, int word_ngrams) const {
        size_t rows = words;
        if (pruned_) {
            if (pruned_->ndim() != 2 || pruned_->shape(1) != 2)
                throw py::value_error("FastTextModel: pruned must have shape (n, 2)");
            for (py::ssize_t i = 0; i < pruned_->shape(0); i++) {
                const int32_t row = pruned_->data()[2 * i + 1];
                if (row < 0) throw py::index_error("FastTextModel: a pruned row is negative");
                rows = std::max(rows, words + static_cast<size_t>(row) + 1);
            }
        } else if ((max_n > 0 && max_n >= min_n) || word_ngrams > 1) {
            rows += bucket;
        }
        if (input_.rows < rows)
            throw py::value_error("FastTextModel: the input matrix has " +
                                  std::to_string(input_.rows) + " rows, want " +
                                  std::to_string(rows));
    }

    const Kernels* level_;
    array<uint8_t> text_;
    array<int64_t> ends_, counts_;
    std::optional<array<int32_t>> pruned_;
    py::array input_array_;
    std::optional<array<float>> output_, centroids_, norm_centroids_;
    std::optional<array<uint8_t>> norm_codes_;
    FastTextMatrix input_{};
    std::unique_ptr<FastTextDictionary> dictionary_;
    std::unique_ptr<FastTextClassifier> classifier_;
};

// Trains a model's matrices in place on a text; holds both.
class FastTextTrainerOfText {
  public:
    FastTextTrainerOfText(py::object model, const py::buffer& text, int loss, int negative,
                          int epochs, float rate, uint64_t seed)
        : model_(std::move(model)), text_(text) {
        auto& own = model_.cast<FastTextModel&>();
        if (!own.trainable() || loss < 1 || loss > 4 || epochs < 1 || negative < 0)
            throw py::value_error("FastTextTrainer: want a supervised model that is not quantised");
        const size_t labels = own.dictionary().labels();
        if (labels == 0) throw py::value_error("FastTextTrainer: the model has no labels");
        FastTextTraining job{};
        job.dictionary = &own.dictionary();
        job.text = text_.data;
        job.size = text_.size;
        // Written to from here on: the Python side made both matrices for this.
        job.input = const_cast<float*>(reinterpret_cast<const float*>(own.input().values));
        job.output = own.output().mutable_data();
        job.dim = own.input().dim;
        job.counts = own.counts().data() + own.dictionary().words();
        job.loss = static_cast<FastTextLoss>(loss);
        job.negative = negative;
        job.epochs = epochs;
        job.rate = rate;
        job.seed = seed;
        job.kernels = own.level();
        trainer_ = std::make_unique<FastTextTrainer>(job);
    }

    size_t blocks() const { return trainer_->blocks(); }

    std::pair<double, uint64_t> train(int epoch, size_t first, size_t last, int workers) const {
        if (first > last || last > blocks())
            throw py::index_error("FastTextTrainer.train: a block is out of range");
        WithoutGil unlocked;
        const FastTextProgress done = trainer_->train(epoch, first, last, workers);
        return {done.loss, done.examples};
    }

  private:
    py::object model_;
    Bytes text_;
    std::unique_ptr<FastTextTrainer> trainer_;
};

// (centroids (dim * 256,), codes (rows, parts))
py::tuple quantise(const array<float>& values, size_t dsub, uint64_t seed) {
    if (values.ndim() != 2 || values.shape(0) < 256 || values.shape(1) < 1 || dsub < 1)
        throw py::value_error("product_quantise: want a matrix of at least 256 rows and dsub >= 1");
    const auto rows = static_cast<size_t>(values.shape(0));
    const auto dim = static_cast<size_t>(values.shape(1));
    py::array_t<float> centroids(static_cast<py::ssize_t>(dim * 256));
    py::array_t<uint8_t> codes(
        {values.shape(0), static_cast<py::ssize_t>((dim + dsub - 1) / dsub)});
    float* const made = centroids.mutable_data();
    uint8_t* const chosen = codes.mutable_data();
    {
        WithoutGil unlocked;
        train_product_quantiser(values.data(), rows, dim, dsub, seed, made, chosen);
    }
    return py::make_tuple(centroids, codes);
}

// The words of a text, the ends of its lines as "</s>".
py::list tokens(const std::string& text) {
    py::list made;
    const char *p = text.data(), *const end = p + text.size(), *word;
    while (next_fasttext_word(p, end, &word))
        made.append(*word == '\n' ? py::bytes("</s>")
                                  : py::bytes(word, static_cast<size_t>(p - word)));
    return made;
}

}  // namespace

void bind_fasttext(py::module_& module) {
    module.def("fasttext_entries", &entries, py::arg("data"), py::arg("most"));
    module.def("fasttext_vocabulary", &vocabulary, py::arg("text"), py::arg("label"),
               py::arg("min_count"), py::arg("min_label_count"));
    module.def("fasttext_tokens", &tokens, py::arg("text"));
    module.def("product_quantise", &quantise, py::arg("values").noconvert(), py::arg("dsub"),
               py::arg("seed"));
    py::class_<FastTextModel>(module, "FastTextModel")
        .def(py::init<const Level&, array<uint8_t>, array<int64_t>, array<int64_t>, size_t,
                      const std::string&, int, int, uint32_t, int, std::optional<array<int32_t>>,
                      int, bool, const py::array&, std::optional<array<float>>,
                      std::optional<std::tuple<array<float>, size_t, std::optional<array<uint8_t>>,
                                               std::optional<array<float>>>>>(),
             py::arg("level"), py::arg("text").noconvert(), py::arg("ends").noconvert(),
             py::arg("counts").noconvert(), py::arg("labels"), py::arg("label"), py::arg("min_n"),
             py::arg("max_n"), py::arg("bucket"), py::arg("word_ngrams"),
             py::arg("pruned").noconvert(), py::arg("loss"), py::arg("supervised"),
             py::arg("input").noconvert(), py::arg("output").noconvert(),
             py::arg("quantiser").noconvert())
        .def("find", &FastTextModel::find, py::arg("word"))
        .def("word_rows", &FastTextModel::word_rows, py::arg("word"))
        .def("line_rows", &FastTextModel::line_rows, py::arg("text"))
        .def("mean", &FastTextModel::mean, py::arg("rows").noconvert())
        .def("unit_vectors", &FastTextModel::unit_vectors)
        .def("predict", &FastTextModel::predict, py::arg("texts"), py::arg("k"),
             py::arg("threshold"), py::arg("names"))
        .def("evaluate", &FastTextModel::evaluate, py::arg("text"), py::arg("k"),
             py::arg("threshold"));
    py::class_<FastTextTrainerOfText>(module, "FastTextTrainer")
        .def(py::init<py::object, const py::buffer&, int, int, int, float, uint64_t>(),
             py::arg("model"), py::arg("text"), py::arg("loss"), py::arg("negative"),
             py::arg("epochs"), py::arg("rate"), py::arg("seed"))
        .def_property_readonly("blocks", &FastTextTrainerOfText::blocks)
        .def("train", &FastTextTrainerOfText::train, py::arg("epoch"), py::arg("first"),
             py::arg("last"), py::arg("workers"));
}

}  // namespace firth
