// The steps of a group of texts are one class, since they share its buffers: hence the length of
// this file.
#include "engines/transformer/run.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "caches.h"
#include "engines/attention.h"
#include "engines/transformer/masks.h"
#include "engines/transformer/paged.h"
#include "engines/transformer/shares.h"
#include "levels.h"
#include "parallel.h"
#include "sizes.h"

namespace firth::transformer {
namespace {

constexpr size_t kRows = 16;  // of a step over rows that threads share

// Whether products take their inputs in fewer bits.
bool narrow(Precision precision) {
    return precision == Precision::bfloat16 || precision == Precision::int8;
}

void multiply_stored(const Stack& stack, const Linear& w, size_t count, const float* x,
                     ptrdiff_t x_stride, float* out, int activation, const float* residual,
                     int threads) {
    const BlockInput in(stack.kernels, x, x_stride, count, w.inputs,
                        w.takes_digits() ? stack.digits() : 0, threads);
    Epilogue e{};
    e.scale = 1.0, e.activation = activation, e.stride = ptrdiff_t(w.outputs);
    size_t column = 0;
    for (const BlockMatrix& part : w.stored) {
        e.bias = w.bias.empty() ? nullptr : w.bias.data() + column;
        e.residual = residual ? residual + column : nullptr;
        part.multiply(in, out + column, ptrdiff_t(w.outputs), e, threads);
        column += part.rows();
    }
}

// One group of texts on its way through the layers. T = its tokens.
class Group {
  public:
    Group(const Stack& stack, const Texts& texts, const Outputs& outputs, const size_t* members,
          size_t count, size_t tokens, int threads)
        : stack_(stack),
          plan_(stack.plan),
          kernels_(stack.kernels),
          texts_(texts),
          offsets_(texts.offsets),
          outputs_(outputs),
          members_(members),
          count_(count),
          tokens_(tokens),
          threads_(threads),
          narrow_attention_(narrow(stack.precision) && !texts.caches &&
                            bfloat16_is_fast(stack.kernels)),
          remembered_(count_memory()),
          most_(std::max(tokens, remembered_)),
          longest_(longest()),
          states_(2 * tokens * plan_.width * sizeof(float)),
          x_(states_.data<float>()),
          y_(x_ + tokens * plan_.width),
          wide_(tokens *
                std::max({plan_.joined(), stack.layers.empty() ? 0 : up_width(),
                          stack.embedding_width()}) *
                sizeof(float)),
          attended_(tokens * plan_.queries() * sizeof(float)),
          memory_(remembered_ * (plan_.memory + 2 * plan_.keys()) * sizeof(float)),
          narrow_(most_ * narrow_bytes()),
          halves_(narrow_attention_ ? tokens * (plan_.joined() + plan_.queries()) * 2 : 0),
          scales_((3 + kMostApart) * most_ * sizeof(float)),
          places_(tokens * sizeof(int32_t)),
          lines_(line_numbers() * sizeof(float)) {}

    void run() {
        embed();
        gather_memory();
        fill_lines();
        deliver_states(0);
        for (size_t i = 0; i < stack_.layers.size(); i++) {
            if (threads_ > 1) keep_threads_awake();
            attend(i);
            if (texts_.wanted && tokens_ == 0) return;
            if (plan_.memory) attend_memory(i);
            feed(i);
            if (i + 1 < stack_.layers.size()) deliver_states(i + 1);
        }
        if (stack_.layers.empty()) keep_wanted();
        norm(stack_.final, x_, x_, plan_.width);
        if (!stack_.layers.empty()) deliver_states(stack_.layers.size());
        if (outputs_.hidden) deliver(outputs_.hidden);
        if (outputs_.pooling != Pooling::none) pool();
    }

