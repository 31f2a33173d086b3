#include "ops/loss.h"

#include "node/binding.h"

namespace hardbit::node {

template <>
struct ToJs<ops::CrossEntropy> {
  static Napi::Value wrap(Napi::Env env, ops::CrossEntropy value) {
    const auto object = Napi::Object::New(env);
    object.Set("losses", to_js(env, std::move(value.losses)));
    object.Set("gradient", to_js(env, std::move(value.gradient)));
    return object;
  }
};

void add_loss(Napi::Object exports) {
  add<ops::softmax_cross_entropy>(exports, "softmaxCrossEntropy");
  add<ops::argmax>(exports, "argmax");
}

}  // namespace hardbit::node
