// The numbers of the activations, which isa/math.h computes. kGeluNear is kGelu for results that go
// on in bytes or bfloat16.
#pragma once

namespace firth {

enum Activation { kNone, kRelu, kGelu, kGeluTanh, kSilu, kGeluNear };

}  // namespace firth
