#pragma once
#include <cstddef>
#include <memory>
#include <span>

#include "cpu/byte_gradient.h"

namespace hardbit::cpu {

/// The weights of an input gradient, packed: those of an earlier call with the same ones, or new ones. An
/// attack differentiates a frozen network many times, but packs its signs into a new tensor each time; so
/// weights are found by their contents, all of which are compared: an eighth of what packing writes. They are
/// kept from the second call on, so that training, whose weights change with every step, leaves only its bits
/// behind. Thread-safe.
std::shared_ptr<const InputGradientWeights> cached_input_weights(const ByteKernels& kernels,
                                                                 const ops::Conv2d& conv,
                                                                 const std::uint64_t* planes,
                                                                 std::span<const int> coefficients);

/// Bytes kept; at most 64 MiB.
std::size_t cached_input_weight_bytes();
/// Drops all that no call is using.
void forget_input_weights();

}  // namespace hardbit::cpu
