// Per block: drop frequent words, draw window sizes, then walk the centres with windows prepared
// kAhead steps before they are used. Preparing names the rows and prefetches them: rows of a large
// vocabulary come from DRAM, and without it the kernel waits for them most of the time.
#include "engines/words/word_windows.h"

#include <algorithm>
#include <vector>

#include "engines/words/block_draws.h"
#include "engines/words/hot_rows.h"
#include "engines/words/subword_ring.h"
#include "engines/words/word_updates.h"
#include "parallel.h"
#include "sizes.h"

namespace firth::words {
namespace {

constexpr size_t kAhead = 2;        // groups prepared before use
constexpr size_t kLossPeriod = 64;  // the loss is taken from every 64th window: log1p is slow
constexpr size_t kCbowGroup = 8;    // neighbouring windows of CBOW that share negatives
// They share this many times the negatives of one window, each counting as much less: the expected
// step is the same, its noise smaller. 5 negatives for 8 windows cost 1.5 points of analogies.
constexpr int kCbowNegatives = 2;
// Contexts of a window that are updated together have a summed rate of at most this; a longer
// window is updated part by part. Otherwise its steps on common outputs add up to one that
// diverges.
constexpr float kPartRate = 0.4f;
constexpr size_t kPartLimit = 64;
// Windows of CBOW are grouped as far as their contexts' summed rate is at most this: where all are
// the same few words, a word takes the changes of all windows of a group at once. A single window
// whose contexts have a larger one is bounded by itself; see `bounded`.
constexpr float kGroupRate = 2.05f;
// Vectors with further rows are kept while their position is within reach, as far as the summed
// rate of the positions within reach is at most this. Beyond it, the many copies of a word would
// all learn the same thing and add it up: each is then made and given back around its update.
constexpr float kRingRate = 1.05f;

// Scratch memory of one worker, kept between blocks.
struct Worker : UpdateScratch {
    // Neighbouring centres that share negatives (one centre but for CBOW).
    struct Group {
        DistinctRows out;             // shared mode: the negatives, in skip-gram the centre first
        std::vector<float*> outputs;  // independent mode: 1 + negative rows a pair, centre first
        std::vector<size_t> counts;   // independent mode: how many of those each pair has
    };
    std::vector<int32_t> kept;
    // Each kept token's window is kept[low .. high] without itself.
    std::vector<uint32_t> low, high;
    Group groups[kAhead + 1];
    HotRows hot;
    SubwordRing ring;
    DistinctRows in;
    std::vector<float*> rows, path, positives;
    std::vector<float> labels, scales;
    std::vector<int64_t> repeats;

    // Room for m inputs together with n outputs, for windows of `pairs` pairs with n outputs each,
    // and for `extra` floats behind the kernels' memory.
    void reserve(size_t m, size_t n, size_t pairs, size_t longest, size_t dim, size_t extra) {
        in.reserve(m);
        for (Group& group : groups) {
            group.out.reserve(n);
            group.outputs.resize(pairs * n);
            group.counts.resize(pairs);
        }
        n = std::max(n, longest);
        path.resize(longest);
        labels.resize(longest);
        positives.resize(m);
        UpdateScratch::reserve(m, n, dim, extra);
    }
};

// Not inlined, or the address of the thread's own memory would be asked for at every use.
__attribute__((noinline)) Worker& this_worker() {
    thread_local Worker worker;
    return worker;
}

class BlockTrainer {
  public:
    BlockTrainer(const WordWindows& job, const Kernels& kernels, int epoch, size_t block,
                 Worker& worker, GensimRandom* gensim, int workers)
        : job_(job),
          kernels_(kernels),
          worker_(worker),
          draws_(job, epoch, block, gensim),
          dim_(job.stride) {
        worker.hot.begin(dim_, job.w_tree ? workers : 1);
        worker.steps = gensim != nullptr;
        begin_ = block_start(job, block);
        end_ = block_start(job, block + 1);
        double done = epoch;
        if (gensim)
            done = (done + job.progress[block]) / job.epochs;
        else
            done = (done * static_cast<double>(job.tokens) + static_cast<double>(begin_)) /
                   (job.epochs * static_cast<double>(job.tokens));
        rate_ = static_cast<float>(
            std::max(job.min_alpha, job.alpha - (job.alpha - job.min_alpha) * done));
    }

