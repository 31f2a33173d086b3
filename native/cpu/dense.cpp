#include "cpu/dense.h"

#include "cpu/column_sums.h"

namespace hardbit::cpu {

void sum_rows(const float* x, float* sums, std::int64_t rows, std::int64_t columns) {
  const auto totals = column_sums<double, 1>(
      rows, columns,
      [=](std::int64_t row, std::int64_t column, std::int64_t width, TileSums<double, 1>& tile) {
        const float* const p = x + row * columns + column;
        double* const s = tile[0].data();
        for (std::int64_t c = 0; c < width; ++c) s[c] += static_cast<double>(p[c]);
      });
  for (std::int64_t c = 0; c < columns; ++c)
    sums[c] = static_cast<float>(totals[0][static_cast<std::size_t>(c)]);
}

}  // namespace hardbit::cpu
