// A stack of transformer layers: its numbers and its weights, packed for one level. The names are
// those of python/firth/transformer/plan.py, which says what a layer computes.
//
// D = width, H = heads, K = heads of keys and values, W = width of a head, F = hidden width.
#pragma once
#include <memory>
#include <vector>

#include "engines/blocks.h"
#include "engines/gemm.h"
#include "memory.h"

namespace firth::transformer {

struct Plan {
    size_t width, heads, key_heads, head_width, hidden;
    int activation;  // Activation of list_gemm.h
    bool rms;        // norms without mean and bias
    double epsilon;
    bool causal;
    double scale;      // of the scores
    float softcap;     // of the scores, by tanh; 0: none
    bool joint_norms;  // query_norm and key_norm are of all heads in one
    size_t position_offset;
    float embedding_factor;
    size_t rotated;
    bool interleaved;
    ptrdiff_t distances;  // of the relative positions, see relative_bucket
    size_t memory;        // C, the width of what cross-attention attends to; 0: there is none

    size_t queries() const { return heads * head_width; }
    size_t keys() const { return key_heads * head_width; }
    size_t joined() const { return queries() + 2 * keys(); }  // query, key and value of a token
};

constexpr size_t kMostApart = 8;  // inputs of a product that int8 leaves in float32

// stored: each matrix in the type that its file has (engines/blocks.h), and inputs of two digits;
// stored_int8: the same with inputs of one.
enum class Precision { float32, bfloat16, int8, stored, stored_int8 };
constexpr bool is_stored(Precision p) {
    return p == Precision::stored || p == Precision::stored_int8;
}

// Rows of float32 as the caller holds them, or nothing.
struct Array {
    const float* data = nullptr;
    size_t rows = 0, columns = 0;
};

// Rows of weights in a type of GGUF files, as the caller holds them.
struct StoredArray {
    const BlockType* type;
    BlockRows of;
    size_t columns;
};

struct Norm {
    std::vector<float> gain, bias;  // gain is empty: no norm

    Norm() = default;
    Norm(const Array& gains, const Array& biases);
    bool present() const { return !gain.empty(); }
};

// y = x W^T + b
//
// int8: row j of W is middles[j] + scales[j] codes, but for the inputs `apart`, whose products stay
// in float32: a few of the inputs of a trained model are many times as large as the others, and
// would set the scale of each token. So
//   y = (products of bytes) + (sum of the other inputs) middles + sum over r of x[apart[r]] W[, r].
//
// stored: matrices of several types, one below the other.
struct Linear {
    const Gemm* type = nullptr;  // of float32, bfloat16, or uint8 by int8; null where stored
    size_t inputs = 0, outputs = 0;
    AlignedBuffer packed;
    std::vector<float> bias;          // outputs, or empty
    std::vector<float> scales, sums;  // outputs, of int8: of the rows of W, see quantize_weights
    std::vector<uint32_t> apart;      // inputs, ascending
    std::vector<float> right;         // 1 + apart.size() rows of outputs: middles, columns of W
    std::vector<BlockMatrix> stored;

    // Of matrices one below the other. weights: (outputs, inputs), biases: of as many, each may be
    // nothing; apart: of int8. On all threads.
    Linear(const Kernels& kernels, Precision precision, const std::vector<Array>& weights,
           const std::vector<Array>& biases, std::vector<uint32_t> apart = {});
    // The same of matrices as they are stored.
    Linear(const Kernels& kernels, const std::vector<StoredArray>& weights,
           const std::vector<Array>& biases);
    Linear() = default;
    bool present() const { return type || !stored.empty(); }
    bool takes_digits() const;  // whether a stored matrix does
    size_t bytes() const;

    // Puts into the places `apart` of x (inputs) a number that stands elsewhere in x, or 0.
    void fill_apart(float* x) const;

  private:
    void join_biases(const std::vector<size_t>& rows, const std::vector<Array>& biases);
    void code_rows(const Kernels& kernels, const float* w, size_t row, size_t n, int8_t* codes);
};

struct Sublayer {
    Norm before, inner, after;
};

struct Layer {
    Sublayer attention, cross, feed;
    Norm query_norm, key_norm;
    Linear joined;  // query, key and value
    Linear out;
    Linear cross_query, cross_joined, cross_out;  // joined: key and value, of the memory
    Linear up;                                    // where gated: gate, then up
    Linear down;
    bool gated = false;
};

// Cosines and sines of rotary positions: rows x rotated / 2 each.
struct Angles {
    std::vector<float> cosines, sines;
    size_t rows = 0;
};

struct Stack {
    Stack(const Kernels& level, const Plan& numbers, Precision of)
        : kernels(level), plan(numbers), precision(of) {}

    const Kernels& kernels;
    Plan plan;
    Precision precision;
    Array tokens, positions, types, relative;    // the caller keeps them
    std::unique_ptr<BlockMatrix> stored_tokens;  // in place of tokens
    Linear head;  // from a token's state to scores of tokens; else stored_tokens, where tied
    bool tied = false;
    Norm embedding, final;
    Linear projection;
    std::vector<std::shared_ptr<const Layer>> layers;
    std::vector<ptrdiff_t> windows;                     // one a layer, or empty; -1: none
    std::vector<std::shared_ptr<const Angles>> angles;  // one a layer, or empty

    size_t embedding_width() const {
        return stored_tokens ? stored_tokens->columns() : tokens.columns;
    }
    size_t digits() const { return precision == Precision::stored_int8 ? 1 : 2; }
    bool has_head() const { return tied || head.present(); }
    size_t head_outputs() const { return tied ? token_count() : head.outputs; }
    size_t token_count() const { return stored_tokens ? stored_tokens->rows() : tokens.rows; }
    size_t bytes() const;  // of what is packed
};

// The bucket of the distance of a key from its query (Raffel et al., arXiv:1910.10683).
size_t relative_bucket(ptrdiff_t distance, size_t buckets, ptrdiff_t most);

}  // namespace firth::transformer
