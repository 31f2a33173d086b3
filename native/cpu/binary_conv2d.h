#pragma once
#include <cstdint>

#include "cpu/binary_matmul.h"
#include "ops/binary_conv2d.h"

namespace hardbit::cpu {

// Out: std::int16_t or std::int32_t, wide enough for every sum. out [n, oh, ow, m].

/// x [n, h, w, words(c)] of ±1 bits, w [m, words(k)].
template <class Out>
void binary_conv2d(const Kernels& kernels, const ops::Conv2d& conv, ops::PaddingValue padding,
                   const std::uint64_t* x, const std::uint64_t* w, Out* out);

/// codes [n, h, w, c], w [m, words(k)]. Returns the OR of all codes; where that does not fit into `bits`, out
/// is left unwritten.
template <class Out>
int codes_conv2d(const Kernels& kernels, const ops::Conv2d& conv, ops::PaddingValue padding,
                 const std::uint8_t* codes, int bits, const std::uint64_t* w, Out* out);

}  // namespace hardbit::cpu
