// The numbers of the activations, which isa/math.h computes. kGeluNear is kGelu for results that go
// on in bytes or bfloat16. Those behind it are for training alone: kernels/activation.cpp.
#pragma once

namespace firth {

enum Activation {
    kNone,
    kRelu,
    kGelu,
    kGeluTanh,
    kSilu,
    kGeluNear,
    kTanh,
    kSigmoid,
    kLeakyRelu,
    kElu,
    kStep
};

}  // namespace firth
