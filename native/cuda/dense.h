#pragma once
#include <cstdint>

namespace hardbit::cuda {

/// sums [columns] = Σ over rows of x [rows, columns], in double.
void sum_rows(const float* x, float* sums, std::int64_t rows, std::int64_t columns);

void matmul(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
            const float* a, const float* b, const float* bias, float* c);
void matmul_bf16(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                 const float* a, const float* b, float* c);

}  // namespace hardbit::cuda