    // Of a group without tokens: puts its memory into a cache.
    void remember(const Cache& cache) {
        gather_memory();
        for (size_t i = 0; i < stack_.layers.size(); i++)
            put_in_cache(kernels_, plan_, i, cache, project_memory(*stack_.layers[i]),
                         ptrdiff_t(2 * plan_.keys()), remembered_, threads_);
    }

  private:
    size_t up_width() const {
        size_t most = 0;
        for (const auto& layer : stack_.layers) most = std::max(most, layer->up.outputs);
        return most;
    }
    // Of a token's operand in bfloat16 or bytes.
    size_t narrow_bytes() const {
        if (!narrow(stack_.precision)) return 0;
        const size_t element = stack_.precision == Precision::int8 ? 1 : 2;
        return element * std::max({plan_.width, plan_.queries(), plan_.hidden, plan_.memory,
                                   stack_.embedding_width()});
    }
    size_t memory_length(size_t member) const {
        if (!texts_.memory) return 0;
        return size_t(texts_.memory_offsets[member + 1] - texts_.memory_offsets[member]);
    }
    size_t count_memory() const {
        size_t sum = 0;
        for (size_t i = 0; plan_.memory && i < count_; i++) sum += memory_length(members_[i]);
        return sum;
    }
    // Tokens that the text has already.
    size_t past(size_t member) const { return texts_.caches ? texts_.caches[member]->length() : 0; }
    size_t length(size_t member) const { return size_t(offsets_[member + 1] - offsets_[member]); }
    // body(begin, end) over the group's tokens, or over `count` rows.
    template <class Body>
    void rows(const Body& body) const {
        rows(tokens_, body);
    }
    template <class Body>
    void rows(size_t count, const Body& body) const {
        if (threads_ == 1) return body(size_t(0), count);
        parallel_for(count, kRows, body, threads_);
    }
    // body(text, its first token in the group) for each text
    template <class Body>
    void each_text(const Body& body) const {
        for (size_t i = 0, first = 0; i < count_; first += length(members_[i]), i++)
            body(members_[i], first);
    }

    // x, out: T x n, contiguous; in place where there is no norm
    void norm(const Norm& weights, const float* x, float* out, size_t n) const {
        if (!weights.present()) return;
        norm_rows(weights, x, ptrdiff_t(n), out, ptrdiff_t(n), n);
    }
    void norm_rows(const Norm& weights, const float* x, ptrdiff_t x_stride, float* out,
                   ptrdiff_t out_stride, size_t n) const {
        const float* gain = weights.gain.data();
        const float* bias = weights.bias.empty() ? nullptr : weights.bias.data();
        rows([&](size_t begin, size_t end) {
            const float* from = x + ptrdiff_t(begin) * x_stride;
            float* to = out + ptrdiff_t(begin) * out_stride;
            if (plan_.rms)
                kernels_.f32.rms_norm(from, x_stride, gain, plan_.epsilon, to, out_stride,
                                      end - begin, n);
            else
                kernels_.f32.layer_norm(from, x_stride, gain, bias, plan_.epsilon, to, out_stride,
                                        end - begin, n);
        });
    }

