// softmax(scale Q K^T + mask) V for all heads of a batch, and its gradient.
//
// With P the weights, O = P V, and the logarithm lse of the sum of exponentials of each row kept:
//   dV = P^T dO    dP = dO V^T    dS = scale P (dP - rows' sums of dO O)    dQ = dS K    dK = dS^T
//   Q
//
// A task is what shares keys and values: one item of the batch, one head of them. Forward goes
// through blocks of queries, each with all of its scores in cache. Backward computes P again, in
// panels of the matrix product's right operand (FlashAttention: Dao et al., arXiv:2205.14135):
//
//   block of queries       packed four ways
//     panel of keys
//       scores, dP         queries x panel = Q K^T, dO V^T
//       P, dS              kernel attention_gradient; both now lie as right operands do
//       dV^T += dO^T P     dK^T += Q^T dS    (values or depth x panel)
//       dQ   += dS K       dS packed once more
//
// The order of every sum depends on shape and level alone. (Above 500 lines: one job, of which
// fits, forward and backward share the places of heads and masks.)
#include <algorithm>
#include <cstring>

#include "engines/gemm.h"
#include "engines/nn/operation.h"
#include "memory.h"
#include "random.h"

namespace firth::nn {
namespace {

enum Option {
    kHeads,
    kKeyHeads,
    kBatchFirst,
    kCausal,
    kScale,
    kDropout,
    kDrops,
    kWeights,
    kOptions
};
enum Input { kQuery, kKey, kValue, kMask, kPadding, kInputs };

// Where one of the three (or the result) lies: element e of row i of head h of item b is
// array[offset + b * batch + h * head + i * row + e].
struct Place {
    size_t input = 0, offset = 0;
    size_t batch = 0, head = 0, row = 0;

