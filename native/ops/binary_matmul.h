#pragma once
#include "runtime/tensor.h"

namespace hardbit::ops {

/// Σ_k a[n,k]·w[m,k] of ±1 for a bits [N, K], w bits [M, K]: [N, M], i16 where K ≤ 32767, else i32.
Tensor binary_matmul(const Tensor& a, const Tensor& w);

/// Σ_k codes[n,k]·w[m,k] for codes u8 [N, K] below 2^bits and w bits [M, K] of ±1: [N, M], i16 where
/// K·(2^bits − 1) ≤ 32767, else i32. A larger code or bits outside 1 … 8: ERR_HARDBIT_ARGUMENT;
/// K·(2^bits − 1) ≥ 2^31: ERR_HARDBIT_SHAPE.
Tensor codes_matmul(const Tensor& codes, int bits, const Tensor& w);

/// The operands of the two products, checked: what an implementation may rely on.
struct BinaryProduct {
  std::int64_t n;
  std::int64_t m;
  std::int64_t k;
  /// Of the result: the smaller of i16 and i32 that holds ±K·(2^bits − 1).
  DType dtype;
};
BinaryProduct check_binary_matmul(const char* op, const Tensor& a, const Tensor& w);
BinaryProduct check_codes_matmul(const char* op, const Tensor& codes, int bits, const Tensor& w);
/// `codes` is the OR of all codes; throws where one of them does not fit into `bits`.
void check_code_range(const char* op, int codes, int bits);

}  // namespace hardbit::ops
