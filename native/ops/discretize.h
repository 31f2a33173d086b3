#pragma once
#include <cstdint>

#include "runtime/tensor.h"

namespace hardbit {

/// The discretizer, everywhere: floor(fl(fl(x·(2^bits − 1)) + ½)) in fp32, multiply then add (this project is
/// compiled without contraction), bits 1 … 8. Outside [0, 1] the code is clamped to 0 … 2^bits − 1; a NaN
/// gives 0.
constexpr std::uint8_t quantize_code(float x, int bits) {
  const float levels = static_cast<float>((1 << bits) - 1);
  const float scaled = x * levels;
  const float t = scaled + 0.5F;
  if (!(t > 0.0F)) return 0;
  return static_cast<std::uint8_t>(t < levels ? t : levels);  // truncation is floor: t is positive
}

}  // namespace hardbit

namespace hardbit::ops {

/// f32 pixels in [0, 1] → u8 codes quantize_code(x, bits), same shape. bits outside 1 … 8:
/// ERR_HARDBIT_ARGUMENT. arXiv 1902.03151, section III.
Tensor discretize(const Tensor& x, int bits);
/// u8 codes → f32 fl(code / (2^bits − 1)), a true division. Codes above 2^bits − 1 are not refused and give
/// values above 1.
Tensor codes_to_float(const Tensor& codes, int bits);

}  // namespace hardbit::ops
