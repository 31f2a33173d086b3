#pragma once
#include "node/binding.h"
#include "ops/pool2d.h"

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

/// A geometry with the member `index`.
template <>
struct FromJs<ops::MaxPooling> {
  static ops::MaxPooling read(const Arguments& arguments, std::size_t i) {
    return {.geometry = FromJs<ops::Pool2dGeometry>::read(arguments, i),
            .index = Members(arguments, i).tensor("index")};
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

}  // namespace hardbit::node
