#include "cpu/elementwise.h"

#include <algorithm>
#include <cmath>

#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// y[i] ← f(i) for all i.
template <class F>
void each(std::int64_t n, const F& f) {
  parallel_for(n, element_grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) f(i);
  });
}

}  // namespace

void u8_to_float(const std::uint8_t* x, float* y, std::int64_t n) {
  each(n, [=](std::int64_t i) { y[i] = static_cast<float>(x[i]) / 255.0F; });
}

template <class T>
void int_to_float(const T* x, float scale, float* y, std::int64_t n) {
  each(n, [=](std::int64_t i) { y[i] = static_cast<float>(x[i]) * scale; });
}
template void int_to_float(const std::int16_t*, float, float*, std::int64_t);
template void int_to_float(const std::int32_t*, float, float*, std::int64_t);

void axpy(float* y, float a, const float* x, std::int64_t n) {
  each(n, [=](std::int64_t i) { y[i] += a * x[i]; });
}

void relu(const float* x, float* y, std::int64_t n) {
  each(n, [=](std::int64_t i) { y[i] = x[i] < 0 ? 0.0F : x[i]; });
}

void relu_backward(const float* dy, const float* y, float* dx, std::int64_t n) {
  each(n, [=](std::int64_t i) {
    const float gradient = dy[i];  // loaded in any case: a load under a condition does not vectorise
    dx[i] = y[i] > 0 ? gradient : 0.0F;
  });
}

void add(const float* a, const float* b, float* y, std::int64_t n) {
  each(n, [=](std::int64_t i) { y[i] = a[i] + b[i]; });
}

void hardtanh(const float* x, float* y, std::int64_t n) {
  each(n, [=](std::int64_t i) { y[i] = std::min(std::max(x[i], -1.0F), 1.0F); });
}

void hardtanh_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  each(n, [=](std::int64_t i) {
    const float gradient = dy[i];
    dx[i] = std::abs(x[i]) < 1 ? gradient : 0.0F;
  });
}

}  // namespace hardbit::cpu
