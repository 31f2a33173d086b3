#include "cuda/column_sums.h"
#include "cuda/dense.h"

namespace hardbit::cuda {

void sum_rows(const float* x, float* sums, std::int64_t rows, std::int64_t columns) {
  column_sums<double, 1>(
      rows, columns,
      [=] __device__(std::int64_t row, std::int64_t c, double* sum) {
        *sum += static_cast<double>(x[row * columns + c]);
      },
      [=] __device__(std::int64_t c, const double* sum) { sums[c] = static_cast<float>(*sum); });
}

}  // namespace hardbit::cuda
