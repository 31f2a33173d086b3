#include "ops/dropout.h"

#include "cpu/dropout.h"
#include "cuda/dropout.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

void check_rate(const char* op, double rate) {
  if (rate >= 0 && rate < 1) return;
  check::fail("ERR_HARDBIT_ARGUMENT", op, "rate is " + check::text(rate) + "; expected a number in [0, 1).");
}

}  // namespace

Dropout dropout(const Tensor& x, double rate, std::uint64_t seed, std::uint64_t stream, std::uint64_t step) {
  constexpr const char* op = "dropout";
  check::dtype(op, "x", x, DType::f32);
  check_rate(op, rate);
  const std::uint32_t word = check::stream(op, stream);
  if (x.count() > std::int64_t{1} << 34) {
    check::fail("ERR_HARDBIT_SHAPE", op,
                "x has shape " + to_string(x.shape()) + "; expected at most 2^34 elements.");
  }
  Dropout out{Tensor::empty(DType::f32, x.shape(), x.device()),
              Tensor::empty(DType::bits, x.shape(), x.device())};
  const auto* const from = x.data<float>();
  auto* const to = out.y.data<float>();
  auto* const mask = out.mask.data<std::uint64_t>();
  dispatch(
      x.device(),
      [&] {
        cpu::dropout_mask(Philox(seed), word, step, rate, mask, x.rows(), x.columns());
        cpu::apply_dropout(from, mask, rate, to, x.rows(), x.columns());
      },
      [&] { cuda::dropout(Philox(seed), word, step, rate, from, to, mask, x.rows(), x.columns()); });
  return out;
}

Tensor dropout_backward(const Tensor& dy, const Tensor& mask, double rate) {
  constexpr const char* op = "dropoutBackward";
  check::dtype(op, "mask", mask, DType::bits);
  check::f32(op, "dy", dy, mask.shape());
  check_rate(op, rate);
  const Device device = common_device(dy, mask);
  Tensor dx = Tensor::empty(DType::f32, dy.shape(), device);
  dispatch<cpu::apply_dropout, cuda::apply_dropout>(device, dy.data<float>(), mask.data<std::uint64_t>(),
                                                    rate, dx.data<float>(), dy.rows(), dy.columns());
  return dx;
}

}  // namespace hardbit::ops
