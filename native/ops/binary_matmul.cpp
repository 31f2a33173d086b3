#include "ops/binary_matmul.h"

#include <limits>

#include "cpu/binary_conv2d.h"
#include "cuda/binary_conv2d.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

BinaryProduct check_product(const char* op, const char* what, const Tensor& x, std::int64_t levels,
                            const Tensor& w) {
  check::dtype(op, "w", w, DType::bits);
  check::rank(op, what, x, 2, "[N, K]");
  check::rank(op, "w", w, 2, "[M, K]");
  check::dim(op, "w", w, 1, x.dim(1), (std::string("the columns of ") + what).c_str());
  const std::int64_t k = x.dim(1);
  if (k > std::numeric_limits<std::int32_t>::max() / levels) {
    check::fail("ERR_HARDBIT_SHAPE", op,
                "K is " + std::to_string(k) + ", whose sums may not fit into 32 bits; expected at most " +
                    std::to_string(std::numeric_limits<std::int32_t>::max() / levels) + ".");
  }
  const bool narrow = k * levels <= std::numeric_limits<std::int16_t>::max();
  return {x.dim(0), w.dim(0), k, narrow ? DType::i16 : DType::i32};
}

}  // namespace

BinaryProduct check_binary_matmul(const char* op, const Tensor& a, const Tensor& w) {
  check::dtype(op, "a", a, DType::bits);
  return check_product(op, "a", a, 1, w);
}

BinaryProduct check_codes_matmul(const char* op, const Tensor& codes, int bits, const Tensor& w) {
  check::dtype(op, "codes", codes, DType::u8);
  check::integer_between(op, "bits", bits, 1, 8);
  return check_product(op, "codes", codes, (1 << bits) - 1, w);
}

void check_code_range(const char* op, int codes, int bits) {
  if (codes >> bits == 0) return;
  check::fail("ERR_HARDBIT_ARGUMENT", op,
              "codes holds a value above " + std::to_string((1 << bits) - 1) + ", the largest of " +
                  std::to_string(bits) + " bits; pass the bits the codes were made with.");
}

Tensor binary_matmul(const Tensor& a, const Tensor& w) {
  const BinaryProduct p = check_binary_matmul("binaryMatmul", a, w);
  const Device device = common_device(a, w);
  Tensor y = Tensor::empty(p.dtype, {p.n, p.m}, device);
  const Conv2d conv = cpu::dense_as_conv2d(p.n, p.m, p.k);
  const auto run = [&](auto* out) {
    const auto* const signs = a.data<std::uint64_t>();
    const auto* const weights = w.data<std::uint64_t>();
    dispatch(
        device,
        [&] {
          cpu::binary_conv2d(cpu::selected_product_rows(), conv, PaddingValue::zero, signs, weights, out);
        },
        [&] { cuda::binary_conv2d(conv, PaddingValue::zero, signs, weights, out); });
  };
  p.dtype == DType::i16 ? run(y.data<std::int16_t>()) : run(y.data<std::int32_t>());
  return y;
}

Tensor codes_matmul(const Tensor& codes, int bits, const Tensor& w) {
  const BinaryProduct p = check_codes_matmul("codesMatmul", codes, bits, w);
  const Device device = common_device(codes, w);
  Tensor y = Tensor::empty(p.dtype, {p.n, p.m}, device);
  const Conv2d conv = cpu::dense_as_conv2d(p.n, p.m, p.k);
  const auto run = [&](auto* out) {
    const auto* const values = codes.data<std::uint8_t>();
    const auto* const weights = w.data<std::uint64_t>();
    dispatch(
        device,
        [&] {
          check_code_range("codesMatmul",
                           cpu::codes_conv2d(cpu::selected_product_rows(), conv, PaddingValue::zero, values,
                                             bits, weights, out),
                           bits);
        },
        [&] { cuda::codes_conv2d(conv, PaddingValue::zero, values, bits, weights, out); });
  };
  p.dtype == DType::i16 ? run(y.data<std::int16_t>()) : run(y.data<std::int32_t>());
  return y;
}

}  // namespace hardbit::ops
