#pragma once
#include <cstdint>
#include <span>

#include "ops/quantize_weights.h"

namespace hardbit::cuda {

void pack_signs_shifted(const float* w, float shift, std::uint64_t* bits, std::int64_t rows,
                        std::int64_t columns);
double sum_magnitudes(const float* w, std::int64_t n);
void row_magnitudes(const float* w, float* means, std::int64_t rows, std::int64_t columns);
void magnitude_sign_backward(const float* g, const float* w, const float* alpha,
                             ops::MagnitudeGradient gradient, float* dw, std::int64_t rows,
                             std::int64_t columns);
/// Codes of tanh(w)/(2m) + ½; returns m, max|tanh w| or 1.
double dorefa_codes(const float* w, int bits, std::uint8_t* codes, std::int64_t n);
void dorefa_weights_backward(const float* g, const float* w, double maximum, float* dw, std::int64_t n);
/// A code of more bits is reported (Report::code), and its higher bits are left out.
void code_planes(const std::uint8_t* codes, int bits, std::uint64_t* planes, std::int64_t rows,
                 std::int64_t columns);
void planes_to_float(const std::uint64_t* planes, std::span<const float> coefficients, const float* scale,
                     float* w, std::int64_t rows, std::int64_t columns);
/// T: std::int16_t, std::int32_t.
template <class T>
void combine_planes(const T* y, std::span<const std::int32_t> coefficients, std::int32_t* sums,
                    std::int64_t rows, std::int64_t channels);

}  // namespace hardbit::cuda
