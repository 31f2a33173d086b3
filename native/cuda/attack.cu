#include <cmath>
#include <limits>

#include "cuda/attack.h"
#include "cuda/kernel.h"
#include "ops/ball.h"
#include "ops/discretize.h"

namespace hardbit::cuda {
namespace {

struct Found {
  double sum, max;
  std::int64_t outside;
};
struct Gather {
  __device__ Found operator()(const Found& a, const Found& b) const {
    return {a.sum + b.sum, b.max > a.max ? b.max : a.max, a.outside + b.outside};
  }
};

}  // namespace

void attack_step(const float* x, const float* gradient, const float* origin, float step_size, float epsilon,
                 float* y, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) {
    const float up = gradient[i] > 0 ? 1.0F : 0.0F;
    const float down = gradient[i] < 0 ? 1.0F : 0.0F;
    y[i] = ball_clamp(x[i] + step_size * (up - down), origin[i], epsilon);
  });
}

void attack_uniform_start(const float* origin, float radius, float epsilon, const Philox& philox,
                          std::uint32_t stream, std::uint64_t first_row, float* y, std::int64_t rows,
                          std::int64_t columns) {
  const Philox random = philox;
  const std::int64_t blocks = ceil_div<std::int64_t>(columns, 4);
  if (blocks == 0) return;
  for_each(rows * blocks, [=] __device__(std::int64_t i) {
    const Place place = place_of(i, blocks);
    const Philox::Block words = random.row_block(static_cast<std::uint32_t>(place.column),
                                                 first_row + static_cast<std::uint64_t>(place.row), stream);
    for (int k = 0; k < 4; ++k) {
      const std::int64_t column = place.column * 4 + k;
      if (column >= columns) break;
      const float x = origin[place.row * columns + column];
      const float noise = uniform(words[static_cast<std::size_t>(k)], -radius, radius);
      y[place.row * columns + column] = ball_clamp(x + noise, x, epsilon);
    }
  });
}

void attack_sign_start(const float* origin, float alpha, float epsilon, const Philox& philox,
                       std::uint32_t stream, std::uint64_t first_row, float* y, std::int64_t rows,
                       std::int64_t columns) {
  const Philox random = philox;
  // One bit a pixel: a block of four words serves 128. Computing it again for each of them takes little more
  // time than the memory does.
  for_each(rows * columns, [=] __device__(std::int64_t i) {
    const Place place = place_of(i, columns);
    const auto column = static_cast<std::uint32_t>(place.column % 128);
    const Philox::Block words = random.row_block(static_cast<std::uint32_t>(place.column / 128),
                                                 first_row + static_cast<std::uint64_t>(place.row), stream);
    const std::uint32_t low = column < 32 ? words[0] : words[1];
    const std::uint32_t word = column < 64 ? low : column < 96 ? words[2] : words[3];
    const float x = origin[i];
    const float noise = alpha * static_cast<float>(2 * static_cast<int>(word >> column % 32 & 1U) - 1);
    y[i] = ball_clamp(x + noise, x, epsilon);
  });
}

std::int64_t count_flippable(const float* x, float epsilon, int bits, std::int64_t n) {
  return reduced(
      n, std::int64_t{0},
      [=] __device__(std::int64_t i) {
        const bool flips =
            quantize_code(ball_low(x[i], epsilon), bits) != quantize_code(ball_high(x[i], epsilon), bits);
        return static_cast<std::int64_t>(flips ? 1 : 0);
      },
      Plus());
}

ops::Perturbation perturbation(const float* a, const float* b, float epsilon, std::int64_t n) {
  const Found found = reduced(
      n, Found{0, 0, 0},
      [=] __device__(std::int64_t i) {
        const bool inside = a[i] >= ball_low(b[i], epsilon) && a[i] <= ball_high(b[i], epsilon);
        const double d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        return Found{d, d > 0 ? d : 0.0, inside ? 0 : 1};
      },
      Gather());
  // Magnitudes only add up to NaN where one is.
  return {.sum = found.sum, .max = std::isnan(found.sum) ? found.sum : found.max, .outside = found.outside};
}

std::int64_t count_invalid_pixels(const float* x, std::int64_t n) {
  return reduced(
      n, std::int64_t{0},
      [=] __device__(std::int64_t i) { return static_cast<std::int64_t>(x[i] >= 0 && x[i] <= 1 ? 0 : 1); },
      Plus());
}

}  // namespace hardbit::cuda
