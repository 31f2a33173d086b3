#pragma once
#include <cmath>

#include "runtime/random.h"

namespace hardbit::cpu {

/// Uniform in [low, high) from one word. The sum may round up to `high`, which is then replaced by its
/// predecessor.
inline float uniform(std::uint32_t word, float low, float high) {
  const float value = low + (high - low) * unit_float(word);
  return value < high ? value : std::nextafter(high, low);
}

}  // namespace hardbit::cpu
