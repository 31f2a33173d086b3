#include <cmath>

#include "cuda/codes.h"
#include "cuda/kernel.h"
#include "cuda/quantize.h"

namespace hardbit::cuda {
namespace {

/// As on the cpu (cpu/quantize.cpp).
__device__ double swish_slope(double z, double beta) {
  const double a = std::fabs(z);
  if (a > 800) return 0;
  const double e = std::exp(-a);
  const double sum = 1 + e;
  return beta * (2 - a * (1 - e) / sum) * 2 * e / (sum * sum);
}

}  // namespace

void swish_sign_backward(const float* dy, const float* x, double beta, float* dx, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) {
    const double slope = swish_slope(beta * static_cast<double>(x[i]), beta);
    dx[i] = static_cast<float>(static_cast<double>(dy[i]) * slope);
  });
}

void clipped_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { dx[i] = std::fabs(x[i]) <= 1 ? dy[i] : 0.0F; });
}

void heaviside(const float* x, std::uint8_t* codes, std::int64_t n) {
  map_to_codes(x, codes, n, [] __device__(float v) { return v > 0 ? 1U : 0U; });
}

void unit_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { dx[i] = x[i] >= 0 && x[i] <= 1 ? dy[i] : 0.0F; });
}

template <class T>
void scale_channels(const T* x, const float* scales, float* y, std::int64_t rows, std::int64_t channels) {
  for_each(rows * channels, [=] __device__(std::int64_t i) {
    y[i] = static_cast<float>(x[i]) * scales[place_of(i, channels).column];
  });
}
template void scale_channels(const float*, const float*, float*, std::int64_t, std::int64_t);
template void scale_channels(const std::int16_t*, const float*, float*, std::int64_t, std::int64_t);
template void scale_channels(const std::int32_t*, const float*, float*, std::int64_t, std::int64_t);

std::int64_t count_different_bits(const std::uint64_t* a, const std::uint64_t* b, std::int64_t words) {
  return reduced(
      words, std::int64_t{0},
      [=] __device__(std::int64_t i) { return static_cast<std::int64_t>(__popcll(a[i] ^ b[i])); }, Plus{});
}

}  // namespace hardbit::cuda