    // out = activation(x W^T + b) + residual. x: T x inputs, x_stride elements from row to row;
    // out: T x outputs, not residual; residual: as out, or null.
    void multiply(const Linear& w, const float* x, ptrdiff_t x_stride, float* out,
                  int activation = kNone, const float* residual = nullptr) const {
        multiply(w, tokens_, x, x_stride, out, activation, residual);
    }
    // The same of `count` rows.
    void multiply(const Linear& w, size_t count, const float* x, ptrdiff_t x_stride, float* out,
                  int activation, const float* residual) const {
        if (!w.type)
            return multiply_stored(stack_, w, count, x, x_stride, out, activation, residual,
                                   threads_);
        const ptrdiff_t stride = ptrdiff_t(w.outputs), inputs = ptrdiff_t(w.inputs);
        Epilogue e{};
        e.scale = 1.0, e.activation = activation, e.residual = residual, e.stride = stride;
        if (!w.bias.empty()) e.bias = w.bias.data();
        Operand a{reinterpret_cast<const char*>(x), x_stride * ptrdiff_t(sizeof(float)), false};
        if (narrow(stack_.precision))
            a = {narrow_.data(), inputs * ptrdiff_t(w.type->element), false};
        if (stack_.precision == Precision::int8) {
            float *scales = scales_.data<float>(), *lows = scales + count, *left = lows + count;
            rows(count, [&](size_t begin, size_t end) {
                code_tokens(w, x, x_stride, begin, end, scales, lows, left);
            });
            e.row_scales = scales, e.row_offsets = lows;
            e.column_scales = w.scales.data(), e.column_sums = w.sums.data();
            e.left = left, e.right = w.right.data();
            e.rank = 1 + w.apart.size(), e.right_stride = stride;
        } else if (stack_.precision == Precision::bfloat16) {
            rows(count, [&](size_t begin, size_t end) {
                kernels_.narrow_f32(x + ptrdiff_t(begin) * x_stride, x_stride,
                                    narrow_.data<uint16_t>() + begin * w.inputs, inputs,
                                    end - begin, w.inputs);
            });
        }
        gemm(*w.type, a, Packed{w.packed.data(), w.inputs, w.outputs},
             Result{reinterpret_cast<char*>(out), stride, &e}, count, threads_);
    }

    // Codes of tokens [begin, end), and what the product of bytes leaves to float32: left is T x (1
    // + apart), see Linear.
    void code_tokens(const Linear& w, const float* x, ptrdiff_t x_stride, size_t begin, size_t end,
                     float* scales, float* lows, float* left) const {
        const size_t n = w.inputs, rank = 1 + w.apart.size();
        const Scratch rest(n * sizeof(float));
        for (size_t t = begin; t < end; t++) {
            const float* row = x + ptrdiff_t(t) * x_stride;
            for (size_t r = 1; r < rank; r++) left[t * rank + r] = row[w.apart[r - 1]];
            if (rank > 1) {
                std::memcpy(rest.data(), row, n * sizeof(float));
                w.fill_apart(rest.data<float>());
                row = rest.data<float>();
            }
            uint8_t* codes = narrow_.data<uint8_t>() + t * n;
            int32_t sum;  // of the codes that are not apart
            kernels_.quantize_rows(row, x_stride, 1, n, codes, scales + t, lows + t, &sum);
            for (const uint32_t a : w.apart) sum -= codes[a];
            left[t * rank] = scales[t] * float(sum) + lows[t] * float(n + 1 - rank);
        }
    }

    // Raises `greatest` to the largest magnitudes of the inputs of a product. x: T x n
    void look(const float* x, ptrdiff_t stride, size_t n, float* greatest) const {
        for (size_t t = 0; t < tokens_; t++)
            for (size_t i = 0; i < n; i++)
                greatest[i] =
                    std::max(greatest[i], std::fabs(x[ptrdiff_t(t) * stride + ptrdiff_t(i)]));
    }

    // The place of each token in the tables of positions and angles.
    void place() {
        int32_t* places = places_.data<int32_t>();
        each_text([&](size_t member, size_t first) {
            const size_t at = size_t(texts_.offsets[member]);
            for (size_t i = 0; i < length(member); i++)
                places[first + i] = texts_.positions
                                        ? texts_.positions[at + i]
                                        : int32_t(past(member) + i + plan_.position_offset);
        });
    }

