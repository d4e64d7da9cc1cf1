#include "engines/transformer/paged.h"

#include <algorithm>
#include <cmath>

#include "parallel.h"
#include "sizes.h"

namespace firth::transformer {
namespace {

constexpr size_t kSegmentPages = 8;  // 512 keys
constexpr size_t kRows = 64;         // queries of a task; keys and values of a segment stay in L2

// Queries [row, row + rows) of a head of keys, token by token, that see keys of a segment.
struct Task {
    const NewTokens* text;
    size_t head, segment, row, rows;
    float* state;  // rows x 2
    float* out;    // rows x padded values
};

// One text's results: for each head and segment state and sums of all rows.
struct Part {
    size_t rows, segments;
    float *state, *out;
};

}  // namespace

void put_in_cache(const Kernels& kernels, const Plan& plan, size_t layer, const Cache& cache,
                  const float* rows, ptrdiff_t stride, size_t count, int threads) {
    const size_t depth = plan.head_width, values = round_up(depth, kPageValues);
    const auto put = cache.half() ? kernels.put_in_page_f16 : kernels.put_in_page_f32;
    parallel_for(
        count, 16,
        [&](size_t begin, size_t end) {
            for (size_t t = begin; t < end; t++) {
                const size_t place = cache.length() + t;
                const float* key = rows + ptrdiff_t(t) * stride;
                for (size_t head = 0; head < plan.key_heads; head++, key += depth)
                    put(key, key + plan.keys(), depth, depth, values, place % kPageKeys,
                        cache.page(place / kPageKeys, layer, head));
            }
        },
        threads);
}

void attend_cached(const Kernels& kernels, const Plan& plan, size_t layer, const Sight& sight,
                   const NewTokens* texts, size_t count, int threads) {
    const size_t shared = plan.heads / plan.key_heads, depth = plan.head_width;
    const size_t values = round_up(depth, kPageValues);
    std::vector<Part> parts(count);
    size_t numbers = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t all = texts[i].cache->length() + (sight.causal ? texts[i].count : 0);
        parts[i] = {texts[i].count * shared, divide_up(all, kSegmentPages * kPageKeys), nullptr,
                    nullptr};
        numbers += plan.key_heads * parts[i].segments * parts[i].rows * (2 + values);
    }
    const Scratch scratch(numbers * sizeof(float));
    float* next = scratch.data<float>();
    std::vector<Task> tasks;
    for (size_t i = 0; i < count; i++) {
        Part& part = parts[i];
        const size_t each = plan.key_heads * part.segments * part.rows;
        part.state = next, part.out = next + 2 * each;
        next += each * (2 + values);
        for (size_t head = 0; head < plan.key_heads; head++)
            for (size_t segment = 0; segment < part.segments; segment++)
                for (size_t row = 0; row < part.rows; row += kRows) {
                    const size_t at = (head * part.segments + segment) * part.rows + row;
                    tasks.push_back({texts + i, head, segment, row,
                                     std::min(kRows, part.rows - row), part.state + 2 * at,
                                     part.out + at * values});
                }
    }
    // The last rows see the most keys, so they go first.
    parallel_for(
        tasks.size(), 1,
        [&](size_t i, size_t) {
            const Task& task = tasks[tasks.size() - 1 - i];
            const Cache& cache = *task.text->cache;
            const float *queries[kRows], *biases[kRows];
            int64_t begins[kRows], ends[kRows];
            for (size_t r = 0; r < task.rows; r++) {
                const size_t token = (task.row + r) / shared, place = cache.length() + token;
                const size_t head = task.head * shared + (task.row + r) % shared;
                queries[r] = task.text->queries + ptrdiff_t(token) * task.text->stride +
                             ptrdiff_t(head * depth);
                ends[r] = int64_t(sight.causal ? place + 1 : cache.length());
                begins[r] = sight.window < 0 ? 0 : std::max(int64_t(0), ends[r] - 1 - sight.window);
                if (sight.relative)
                    biases[r] = sight.relative + head * relative_line(sight.longest) +
                                (sight.longest - 1 - place);
            }
            const void* pages[kSegmentPages];
            const size_t first = task.segment * kSegmentPages;
            const size_t some = std::min(kSegmentPages, cache.pages() - first);
            for (size_t p = 0; p < some; p++) pages[p] = cache.page(first + p, layer, task.head);
            const auto attend = cache.half() ? kernels.attend_pages_f16 : kernels.attend_pages_f32;
            attend(queries, begins, ends, sight.relative ? biases : nullptr, task.rows, pages, some,
                   int64_t(first * kPageKeys), depth, values, float(plan.scale), plan.softcap,
                   task.state, task.out);
        },
        threads);
    for (size_t i = 0; i < count; i++) {
        const Part& part = parts[i];
        parallel_for(
            part.rows * plan.key_heads, 64,
            [&](size_t begin, size_t end) {
                for (size_t x = begin; x < end; x++) {
                    const size_t head = x / part.rows, row = x % part.rows;
                    float* to = texts[i].out + row / shared * plan.queries() +
                                (head * shared + row % shared) * depth;
                    std::fill(to, to + depth, 0.0f);
                    if (part.segments == 0) continue;
                    const auto at = [&](size_t s) {
                        return (head * part.segments + s) * part.rows + row;
                    };
                    float most = part.state[2 * at(0)], sum = 0;
                    for (size_t s = 1; s < part.segments; s++)
                        most = std::max(most, part.state[2 * at(s)]);
                    for (size_t s = 0; s < part.segments; s++) {
                        const float factor = std::exp2(part.state[2 * at(s)] - most);
                        sum += part.state[2 * at(s) + 1] * factor;
                        const float* from = part.out + at(s) * values;
                        for (size_t e = 0; e < depth; e++) to[e] += from[e] * factor;
                    }
                    for (size_t e = 0; e < depth; e++) to[e] /= sum;
                }
            },
            threads);
    }
}

}  // namespace firth::transformer
