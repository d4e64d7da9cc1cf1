#include "engines/words/word_updates.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>

namespace firth::words {
namespace {

// -log sigmoid(x), stable for any x.
double softplus(double x) { return std::max(-x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

// The loss of m x n scores; labels as in update_shared; times: null where all is once.
double loss_of(const float* scores, size_t m, size_t n, const float* labels, const float* times) {
    double loss = 0;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            const bool follows = labels ? labels[j] != 0 : j == 0;
            const double score = scores[i * n + j];
            loss += softplus(follows ? score : -score) * (times ? times[i * n + j] : 1.0f);
        }
    return loss;
}

// The rows of a window's contexts, as often as they occur.
void gather(WordMatrix w_in, const int64_t* contexts, size_t width, std::vector<float*>& rows) {
    rows.clear();
    for (size_t c = 0; c < width; c++)
        if (contexts[c] >= 0) rows.push_back(w_in.row(contexts[c]));
}

}  // namespace

size_t word_work_floats(size_t m, size_t n, size_t dim) { return (m * n + 16) * 17 + m * dim; }

void DistinctRows::reserve(size_t n) {
    rows.resize(n);
    times.resize(n);
}

void DistinctRows::clear() {
    size = 0;
    repeated = false;
}

void DistinctRows::add(float* row) {
    for (size_t i = 0; i < size; i++)
        if (rows[i] == row) {
            times[i]++;
            repeated = true;
            return;
        }
    rows[size] = row;
    times[size++] = 1;
}

UpdateScratch::~UpdateScratch() { std::free(work); }

void UpdateScratch::reserve(size_t m, size_t n, size_t dim, size_t extra) {
    scores.resize(m * (n + 1) + 16);
    times.resize(m * n);
    const size_t floats = extra + word_work_floats(m, n + 1, dim);
    if (floats <= work_floats) return;
    std::free(work);
    work_floats = 0;
    work = static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64));
    if (!work) throw std::bad_alloc();
    work_floats = floats;
}

double update_shared(const DistinctRows& in, float* const* out, size_t n, const float* out_times,
                     const float* labels, size_t dim, float rate, UpdateScratch& scratch,
                     float* change, const Kernels& kernels, bool want_loss) {
    const size_t m = in.size;
    const float* times = nullptr;
    if (in.repeated || out_times) {
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++)
                scratch.times[i * n + j] = in.times[i] * (out_times ? out_times[j] : 1.0f);
        times = scratch.times.data();
    }
    float* scores = scratch.scores.data();
    kernels.word_window_f32(in.rows.data(), m, out, n, dim, labels, times, rate, scores, change,
                            scratch.work);
    return want_loss ? loss_of(scores, m, n, labels, times) : 0.0;
}

double update_pair(float* in, float* const* out, size_t n, const float* labels, size_t dim,
                   float rate, UpdateScratch& scratch, float* change, const Kernels& kernels,
                   bool want_loss) {
    float* scores = scratch.scores.data();
    kernels.word_pair_f32(in, out, n, dim, labels, rate, scratch.steps, scores, change,
                          scratch.work);
    return want_loss ? loss_of(scores, 1, n, labels, nullptr) : 0.0;
}

double update_group(float* const* in, size_t m, float* const* positives,
                    const DistinctRows& negatives, float weight, size_t dim, float rate,
                    UpdateScratch& scratch, float* change, const Kernels& kernels, bool want_loss) {
    const size_t n = negatives.size;
    float *times = scratch.times.data(), *scores = scratch.scores.data();
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < n; k++)
            times[i * n + k] =
                negatives.rows[k] == positives[i] ? 0.0f : negatives.times[k] * weight;
    kernels.cbow_window_f32(in, m, positives, negatives.rows.data(), n, dim, times, rate, scores,
                            change, scratch.work);
    if (!want_loss) return 0;
    double loss = 0;
    for (size_t i = 0; i < m; i++) loss += softplus(scores[m * n + i]);
    for (size_t p = 0; p < m * n; p++) loss += softplus(-scores[p]) * times[p];
    return loss;
}

namespace {

// The contexts (width,) of a window, those that are not missing (< 0), against its n outputs: all
// at once, where `out` are distinct rows and occur `out_times` (null: once), or one by one.
double update_contexts(WordMatrix w_in, const int64_t* contexts, size_t width, bool shared,
                       float* const* out, size_t n, const float* out_times, const float* labels,
                       size_t dim, float rate, DistinctRows& in, UpdateScratch& scratch,
                       const Kernels& kernels) {
    double loss = 0;
    in.clear();
    for (size_t c = 0; c < width; c++) {
        if (contexts[c] < 0) continue;
        float* const row = w_in.row(contexts[c]);
        if (shared)
            in.add(row);
        else
            loss += update_pair(row, out, n, labels, dim, rate, scratch, nullptr, kernels, true);
    }
    if (in.size == 0) return loss;
    return update_shared(in, out, n, out_times, labels, dim, rate, scratch, nullptr, kernels, true);
}

}  // namespace

