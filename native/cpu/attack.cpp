#include "cpu/attack.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/uniform.h"
#include "ops/ball.h"
#include "ops/discretize.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// Calls f(i, begin, end) for fixed pieces of [0, n), so that sums of pieces do not depend on the thread
/// count. Returns f's results in order.
template <class Result, class F>
std::vector<Result> pieces(std::int64_t n, const F& f) {
  std::vector<Result> results(static_cast<std::size_t>((n + element_grain - 1) / element_grain));
  parallel_for(static_cast<std::int64_t>(results.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      results[static_cast<std::size_t>(i)] = f(i * element_grain, std::min(n, (i + 1) * element_grain));
    }
  });
  return results;
}

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

/// Calls f(row, block, first, last) for every run [first, last) of `length` columns that one Philox block
/// serves.
template <class F>
void each_block(std::int64_t rows, std::int64_t columns, std::int64_t length, const F& f) {
  parallel_for(rows, element_grain / 8 / std::max<std::int64_t>(columns, 1),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   for (std::int64_t first = 0; first < columns; first += length) {
                     f(row, static_cast<std::uint32_t>(first / length), first,
                       std::min(columns, first + length));
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
  each_block(rows, columns, 4,
             [=](std::int64_t row, std::uint32_t block, std::int64_t first, std::int64_t last) {
               const Philox::Block words =
                   philox.row_block(block, first_row + static_cast<std::uint64_t>(row), stream);
               for (std::int64_t c = first; c < last; ++c) {
                 const std::int64_t i = row * columns + c;
                 const float noise = uniform(words[static_cast<std::size_t>(c - first)], -radius, radius);
                 y[i] = ball_clamp(origin[i] + noise, origin[i], epsilon);
               }
             });
}

void attack_sign_start(const float* origin, float alpha, float epsilon, const Philox& philox,
                       std::uint32_t stream, std::uint64_t first_row, float* y, std::int64_t rows,
                       std::int64_t columns) {
  // One bit a pixel: a block serves 128.
  each_block(rows, columns, 128,
             [=](std::int64_t row, std::uint32_t block, std::int64_t first, std::int64_t last) {
               const Philox::Block words =
                   philox.row_block(block, first_row + static_cast<std::uint64_t>(row), stream);
               for (std::int64_t c = first; c < last; ++c) {
                 const std::int64_t i = row * columns + c;
                 const auto bit = static_cast<std::size_t>(c - first);
                 const bool up = ((words[bit / 32] >> (bit % 32)) & 1U) != 0;
                 y[i] = ball_clamp(origin[i] + (up ? alpha : -alpha), origin[i], epsilon);
               }
             });
}

std::int64_t count_flippable(const float* x, float epsilon, int bits, std::int64_t n) {
  return count_if(n, [=](std::int64_t i) {
    return quantize_code(ball_low(x[i], epsilon), bits) != quantize_code(ball_high(x[i], epsilon), bits);
  });
}

ops::Perturbation perturbation(const float* a, const float* b, float epsilon, std::int64_t n) {
  const auto merge_max = [](double most, double d) {
    return d > most || std::isnan(d) ? d : most;
  };  // keeps a NaN
  ops::Perturbation total;
  for (const ops::Perturbation& piece :
       pieces<ops::Perturbation>(n, [=](std::int64_t begin, std::int64_t end) {
         ops::Perturbation p;
         for (std::int64_t i = begin; i < end; ++i) {
           const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
           p.sum += d;
           p.max = merge_max(p.max, d);
           p.outside += a[i] >= ball_low(b[i], epsilon) && a[i] <= ball_high(b[i], epsilon) ? 0 : 1;
         }
         return p;
       })) {
    total.sum += piece.sum;
    total.max = merge_max(total.max, piece.max);
    total.outside += piece.outside;
  }
  return total;
}

std::int64_t count_invalid_pixels(const float* x, std::int64_t n) {
  return count_if(n, [=](std::int64_t i) { return !(x[i] >= 0 && x[i] <= 1); });
}

}  // namespace hardbit::cpu
