#include "cpu/quantize.h"

#include <bit>
#include <cmath>

#include "cpu/bits.h"
#include "cpu/ordered_sum.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// codes or gradients: out[i] ← f(i) for all i.
template <class F>
void each(std::int64_t n, std::int64_t grain, const F& f) {
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) f(i);
  });
}

/// β(2 − z·tanh(z/2)) / (1 + cosh z) for z = βx. With e = exp(−|z|): tanh(|z|/2) = (1 − e)/(1 + e) and
/// 1/(1 + cosh z) = 2e/(1 + e)², which neither overflow nor need a second exponential.
double swish_slope(double z, double beta) {
  const double a = std::abs(z);
  if (a > 800) return 0;  // below every fp32 number, and 0·∞ for an infinite x
  const double e = std::exp(-a);
  const double sum = 1 + e;
  return beta * (2 - a * (1 - e) / sum) * 2 * e / (sum * sum);
}

}  // namespace

void swish_sign_backward(const float* dy, const float* x, double beta, float* dx, std::int64_t n) {
  each(n, element_grain / 16, [=](std::int64_t i) {
    const double slope = swish_slope(beta * static_cast<double>(x[i]), beta);
    dx[i] = static_cast<float>(static_cast<double>(dy[i]) * slope);
  });
}

void clipped_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  each(n, element_grain, [=](std::int64_t i) {
    const float gradient = dy[i];  // loaded in any case: a load under a condition does not vectorise
    dx[i] = std::abs(x[i]) <= 1 ? gradient : 0.0F;
  });
}

void heaviside(const float* x, std::uint8_t* codes, std::int64_t n) {
  each(n, element_grain, [=](std::int64_t i) { codes[i] = x[i] > 0 ? 1 : 0; });
}

void unit_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  each(n, element_grain, [=](std::int64_t i) {
    const float gradient = dy[i];
    const bool above = x[i] >= 0;
    const bool below = x[i] <= 1;
    dx[i] = above && below ? gradient : 0.0F;
  });
}

template <class T>
void scale_channels(const T* x, const float* scales, float* y, std::int64_t rows, std::int64_t channels) {
  parallel_for(rows, rows_grain(channels), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const T* const p = x + row * channels;
      float* const out = y + row * channels;
      for (std::int64_t c = 0; c < channels; ++c) out[c] = static_cast<float>(p[c]) * scales[c];
    }
  });
}
template void scale_channels(const float*, const float*, float*, std::int64_t, std::int64_t);
template void scale_channels(const std::int16_t*, const float*, float*, std::int64_t, std::int64_t);
template void scale_channels(const std::int32_t*, const float*, float*, std::int64_t, std::int64_t);

std::int64_t count_different_bits(const std::uint64_t* a, const std::uint64_t* b, std::int64_t words) {
  std::int64_t total = 0;
  for (const std::int64_t count : pieces<std::int64_t>(words, [=](std::int64_t begin, std::int64_t end) {
         std::int64_t count = 0;
         for (std::int64_t i = begin; i < end; ++i) count += std::popcount(a[i] ^ b[i]);
         return count;
       })) {
    total += count;
  }
  return total;
}

}  // namespace hardbit::cpu
