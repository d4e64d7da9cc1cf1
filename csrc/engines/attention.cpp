// Keys and values are packed, once for all heads that share them; then a block of queries goes
// through all blocks of keys:
//
//   a head, kQueryBlock queries
//     block of keys       kKeyBlock; keys and values of the block stay in L2 for all panels
//       panel of queries  gemm_columns of them, one a lane
//         scores (keys x queries) = keys x queries^T   gemm kernel
//         softmax of the block, rescaling              attention_softmax
//         out (values x queries) += values^T x weights gemm kernel
//   out / sum                                          attention_finish
//
// A query whose scores or sums leave the range of float32 is computed again, in double (`exact`).
#include "engines/attention.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "memory.h"
#include "parallel.h"
#include "sizes.h"

namespace firth {
namespace {

constexpr size_t kQueryBlock = 128;
constexpr double kLog2E = 1.4426950408889634;

const Gemm& gemm_of(const Kernels& kernels, float) { return kernels.gemm_f32; }
const Gemm& gemm_of(const Kernels& kernels, uint16_t) { return kernels.gemm_bf16; }

bool finite(float x) { return std::isfinite(x); }
bool finite(uint16_t bits) { return (bits & 0x7f80) != 0x7f80; }
double value_of(float x) { return double(x); }
double value_of(uint16_t bits) {
    const uint32_t wide = uint32_t(bits) << 16;
    float x;
    std::memcpy(&x, &wide, 4);
    return double(x);
}
void round_to(double x, float* to) { *to = float(x); }
void round_to(double x, uint16_t* to) {  // finite: to nearest, ties to even
    const float narrow = float(x);
    uint32_t bits;
    std::memcpy(&bits, &narrow, 4);
    *to = uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The packed blocks of one head.
struct Blocks {
    const KeysValues* packed;
    size_t head;
    const char* data;  // where not packed before: all blocks
    size_t bytes;

    const char* at(size_t b) const { return packed ? packed->at(head, b) : data + b * bytes; }
};

template <class T>
class Attention {
  public:
    Attention(const Kernels& kernels, const AttentionShape& shape)
        : kernels_(kernels),
          gemm_(gemm_of(kernels, T())),
          shape_(shape),
          block_{gemm_, shape.depth, shape.values},
          columns_(gemm_.columns),
          key_blocks_(divide_up(shape.keys, kKeyBlock)),
          query_blocks_(divide_up(shape.queries, kQueryBlock)) {}

    size_t block_bytes() const { return block_.bytes(); }
    size_t key_blocks() const { return key_blocks_; }
    size_t query_blocks() const { return query_blocks_; }

    // key: S x E, value: S x Ev; to: key_blocks() x block_bytes(); block `b` of both.
    void pack(const AttentionHead<T>& head, size_t b, char* to) const {
        const size_t first = b * kKeyBlock, size = sizeof(T);
        block_.pack(
            reinterpret_cast<const char*>(head.key + ptrdiff_t(first) * shape_.key_stride),
            shape_.key_stride * ptrdiff_t(size),
            reinterpret_cast<const char*>(head.value + ptrdiff_t(first) * shape_.value_stride),
            shape_.value_stride * ptrdiff_t(size), std::min(kKeyBlock, shape_.keys - first),
            to + b * block_.bytes());
    }

    // Queries of one block, through all keys.
    void run(const AttentionHead<T>& head, const Blocks& blocks, size_t query_block) const {
        const size_t begin = query_block * kQueryBlock;
        const size_t end = std::min(begin + kQueryBlock, shape_.queries);
        const size_t panels = divide_up(end - begin, columns_), width = columns_ * sizeof(float);
        const size_t query_bytes = columns_ * packed_k(gemm_, shape_.depth);
        const size_t sums_bytes = width * shape_.values, state_bytes = 3 * width;
        const size_t panel_bytes = query_bytes + sums_bytes + state_bytes;
        const size_t score_bytes = width * kKeyBlock;
        const Scratch lease(panels * panel_bytes + 4 * score_bytes);
        char* const scratch = lease.data();
        float* scores = reinterpret_cast<float*>(scratch);
        float* mask_panel = reinterpret_cast<float*>(scratch + score_bytes);
        float* mask_rows = reinterpret_cast<float*>(scratch + 2 * score_bytes);
        char* weights = scratch + 3 * score_bytes;
        char* panel_data = scratch + 4 * score_bytes;

        for (size_t p = 0; p < panels; p++) {
            const size_t first = begin + p * columns_, queries = std::min(columns_, end - first);
            char* query = panel_data + p * panel_bytes;
            gemm_.pack_b_transposed(head.query + ptrdiff_t(first) * shape_.query_stride,
                                    shape_.query_stride * ptrdiff_t(sizeof(T)), query, queries,
                                    shape_.depth);
            std::memset(query + query_bytes, 0, sums_bytes + state_bytes);
            float* state = reinterpret_cast<float*>(query + query_bytes + sums_bytes);
            std::fill(state, state + columns_, -__builtin_inff());
        }
        for (size_t b = 0; b < key_blocks_; b++) {
            const size_t first_key = b * kKeyBlock;
            const char* block = blocks.at(b);
            for (size_t p = 0; p < panels; p++) {
                const size_t first = begin + p * columns_;
                const size_t queries = std::min(columns_, end - first);
                // Causal: a panel sees keys up to its last query. (Whole blocks: tiles of packed
                // keys cannot be cut.)
                if (shape_.causal && first_key >= first + queries) continue;
                const size_t keys = std::min(kKeyBlock, shape_.keys - first_key);
                const ptrdiff_t diagonal =
                    shape_.causal ? ptrdiff_t(first) - ptrdiff_t(first_key) : ptrdiff_t(keys);
                char* query = panel_data + p * panel_bytes;
                float* sums = reinterpret_cast<float*>(query + query_bytes);
                float* state = reinterpret_cast<float*>(query + query_bytes + sums_bytes);
                const float* mask = nullptr;
                if (shape_.mask != AttentionShape::none) {
                    fill_mask(head.mask, first, queries, first_key, keys, mask_rows);
                    kernels_.gemm_f32.pack_b_transposed(mask_rows, ptrdiff_t(keys * sizeof(float)),
                                                        mask_panel, queries, keys);
                    mask = mask_panel;
                }
                multiply(block, query, scores, keys, shape_.depth, false);
                const bool additive = shape_.mask == AttentionShape::additive;
                if constexpr (sizeof(T) == 4) {
                    kernels_.attention_softmax_f32(scores, keys, scale(), mask, additive, diagonal,
                                                   state, sums, shape_.values, scores);
                    multiply(block + block_.key_bytes(), reinterpret_cast<char*>(scores), sums,
                             shape_.values, keys, true);
                } else {
                    kernels_.attention_softmax_bf16(scores, keys, scale(), mask, additive, diagonal,
                                                    state, sums, shape_.values, weights);
                    // Pairs of keys, padded as packed operands are.
                    const size_t used = round_up(keys, 2) * columns_ * sizeof(T);
                    std::memset(weights + used, 0, packed_k(gemm_, keys) * columns_ - used);
                    multiply(block + block_.key_bytes(), weights, sums, shape_.values, keys, true);
                }
            }
        }
        for (size_t p = 0; p < panels; p++) {
            const size_t first = begin + p * columns_, queries = std::min(columns_, end - first);
            const float* sums =
                reinterpret_cast<const float*>(panel_data + p * panel_bytes + query_bytes);
            const float* state = sums + sums_bytes / sizeof(float);
            T* out = head.out + ptrdiff_t(first) * shape_.out_stride;
            if constexpr (sizeof(T) == 4)
                kernels_.attention_finish_f32(sums, state, queries, shape_.values, out,
                                              shape_.out_stride);
            else
                kernels_.attention_finish_bf16(sums, state, queries, shape_.values, out,
                                               shape_.out_stride);
            float* lse = head.lse ? head.lse + first : nullptr;
            for (size_t i = 0; i < queries; i++) {
                T* row = out + ptrdiff_t(i) * shape_.out_stride;
                if (lse) lse[i] = log_sum(double(state[i]), double(state[columns_ + i]));
                if (state[2 * columns_ + i] > limit() ||
                    !std::all_of(row, row + shape_.values, [](T x) { return finite(x); }))
                    exact(head, blocks, first + i, row, lse ? lse + i : nullptr);
            }
        }
    }

  private:
    // From scores to the units of an additive mask, or else to exponents of 2: then not 0, since
    // the difference to a masked score, -inf, must stay so.
    float scale() const {
        if (shape_.mask == AttentionShape::additive) return float(shape_.scale);
        return float(std::clamp(shape_.scale * kLog2E, double(FLT_TRUE_MIN), double(FLT_MAX)));
    }

    // Scores beyond it leave the range of float32, or their differences, which scale() may bring
    // back; with an additive mask those are beyond all range.
    float limit() const {
        if (shape_.mask == AttentionShape::additive) return FLT_MAX;
        return shape_.scale * kLog2E > double(FLT_MAX) ? -1.0f : FLT_MAX / 2;
    }

    // reference: in the units of the scores
    float log_sum(double reference, double sum) const {
        if (sum == 0) return -HUGE_VALF;
        if (shape_.mask != AttentionShape::additive) reference *= shape_.scale;
        return float(reference + std::log(sum));
    }

    // One query in double, where nothing overflows. Leaves float32's result where an input is not
    // finite. out: values; lse: one, or null
    void exact(const AttentionHead<T>& head, const Blocks& blocks, size_t query, T* out,
               float* lse) const {
        const Scratch rows(kKeyBlock * (shape_.depth + shape_.values) * sizeof(T));
        T *const key = rows.data<T>(), *const value = key + kKeyBlock * shape_.depth;
        const T* q = head.query + ptrdiff_t(query) * shape_.query_stride;
        std::vector<double> sums(shape_.values);
        std::vector<float> mask(kKeyBlock);
        double top = -HUGE_VAL, sum = 0;
        bool usual = true;
        for (size_t b = 0; b < key_blocks_ && usual; b++) {
            const size_t first_key = b * kKeyBlock;
            const size_t keys = std::min(kKeyBlock, shape_.keys - first_key);
            block_.unpack(blocks.at(b), keys, reinterpret_cast<char*>(key),
                          reinterpret_cast<char*>(value));
            std::vector<double> scores(keys);
            for (size_t k = 0; k < keys; k++)
                for (size_t i = 0; i < shape_.depth; i++)
                    scores[k] += value_of(q[i]) * value_of(key[k * shape_.depth + i]);
            if (shape_.mask != AttentionShape::none)
                fill_mask(head.mask, query, 1, first_key, keys, mask.data());
            double best = top;
            for (size_t k = 0; k < keys; k++) {
                scores[k] = scores[k] * shape_.scale + double(mask[k]);
                if (mask[k] == -HUGE_VALF || (shape_.causal && first_key + k > query))
                    scores[k] = -HUGE_VAL;
                else
                    usual = usual && std::isfinite(scores[k]);
                best = std::max(best, scores[k]);
            }
            if (best == -HUGE_VAL) continue;
            const double rescale = std::exp(top - best);
            top = best;
            sum *= rescale;
            for (double& x : sums) x *= rescale;
            for (double& x : scores) sum += x = std::exp(x - top);
            for (size_t e = 0; e < shape_.values; e++)
                for (size_t k = 0; k < keys; k++)
                    sums[e] += scores[k] * value_of(value[e * keys + k]);
        }
        for (double x : sums) usual = usual && std::isfinite(x);
        if (!usual) return;
        for (size_t e = 0; e < shape_.values; e++) round_to(sum == 0 ? 0 : sums[e] / sum, out + e);
        if (lse) *lse = sum == 0 ? -HUGE_VALF : float(top + std::log(sum));
    }

    // One panel of C: m x columns_
    void multiply(const char* a, const char* b, float* c, size_t m, size_t k,
                  bool accumulate) const {
        gemm_.multiply(a, b, c, ptrdiff_t(columns_), m, columns_, k, accumulate);
    }

    // rows: queries x keys, what is added to the scores
    void fill_mask(const void* mask, size_t first, size_t queries, size_t first_key, size_t keys,
                   float* rows) const {
        for (size_t q = 0; q < queries; q++) {
            const ptrdiff_t start = ptrdiff_t(first + q) * shape_.mask_stride +
                                    ptrdiff_t(first_key) * shape_.mask_key_stride;
            const ptrdiff_t step = shape_.mask_key_stride;
            float* row = rows + q * keys;
            if (shape_.mask == AttentionShape::boolean) {
                const char* from = static_cast<const char*>(mask) + start;
                for (size_t k = 0; k < keys; k++)
                    row[k] = from[ptrdiff_t(k) * step] ? 0.0f : -__builtin_inff();
            } else {
                const float* from = static_cast<const float*>(mask) + start;
                for (size_t k = 0; k < keys; k++) row[k] = from[ptrdiff_t(k) * step];
            }
        }
    }

    const Kernels& kernels_;
    const Gemm& gemm_;
    const AttentionShape& shape_;
    const KeyBlock block_;
    const size_t columns_, key_blocks_, query_blocks_;
};

}  // namespace

template <class T>
void attention(const Kernels& kernels, const AttentionShape& shape, const AttentionHead<T>* heads,
               size_t count, const KeysValues* ready) {
    if (count == 0 || shape.queries == 0) return;
    const Attention<T> job(kernels, shape);
    const double flops = 2.0 * double(count) * double(shape.queries) * double(shape.keys) *
                         double(shape.depth + shape.values);
    const size_t threads = flops < kSerialFlops ? 1 : static_cast<size_t>(num_threads());
    const auto each = [&](size_t tasks, const auto& body) {
        using Body = std::remove_reference_t<decltype(body)>;
        parallel_tasks(
            tasks, int(threads), [](void* context, size_t i) { (*static_cast<Body*>(context))(i); },
            const_cast<void*>(static_cast<const void*>(&body)));
    };
    const size_t query_blocks = job.query_blocks(), bytes = job.block_bytes();
    // Task i of the heads from `first` on. The last queries first: with a causal mask they are the
    // longest tasks.
    const auto run = [&](size_t first, size_t i, const char* packed) {
        const AttentionHead<T>& head = heads[first + i / query_blocks];
        job.run(head, Blocks{ready, head.packed, packed, bytes},
                query_blocks - 1 - i % query_blocks);
    };
    if (ready) return each(count * query_blocks, [&](size_t i) { run(0, i, nullptr); });

    std::vector<size_t> runs;  // where runs of heads with the same keys and values begin, and count
    for (size_t i = 0; i < count; i++)
        if (i == 0 || heads[i].key != heads[i - 1].key || heads[i].value != heads[i - 1].value)
            runs.push_back(i);
    const size_t run_count = runs.size();
    runs.push_back(count);

    // Enough runs for all threads: each task packs for itself, and finds it in its own L2.
    if (run_count % threads == 0 || run_count >= 8 * threads)
        return each(run_count, [&](size_t r) {
            const Scratch packed(product(job.key_blocks(), bytes));
            for (size_t b = 0; b < job.key_blocks(); b++)
                job.pack(heads[runs[r]], b, packed.data());
            for (size_t i = 0; i < (runs[r + 1] - runs[r]) * query_blocks; i++)
                run(runs[r], i, packed.data());
        });
    // Otherwise all threads pack a run together and share its queries.
    const Scratch packed(product(job.key_blocks(), bytes));
    for (size_t r = 0; r < run_count; r++) {
        each(job.key_blocks(), [&](size_t b) { job.pack(heads[runs[r]], b, packed.data()); });
        each((runs[r + 1] - runs[r]) * query_blocks,
             [&](size_t i) { run(runs[r], i, packed.data()); });
    }
}

template void attention(const Kernels&, const AttentionShape&, const AttentionHead<float>*, size_t,
                        const KeysValues*);
template void attention(const Kernels&, const AttentionShape&, const AttentionHead<uint16_t>*,
                        size_t, const KeysValues*);

}  // namespace firth
