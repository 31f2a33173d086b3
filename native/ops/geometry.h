#pragma once
#include <array>
#include <compare>
#include <cstdint>

// Where windows go: plain data, for operators and for the deployed engine, which has no tensors.

namespace hardbit::ops {

using Pair = std::array<std::int64_t, 2>;

/// Where a convolution's window goes: stride and dilation of rows and columns, 1 or more; rows and columns of
/// padding above, below, left and right, 0 or more; groups, which divide input and output channels.
struct Conv2dGeometry {
  Pair stride{1, 1};
  Pair dilation{1, 1};
  std::array<std::int64_t, 4> padding{};
  std::int64_t groups = 1;
  auto operator<=>(const Conv2dGeometry&) const = default;
};

/// A convolution with all its sizes, checked: what an implementation may rely on. x [n, h, w, c], weights
/// [m, kh, kw, c / groups], y [n, oh, ow, m].
struct Conv2d {
  Conv2dGeometry geometry;
  std::int64_t n, h, w, c, m, kh, kw, oh, ow;
  std::int64_t group_channels() const { return geometry.groups == 0 ? 0 : c / geometry.groups; }
  /// Taps of one output element.
  std::int64_t k() const { return kh * kw * group_channels(); }
  /// No product is part of any output.
  bool empty() const { return n == 0 || m == 0 || c == 0 || h == 0 || w == 0; }
  auto operator<=>(const Conv2d&) const = default;
};

/// What a padded pixel stands for: 0, or 1 (signs +1, codes 2^bits − 1). 0 is exact: a tap there adds
/// nothing.
enum class PaddingValue : std::uint8_t { zero, one };

/// Where a pooling window goes. Rows, columns; padding above, below, left, right.
struct Pool2dGeometry {
  Pair kernel{1, 1};
  Pair stride{1, 1};
  std::array<std::int64_t, 4> padding{};
  /// Windows lie side by side, from the first pixel on.
  constexpr bool side_by_side() const { return kernel == stride && padding == std::array<std::int64_t, 4>{}; }
};

/// A pooling with all its sizes, checked: what an implementation may rely on.
struct Pooling {
  Pool2dGeometry geometry;
  std::int64_t images;
  std::int64_t height;
  std::int64_t width;
  std::int64_t channels;
  std::int64_t out_height;
  std::int64_t out_width;
};

}  // namespace hardbit::ops
