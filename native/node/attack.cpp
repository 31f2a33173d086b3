#include "ops/attack.h"

#include "node/binding.h"

namespace hardbit::node {

template <>
struct ToJs<ops::Perturbation> {
  static Napi::Value wrap(Napi::Env env, ops::Perturbation value) {
    const auto object = Napi::Object::New(env);
    object.Set("sum", value.sum);
    object.Set("max", value.max);
    object.Set("outside", to_js(env, value.outside));
    return object;
  }
};

void add_attacks(Napi::Object exports) {
  add<ops::attack_step>(exports, "attackStep");
  add<ops::attack_uniform_start>(exports, "attackUniformStart");
  add<ops::attack_sign_start>(exports, "attackSignStart");
  add<ops::attack_step_l2>(exports, "attackStepL2");
  add<ops::attack_uniform_start_l2>(exports, "attackUniformStartL2");
  add<ops::row_distances>(exports, "rowDistances");
  add<ops::count_flippable>(exports, "countFlippable");
  add<ops::perturbation>(exports, "perturbation");
  add<ops::count_invalid_pixels>(exports, "countInvalidPixels");
}

}  // namespace hardbit::node
