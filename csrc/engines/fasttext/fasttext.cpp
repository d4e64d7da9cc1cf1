#include "engines/fasttext/fasttext.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace firth::fasttext {
namespace {

bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0';  // \t \n \v \f \r
}

constexpr char kEndOfLine[] = "</s>";

uint32_t hash_word(const char* word, size_t size) {
    uint32_t hash = words::kSubwordHashStart;
    for (size_t i = 0; i < size; i++) hash = words::subword_hash_step(hash, word[i]);
    return hash;
}

float log_of(double x) { return static_cast<float>(std::log(x + 1e-5)); }

// Of heaps whose front is the least likely.
bool likelier(const FastTextPrediction& a, const FastTextPrediction& b) {
    return a.score > b.score;
}

void push_best(std::vector<FastTextPrediction>& best, size_t k, FastTextPrediction found) {
    best.push_back(found);
    std::push_heap(best.begin(), best.end(), likelier);
    if (best.size() > k) {
        std::pop_heap(best.begin(), best.end(), likelier);
        best.pop_back();
    }
}

}  // namespace

FastTextTable::FastTextTable(size_t entries) {
    size_t size = 16;
    while (size < 2 * entries) size *= 2;
    slots_.assign(size, {0, -1});
    mask_ = size - 1;
}

void FastTextTable::grow() {
    FastTextTable larger(slots_.size());
    for (const auto& slot : slots_)
        if (slot.second >= 0)
            larger.set(larger.find(slot.first, [](int32_t) { return false; }), slot.first,
                       slot.second);
    *this = std::move(larger);
}

bool next_fasttext_word(const char*& p, const char* end, const char** word) {
    while (p < end && is_space(*p) && *p != '\n') p++;
    if (p == end) return false;
    *word = p++;
    if (**word == '\n') return true;
    while (p < end && !is_space(*p)) p++;
    return true;
}

FastTextDictionary::FastTextDictionary(const words::WordList& entries, size_t labels,
                                       const FastTextRules& rules, const int32_t* pruned,
                                       size_t pruned_count, bool keep)
    : entries_(entries),
      labels_(labels),
      rules_(rules),
      table_(entries.count),
      pruned_(pruned != nullptr),
      left_rows_(pruned ? pruned_count : 0) {
    for (size_t i = 0; i < entries_.count; i++) {
        const int64_t begin = i ? entries_.ends[i - 1] : 0;
        const char* const word = entries_.text + begin;
        const size_t size = static_cast<size_t>(entries_.ends[i] - begin);
        const uint32_t hash = hash_word(word, size);
        const size_t slot = table_.find(hash, [&](int32_t other) {
            const int64_t from = other ? entries_.ends[other - 1] : 0;
            return static_cast<size_t>(entries_.ends[other] - from) == size &&
                   std::memcmp(entries_.text + from, word, size) == 0;
        });
        table_.set(slot, hash, static_cast<int32_t>(i));  // a repeated word: the last one
    }
    if (pruned) {
        left_.assign(rules_.subwords.bucket / 64 + 1, 0);
        for (size_t i = 0; i < pruned_count; i++) {
            const auto bucket = static_cast<uint32_t>(pruned[2 * i]);
            if (bucket >= rules_.subwords.bucket) continue;  // nothing hashes to it
            left_[bucket / 64] |= uint64_t{1} << (bucket % 64);
            left_rows_.set(left_rows_.find(bucket, [](int32_t) { return true; }), bucket,
                           pruned[2 * i + 1]);
        }
    }
    if (!keep || rules_.subwords.max_n <= 0) return;
    const words::WordList own{entries_.text, entries_.ends, words()};
    std::vector<int64_t> offsets(words() + 1);
    subword_offsets(own, rules_.subwords, offsets.data());
    std::vector<int32_t> buckets(static_cast<size_t>(offsets.back()));
    subword_ids(own, rules_.subwords, offsets.data(), buckets.data());
    offsets_.push_back(0);
    for (size_t i = 0; i < words(); i++) {
        rows_.push_back(static_cast<int32_t>(i));
        for (int64_t j = offsets[i]; j < offsets[i + 1]; j++)
            add_bucket(static_cast<uint32_t>(buckets[static_cast<size_t>(j)]), rows_);
        offsets_.push_back(static_cast<int64_t>(rows_.size()));
    }
}

int32_t FastTextDictionary::find(const char* word, size_t size, uint32_t hash) const {
    return table_.entry(table_.find(hash, [&](int32_t entry) {
        const int64_t from = entry ? entries_.ends[entry - 1] : 0;
        return static_cast<size_t>(entries_.ends[entry] - from) == size &&
               std::memcmp(entries_.text + from, word, size) == 0;
    }));
}

int32_t FastTextDictionary::find(const char* word, size_t size) const {
    return find(word, size, hash_word(word, size));
}

