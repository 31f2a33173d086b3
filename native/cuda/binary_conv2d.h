#pragma once
#include <cstdint>

#include "ops/conv2d.h"

// Products of ±1 weights: convolutions, and dense layers as convolutions of 1×1 images. Out: std::int16_t or
// std::int32_t, wide enough for every sum. out [n, oh, ow, m]. The weights are made ready at every call
// (cuda/binary_product.h has what is prepared once).

namespace hardbit::cuda {

/// x [n, h, w, words(c)] of ±1 bits, w [m, words(k)].
template <class Out>
void binary_conv2d(const ops::Conv2d& conv, ops::PaddingValue padding, const std::uint64_t* x,
                   const std::uint64_t* w, Out* out);

/// codes [n, h, w, c], w [m, words(k)]; a code that does not fit into `bits` is reported (Report::code).
template <class Out>
void codes_conv2d(const ops::Conv2d& conv, ops::PaddingValue padding, const std::uint8_t* codes, int bits,
                  const std::uint64_t* w, Out* out);

}  // namespace hardbit::cuda
