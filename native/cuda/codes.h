#pragma once
// Codes of floats and floats of codes, four a thread where addresses allow it.

#include <cstdint>

#include "cuda/kernel.h"
#include "cuda/pack_bits.h"

namespace hardbit::cuda {

/// codes[i] ← f(x[i]), below 256.
template <class F>
void map_to_codes(const float* x, std::uint8_t* codes, std::int64_t n, F f) {
  if (!aligned(x, 16) || !aligned(codes, 4)) {
    for_each(n, [=] __device__(std::int64_t i) { codes[i] = static_cast<std::uint8_t>(f(x[i])); });
    return;
  }
  for_each(ceil_div<std::int64_t>(n, 4), [=] __device__(std::int64_t q) {
    if (4 * q + 4 > n) {
      for (std::int64_t i = 4 * q; i < n; ++i) codes[i] = static_cast<std::uint8_t>(f(x[i]));
      return;
    }
    const float4 v = reinterpret_cast<const float4*>(x)[q];
    const std::uint32_t four = f(v.x) | f(v.y) << 8 | f(v.z) << 16 | f(v.w) << 24;
    reinterpret_cast<std::uint32_t*>(codes)[q] = four;
  });
}

/// x[i] ← f(codes[i]).
template <class F>
void map_codes(const std::uint8_t* codes, float* x, std::int64_t n, F f) {
  if (!aligned(x, 16) || !aligned(codes, 4)) {
    for_each(n, [=] __device__(std::int64_t i) { x[i] = f(codes[i]); });
    return;
  }
  for_each(ceil_div<std::int64_t>(n, 4), [=] __device__(std::int64_t q) {
    if (4 * q + 4 > n) {
      for (std::int64_t i = 4 * q; i < n; ++i) x[i] = f(codes[i]);
      return;
    }
    const std::uint32_t four = reinterpret_cast<const std::uint32_t*>(codes)[q];
    reinterpret_cast<float4*>(x)[q] =
        make_float4(f(four & 0xFF), f(four >> 8 & 0xFF), f(four >> 16 & 0xFF), f(four >> 24));
  });
}

}  // namespace hardbit::cuda