    void embed() {
        place();
        const size_t width = stack_.embedding_width();
        const bool projected = stack_.projection.present();
        const Scratch stored(stack_.stored_tokens ? width * sizeof(float) : 0);
        float* x = projected ? wide_.data<float>() : x_;
        const int32_t* places = places_.data<int32_t>();
        each_text([&](size_t member, size_t first) {
            const size_t at = size_t(texts_.offsets[member]);
            for (size_t i = 0; i < length(member); i++) {
                const size_t id = size_t(texts_.ids[at + i]);
                const float* token = stack_.tokens.data + id * width;
                if (stack_.stored_tokens) {
                    stack_.stored_tokens->widen(id, stored.data<float>());
                    token = stored.data<float>();
                }
                const float* place = stack_.positions.data
                                         ? stack_.positions.data + size_t(places[first + i]) * width
                                         : nullptr;
                const size_t kind = texts_.types ? size_t(texts_.types[at + i]) : 0;
                const float* type = stack_.types.data ? stack_.types.data + kind * width : nullptr;
                float* row = x + (first + i) * width;
                for (size_t j = 0; j < width; j++) {
                    float sum = token[j] * plan_.embedding_factor;
                    if (type) sum += type[j];
                    if (place) sum += place[j];
                    row[j] = sum;
                }
            }
        });
        norm(stack_.embedding, x, x, width);
        if (projected) multiply(stack_.projection, x, ptrdiff_t(width), x_);
    }

    // The end of a sublayer: x = after(x + inner(from W^T + b)). from: T x inputs
    void add(const Sublayer& norms, const Linear& w, const float* from, ptrdiff_t stride) {
        if (norms.inner.present()) {
            multiply(w, from, stride, y_);
            norm(norms.inner, y_, y_, plan_.width);
            rows([&](size_t begin, size_t end) {
                for (size_t i = begin * plan_.width; i < end * plan_.width; i++) y_[i] += x_[i];
            });
        } else {
            multiply(w, from, stride, y_, kNone, x_);
        }
        std::swap(x_, y_);
        norm(norms.after, x_, x_, plan_.width);
    }
    // What a sublayer takes: T x D
    const float* before(const Sublayer& norms) {
        norm(norms.before, x_, y_, plan_.width);
        return norms.before.present() ? y_ : x_;
    }

    void attend(size_t i) {
        const Layer& layer = *stack_.layers[i];
        float* joined = wide_.data<float>();
        const float* x = before(layer.attention);
        multiply(layer.joined, x, ptrdiff_t(plan_.width), joined);
        const ptrdiff_t stride = ptrdiff_t(plan_.joined());
        const auto norm_heads = [&](const Norm& weights, float* x, size_t heads) {
            if (weights.present() && plan_.joint_norms)
                norm_rows(weights, x, stride, x, stride, heads * plan_.head_width);
            else if (weights.present())
                for (size_t h = 0; h < heads; h++, x += plan_.head_width)
                    norm_rows(weights, x, stride, x, stride, plan_.head_width);
        };
        norm_heads(layer.query_norm, joined, plan_.heads);
        norm_heads(layer.key_norm, joined + plan_.queries(), plan_.key_heads);
        if (!stack_.angles.empty()) {
            const Angles& angles = *stack_.angles[i];
            rows([&](size_t begin, size_t end) {  // queries and keys stand one behind the other
                kernels_.rotary_f32(joined + ptrdiff_t(begin) * stride, stride,
                                    angles.cosines.data(), angles.sines.data(),
                                    places_.data<int32_t>() + begin, end - begin,
                                    plan_.heads + plan_.key_heads, plan_.head_width, plan_.rotated,
                                    plan_.interleaved);
            });
        }
        const ptrdiff_t window = stack_.windows.empty() ? -1 : stack_.windows[i];
        float* attended = attended_.data<float>();
        if (texts_.caches) {
            Sight sight{true, window, nullptr, longest_};
            if (stack_.relative.data) sight.relative = lines_.data<float>();
            each_text([&](size_t member, size_t first) {
                put_in_cache(kernels_, plan_, i, *texts_.caches[member],
                             joined + ptrdiff_t(first) * stride + plan_.queries(), stride,
                             length(member), threads_);
            });
            attend_caches(i, sight, joined, stride);
        } else if (narrow_attention_) {
            uint16_t *half = halves_.data<uint16_t>(), *out = half + tokens_ * plan_.joined();
            rows([&](size_t begin, size_t end) {
                const size_t at = begin * plan_.joined();
                kernels_.narrow_f32(joined + at, stride, half + at, stride, end - begin,
                                    plan_.joined());
            });
            attend_texts(half, out, window, i);
            rows([&](size_t begin, size_t end) {
                const size_t at = begin * plan_.queries(), n = plan_.queries();
                kernels_.widen_rows_bf16(out + at, ptrdiff_t(n), end - begin, n, attended + at, n);
            });
        } else {
            attend_texts(joined, attended, window, i);
        }
        if (outputs_.greatest) {
            look(x, ptrdiff_t(plan_.width), plan_.width, greatest(i));
            look(attended, ptrdiff_t(plan_.queries()), plan_.queries(), greatest(i) + plan_.width);
        }
        if (i + 1 == stack_.layers.size()) keep_wanted();
        add(layer.attention, layer.out, attended, ptrdiff_t(plan_.queries()));
    }

