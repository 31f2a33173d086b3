#include "cpu/product/float_product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "guarded.h"

namespace hardbit::cpu {
namespace {

using test::Guarded;

/// Loops over single elements, every product and every sum rounded.
std::vector<float> reference(const ops::Conv2d& conv, std::int64_t images, const float* x, const float* w,
                             const float* bias) {
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  const std::int64_t channels = conv.group_channels();
  std::vector<float> y;
  for (std::int64_t n = 0; n < images; ++n) {
    for (std::int64_t r = 0; r < conv.oh; ++r) {
      for (std::int64_t s = 0; s < conv.ow; ++s) {
        for (std::int64_t m = 0; m < conv.m; ++m) {
          const std::int64_t group = m / (conv.m / groups);
          float sum = 0;
          const float* weight = w + m * conv.k();
          for (std::int64_t a = 0; a < conv.kh; ++a) {
            for (std::int64_t b = 0; b < conv.kw; ++b) {
              const std::int64_t i = r * stride[0] + a * dilation[0] - padding[0];
              const std::int64_t j = s * stride[1] + b * dilation[1] - padding[2];
              const bool inside = i >= 0 && i < conv.h && j >= 0 && j < conv.w;
              for (std::int64_t c = 0; c < channels; ++c) {
                const float v =
                    inside ? x[((n * conv.h + i) * conv.w + j) * conv.c + group * channels + c] : 0;
                const float product = v * *weight++;
                sum = sum + product;
              }
            }
          }
          y.push_back(bias == nullptr ? sum : sum + bias[m]);
        }
      }
    }
  }
  return y;
}

// Every kernel this CPU can run, on windows of all kinds; buffers end at inaccessible pages.
TEST(FloatProduct, SumsInOneOrder) {
  std::mt19937 random(1);
  const auto between = [&](std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(random);
  };
  std::uniform_real_distribution<float> real(-1, 1);
  for (int round = 0; round < 300; ++round) {
    ops::Conv2d conv{};
    const std::int64_t groups = between(1, 3);
    conv.geometry = {.stride = {between(1, 2), between(1, 3)},
                     .dilation = {between(1, 2), between(1, 3)},
                     .padding = {between(0, 2), between(0, 2), between(0, 2), between(0, 2)},
                     .groups = groups};
    if (round % 3 == 0) conv.geometry.padding = {};
    conv.kh = between(1, 4);
    conv.kw = between(1, 4);
    conv.c = groups * between(1, 5);
    conv.m = groups * between(1, 40);
    conv.h = (conv.kh - 1) * conv.geometry.dilation[0] + between(1, 6);
    conv.w = (conv.kw - 1) * conv.geometry.dilation[1] + between(1, 6);
    if (round % 5 == 0) {  // dense
      conv.geometry = {.stride = {1, 1}, .dilation = {1, 1}, .padding = {}, .groups = 1};
      conv.kh = conv.h;
      conv.kw = conv.w;
    }
    const auto extent = [&](std::size_t axis, std::int64_t size, std::int64_t kernel) {
      const std::int64_t padded =
          size + conv.geometry.padding[2 * axis] + conv.geometry.padding[2 * axis + 1];
      return (padded - conv.geometry.dilation[axis] * (kernel - 1) - 1) / conv.geometry.stride[axis] + 1;
    };
    conv.oh = extent(0, conv.h, conv.kh);
    conv.ow = extent(1, conv.w, conv.kw);

    const std::int64_t images = between(1, 20);
    const auto draw = [&](std::int64_t count) {
      std::vector<float> values(static_cast<std::size_t>(count));
      for (float& v : values) v = real(random);
      return Guarded<float>(values);
    };
    const Guarded<float> x = draw(images * conv.h * conv.w * conv.c);
    const Guarded<float> w = draw(conv.m * conv.k());
    const Guarded<float> b = draw(conv.m);
    const float* const bias = round % 2 == 0 ? b.data() : nullptr;
    const std::vector<float> expected = reference(conv, images, x.data(), w.data(), bias);
    for (const FloatKernel& kernel : float_kernels()) {
      const auto available = available_isas();
      if (std::ranges::find(available, kernel.isa) == available.end()) continue;
      const FloatProduct product(conv, w.data(), bias, kernel);
      const Guarded<std::byte> scratch(product.scratch_bytes(images));
      const Guarded<float> y(expected.size());
      product.run(x.data(), images, y.data(), scratch.data());
      EXPECT_EQ(y.values(), expected) << "round " << round << ", " << kernel.name;
      EXPECT_TRUE(y.intact() && scratch.intact());
      EXPECT_GE(product.bytes(), static_cast<std::size_t>(conv.m * conv.k()) * sizeof(float));
    }
  }
}

}  // namespace
}  // namespace hardbit::cpu
