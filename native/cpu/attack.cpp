#include "cpu/attack.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "cpu/ordered_sum.h"
#include "ops/ball.h"
#include "ops/discretize.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// The number of i in [0, n) with predicate(i).
template <class F>
std::int64_t count_if(std::int64_t n, const F& predicate) {
  std::int64_t total = 0;
  for (const std::int32_t count : pieces<std::int32_t>(n, [&](std::int64_t begin, std::int64_t end) {
         std::int32_t count = 0;
         for (std::int64_t i = begin; i < end; ++i) count += predicate(i) ? 1 : 0;
         return count;
       })) {
    total += count;
  }
  return total;
}

/// y = clamp(origin + noise), where fill(row, first, noise) writes the noise of columns first … first + 127
/// of a row.
template <class Fill>
void random_start(const float* origin, float epsilon, float* y, std::int64_t rows, std::int64_t columns,
                  const Fill& fill) {
  parallel_for(rows, element_grain / 4 / std::max<std::int64_t>(columns, 1),
               [&](std::int64_t begin, std::int64_t end) {
                 std::array<float, 128> noise;
                 for (std::int64_t row = begin; row < end; ++row) {
                   for (std::int64_t first = 0; first < columns; first += 128) {
                     fill(static_cast<std::uint64_t>(row), static_cast<std::uint32_t>(first), noise);
                     const float* const x = origin + row * columns + first;
                     float* const out = y + row * columns + first;
                     const auto width =
                         static_cast<std::size_t>(std::min<std::int64_t>(columns - first, 128));
                     for (std::size_t c = 0; c < width; ++c)
                       out[c] = ball_clamp(x[c] + noise[c], x[c], epsilon);
                   }
                 }
               });
}

}  // namespace

void attack_step(const float* x, const float* gradient, const float* origin, float step_size, float epsilon,
                 float* y, std::int64_t n) {
  parallel_for(n, element_grain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float up = gradient[i] > 0 ? 1.0F : 0.0F;
      const float down = gradient[i] < 0 ? 1.0F : 0.0F;
      y[i] = ball_clamp(x[i] + step_size * (up - down), origin[i], epsilon);
    }
  });
}

void attack_uniform_start(const float* origin, float radius, float epsilon, const Philox& philox,
                          std::uint32_t stream, std::uint64_t first_row, float* y, std::int64_t rows,
                          std::int64_t columns) {
  random_start(origin, epsilon, y, rows, columns,
               [=](std::uint64_t row, std::uint32_t first, std::array<float, 128>& noise) {
                 for (std::uint32_t block = 0; block < 32; ++block) {
                   const Philox::Block words = philox.row_block(first / 4 + block, first_row + row, stream);
                   for (std::size_t i = 0; i < 4; ++i)
                     noise[block * 4 + i] = uniform(words[i], -radius, radius);
                 }
               });
}

void attack_sign_start(const float* origin, float alpha, float epsilon, const Philox& philox,
                       std::uint32_t stream, std::uint64_t first_row, float* y, std::int64_t rows,
                       std::int64_t columns) {
  // One bit a pixel: a block serves 128.
  random_start(origin, epsilon, y, rows, columns,
               [=](std::uint64_t row, std::uint32_t first, std::array<float, 128>& noise) {
                 const Philox::Block words = philox.row_block(first / 128, first_row + row, stream);
                 for (std::size_t i = 0; i < 128; ++i) {
                   const auto bit = static_cast<int>((words[i / 32] >> (i % 32)) & 1U);
                   noise[i] = alpha * static_cast<float>(2 * bit - 1);
                 }
               });
}

std::int64_t count_flippable(const float* x, float epsilon, int bits, std::int64_t n) {
  return count_if(n, [=](std::int64_t i) {
    return quantize_code(ball_low(x[i], epsilon), bits) != quantize_code(ball_high(x[i], epsilon), bits);
  });
}

ops::Perturbation perturbation(const float* a, const float* b, float epsilon, std::int64_t n) {
  ops::Perturbation total;
  for (const ops::Perturbation& piece :
       pieces<ops::Perturbation>(n, [=](std::int64_t begin, std::int64_t end) {
         ops::Perturbation p;
         std::int32_t inside = 0;  // a loop of its own, which vectorises
         for (std::int64_t i = begin; i < end; ++i) {
           const bool above_low = a[i] >= ball_low(b[i], epsilon);
           const bool below_high = a[i] <= ball_high(b[i], epsilon);
           inside += above_low && below_high ? 1 : 0;
         }
         p.outside = end - begin - inside;
         for (std::int64_t i = begin; i < end; ++i) {
           const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
           p.sum += d;
           p.max = d > p.max ? d : p.max;
         }
         return p;
       })) {
    total.sum += piece.sum;
    total.max = std::max(total.max, piece.max);
    total.outside += piece.outside;
  }
  if (std::isnan(total.sum)) total.max = total.sum;  // magnitudes only add up to NaN where one is
  return total;
}

std::int64_t count_invalid_pixels(const float* x, std::int64_t n) {
  return count_if(n, [=](std::int64_t i) { return !(x[i] >= 0 && x[i] <= 1); });
}

}  // namespace hardbit::cpu