    // From here on each text has the tokens alone whose states are wanted.
    void keep_wanted() {
        if (!texts_.wanted) return;
        float* attended = attended_.data<float>();
        size_t kept = 0;
        each_text([&](size_t member, size_t first) {
            const size_t n = size_t(texts_.wanted[member + 1] - texts_.wanted[member]);
            const size_t from = first + length(member) - n;
            std::memmove(x_ + kept * plan_.width, x_ + from * plan_.width,
                         n * plan_.width * sizeof(float));
            std::memmove(attended + kept * plan_.queries(), attended + from * plan_.queries(),
                         n * plan_.queries() * sizeof(float));
            kept += n;
        });
        tokens_ = kept, offsets_ = texts_.wanted;
    }

    // Attention of each text to its cache, or where it is not causal to what that remembers.
    void attend_caches(size_t layer, const Sight& sight, const float* queries, ptrdiff_t stride) {
        std::vector<NewTokens> tokens;
        each_text([&](size_t member, size_t first) {
            const Cache* cache = texts_.caches[member];
            if (length(member))
                tokens.push_back({sight.causal ? cache : cache->memory(), length(member),
                                  queries + ptrdiff_t(first) * stride, stride,
                                  attended_.data<float>() + first * plan_.queries()});
        });
        attend_cached(kernels_, plan_, layer, sight, tokens.data(), tokens.size(), threads_);
    }

    // How many tokens the longest text has with those before, where the caches' keys get relative
    // positions; else 0.
    size_t longest() const {
        size_t most = 0;
        for (size_t i = 0; stack_.relative.data && texts_.caches && i < count_; i++)
            most = std::max(most, past(members_[i]) + length(members_[i]));
        return most;
    }
    size_t line_numbers() const { return longest_ ? plan_.heads * relative_line(longest_) : 0; }
    void fill_lines() {
        float* to = lines_.data<float>();
        std::fill_n(to, line_numbers(), 0.0f);
        for (size_t d = 0; d < longest_; d++) {
            const size_t bucket =
                relative_bucket(-ptrdiff_t(d), stack_.relative.rows, plan_.distances);
            for (size_t h = 0; h < plan_.heads; h++)
                to[h * relative_line(longest_) + longest_ - 1 - d] =
                    stack_.relative.data[bucket * plan_.heads + h];
        }
    }