    size_t at(size_t b, size_t h, size_t i) const {
        return offset + b * batch + h * head + i * row;
    }
};

struct Shape {
    size_t batch, queries, keys, heads, key_heads, depth, values;
    Place query, key, value, out;
};

bool is_count(double x) { return x >= 1 && x <= 65536 && x == double(size_t(x)); }

// heads of `width` that lie beside each other in the last axis of x, after `offset` numbers
Place packed_place(const Array& x, bool batch_first, size_t input, size_t offset, size_t width) {
    const size_t length = x.axes == 2 || batch_first ? x.shape[x.axes - 2] : x.shape[0];
    const size_t items = x.axes == 2 ? 1 : x.shape[batch_first ? 0 : 1];
    Place place{input, offset, 0, width, 0};
    place.batch = batch_first ? length * x.last() : x.last();
    place.row = x.axes == 2 || batch_first ? x.last() : items * x.last();
    return place;
}

bool find_shape(const Call& c, Shape* s) {
    const Array &q = c.in[kQuery], &k = c.in[kKey], &v = c.in[kValue], &out = c.out[0];
    if (!q.there || (v.there && !k.there)) return false;
    if (c.option(kHeads) == 0) {  // (batch, heads, length, width)
        if (!v.there || q.axes != 4 || k.axes != 4 || v.axes != 4 || out.axes != 4) return false;
        *s = {q.shape[0], q.shape[2], k.shape[2], q.shape[1], k.shape[1], q.shape[3],
              v.shape[3], {},         {},         {},         {}};
        if (k.shape[0] != s->batch || v.shape[0] != s->batch || v.shape[1] != s->key_heads ||
            v.shape[2] != s->keys || k.shape[3] != s->depth)
            return false;
        const auto place = [](size_t input, size_t heads, size_t length, size_t width) {
            return Place{input, 0, heads * length * width, length * width, width};
        };
        s->query = place(kQuery, s->heads, s->queries, s->depth);
        s->key = place(kKey, s->key_heads, s->keys, s->depth);
        s->value = place(kValue, s->key_heads, s->keys, s->values);
        s->out = place(0, s->heads, s->queries, s->values);
        return s->heads && s->key_heads && s->heads % s->key_heads == 0 && s->depth &&
               out.shape[0] == s->batch && out.shape[1] == s->heads && out.shape[2] == s->queries &&
               out.shape[3] == s->values;
    }
    // heads in the last axis
    if (!is_count(c.option(kHeads)) || !is_count(c.option(kKeyHeads))) return false;
    const bool first = c.flag(kBatchFirst);
    const size_t heads = size_t(c.option(kHeads)), key_heads = size_t(c.option(kKeyHeads));
    const auto items = [&](const Array& x) { return x.axes == 2 ? 1 : x.shape[first ? 0 : 1]; };
    const auto length = [&](const Array& x) {
        return x.axes == 2 || first ? x.shape[x.axes - 2] : x.shape[0];
    };
    if (heads % key_heads || (q.axes != 2 && q.axes != 3)) return false;
    // parts of the last axis that a head of the queries is one of
    const size_t parts = k.there ? heads : heads + 2 * key_heads;
    const size_t depth = q.last() / parts;
    if (depth == 0 || q.last() != parts * depth) return false;
    *s = {items(q), length(q), k.there ? length(k) : length(q),
          heads,    key_heads, depth,
          depth,    {},        {},
          {},       {}};
    s->query = packed_place(q, first, kQuery, 0, depth);
    if (!k.there) {
        s->key = packed_place(q, first, kQuery, heads * depth, depth);
        s->value = packed_place(q, first, kQuery, (heads + key_heads) * depth, depth);
    } else {
        if (k.axes != q.axes || items(k) != s->batch ||
            k.last() != key_heads * depth * (v.there ? 1 : 2))
            return false;
        s->key = packed_place(k, first, kKey, 0, depth);
        if (v.there) {
            if (v.axes != q.axes || items(v) != s->batch || length(v) != s->keys ||
                v.last() % key_heads)
                return false;
            s->values = v.last() / key_heads;
            s->value = packed_place(v, first, kValue, 0, s->values);
        } else {
            s->value = packed_place(k, first, kKey, key_heads * depth, depth);
        }
    }
    s->out = packed_place(out, first, 0, 0, s->values);
    return out.axes == q.axes && items(out) == s->batch && length(out) == s->queries &&
           out.last() == heads * s->values;
}

// mask: (queries, keys), (batch heads, queries, keys), or (batch or 1, heads or 1, queries or 1,
// keys).
bool mask_fits(const Array& mask, const Shape& s) {
    if (mask.axes < 2 || mask.axes > 4) return false;
    const size_t* last = mask.shape + mask.axes - 2;
    if (last[1] != s.keys || (last[0] != s.queries && (mask.axes < 4 || last[0] != 1)))
        return false;
    if (mask.axes == 3) return mask.shape[0] == s.batch * s.heads;
    return mask.axes == 2 || ((mask.shape[0] == 1 || mask.shape[0] == s.batch) &&
                              (mask.shape[1] == 1 || mask.shape[1] == s.heads));
}

bool padding_fits(const Array& padding, const Shape& s) {
    return padding && padding.kind == Kind::byte && padding.last() == s.keys &&
           ((padding.axes == 1 && s.batch == 1) ||
            (padding.axes == 2 && padding.shape[0] == s.batch));
}

// What forward returns of the weights: nothing, those of each head, the mean of all heads.
enum Weights { kNoWeights, kEach, kMean };

// (batch, heads, queries, keys), without the heads where it is their mean, without the batch where
// the query has none.
bool weights_fit(const Call& c, const Shape& s) {
    size_t shape[4], axes = 0;
    if (c.in[kQuery].axes > 2) shape[axes++] = s.batch;
    if (c.option(kWeights) == kEach) shape[axes++] = s.heads;
    shape[axes++] = s.queries;
    shape[axes++] = s.keys;
    const Array& weights = c.out[1];
    return weights.axes == axes && !memcmp(weights.shape, shape, axes * sizeof *shape);
}

template <class T>
const Gemm& gemm_of(const Call& c) {
    if constexpr (sizeof(T) == 4)
        return c.kernels.gemm_f32;
    else
        return c.kernels.gemm_f64;
}

size_t tile_count(const Gemm& gemm, size_t rows) { return divide_up(rows, gemm.rows); }

// What forward and backward have in common.
template <class T>
struct Job {
    const Call& c;
    const Shape& s;
    const Gemm& gemm;
    const typename Kernels::Of<T>& kernels;
    size_t columns, panels;  // of a panel; over the keys
    bool causal, masked;
    T scale;

    Job(const Call& call, const Shape& shape)
        : c(call),
          s(shape),
          gemm(gemm_of<T>(call)),
          kernels(call.kernels.of<T>()),
          columns(gemm.columns),
          panels(divide_up(shape.keys, gemm.columns)),
          causal(call.flag(kCausal)),
          masked(call.in[kMask].there || call.in[kPadding].there),
          scale(T(call.option(kScale))) {}