void FastTextDictionary::add_bucket(uint32_t bucket, std::vector<int32_t>& rows) const {
    int32_t row = static_cast<int32_t>(bucket);
    if (pruned_) {
        if (!(left_[bucket / 64] >> (bucket % 64) & 1)) return;
        row = left_rows_.entry(left_rows_.find(bucket, [](int32_t) { return true; }));
    }
    rows.push_back(static_cast<int32_t>(words()) + row);
}

void FastTextDictionary::add_ngrams(const char* word, size_t size,
                                    std::vector<int32_t>& rows) const {
    words::for_each_subword(word, size, rules_.subwords,
                            [&](uint32_t bucket) { add_bucket(bucket, rows); });
}

void FastTextDictionary::add_rows(const char* word, size_t size, std::vector<int32_t>& rows) const {
    const int32_t entry = find(word, size);
    if (entry >= 0 && static_cast<size_t>(entry) < words()) rows.push_back(entry);
    add_ngrams(word, size, rows);
}

void FastTextDictionary::add_token(const char* word, size_t size, FastTextLine& line) const {
    const uint32_t hash = hash_word(word, size);
    const int32_t entry = find(word, size, hash);
    line.tokens++;
    const auto known = static_cast<size_t>(entry);
    if (entry >= 0 ? known >= words()
                   : size >= rules_.label.size() &&
                         std::memcmp(word, rules_.label.data(), rules_.label.size()) == 0) {
        if (entry >= 0) line.labels.push_back(entry - static_cast<int32_t>(words()));
        return;
    }
    line.hashes.push_back(hash);
    if (entry < 0) {
        add_ngrams(word, size, line.rows);
    } else if (!offsets_.empty()) {
        line.rows.insert(line.rows.end(), rows_.begin() + offsets_[known],
                         rows_.begin() + offsets_[known + 1]);
    } else {
        line.rows.push_back(entry);
        if (rules_.subwords.max_n > 0) add_ngrams(word, size, line.rows);
    }
}

const char* FastTextDictionary::read_line(const char* p, const char* end,
                                          FastTextLine& line) const {
    line.rows.clear();
    line.labels.clear();
    line.hashes.clear();
    line.tokens = 0;
    const char* word;
    while (next_fasttext_word(p, end, &word)) {
        if (*word == '\n') {
            add_token(kEndOfLine, 4, line);
            break;
        }
        const auto size = static_cast<size_t>(p - word);
        add_token(word, size, line);
        if (size == 4 && std::memcmp(word, kEndOfLine, 4) == 0) break;
    }
    if (rules_.word_ngrams > 1 && rules_.subwords.bucket > 0) {
        const auto wide = [](uint32_t hash) {  // fastText keeps hashes as int32
            return static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(hash)));
        };
        const size_t count = line.hashes.size(), n = static_cast<size_t>(rules_.word_ngrams);
        for (size_t i = 0; i < count; i++) {
            uint64_t hash = wide(line.hashes[i]);
            for (size_t j = i + 1; j < count && j < i + n; j++) {
                hash = hash * 116049371 + wide(line.hashes[j]);
                add_bucket(static_cast<uint32_t>(hash % rules_.subwords.bucket), line.rows);
            }
        }
    }
    return p;
}

void FastTextMatrix::add_row(size_t row, float* sum) const {
    if (values) {
        const words::unaligned_float* const own = values + row * dim;
        for (size_t d = 0; d < dim; d++) sum[d] += own[d];
        return;
    }
    const uint8_t* const code = codes + row * parts;
    const float factor = norm_codes ? norm_centroids[norm_codes[row]] : 1.0f;
    const float* table = centroids;
    if (dsub == 2 && dim % 2 == 0) {  // the usual case, unrolled
        for (size_t part = 0; part < parts; part++, table += 512) {
            const float* const c = table + 2 * code[part];
            sum[2 * part] += factor * c[0];
            sum[2 * part + 1] += factor * c[1];
        }
        return;
    }
    for (size_t part = 0, first = 0; part < parts; part++, first += dsub) {
        const size_t width = std::min(dsub, dim - first);
        const float* const c = table + width * code[part];
        for (size_t d = 0; d < width; d++) sum[first + d] += factor * c[d];
        table += 256 * width;
    }
}

void FastTextMatrix::mean(const int32_t* which, size_t count, float* mean) const {
    std::fill(mean, mean + dim, 0.0f);
    for (size_t i = 0; i < count; i++) add_row(static_cast<size_t>(which[i]), mean);
    if (count == 0) return;
    const float inverse = static_cast<float>(1.0 / static_cast<double>(count));
    for (size_t d = 0; d < dim; d++) mean[d] *= inverse;
}

void FastTextMatrix::unit_mean(const int32_t* which, size_t count, float* out) const {
    mean(which, count, out);
    double square = 0;
    for (size_t d = 0; d < dim; d++) square += static_cast<double>(out[d]) * out[d];
    if (square <= 0) return;
    const double inverse = 1 / std::sqrt(square);  // of tiny vectors beyond float32
    for (size_t d = 0; d < dim; d++) out[d] = static_cast<float>(out[d] * inverse);
}