    // The attention of each text in itself. joined: T x joined; out: T x H W
    template <class T>
    void attend_texts(const T* joined, T* out, ptrdiff_t window, size_t layer) const {
        const size_t width = plan_.head_width;
        const ptrdiff_t stride = ptrdiff_t(plan_.joined());
        each_text([&](size_t member, size_t first) {
            const size_t count = length(member);
            if (count == 0) return;
            AttentionShape shape{};
            shape.queries = count, shape.keys = count, shape.depth = width, shape.values = width;
            shape.query_stride = shape.key_stride = shape.value_stride = stride;
            shape.out_stride = ptrdiff_t(plan_.queries());
            shape.causal = plan_.causal;
            shape.scale = plan_.scale;
            const TextMask mask(stack_, count, window,
                                texts_.seen ? texts_.seen + texts_.offsets[member] : nullptr,
                                texts_.masks ? texts_.masks[member] : nullptr);
            mask.describe(&shape);
            const T* query = joined + ptrdiff_t(first) * stride;
            const T *key = query + plan_.queries(), *value = key + plan_.keys();
            std::vector<AttentionHead<T>> heads(plan_.heads);
            for (size_t h = 0; h < plan_.heads; h++) {
                const size_t shared = h / (plan_.heads / plan_.key_heads) * width;
                heads[h] = {query + h * width,
                            key + shared,
                            value + shared,
                            0,
                            mask.of(h),
                            out + first * plan_.queries() + h * width,
                            nullptr};
            }
            attention(kernels_, shape, heads.data(), heads.size(), nullptr);
            if (outputs_.attentions)
                shares(plan_, shape, mask, wide_.data<float>() + ptrdiff_t(first) * stride,
                       outputs_.attentions + place_of_shares(layer, member));
        });
    }

    // Where the shares of a text begin among those of all layers and texts.
    size_t place_of_shares(size_t layer, size_t member) const {
        size_t before = 0, all = 0;
        for (size_t b = 0; b < texts_.count; b++) {
            if (b == member) before = all;
            all += plan_.heads * length(b) * length(b);
        }
        return layer * all + before;
    }

    // The group's part of the memory, in the order of its texts.
    void gather_memory() {
        float* to = memory_.data<float>();
        each_text([&](size_t member, size_t) {
            const size_t n = memory_length(member) * plan_.memory;
            if (n == 0) return;
            const size_t from = size_t(texts_.memory_offsets[member]) * plan_.memory;
            std::memcpy(to, texts_.memory + from, n * sizeof(float));
            to += n;
        });
    }

    // Keys and values of the group's memory.
    const float* project_memory(const Layer& layer) const {
        float *memory = memory_.data<float>(), *joined = memory + remembered_ * plan_.memory;
        multiply(layer.cross_joined, remembered_, memory, ptrdiff_t(plan_.memory), joined, kNone,
                 nullptr);
        return joined;
    }

    // Cross-attention: each text to its part of the memory.
    void attend_memory(size_t i) {
        const Layer& layer = *stack_.layers[i];
        float *queries = wide_.data<float>(), *attended = attended_.data<float>();
        multiply(layer.cross_query, before(layer.cross), ptrdiff_t(plan_.width), queries);
        if (texts_.caches)
            attend_caches(i, Sight{false}, queries, ptrdiff_t(plan_.queries()));
        else
            attend_given_memory(project_memory(layer), queries, attended);
        add(layer.cross, layer.cross_out, attended, ptrdiff_t(plan_.queries()));
    }
    void attend_given_memory(const float* joined, const float* queries, float* attended) const {
        const size_t keys = plan_.keys();
        size_t first_key = 0;
        each_text([&](size_t member, size_t first) {
            const size_t count = memory_length(member), width = plan_.head_width;
            AttentionShape shape{};
            shape.queries = length(member), shape.keys = count;
            shape.depth = shape.values = width;
            shape.query_stride = shape.out_stride = ptrdiff_t(plan_.queries());
            shape.key_stride = shape.value_stride = ptrdiff_t(2 * keys);
            shape.scale = plan_.scale;
            const uint8_t* seen = nullptr;
            if (texts_.memory_seen && count > 0) {
                seen = texts_.memory_seen + texts_.memory_offsets[member];
                shape.mask = AttentionShape::boolean;
                shape.mask_key_stride = 1;  // and 0 from query to query
            }
            std::vector<AttentionHead<float>> heads(plan_.heads);
            for (size_t h = 0; h < plan_.heads; h++) {
                const size_t at = first * plan_.queries() + h * width;
                const float* key =
                    joined + first_key * 2 * keys + h / (plan_.heads / plan_.key_heads) * width;
                heads[h] = {queries + at, key, key + keys, 0, seen, attended + at, nullptr};
            }
            attention(kernels_, shape, heads.data(), heads.size(), nullptr);
            first_key += count;
        });
    }

