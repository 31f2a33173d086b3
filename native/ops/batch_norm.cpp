#include "ops/batch_norm.h"

#include "cpu/batch_norm.h"
#include "cuda/batch_norm.h"
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

/// Checks what normalizes `channels` channels.
void check_statistics(const char* op, std::int64_t channels, const Tensor& gamma, const Tensor& beta,
                      const Tensor& running_mean, const Tensor& running_variance) {
  check::f32(op, "gamma", gamma, {channels});
  check::f32(op, "beta", beta, {channels});
  check::f32(op, "runningMean", running_mean, {channels});
  check::f32(op, "runningVariance", running_variance, {channels});
}

/// Checks the operands of training and returns the scale as f32.
float check_training(const char* op, const Tensor& x, double scale, const Tensor& gamma, const Tensor& beta,
                     const Tensor& running_mean, const Tensor& running_variance, double momentum,
                     double epsilon) {
  const float z_scale = check_input(op, x, scale);
  const std::int64_t rows = x.rows();
  check_statistics(op, x.columns(), gamma, beta, running_mean, running_variance);
  check::between(op, "momentum", momentum, 0, 1);
  check::not_negative(op, "epsilon", epsilon);
  if (rows < 2) {
    check::fail(
        "ERR_HARDBIT_ARGUMENT", op,
        "x has " + std::to_string(rows) + (rows == 1 ? " row" : " rows") +
            "; expected 2 or more, because one row has no variance (use a batch size that leaves no batch of "
            "one).");
  }
  return z_scale;
}

/// Checks the operands of a backward pass in training and returns the scale as f32.
float check_backward(const char* op, const Tensor& dy, const Tensor& x, double scale, const Tensor& gamma,
                     const Tensor& mean, const Tensor& inverse_deviation) {
  const float z_scale = check_input(op, x, scale);
  const std::int64_t channels = x.columns();
  check::f32(op, "dy", dy, x.shape());
  check::f32(op, "gamma", gamma, {channels});
  check::f32(op, "mean", mean, {channels});
  check::f32(op, "inverseDeviation", inverse_deviation, {channels});
  return z_scale;
}

/// The mask is given where the surrogate reads it, and nowhere else.
void check_mask(const char* op, const Tensor& dy, SignSurrogate surrogate, const Tensor* mask) {
  if ((surrogate == SignSurrogate::clipped) != (mask != nullptr)) {
    check::fail("ERR_HARDBIT_ARGUMENT", op,
                mask == nullptr ? "the clipped gradient has no mask; expected the mask of the forward pass."
                                : "there is a mask; only the clipped gradient takes one.");
  }
  if (mask == nullptr) return;
  check::dtype(op, "mask", *mask, DType::bits);
  check::shape(op, "mask", *mask, dy.shape());
}

BatchNormSigns empty_signs(const Tensor& x, bool with_mask, Device device) {
  const auto bits = [&] { return Tensor::empty(DType::bits, x.shape(), device); };
  return {bits(), with_mask ? std::optional(bits()) : std::nullopt};
}

}  // namespace

BatchNormTrained batch_norm_train(const Tensor& x, double scale, const Tensor& gamma, const Tensor& beta,
                                  const Tensor& running_mean, const Tensor& running_variance, double momentum,
                                  double epsilon) {
  const float z_scale = check_training("batchNormTrain", x, scale, gamma, beta, running_mean,
                                       running_variance, momentum, epsilon);
  const std::int64_t channels = x.columns();
  const Device device = common_device(x, gamma, beta, running_mean, running_variance);
  BatchNormTrained out{Tensor::empty(DType::f32, x.shape(), device),
                       Tensor::empty(DType::f32, {channels}, device),
                       Tensor::empty(DType::f32, {channels}, device)};
  dispatch<cpu::batch_norm_train, cuda::batch_norm_train>(device, x, z_scale, gamma, beta, running_mean,
                                                          running_variance, momentum, epsilon, out);
  return out;
}

BatchNormGradients batch_norm_backward(const Tensor& dy, const Tensor& x, double scale, const Tensor& gamma,
                                       const Tensor& mean, const Tensor& inverse_deviation) {
  const float z_scale = check_backward("batchNormBackward", dy, x, scale, gamma, mean, inverse_deviation);
  const std::int64_t channels = x.columns();
  const Device device = common_device(dy, x, gamma, mean, inverse_deviation);
  BatchNormGradients out{Tensor::empty(DType::f32, x.shape(), device),
                         Tensor::empty(DType::f32, {channels}, device),
                         Tensor::empty(DType::f32, {channels}, device)};
  dispatch<cpu::batch_norm_backward, cuda::batch_norm_backward>(device, dy, x, z_scale, gamma, mean,
                                                                inverse_deviation, out);
  return out;
}

