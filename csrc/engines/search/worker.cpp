#include "engines/search/worker.h"

#include <algorithm>
#include <numeric>

#include "sizes.h"

namespace firth::search {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr size_t kPrefetched = 2048;  // bytes of a row; the processor prefetches the rest itself
// A query that more than one in kManySurvive rows pass scores whole chunks, which is cheaper a row.
// The first kForgiven do not count: its threshold is still low then.
constexpr size_t kManySurvive = 8, kForgiven = 2048;
// Without codes so many pieces of kExactRows rows are scored before the next try.
constexpr size_t kEveryRows = 7;

bool alive(const Segment& segment, size_t row, int64_t version) {
    if (segment.norms && segment.norms[row] != segment.norms[row]) return false;
    if (!segment.died) return true;
    // The writer may mark a row while we look: whether we see it does not matter, since its version
    // is later than ours.
    const int64_t died = __atomic_load_n(segment.died + row, __ATOMIC_RELAXED);
    return died == 0 || died > version;
}

int64_t label_of(const Segment& segment, size_t row) {
    return segment.labels ? segment.labels[row] : segment.first_label + static_cast<int64_t>(row);
}

bool in_bitmap(const SlotFilter& filter, size_t slot) {
    return slot / 8 < filter.bytes && (filter.bitmap[slot / 8] >> (slot % 8) & 1);
}

// Rows of a filter's list are visited one by one: no need to check it.
bool allows(const SlotFilter* filter, const SlotFilter* exclusion, size_t slot) {
    if (filter && filter->bitmap && !in_bitmap(*filter, slot)) return false;
    if (!exclusion) return true;
    if (exclusion->bitmap) return !in_bitmap(*exclusion, slot);
    return !std::binary_search(exclusion->slots, exclusion->slots + exclusion->count,
                               static_cast<int64_t>(slot));
}

}  // namespace

bool better(const Scored& a, const Scored& b) {
    return a.score > b.score || (a.score == b.score && a.label < b.label);
}

void Best::add(float score, int64_t label) {
    if (!(score >= threshold)) return;  // nor NaN
    found.push_back({score, label});
    if (k == 0 || (found.size() != k && found.size() < 2 * k + 32)) return;
    const auto last = found.begin() + static_cast<ptrdiff_t>(k - 1);
    std::nth_element(found.begin(), last, found.end(), better);
    threshold = std::max(threshold, last->score);
    found.resize(k);
}

const float* Widened::load(const KeyRows& keys, size_t first, size_t rows) {
    const ptrdiff_t offset = static_cast<ptrdiff_t>(first) * keys.stride;
    stride = keys.stride;
    if (keys.type == RowType::f32) return static_cast<const float*>(keys.data) + offset;
    if (!buffer_.data()) buffer_ = AlignedBuffer(kExactRows * padded_ * sizeof(float));
    auto* out = reinterpret_cast<float*>(buffer_.data());
    stride = static_cast<ptrdiff_t>(padded_);
    if (keys.type == RowType::i8)
        kernels_.widen_rows_i8(static_cast<const int8_t*>(keys.data) + offset, keys.stride,
                               keys.scales + first, rows, keys.n, out, padded_);
    else
        (keys.type == RowType::f16 ? kernels_.widen_rows_f16 : kernels_.widen_rows_bf16)(
            static_cast<const uint16_t*>(keys.data) + offset, keys.stride, rows, keys.n, out,
            padded_);
    return out;
}

Worker::Worker(const Pass& pass, size_t k, const float* thresholds)
    : best(pass.queries.count),
      pass_(pass),
      widened_(pass.kernels, pass.queries.n),
      survivors_(best.size()),
      seen_(best.size()),
      every_row_(best.size()),
      everyone_(pass.scanned.size()) {
    for (size_t q = 0; q < best.size(); q++) {
        best[q].k = k;
        if (thresholds) best[q].threshold = thresholds[q];
    }
    std::iota(everyone_.begin(), everyone_.end(), 0u);
    for (const auto& [centre, queries] : pass.coded) {
        coded_.push_back(*queries);
        required_.emplace_back(pass.coding.size(), -kInfinity);
    }
}

