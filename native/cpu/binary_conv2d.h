#pragma once
#include <cstdint>

#include "cpu/product/conv_product.h"

// Products of ±1 weights on all threads: convolutions, and dense layers as convolutions of 1×1 images.
// Out: std::int16_t or std::int32_t, wide enough for every sum. out [n, oh, ow, m]. `rows` is an argument so
// that tests go through the whole table.

namespace hardbit::cpu {

/// x [n, h, w, words(c)] of ±1 bits, w [m, words(k)].
template <class Out>
void binary_conv2d(const ProductRows& rows, const ops::Conv2d& conv, ops::PaddingValue padding,
                   const std::uint64_t* x, const std::uint64_t* w, Out* out);

/// codes [n, h, w, c], w [m, words(k)]. Returns the OR of all codes; where that does not fit into `bits`, out
/// is left unwritten.
template <class Out>
int codes_conv2d(const ProductRows& rows, const ops::Conv2d& conv, ops::PaddingValue padding,
                 const std::uint8_t* codes, int bits, const std::uint64_t* w, Out* out);

/// The product [n, k] · [m, k]ᵀ as a convolution.
ops::Conv2d dense_as_conv2d(std::int64_t n, std::int64_t m, std::int64_t k);

}  // namespace hardbit::cpu
