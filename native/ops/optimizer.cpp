#include "ops/optimizer.h"

#include "cpu/optimizer.h"
#include "cuda/optimizer.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {
namespace {

void check_decay_rate(const char* op, const char* what, double value) {
  if (!(value >= 0 && value < 1)) {
    check::fail("ERR_HARDBIT_ARGUMENT", op,
                std::string(what) + " is " + check::text(value) + "; expected a number in [0, 1).");
  }
}

}  // namespace

void adam_step(const Tensor& value, const Tensor& gradient, const Tensor& m, const Tensor& v,
               const AdamParameters& parameters) {
  constexpr const char* op = "adamStep";
  check::dtype(op, "value", value, DType::f32);
  check::f32(op, "gradient", gradient, value.shape());
  check::f32(op, "m", m, value.shape());
  check::f32(op, "v", v, value.shape());
  check::not_negative(op, "learningRate", parameters.learning_rate);
  check_decay_rate(op, "beta1", parameters.beta1);
  check_decay_rate(op, "beta2", parameters.beta2);
  check::not_negative(op, "epsilon", parameters.epsilon);
  check::integer_between(op, "step", parameters.step, 1, std::int64_t{1} << 53);
  check::not_negative(op, "weightDecay", parameters.weight_decay);
  check::not_negative(op, "clip", parameters.clip);
  dispatch<cpu::adam_step, cuda::adam_step>(common_device(value, gradient, m, v), value.data<float>(),
                                            gradient.data<float>(), m.data<float>(), v.data<float>(),
                                            value.count(), parameters);
}

void sgd_step(const Tensor& value, const Tensor& gradient, const Tensor* velocity,
              const SgdParameters& parameters) {
  constexpr const char* op = "sgdStep";
  check::dtype(op, "value", value, DType::f32);
  check::f32(op, "gradient", gradient, value.shape());
  if (velocity != nullptr) check::f32(op, "velocity", *velocity, value.shape());
  check::not_negative(op, "learningRate", parameters.learning_rate);
  check_decay_rate(op, "momentum", parameters.momentum);
  check::not_negative(op, "weightDecay", parameters.weight_decay);
  check::not_negative(op, "clip", parameters.clip);
  if (velocity == nullptr && parameters.momentum != 0) {
    check::fail("ERR_HARDBIT_ARGUMENT", op,
                "velocity is null with momentum " + check::text(parameters.momentum) +
                    "; expected a tensor like value, zeros before the first step.");
  }
  if (parameters.nesterov && parameters.momentum == 0) {
    check::fail("ERR_HARDBIT_ARGUMENT", op, "nesterov is set with momentum 0; expected a momentum above 0.");
  }
  const Device device =
      velocity != nullptr ? common_device(value, gradient, *velocity) : common_device(value, gradient);
  dispatch<cpu::sgd_step, cuda::sgd_step>(device, value.data<float>(), gradient.data<float>(),
                                          velocity != nullptr ? velocity->data<float>() : nullptr,
                                          value.count(), parameters);
}

void bop_step(const Tensor& weights, const Tensor& gradient, const Tensor& m,
              const BopParameters& parameters) {
  constexpr const char* op = "bopStep";
  check::dtype(op, "weights", weights, DType::f32);
  check::f32(op, "gradient", gradient, weights.shape());
  check::f32(op, "m", m, weights.shape());
  check::between(op, "gamma", parameters.gamma, 0, 1);
  check::not_negative(op, "threshold", parameters.threshold);
  dispatch<cpu::bop_step, cuda::bop_step>(common_device(weights, gradient, m), weights.data<float>(),
                                          gradient.data<float>(), m.data<float>(), weights.count(),
                                          parameters);
}

void average_step(const Tensor& average, const Tensor& value, double decay) {
  constexpr const char* op = "averageStep";
  check::dtype(op, "average", average, DType::f32);
  check::f32(op, "value", value, average.shape());
  check::between(op, "decay", decay, 0, 1);
  dispatch<cpu::average_step, cuda::average_step>(common_device(average, value), average.data<float>(),
                                                  value.data<float>(), average.count(), decay);
}

}  // namespace hardbit::ops
