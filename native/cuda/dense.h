#pragma once
#include <cstdint>

namespace hardbit::cuda {

/// sums [columns] = Σ over rows of x [rows, columns], in double.
void sum_rows(const float* x, float* sums, std::int64_t rows, std::int64_t columns);

}  // namespace hardbit::cuda