    WordProgress run() {
        draws_.choose(begin_, end_, worker_.kept, worker_.low, worker_.high);
        const size_t n = worker_.kept.size();
        WordProgress progress;
        progress.effective = n;
        reserve();
        const size_t groups = divide_up(n, group_);
        for (size_t p = 0; p < std::min(n, window_ + group_); p++) fetch(p);
        for (size_t g = 0; g < std::min(groups, kAhead); g++) prepare(g);
        for (size_t g = 0; g < groups; g++) {
            if (g + kAhead < groups) prepare(g + kAhead);
            const size_t first = g * group_, last = std::min(n, first + group_);
            move_to(first, last);
            const bool want_loss = job_.whole_loss || g % kLossPeriod == 0;
            if (job_.skip_gram)
                skip_gram(first, want_loss, progress);
            else
                cbow(g, first, last, want_loss, progress);
        }
        if (job_.sub_rows && !single_) worker_.ring.end();
        worker_.hot.end();
        return progress;
    }

  private:
    float* input(size_t p) const { return job_.w_in + static_cast<size_t>(worker_.kept[p]) * dim_; }
    float* output(int32_t id) const { return job_.w_out + static_cast<size_t>(id) * dim_; }
    // The tree's nodes are numbered from below; the root is the last.
    float* node(int32_t point) {
        const size_t row = static_cast<size_t>(point);
        return worker_.hot.row(job_.w_tree + row * dim_, job_.vocabulary - 2 - row);
    }
    // The vector of position p; CBOW: the sum of its rows.
    float* hidden(size_t p) const { return job_.sub_rows ? worker_.ring.vector(p) : input(p); }
    size_t row_count(size_t p) const { return job_.sub_rows ? worker_.ring.row_count(p) : 1; }

    int shared_negatives() const {
        return job_.skip_gram ? job_.negative : job_.negative * kCbowNegatives;
    }

    void reserve() {
        const size_t n = worker_.kept.size();
        window_ = std::min(static_cast<size_t>(job_.window), std::max<size_t>(n, 1));
        const bool grouped = !job_.skip_gram && job_.shared && job_.w_out;
        const float reach = 2 * rate_ * static_cast<float>(window_);
        single_ = job_.sub_rows && reach > kRingRate;
        group_ = 1;
        if (grouped) {
            group_ = reach * kCbowGroup > kGroupRate ? static_cast<size_t>(kGroupRate / reach)
                                                     : kCbowGroup;
            group_ = std::max<size_t>(1, group_);
        }
        part_ = kPartLimit;
        if (rate_ * static_cast<float>(kPartLimit) > kPartRate)
            part_ = std::max<size_t>(1, static_cast<size_t>(kPartRate / rate_));
        size_t longest = 0;
        if (job_.w_tree)
            for (size_t p = 0; p < n; p++) longest = std::max(longest, path_length(p));
        const size_t m = std::max(group_, std::min(2 * window_, part_));
        const size_t pairs = job_.shared ? 0 : job_.skip_gram ? 2 * window_ : 1;
        const size_t slots = job_.sub_rows ? 2 * window_ + 2 * group_ + 1 : 0;
        // hidden, change: m rows each; then the ring
        worker_.reserve(m, 1 + static_cast<size_t>(shared_negatives()), pairs, longest, dim_,
                        (2 * m + 2 * slots) * dim_ + 16);
        hidden_ = worker_.work +
                  word_work_floats(m, std::max<size_t>(1 + shared_negatives(), longest) + 1, dim_);
        hidden_ = worker_.work + round_up(static_cast<size_t>(hidden_ - worker_.work), 16);
        change_ = hidden_ + m * dim_;
        if (job_.sub_rows)
            worker_.ring.begin(job_, kernels_, worker_.kept.data(), slots, change_ + m * dim_);
    }

    void fetch(size_t p) const {
        prefetch_row(input(p), dim_);
        if (job_.sub_rows) worker_.ring.prefetch(p);
    }

    // Centres [first, last) come next: their windows' positions get their vectors.
    void move_to(size_t first, size_t last) {
        const size_t n = worker_.kept.size();
        const size_t reach = std::min(n, last + window_);
        for (size_t p = reach; p < std::min(n, reach + group_ * kAhead); p++)
            if (p >= fetched_) fetch(p);
        fetched_ = std::max(fetched_, std::min(n, reach + group_ * kAhead));
        if (job_.sub_rows && !single_)
            worker_.ring.move_to(first - std::min(first, window_), reach);
    }

