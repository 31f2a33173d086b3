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

template <>
struct FromJs<ops::SignSurrogate> {
  static ops::SignSurrogate read(const Arguments& arguments, std::size_t i) {
    if (arguments[i].IsString()) {
      const std::string text = arguments[i].As<Napi::String>().Utf8Value();
      if (text == "clipped") return ops::SignSurrogate::clipped;
      if (text == "identity") return ops::SignSurrogate::identity;
      if (text == "approx") return ops::SignSurrogate::approx;
      if (text == "swish") return ops::SignSurrogate::swish;
    }
    arguments.reject(i, "a gradient ('clipped', 'identity', 'approx' or 'swish')");
  }
};

template <>
struct ToJs<ops::BatchNormSigns> {
  static Napi::Object wrap(Napi::Env env, ops::BatchNormSigns value) {
    const auto object = Napi::Object::New(env);
    object.Set("signs", to_js(env, std::move(value.signs)));
    object.Set("mask", to_js(env, std::move(value.mask)));
    return object;
  }
};

template <>
struct ToJs<ops::BatchNormSignTrained> {
  static Napi::Value wrap(Napi::Env env, ops::BatchNormSignTrained value) {
    const Napi::Object object = ToJs<ops::BatchNormSigns>::wrap(env, std::move(value.y));
    object.Set("mean", to_js(env, std::move(value.mean)));
    object.Set("inverseDeviation", to_js(env, std::move(value.inverse_deviation)));
    return object;
  }
};

void add_batch_norm(Napi::Object exports) {
  add<ops::batch_norm_train>(exports, "batchNormTrain");
  add<ops::batch_norm_backward>(exports, "batchNormBackward");
  add<ops::batch_norm_eval>(exports, "batchNormEval");
  add<ops::batch_norm_eval_backward>(exports, "batchNormEvalBackward");
  add<ops::batch_norm_sign_train>(exports, "batchNormSignTrain");
  add<ops::batch_norm_sign_backward>(exports, "batchNormSignBackward");
  add<ops::batch_norm_sign_eval>(exports, "batchNormSignEval");
  add<ops::batch_norm_sign_eval_backward>(exports, "batchNormSignEvalBackward");
}

}  // namespace hardbit::node
