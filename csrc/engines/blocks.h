// Matrices of weights in the types of GGUF files, multiplied as they are stored: panels of rows,
// the same bytes in another order (kernels/list_blocks.h).
//
// Blocks of codes meet inputs of 14 or 8 bits, whose scale belongs to 32 numbers; float32, float16
// and bfloat16 meet float32. Each sum has an order that depends on K alone: a token's result has
// the same bits beside any others and on any number of threads.
#pragma once
#include <vector>

#include "kernels.h"
#include "memory.h"
#include "parallel.h"

namespace firth {

struct BlockType {
    int number;           // ggml's
    size_t block, bytes;  // weights and bytes of a block
    int floats;           // kind of float_product, or -1: codes
    BlockLayout layout;
    void (*Kernels::*product)(const uint8_t* panels, size_t rows, size_t blocks, const DigitTile& x,
                              float* out, ptrdiff_t stride);
};

// Null: no such type.
const BlockType* block_type(int number);

// Tokens as the products take them. x: tokens x n, stride elements apart; the caller keeps it.
// digits: 1 or 2, or 0 where no matrix takes them.
class BlockInput {
  public:
    BlockInput(const Kernels& kernels, const float* x, ptrdiff_t stride, size_t tokens, size_t n,
               size_t digits, int threads);
    const float* data() const { return x_; }
    ptrdiff_t stride() const { return stride_; }
    size_t tokens() const { return tokens_; }
    size_t tiles() const { return (tokens_ + kDigitTokens - 1) / kDigitTokens; }
    DigitTile tile(size_t i) const;

  private:
    const float* x_;
    ptrdiff_t stride_;
    size_t tokens_, digits_, blocks_, words_;  // words_: of a block of one token
    Scratch codes_, numbers_;
};

// Rows of weights as a file has them, stride bytes apart.
struct BlockRows {
    const uint8_t* data;
    ptrdiff_t stride;
    size_t rows;
};

class BlockMatrix {
  public:
    // Of rows of `columns` weights, a multiple of type.block. On all threads.
    BlockMatrix(const Kernels& kernels, const BlockType& type, const std::vector<BlockRows>& parts,
                size_t columns);

    size_t rows() const { return rows_; }
    size_t columns() const { return columns_; }
    size_t bytes() const { return bytes_; }
    bool takes_digits() const { return type_.floats < 0; }

    // out = activation(x W^T + bias) + residual, as `e` says. out: tokens x rows
    void multiply(const BlockInput& x, float* out, ptrdiff_t stride, const Epilogue& e,
                  int threads) const;

    // Row `row` as float32, as ggml's own code widens it.
    void widen(size_t row, float* to) const;

  private:
    size_t panel_bytes() const { return bytes_ / ((rows_ + kPanelRows - 1) / kPanelRows); }

    const Kernels* kernels_;
    BlockType type_;
    size_t rows_, columns_, bytes_;
    AlignedBuffer panels_;
};

}  // namespace firth
