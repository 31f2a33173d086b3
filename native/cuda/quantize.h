#pragma once
#include <cstdint>

namespace hardbit::cuda {

void swish_sign_backward(const float* dy, const float* x, double beta, float* dx, std::int64_t n);
void clipped_backward(const float* dy, const float* x, float* dx, std::int64_t n);
void heaviside(const float* x, std::uint8_t* codes, std::int64_t n);
void unit_backward(const float* dy, const float* x, float* dx, std::int64_t n);
/// T: float, std::int16_t, std::int32_t.
template <class T>
void scale_channels(const T* x, const float* scales, float* y, std::int64_t rows, std::int64_t channels);
std::int64_t count_different_bits(const std::uint64_t* a, const std::uint64_t* b, std::int64_t words);

}  // namespace hardbit::cuda
