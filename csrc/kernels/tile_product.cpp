// One product of matrix tiles. Kernels do not call it: through it the tests compare a level's tiles
// with what processors were seen to compute.
#include "../isa.h"
#include "list_tiles.h"

namespace firth::FIRTH_LEVEL {

// a: rows x 4 units bytes, b: units x 4 columns bytes, c: rows x 4 columns bytes, float32 or int32
// sums to which the product is added; contiguous. rows, columns, units: 1 to 16. False on a level
// without tiles.
bool tile_product(int product, size_t rows, size_t columns, size_t units, const void* a,
                  const void* b, void* c) {
#if FIRTH_TILES
    TileShapes shapes;
    shapes.set(0, rows, 4 * columns);
    shapes.set(1, rows, 4 * units);
    shapes.set(2, units, 4 * columns);
    Tiles tiles;
    tiles.configure(shapes);
    tiles.load<0>(c, (ptrdiff_t)(4 * columns));
    tiles.load<1>(a, (ptrdiff_t)(4 * units));
    tiles.load<2>(b, (ptrdiff_t)(4 * columns));
    switch (product) {
        case kTileBf16:
            tiles.dot_bf16<0, 1, 2>();
            break;
        case kTileS8S8:
            tiles.dot_s8s8<0, 1, 2>();
            break;
        case kTileS8U8:
            tiles.dot_s8u8<0, 1, 2>();
            break;
        default:
            tiles.dot_u8s8<0, 1, 2>();
    }
    tiles.store<0>(c, (ptrdiff_t)(4 * columns));
    return true;
#else
    (void)product, (void)rows, (void)columns, (void)units, (void)a, (void)b, (void)c;
    return false;
#endif
}

}  // namespace firth::FIRTH_LEVEL
