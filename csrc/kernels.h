// THE LIST: all topics' kernels, and `struct Kernels`, the table that each ISA level fills. No
// code.
//
// To add a kernel: one row in csrc/kernels/list_<topic>.h, a file csrc/kernels/<name>.cpp that
// defines it, one binding. A new topic's list is added here. A level that lacks a kernel is a link
// error (kernels/table.cpp).
#pragma once
#include "kernels/list_activation.h"
#include "kernels/list_attention.h"
#include "kernels/list_attention_backward.h"
#include "kernels/list_blocks.h"
#include "kernels/list_convolution.h"
#include "kernels/list_dot.h"
#include "kernels/list_embedding_bag.h"
#include "kernels/list_gemm.h"
#include "kernels/list_glove.h"
#include "kernels/list_losses.h"
#include "kernels/list_norm_backward.h"
#include "kernels/list_recurrent.h"
#include "kernels/list_search.h"
#include "kernels/list_softmax.h"
#include "kernels/list_tiles.h"
#include "kernels/list_transformer.h"
#include "kernels/list_updates.h"
#include "kernels/list_words.h"

#define FIRTH_KERNELS(K) \
    FIRTH_ATTENTION_KERNELS(K) \
    FIRTH_PAGE_KERNELS(K) \
    FIRTH_CODE_KERNELS(K) \
    FIRTH_SEARCH_KERNELS(K) \
    FIRTH_EMBEDDING_BAG_KERNELS(K) \
    FIRTH_WORD_KERNELS(K) \
    FIRTH_GLOVE_KERNELS(K) \
    FIRTH_TILE_KERNELS(K) \
    FIRTH_TRANSFORMER_KERNELS(K) \
    FIRTH_BLOCK_KERNELS(K) \
    FIRTH_FLOAT_PANEL_KERNELS(K)

// Kernels that float and double have in common.
#define FIRTH_FLOAT_KERNELS(K, T, type) \
    FIRTH_DOT_KERNELS(K, T, type) \
    FIRTH_SOFTMAX_KERNELS(K, T, type) \
    FIRTH_NORM_KERNELS(K, T, type) \
    FIRTH_ACTIVATION_KERNELS(K, T, type) \
    FIRTH_LOSS_KERNELS(K, T, type) \
    FIRTH_NORM_BACKWARD_KERNELS(K, T, type) \
    FIRTH_CONVOLUTION_KERNELS(K, T, type) \
    FIRTH_RECURRENT_KERNELS(K, T, type) \
    FIRTH_ATTENTION_BACKWARD_KERNELS(K, T, type) \
    FIRTH_UPDATE_KERNELS(K, T, type)

namespace firth {

struct Kernels {
    const char* level;  // compiled inside the level's own object: proof of which code runs
    size_t vector_bytes;
    // u8s8: A of unsigned, B of signed bytes; s8s8: both signed; sums are int32, modulo 2^32.
    Gemm gemm_f32, gemm_f64, gemm_bf16, gemm_u8s8, gemm_s8s8;
    int code_limit;     // greatest magnitude of a query's code in scan_codes
    size_t code_words;  // 32-bit words of a packed unit of four codes
    size_t code_units;  // a packed query is padded to a multiple of it
#define FIRTH_FIELD(ret, name, parameters) ret(*name) parameters;
    FIRTH_KERNELS(FIRTH_FIELD)
#undef FIRTH_FIELD

    template <class T>
    struct Of {
#define FIRTH_FIELD(ret, name, type, parameters) ret(*name) parameters;
        FIRTH_FLOAT_KERNELS(FIRTH_FIELD, T, )
#undef FIRTH_FIELD
    };
    Of<float> f32;
    Of<double> f64;
    // of<float>().softmax is softmax_f32.
    template <class T>
    const Of<T>& of() const {
        if constexpr (sizeof(T) == 4)
            return f32;
        else
            return f64;
    }
};

#ifdef FIRTH_LEVEL
namespace FIRTH_LEVEL {
extern const Kernels kernels;
}
#endif

}  // namespace firth
