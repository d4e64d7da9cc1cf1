// Fills this level's table from THE LIST. The initialiser is constant: no code runs at load time.
#include "../isa.h"
#include "../kernels.h"

#define FIRTH_STRING(x) #x
#define FIRTH_NAME(x) FIRTH_STRING(x)

namespace firth::FIRTH_LEVEL {

using namespace FIRTH_REFINES;  // the kernels that this level has in common with another

// One row a type: element of A and B, sum, bytes of a packed element, step and block along K, rows
// of the register tile.
#define FIRTH_GEMM(type, Element, Sum, packed, step, block, rows, unpack, row, finish) \
    {sizeof(Element), \
     sizeof(Sum), \
     packed, \
     step, \
     block, \
     rows, \
     kGemmColumns<Sum>, \
     gemm_pack_a_##type, \
     gemm_pack_a_transposed_##type, \
     gemm_pack_b_##type, \
     gemm_pack_b_transposed_##type, \
     unpack, \
     gemm_multiply_##type, \
     row, \
     finish}

// used: bytes of an element in a tile of A as the kernel reads it.
#define FIRTH_VECTOR_GEMM(type, Element, Sum, packed, used, unpack, row, finish) \
    FIRTH_GEMM(type, Element, Sum, packed, sizeof(Element) > 4 ? 1 : 4 / (packed), \
               4 * kGemmBlock / (used), kGemmRows, unpack, row, finish)

#if FIRTH_TILES
// Whole tiles along K. The kernel itself sees to L1; a block of 4 kB keeps C from being read again.
#define FIRTH_TILE_GEMM(type, Element, Sum, packed, used, unpack, row, finish) \
    FIRTH_GEMM(type, Element, Sum, packed, kTileBytes / packed, 4096 / packed, 2 * kTileRows, \
               unpack, row, finish)
#else
#define FIRTH_TILE_GEMM FIRTH_VECTOR_GEMM
#endif
constexpr size_t kBytePacked = kNativeBytes ? 1 : 2;

const Kernels kernels = {
    FIRTH_NAME(FIRTH_LEVEL),
    sizeof(f32xN),
    FIRTH_VECTOR_GEMM(f32, float, float, 4, 4, gemm_unpack_a_f32, gemm_row_f32, gemm_finish_f32),
    FIRTH_VECTOR_GEMM(f64, double, double, 8, 8, gemm_unpack_a_f64, gemm_row_f64, gemm_finish_f64),
    FIRTH_TILE_GEMM(bf16, uint16_t, float, 2, kNativeBf16 ? 2 : 4, gemm_unpack_a_bf16, nullptr,
                    gemm_finish_f32),
    FIRTH_TILE_GEMM(u8s8, uint8_t, int32_t, kBytePacked, kBytePacked, nullptr, nullptr,
                    gemm_finish_u8s8),
    FIRTH_TILE_GEMM(s8s8, int8_t, int32_t, kBytePacked, kBytePacked, nullptr, nullptr, nullptr),
    kCodeLimit,
    kCodeWords,
    kCodeUnits,
#define FIRTH_ENTRY(ret, name, parameters) name,
    FIRTH_KERNELS(FIRTH_ENTRY)
#undef FIRTH_ENTRY
// clang-format off
#define FIRTH_ENTRY(ret, name, type, parameters) name##_##type,
    {FIRTH_FLOAT_KERNELS(FIRTH_ENTRY, float, f32)},
    {FIRTH_FLOAT_KERNELS(FIRTH_ENTRY, double, f64)},
#undef FIRTH_ENTRY
    // clang-format on
};

}  // namespace firth::FIRTH_LEVEL
