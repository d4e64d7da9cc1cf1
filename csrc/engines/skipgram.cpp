// Per block: drop frequent words, draw window sizes, then walk the centres with windows prepared
// kAhead steps before they are used. Preparing names the rows and prefetches them: rows of a large
// vocabulary come from DRAM, and without it the kernel waits for them most of the time.
#include "engines/skipgram.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>
#include <vector>

#include "parallel.h"

namespace firth {
namespace {

constexpr size_t kAhead = 2;        // windows prepared before use
constexpr size_t kLossPeriod = 64;  // the loss is told from every 64th window: log1p is slow

// SplitMix64 (Steele, Lea, Flood 2014): any seed is good, so a block's stream starts from its
// place.
struct Random {
    uint64_t state;
    uint64_t next() {
        uint64_t z = state += 0x9e3779b97f4a7c15ull;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ z >> 27) * 0x94d049bb133111ebull;
        return z ^ z >> 31;
    }
    uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }
};

int32_t draw(const SkipGram& job, Random& random) {
    const uint64_t bits = random.next();
    const size_t i = (bits >> 32) * job.vocabulary >> 32;
    const AliasEntry& entry = job.unigram[i];
    return static_cast<uint32_t>(bits) < entry.threshold ? static_cast<int32_t>(i) : entry.alias;
}

void prefetch_row(const float* row, size_t stride) {
    for (size_t d = 0; d < stride; d += 16) __builtin_prefetch(row + d, 1, 3);
}

// -log sigmoid(x), stable for any x.
double softplus(double x) { return std::max(-x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

// A list of distinct rows; how often each was put in stands beside it.
struct Distinct {
    std::vector<float*> rows;
    std::vector<float> times;
    size_t size = 0;
    bool repeated = false;

    void reserve(size_t n) {
        rows.resize(n);
        times.resize(n);
    }
    void clear() {
        size = 0;
        repeated = false;
    }
    void add(float* row) {
        for (size_t i = 0; i < size; i++)
            if (rows[i] == row) {
                times[i]++;
                repeated = true;
                return;
            }
        rows[size] = row;
        times[size++] = 1;
    }
};

// Scratch memory of one worker, kept between blocks.
struct Worker {
    struct Window {
        Distinct in, out;             // shared mode
        std::vector<float*> outputs;  // independent mode: 1 + negative rows a context, centre first
        std::vector<size_t> counts;   // independent mode: how many of those each context has
    };
    std::vector<int32_t> kept;
    std::vector<uint32_t> low,
        high;  // each kept token's window is kept[low .. high] without itself
    Window windows[kAhead + 1];
    std::vector<float> scores, times;
    float* work = nullptr;
    size_t work_floats = 0;

    ~Worker() { std::free(work); }

    void reserve(size_t m, size_t n, size_t dim) {
        for (Window& w : windows) {
            w.in.reserve(m);
            w.out.reserve(n);
            w.outputs.resize(m * n);
            w.counts.resize(m);
        }
        scores.resize(m * n + 16);
        times.resize(m * n);
        const size_t floats = sgns_work_floats(m, n, dim);
        if (floats > work_floats) {
            std::free(work);
            work_floats = 0;
            work = static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64));
            if (!work) throw std::bad_alloc();
            work_floats = floats;
        }
    }
};

// Not inlined, or the address of the thread's own memory would be asked for at every use.
__attribute__((noinline)) Worker& this_worker() {
    thread_local Worker worker;
    return worker;
}

// Runs one window of distinct rows through the kernel; the loss of its pairs where it is wanted.
double run_shared(const Distinct& in, const Distinct& out, size_t dim, float rate, Worker& worker,
                  const Kernels& kernels, bool want_loss) {
    const size_t m = in.size, n = out.size;
    const float* times = nullptr;
    if (in.repeated || out.repeated) {
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++) worker.times[i * n + j] = in.times[i] * out.times[j];
        times = worker.times.data();
    }
    float* scores = worker.scores.data();
    kernels.sgns_window_f32(in.rows.data(), m, out.rows.data(), n, dim, times, rate, scores,
                            worker.work);
    double loss = 0;
    if (want_loss)
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++)
                loss += softplus(j ? -scores[i * n + j] : scores[i * n + j]) * in.times[i] *
                        out.times[j];
    return loss;
}

double run_pair(float* in, float* const* out, size_t n, size_t dim, float rate, Worker& worker,
                const Kernels& kernels, bool want_loss) {
    float* scores = worker.scores.data();
    kernels.sgns_pair_f32(in, out, n, dim, rate, scores, worker.work);
    double loss = 0;
    if (want_loss)
        for (size_t j = 0; j < n; j++) loss += softplus(j ? -scores[j] : scores[j]);
    return loss;
}

