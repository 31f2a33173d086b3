#include <cmath>

#include "cuda/kernel.h"
#include "cuda/pack_bits.h"
#include "cuda/sign.h"

namespace hardbit::cuda {

void sign_forward(const float* x, std::uint64_t* signs, std::uint64_t* mask, std::int64_t rows,
                  std::int64_t columns) {
  pack_bits<2>(
      rows, columns,
      [=] __device__(std::int64_t row, std::int64_t column) {
        const float v = x[row * columns + column];
        return (v >= 0 ? 1U : 0U) | (std::fabs(v) <= 1 ? 2U : 0U);
      },
      signs, mask);
}

void mask_backward(const float* dy, const std::uint64_t* mask, float* dx, std::int64_t rows,
                   std::int64_t columns) {
  map_bits(dy, mask, dx, rows, columns,
           [] __device__(float gradient, bool passes) { return passes ? gradient : 0.0F; });
}

void approx_sign_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) {
    const float magnitude = std::fabs(x[i]);
    dx[i] = magnitude <= 1 ? dy[i] * (2 - 2 * magnitude) : 0.0F;
  });
}

}  // namespace hardbit::cuda