    double cost() const {
        return double(s.heads / s.key_heads) * double(s.queries) * double(s.keys) *
               double(s.depth + s.values) * 0.05;
    }
    ptrdiff_t bytes(size_t elements) const { return ptrdiff_t(elements * sizeof(T)); }

    // rows: m x n numbers, stride apart, of what is added to scores of queries from `query` and
    // keys from `key` on
    void fill_mask(size_t b, size_t h, size_t query, size_t m, size_t key, size_t n, T* rows,
                   size_t stride) const {
        const Array &mask = c.in[kMask], &padding = c.in[kPadding];
        size_t start = 0, step = 0;
        if (mask.there) {
            const size_t length = mask.shape[mask.axes - 2];
            size_t number = 0;  // of the head's
            if (mask.axes == 3) number = b * s.heads + h;
            if (mask.axes == 4 && mask.shape[0] > 1) number = b * mask.shape[1];
            if (mask.axes == 4 && mask.shape[1] > 1) number += h;
            start = number * length * s.keys;
            step = length > 1 || s.queries == 1 ? s.keys : 0;
            start += query * step + key;
        }
        const bool numbers = mask.there && mask.kind == Kind::real;
        kernels.attention_mask(rows, ptrdiff_t(stride), numbers ? mask.as<T>() + start : nullptr,
                               mask.there && !numbers ? mask.as<uint8_t>() + start : nullptr,
                               ptrdiff_t(step), c.flag(kDrops),
                               padding.there ? padding.as<uint8_t>() + b * s.keys + key : nullptr,
                               m, n);
    }

    AttentionRows<T> rows_of(uint32_t* draws, size_t b, size_t h, size_t query, size_t m) const {
        AttentionRows<T> rows{scale, nullptr, 0, ptrdiff_t(s.keys), nullptr, 0, T(1)};
        const double p = c.option(kDropout);
        if (p > 0) {
            const uint64_t first = (b * s.heads + h) * s.queries + query;
            for (size_t i = 0; i < m; i++)
                draws[i] =
                    uint32_t(SplitMix64{c.seed + (first + i) * 0x9e3779b97f4a7c15ull}.next() >> 32);
            rows.draws = draws;
            rows.dropped = uint32_t(p * 4294967296.0);
            rows.kept = T(1 / (1 - p));
        }
        return rows;
    }
};

// ---- forward ------------------------------------------------------------------------------------

template <class T>
class Forward : Job<T> {
    using Job<T>::c, Job<T>::s, Job<T>::gemm, Job<T>::kernels, Job<T>::columns, Job<T>::causal,
        Job<T>::masked, Job<T>::bytes;

  public:
    Forward(const Call& call, const Shape& shape) : Job<T>(call, shape) {
        // rows whose scores take a quarter of a megabyte
        const size_t fit = (size_t(1) << 18) / (sizeof(T) * (s.keys + 1)) / gemm.rows;
        block_ = std::min(std::max(fit, size_t(2)) * gemm.rows, 8 * gemm.rows);
        block_ = std::min(block_, std::max(s.queries, size_t(1)));
    }
    using Job<T>::cost;

