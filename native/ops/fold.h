#pragma once
#include <cstdint>

#include "runtime/tensor.h"

namespace hardbit::ops {

// What evaluation's batch norm of the integers of a binary layer becomes in a deployed network. On the cpu
// alone: ERR_HARDBIT_UNSUPPORTED for tensors of a GPU.

/// A condition on an integer n for each channel: direction·n ≥ minimum. Direction 1 or −1; 0 where n does not
/// matter, with minimum 0 (always) or 1 (never).
struct FoldedSigns {
  Tensor direction;  // i32 [C]
  Tensor minimum;    // i32 [C]
};

/// Folds scale, batch norm and sign: for every integer n of [−magnitude, magnitude] and channel c, the
/// condition holds exactly where batch_norm_value(fl(float(n)·scales[c]), mean, batch_norm_factor(gamma,
/// variance, epsilon), beta) ≥ 0. Each rounding is monotonic, so the whole is monotonic in n, and bisecting
/// it over the integers finds the one place where the sign changes. scales, gamma, beta, mean, variance f32
/// [C]; magnitude 0 … 2^31 − 1. ERR_HARDBIT_ARGUMENT where a number or the factor of a channel is not finite,
/// or the value at an end of the range is a NaN.
FoldedSigns fold_signs(std::int64_t magnitude, const Tensor& scales, const Tensor& gamma, const Tensor& beta,
                       const Tensor& running_mean, const Tensor& running_variance, double epsilon);

/// batch_norm_factor of every channel, f32 [C]; ERR_HARDBIT_ARGUMENT where one is not finite.
Tensor batch_norm_factors(const Tensor& gamma, const Tensor& running_variance, double epsilon);

}  // namespace hardbit::ops
