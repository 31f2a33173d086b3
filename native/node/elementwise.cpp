#include "ops/elementwise.h"

#include "node/binding.h"
#include "ops/dropout.h"

namespace hardbit::node {

template <>
struct ToJs<ops::Dropout> {
  static Napi::Value wrap(Napi::Env env, ops::Dropout value) {
    const auto object = Napi::Object::New(env);
    object.Set("y", to_js(env, std::move(value.y)));
    object.Set("mask", to_js(env, std::move(value.mask)));
    return object;
  }
};

void add_elementwise(Napi::Object exports) {
  add<ops::u8_to_float>(exports, "u8ToFloat");
  add<ops::int_to_float>(exports, "intToFloat");
  add<ops::axpy>(exports, "axpy");
  add<ops::relu>(exports, "relu");
  add<ops::relu_backward>(exports, "reluBackward");
  add<ops::add>(exports, "add");
  add<ops::hardtanh>(exports, "hardtanh");
  add<ops::hardtanh_backward>(exports, "hardtanhBackward");
  add<ops::dropout>(exports, "dropout");
  add<ops::dropout_backward>(exports, "dropoutBackward");
}

}  // namespace hardbit::node
