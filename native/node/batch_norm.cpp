#include "ops/batch_norm.h"

#include "node/binding.h"

namespace hardbit::node {

template <>
struct ToJs<ops::BatchNormTrained> {
  static Napi::Value wrap(Napi::Env env, ops::BatchNormTrained value) {
    const auto object = Napi::Object::New(env);
    object.Set("y", to_js(env, std::move(value.y)));
    object.Set("mean", to_js(env, std::move(value.mean)));
    object.Set("inverseDeviation", to_js(env, std::move(value.inverse_deviation)));
    return object;
  }
};

template <>
struct ToJs<ops::BatchNormGradients> {
  static Napi::Value wrap(Napi::Env env, ops::BatchNormGradients value) {
    const auto object = Napi::Object::New(env);
    object.Set("dx", to_js(env, std::move(value.dx)));
    object.Set("dGamma", to_js(env, std::move(value.dgamma)));
    object.Set("dBeta", to_js(env, std::move(value.dbeta)));
    return object;
  }
};

void add_batch_norm(Napi::Object exports) {
  add<ops::batch_norm_train>(exports, "batchNormTrain");
  add<ops::batch_norm_backward>(exports, "batchNormBackward");
  add<ops::batch_norm_eval>(exports, "batchNormEval");
  add<ops::batch_norm_eval_backward>(exports, "batchNormEvalBackward");
}

}  // namespace hardbit::node
