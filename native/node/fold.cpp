#include "ops/fold.h"

#include "node/binding.h"

namespace hardbit::node {

template <>
struct ToJs<ops::FoldedSigns> {
  static Napi::Value wrap(Napi::Env env, ops::FoldedSigns value) {
    const auto object = Napi::Object::New(env);
    object.Set("direction", to_js(env, std::move(value.direction)));
    object.Set("minimum", to_js(env, std::move(value.minimum)));
    return object;
  }
};

void add_folding(Napi::Object exports) {
  add<ops::fold_signs>(exports, "foldSigns");
  add<ops::batch_norm_factors>(exports, "batchNormFactors");
}

}  // namespace hardbit::node
