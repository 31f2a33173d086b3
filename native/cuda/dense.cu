#include "cuda/dense.h"
#include "cuda/float_product.h"
#include "cuda/libraries.h"

namespace hardbit::cuda {
namespace {

void multiply_bf16(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                   const float* a, const float* b, const float* bias, float* c) {
  if (libraries::takes_matmul(m, n, k)) {
    const Scratch<std::uint16_t> rounded_a(m * k);
    const Scratch<std::uint16_t> rounded_b(k * n);
    product::round_to_bf16(a, rounded_a.data(), m * k);
    product::round_to_bf16(b, rounded_b.data(), k * n);
    if (libraries::matmul(FloatMath::bf16, transpose_a, transpose_b, m, n, k, rounded_a.data(),
                          rounded_b.data(), c)) {
      product::add_bias(bias, n, c, m * n);
      return;
    }
  }
  product::multiply<product::Bf16>(transpose_a, transpose_b, m, n, k, a, b, bias, c);
}

}  // namespace

void matmul(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
            const float* a, const float* b, const float* bias, float* c) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    product::fill_rows(bias, n, c, m * n);
  } else if (float_math() == FloatMath::bf16) {
    multiply_bf16(transpose_a, transpose_b, m, n, k, a, b, bias, c);
  } else if (libraries::matmul(float_math(), transpose_a, transpose_b, m, n, k, a, b, c)) {
    product::add_bias(bias, n, c, m * n);
  } else {
    product::multiply<product::Fused>(transpose_a, transpose_b, m, n, k, a, b, bias, c);
  }
}

void matmul_bf16(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                 const float* a, const float* b, float* c) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    product::fill_rows(nullptr, n, c, m * n);
  } else {
    multiply_bf16(transpose_a, transpose_b, m, n, k, a, b, nullptr, c);
  }
}

}  // namespace hardbit::cuda
