// Three stages: counting (CooccurrenceCounter), blocking (glove_blocks), training (glove_train).
//
// Training is bound by the traffic of rows: a record reads and writes two of them, 4 (dim + 1)
// floats each, while the record itself has 12 bytes. So records are trained by units: those of a
// block of rows that fits into half of L2, and of one block of columns (the other half) or, where
// these are sparse, of several. Units and the records within are shuffled anew in every epoch. Long
// runs within a few rows learn worse, so a unit has at most kUnitMost records, a random sample of
// its block: then the costs of all epochs are those of a full shuffle (NOTES.md).
#include "engines/words/glove.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "parallel.h"
#include "random.h"
#include "sizes.h"

namespace firth::words {
namespace {

constexpr size_t kAheadPlaces = 8;      // occurrences whose windows are prefetched
constexpr size_t kUnitLeast = 4096;     // records: sparse blocks of columns are joined up to here
constexpr size_t kUnitMost = 512;       // denser ones are cut: what is trained at a time
constexpr size_t kLookAhead = 64;       // visits among which a worker looks for a free one
constexpr size_t kMaxExtent = 1 << 16;  // rows and columns of a unit fit 16 bits

uint64_t mixed(uint64_t a, uint64_t b, uint64_t c) {
    SplitMix64 random{a};
    random.state = random.next() + b;
    random.state = random.next() + c;
    return random.next();
}

template <class T>
void shuffle(T* items, size_t n, SplitMix64& random) {
    for (size_t i = n; i > 1; i--) std::swap(items[i - 1], items[random.below(i)]);
}

int32_t word(int32_t id) { return id < 0 ? ~id : id; }

}  // namespace

CooccurrenceCounter::CooccurrenceCounter(const int32_t* ids, size_t tokens, size_t lead,
                                         size_t vocabulary, std::vector<double> weights,
                                         bool symmetric)
    : ids_(ids),
      tokens_(tokens),
      lead_(lead),
      vocabulary_(vocabulary),
      window_(weights.size()),
      symmetric_(symmetric),
      weights_(std::move(weights)),
      starts_(vocabulary + 1),
      places_(tokens) {
    // A counting sort of the places by word; each task takes a stretch of the text.
    const size_t tasks = std::min<size_t>(std::max<size_t>(tokens >> 16, 1), num_threads());
    const size_t grain = divide_up(tokens, tasks);
    std::vector<std::vector<uint32_t>> counts(tasks);
    parallel_for(tasks, 1, [&](size_t t, size_t) {
        counts[t].resize(vocabulary);
        for (size_t i = t * grain; i < std::min(tokens, (t + 1) * grain); i++)
            counts[t][word(ids[i])]++;
    });
    uint64_t next = 0;
    for (size_t w = 0; w < vocabulary; w++) {
        starts_[w] = next;
        for (std::vector<uint32_t>& count : counts) {
            const uint32_t here = count[w];
            count[w] = static_cast<uint32_t>(next);
            next += here;
        }
    }
    starts_[vocabulary] = next;
    parallel_for(tasks, 1, [&](size_t t, size_t) {
        for (size_t i = t * grain; i < std::min(tokens, (t + 1) * grain); i++)
            places_[counts[t][word(ids[i])]++] = static_cast<uint32_t>(i);
    });
}

uint64_t CooccurrenceCounter::bound(size_t row) const {
    const uint64_t pairs = (starts_[row + 1] - starts_[row]) * (symmetric_ ? 2 : 1) * window_;
    return std::min<uint64_t>(pairs, symmetric_ ? row + 1 : vocabulary_);
}

CooccurrenceRows CooccurrenceCounter::rows(size_t first, size_t last,
                                           const std::vector<CooccurrenceView>& before) const {
    // A task is a run of rows with about the same work: occurrences, and what there is already.
    std::vector<uint64_t> work(last - first + 1);
    for (size_t row = first; row < last; row++) {
        uint64_t here = (starts_[row + 1] - starts_[row]) * window_;
        for (const CooccurrenceView& view : before)
            here += static_cast<uint64_t>(view.lengths[row - first]);
        work[row - first + 1] = work[row - first] + here;
    }
    const uint64_t share = std::max<uint64_t>(
        1 << 18, work[last - first] / (8 * static_cast<uint64_t>(num_threads())));
    std::vector<size_t> cuts{first};
    for (size_t row = first; row < last; row++)
        if (row + 1 == last || work[row + 1 - first] - work[cuts.back() - first] >= share)
            cuts.push_back(row + 1);
    std::vector<std::vector<size_t>> starts(cuts.size());  // of each task's rows in each view
    for (const CooccurrenceView& view : before) {
        size_t start = 0;
        for (size_t row = first, task = 0; row < last; row++) {
            if (row == cuts[task]) starts[task++].push_back(start);
            start += static_cast<size_t>(view.lengths[row - first]);
        }
    }
    struct Piece {
        std::vector<int32_t> columns;
        std::vector<double> values;
    };
    const size_t tasks = cuts.size() - 1;
    std::vector<Piece> pieces(tasks);
    CooccurrenceRows result;
    result.lengths.resize(last - first);
    parallel_for(tasks, 1, [&](size_t t, size_t) {
        std::vector<double> sums(vocabulary_);
        std::vector<int32_t> touched(vocabulary_ + 1);
        std::vector<size_t>& next = starts[t];
        for (size_t row = cuts[t]; row < cuts[t + 1]; row++) {
            const int32_t limit =
                static_cast<int32_t>(symmetric_ ? row : vocabulary_ - 1);  // the last column kept
            size_t n = 0;
            for (size_t v = 0; v < before.size(); v++) {
                const CooccurrenceView& view = before[v];
                const size_t end = next[v] + static_cast<size_t>(view.lengths[row - first]);
                for (size_t& i = next[v]; i < end; i++) {
                    double& sum = sums[view.columns[i]];
                    if (sum == 0.0) touched[n++] = view.columns[i];
                    sum += view.values[i];
                }
            }
            // No branch: a column beyond the limit gets nothing, and is not listed.
            const auto add = [&](int32_t column, double weight) {
                double& sum = sums[column];
                const bool kept = column <= limit;
                touched[n] = column;
                n += kept & (sum == 0.0);
                sum += kept ? weight : 0.0;
            };
            const uint32_t* const end = places_.data() + starts_[row + 1];
            for (const uint32_t* p = places_.data() + starts_[row]; p < end; p++) {
                if (p + kAheadPlaces < end) {
                    const char* ahead = reinterpret_cast<const char*>(ids_ + p[kAheadPlaces]);
                    __builtin_prefetch(ahead - 64);
                    __builtin_prefetch(ahead);
                    __builtin_prefetch(ahead + 64);
                }
                const size_t place = *p;
                if (symmetric_ && place >= lead_)
                    for (size_t d = 1; d <= std::min(window_, place); d++) {
                        const int32_t id = ids_[place - d];
                        if (id < 0) break;  // the end of the sentence before
                        add(id, weights_[d - 1]);
                    }
                if (ids_[place] < 0) continue;
                for (size_t d = 1; d <= std::min(window_, tokens_ - 1 - place); d++) {
                    const int32_t id = ids_[place + d];
                    if (place + d >= lead_) add(word(id), weights_[d - 1]);
                    if (id < 0) break;
                }
            }
            result.lengths[row - first] = static_cast<int64_t>(n);
            for (size_t i = 0; i < n; i++) {
                double& sum = sums[touched[i]];
                pieces[t].columns.push_back(touched[i]);
                pieces[t].values.push_back(sum);
                sum = 0.0;
            }
        }
    });
    size_t total = 0;
    for (const Piece& piece : pieces) total += piece.columns.size();
    result.columns.reserve(total);
    result.values.reserve(total);
    for (Piece& piece : pieces) {
        result.columns.insert(result.columns.end(), piece.columns.begin(), piece.columns.end());
        result.values.insert(result.values.end(), piece.values.begin(), piece.values.end());
        piece = Piece();
    }
    return result;
}

GloveBlocks glove_blocks(CooccurrenceView rows, size_t first, size_t last, size_t vocabulary,
                         size_t block, double x_max, double alpha, uint64_t seed) {
    const size_t bands = divide_up(last - first, block);  // blocks of rows
    std::vector<size_t> starts(bands + 1);                // of their entries
    for (size_t b = 0; b < bands; b++) {
        starts[b + 1] = starts[b];
        for (size_t r = b * block; r < std::min((b + 1) * block, last - first); r++)
            starts[b + 1] += static_cast<size_t>(rows.lengths[r]);
    }
    GloveBlocks result;
    result.records.resize(starts[bands]);
    std::vector<std::vector<GloveUnit>> units(bands);
    const double log_max = std::log(x_max);
    parallel_for(bands, 1, [&](size_t b, size_t) {
        const size_t columns = divide_up(vocabulary, block);
        // pass 1: where the entries of each block of columns go
        std::vector<size_t> ends(columns + 1);
        for (size_t i = starts[b]; i < starts[b + 1]; i++)
            ends[static_cast<size_t>(rows.columns[i]) / block + 1]++;
        for (size_t c = 0; c < columns; c++) ends[c + 1] += ends[c];
        // pass 2: units; origin[c] is the first column of the unit that holds block c
        std::vector<int64_t> origin(columns);
        const int64_t row = static_cast<int64_t>(first + b * block);
        const int64_t height = static_cast<int64_t>(std::min(block, last - first - b * block));
        for (size_t c = 0, next; c < columns; c = next) {
            next = c + 1;
            while (next < columns && ends[next] - ends[c] < kUnitLeast &&
                   (next + 1 - c) * block <= kMaxExtent)
                next++;
            const size_t count = ends[next] - ends[c];
            std::fill(origin.begin() + c, origin.begin() + next, c * block);
            const int64_t width =
                static_cast<int64_t>(std::min(next * block, vocabulary) - c * block);
            const size_t cuts = divide_up(count, kUnitMost);
            for (size_t i = 0; i < cuts; i++) {
                const size_t from = count * i / cuts, to = count * (i + 1) / cuts;
                units[b].push_back({0, static_cast<int64_t>(starts[b] + ends[c] + from),
                                    static_cast<int64_t>(to - from), row,
                                    static_cast<int64_t>(c * block), height, width});
            }
        }
        // pass 3: the entries into their places
        std::vector<size_t> fill(ends.begin(), ends.end() - 1);
        StoredRecord* const records = result.records.data() + starts[b];
        for (size_t r = b * block, i = starts[b]; i < starts[b + 1]; r++)
            for (int64_t k = 0; k < rows.lengths[r]; k++, i++) {
                const size_t column = static_cast<size_t>(rows.columns[i]), c = column / block;
                const double log_count = std::log(rows.values[i]);
                const double weight =
                    rows.values[i] > x_max ? 1.0 : std::exp(alpha * (log_count - log_max));
                records[fill[c]++] = {static_cast<uint16_t>(r - b * block),
                                      static_cast<uint16_t>(column - origin[c]),
                                      static_cast<float>(log_count), static_cast<float>(weight)};
            }
        // pass 4: shuffle what has one origin, so that pieces of it are random samples
        SplitMix64 random{mixed(seed, static_cast<uint64_t>(row), 0)};
        for (size_t c = 0, next; c < columns; c = next) {
            for (next = c + 1; next < columns && origin[next] == origin[c];) next++;
            shuffle(records + ends[c], ends[next] - ends[c], random);
        }
    });
    for (const std::vector<GloveUnit>& some : units)
        result.units.insert(result.units.end(), some.begin(), some.end());
    return result;
}

namespace {

// Whether two visits share rows of `words` or of `contexts`.
bool collide(const Glove& job, GloveVisit a, GloveVisit b) {
    const GloveUnit &u = job.units[a.unit], &v = job.units[b.unit];
    const auto overlap = [](int64_t x, int64_t m, int64_t y, int64_t n) {
        return x < y + n && y < x + m;
    };
    if (a.mirrored == b.mirrored)
        return overlap(u.row, u.rows, v.row, v.rows) ||
               overlap(u.column, u.columns, v.column, v.columns);
    return overlap(u.row, u.rows, v.column, v.columns) ||
           overlap(u.column, u.columns, v.row, v.rows);
}

// Hands out the visits of a call; in order, but for those that would collide with one under way.
class Schedule {
  public:
    Schedule(const Glove& job, const GloveVisit* visits, size_t count)
        : job_(job), waiting_(visits, visits + count), places_(count) {
        for (size_t i = 0; i < count; i++) places_[i] = i;
    }

