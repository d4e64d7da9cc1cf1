#include "engines/transformer/stack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "parallel.h"

namespace firth::transformer {
namespace {

const Gemm& type_of(const Kernels& kernels, Precision precision) {
    switch (precision) {
        case Precision::bfloat16:
            return kernels.gemm_bf16;
        case Precision::int8:
            return kernels.gemm_u8s8;
        default:
            return kernels.gemm_f32;
    }
}

std::vector<float> copy(const Array& from) {
    return std::vector<float>(from.data, from.data + from.rows * from.columns);
}

}  // namespace

Norm::Norm(const Array& gains, const Array& biases) {
    if (gains.data) gain = copy(gains);
    if (biases.data) bias = copy(biases);
}

Linear::Linear(const Kernels& kernels, Precision precision, const std::vector<Array>& weights,
               const std::vector<Array>& biases, std::vector<uint32_t> inputs_apart)
    : type(&type_of(kernels, precision)),
      inputs(weights.at(0).columns),
      apart(std::move(inputs_apart)) {
    std::vector<size_t> rows;
    for (const Array& w : weights) rows.push_back(w.rows);
    join_biases(rows, biases);
    // One matrix of the type's elements; a single one of float32 is packed from where it lies.
    AlignedBuffer narrowed;
    const char* whole = reinterpret_cast<const char*>(weights[0].data);
    if (precision != Precision::float32 || weights.size() > 1) {
        narrowed = AlignedBuffer(product(outputs, inputs) * type->element);
        whole = narrowed.data();
    }
    if (precision == Precision::int8) {
        scales.resize(outputs), sums.resize(outputs);
        right.resize((1 + apart.size()) * outputs);
    }
    size_t first = 0;
    for (const Array& w : weights) {
        if (whole == reinterpret_cast<const char*>(w.data)) break;
        const size_t grain = (size_t(1) << 16) / inputs + 1;
        parallel_for(w.rows, grain, [&](size_t begin, size_t end) {
            const float* from = w.data + begin * inputs;
            const size_t row = first + begin, n = end - begin;
            char* to = narrowed.data() + row * inputs * type->element;
            const ptrdiff_t stride = ptrdiff_t(inputs);
            if (precision == Precision::int8)
                code_rows(kernels, from, row, n, reinterpret_cast<int8_t*>(to));
            else if (precision == Precision::bfloat16)
                kernels.narrow_f32(from, stride, reinterpret_cast<uint16_t*>(to), stride, n,
                                   inputs);
            else
                std::memcpy(to, from, n * inputs * sizeof(float));
        });
        first += w.rows;
    }
    packed = AlignedBuffer(gemm_packed_bytes(*type, inputs, outputs));
    const Operand b{whole, ptrdiff_t(inputs * type->element), true};
    gemm_pack(*type, b, inputs, outputs, packed.data());
}

Linear::Linear(const Kernels& kernels, const std::vector<StoredArray>& weights,
               const std::vector<Array>& biases)
    : inputs(weights.at(0).columns) {
    std::vector<size_t> rows;
    std::vector<BlockRows> same;  // neighbours of one type are one matrix
    for (size_t i = 0; i < weights.size(); i++) {
        rows.push_back(weights[i].of.rows);
        same.push_back(weights[i].of);
        if (i + 1 < weights.size() && weights[i + 1].type == weights[i].type) continue;
        stored.emplace_back(kernels, *weights[i].type, same, inputs);
        same.clear();
    }
    join_biases(rows, biases);
}

// rows: of each matrix; biases: of each, or nothing, which is 0 where another has some.
void Linear::join_biases(const std::vector<size_t>& rows, const std::vector<Array>& biases) {
    for (const size_t n : rows) outputs += n;
    if (std::none_of(biases.begin(), biases.end(), [](const Array& b) { return b.data; })) return;
    for (size_t i = 0; i < rows.size(); i++) {
        const std::vector<float> part =
            biases[i].data ? copy(biases[i]) : std::vector<float>(rows[i], 0.0f);
        bias.insert(bias.end(), part.begin(), part.end());
    }
}

bool Linear::takes_digits() const {
    return std::any_of(stored.begin(), stored.end(),
                       [](const BlockMatrix& m) { return m.takes_digits(); });
}

void Linear::fill_apart(float* x) const {
    size_t other = 0;
    while (other < apart.size() && apart[other] == other) other++;
    for (const uint32_t a : apart) x[a] = other < inputs ? x[other] : 0.0f;
}

// w: n rows of W, the first of which is number `row`; codes: n x inputs.
void Linear::code_rows(const Kernels& kernels, const float* w, size_t row, size_t n,
                       int8_t* codes) {
    std::vector<float> rest(inputs);
    for (size_t i = 0; i < n; i++) {
        std::copy_n(w + i * inputs, inputs, rest.data());
        for (size_t r = 0; r < apart.size(); r++)
            right[(r + 1) * outputs + row + i] = rest[apart[r]];
        fill_apart(rest.data());
        const auto [low, high] = std::minmax_element(rest.begin(), rest.end());
        const float middle = *low / 2 + *high / 2;
        right[row + i] = middle;
        for (float& x : rest) x -= middle;
        for (const uint32_t a : apart) rest[a] = 0;
        kernels.quantize_weights(rest.data(), ptrdiff_t(inputs), 1, inputs, codes + i * inputs,
                                 &scales[row + i], &sums[row + i]);
    }
}

size_t Linear::bytes() const {
    size_t sum = type ? gemm_packed_bytes(*type, inputs, outputs) : 0;
    for (const BlockMatrix& m : stored) sum += m.bytes();
    return sum;
}

size_t Stack::bytes() const {
    size_t sum = projection.bytes() + head.bytes() + (stored_tokens ? stored_tokens->bytes() : 0);
    std::vector<const Layer*> seen;  // shared layers count once
    for (const auto& layer : layers) {
        if (std::find(seen.begin(), seen.end(), layer.get()) != seen.end()) continue;
        seen.push_back(layer.get());
        for (const Linear* one :
             {&layer->joined, &layer->out, &layer->cross_query, &layer->cross_joined,
              &layer->cross_out, &layer->up, &layer->down})
            sum += one->bytes();
    }
    return sum;
}

size_t relative_bucket(ptrdiff_t distance, size_t buckets, ptrdiff_t most) {
    const ptrdiff_t half = ptrdiff_t(buckets / 2), exact = half / 2;
    const ptrdiff_t far = distance < 0 ? -distance : distance;
    ptrdiff_t size = far;
    if (far >= exact) {
        // In float32, as PyTorch: some distances fall on a border.
        const float steps =
            std::log(float(far) / float(exact)) / float(std::log(double(most) / double(exact)));
        size = std::min(exact + ptrdiff_t(steps * float(half - exact)), half - 1);
    }
    return size_t(size + (distance > 0 ? half : 0));
}

}  // namespace firth::transformer
