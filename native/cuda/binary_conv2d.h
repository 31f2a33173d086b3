#pragma once
#include <cstdint>
#include <optional>

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

/// The largest of each window of either (codes where `bits` is given), y [n, pooled, m] and, unless it is
/// null, `index`, as max_pool2d() has them. Where bands of images take the layer and its pooling
/// (cuda/band_product.h), the sums themselves are never in memory.
template <class Out>
void binary_conv2d_pool(const ops::Conv2d& conv, ops::PaddingValue padding, const void* x,
                        std::optional<int> bits, const std::uint64_t* w, const ops::Pooling& pooling, Out* y,
                        std::uint8_t* index);

}  // namespace hardbit::cuda
