#include "ops/conv2d.h"

#include "node/binding.h"
#include "ops/binary_conv2d.h"
#include "ops/reference.h"

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

void add_conv2d(Napi::Object exports) {
  add<ops::conv2d_forward>(exports, "conv2dForward");
  add<ops::conv2d_backward_input>(exports, "conv2dBackwardInput");
  add<ops::conv2d_backward_weight>(exports, "conv2dBackwardWeight");
  add<ops::binary_conv2d>(exports, "binaryConv2d");
  add<ops::codes_conv2d>(exports, "codesConv2d");
  add<ops::reference::binary_conv2d>(exports, "binaryConv2dReference");
  add<ops::reference::codes_conv2d>(exports, "codesConv2dReference");
}

}  // namespace hardbit::node
