#include "engines/fasttext/fasttext_train.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "parallel.h"

namespace firth::fasttext {

FastTextVocabulary count_fasttext_words(const char* text, size_t size, const std::string& label,
                                        int64_t min_count, int64_t min_label_count) {
    struct Entry {
        const char* word;
        size_t size;
        int64_t count;
    };
    static const char end_of_line[] = "</s>";
    std::vector<Entry> entries;
    FastTextTable table(1 << 12);
    FastTextVocabulary made{};
    const char *p = text, *const end = text + size, *word;
    while (next_fasttext_word(p, end, &word)) {
        size_t length = static_cast<size_t>(p - word);
        if (*word == '\n') word = end_of_line, length = 4;
        uint32_t hash = words::kSubwordHashStart;
        for (size_t i = 0; i < length; i++) hash = words::subword_hash_step(hash, word[i]);
        const size_t slot = table.find(hash, [&](int32_t other) {
            const Entry& known = entries[static_cast<size_t>(other)];
            return known.size == length && std::memcmp(known.word, word, length) == 0;
        });
        made.tokens++;
        if (table.entry(slot) >= 0) {
            entries[static_cast<size_t>(table.entry(slot))].count++;
            continue;
        }
        table.set(slot, hash, static_cast<int32_t>(entries.size()));
        entries.push_back({word, length, 1});
        if (entries.size() > table.capacity()) table.grow();
    }
    const auto is_label = [&](const Entry& entry) {
        return entry.size >= label.size() &&
               std::memcmp(entry.word, label.data(), label.size()) == 0;
    };
    const auto rare = [&](const Entry& entry) {
        return entry.count < (is_label(entry) ? min_label_count : min_count);
    };
    entries.erase(std::remove_if(entries.begin(), entries.end(), rare), entries.end());
    const auto labels = std::stable_partition(entries.begin(), entries.end(),
                                              [&](const Entry& e) { return !is_label(e); });
    const auto more = [](const Entry& a, const Entry& b) { return a.count > b.count; };
    std::stable_sort(entries.begin(), labels, more);
    std::stable_sort(labels, entries.end(), more);
    made.labels = static_cast<size_t>(entries.end() - labels);
    for (const Entry& entry : entries) {
        made.text.append(entry.word, entry.size);
        made.ends.push_back(static_cast<int64_t>(made.text.size()));
        made.counts.push_back(entry.count);
    }
    return made;
}

struct FastTextTrainer::Worker {
    FastTextLine line;
    std::vector<float> hidden, gradient, scores;
    std::minstd_rand random;
};

FastTextTrainer::FastTextTrainer(const FastTextTraining& job) : job_(job) {
    const size_t labels = job_.dictionary->labels();
    double sum = 0;
    for (size_t i = 0; i < labels && job_.loss == FastTextLoss::ns; i++)
        noise_.push_back(sum += std::sqrt(static_cast<double>(job_.counts[i])));
    if (job_.loss != FastTextLoss::hs) return;
    const FastTextTree tree(job_.counts, labels);
    std::vector<std::pair<int32_t, bool>> parents(2 * labels - 1, {-1, false});
    for (size_t i = 0; i < tree.left.size(); i++) {
        parents[static_cast<size_t>(tree.left[i])] = {static_cast<int32_t>(i), false};
        parents[static_cast<size_t>(tree.right[i])] = {static_cast<int32_t>(i), true};
    }
    path_offsets_.push_back(0);
    for (size_t i = 0; i < labels; i++) {
        for (auto at = parents[i]; at.first >= 0;
             at = parents[labels + static_cast<size_t>(at.first)])
            paths_.push_back(at);
        path_offsets_.push_back(static_cast<int64_t>(paths_.size()));
    }
}

size_t FastTextTrainer::start(size_t block) const {
    const size_t at = block * kFastTextBlock;
    if (at == 0 || at >= job_.size) return std::min(at, job_.size);
    const void* const found = std::memchr(job_.text + at - 1, '\n', job_.size - at + 1);
    return found ? static_cast<size_t>(static_cast<const char*>(found) - job_.text) + 1 : job_.size;
}

FastTextProgress FastTextTrainer::train(int epoch, size_t first, size_t last, int workers) const {
    std::vector<FastTextProgress> done(last - first);
    struct Job {
        const FastTextTrainer* self;
        int epoch;
        size_t first;
        FastTextProgress* done;
    } job{this, epoch, first, done.data()};
    parallel_tasks(
        last - first, workers,
        [](void* context, size_t i) {
            const Job& j = *static_cast<const Job*>(context);
            j.done[i] = j.self->train_block(j.epoch, j.first + i);
        },
        &job);
    FastTextProgress sum;
    for (const FastTextProgress& one : done) {
        sum.loss += one.loss;
        sum.examples += one.examples;
    }
    return sum;
}

FastTextProgress FastTextTrainer::train_block(int epoch, size_t block) const {
    FastTextProgress progress;
    Worker worker;
    worker.hidden.resize(job_.dim);
    worker.gradient.resize(job_.dim);
    worker.scores.resize(job_.dictionary->labels());
    std::seed_seq seed{static_cast<uint32_t>(job_.seed), static_cast<uint32_t>(job_.seed >> 32),
                       static_cast<uint32_t>(epoch), static_cast<uint32_t>(block)};
    worker.random.seed(seed);
    const char *p = job_.text + start(block), *const end = job_.text + start(block + 1);
    while (p < end) {
        const double place = static_cast<double>(p - job_.text) / static_cast<double>(job_.size);
        const double rate = job_.rate * (1 - (epoch + place) / job_.epochs);
        p = job_.dictionary->read_line(p, end, worker.line);
        if (worker.line.rows.empty() || worker.line.labels.empty()) continue;
        progress.loss += update(worker, static_cast<float>(rate));
        progress.examples++;
    }
    return progress;
}

// output[row] += alpha hidden, gradient += alpha output[row] as it was.
void FastTextTrainer::move(Worker& worker, size_t row, float alpha) const {
    float* const out = job_.output + row * job_.dim;
    float* const gradient = worker.gradient.data();
    const float* const hidden = worker.hidden.data();
    for (size_t d = 0; d < job_.dim; d++) {
        const float old = out[d];
        gradient[d] += alpha * old;
        out[d] = old + alpha * hidden[d];
    }
}

double FastTextTrainer::step(Worker& worker, size_t row, bool positive, float rate) const {
    float score;
    job_.kernels->f32.dot(job_.output + row * job_.dim, 0, worker.hidden.data(), 0, &score, 1,
                          job_.dim);
    const float probability = 1 / (1 + std::exp(-score));
    move(worker, row, rate * ((positive ? 1.0f : 0.0f) - probability));
    return -std::log(1e-5 + (positive ? probability : 1 - probability));
}

// One example: the mean of its rows learns the labels (fastText's Model::update).
double FastTextTrainer::update(Worker& worker, float rate) const {
    const std::vector<int32_t>& rows = worker.line.rows;
    const std::vector<int32_t>& targets = worker.line.labels;
    const size_t labels = job_.dictionary->labels(), dim = job_.dim;
    FastTextMatrix input{};
    input.values = job_.input;
    input.dim = dim;
    input.mean(rows.data(), rows.size(), worker.hidden.data());
    std::fill(worker.gradient.begin(), worker.gradient.end(), 0.0f);
    double loss = 0;
    const auto chosen = [&] {
        std::uniform_int_distribution<size_t> one(0, targets.size() - 1);
        return static_cast<size_t>(targets[one(worker.random)]);
    };
    if (job_.loss == FastTextLoss::softmax || job_.loss == FastTextLoss::ova) {
        float* const scores = worker.scores.data();
        job_.kernels->f32.dot(job_.output, static_cast<ptrdiff_t>(dim), worker.hidden.data(), 0,
                              scores, labels, dim);
        if (job_.loss == FastTextLoss::softmax) {
            const size_t target = chosen();
            const auto row = static_cast<ptrdiff_t>(labels);
            job_.kernels->f32.softmax(scores, row, 1, scores, row, 1, labels);
            loss = -std::log(1e-5 + static_cast<double>(scores[target]));
            for (size_t i = 0; i < labels; i++)
                move(worker, i, rate * ((i == target ? 1.0f : 0.0f) - scores[i]));
        } else {
            for (size_t i = 0; i < labels; i++) {
                const bool is_target = std::find(targets.begin(), targets.end(),
                                                 static_cast<int32_t>(i)) != targets.end();
                const float probability = 1 / (1 + std::exp(-scores[i]));
                move(worker, i, rate * ((is_target ? 1.0f : 0.0f) - probability));
                loss -= std::log(1e-5 + (is_target ? probability : 1 - probability));
            }
        }
    } else if (job_.loss == FastTextLoss::ns) {
        const size_t target = chosen();
        loss = step(worker, target, true, rate);
        std::uniform_real_distribution<double> draw(0, noise_.back());
        for (int n = 0; n < job_.negative && labels > 1;) {
            const auto found = std::upper_bound(noise_.begin(), noise_.end(), draw(worker.random));
            const size_t other = std::min(static_cast<size_t>(found - noise_.begin()), labels - 1);
            if (other == target) continue;
            loss += step(worker, other, false, rate);
            n++;
        }
    } else {
        const size_t target = chosen();
        for (int64_t i = path_offsets_[target]; i < path_offsets_[target + 1]; i++) {
            const auto [row, right] = paths_[static_cast<size_t>(i)];
            loss += step(worker, static_cast<size_t>(row), right, rate);
        }
    }
    const float share = static_cast<float>(1.0 / static_cast<double>(rows.size()));
    for (float& one : worker.gradient) one *= share;
    for (const int32_t row : rows) {
        float* const own = job_.input + static_cast<size_t>(row) * dim;
        for (size_t d = 0; d < dim; d++) own[d] += worker.gradient[d];
    }
    return loss;
}

}  // namespace firth::fasttext
