// Fills this level's table from THE LIST. The initialiser is constant: no code runs at load time.
#include "../isa.h"
#include "../kernels.h"

#define FIRTH_STRING(x) #x
#define FIRTH_NAME(x) FIRTH_STRING(x)

namespace firth::FIRTH_LEVEL {

const Kernels kernels = {
    FIRTH_NAME(FIRTH_LEVEL),
    sizeof(f32xN),
    kGemmRows,
    kGemmColumns,
    kNativeBf16,
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