Tensor batch_norm_eval(const Tensor& x, double scale, const Tensor& gamma, const Tensor& beta,
                       const Tensor& running_mean, const Tensor& running_variance, double epsilon) {
  constexpr const char* op = "batchNormEval";
  const float z_scale = check_input(op, x, scale);
  check_statistics(op, x.columns(), gamma, beta, running_mean, running_variance);
  const float eps = check::not_negative(op, "epsilon", epsilon);
  const Device device = common_device(x, gamma, beta, running_mean, running_variance);
  Tensor y = Tensor::empty(DType::f32, x.shape(), device);
  dispatch<cpu::batch_norm_eval, cuda::batch_norm_eval>(device, x, z_scale, gamma, beta, running_mean,
                                                        running_variance, eps, y);
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
  dispatch<cpu::batch_norm_eval_backward, cuda::batch_norm_eval_backward>(device, dy, gamma, running_variance,
                                                                          eps, dx);
  return dx;
}

BatchNormSignTrained batch_norm_sign_train(const Tensor& x, double scale, const Tensor& gamma,
                                           const Tensor& beta, const Tensor& running_mean,
                                           const Tensor& running_variance, double momentum, double epsilon,
                                           bool with_mask) {
  const float z_scale = check_training("batchNormSignTrain", x, scale, gamma, beta, running_mean,
                                       running_variance, momentum, epsilon);
  const std::int64_t channels = x.columns();
  const Device device = common_device(x, gamma, beta, running_mean, running_variance);
  BatchNormSignTrained out{empty_signs(x, with_mask, device), Tensor::empty(DType::f32, {channels}, device),
                           Tensor::empty(DType::f32, {channels}, device)};
  dispatch<cpu::batch_norm_sign_train, cuda::batch_norm_sign_train>(
      device, x, z_scale, gamma, beta, running_mean, running_variance, momentum, epsilon, out);
  return out;
}

BatchNormGradients batch_norm_sign_backward(const Tensor& dy, const Tensor& x, double scale,
                                            const Tensor& gamma, const Tensor& beta, const Tensor& mean,
                                            const Tensor& inverse_deviation, SignSurrogate surrogate,
                                            const Tensor* mask) {
  constexpr const char* op = "batchNormSignBackward";
  const float z_scale = check_backward(op, dy, x, scale, gamma, mean, inverse_deviation);
  const std::int64_t channels = x.columns();
  check::f32(op, "beta", beta, {channels});
  check_mask(op, dy, surrogate, mask);
  const Device device =
      common_device(dy, x, gamma, beta, mean, inverse_deviation, mask != nullptr ? *mask : dy);
  BatchNormGradients out{Tensor::empty(DType::f32, x.shape(), device),
                         Tensor::empty(DType::f32, {channels}, device),
                         Tensor::empty(DType::f32, {channels}, device)};
  dispatch<cpu::batch_norm_sign_backward, cuda::batch_norm_sign_backward>(
      device, dy, x, z_scale, gamma, beta, mean, inverse_deviation, surrogate, mask, out);
  return out;
}

BatchNormSigns batch_norm_sign_eval(const Tensor& x, double scale, const Tensor& gamma, const Tensor& beta,
                                    const Tensor& running_mean, const Tensor& running_variance,
                                    double epsilon, bool with_mask) {
  constexpr const char* op = "batchNormSignEval";
  const float z_scale = check_input(op, x, scale);
  check_statistics(op, x.columns(), gamma, beta, running_mean, running_variance);
  const float eps = check::not_negative(op, "epsilon", epsilon);
  const Device device = common_device(x, gamma, beta, running_mean, running_variance);
  BatchNormSigns y = empty_signs(x, with_mask, device);
  dispatch<cpu::batch_norm_sign_eval, cuda::batch_norm_sign_eval>(device, x, z_scale, gamma, beta,
                                                                  running_mean, running_variance, eps, y);
  return y;
}

Tensor batch_norm_sign_eval_backward(const Tensor& dy, const Tensor* x, double scale, const Tensor& gamma,
                                     const Tensor& beta, const Tensor& running_mean,
                                     const Tensor& running_variance, double epsilon, SignSurrogate surrogate,
                                     const Tensor* mask) {
  constexpr const char* op = "batchNormSignEvalBackward";
  check::dtype(op, "dy", dy, DType::f32);
  check::rank_at_least(op, "dy", dy, 2);
  check_statistics(op, dy.columns(), gamma, beta, running_mean, running_variance);
  check_mask(op, dy, surrogate, mask);
  const bool needs_x = surrogate == SignSurrogate::approx || surrogate == SignSurrogate::swish;
  if (needs_x != (x != nullptr)) {
    check::fail("ERR_HARDBIT_ARGUMENT", op,
                needs_x ? "x is missing; the approx and swish gradients need it."
                        : "there is an x; only the approx and swish gradients take one.");
  }
  float z_scale = 1;
  if (x != nullptr) {
    z_scale = check_input(op, *x, scale);
    check::shape(op, "x", *x, dy.shape());
  }
  const float eps = check::not_negative(op, "epsilon", epsilon);
  const Device device = common_device(dy, x != nullptr ? *x : dy, gamma, beta, running_mean, running_variance,
                                      mask != nullptr ? *mask : dy);
  Tensor dx = Tensor::empty(DType::f32, dy.shape(), device);
  dispatch<cpu::batch_norm_sign_eval_backward, cuda::batch_norm_sign_eval_backward>(
      device, dy, x, z_scale, gamma, beta, running_mean, running_variance, eps, surrogate, mask, dx);
  return dx;
}

}  // namespace hardbit::ops
