#include "ops/binary_gradient.h"

#include "node/conv2d.h"
#include "node/pool2d.h"

namespace hardbit::node {
namespace {

/// The text of an argument or a member; empty where it is none.
std::string text(Napi::Value value) {
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

/// Nothing where there is no arithmetic of that name.
std::optional<ops::GradientArithmetic> arithmetic(Napi::Value value) {
  const std::string name = text(value);
  if (name == "float") return ops::GradientArithmetic::f32;
  if (name == "bf16") return ops::GradientArithmetic::bf16;
  if (name == "int8") return ops::GradientArithmetic::int8;
  return std::nullopt;
}

constexpr const char* arithmetics = "'float', 'bf16' or 'int8'";

bool supports(ops::GradientArithmetic arithmetic, std::optional<Device> device) {
  return ops::supports_gradient_arithmetic(arithmetic, device.value_or(Device::cpu));
}

}  // namespace

template <>
struct FromJs<ops::GradientArithmetic> {
  static ops::GradientArithmetic read(const Arguments& arguments, std::size_t i) {
    const auto chosen = arithmetic(arguments[i]);
    if (!chosen) arguments.reject(i, arithmetics);
    return *chosen;
  }
};

template <>
struct FromJs<ops::GradientOptions> {
  static ops::GradientOptions read(const Arguments& arguments, std::size_t i) {
    const Members members(arguments, i);
    const Napi::Value name = arguments[i].As<Napi::Object>().Get("arithmetic");
    const auto chosen = arithmetic(name);
    if (!chosen) arguments.reject("ERR_HARDBIT_ARGUMENT", "arithmetic", arithmetics, name);
    const auto natural = [&](const char* member) {
      const std::int64_t value = members.integer(member);
      if (value < 0) {
        arguments.reject("ERR_HARDBIT_ARGUMENT", member, "0 or more",
                         arguments[i].As<Napi::Object>().Get(member));
      }
      return static_cast<std::uint64_t>(value);
    };
    return {
        .arithmetic = *chosen, .seed = natural("seed"), .stream = natural("stream"), .step = natural("step")};
  }
};

template <>
struct FromJs<ops::WeightScale> {
  static ops::WeightScale read(const Arguments& arguments, std::size_t i) {
    if (arguments[i].IsNumber()) return FromJs<double>::read(arguments, i);
    return FromJs<Tensor>::read(arguments, i);
  }
};

template <>
struct FromJs<ops::QuantizedBy> {
  static ops::QuantizedBy read(const Arguments& arguments, std::size_t i) {
    const std::string name = text(arguments[i]);
    if (name == "sample") return ops::QuantizedBy::sample;
    if (name == "channel") return ops::QuantizedBy::channel;
    arguments.reject(i, "'sample' or 'channel'");
  }
};

template <>
struct ToJs<ops::QuantizedGradient> {
  static Napi::Value wrap(Napi::Env env, ops::QuantizedGradient value) {
    const auto object = Napi::Object::New(env);
    object.Set("codes", to_js(env, std::move(value.codes)));
    object.Set("scales", to_js(env, std::move(value.scales)));
    return object;
  }
};

template <>
struct ToJs<bool> {
  static Napi::Value wrap(Napi::Env env, bool value) { return Napi::Boolean::New(env, value); }
};

void add_binary_gradients(Napi::Object exports) {
  add<supports>(exports, "supportsGradientArithmetic");
  add<ops::binary_conv2d_backward_input>(exports, "binaryConv2dBackwardInput");
  add<ops::binary_conv2d_backward_weight>(exports, "binaryConv2dBackwardWeight");
  add<ops::binary_conv2d_pool_backward_input>(exports, "binaryConv2dPoolBackwardInput");
  add<ops::binary_conv2d_pool_backward_weight>(exports, "binaryConv2dPoolBackwardWeight");
  add<ops::binary_matmul_backward_input>(exports, "binaryMatmulBackwardInput");
  add<ops::binary_matmul_backward_weight>(exports, "binaryMatmulBackwardWeight");
  add<ops::quantize_gradient>(exports, "quantizeGradient");
}

}  // namespace hardbit::node
