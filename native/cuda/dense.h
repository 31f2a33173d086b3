#pragma once
#include <cstdint>

namespace hardbit::cuda {

/// Row-major C [m, n] = op(A) · op(B) + bias, op(A) [m, k], op(B) [k, n], bias [n] or null; `transpose_a`
/// means that A is stored [k, m]. Rows are dense. Any of m, n, k may be 0.
void matmul(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
            const float* a, const float* b, const float* bias, float* c);
/// matmul() without bias; both operands are rounded to bf16 (nearest, ties to even), sums are f32.
void matmul_bf16(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                 const float* a, const float* b, float* c);

/// sums [columns] = Σ over rows of x [rows, columns], in double.
void sum_rows(const float* x, float* sums, std::int64_t rows, std::int64_t columns);

}  // namespace hardbit::cuda
