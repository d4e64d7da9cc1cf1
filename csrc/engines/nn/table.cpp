// The table of all operations; each is declared here by its name.
#include "engines/nn/operation.h"

#define FIRTH_OPERATIONS(ROW) \
    ROW(activation) \
    ROW(attention) \
    ROW(avg_pool) \
    ROW(batch_norm) \
    ROW(binary_cross_entropy_with_logits) \
    ROW(combine) \
    ROW(concatenate) \
    ROW(convolution) \
    ROW(cross_entropy) \
    ROW(difference_loss) \
    ROW(dropout) \
    ROW(embedding) \
    ROW(expand) \
    ROW(gru) \
    ROW(info_nce) \
    ROW(layer_norm) \
    ROW(linear) \
    ROW(linear_cross_entropy) \
    ROW(lstm) \
    ROW(map) \
    ROW(masked_fill) \
    ROW(matmul) \
    ROW(max_pool) \
    ROW(maximum) \
    ROW(nll_loss) \
    ROW(permute) \
    ROW(projections) \
    ROW(reshape) \
    ROW(rms_norm) \
    ROW(rnn) \
    ROW(rotary) \
    ROW(slice) \
    ROW(softmax) \
    ROW(sum)

// Those without a gradient: optimizers and what serves them.
#define FIRTH_UPDATES(ROW) \
    ROW(accumulate) \
    ROW(adagrad) \
    ROW(adam) \
    ROW(clip_grad_norm) \
    ROW(rmsprop) \
    ROW(sgd)

namespace firth::nn {

#define FIRTH_DECLARE_UPDATE(name) \
    bool name##_fits(const Call&); \
    template <class T> \
    void name##_forward(const Call&);
#define FIRTH_DECLARE_OPERATION(name) \
    FIRTH_DECLARE_UPDATE(name) \
    template <class T> \
    void name##_backward(const Call&);
FIRTH_OPERATIONS(FIRTH_DECLARE_OPERATION)
FIRTH_UPDATES(FIRTH_DECLARE_UPDATE)

namespace {

const Operation kOperations[] = {
#define FIRTH_ROW(name) \
    {#name, \
     name##_fits, \
     name##_forward<float>, \
     name##_forward<double>, \
     name##_backward<float>, \
     name##_backward<double>},
    FIRTH_OPERATIONS(FIRTH_ROW)
#undef FIRTH_ROW
#define FIRTH_ROW(name) \
    {#name, name##_fits, name##_forward<float>, name##_forward<double>, nullptr, nullptr},
        FIRTH_UPDATES(FIRTH_ROW)
#undef FIRTH_ROW
};
constexpr size_t kCount = sizeof kOperations / sizeof *kOperations;

}  // namespace

const Operation* operations(size_t* count) {
    *count = kCount;
    return kOperations;
}

const Operation* find_operation(const char* name) {
    for (const Operation& operation : kOperations)
        if (!strcmp(operation.name, name)) return &operation;
    return nullptr;
}

}  // namespace firth::nn