    void run(size_t b, size_t kv) const {
        const size_t width = round_up(s.keys, columns), wide = round_up(s.values, columns);
        const size_t deep = std::min(gemm.block, s.keys);
        const Scratch scratch(
            bytes_of({width * s.depth, s.keys * wide, block_ * s.depth, block_ * s.keys,
                      block_ * deep, masked ? block_ * s.keys : 0, block_}));
        T* key = scratch.data<T>();
        T* value = key + width * s.depth;
        T* query = value + s.keys * wide;
        T* scores = query + block_ * s.depth;
        T* weights = scores + block_ * s.keys;
        T* mask = weights + block_ * deep;
        auto* draws = reinterpret_cast<uint32_t*>(mask + (masked ? block_ * s.keys : 0));

        gemm.pack_b_transposed(data(s.key) + s.key.at(b, kv, 0), bytes(s.key.row), key, s.keys,
                               s.depth);
        for (size_t first = 0; first < s.keys; first += gemm.block)
            gemm.pack_b(data(s.value) + s.value.at(b, kv, first), bytes(s.value.row),
                        value + first * wide, s.values, std::min(gemm.block, s.keys - first));
        const size_t group = s.heads / s.key_heads;
        for (size_t h = kv * group; h < (kv + 1) * group; h++)
            for (size_t first = 0; first < s.queries; first += block_) {
                const size_t m = std::min(block_, s.queries - first);
                const size_t keys = causal ? std::min(s.keys, first + m) : s.keys;
                gemm.pack_a(data(s.query) + s.query.at(b, h, first), bytes(s.query.row), query, m,
                            s.depth);
                gemm.multiply(query, key, scores, ptrdiff_t(s.keys), m, keys, s.depth, false);
                AttentionRows<T> rows = this->rows_of(draws, b, h, first, m);
                if (causal) rows.diagonal = ptrdiff_t(first);
                if (masked) {
                    this->fill_mask(b, h, first, m, 0, keys, mask, s.keys);
                    rows.mask = mask;
                    rows.mask_stride = ptrdiff_t(s.keys);
                }
                T* lse = c.saved[0].template as<T>() + (b * s.heads + h) * s.queries + first;
                kernels.attention_weights(scores, ptrdiff_t(s.keys), m, keys, rows, lse);
                T* out = c.out[0].template as<T>() + s.out.at(b, h, first);
                for (size_t i = 0; i < m && s.keys == 0; i++)
                    std::memset(out + i * s.out.row, 0, s.values * sizeof(T));
                for (size_t k = 0; k < keys; k += gemm.block) {
                    const size_t depth = std::min(gemm.block, s.keys - k);
                    const size_t used = std::min(depth, keys - k);
                    gemm.pack_a(scores + k, bytes(s.keys), weights, m, used);
                    for (size_t e = 0; e < s.values; e += columns)
                        gemm.multiply(weights, value + k * wide + e * depth, out + e,
                                      ptrdiff_t(s.out.row), m, std::min(columns, s.values - e),
                                      used, k > 0);
                }
                if (c.outs == 2) show(scores, b, h, first, m, keys);
            }
    }

  private:
    const T* data(const Place& place) const { return c.in[place.input].template as<T>(); }

    // Rows of weights into the second output; keys that no row sees are not in `weights`.
    void show(const T* weights, size_t b, size_t h, size_t first, size_t m, size_t keys) const {
        const bool mean = c.option(kWeights) == kMean;
        const size_t matrix = mean ? b : b * s.heads + h;
        T* to = c.out[1].template as<T>() + (matrix * s.queries + first) * s.keys;
        const T share = mean ? T(1) / T(s.heads) : T(1);
        for (size_t i = 0; i < m; i++, to += s.keys, weights += s.keys) {
            if (!mean || h == 0) std::memset(to, 0, s.keys * sizeof(T));
            for (size_t k = 0; k < keys; k++) to[k] += share * weights[k];
        }
    }

    static size_t bytes_of(std::initializer_list<size_t> parts) {
        size_t sum = 64;
        for (const size_t part : parts) sum += part * sizeof(T);
        return sum;
    }

    size_t block_;
};

// ---- backward -----------------------------------------------------------------------------------

template <class T>
class Backward : Job<T> {
    using Job<T>::c, Job<T>::s, Job<T>::gemm, Job<T>::kernels, Job<T>::columns, Job<T>::panels,
        Job<T>::causal, Job<T>::masked, Job<T>::bytes;

  public:
    Backward(const Call& call, const Shape& shape) : Job<T>(call, shape) {
        // blocks of nearly equal height, of which a packed row fits the kernel's block
        const size_t blocks = std::max(divide_up(s.queries, gemm.block), size_t(1));
        block_ = std::max(divide_up(s.queries, blocks), size_t(1));
    }
    using Job<T>::cost;