    size_t path_length(size_t p) const {
        const int64_t* start = job_.tree_start + worker_.kept[p];
        return static_cast<size_t>(start[1] - start[0]);
    }

    // The inner nodes of position p's word and what follows at each: 1 for a turn of 0.
    size_t follow_path(size_t p) {
        const int64_t begin = job_.tree_start[worker_.kept[p]];
        const size_t n = path_length(p);
        for (size_t j = 0; j < n; j++) {
            const size_t k = static_cast<size_t>(begin) + j;
            worker_.path[j] = node(job_.tree_points[k]);
            worker_.labels[j] = job_.tree_codes[k] ? 0.0f : 1.0f;
        }
        return n;
    }

    // Draws the negatives of a group of centres and names their rows.
    void prepare(size_t g) {
        Worker::Group& group = worker_.groups[g % (kAhead + 1)];
        const size_t first = g * group_, last = std::min(worker_.kept.size(), first + group_);
        if (job_.w_tree)
            for (size_t i = first; i < last; i++) {
                const size_t n = follow_path(i);
                for (size_t j = 0; j < n; j++) prefetch_row(worker_.path[j], dim_);
            }
        if (!job_.w_out) return;
        for (size_t i = first; i < last; i++) prefetch_row(output(worker_.kept[i]), dim_);
        const int32_t center = worker_.kept[first];
        const size_t pairs = worker_.high[first] - worker_.low[first];
        if (job_.shared) {
            group.out.clear();
            if (job_.skip_gram) {
                if (!pairs) return;  // no context: nothing is drawn
                group.out.add(output(center));
            }
            for (int k = 0; k < shared_negatives(); k++) {
                const int32_t id = draws_.negative();
                if (job_.skip_gram && id == center) continue;
                prefetch_row(output(id), dim_);
                group.out.add(output(id));
            }
            return;
        }
        float** next = group.outputs.data();
        for (size_t pair = 0; pair < (job_.skip_gram ? pairs : 1); pair++) {
            float** const start = next;
            *next++ = output(center);
            for (int k = 0; k < job_.negative; k++) {
                const int32_t id = draws_.negative();
                if (id == center) continue;
                prefetch_row(output(id), dim_);
                *next++ = output(id);
            }
            group.counts[pair] = static_cast<size_t>(next - start);
        }
    }

    // Adds change_ to the inputs' rows as far as their locks allow.
    void add_locked(float* const* rows, size_t m) {
        for (size_t i = 0; i < m; i++) {
            const float scale = job_.sub_rows
                                    ? worker_.ring.weight_of(rows[i])
                                    : job_.lock.at(static_cast<size_t>(rows[i] - job_.w_in) / dim_);
            kernels_.add_to_rows_f32(rows + i, 1, dim_, nullptr, scale, change_ + i * dim_);
        }
    }

    void skip_gram(size_t i, bool want_loss, WordProgress& progress) {
        const Worker::Group& group = worker_.groups[i % (kAhead + 1)];
        const size_t low = worker_.low[i], high = worker_.high[i];
        if (low == high) return;
        if (want_loss) progress.pairs += high - low;
        float* const change = job_.lock.values || job_.sub_lock.values ? change_ : nullptr;
        const size_t path = job_.w_tree ? follow_path(i) : 0;
        if (job_.shared) {
            for (size_t next = low; next <= high;) {
                worker_.in.clear();
                const size_t from = next;
                for (size_t taken = 0; next <= high && taken < part_; next++) {
                    if (next == i) continue;
                    if (single_) worker_.ring.enter(next);
                    worker_.in.add(hidden(next));
                    taken++;
                }
                if (!worker_.in.size) break;
                if (path) {
                    progress.loss += update_shared(worker_.in, worker_.path.data(), path, nullptr,
                                                   worker_.labels.data(), dim_, rate_, worker_,
                                                   change, kernels_, want_loss);
                    worker_.hot.used(worker_.path.data(), path);
                    if (change) add_locked(worker_.in.rows.data(), worker_.in.size);
                }
                if (job_.w_out) {
                    const DistinctRows& out = group.out;
                    progress.loss +=
                        update_shared(worker_.in, out.rows.data(), out.size,
                                      out.repeated ? out.times.data() : nullptr, nullptr, dim_,
                                      rate_, worker_, change, kernels_, want_loss);
                    if (change) add_locked(worker_.in.rows.data(), worker_.in.size);
                }
                if (single_)
                    for (size_t p = from; p < next; p++)
                        if (p != i) worker_.ring.leave(p);
            }
            return;
        }
        float* const* next = group.outputs.data();
        for (size_t j = low, pair = 0; j <= high; j++) {
            if (j == i) continue;
            float* in = hidden(j);
            if (single_) worker_.ring.enter(j);
            if (path) {
                progress.loss += update_pair(in, worker_.path.data(), path, worker_.labels.data(),
                                             dim_, rate_, worker_, change, kernels_, want_loss);
                worker_.hot.used(worker_.path.data(), path);
                if (change) add_locked(&in, 1);
            }
            if (job_.w_out) {
                const size_t n = group.counts[pair++];
                progress.loss += update_pair(in, next, n, nullptr, dim_, rate_, worker_, change,
                                             kernels_, want_loss);
                if (change) add_locked(&in, 1);
                next += n;
            }
            if (single_) worker_.ring.leave(j);
        }
    }

