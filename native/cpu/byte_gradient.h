#pragma once
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "cpu/input_axis.h"
#include "cpu/kernels/gradient.h"
#include "cpu/kernels/product.h"
#include "cpu/output_gradient.h"
#include "ops/binary_conv2d.h"
#include "ops/gradient_rounding.h"
#include "runtime/tensor.h"

namespace hardbit::cpu {

// Gradients of binary convolutions by byte products: dy rounded stochastically to whole numbers
// (ops/binary_gradient.h says how), the other operand exact. A matrix product [N, K] x [M, K] is the
// convolution of N images of one pixel.

/// The rows they run on; an argument so that tests go through the whole tables.
struct ByteKernels {
  const ProductKernel& product;
  const GradientKernels& gradient;
};
inline ByteKernels selected_byte_kernels() {
  return {selected_product(Operand::bytes), selected_gradient_kernels()};
}

using ops::draw_blocks;
using ops::PixelChunks;
using ops::Rounding;
using ops::rounding;

/// How many elements of a row's factors are kept, where they repeat every `channels` elements: what the
/// kernels take.
constexpr std::int64_t factor_period(std::int64_t channels, std::int64_t length) {
  const std::int64_t period = std::lcm(channels, std::int64_t{128});
  return period <= length ? period : length;
}

/// codes = q + 128 of x [rows][length]: one Rounding for `per` rows each (per > 0), or one for each of the
/// last `channels` elements' places (per 0).
void quantize_gradient(const GradientKernels& kernels, const float* x, std::int64_t rows, std::int64_t length,
                       std::int64_t channels, std::int64_t per, int levels, const Draws& draws,
                       std::uint8_t* codes, float* scales);

/// Weights as the gradient of the input reads them: for each phase of rows and columns and each group one
/// product of the taps that meet there. Made once where weights are frozen.
class InputGradientWeights {
 public:
  struct Part {
    Tensor packed;
    Tensor offsets;                        // −128·Σw a channel, i32
    std::vector<std::ptrdiff_t> segments;  // from the place's first byte on
    std::int64_t segment_words;
  };

  /// Planes bits [P·M, K] with a whole coefficient each, Σ|c| ≤ 64.
  InputGradientWeights(const ByteKernels& kernels, const ops::Conv2d& conv, const std::uint64_t* planes,
                       std::span<const int> coefficients);

  const Part& part(std::size_t row_phase, std::size_t column_phase, std::int64_t group) const {
    return parts_[(row_phase * columns.phases.size() + column_phase) * static_cast<std::size_t>(groups_) +
                  static_cast<std::size_t>(group)];
  }

  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Part& part : parts_) {
      if (part.packed.defined()) sum += part.packed.byte_length() + part.offsets.byte_length();
    }
    return sum;
  }

  InputAxis rows, columns;
  std::int64_t group_bytes;  // of the channels of dy of one group: a multiple of 8
  std::int64_t pixel_bytes;
  std::int64_t row_pixels;    // of a row of dy with its padding
  std::int64_t first_column;  // the output column of its first pixel

 private:
  Part make_part(const ByteKernels& kernels, const ops::Conv2d& conv, const std::uint64_t* planes,
                 std::span<const int> coefficients, const InputAxis::Phase& down,
                 const InputAxis::Phase& across, std::int64_t group) const;

  std::int64_t groups_;
  std::vector<Part> parts_;
};

/// dx [n, h, w, c] = scale·Σ fl(dy·channel_scales)·w; `channel_scales` [m] may be null.
void byte_backward_input(const ByteKernels& kernels, const ops::Conv2d& conv, const OutputGradient& dy,
                         const float* channel_scales, const InputGradientWeights& weights, float scale,
                         const Draws& draws, float* dx);

/// Activations: bits of ±1 (`codes` null) or codes of `bits` bits.
struct ByteActivations {
  const std::uint64_t* signs;
  const std::uint8_t* codes;
  int bits;
};

/// dw [m, kh·kw·(c / groups)]. ow·127·(2^bits − 1) is below 2^31.
void byte_backward_weight(const ByteKernels& kernels, const ops::Conv2d& conv, ops::PaddingValue padding,
                          const OutputGradient& dy, const ByteActivations& x, const Draws& draws, float* dw);

}  // namespace hardbit::cpu