    void run(size_t b, size_t kv) const {
        const size_t panel = block_ * columns, deep = round_up(s.depth, columns) * columns;
        const size_t sizes[] = {panels * columns * s.depth,  // K, V as right operands of scores
                                panels * columns * s.values,
                                panels * deep,               // K as that of dQ
                                panels * columns * s.depth,  // dK^T, dV^T
                                panels * columns * s.values,
                                block_ * s.depth,  // Q, Q^T, dO, dO^T
                                block_ * s.depth,
                                block_ * s.values,
                                block_ * s.values,
                                panel,  // scores, dP, dS packed
                                panel,
                                panel,
                                masked ? panel : 0,
                                block_,  // sums of dO O
                                block_};
        size_t all = 64 / sizeof(T);
        for (const size_t size : sizes) all += size;
        const Scratch scratch(all * sizeof(T));
        T* parts[sizeof sizes / sizeof *sizes];
        parts[0] = scratch.data<T>();
        for (size_t i = 1; i < sizeof sizes / sizeof *sizes; i++)
            parts[i] = parts[i - 1] + sizes[i - 1];
        const auto& [key, value, key_rows, dkey, dvalue, query, query_t, dout, dout_t, scores,
                     gradients, packed, mask, totals, draws] = parts;

        gemm.pack_b_transposed(data(s.key) + s.key.at(b, kv, 0), bytes(s.key.row), key, s.keys,
                               s.depth);
        gemm.pack_b_transposed(data(s.value) + s.value.at(b, kv, 0), bytes(s.value.row), value,
                               s.keys, s.values);
        for (size_t p = 0; p < panels; p++)
            gemm.pack_b(data(s.key) + s.key.at(b, kv, p * columns), bytes(s.key.row),
                        key_rows + p * deep, s.depth, std::min(columns, s.keys - p * columns));
        std::memset(dkey, 0, sizes[3] * sizeof(T));
        std::memset(dvalue, 0, sizes[4] * sizeof(T));

        const size_t group = s.heads / s.key_heads;
        const Array& wanted = c.din[s.query.input];
        const bool add = c.adds(s.query.input);
        for (size_t h = kv * group; h < (kv + 1) * group; h++)
            for (size_t first = 0; first < s.queries; first += block_) {
                const size_t m = std::min(block_, s.queries - first);
                const T *q = data(s.query) + s.query.at(b, h, first),
                        *d = c.dout[0].template as<T>() + s.out.at(b, h, first),
                        *out = c.out[0].template as<T>() + s.out.at(b, h, first);
                const T* lse = c.saved[0].template as<T>() + (b * s.heads + h) * s.queries + first;
                T* dquery = wanted ? wanted.template as<T>() + s.query.at(b, h, first) : nullptr;
                gemm.pack_a(q, bytes(s.query.row), query, m, s.depth);
                gemm.pack_a_transposed(q, bytes(s.query.row), query_t, s.depth, m);
                gemm.pack_a(d, bytes(s.out.row), dout, m, s.values);
                gemm.pack_a_transposed(d, bytes(s.out.row), dout_t, s.values, m);
                kernels.row_dots(d, ptrdiff_t(s.out.row), out, ptrdiff_t(s.out.row), m, s.values,
                                 totals);
                AttentionRows<T> rows =
                    this->rows_of(reinterpret_cast<uint32_t*>(draws), b, h, first, m);
                for (size_t i = 0; i < m && dquery && !add && s.keys == 0; i++)
                    std::memset(dquery + i * s.query.row, 0, s.depth * sizeof(T));
                for (size_t p = 0; p < panels; p++) {
                    const size_t k = p * columns, keys = std::min(columns, s.keys - k);
                    if (causal && k >= first + m) break;
                    // Queries before the panel's first key do not see it: whole tiles of them.
                    const size_t unseen = causal && k > first ? k - first : 0;
                    const size_t tiles = tile_count(gemm, m);
                    size_t tile = 0;
                    while ((tile + 1) * m / tiles <= unseen) tile++;
                    const size_t begin = tile * m / tiles, count = m - begin;
                    for (; tile < tiles; tile++) {
                        const size_t row = tile * m / tiles, height = (tile + 1) * m / tiles - row;
                        gemm.multiply(query + row * s.depth, key + k * s.depth,
                                      scores + row * columns, ptrdiff_t(columns), height, columns,
                                      s.depth, false);
                        gemm.multiply(dout + row * s.values, value + k * s.values,
                                      gradients + row * columns, ptrdiff_t(columns), height,
                                      columns, s.values, false);
                    }
                    T *weights = scores + begin * columns, *dscores = gradients + begin * columns;
                    AttentionRows<T> mine = rows;
                    mine.diagonal =
                        causal ? ptrdiff_t(first + begin) - ptrdiff_t(k) : ptrdiff_t(columns);
                    if (rows.draws) mine.draws = rows.draws + begin;
                    if (masked) {
                        this->fill_mask(b, h, first + begin, count, k, keys, mask, columns);
                        mine.mask = mask;
                        mine.mask_stride = ptrdiff_t(columns);
                    }
                    kernels.attention_gradient(weights, dscores, count, keys, k, mine, lse + begin,
                                               totals + begin);
                    add_product(dout_t, s.values, m, begin, weights, dvalue + k * s.values);
                    add_product(query_t, s.depth, m, begin, dscores, dkey + k * s.depth);
                    if (!dquery) continue;
                    gemm.pack_a(dscores, bytes(columns), packed, count, keys);
                    gemm.multiply(packed, key_rows + p * deep, dquery + begin * s.query.row,
                                  ptrdiff_t(s.query.row), count, s.depth, keys, add || p > 0);
                }
            }
        put(s.key, b, kv, dkey, s.depth);
        put(s.value, b, kv, dvalue, s.values);
    }