void Worker::search(const Chunk& chunk) {
    if (chunk.kind != Chunk::kRows)
        scan(chunk);
    else if (pass_.units.empty())
        score_rows(*chunk.segment, chunk.first, chunk.count, pass_.scanned);
    else
        score_near_rows(*chunk.segment, chunk.first, chunk.count);
}

// Brings a row on its way into cache: what is scored comes from anywhere in memory, so that the
// processor cannot see it coming.
void Worker::prefetch(const Segment& segment, size_t row) const {
    const size_t size = segment.keys.item_bytes();
    const char* data =
        static_cast<const char*>(segment.keys.data) +
        static_cast<ptrdiff_t>(row) * segment.keys.stride * static_cast<ptrdiff_t>(size);
    const size_t bytes = std::min(segment.keys.n * size, kPrefetched);
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(data + i);
}

void Worker::gather(size_t q, const int64_t* begin, const int64_t* end) {
    const std::vector<Segment>& segments = pass_.segments;
    const auto segment_of = [&](size_t slot) -> const Segment* {
        const auto after = std::upper_bound(
            segments.begin(), segments.end(), slot,
            [](size_t wanted, const Segment& segment) { return wanted < segment.first_slot; });
        if (after == segments.begin()) return nullptr;
        const Segment& segment = *(after - 1);
        return slot - segment.first_slot < segment.keys.rows ? &segment : nullptr;
    };
    const Segment* next = begin < end ? segment_of(static_cast<size_t>(*begin)) : nullptr;
    while (begin < end) {
        const auto slot = static_cast<size_t>(*begin++);
        const Segment* segment = next;
        if (begin < end) {
            next = segment_of(static_cast<size_t>(*begin));
            if (next) prefetch(*next, static_cast<size_t>(*begin) - next->first_slot);
        }
        if (segment) score_row(q, *segment, slot - segment->first_slot);
    }
}

