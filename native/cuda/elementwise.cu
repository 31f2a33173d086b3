#include <cmath>

#include "cuda/elementwise.h"
#include "cuda/kernel.h"

namespace hardbit::cuda {

void u8_to_float(const std::uint8_t* x, float* y, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { y[i] = static_cast<float>(x[i]) / 255.0F; });
}

template <class T>
void int_to_float(const T* x, float scale, float* y, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { y[i] = static_cast<float>(x[i]) * scale; });
}
template void int_to_float(const std::int16_t*, float, float*, std::int64_t);
template void int_to_float(const std::int32_t*, float, float*, std::int64_t);

void axpy(float* y, float a, const float* x, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { y[i] += a * x[i]; });
}

void relu(const float* x, float* y, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { y[i] = x[i] < 0 ? 0.0F : x[i]; });
}

void relu_backward(const float* dy, const float* y, float* dx, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { dx[i] = y[i] > 0 ? dy[i] : 0.0F; });
}

void add(const float* a, const float* b, float* y, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { y[i] = a[i] + b[i]; });
}

void hardtanh(const float* x, float* y, std::int64_t n) {
  // A NaN is neither below nor above.
  for_each(n, [=] __device__(std::int64_t i) { y[i] = x[i] < -1 ? -1.0F : x[i] > 1 ? 1.0F : x[i]; });
}

void hardtanh_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { dx[i] = std::fabs(x[i]) < 1 ? dy[i] : 0.0F; });
}

}  // namespace hardbit::cuda