  private:
    const T* data(const Place& place) const { return c.in[place.input].template as<T>(); }

    // to (n x columns) += A B: A packed, n x m, of which columns from `begin` on count; B a panel
    // that begins there
    void add_product(const T* a, size_t n, size_t m, size_t begin, const T* b, T* to) const {
        const size_t tiles = tile_count(gemm, n);
        for (size_t tile = 0; tile < tiles; tile++) {
            const size_t row = tile * n / tiles, height = (tile + 1) * n / tiles - row;
            gemm.multiply(a + row * m + begin * height, b, to + row * columns, ptrdiff_t(columns),
                          height, columns, m - begin, true);
        }
    }

    void put(const Place& place, size_t b, size_t kv, const T* panels_of, size_t n) const {
        const Array& to = c.din[place.input];
        if (!to) return;
        for (size_t k = 0; k < s.keys; k += columns)
            kernels.put_panel(panels_of + k * n, n, std::min(columns, s.keys - k),
                              to.template as<T>() + place.at(b, kv, k), ptrdiff_t(place.row),
                              c.adds(place.input));
    }

    size_t block_;
};

template <class Work>
void for_heads(const Call& c, const Shape& s, const Work& work) {
    // A mean over the heads is made by one thread, in their order.
    const size_t together = c.option(kWeights) == kMean ? s.key_heads : 1;
    const size_t tasks = s.batch * s.key_heads / together;
    for_items(c, tasks, work.cost() * double(together), [&](size_t begin, size_t end) {
        for (size_t i = begin * together; i < end * together; i++)
            work.run(i / s.key_heads, i % s.key_heads);
    });
}

}  // namespace

// options: heads (0: arrays have an axis of them), heads of keys, whether the batch is the first
// axis, causal, scale, dropout's probability, whether bytes of the mask forbid keys (or else allow
// them), which weights are wanted. in: query, key, value as the page says; mask (real or byte),
// padding (batch, keys; byte), or absent. out: result; weights. saved: lse (batch, heads, queries).
bool attention_fits(const Call& c) {
    if (c.ins != kInputs || c.option_count != kOptions || c.saves != 1) return false;
    const double weights = c.option(kWeights);
    if (weights != kNoWeights && weights != kEach && weights != kMean) return false;
    if (c.outs != (weights == kNoWeights ? 1 : 2)) return false;
    const double p = c.option(kDropout), scale = c.option(kScale);
    if (!(p >= 0 && p < 1) || scale - scale != 0) return false;
    Shape s;
    if (!find_shape(c, &s)) return false;
    const Array &mask = c.in[kMask], &padding = c.in[kPadding], &lse = c.saved[0];
    if (mask.there &&
        (!mask_fits(mask, s) || !mask || (mask.kind != Kind::real && mask.kind != Kind::byte)))
        return false;
    if (padding.there && !padding_fits(padding, s)) return false;
    const auto real = [](const Array& x) { return x && x.kind == Kind::real; };
    for (size_t i = kQuery; i <= kValue; i++)
        if (c.in[i].there && !real(c.in[i])) return false;
    if (!real(lse) || lse.axes != 3 || lse.shape[0] != s.batch || lse.shape[1] != s.heads ||
        lse.shape[2] != s.queries || !real(c.out[0]))
        return false;
    if (c.outs == 2 && (!weights_fit(c, s) || (c.backward ? bool(c.dout[1]) : !real(c.out[1]))))
        return false;
    if (!c.backward) return true;
    return c.dout[0] && !c.din[kMask] && !c.din[kPadding];
}

template <class T>
void attention_forward(const Call& c) {
    Shape s;
    find_shape(c, &s);
    for_heads(c, s, Forward<T>(c, s));
}

template <class T>
void attention_backward(const Call& c) {
    Shape s;
    find_shape(c, &s);
    for_heads(c, s, Backward<T>(c, s));
}

#define FIRTH_INSTANTIATE(T) \
    template void attention_forward<T>(const Call&); \
    template void attention_backward<T>(const Call&);
FIRTH_INSTANTIATE(float)
FIRTH_INSTANTIATE(double)

}  // namespace firth::nn
