#include <cmath>

#include "cuda/pack_bits.h"
#include "cuda/quantize.h"

namespace hardbit::cuda {

void swish_sign_backward(const float* dy, const float* x, double beta, float* dx, std::int64_t n) {
  // As cpu/quantize.cpp has it: one exponential, which cannot overflow.
  for_each(n, [=] __device__(std::int64_t i) {
    const double a = std::fabs(beta * static_cast<double>(x[i]));
    double slope = 0;
    if (!(a > 800)) {
      const double e = std::exp(-a);
      const double sum = 1 + e;
      slope = beta * (2 - a * (1 - e) / sum) * 2 * e / (sum * sum);
    }
    dx[i] = static_cast<float>(static_cast<double>(dy[i]) * slope);
  });
}

void clipped_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { dx[i] = std::fabs(x[i]) <= 1 ? dy[i] : 0.0F; });
}

void heaviside(const float* x, std::uint8_t* codes, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { codes[i] = x[i] > 0 ? 1 : 0; });
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
      [=] __device__(std::int64_t i) { return static_cast<std::int64_t>(__popcll(a[i] ^ b[i])); }, Plus());
}

}  // namespace hardbit::cuda