double skipgram_batch(WordMatrix w_in, WordMatrix w_out, size_t dim, const int64_t* centers,
                      const int64_t* contexts, const int64_t* negatives, size_t rows, size_t width,
                      size_t negative, bool shared, float rate, const Kernels& kernels) {
    UpdateScratch scratch;
    scratch.reserve(width, 1 + negative, dim, 0);
    DistinctRows in, out;
    in.reserve(width);
    out.reserve(1 + negative);
    std::vector<float*> outputs;
    double loss = 0;
    for (size_t r = 0; r < rows; r++) {
        outputs.assign(1, w_out.row(centers[r]));
        for (size_t k = 0; k < negative; k++) {
            const int64_t id = negatives[r * negative + k];
            if (id != centers[r]) outputs.push_back(w_out.row(id));
        }
        out.clear();
        if (shared)
            for (float* row : outputs) out.add(row);
        loss += update_contexts(
            w_in, contexts + r * width, width, shared, shared ? out.rows.data() : outputs.data(),
            shared ? out.size : outputs.size(), shared && out.repeated ? out.times.data() : nullptr,
            nullptr, dim, rate, in, scratch, kernels);
    }
    return loss;
}

double cbow_batch(WordMatrix w_in, WordMatrix w_out, size_t dim, const int64_t* centers,
                  const int64_t* contexts, const int64_t* negatives, size_t rows, size_t width,
                  size_t negative, bool shared, bool mean, float weight, float rate,
                  const Kernels& kernels) {
    const size_t group = shared ? rows : 1;  // windows that are updated together
    UpdateScratch scratch;
    scratch.reserve(group, 1 + negative, dim, 0);
    std::vector<float> hidden(group * dim), change(group * dim);
    std::vector<float*> contexts_of, inputs, positives, outputs;
    std::vector<size_t> windows;
    DistinctRows out;
    out.reserve(negative);
    for (size_t k = 0; shared && k < negative; k++) out.add(w_out.row(negatives[k]));
    // The rows of window r in contexts_of, their mean or sum in `to`; false where there are none.
    const auto combine = [&](size_t r, float* to) {
        gather(w_in, contexts + r * width, width, contexts_of);
        const size_t count = contexts_of.size();
        if (count)
            kernels.sum_rows_f32(contexts_of.data(), count, dim,
                                 mean ? 1.0f / static_cast<float>(count) : 1.0f, to);
        return count > 0;
    };
    // Every row in contexts_of takes the whole change; of a sum, the mean.
    const auto distribute = [&](const float* gain) {
        const size_t count = contexts_of.size();
        kernels.add_to_rows_f32(contexts_of.data(), count, dim, nullptr,
                                mean ? 1.0f : 1.0f / static_cast<float>(count), gain);
    };
    double loss = 0;
    for (size_t r = 0; r < rows; r++) {
        float* const now = hidden.data() + inputs.size() * dim;
        if (!combine(r, now)) continue;
        if (shared) {
            inputs.push_back(now);
            positives.push_back(w_out.row(centers[r]));
            windows.push_back(r);
            continue;
        }
        outputs.assign(1, w_out.row(centers[r]));
        for (size_t k = 0; k < negative; k++) {
            const int64_t id = negatives[r * negative + k];
            if (id != centers[r]) outputs.push_back(w_out.row(id));
        }
        loss += update_pair(now, outputs.data(), outputs.size(), nullptr, dim, rate, scratch,
                            change.data(), kernels, true);
        distribute(change.data());
    }
    if (inputs.empty()) return loss;
    loss = update_group(inputs.data(), inputs.size(), positives.data(), out, weight, dim, rate,
                        scratch, change.data(), kernels, true);
    for (size_t i = 0; i < windows.size(); i++) {
        gather(w_in, contexts + windows[i] * width, width, contexts_of);
        distribute(change.data() + i * dim);
    }
    return loss;
}

double tree_batch(WordMatrix w_in, WordMatrix w_tree, size_t dim, const int64_t* points,
                  const uint8_t* codes, const int64_t* contexts, size_t rows, size_t length,
                  size_t width, bool shared, float rate, const Kernels& kernels) {
    UpdateScratch scratch;
    scratch.reserve(width, length, dim, 0);
    DistinctRows in;
    in.reserve(width);
    std::vector<float*> path;
    std::vector<float> labels;
    double loss = 0;
    for (size_t r = 0; r < rows; r++) {
        path.clear();
        labels.clear();
        for (size_t j = r * length; j < (r + 1) * length; j++) {
            if (points[j] < 0) continue;
            path.push_back(w_tree.row(points[j]));
            labels.push_back(codes[j] ? 0.0f : 1.0f);
        }
        if (path.empty()) continue;
        loss += update_contexts(w_in, contexts + r * width, width, shared, path.data(), path.size(),
                                nullptr, labels.data(), dim, rate, in, scratch, kernels);
    }
    return loss;
}

}  // namespace firth::words
