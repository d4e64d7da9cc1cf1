// One product of matrix tiles as the processor computes it, for the tests: tile_product.cpp.
#pragma once
#include "list.h"

namespace firth {

enum TileProduct { kTileBf16, kTileS8S8, kTileS8U8, kTileU8S8 };

}  // namespace firth

#define FIRTH_TILE_KERNELS(K) \
    K(bool, tile_product, \
      (int product, size_t rows, size_t columns, size_t units, const void* a, const void* b, \
       void* c))

FIRTH_DECLARE_REFINED(FIRTH_TILE_KERNELS(FIRTH_DECLARE))
