#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "ops/geometry.h"

// What int8 gradients (ops/binary_gradient.h) are made of on every device: the factors of their rounding, and
// how far sums go in whole numbers.

namespace hardbit::ops {

/// How numbers of one scale are rounded: q ≈ fl(fl(x·lift)·inverse), q·scale·drop ≈ x. lift and drop are
/// powers of two that keep tiny scales out of the subnormal numbers.
struct Rounding {
  float lift, inverse, scale, drop;
};

/// For numbers whose largest magnitude has these bits.
constexpr Rounding rounding(std::uint32_t magnitude, int levels) {
  constexpr float tiny = 0x1p-100F;
  constexpr std::uint32_t infinite = 0x7F800000;
  if (magnitude == 0) return {.lift = 1, .inverse = 0, .scale = 0, .drop = 1};
  if (magnitude >= infinite) {
    return {.lift = 1, .inverse = 0, .scale = std::numeric_limits<float>::quiet_NaN(), .drop = 1};
  }
  const auto most = std::bit_cast<float>(magnitude);
  const bool lifted = most < tiny;
  const float lift = lifted ? 0x1p64F : 1.0F;
  const auto count = static_cast<float>(levels);
  return {.lift = lift,
          .inverse = count / (most * lift),
          .scale = most * lift / count,
          .drop = lifted ? 0x1p-64F : 1.0F};
}

/// Blocks of draws of a row of `length` elements.
constexpr std::int64_t draw_blocks(std::int64_t length) { return (length + 127) / 128 * 16; }

/// The levels of dy that meets signs (`bits` 1) or codes: pairs of products fit into 16 bits.
constexpr int weight_gradient_levels(bool signs, int bits) { return signs || bits < 8 ? 127 : 63; }

/// The rows of dy that a weight gradient takes at a time, all rows of several images or some rows of one.
/// Sums of as many of these chunks as stay within `limit` pixels are whole numbers of 32 bits; such sums are
/// added up as floats. So the chunks are part of the result.
struct PixelChunks {
  std::int64_t images, rows, limit;

  /// `most` is the largest magnitude of a product.
  constexpr PixelChunks(const Conv2d& conv, std::int64_t most)
      : limit(std::max<std::int64_t>((std::int64_t{1} << 31) / most - 1, 1)) {
    constexpr std::int64_t chunk_pixels = 4096;  // 64 channels of dy take a quarter of a megabyte
    const std::int64_t row = (conv.ow + 7) / 8 * 8;
    rows = std::clamp<std::int64_t>(std::min(chunk_pixels / row, limit / row), 1, conv.oh);
    images = rows < conv.oh
                 ? 1
                 : std::clamp<std::int64_t>(std::min(chunk_pixels, limit) / (conv.oh * conv.ow), 1, conv.n);
  }

  /// The first row of dy, counted through all images, that is no longer added to the whole numbers of
  /// `begin`.
  constexpr std::int64_t end_of_sums(const Conv2d& conv, std::int64_t begin) const {
    std::int64_t end = begin;
    while (end < conv.n * conv.oh) {
      const std::int64_t left = rows < conv.oh ? conv.oh - end % conv.oh : conv.n * conv.oh - end;
      const std::int64_t more = std::min(rows < conv.oh ? rows : images * conv.oh, left);
      if (end > begin && (end - begin + more) * conv.ow > limit) break;
      end += more;
    }
    return end;
  }
};

}  // namespace hardbit::ops
