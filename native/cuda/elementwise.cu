#include <cmath>

#include "cuda/elementwise.h"
#include "cuda/vectors.h"

namespace hardbit::cuda {

void u8_to_float(const std::uint8_t* x, float* y, std::int64_t n) {
  map_elements(n, x, y, [] __device__(std::uint8_t v) { return static_cast<float>(v) / 255.0F; });
}

template <class T>
void int_to_float(const T* x, float scale, float* y, std::int64_t n) {
  map_elements(n, x, y, [=] __device__(T v) { return static_cast<float>(v) * scale; });
}
template void int_to_float(const std::int16_t*, float, float*, std::int64_t);
template void int_to_float(const std::int32_t*, float, float*, std::int64_t);

void axpy(float* y, float a, const float* x, std::int64_t n) {
  map_elements(n, y, x, y, [=] __device__(float to, float v) { return to + a * v; });
}

void relu(const float* x, float* y, std::int64_t n) {
  map_elements(n, x, y, [] __device__(float v) { return v < 0 ? 0.0F : v; });
}

void relu_backward(const float* dy, const float* y, float* dx, std::int64_t n) {
  map_elements(n, dy, y, dx, [] __device__(float gradient, float v) { return v > 0 ? gradient : 0.0F; });
}

void add(const float* a, const float* b, float* y, std::int64_t n) {
  map_elements(n, a, b, y, [] __device__(float v, float w) { return v + w; });
}

void hardtanh(const float* x, float* y, std::int64_t n) {
  // A NaN is neither below nor above.
  map_elements(n, x, y, [] __device__(float v) { return v < -1 ? -1.0F : v > 1 ? 1.0F : v; });
}

void hardtanh_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  map_elements(n, dy, x, dx,
               [] __device__(float gradient, float v) { return std::fabs(v) < 1 ? gradient : 0.0F; });
}

}  // namespace hardbit::cuda
