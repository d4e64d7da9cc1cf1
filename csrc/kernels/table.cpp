// Fills this level's table from THE LIST. The initialiser is constant: no code runs at load time.
#include "../isa.h"
#include "../kernels.h"

#define FIRTH_STRING(x) #x
#define FIRTH_NAME(x) FIRTH_STRING(x)

namespace firth::FIRTH_LEVEL {

// One row a type: element, sum, step along K; bytes of an element in a tile of A as it is used.
#define FIRTH_GEMM(type, Element, Sum, step, used, row, finish) \
    {sizeof(Element), \
     sizeof(Sum), \
     step, \
     4 * kGemmBlock / (used), \
     kGemmRows, \
     kGemmColumns<Sum>, \
     gemm_pack_a_##type, \
     gemm_pack_a_transposed_##type, \
     gemm_pack_b_##type, \
     gemm_pack_b_transposed_##type, \
     gemm_unpack_a_##type, \
     gemm_multiply_##type, \
     row, \
     finish}

const Kernels kernels = {
    FIRTH_NAME(FIRTH_LEVEL),
    sizeof(f32xN),
    FIRTH_GEMM(f32, float, float, 1, 4, gemm_row_f32, gemm_finish_f32),
    FIRTH_GEMM(f64, double, double, 1, 8, gemm_row_f64, gemm_finish_f64),
    FIRTH_GEMM(bf16, uint16_t, float, 2, kNativeBf16 ? 2 : 4, nullptr, gemm_finish_f32),
    kCodeLimit,
    kCodeWords,
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
