#include <string>
#include <vector>

#include "cpu/kernels/product.h"
#include "cpu/kernels/sign_sum.h"
#include "runtime/error.h"

namespace hardbit::cpu {
namespace {

/// The last row of an instruction set; of the next weaker one where it has none of its own.
template <class Row, class Fits>
const Row& select(std::span<const Row> rows, const Fits& fits) {
  const std::span<const Isa> isas = available_isas();
  for (auto isa = isas.rbegin(); isa != isas.rend(); ++isa) {
    if (*isa > selected_isa()) continue;
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
      if (row->isa == *isa && fits(*row)) return *row;
    }
  }
  throw Error("ERR_HARDBIT_ISA", std::string("This build has no product kernels for '") +
                                     name(selected_isa()) +
                                     "'; set HARDBIT_ISA=generic or rebuild for this machine.");
}

}  // namespace

std::span<const ProductKernel> product_kernels() {
  static const std::vector<ProductKernel> rows = {
    bits_generic,
    bytes_generic,
#if defined(__x86_64__)
    bits_avx2,
    bits_avx512bw,
    bits_avx512vnni,
    bits_avx512,
    bytes_avx2,
    bytes_avx512bw,
    bytes_avx512vnni,
    bytes_avx512,
#endif
#if defined(__aarch64__)
    bits_neon,
    bytes_neon,
#endif
  };
  return rows;
}

std::span<const FloatKernel> float_kernels() {
  static const std::vector<FloatKernel> rows = {
    float_generic,
#if defined(__x86_64__)
    float_avx2,
    float_avx512bw,
    float_avx512vnni,
    float_avx512,
#endif
#if defined(__aarch64__)
    float_neon,
#endif
  };
  return rows;
}

std::span<const Limit> limits() {
  static const std::vector<Limit> rows = {
    popcount_limit_generic,
    int8_limit_generic,
    fp32_limit_generic,
#if defined(__x86_64__)
    popcount_limit_avx2,
    popcount_limit_avx512bw,
    popcount_limit_avx512vnni,
    popcount_limit_avx512,
    int8_limit_avx2,
    int8_limit_avx512bw,
    int8_limit_avx512vnni,
    int8_limit_avx512,
    fp32_limit_avx2,
    fp32_limit_avx512bw,
    fp32_limit_avx512vnni,
    fp32_limit_avx512,
    sums_limit_avx2,
    sums_limit_avx512bw,
    sums_limit_avx512vnni,
    sums_limit_avx512,
#endif
#if defined(__aarch64__)
    popcount_limit_neon,
    int8_limit_neon,
    fp32_limit_neon,
#endif
  };
  return rows;
}

const ProductKernel& selected_product(Operand operand) {
  const auto of = [](Operand wanted) -> const ProductKernel& {
    return select(product_kernels(), [wanted](const ProductKernel& row) { return row.operand == wanted; });
  };
  static const ProductKernel& bits = of(Operand::bits);
  static const ProductKernel& bytes = of(Operand::bytes);
  return operand == Operand::bits ? bits : bytes;
}

const FloatKernel& selected_float() {
  static const FloatKernel& row = select(float_kernels(), [](const FloatKernel&) { return true; });
  return row;
}

}  // namespace hardbit::cpu
