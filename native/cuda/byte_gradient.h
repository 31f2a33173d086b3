#pragma once
#include <cstdint>
#include <span>

#include "cpu/kernels/gradient.h"
#include "ops/conv2d.h"

namespace hardbit::cuda {

// The gradients of cpu/byte_gradient.h: the same bytes of the same draws, the same whole numbers, the same
// floats.

using cpu::Draws;

void quantize_gradient(const float* x, std::int64_t rows, std::int64_t length, std::int64_t channels,
                       std::int64_t per, int levels, const Draws& draws, std::uint8_t* codes, float* scales);

/// dx [n, h, w, c] = scale·Σ fl(dy·channel_scales)·w; `channel_scales` [m] may be null. Planes bits [P·M, K]
/// with a whole coefficient each, Σ|c| ≤ 64.
void byte_backward_input(const ops::Conv2d& conv, const float* dy, const float* channel_scales,
                         const std::uint64_t* planes, std::span<const int> coefficients, float scale,
                         const Draws& draws, float* dx);

/// dw [m, kh·kw·(c / groups)]; x bits, or codes of `bits` bits where `signs` is null.
void byte_backward_weight(const ops::Conv2d& conv, ops::PaddingValue padding, const float* dy,
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