class BlockTrainer {
  public:
    BlockTrainer(const SkipGram& job, const Kernels& kernels, int epoch, size_t block)
        : job_(job), kernels_(kernels) {
        begin_ = block_start(job.ids, job.tokens, block);
        end_ = block_start(job.ids, job.tokens, block + 1);
        random_.state = job.seed;
        random_.state = random_.next() + static_cast<uint64_t>(epoch);
        random_.state = random_.next() + block;
        random_.state = random_.next();
        const double done =
            (epoch * static_cast<double>(job.tokens) + static_cast<double>(begin_)) /
            (job.epochs * static_cast<double>(job.tokens));
        rate_ = static_cast<float>(job.alpha - (job.alpha - job.min_alpha) * done);
    }

    SkipGramProgress run(Worker& worker) {
        worker.reserve(2 * static_cast<size_t>(job_.window), 1 + static_cast<size_t>(job_.negative),
                       job_.stride);
        choose_tokens(worker);
        const size_t n = worker.kept.size();
        const size_t window = static_cast<size_t>(job_.window);
        for (size_t i = 0; i < std::min(n, kAhead + window); i++)
            prefetch_row(input(worker.kept[i]), job_.stride);
        for (size_t i = 0; i < std::min(n, kAhead); i++) prepare(worker, i);
        SkipGramProgress progress;
        progress.effective = n;
        for (size_t i = 0; i < n; i++) {
            if (i + kAhead + window < n)
                prefetch_row(input(worker.kept[i + kAhead + window]), job_.stride);
            if (i + kAhead < n) prepare(worker, i + kAhead);
            run_window(worker, i, progress);
        }
        return progress;
    }

  private:
    float* input(int32_t id) const { return job_.w_in + static_cast<size_t>(id) * job_.stride; }
    float* output(int32_t id) const { return job_.w_out + static_cast<size_t>(id) * job_.stride; }

    // Sub-sampling first, windows afterwards, as word2vec.c and gensim do: a dropped word brings
    // its neighbours nearer to each other.
    void choose_tokens(Worker& worker) {
        worker.kept.clear();
        worker.low.clear();
        worker.high.clear();
        const uint32_t window = static_cast<uint32_t>(job_.window);
        size_t sentence = 0;
        for (size_t t = begin_; t < end_; t++) {
            const bool last = job_.ids[t] < 0 || t + 1 == end_;
            const int32_t id = job_.ids[t] < 0 ? ~job_.ids[t] : job_.ids[t];
            if (static_cast<uint32_t>(random_.next() >> 32) <= job_.keep[id])
                worker.kept.push_back(id);
            if (!last) continue;
            const size_t stop = worker.kept.size();
            for (size_t i = sentence; i < stop; i++) {
                const uint32_t reach = job_.shrink_windows ? 1 + random_.below(window) : window;
                worker.low.push_back(
                    static_cast<uint32_t>(i - sentence < reach ? sentence : i - reach));
                worker.high.push_back(static_cast<uint32_t>(std::min(stop - 1, i + reach)));
            }
            sentence = stop;
        }
    }

    void prepare(Worker& worker, size_t i) {
        Worker::Window& window = worker.windows[i % (kAhead + 1)];
        const int32_t center = worker.kept[i];
        const size_t low = worker.low[i], high = worker.high[i];
        float* const positive = output(center);
        prefetch_row(positive, job_.stride);
        if (job_.shared) {
            window.in.clear();
            window.out.clear();
            if (low == high) return;  // no context: nothing is drawn
            for (size_t j = low; j <= high; j++)
                if (j != i) window.in.add(input(worker.kept[j]));
            window.out.add(positive);
            for (int k = 0; k < job_.negative; k++) {
                const int32_t id = draw(job_, random_);
                if (id == center) continue;
                prefetch_row(output(id), job_.stride);
                window.out.add(output(id));
            }
            return;
        }
        float** next = window.outputs.data();
        for (size_t j = low, pair = 0; j <= high; j++) {
            if (j == i) continue;
            float** const first = next;
            *next++ = positive;
            for (int k = 0; k < job_.negative; k++) {
                const int32_t id = draw(job_, random_);
                if (id == center) continue;
                prefetch_row(output(id), job_.stride);
                *next++ = output(id);
            }
            window.counts[pair++] = static_cast<size_t>(next - first);
        }
    }

