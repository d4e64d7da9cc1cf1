// The numbers of the activations, which isa/math.h computes.
#pragma once

namespace firth {

enum Activation { kNone, kRelu, kGelu, kGeluTanh, kSilu };

}  // namespace firth
