#include "ops/quantize.h"

#include "node/binding.h"
#include "ops/quantize_weights.h"

namespace hardbit::node {

template <>
struct FromJs<ops::MagnitudeGradient> {
  static ops::MagnitudeGradient read(const Arguments& arguments, std::size_t i) {
    if (arguments[i].IsString()) {
      const std::string text = arguments[i].As<Napi::String>().Utf8Value();
      if (text == "constant") return ops::MagnitudeGradient::constant;
      if (text == "paper") return ops::MagnitudeGradient::paper;
      if (text == "chain") return ops::MagnitudeGradient::chain;
    }
    arguments.reject(i, "a gradient ('constant', 'paper' or 'chain')");
  }
};

template <>
struct ToJs<ops::DorefaWeights> {
  static Napi::Value wrap(Napi::Env env, ops::DorefaWeights value) {
    const auto object = Napi::Object::New(env);
    object.Set("codes", to_js(env, std::move(value.codes)));
    object.Set("maximum", value.maximum);
    return object;
  }
};

void add_quantizers(Napi::Object exports) {
  add<ops::swish_sign_backward>(exports, "swishSignBackward");
  add<ops::clipped_backward>(exports, "clippedBackward");
  add<ops::heaviside>(exports, "heaviside");
  add<ops::quantize_unit>(exports, "quantizeUnit");
  add<ops::unit_backward>(exports, "unitBackward");
  add<ops::pack_signs_shifted>(exports, "packSignsShifted");
  add<ops::mean_magnitude>(exports, "meanMagnitude");
  add<ops::row_magnitudes>(exports, "rowMagnitudes");
  add<ops::magnitude_sign_backward>(exports, "magnitudeSignBackward");
  add<ops::dorefa_weights>(exports, "dorefaWeights");
  add<ops::dorefa_weights_backward>(exports, "dorefaWeightsBackward");
  add<ops::code_planes>(exports, "codePlanes");
  add<ops::planes_to_float>(exports, "planesToFloat");
  add<ops::combine_planes>(exports, "combinePlanes");
  add<ops::scale_channels>(exports, "scaleChannels");
  add<ops::count_different_signs>(exports, "countDifferentSigns");
}

}  // namespace hardbit::node
