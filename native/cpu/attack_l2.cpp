#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "cpu/attack.h"
#include "cpu/bits.h"
#include "cpu/ordered_sum.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// ‖v‖₂ for v(i), i in [0, n). Squares of fp32 numbers neither overflow nor vanish in double.
template <class Value>
double norm(std::int64_t n, const Value& value) {
  return std::sqrt(ordered_sum(0, n, [&](std::int64_t i) {
    const double v = value(i);
    return v * v;
  }));
}

double distance(const float* a, const float* b, std::int64_t n) {
  return norm(n, [=](std::int64_t i) { return static_cast<double>(a[i]) - static_cast<double>(b[i]); });
}

float into_unit(float v) { return std::min(std::max(v, 0.0F), 1.0F); }

/// The fp32 number nearest to origin + d.
float nearest(float origin, double d) { return static_cast<float>(static_cast<double>(origin) + d); }

/// The same, or its neighbour towards origin where it lies farther than |d| away.
float towards(float origin, double d) {
  const float v = nearest(origin, d);
  const bool beyond = std::abs(static_cast<double>(v) - static_cast<double>(origin)) > std::abs(d);
  return beyond ? std::nextafter(v, origin) : v;
}

/// Calls f(row, offset of the row's first element) for all rows, on all threads.
template <class F>
void each_row(std::int64_t rows, std::int64_t columns, std::int64_t cost, const F& f) {
  parallel_for(rows, rows_grain(columns * cost), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) f(row, row * columns);
  });
}

/// Uniform in (0, 1].
double open_unit(std::uint32_t word) { return (static_cast<double>(word) + 1) * 0x1p-32; }

/// Four independent Gaussian numbers (Box & Muller 1958).
std::array<float, 4> gaussian(const Philox::Block& words) {
  std::array<float, 4> z;
  for (std::size_t i = 0; i < 4; i += 2) {
    const double radius = std::sqrt(-2 * std::log(open_unit(words[i])));
    const double angle = 2 * std::numbers::pi * open_unit(words[i + 1]);
    z[i] = static_cast<float>(radius * std::cos(angle));
    z[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return z;
}

}  // namespace

void attack_step_l2(const float* x, const float* gradient, const float* origin, double step_size,
                    double epsilon, float* y, std::int64_t rows, std::int64_t columns) {
  each_row(rows, columns, 4, [=](std::int64_t, std::int64_t first) {
    const float* const from = x + first;
    const float* const g = gradient + first;
    const float* const center = origin + first;
    float* const out = y + first;
    const double length = norm(columns, [=](std::int64_t i) { return static_cast<double>(g[i]); });
    const bool moves = length > 0 && std::isfinite(length);
    const double factor = moves ? step_size / length : 0;
    const auto moved = [=](std::int64_t i) {
      const double step = moves ? factor * static_cast<double>(g[i]) : 0;
      return static_cast<double>(from[i]) - static_cast<double>(center[i]) + step;
    };
    const double reached = norm(columns, moved);
    const double shrink = reached > epsilon ? epsilon / reached : 1;
    for (std::int64_t i = 0; i < columns; ++i) out[i] = into_unit(nearest(center[i], moved(i) * shrink));
    if (distance(out, center, columns) > epsilon) {
      for (std::int64_t i = 0; i < columns; ++i) out[i] = into_unit(towards(center[i], moved(i) * shrink));
    }
  });
}

void attack_uniform_start_l2(const float* origin, double epsilon, const Philox& philox, std::uint32_t stream,
                             std::uint64_t first_row, float* y, std::int64_t rows, std::int64_t columns) {
  each_row(rows, columns, 16, [=](std::int64_t row, std::int64_t first) {
    const std::uint64_t number = first_row + static_cast<std::uint64_t>(row);
    float* const out = y + first;
    for (std::int64_t c = 0; c < columns; c += 4) {
      const auto block = static_cast<std::uint32_t>(c / 4 + 1);
      const std::array<float, 4> z = gaussian(philox.row_block(block, number, stream));
      std::copy_n(z.begin(), std::min<std::int64_t>(columns - c, 4), out + c);
    }
    const double length = norm(columns, [=](std::int64_t i) { return static_cast<double>(out[i]); });
    const double u = open_unit(philox.row_block(0, number, stream)[0]);
    const double radius = epsilon * std::pow(u, 1 / static_cast<double>(columns));
    const double factor = length > 0 ? radius / length : 0;
    for (std::int64_t i = 0; i < columns; ++i)
      out[i] = into_unit(towards(origin[first + i], factor * static_cast<double>(out[i])));
  });
}

void row_distances(const float* a, const float* b, float* distances, std::int64_t rows,
                   std::int64_t columns) {
  each_row(rows, columns, 1, [=](std::int64_t row, std::int64_t first) {
    distances[row] = static_cast<float>(distance(a + first, b + first, columns));
  });
}

}  // namespace hardbit::cpu