void Worker::scan(const Chunk& chunk) {
    const Segment& segment = *chunk.segment;
    const bool fly = chunk.kind == Chunk::kOnTheFly;
    const size_t units = (pass_.queries.n + 3) / 4;
    const size_t blocks = fly ? divide_up(chunk.count, kCodeBlock) : chunk.count;
    const uint8_t* codes = segment.codes + chunk.first * units * kCodeBlock * 4;
    const float* bounds = segment.bounds + chunk.first * 3 * kCodeBlock;
    if (fly) {
        const size_t bytes = blocks * units * kCodeBlock * 4;
        if (bytes > code_bytes_) codes_ = AlignedBuffer(code_bytes_ = bytes);
        bounds_.resize(blocks * 3 * kCodeBlock);
        auto* out = reinterpret_cast<uint8_t*>(codes_.data());
        for (size_t b = 0; b < blocks; b++) {
            const size_t rows = std::min(kCodeBlock, chunk.count - b * kCodeBlock);
            const float* data = widened_.load(segment.keys, chunk.first + b * kCodeBlock, rows);
            pass_.kernels.code_rows_f32(data, widened_.stride, rows, pass_.queries.n,
                                        pass_.request.metric, pass_.no_centre.data(), 0,
                                        out + b * units * kCodeBlock * 4,
                                        bounds_.data() + b * 3 * kCodeBlock);
        }
        codes = out;
        bounds = bounds_.data();
    }
    const float* centre = fly ? pass_.no_centre.data() : segment.centre;
    size_t c = 0;
    while (pass_.coded[c].first != centre) c++;
    CodedQueries& queries = coded_[c];

    const uint32_t* members = chunk.members ? chunk.members : everyone_.data();
    const size_t count = chunk.members ? chunk.member_count : everyone_.size();
    std::vector<size_t> all_rows;
    for (size_t m = 0; m < count; m++) {
        const size_t i = members[m], q = pass_.coding[i];
        raise(q);
        float& required = required_[c][i];
        if (!chunk.masks && survivors_[q] > seen_[q] / kManySurvive + kForgiven) {
            queries.skip(i);
            required = std::numeric_limits<float>::quiet_NaN();
            all_rows.push_back(q);
        } else if (!(required == best[q].threshold)) {
            queries.require(i, required = best[q].threshold);
        }
        seen_[q] += blocks * kCodeBlock;
    }
    const int32_t* packed = queries.packed.data();
    const ScanQuery* scanned = queries.scan.data();
    if (chunk.members) {  // the codes of some queries, one after the other
        const size_t words = packed_words(pass_.kernels, pass_.queries.n);
        packed_.resize(count * words);
        scan_.resize(count);
        for (size_t m = 0; m < count; m++) {
            std::copy_n(packed + members[m] * words, words, packed_.data() + m * words);
            scan_[m] = scanned[members[m]];
        }
        packed = packed_.data();
        scanned = scan_.data();
    }
    // Room for all; pages are only touched where something passes.
    const size_t room = blocks * kCodeBlock * count * sizeof(ScanHit);
    if (room > hit_bytes_) hits_ = AlignedBuffer(hit_bytes_ = room);
    auto* found = reinterpret_cast<ScanHit*>(hits_.data());
    const size_t hits =
        pass_.kernels.scan_codes(codes, bounds, blocks, units, packed, scanned, count, found);
    stats.coded += blocks * kCodeBlock * count;
    stats.survivors += hits;
    const int32_t* order = segment.order ? segment.order + chunk.first * kCodeBlock : nullptr;
    const size_t first_row = fly ? chunk.first : chunk.first * kCodeBlock;
    for (size_t h = 0; h < hits; h++) {
        if (chunk.masks && !(chunk.masks[found[h].query] >> found[h].row & 1)) continue;
        const size_t lane = found[h].row;
        if (order && order[lane] < 0) continue;  // padding, which only a damaged file lets pass
        const size_t row = order ? static_cast<size_t>(order[lane]) : first_row + lane;
        prefetch(segment, row);
        const size_t q = pass_.coding[members[found[h].query]];
        survivors_[q]++;
        Passed& place = passed_[passed_count_++ % kAhead];
        if (place.segment) score_row(place.q, *place.segment, place.row);
        place = {q, &segment, row};
    }
    if (all_rows.empty()) return;
    if (!order)
        return score_rows(segment, first_row, fly ? chunk.count : blocks * kCodeBlock, all_rows);
    for (size_t lane = 0; lane < blocks * kCodeBlock; lane++)
        if (order[lane] >= 0)
            for (const size_t q : all_rows) score_row(q, segment, static_cast<size_t>(order[lane]));
}

void Worker::finish() {
    for (Passed& place : passed_) {
        if (place.segment) score_row(place.q, *place.segment, place.row);
        place.segment = nullptr;
    }
}

// Shares thresholds with the other workers: the highest counts for all.
void Worker::raise(size_t q) {
    Best& mine = best[q];
    if (!mine.k) return;
    std::atomic<float>& shared = pass_.reached[q];
    float other = shared.load(std::memory_order_relaxed);
    while (mine.threshold > other &&
           !shared.compare_exchange_weak(other, mine.threshold, std::memory_order_relaxed)) {
    }
    mine.threshold = std::max(mine.threshold, other);
}