    bool take(GloveVisit* visit, size_t* place) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (next_ == waiting_.size()) return false;
        size_t chosen = next_;
        for (size_t i = next_; i < std::min(waiting_.size(), next_ + kLookAhead); i++)
            if (std::none_of(active_.begin(), active_.end(), [&](const GloveVisit& other) {
                    return collide(job_, waiting_[i], other);
                })) {
                chosen = i;
                break;
            }
        std::swap(waiting_[chosen], waiting_[next_]);
        std::swap(places_[chosen], places_[next_]);
        *visit = waiting_[next_];
        *place = places_[next_++];
        active_.push_back(*visit);
        return true;
    }

    void done(GloveVisit visit) {
        const std::lock_guard<std::mutex> lock(mutex_);
        active_.erase(std::find_if(active_.begin(), active_.end(), [&](const GloveVisit& other) {
            return other.unit == visit.unit && other.mirrored == visit.mirrored;
        }));
    }

  private:
    const Glove& job_;
    std::vector<GloveVisit> waiting_;
    std::vector<size_t> places_;
    std::vector<GloveVisit> active_;
    size_t next_ = 0;
    std::mutex mutex_;
};

GloveProgress train_visit(const Glove& job, const Kernels& kernels, uint64_t epoch,
                          GloveVisit visit, std::vector<GloveRecord>& records) {
    const GloveUnit& unit = job.units[visit.unit];
    const size_t count = static_cast<size_t>(unit.count);
    records.resize(count);
    SplitMix64 random{
        mixed(job.seed, epoch, 2 * static_cast<uint64_t>(visit.unit) + visit.mirrored)};
    const StoredRecord* stored = job.parts[static_cast<size_t>(unit.part)] + unit.offset;
    const uint32_t row = static_cast<uint32_t>(unit.row);
    const uint32_t column = static_cast<uint32_t>(unit.column);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {  // shuffled while copied (inside-out Fisher-Yates)
        GloveRecord record{row + stored[i].row, column + stored[i].column, stored[i].log_count,
                           stored[i].weight};
        if (visit.mirrored) {
            if (record.row == record.column) continue;  // the diagonal is its own image
            std::swap(record.row, record.column);
        }
        const size_t j = random.below(n + 1);
        records[n++] = records[j];
        records[j] = record;
    }
    const double cost =
        kernels.glove_adagrad_f32(job.words, job.stride, job.plane, job.contexts, job.stride,
                                  job.plane, records.data(), n, job.dim, job.rate, job.clip);
    return {cost, n};
}

}  // namespace

