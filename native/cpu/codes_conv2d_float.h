#pragma once
#include <cstdint>

#include "ops/conv2d.h"

namespace hardbit::cpu {

/// Whether a convolution of codes by ±1 is faster as a float one: many planes, and kernels so small that
/// patches of bits cost more than their product. Measured on Zen 4, 128 images of 28×28×1 by 20 kernels of
/// 5×5, 2 threads: 2.17 ms by 8 planes, 0.76 by 2, the float convolution without the conversions 0.77; in
/// between the limit is by proportion.
bool prefers_float(const ops::Conv2d& conv, int bits);

/// The convolution of codes [n, h, w, c] by ±1 weights, bits [m][words(k)], padded by zeros, in float: exact,
/// because every partial sum is a whole number below 2^24, which prefers_float() makes sure of. Out holds the
/// sums. Returns the OR of all codes; where that does not fit into `bits`, out is left unwritten.
template <class Out>
int codes_conv2d_float(const ops::Conv2d& conv, const std::uint8_t* codes, int bits, const std::uint64_t* w,
                       Out* out);

}  // namespace hardbit::cpu
