#include "ops/pool2d.h"

#include "node/binding.h"

namespace hardbit::node {

template <>
struct FromJs<ops::Pool2dGeometry> {
  static ops::Pool2dGeometry read(const Arguments& arguments, std::size_t i) {
    const Members members(arguments, i);
    return {.kernel = members.integers<2>("kernel"),
            .stride = members.integers<2>("stride"),
            .padding = members.integers<4>("padding")};
  }
};

template <>
struct ToJs<ops::MaxPooled> {
  static Napi::Value wrap(Napi::Env env, ops::MaxPooled value) {
    const auto object = Napi::Object::New(env);
    object.Set("y", to_js(env, std::move(value.y)));
    object.Set("index", to_js(env, std::move(value.index)));
    return object;
  }
};

void add_pooling(Napi::Object exports) {
  add<ops::max_pool2d>(exports, "maxPool2d");
  add<ops::max_pool2d_backward>(exports, "maxPool2dBackward");
  add<ops::pool_signs>(exports, "poolSigns");
  add<ops::avg_pool2d>(exports, "avgPool2d");
  add<ops::avg_pool2d_backward>(exports, "avgPool2dBackward");
}

}  // namespace hardbit::node