    // The mean (or sum) of centre i's contexts; false where there are none.
    bool combine(size_t i, float* out) {
        size_t count = 0;
        worker_.rows.clear();
        for (size_t j = worker_.low[i]; j <= worker_.high[i]; j++) {
            if (j == i) continue;
            if (single_) worker_.ring.enter(j);
            worker_.rows.push_back(hidden(j));
            count += row_count(j);
        }
        if (!count) return false;
        const float scale = job_.mean ? 1.0f / static_cast<float>(count) : 1.0f;
        kernels_.sum_rows_f32(worker_.rows.data(), worker_.rows.size(), dim_, scale, out);
        return true;
    }

    // Every row of centre i's contexts takes the whole change (of a sum, gensim takes the mean).
    void distribute(size_t i, const float* change) {
        size_t count = 0;
        worker_.rows.clear();
        worker_.scales.clear();
        for (size_t j = worker_.low[i]; j <= worker_.high[i]; j++) {
            if (j == i) continue;
            worker_.rows.push_back(hidden(j));
            count += row_count(j);
            if (job_.sub_rows)
                worker_.scales.push_back(worker_.ring.weight(j));
            else if (job_.lock.values)
                worker_.scales.push_back(job_.lock.at(static_cast<size_t>(worker_.kept[j])));
        }
        const float scale = bounded(i) * (job_.mean ? 1.0f : 1.0f / static_cast<float>(count));
        kernels_.add_to_rows_f32(worker_.rows.data(), worker_.rows.size(), dim_,
                                 worker_.scales.empty() ? nullptr : worker_.scales.data(), scale,
                                 change);
        if (single_)
            for (size_t j = worker_.low[i]; j <= worker_.high[i]; j++)
                if (j != i) worker_.ring.leave(j);
    }

    // What share of a change centre i's contexts take, 1 for all of it. A row that occurs c times
    // among N takes the change c times, so that the contexts' mean moves by sum(c^2) / N changes.
    // In a long window over few words that overshoots, further with every step; gensim is saved
    // from it by leaving out scores beyond 6.
    float bounded(size_t i) {
        const size_t low = worker_.low[i], high = worker_.high[i];
        if (!job_.shared || rate_ * static_cast<float>(high - low) <= kGroupRate) return 1.0f;
        std::vector<int64_t>& rows = worker_.repeats;
        rows.clear();
        for (size_t j = low; j <= high; j++) {
            if (j == i) continue;
            const int32_t id = worker_.kept[j];
            rows.push_back(id);
            if (job_.sub_rows)
                for (int64_t k = job_.sub_start[id]; k < job_.sub_start[id + 1]; k++)
                    rows.push_back(~int64_t(job_.sub_ids[k]));
        }
        std::sort(rows.begin(), rows.end());
        double squares = 0;
        for (size_t first = 0, next; first < rows.size(); first = next) {
            for (next = first + 1; next < rows.size() && rows[next] == rows[first];) next++;
            squares += static_cast<double>(next - first) * static_cast<double>(next - first);
        }
        const double moves = rate_ * squares / static_cast<double>(rows.size());
        return static_cast<float>(std::min(1.0, kGroupRate / moves));
    }

