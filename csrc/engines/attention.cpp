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

#include "engines/gemm.h"
#include "parallel.h"

namespace firth {
namespace {

constexpr size_t kKeyBlock = 128;
constexpr size_t kQueryBlock = 128;
constexpr double kLog2E = 1.4426950408889634;
constexpr double kSerialFlops = 2e6;                 // below: waking a thread costs more
constexpr int kTaskScratch = 3, kPackedScratch = 4;  // slots; gemm has 0 to 2

size_t divide_up(size_t value, size_t divisor) { return (value + divisor - 1) / divisor; }

template <class T>
size_t units(size_t elements) {  // of 4 bytes, along a packed axis
    return divide_up(elements * sizeof(T), 4);
}

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

template <class T>
class Attention {
  public:
    Attention(const Kernels& kernels, const AttentionShape& shape)
        : kernels_(kernels),
          shape_(shape),
          columns_(kernels.gemm_columns),
          key_blocks_(divide_up(shape.keys, kKeyBlock)),
          query_blocks_(divide_up(shape.queries, kQueryBlock)),
          // Every block has the room of a whole one.
          key_bytes_(4 * kKeyBlock * units<T>(shape.depth)),
          value_bytes_(4 * units<T>(kKeyBlock) * shape.values) {}

    size_t packed_bytes() const { return key_blocks_ * (key_bytes_ + value_bytes_); }
    size_t key_blocks() const { return key_blocks_; }
    size_t query_blocks() const { return query_blocks_; }

    // key: S x E, value: S x Ev; to: packed_bytes(); block `b` of both.
    void pack(const AttentionHead<T>& head, size_t b, char* to) const {
        const size_t first = b * kKeyBlock, keys = std::min(kKeyBlock, shape_.keys - first);
        char* block = to + b * (key_bytes_ + value_bytes_);
        kernels_.gemm_pack_a(head.key + ptrdiff_t(first) * shape_.key_stride,
                             shape_.key_stride * ptrdiff_t(sizeof(T)), block, keys,
                             shape_.depth * sizeof(T));
        const T* value = head.value + ptrdiff_t(first) * shape_.value_stride;
        if constexpr (sizeof(T) == 4)
            kernels_.gemm_pack_a_transposed_f32(value, shape_.value_stride, block + key_bytes_,
                                                keys, shape_.values);
        else
            kernels_.gemm_pack_a_transposed_bf16(value, shape_.value_stride, block + key_bytes_,
                                                 keys, shape_.values);
    }