std::vector<GloveVisit> glove_order(const Glove& job, uint64_t epoch) {
    std::vector<GloveVisit> order;
    order.reserve(job.units.size() * (job.symmetric ? 2 : 1));
    for (uint32_t unit = 0; unit < job.units.size(); unit++) {
        order.push_back({unit, false});
        if (job.symmetric) order.push_back({unit, true});
    }
    SplitMix64 random{mixed(job.seed, epoch, ~uint64_t{0})};
    shuffle(order.data(), order.size(), random);
    return order;
}

GloveProgress glove_train(const Glove& job, const Kernels& kernels, uint64_t epoch,
                          const GloveVisit* visits, size_t count, int workers) {
    struct Context {
        const Glove& job;
        const Kernels& kernels;
        uint64_t epoch;
        Schedule schedule;
        std::vector<GloveProgress> results;
    } context{job, kernels, epoch, Schedule(job, visits, count), {}};
    context.results.resize(count);
    const size_t tasks = std::min<size_t>(static_cast<size_t>(std::max(1, workers)), count);
    parallel_tasks(
        tasks, workers,
        [](void* pointer, size_t) {
            Context& c = *static_cast<Context*>(pointer);
            std::vector<GloveRecord> records;
            GloveVisit visit;
            for (size_t place; c.schedule.take(&visit, &place); c.schedule.done(visit))
                c.results[place] = train_visit(c.job, c.kernels, c.epoch, visit, records);
        },
        &context);
    GloveProgress progress;
    for (const GloveProgress& result : context.results) {
        progress.cost += result.cost;
        progress.records += result.records;
    }
    return progress;
}

}  // namespace firth::words