    float* greatest(size_t layer) const {
        return outputs_.greatest + layer * (2 * plan_.width + plan_.queries() + plan_.hidden);
    }

    void feed(size_t i) {
        const Layer& layer = *stack_.layers[i];
        float* wide = wide_.data<float>();
        const ptrdiff_t stride = ptrdiff_t(layer.up.outputs);
        const float* x = before(layer.feed);
        int activation = layer.gated ? int(kNone) : plan_.activation;
        // What goes on in bytes or bfloat16 needs no more.
        if (activation == kGelu && narrow(stack_.precision)) activation = kGeluNear;
        multiply(layer.up, x, ptrdiff_t(plan_.width), wide, activation);
        if (layer.gated)  // in place of the gate, which comes first
            rows([&](size_t begin, size_t end) {
                float* gate = wide + ptrdiff_t(begin) * stride;
                kernels_.gate_f32(gate, gate + plan_.hidden, stride, gate, stride, end - begin,
                                  plan_.hidden, plan_.activation);
            });
        if (outputs_.greatest) {
            float* to = greatest(i) + plan_.width + plan_.queries();
            look(x, ptrdiff_t(plan_.width), plan_.width, to);
            look(wide, stride, plan_.hidden, to + plan_.width);
        }
        add(layer.feed, layer.down, wide, stride);
    }

    // x_ to the places of its texts in N x D
    void deliver(float* to) const {
        each_text([&](size_t member, size_t first) {
            std::memcpy(to + size_t(offsets_[member]) * plan_.width, x_ + first * plan_.width,
                        length(member) * plan_.width * sizeof(float));
        });
    }
    void deliver_states(size_t i) const {
        if (!outputs_.states) return;
        const size_t all = size_t(texts_.offsets[texts_.count]) * plan_.width;
        deliver(outputs_.states + i * all);
    }

    void pool() const {
        each_text([&](size_t member, size_t first) {
            pool_text(outputs_.pooling, x_ + first * plan_.width, length(member), plan_.width,
                      texts_.seen ? texts_.seen + texts_.offsets[member] : nullptr,
                      outputs_.pooled + member * plan_.width);
        });
    }