    void cbow(size_t g, size_t first, size_t last, bool want_loss, WordProgress& progress) {
        const Worker::Group& group = worker_.groups[g % (kAhead + 1)];
        for (size_t i = first; i < last; i++) {
            if (worker_.low[i] == worker_.high[i]) continue;
            if (want_loss) progress.pairs++;
            // The only word of a vocabulary has no path.
            if (const size_t n = job_.w_tree ? follow_path(i) : 0) {
                combine(i, hidden_);
                if (job_.shared) {
                    worker_.in.clear();
                    worker_.in.add(hidden_);
                    progress.loss += update_shared(worker_.in, worker_.path.data(), n, nullptr,
                                                   worker_.labels.data(), dim_, rate_, worker_,
                                                   change_, kernels_, want_loss);
                } else {
                    progress.loss +=
                        update_pair(hidden_, worker_.path.data(), n, worker_.labels.data(), dim_,
                                    rate_, worker_, change_, kernels_, want_loss);
                }
                worker_.hot.used(worker_.path.data(), n);
                distribute(i, change_);
            }
            if (job_.w_out && !job_.shared) {
                combine(i, hidden_);
                progress.loss +=
                    update_pair(hidden_, group.outputs.data(), group.counts[0], nullptr, dim_,
                                rate_, worker_, change_, kernels_, want_loss);
                distribute(i, change_);
            }
        }
        if (!job_.w_out || !job_.shared) return;
        size_t centers[kCbowGroup], m = 0;
        for (size_t i = first; i < last; i++) {
            if (!combine(i, hidden_ + m * dim_)) continue;
            worker_.in.rows[m] = hidden_ + m * dim_;
            worker_.positives[m] = output(worker_.kept[i]);
            centers[m++] = i;
        }
        if (!m) return;
        progress.loss +=
            update_group(worker_.in.rows.data(), m, worker_.positives.data(), group.out,
                         1.0f / kCbowNegatives, dim_, rate_, worker_, change_, kernels_, want_loss);
        for (size_t i = 0; i < m; i++) distribute(centers[i], change_ + i * dim_);
    }

    const WordWindows& job_;
    const Kernels& kernels_;
    Worker& worker_;
    BlockDraws draws_;
    size_t dim_, begin_, end_;
    size_t window_ = 0, group_ = 1, part_ = 1;
    bool single_ = false;  // positions enter the ring only for their own update
    size_t fetched_ = 0;   // positions below are prefetched
    float rate_;
    float *hidden_ = nullptr, *change_ = nullptr;
};

}  // namespace

size_t block_count(const WordWindows& job) {
    return job.jobs ? job.job_count : divide_up(job.tokens, kBlockTokens);
}

size_t block_start(const WordWindows& job, size_t block) {
    if (job.jobs) return static_cast<size_t>(job.jobs[block]);
    const size_t nominal = block * kBlockTokens;
    if (block == 0) return 0;
    if (nominal >= job.tokens) return job.tokens;
    const size_t limit = std::min(job.tokens, nominal + kBlockTokens);
    for (size_t t = nominal; t < limit; t++)
        if (job.ids[t - 1] < 0) return t;
    return limit == job.tokens ? job.tokens : nominal;
}

WordProgress train_blocks(const WordWindows& job, const Kernels& kernels, int epoch, size_t first,
                          size_t last, int workers, const WordProgress& before,
                          GensimRandom* gensim) {
    std::vector<WordProgress> results(last - first);
    if (gensim) workers = 1;
    struct Context {
        const WordWindows& job;
        const Kernels& kernels;
        int epoch;
        size_t first;
        WordProgress* results;
        GensimRandom* gensim;
        int workers;
    } context{job, kernels, epoch, first, results.data(), gensim, workers};
    parallel_tasks(
        last - first, workers,
        [](void* pointer, size_t i) {
            const Context& c = *static_cast<const Context*>(pointer);
            BlockTrainer trainer(c.job, c.kernels, c.epoch, c.first + i, this_worker(), c.gensim,
                                 c.workers);
            c.results[i] = trainer.run();
        },
        &context);
    WordProgress total = before;
    for (const WordProgress& result : results) {
        total.loss += result.loss;
        total.pairs += result.pairs;
        total.effective += result.effective;
    }
    return total;
}

}  // namespace firth::words
