#include "ops/bits.h"

#include "node/binding.h"
#include "ops/binary_matmul.h"
#include "ops/discretize.h"
#include "ops/reference.h"
#include "ops/sign.h"

namespace hardbit::node {

template <>
struct ToJs<ops::SignForward> {
  static Napi::Value wrap(Napi::Env env, ops::SignForward value) {
    const auto object = Napi::Object::New(env);
    object.Set("signs", to_js(env, std::move(value.signs)));
    object.Set("mask", to_js(env, std::move(value.mask)));
    return object;
  }
};

void add_bits(Napi::Object exports) {
  add<ops::pack_signs>(exports, "packSigns");
  add<ops::unpack_signs>(exports, "unpackSigns");
  add<ops::reshape_signs>(exports, "reshapeSigns");
  add<ops::discretize>(exports, "discretize");
  add<ops::codes_to_float>(exports, "codesToFloat");
  add<ops::binary_matmul>(exports, "binaryMatmul");
  add<ops::codes_matmul>(exports, "codesMatmul");
  add<ops::reference::binary_matmul>(exports, "binaryMatmulReference");
  add<ops::reference::codes_matmul>(exports, "codesMatmulReference");
  add<ops::sign_forward>(exports, "signForward");
  add<ops::mask_backward>(exports, "maskBackward");
  add<ops::approx_sign_backward>(exports, "approxSignBackward");
}

}  // namespace hardbit::node