    const Stack& stack_;
    const Plan& plan_;
    const Kernels& kernels_;
    const Texts& texts_;
    const int64_t* offsets_;  // of the texts' tokens; from the last layer on of those wanted
    const Outputs& outputs_;
    const size_t* members_;
    size_t count_, tokens_;
    int threads_;
    bool narrow_attention_;     // in bfloat16
    size_t remembered_, most_;  // vectors of memory; the more of them and the tokens
    size_t longest_;            // see longest()
    Scratch states_;            // 2 x T x D
    float *x_, *y_;             // the state of each token, and room for the next one
    Scratch wide_;              // T x joined, or x up
    Scratch attended_;          // T x H W
    Scratch memory_;            // its vectors x C, then their keys and values
    Scratch narrow_;            // T x what multiply() needs
    Scratch halves_;            // T x joined and T x H W in bfloat16, for attention
    Scratch scales_;            // (2 + 1 + kMostApart) x T
    Scratch places_;            // T
    Scratch lines_;             // of relative positions, see Sight
};

// Tokens of a group: enough to use each packed weight often, few enough that a token's widest rows
// stay in L2.
size_t group_tokens(const Stack& stack) {
    size_t widest = stack.plan.joined();
    for (const auto& layer : stack.layers) widest = std::max(widest, layer->up.outputs);
    const size_t token = (widest + 3 * stack.plan.width) * sizeof(float);
    return std::clamp(l2_bytes() / 2 / token, size_t(32), size_t(256));
}

}  // namespace

void remember(const Stack& stack, const float* memory, size_t count, Cache* cache) {
    const int64_t none[] = {0, 0}, all[] = {0, int64_t(count)};
    Texts text{nullptr, none, 1, nullptr, nullptr, nullptr, nullptr, memory, all, nullptr};
    text.caches = &cache;
    const Outputs nothing{nullptr, nullptr, nullptr, Pooling::none, nullptr, nullptr};
    const size_t member = 0;
    cache->memory()->reserve(count);
    Group(stack, text, nothing, &member, 1, 0, num_threads()).remember(*cache->memory());
    cache->memory()->extend(count);
}

void run_head(const Stack& stack, const float* states, size_t count, float* scores) {
    const ptrdiff_t width = ptrdiff_t(stack.plan.width);
    const int threads = num_threads();
    if (!stack.tied)
        return multiply_stored(stack, stack.head, count, states, width, scores, kNone, nullptr,
                               threads);
    const BlockMatrix& tokens = *stack.stored_tokens;
    const BlockInput in(stack.kernels, states, width, count, stack.plan.width,
                        tokens.takes_digits() ? stack.digits() : 0, threads);
    Epilogue none{};
    none.scale = 1.0;
    tokens.multiply(in, scores, ptrdiff_t(tokens.rows()), none, threads);
}

void run(const Stack& stack, const Texts& texts, const Outputs& outputs) {
    if (texts.count == 0) return;
    const auto length = [&](size_t b) { return texts.offsets[b + 1] - texts.offsets[b]; };
    std::vector<size_t> order(texts.count);
    std::iota(order.begin(), order.end(), size_t(0));
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return length(a) > length(b); });
    const size_t threads = size_t(num_threads()), all = size_t(texts.offsets[texts.count]);
    if (stack.plan.softcap > 0 && !texts.caches) {  // only attention to caches knows it
        std::vector<Cache> caches(texts.count, Cache(stack.plan, stack.layers.size(), false));
        std::vector<Cache*> used;
        for (Cache& cache : caches) used.push_back(&cache);
        Texts cached = texts;
        cached.caches = used.data();
        return run(stack, cached, outputs);
    }
    if (texts.caches) {  // each weight is read once for all texts
        for (size_t b = 0; b < texts.count; b++) texts.caches[b]->reserve(size_t(length(b)));
        Group(stack, texts, outputs, order.data(), order.size(), all, int(threads)).run();
        for (size_t b = 0; b < texts.count; b++) texts.caches[b]->extend(size_t(length(b)));
        return;
    }
    const size_t most = std::min(group_tokens(stack), divide_up(all, threads));
    std::vector<size_t> begins;  // of the groups, in order
    size_t tokens = 0;
    for (size_t i = 0; i < order.size(); i++) {
        const size_t more = size_t(length(order[i]));
        if (i == 0 || tokens + more > most) begins.push_back(i), tokens = 0;
        tokens += more;
    }
    const size_t groups = begins.size();
    begins.push_back(order.size());
    const auto go = [&](size_t g, int inner) {
        size_t sum = 0;
        for (size_t i = begins[g]; i < begins[g + 1]; i++) sum += size_t(length(order[i]));
        Group(stack, texts, outputs, order.data() + begins[g], begins[g + 1] - begins[g], sum,
              inner)
            .run();
    };
    if (groups < threads) {
        for (size_t g = 0; g < groups; g++) go(g, int(threads));
        return;
    }
    parallel_for(groups, 1, [&](size_t begin, size_t end) {
        for (size_t g = begin; g < end; g++) go(g, 1);
    });
}

}  // namespace firth::transformer
