#pragma once
#include "node/binding.h"
#include "ops/binary_conv2d.h"

namespace hardbit::node {

template <>
struct FromJs<ops::Conv2dGeometry> {
  static ops::Conv2dGeometry read(const Arguments& arguments, std::size_t i) {
    const Members members(arguments, i);
    return {.stride = members.integers<2>("stride"),
            .dilation = members.integers<2>("dilation"),
            .padding = members.integers<4>("padding"),
            .groups = members.integer("groups")};
  }
};

template <>
struct FromJs<ops::PaddingValue> {
  static ops::PaddingValue read(const Arguments& arguments, std::size_t i) {
    const std::string text = arguments[i].IsString() ? arguments[i].As<Napi::String>().Utf8Value() : "";
    if (text == "zero") return ops::PaddingValue::zero;
    if (text == "one") return ops::PaddingValue::one;
    arguments.reject(i, "'zero' or 'one'");
  }
};

}  // namespace hardbit::node