FastTextTree::FastTextTree(const int64_t* counts, size_t labels) {
    if (labels == 0) return;
    constexpr int64_t kMost = int64_t{1} << 61;  // sums of damaged counts stay in range
    const size_t nodes = 2 * labels - 1;
    std::vector<int64_t> count(nodes);
    for (size_t i = 0; i < labels; i++) count[i] = std::clamp<int64_t>(counts[i], 0, kMost);
    size_t leaves = labels, node = labels;  // leaves are taken from the last
    for (size_t i = labels; i < nodes; i++) {
        int32_t pair[2];
        for (int32_t& one : pair) {
            const bool leaf = leaves > 0 && (node == i || count[leaves - 1] < count[node]);
            one = static_cast<int32_t>(leaf ? --leaves : node++);
        }
        left.push_back(pair[0]);
        right.push_back(pair[1]);
        count[i] = std::min(
            kMost, count[static_cast<size_t>(pair[0])] + count[static_cast<size_t>(pair[1])]);
    }
}

float fasttext_sigmoid(float x) {
    static const auto table = [] {
        std::array<float, 513> made{};
        for (int i = 0; i <= 512; i++) {
            const float at = static_cast<float>(i * 16) / 512 - 8;
            made[static_cast<size_t>(i)] = static_cast<float>(1.0 / (1.0 + std::exp(-at)));
        }
        return made;
    }();
    if (x < -8) return 0;
    if (x > 8) return 1;
    if (!(x == x)) return x;
    return table[static_cast<size_t>((x + 8) * 512 / 8 / 2)];
}

FastTextClassifier::FastTextClassifier(const FastTextMatrix& input, const float* output,
                                       const int64_t* counts, size_t labels, FastTextLoss loss,
                                       const Kernels& kernels)
    : input_(input),
      output_(output),
      labels_(labels),
      loss_(loss),
      tree_(counts, loss == FastTextLoss::hs ? labels : 0),
      kernels_(kernels) {}

void FastTextClassifier::predict(const std::vector<int32_t>& rows, size_t k, float threshold,
                                 Scratch& scratch) const {
    scratch.best.clear();
    if (rows.empty() || labels_ == 0 || k == 0) return;
    scratch.hidden.resize(input_.dim);
    input_.mean(rows.data(), rows.size(), scratch.hidden.data());
    if (loss_ == FastTextLoss::hs) {
        search_tree(k, threshold, scratch);
    } else {
        score_all(scratch);
        for (size_t i = 0; i < labels_; i++) {
            const float probability = scratch.output[i];
            if (probability < threshold) continue;
            if (scratch.best.size() == k) {
                // The logarithm rises with the probability: computed only for possible results.
                const float score = log_of(probability);
                if (score < scratch.best.front().score) continue;
                push_best(scratch.best, k, {score, static_cast<int32_t>(i)});
            } else {
                push_best(scratch.best, k, {log_of(probability), static_cast<int32_t>(i)});
            }
        }
    }
    std::sort_heap(scratch.best.begin(), scratch.best.end(), likelier);
}

void FastTextClassifier::score_all(Scratch& scratch) const {
    scratch.output.resize(labels_);
    float* const out = scratch.output.data();
    kernels_.f32.dot(output_, static_cast<ptrdiff_t>(input_.dim), scratch.hidden.data(), 0, out,
                     labels_, input_.dim);
    if (loss_ == FastTextLoss::softmax) {
        kernels_.f32.softmax(out, static_cast<ptrdiff_t>(labels_), 1, out,
                             static_cast<ptrdiff_t>(labels_), 1, labels_);
    } else {
        for (size_t i = 0; i < labels_; i++) out[i] = fasttext_sigmoid(out[i]);
    }
}

// Depth first, the likelier child first: its results prune the other one.
void FastTextClassifier::search_tree(size_t k, float threshold, Scratch& scratch) const {
    const float least = log_of(threshold);
    auto& nodes = scratch.nodes;
    auto& best = scratch.best;
    nodes.clear();
    nodes.emplace_back(static_cast<int32_t>(2 * labels_ - 2), 0.0f);
    while (!nodes.empty()) {
        const auto [node, score] = nodes.back();
        nodes.pop_back();
        if (score < least || (best.size() == k && score < best.front().score)) continue;
        if (static_cast<size_t>(node) < labels_) {
            push_best(best, k, {score, node});
            continue;
        }
        const size_t inner = static_cast<size_t>(node) - labels_;
        float f;
        kernels_.f32.dot(output_ + inner * input_.dim, 0, scratch.hidden.data(), 0, &f, 1,
                         input_.dim);
        f = static_cast<float>(1. / (1 + std::exp(-f)));
        const std::pair<int32_t, float> left{tree_.left[inner],
                                             score + log_of(static_cast<float>(1.0 - f))};
        const std::pair<int32_t, float> right{tree_.right[inner], score + log_of(f)};
        if (f > 0.5f) {
            nodes.push_back(left);
            nodes.push_back(right);
        } else {
            nodes.push_back(right);
            nodes.push_back(left);
        }
    }
}

}  // namespace firth::fasttext
