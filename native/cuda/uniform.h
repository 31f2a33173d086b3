#pragma once
#include "cuda/kernel.h"
#include "runtime/random.h"

namespace hardbit::cuda {

/// cpu/uniform.h's: uniform in [low, high) from one word, the predecessor of `high` where the sum rounds up
/// to it.
__device__ inline float uniform(std::uint32_t word, float low, float high) {
  const float value = low + (high - low) * unit_float(word);
  if (value < high) return value;
  const std::uint32_t bits = __float_as_uint(high);
  if ((bits << 1) == 0) return -__uint_as_float(1);
  return __uint_as_float(high > 0 ? bits - 1 : bits + 1);
}

}  // namespace hardbit::cuda