    void run_window(Worker& worker, size_t i, SkipGramProgress& progress) {
        const Worker::Window& window = worker.windows[i % (kAhead + 1)];
        const size_t low = worker.low[i], high = worker.high[i];
        if (low == high) return;
        const bool want_loss = i % kLossPeriod == 0;
        if (want_loss) progress.pairs += high - low;
        if (job_.shared) {
            progress.loss +=
                run_shared(window.in, window.out, job_.stride, rate_, worker, kernels_, want_loss);
            return;
        }
        float* const* next = window.outputs.data();
        for (size_t j = low, pair = 0; j <= high; j++) {
            if (j == i) continue;
            const size_t n = window.counts[pair++];
            progress.loss += run_pair(input(worker.kept[j]), next, n, job_.stride, rate_, worker,
                                      kernels_, want_loss);
            next += n;
        }
    }

    const SkipGram& job_;
    const Kernels& kernels_;
    Random random_{};
    size_t begin_, end_;
    float rate_;
};

}  // namespace

size_t block_count(size_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

size_t block_start(const int32_t* ids, size_t tokens, size_t block) {
    const size_t nominal = block * kBlockTokens;
    if (block == 0) return 0;
    if (nominal >= tokens) return tokens;
    const size_t limit = std::min(tokens, nominal + kBlockTokens);
    for (size_t t = nominal; t < limit; t++)
        if (ids[t - 1] < 0) return t;
    return limit == tokens ? tokens : nominal;
}

size_t sgns_work_floats(size_t m, size_t n, size_t dim) { return (m * n + 16) * 17 + m * dim; }

SkipGramProgress train_blocks(const SkipGram& job, const Kernels& kernels, int epoch, size_t first,
                              size_t last, int workers, const SkipGramProgress& before) {
    std::vector<SkipGramProgress> results(last - first);
    struct Context {
        const SkipGram& job;
        const Kernels& kernels;
        int epoch;
        size_t first;
        SkipGramProgress* results;
    } context{job, kernels, epoch, first, results.data()};
    parallel_tasks(
        last - first, workers,
        [](void* pointer, size_t i) {
            const Context& c = *static_cast<const Context*>(pointer);
            BlockTrainer trainer(c.job, c.kernels, c.epoch, c.first + i);
            c.results[i] = trainer.run(this_worker());
        },
        &context);
    SkipGramProgress total = before;
    for (const SkipGramProgress& result : results) {
        total.loss += result.loss;
        total.pairs += result.pairs;
        total.effective += result.effective;
    }
    return total;
}

double sgns_batch(float* w_in, size_t in_stride, float* w_out, size_t out_stride, size_t dim,
                  const int64_t* centers, const int64_t* contexts, const int64_t* negatives,
                  size_t rows, size_t width, size_t negative, bool shared, float rate,
                  const Kernels& kernels) {
    Worker worker;
    worker.reserve(width, 1 + negative, dim);
    Worker::Window& window = worker.windows[0];
    double loss = 0;
    for (size_t r = 0; r < rows; r++) {
        float* const positive = w_out + static_cast<size_t>(centers[r]) * out_stride;
        window.out.clear();
        window.in.clear();
        window.outputs[0] = positive;
        window.out.add(positive);
        size_t n = 1;
        for (size_t k = 0; k < negative; k++) {
            const int64_t id = negatives[r * negative + k];
            if (id == centers[r]) continue;
            float* const row = w_out + static_cast<size_t>(id) * out_stride;
            if (shared)
                window.out.add(row);
            else
                window.outputs[n++] = row;
        }
        for (size_t c = 0; c < width; c++) {
            const int64_t id = contexts[r * width + c];
            if (id < 0) continue;
            float* const row = w_in + static_cast<size_t>(id) * in_stride;
            if (shared)
                window.in.add(row);
            else
                loss += run_pair(row, window.outputs.data(), n, dim, rate, worker, kernels, true);
        }
        if (window.in.size)
            loss += run_shared(window.in, window.out, dim, rate, worker, kernels, true);
    }
    return loss;
}

void build_alias(const double* weights, size_t n, AliasEntry* table) {
    double total = 0;
    for (size_t i = 0; i < n; i++) total += weights[i];
    std::vector<double> scaled(n);
    std::vector<int32_t> small, large;
    for (size_t i = 0; i < n; i++) {
        scaled[i] = weights[i] / total * static_cast<double>(n);
        (scaled[i] < 1 ? small : large).push_back(static_cast<int32_t>(i));
    }
    for (size_t i = 0; i < n; i++) table[i] = {0xffffffffu, static_cast<int32_t>(i)};
    while (!small.empty() && !large.empty()) {
        const int32_t s = small.back(), l = large.back();
        small.pop_back();
        table[s] = {static_cast<uint32_t>(scaled[s] * 4294967295.0), l};
        scaled[l] -= 1 - scaled[s];
        if (scaled[l] < 1) {
            large.pop_back();
            small.push_back(l);
        }
    }
}

}  // namespace firth