void Worker::score_row(size_t q, const Segment& segment, size_t row) {
    if (!alive(segment, row, pass_.request.version) ||
        !allows(pass_.filters[q], pass_.exclusions[q], segment.first_slot + row))
        return;
    const float* data = widened_.load(segment.keys, row, 1);
    float score;
    pass_.kernels.exact_scores_f32(pass_.request.metric, pass_.queries.row(q), 0, 1,
                                   &pass_.queries.norms[q], data, 0, 1, pass_.queries.n, &score, 1);
    best[q].add(score, label_of(segment, row));
}

// All rows [first, first + count) that may be among the best by their cosine in float32.
void Worker::score_near_rows(const Segment& segment, size_t first, size_t count) {
    const size_t n = pass_.queries.n, stride = pass_.queries.stride;
    const double margin = near_margin(n);
    std::vector<size_t> passed(best.size());
    for (const size_t q : pass_.scanned) raise(q);
    for (size_t done = 0; done < count; done += kExactRows) {
        const size_t row = first + done, rows = std::min(kExactRows, count - done);
        near_.clear();
        every_.clear();
        for (const size_t q : pass_.scanned) {
            const bool every = every_row_[q] > 0 || best[q].threshold == -kInfinity;
            if (every_row_[q] > 0) every_row_[q]--;
            (every ? every_ : near_).push_back(q);
        }
        near_hits_.resize(best.size() * kExactRows);
        least_.resize(best.size());
        const float* data = near_.empty() ? nullptr : widened_.load(segment.keys, row, rows);
        size_t hits = 0;
        for (size_t i = 0; i < near_.size();) {
            size_t together = 0;
            for (; i + together < near_.size() && near_[i + together] == near_[i] + together;
                 together++)
                least_[together] = below(best[near_[i + together]].threshold - margin);
            const size_t found = pass_.kernels.near_rows_f32(
                pass_.units.data() + near_[i] * stride, stride, together, least_.data(), data,
                widened_.stride, rows, n, near_hits_.data() + hits);
            for (size_t h = hits; h < hits + found; h++)
                near_hits_[h].query += static_cast<uint32_t>(near_[i]);
            hits += found;
            i += together;
        }
        for (size_t h = 0; h < hits; h++) {
            passed[near_hits_[h].query]++;
            score_row(near_hits_[h].query, segment, row + near_hits_[h].row);
        }
        for (const size_t q : near_) {
            if (passed[q] > rows / kManySurvive) every_row_[q] = kEveryRows;
            passed[q] = 0;
        }
        stats.scored += rows * near_.size();
        if (!every_.empty()) score_rows(segment, row, rows, every_);
    }
}

// All rows [first, first + count) for these queries.
void Worker::score_rows(const Segment& segment, size_t first, size_t count,
                        const std::vector<size_t>& queries) {
    for (size_t done = 0; done < count; done += kExactRows) {
        const size_t row = first + done, rows = std::min(kExactRows, count - done);
        const float* data = widened_.load(segment.keys, row, rows);
        for (size_t i = 0; i < queries.size();) {
            // Neighbouring queries at once: in one tile they read the rows once.
            size_t together = 1;
            while (i + together < queries.size() && queries[i + together] == queries[i] + together)
                together++;
            scores_.resize(together * kExactRows);
            pass_.kernels.exact_scores_f32(pass_.request.metric, pass_.queries.row(queries[i]),
                                           pass_.queries.stride, together,
                                           &pass_.queries.norms[queries[i]], data, widened_.stride,
                                           rows, pass_.queries.n, scores_.data(), kExactRows);
            for (size_t j = 0; j < together; j++) {
                const size_t q = queries[i + j];
                const float* scores = scores_.data() + j * kExactRows;
                for (size_t r = 0; r < rows; r++)
                    if (scores[r] >= best[q].threshold &&
                        alive(segment, row + r, pass_.request.version) &&
                        allows(pass_.filters[q], pass_.exclusions[q], segment.first_slot + row + r))
                        best[q].add(scores[r], label_of(segment, row + r));
            }
            i += together;
        }
    }
    stats.scored += count * queries.size();
}

}  // namespace firth::search
