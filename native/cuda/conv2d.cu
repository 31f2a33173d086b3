#include <algorithm>
#include <string>
#include <type_traits>

#include "cuda/conv2d.h"
#include "cuda/elementwise.h"
#include "cuda/few_channels.h"
#include "cuda/image_operands.h"
#include "cuda/libraries.h"

namespace hardbit::cuda {

using libraries::Convolution;
using ops::Conv2d;

namespace product {

std::int64_t most_pixels = std::int64_t{1} << 30;

void check_counts(const Conv2d& conv) {
  constexpr std::int64_t most = (std::int64_t{1} << 31) - 1024;  // tiles reach beyond
  constexpr std::int64_t most_side = 1 << 30;  // so that a window's place beside it fits as well
  const std::int64_t outputs = conv.m / conv.geometry.groups;
  const bool fits = std::max({conv.h, conv.w, conv.oh, conv.ow}) <= most_side &&
                    conv.h * conv.w <= most / conv.c && conv.oh * conv.ow <= most / conv.m &&
                    conv.k() <= most / outputs && std::max(conv.h * conv.w, conv.oh * conv.ow) <= most_pixels;
  if (fits) return;
  throw Error("ERR_HARDBIT_UNSUPPORTED",
              "A convolution of images or kernels of 2^31 values or more; the GPU counts fewer in one.");
}

}  // namespace product

namespace {

using product::PhaseOutput;
using product::PhasePixels;
using product::Sizes;

/// How images of few channels are cut; not at all in tests of the tiles of products.
few_channels::Tiles few_channel_tiles(const Conv2d& conv) {
  return product::forced_plan.tile == 0 ? few_channels::tiles_of(conv) : few_channels::Tiles{};
}

template <class Arithmetic>
void backward_input(const Conv2d& conv, const float* dy, const float* w, float* dx) {
  if (const auto cut = few_channel_tiles(conv); cut.tiles != 0) {
    if constexpr (std::is_same_v<Arithmetic, product::Bf16>) {
      const Scratch<float> rounded(conv.m * conv.k());
      product::round_to_bf16(w, rounded.data(), rounded.count());
      few_channels::backward_input<Arithmetic>(conv, cut, dy, rounded.data(), dx);
    } else {
      few_channels::backward_input<Arithmetic>(conv, cut, dy, w, dx);
    }
    return;
  }
  constexpr std::int64_t most_phases = 16;  // launches
  const std::int64_t outputs = conv.m / conv.geometry.groups;
  const std::int64_t size = conv.n * conv.h * conv.w * conv.c;
  const auto& stride = conv.geometry.stride;
  const bool single = stride[0] * stride[1] > most_phases;
  const int phases_y = single ? 1 : static_cast<int>(stride[0]);
  const int phases_x = single ? 1 : static_cast<int>(stride[1]);
  const auto groups = static_cast<unsigned>(conv.geometry.groups);
  const product::Sides side(conv);
  // The phases are much alike; they are cut alike, so that their parts are added together.
  const product::Plan cut = product::plan(
      {.rows = ceil_div<std::int64_t>(conv.n * conv.h * conv.w, phases_y * phases_x),
       .cols = conv.group_channels(),
       .k = ceil_div<std::int64_t>(conv.kh, phases_y) * ceil_div<std::int64_t>(conv.kw, phases_x) * outputs,
       .groups = groups},
      true);
  product::in_parts(cut, nullptr, conv.c, dx, size, [&](float* to, std::int64_t part_pitch, const float*) {
    for (int i = 0; i < phases_y; ++i) {
      for (int j = 0; j < phases_x; ++j) {
        const PhasePixels pixels(phase(side.y, static_cast<int>(conv.kh), i, single),
                                 phase(side.x, static_cast<int>(conv.kw), j, single));
        const product::Reaching a(conv, dy, pixels);
        const Sizes sizes{.rows = a.rows,
                          .cols = conv.group_channels(),
                          .k = std::int64_t{pixels.y.taps} * pixels.x.taps * outputs,
                          .groups = groups};
        const PhaseOutput out{to, pixels, conv.h, conv.w, conv.c, conv.group_channels()};
        product::queue<Arithmetic>(
            sizes, cut, a, product::TapWeights(conv, w, pixels), out, nullptr,
            product::channel_quads(to, conv.c, conv.group_channels()) && part_pitch % 4 == 0, part_pitch);
      }
    }
  });
}

template <class Arithmetic>
void backward_weight(const Conv2d& conv, const float* dy, const float* x, float* dw) {
  const std::int64_t outputs = conv.m / conv.geometry.groups;
  const Sizes sizes{.rows = outputs,
                    .cols = conv.k(),
                    .k = conv.n * conv.oh * conv.ow,
                    .groups = static_cast<unsigned>(conv.geometry.groups)};
  const product::Plan cut = product::plan(sizes, true);
  product::in_parts(
      cut, nullptr, conv.k(), dw, conv.m * conv.k(), [&](float* to, std::int64_t part_pitch, const float*) {
        const product::Columns a{dy, outputs, conv.m, outputs, product::channel_quads(dy, conv.m, outputs)};
        product::queue<Arithmetic>(sizes, cut, a, product::PatchColumns(conv, x),
                                   product::Matrix{to, conv.k(), outputs * conv.k()}, nullptr,
                                   product::aligned(to, conv.k(), part_pitch), part_pitch);
      });
}

/// By our own kernels.
template <class Arithmetic>
void convolve(Convolution which, const Conv2d& conv, const float* first, const float* second,
              const float* bias, float* result) {
  const std::int64_t image = conv.h * conv.w * conv.c;
  const std::int64_t output = conv.oh * conv.ow * conv.m;
  product::by_images(conv, [&](const Conv2d& part, std::int64_t images) {
    switch (which) {
      case Convolution::forward:
        product::forward<Arithmetic>(part, first + images * image, second, bias, result + images * output,
                                     true);
        break;
      case Convolution::backward_input:
        backward_input<Arithmetic>(part, first + images * output, second, result + images * image);
        break;
      case Convolution::backward_weight:
        if (images == 0) {
          backward_weight<Arithmetic>(part, first, second, result);
        } else {
          const Scratch<float> more(conv.m * conv.k());
          backward_weight<Arithmetic>(part, first + images * output, second + images * image, more.data());
          add(result, more.data(), result, more.count());
        }
        break;
    }
  });
}

struct Counts {
  std::int64_t first, second, result;
};
Counts counts(Convolution which, const Conv2d& conv) {
  const std::int64_t x = conv.n * conv.h * conv.w * conv.c;
  const std::int64_t y = conv.n * conv.oh * conv.ow * conv.m;
  const std::int64_t w = conv.m * conv.k();
  return which == Convolution::forward          ? Counts{x, w, y}
         : which == Convolution::backward_input ? Counts{y, w, x}
                                                : Counts{y, x, w};
}

/// By a library or by our own kernels.
void convolve(Convolution which, FloatMath math, const Conv2d& conv, const float* first, const float* second,
              const float* bias, float* result) {
  const auto [first_count, second_count, result_count] = counts(which, conv);
  if (conv.empty()) {
    product::fill_rows(bias, conv.m, result, result_count);
    return;
  }
  // No library has anything for so few channels.
  const bool few = which == Convolution::backward_input && few_channel_tiles(conv).tiles != 0;
  if (math != FloatMath::bf16) {
    if (!few && libraries::convolve(which, math, conv, first, second, result)) {
      product::add_bias(bias, conv.m, result, result_count);
    } else {
      convolve<product::Fused>(which, conv, first, second, bias, result);
    }
    return;
  }
  // bf16 is among the values of tf32: tensor cores multiply such f32 exactly. cuDNN's own bf16 would round
  // results.
  if (!few && libraries::takes(which, FloatMath::tf32, conv)) {
    const Scratch<float> rounded_first(first_count);
    const Scratch<float> rounded_second(second_count);
    product::round_to_bf16(first, rounded_first.data(), first_count);
    product::round_to_bf16(second, rounded_second.data(), second_count);
    if (libraries::convolve(which, FloatMath::tf32, conv, rounded_first.data(), rounded_second.data(),
                            result)) {
      product::add_bias(bias, conv.m, result, result_count);
      return;
    }
  }
  convolve<product::Bf16>(which, conv, first, second, bias, result);
}

}  // namespace

void conv2d_forward(const Conv2d& conv, const float* x, const float* w, const float* bias, float* y) {
  convolve(Convolution::forward, float_math(), conv, x, w, bias, y);
}
void conv2d_backward_input(const Conv2d& conv, const float* dy, const float* w, float* dx) {
  convolve(Convolution::backward_input, float_math(), conv, dy, w, nullptr, dx);
}
void conv2d_backward_weight(const Conv2d& conv, const float* dy, const float* x, float* dw) {
  convolve(Convolution::backward_weight, float_math(), conv, dy, x, nullptr, dw);
}

void convolution_backward_data_bf16(const Conv2d& conv, const float* dy, const float* w, float* dx) {
  convolve(Convolution::backward_input, FloatMath::bf16, conv, dy, w, nullptr, dx);
}
void convolution_backward_weights_bf16(const Conv2d& conv, const float* dy, const float* x, float* dw) {
  convolve(Convolution::backward_weight, FloatMath::bf16, conv, dy, x, nullptr, dw);
}

}  // namespace hardbit::cuda
