#include "ops/batch_norm.h"

#include "cpu/batch_norm.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

/// Checks x and scale; returns the scale as f32.
float check_input(const char* op, const Tensor& x, double scale) {
  check::dtype(op, "x", x, {DType::f32, DType::i16, DType::i32});
  check::rank_at_least(op, "x", x, 2);
  if (x.dtype() == DType::f32 && scale != 1) {
    check::fail("ERR_HARDBIT_ARGUMENT", op, "scale is " + check::text(scale) + "; expected 1 for an f32 x.");
  }
  return check::finite(op, "scale", scale);
}

}  // namespace

BatchNormTrained batch_norm_train(const Tensor& x, double scale, const Tensor& gamma, const Tensor& beta,
                                  const Tensor& running_mean, const Tensor& running_variance, double momentum,
                                  double epsilon) {
  constexpr const char* op = "batchNormTrain";
  const float z_scale = check_input(op, x, scale);
  const std::int64_t rows = x.rows();
  const std::int64_t channels = x.columns();
  check::f32(op, "gamma", gamma, {channels});
  check::f32(op, "beta", beta, {channels});
  check::f32(op, "runningMean", running_mean, {channels});
  check::f32(op, "runningVariance", running_variance, {channels});
  check::between(op, "momentum", momentum, 0, 1);
  check::not_negative(op, "epsilon", epsilon);
  if (rows < 2) {
    check::fail(
        "ERR_HARDBIT_ARGUMENT", op,
        "x has " + std::to_string(rows) + (rows == 1 ? " row" : " rows") +
            "; expected 2 or more, because one row has no variance (use a batch size that leaves no batch of "
            "one).");
  }
  const Device device = common_device(x, gamma, beta, running_mean, running_variance);
  BatchNormTrained out{Tensor::empty(DType::f32, x.shape(), device),
                       Tensor::empty(DType::f32, {channels}, device),
                       Tensor::empty(DType::f32, {channels}, device)};
  dispatch(device, [&] {
    cpu::batch_norm_train(x, z_scale, gamma, beta, running_mean, running_variance, momentum, epsilon, out);
  });
  return out;
}

BatchNormGradients batch_norm_backward(const Tensor& dy, const Tensor& x, double scale, const Tensor& gamma,
                                       const Tensor& mean, const Tensor& inverse_deviation) {
  constexpr const char* op = "batchNormBackward";
  const float z_scale = check_input(op, x, scale);
  const std::int64_t channels = x.columns();
  check::f32(op, "dy", dy, x.shape());
  check::f32(op, "gamma", gamma, {channels});
  check::f32(op, "mean", mean, {channels});
  check::f32(op, "inverseDeviation", inverse_deviation, {channels});
  const Device device = common_device(dy, x, gamma, mean, inverse_deviation);
  BatchNormGradients out{Tensor::empty(DType::f32, x.shape(), device),
                         Tensor::empty(DType::f32, {channels}, device),
                         Tensor::empty(DType::f32, {channels}, device)};
  dispatch(device, [&] { cpu::batch_norm_backward(dy, x, z_scale, gamma, mean, inverse_deviation, out); });
  return out;
}

Tensor batch_norm_eval(const Tensor& x, double scale, const Tensor& gamma, const Tensor& beta,
                       const Tensor& running_mean, const Tensor& running_variance, double epsilon) {
  constexpr const char* op = "batchNormEval";
  const float z_scale = check_input(op, x, scale);
  const std::int64_t channels = x.columns();
  check::f32(op, "gamma", gamma, {channels});
  check::f32(op, "beta", beta, {channels});
  check::f32(op, "runningMean", running_mean, {channels});
  check::f32(op, "runningVariance", running_variance, {channels});
  const float eps = check::not_negative(op, "epsilon", epsilon);
  const Device device = common_device(x, gamma, beta, running_mean, running_variance);
  Tensor y = Tensor::empty(DType::f32, x.shape(), device);
  dispatch(device,
           [&] { cpu::batch_norm_eval(x, z_scale, gamma, beta, running_mean, running_variance, eps, y); });
  return y;
}

Tensor batch_norm_eval_backward(const Tensor& dy, const Tensor& gamma, const Tensor& running_variance,
                                double epsilon) {
  constexpr const char* op = "batchNormEvalBackward";
  check::dtype(op, "dy", dy, DType::f32);
  check::rank_at_least(op, "dy", dy, 2);
  check::f32(op, "gamma", gamma, {dy.columns()});
  check::f32(op, "runningVariance", running_variance, {dy.columns()});
  const float eps = check::not_negative(op, "epsilon", epsilon);
  const Device device = common_device(dy, gamma, running_variance);
  Tensor dx = Tensor::empty(DType::f32, dy.shape(), device);
  dispatch(device, [&] { cpu::batch_norm_eval_backward(dy, gamma, running_variance, eps, dx); });
  return dx;
}

}  // namespace hardbit::ops
