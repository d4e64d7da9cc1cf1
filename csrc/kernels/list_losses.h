// Losses and their gradients: losses.cpp.
#pragma once
#include "list.h"

#define FIRTH_LOSS_KERNELS(K, T, type)

FIRTH_DECLARE_LIST(FIRTH_LOSS_KERNELS(FIRTH_DECLARE_OF, float, f32)
                       FIRTH_LOSS_KERNELS(FIRTH_DECLARE_OF, double, f64))
