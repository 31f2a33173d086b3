#pragma once
#include <cstdint>

#include "runtime/tensor.h"

namespace hardbit::ops {

// Philox4x32-10 (runtime/random.h), key = seed; `stream` is below 2^32. The same values on every device and
// every thread count.

/// i32 [count], uniform 32-bit patterns.
Tensor random_integers(std::int64_t count, std::uint64_t seed, std::uint64_t stream,
                       Device device = Device::cpu);
/// f32, uniform in [low, high): low + (high − low)·u with u a multiple of 2^-24 in [0, 1).
Tensor random_uniform(const Shape& shape, double low, double high, std::uint64_t seed, std::uint64_t stream,
                      Device device = Device::cpu);
/// i32 [count], a uniform permutation of 0 … count − 1 (Fisher–Yates). One swap follows the other, so the
/// cpu makes it for every device.
Tensor permutation(std::int64_t count, std::uint64_t seed, std::uint64_t stream, Device device = Device::cpu);

}  // namespace hardbit::ops
