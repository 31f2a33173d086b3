#pragma once
#include <cstdint>
#include <span>

#include "cpu/kernels/gradient.h"
#include "ops/conv2d.h"

namespace hardbit::cuda {

// The gradients of cpu/byte_gradient.h: the same bytes of the same draws, the same whole numbers, the same
// floats.

using cpu::Draws;

/// dy of a convolution, [n, oh, ow, m]; or, where max-pooling by windows side by side follows (kernel =
/// stride, no padding), that of the pooled outputs [n, pooled_rows, pooled_columns, m] and the place of each
/// in its window: all other elements of dy are 0. A place outside the window is reported (Report::place).
struct OutputGradient {
  const float* values;
  const std::uint8_t* places = nullptr;  // null: not pooled
  std::int64_t rows = 0;                 // oh
  std::int64_t window_rows = 1, window_columns = 1;
  std::int64_t pooled_rows = 0, pooled_columns = 0;

  OutputGradient(const float* dy) : values(dy) {}  // NOLINT: the usual case
  OutputGradient(const ops::Pooling& pooling, const float* dy, const std::uint8_t* index)
      : values(dy),
        places(index),
        rows(pooling.height),
        window_rows(pooling.geometry.kernel[0]),
        window_columns(pooling.geometry.kernel[1]),
        pooled_rows(pooling.out_height),
        pooled_columns(pooling.out_width) {}
};

void quantize_gradient(const float* x, std::int64_t rows, std::int64_t length, std::int64_t channels,
                       std::int64_t per, int levels, const Draws& draws, std::uint8_t* codes, float* scales);

/// dx [n, h, w, c] = scale·Σ fl(dy·channel_scales)·w; `channel_scales` [m] may be null. Planes bits [P·M, K]
/// with a whole coefficient each, Σ|c| ≤ 64.
void byte_backward_input(const ops::Conv2d& conv, const OutputGradient& dy, const float* channel_scales,
                         const std::uint64_t* planes, std::span<const int> coefficients, float scale,
                         const Draws& draws, float* dx);

/// dw [m, kh·kw·(c / groups)]; x bits, or codes of `bits` bits where `signs` is null.
void byte_backward_weight(const ops::Conv2d& conv, ops::PaddingValue padding, const OutputGradient& dy,
                          const std::uint64_t* signs, const std::uint8_t* codes, int bits, const Draws& draws,
                          float* dw);

// Around the float gradients.

/// Reports codes of more than `bits` bits.
void check_codes(const std::uint8_t* codes, std::int64_t n, int bits);
void fill_floats(float* x, float value, std::int64_t n);
/// x − 1, in place.
void subtract_one(float* x, std::int64_t n);
/// dw [m, k] + sums [m], in place.
void add_to_rows(const float* sums, float* dw, std::int64_t m, std::int64_t k);

}  // namespace hardbit::cuda
