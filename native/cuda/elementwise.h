#pragma once
#include <cstdint>

namespace hardbit::cuda {

void u8_to_float(const std::uint8_t* x, float* y, std::int64_t n);
/// T: std::int16_t, std::int32_t.
template <class T>
void int_to_float(const T* x, float scale, float* y, std::int64_t n);
void axpy(float* y, float a, const float* x, std::int64_t n);
void relu(const float* x, float* y, std::int64_t n);
void relu_backward(const float* dy, const float* y, float* dx, std::int64_t n);
void add(const float* a, const float* b, float* y, std::int64_t n);
void hardtanh(const float* x, float* y, std::int64_t n);
void hardtanh_backward(const float* dy, const float* x, float* dx, std::int64_t n);

}  // namespace hardbit::cuda
