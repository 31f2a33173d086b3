#include <cmath>

#include "cuda/pack_bits.h"
#include "cuda/sign.h"

namespace hardbit::cuda {

void sign_forward(const float* x, std::uint64_t* signs, std::uint64_t* mask, std::int64_t rows,
                  std::int64_t columns) {
  pack_bits<2>(
      rows, columns,
      [=] __device__(std::int64_t row, std::int64_t column) {
        const float v = x[row * columns + column];
        return (v >= 0.0F ? 1U : 0U) | (std::fabs(v) <= 1.0F ? 2U : 0U);
      },
      signs, mask);
}

void mask_backward(const float* dy, const std::uint64_t* mask, float* dx, std::int64_t rows,
                   std::int64_t columns) {
  const std::int64_t row_words = words(columns);
  for_each_element(rows, columns, [=] __device__(std::int64_t row, std::int64_t column, std::int64_t i) {
    dx[i] = bit_at(mask, row_words, row, column) ? dy[i] : 0.0F;
  });
}

void approx_sign_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) {
    const float a = std::fabs(x[i]);
    dx[i] = a <= 1.0F ? dy[i] * (2.0F - 2.0F * a) : 0.0F;
  });
}

}  // namespace hardbit::cuda
