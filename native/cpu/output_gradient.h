#pragma once
#include <cstdint>

#include "cpu/pool2d.h"
#include "ops/geometry.h"

namespace hardbit::cpu {

/// dy of a convolution, [n, oh, ow, m]; or, where max pooling by windows side by side follows (kernel =
/// stride, no padding), that of the pooled outputs [n, ph, pw, m] and the place of each in its window: all
/// other elements of dy are 0, and rows of it are made where they are read.
class OutputGradient {
 public:
  OutputGradient(const float* dy) : values_(dy) {}  // NOLINT: the usual case
  OutputGradient(const ops::Pooling& pooling, const float* dy, const std::uint8_t* index)
      : values_(dy), places_(index), pooling_(pooling) {}

  /// Elements that row() writes.
  std::int64_t scratch(const ops::Conv2d& conv) const { return places_ == nullptr ? 0 : conv.ow * conv.m; }

  /// Row [ow][m] of the n·oh rows: where it lies, or made in `scratch`.
  const float* row(const ops::Conv2d& conv, std::int64_t row, float* scratch) const {
    if (places_ == nullptr) return values_ + row * conv.ow * conv.m;
    max_pool2d_backward_row(pooling_, values_, places_, row, scratch);
    return scratch;
  }

  /// The rows [columns][m] that are given, `count` of each image: dy but for zeros.
  struct Rows {
    const float* values;
    std::int64_t count, columns;
  };
  Rows given(const ops::Conv2d& conv) const {
    if (places_ == nullptr) return {values_, conv.oh, conv.ow};
    return {values_, pooling_.out_height, pooling_.out_width};
  }

 private:
  const float* values_;
  const std::uint8_t* places_ = nullptr;  // null: not pooled
  ops::Pooling pooling_{};
};

}  // namespace hardbit::cpu