    // Queries of one block, through all keys.
    void run(const AttentionHead<T>& head, const char* packed, size_t query_block) const {
        const size_t begin = query_block * kQueryBlock;
        const size_t end = std::min(begin + kQueryBlock, shape_.queries);
        const size_t panels = divide_up(end - begin, columns_), width = columns_ * sizeof(float);
        const size_t query_bytes = columns_ * 4 * units<T>(shape_.depth);
        const size_t sums_bytes = width * shape_.values, state_bytes = 3 * width;
        const size_t panel_bytes = query_bytes + sums_bytes + state_bytes;
        const size_t score_bytes = width * kKeyBlock;
        char* scratch = thread_scratch(kTaskScratch, panels * panel_bytes + 4 * score_bytes);
        float* scores = reinterpret_cast<float*>(scratch);
        float* mask_panel = reinterpret_cast<float*>(scratch + score_bytes);
        float* mask_rows = reinterpret_cast<float*>(scratch + 2 * score_bytes);
        char* weights = scratch + 3 * score_bytes;
        char* panel_data = scratch + 4 * score_bytes;

        for (size_t p = 0; p < panels; p++) {
            const size_t first = begin + p * columns_, queries = std::min(columns_, end - first);
            char* query = panel_data + p * panel_bytes;
            kernels_.gemm_pack_b_transposed(head.query + ptrdiff_t(first) * shape_.query_stride,
                                            shape_.query_stride * ptrdiff_t(sizeof(T)), query,
                                            queries, shape_.depth * sizeof(T));
            std::memset(query + query_bytes, 0, sums_bytes + state_bytes);
            float* state = reinterpret_cast<float*>(query + query_bytes + sums_bytes);
            std::fill(state, state + columns_, -__builtin_inff());
        }
        for (size_t b = 0; b < key_blocks_; b++) {
            const size_t first_key = b * kKeyBlock;
            const char* block = packed + b * (key_bytes_ + value_bytes_);
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
                    kernels_.gemm_pack_b_transposed(mask_rows, ptrdiff_t(keys * sizeof(float)),
                                                    mask_panel, queries, keys * sizeof(float));
                    mask = mask_panel;
                }
                multiply(block, query, scores, keys, shape_.depth, false);
                const bool additive = shape_.mask == AttentionShape::additive;
                if constexpr (sizeof(T) == 4) {
                    kernels_.attention_softmax_f32(scores, keys, scale(), mask, additive, diagonal,
                                                   state, sums, shape_.values, scores);
                    multiply(block + key_bytes_, reinterpret_cast<char*>(scores), sums,
                             shape_.values, keys, true);
                } else {
                    kernels_.attention_softmax_bf16(scores, keys, scale(), mask, additive, diagonal,
                                                    state, sums, shape_.values, weights);
                    multiply(block + key_bytes_, weights, sums, shape_.values, keys, true);
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
            for (size_t i = 0; i < queries; i++) {
                T* row = out + ptrdiff_t(i) * shape_.out_stride;
                if (state[2 * columns_ + i] > limit() ||
                    !std::all_of(row, row + shape_.values, [](T x) { return finite(x); }))
                    exact(head, packed, first + i, row);
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

    // One query in double, where nothing overflows. Keys and values come out of their packed form,
    // whatever the level's is, by products with the identity. Leaves float32's result where an
    // input is not finite. out: values
    void exact(const AttentionHead<T>& head, const char* packed, size_t query, T* out) const {
        const size_t longest = std::max(shape_.depth, kKeyBlock);
        const AlignedBuffer ones(columns_ * longest * sizeof(T));
        const AlignedBuffer panel(columns_ * 4 * units<T>(longest));
        const AlignedBuffer product(std::max(kKeyBlock, shape_.values) * columns_ * sizeof(float));
        float* c = reinterpret_cast<float*>(product.data());
        // each(first, n) for columns [first, first + n) of a, m x k packed, which then stand in c
        const auto unpack = [&](const char* a, size_t m, size_t k, const auto& each) {
            for (size_t first = 0; first < k; first += columns_) {
                const size_t n = std::min(columns_, k - first);
                T* rows = reinterpret_cast<T*>(ones.data());
                std::fill(rows, rows + n * k, T(0));
                for (size_t i = 0; i < n; i++) round_to(1.0, rows + i * k + first + i);
                kernels_.gemm_pack_b_transposed(rows, ptrdiff_t(k * sizeof(T)), panel.data(), n,
                                                k * sizeof(T));
                multiply(a, panel.data(), c, m, k, false);
                each(first, n);
            }
        };
        const T* q = head.query + ptrdiff_t(query) * shape_.query_stride;
        std::vector<double> sums(shape_.values);
        std::vector<float> mask(kKeyBlock);
        double top = -HUGE_VAL, sum = 0;
        bool usual = true;
        for (size_t b = 0; b < key_blocks_ && usual; b++) {
            const size_t first_key = b * kKeyBlock;
            const size_t keys = std::min(kKeyBlock, shape_.keys - first_key);
            const char* block = packed + b * (key_bytes_ + value_bytes_);
            std::vector<double> scores(keys);
            unpack(block, keys, shape_.depth, [&](size_t first, size_t n) {
                for (size_t k = 0; k < keys; k++)
                    for (size_t i = 0; i < n; i++)
                        scores[k] += value_of(q[first + i]) * double(c[k * columns_ + i]);
            });
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
            unpack(block + key_bytes_, shape_.values, keys, [&](size_t first, size_t n) {
                for (size_t e = 0; e < shape_.values; e++)
                    for (size_t i = 0; i < n; i++)
                        sums[e] += scores[first + i] * double(c[e * columns_ + i]);
            });
        }
        for (double x : sums) usual = usual && std::isfinite(x);
        if (!usual) return;
        for (size_t e = 0; e < shape_.values; e++) round_to(sum == 0 ? 0 : sums[e] / sum, out + e);
    }

    // One panel of C: m x columns_
    void multiply(const char* a, const char* b, float* c, size_t m, size_t k,
                  bool accumulate) const {
        (sizeof(T) == 4 ? kernels_.gemm_f32 : kernels_.gemm_bf16)(a, b, c, ptrdiff_t(columns_), m,
                                                                  columns_, k, accumulate);
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
    const AttentionShape& shape_;
    const size_t columns_, key_blocks_, query_blocks_, key_bytes_, value_bytes_;
};

}  // namespace

template <class T>
void attention(const Kernels& kernels, const AttentionShape& shape, const AttentionHead<T>* heads,
               size_t count) {
    if (count == 0 || shape.queries == 0 || shape.values == 0) return;
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
    std::vector<size_t> runs;  // where runs of heads with the same keys and values begin, and count
    for (size_t i = 0; i < count; i++)
        if (i == 0 || heads[i].key != heads[i - 1].key || heads[i].value != heads[i - 1].value)
            runs.push_back(i);
    const size_t run_count = runs.size();
    runs.push_back(count);

    // Enough runs for all threads: each task packs for itself, and finds it in its own L2.
    if (run_count % threads == 0 || run_count >= 8 * threads)
        return each(run_count, [&](size_t r) {
            char* packed = thread_scratch(kPackedScratch, job.packed_bytes());
            for (size_t b = 0; b < job.key_blocks(); b++) job.pack(heads[runs[r]], b, packed);
            for (size_t i = runs[r]; i < runs[r + 1]; i++)
                for (size_t b = 0; b < job.query_blocks(); b++) job.run(heads[i], packed, b);
        });
    // Else all threads pack a run and share its queries.
    char* packed = thread_scratch(kPackedScratch, job.packed_bytes());
    for (size_t r = 0; r < run_count; r++) {
        each(job.key_blocks(), [&](size_t b) { job.pack(heads[runs[r]], b, packed); });
        each((runs[r + 1] - runs[r]) * job.query_blocks(), [&](size_t i) {
            // The last queries first: with a causal mask they are the longest tasks.
            job.run(heads[runs[r] + i / job.query_blocks()], packed,
                    job.query_blocks() - 1 - i % job.query_blocks());
        });
    }
}

template void attention(const Kernels&, const AttentionShape&, const AttentionHead<float>*, size_t);
template void attention(const Kernels&, const AttentionShape&, const AttentionHead<uint16_t>*,
                        size_t);

}  // namespace firth
