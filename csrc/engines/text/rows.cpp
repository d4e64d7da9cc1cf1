// How long texts stay follows the `tokenizers` package, number by number. Cutting is a loop over
// samples on one thread, some nanoseconds each; values are written by all threads.
#include "engines/text/rows.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "engines/text/wordpiece.h"
#include "parallel.h"

namespace firth::text {

namespace {

// Cuts two texts, the longer one first: the shorter stays whole if it takes at most half of the
// room.
void longest_first(int64_t* lengths, int64_t room) {
    int64_t shorter = std::min(lengths[0], lengths[1]);
    int64_t longer = shorter > room ? shorter : std::max(shorter, room - shorter);
    if (shorter + longer > room) {
        shorter = room / 2;
        longer = room - shorter;
    }
    if (lengths[0] > lengths[1]) std::swap(shorter, longer);
    lengths[0] = std::min(lengths[0], shorter);
    lengths[1] = std::min(lengths[1], longer);
}

// lengths: (texts,), one or two of them, replaced by how many ids of each stay.
void cut(int64_t* lengths, size_t texts, int64_t room, Cut how) {
    const int64_t total = lengths[0] + (texts > 1 ? lengths[1] : 0);
    if (total <= room) return;
    if (room == 0) {
        std::fill(lengths, lengths + texts, 0);
    } else if (how == Cut::kLongestFirst) {
        if (texts == 1)
            lengths[0] = room;
        else
            longest_first(lengths, room);
    } else {
        const size_t which = how == Cut::kOnlyFirst ? 0 : 1;
        const std::string name =
            which == 0 ? "truncation='only_first'" : "truncation='only_second'";
        if (which >= texts)
            throw std::invalid_argument(name + ": there is no second text, only a long first");
        const int64_t others = total - lengths[which];
        if (others >= room)
            throw std::invalid_argument(name + ": the " + (which == 0 ? "second" : "first") +
                                        " text alone takes all of the " + std::to_string(room) +
                                        " tokens that there is room for");
        lengths[which] = room - others;
    }
}

}  // namespace

Layout::Layout(const int64_t* offsets, size_t texts, std::vector<int> parts,
               const std::optional<Limit>& limit)
    : parts_(std::move(parts)), ids_(offsets[texts]) {
    for (const int part : parts_) {
        if (part < 0) specials_++;
        if (part > 0) per_sample_ = 2;
    }
    const size_t samples = texts / per_sample_;
    samples_.reserve(samples);
    offsets_.reserve(samples + 1);
    runs_.reserve(samples * per_sample_);
    offsets_.push_back(0);
    for (size_t b = 0; b < samples; b++) {
        Run whole[2] = {}, kept[2] = {};
        int64_t lengths[2] = {};
        for (size_t s = 0; s < per_sample_; s++) {
            const int64_t* at = offsets + b * per_sample_ + s;
            whole[s] = {at[0], at[1] - at[0]};
            lengths[s] = whole[s].length;
        }
        if (limit) cut(lengths, per_sample_, static_cast<int64_t>(limit->room), limit->cut);
        bool whole_sample = true;
        for (size_t s = 0; s < per_sample_; s++) {
            whole_sample &= lengths[s] == whole[s].length;
            const int64_t lost = limit && limit->left ? whole[s].length - lengths[s] : 0;
            kept[s] = {whole[s].start + lost, lengths[s]};
        }
        truncated_ += !whole_sample;
        if (whole_sample || !limit->stride)
            add_row(b, kept);
        else
            add_windows(b, whole, kept, *limit);
    }
}

void Layout::add_row(size_t sample, const Run* runs) {
    auto length = static_cast<int64_t>(specials_);
    for (size_t s = 0; s < per_sample_; s++) length += runs[s].length;
    samples_.push_back(static_cast<int64_t>(sample));
    offsets_.push_back(offsets_.back() + length);
    runs_.insert(runs_.end(), runs, runs + per_sample_);
    longest_ = std::max(longest_, static_cast<size_t>(length));
}

// All windows of a sample, the kept one first, each window of the one text with each of the other.
void Layout::add_windows(size_t sample, const Run* texts, const Run* kept, const Limit& limit) {
    std::vector<Run> windows[2];
    for (size_t s = 0; s < per_sample_; s++) {
        const auto [start, length] = texts[s];
        const int64_t size = kept[s].length;
        windows[s].push_back(kept[s]);
        if (size == length) continue;
        if (size == 0) {  // as the package has it
            windows[s][0].start = start;
            windows[s].push_back(texts[s]);
            continue;
        }
        if (*limit.stride >= static_cast<size_t>(size))
            throw std::invalid_argument("stride must be below the " + std::to_string(size) +
                                        " tokens that max_length leaves to a text, got " +
                                        std::to_string(*limit.stride));
        const int64_t step = size - static_cast<int64_t>(*limit.stride);
        for (int64_t moved = step; moved - step + size < length; moved += step) {
            const int64_t count = std::min(size, length - moved);
            windows[s].push_back({start + (limit.left ? length - moved - count : moved), count});
        }
    }
    if (per_sample_ == 1) {
        for (const Run& one : windows[0]) add_row(sample, &one);
        return;
    }
    const auto both = [&](size_t first, size_t second) {
        const Run runs[2] = {windows[0][first], windows[1][second]};
        add_row(sample, runs);
    };
    both(0, 0);
    for (size_t i = 1; i < windows[0].size(); i++)
        for (size_t j = 0; j < windows[1].size(); j++) both(i, j);
    for (size_t j = 1; j < windows[1].size(); j++) both(0, j);
}

template <class In, class Out>
void Layout::fill(const In* values, const Out* around, std::optional<size_t> width, bool left,
                  Out padding, Out* out) const {
    parallel_for(rows(), 256, [&](size_t begin, size_t end) {
        for (size_t r = begin; r < end; r++) {
            const auto length = static_cast<size_t>(offsets_[r + 1] - offsets_[r]);
            Out* to = out + (width ? r * *width : static_cast<size_t>(offsets_[r]));
            const size_t missing = width ? *width - length : 0;
            if (left) to = std::fill_n(to, missing, padding);
            for (size_t p = 0; p < parts_.size(); p++) {
                if (parts_[p] < 0) {
                    *to++ = around[p];
                    continue;
                }
                const Run run = runs_[r * per_sample_ + static_cast<size_t>(parts_[p])];
                to = values ? std::copy_n(values + run.start, run.length, to)
                            : std::fill_n(to, run.length, around[p]);
            }
            if (!left) std::fill_n(to, missing, padding);
        }
    });
}

template void Layout::fill(const int32_t*, const int32_t*, std::optional<size_t>, bool, int32_t,
                           int32_t*) const;
template void Layout::fill(const int32_t*, const int64_t*, std::optional<size_t>, bool, int64_t,
                           int64_t*) const;
template void Layout::fill(const Span*, const Span*, std::optional<size_t>, bool, Span,
                           Span*) const;

}  // namespace firth::text
