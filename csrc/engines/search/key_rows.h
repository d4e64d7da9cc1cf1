// Rows that are searched, in any of the stored types.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace firth::search {

enum class RowType { f32, f16, bf16, i8 };

// rows x n numbers, row r at data + r * stride (in elements); scales: rows, for i8 only: each
// number counts times the scale of its row.
struct KeyRows {
    const void* data = nullptr;
    ptrdiff_t stride = 0;
    size_t rows = 0, n = 0;
    RowType type = RowType::f32;
    const float* scales = nullptr;

    size_t item_bytes() const { return type == RowType::f32 ? 4 : type == RowType::i8 ? 1 : 2; }
};

}  // namespace firth::search
