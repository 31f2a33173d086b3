#include "cpu/byte_gradient.h"

#include <algorithm>

#include "runtime/threads.h"

namespace hardbit::cpu {

void quantize_gradient(const GradientKernels& kernels, const float* x, std::int64_t rows, std::int64_t length,
                       std::int64_t channels, std::int64_t per, int levels, const Draws& draws,
                       std::uint8_t* codes, float* scales) {
  // The factors of a row: lift, and inverse in units of 2^-16.
  const Tensor factors = Tensor::empty(DType::f32, {2, length});
  float* const lift = factors.data<float>();
  float* const inverse = lift + length;
  const auto set = [&](std::int64_t begin, std::int64_t step, std::uint32_t most, float* scale) {
    const Rounding r = rounding(most, levels);
    *scale = r.scale * r.drop;
    for (std::int64_t i = begin; i < length; i += step) {
      lift[i] = r.lift;
      inverse[i] = r.inverse * 0x1p16F;
    }
  };
  if (per == 0) {
    const Tensor most = Tensor::zeros(DType::i32, {channels});
    kernels.column_magnitudes(x, channels == 0 ? 0 : rows * length / channels, channels,
                              most.data<std::uint32_t>());
    for (std::int64_t c = 0; c < channels; ++c) set(c, channels, most.data<std::uint32_t>()[c], scales + c);
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    if (per > 0 && row % per == 0) {
      std::fill_n(lift, length, 1.0F);
      std::uint32_t most = 0;
      for (std::int64_t i = 0; i < per; ++i)
        most = kernels.magnitude(x + (row + i) * length, lift, length, length, most);
      set(0, 1, most, scales + row / per);
    }
    kernels.quantize(draws, static_cast<std::uint32_t>(row * draw_blocks(length)), x + row * length, lift,
                     inverse, length, levels, length, codes + row * length);
  }
}

}  // namespace hardbit::cpu
