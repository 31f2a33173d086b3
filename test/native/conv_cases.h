#pragma once
#include <random>
#include <string>

#include "ops/conv2d.h"

// Convolutions for the tests of the float and the binary ones.

namespace hardbit::test {

/// The sizes and geometry of a convolution.
struct ConvCase {
  std::int64_t n, h, w, c, m;
  ops::Pair kernel;
  ops::Conv2dGeometry geometry;

  ops::Conv2d sizes() const { return ops::check_conv2d("test", {n, h, w, c}, m, kernel, geometry); }
  std::string text() const {
    const auto& [stride, dilation, padding, groups] = geometry;
    return "x " + to_string({n, h, w, c}) + " m " + std::to_string(m) + " kernel " +
           to_string({kernel[0], kernel[1]}) + " stride " + to_string({stride[0], stride[1]}) + " dilation " +
           to_string({dilation[0], dilation[1]}) + " padding " +
           to_string({padding[0], padding[1], padding[2], padding[3]}) + " groups " + std::to_string(groups);
  }
};

/// A random one that fits; `channels` are a group's.
inline ConvCase random_conv(std::mt19937& random, std::int64_t channels) {
  const auto between = [&](std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(random()) % (most - least + 1);
  };
  for (;;) {
    const std::int64_t groups = random() % 3 == 0 ? between(2, 3) : 1;
    const ConvCase c{.n = between(1, 3),
                     .h = between(1, 9),
                     .w = between(1, 9),
                     .c = channels * groups,
                     .m = between(1, 9) * groups,
                     .kernel = {between(1, 4), between(1, 4)},
                     .geometry = {.stride = {between(1, 3), between(1, 3)},
                                  .dilation = {between(1, 3), between(1, 3)},
                                  .padding = {between(0, 4), between(0, 4), between(0, 4), between(0, 4)},
                                  .groups = groups}};
    const auto& p = c.geometry.padding;
    if (c.geometry.dilation[0] * (c.kernel[0] - 1) < c.h + p[0] + p[1] &&
        c.geometry.dilation[1] * (c.kernel[1] - 1) < c.w + p[2] + p[3]) {
      return c;
    }
  }
}

/// Convolutions that random ones miss: no image, a window wholly in the padding, a stride beyond the kernel,
/// depthwise, one pixel, long rows, many border classes.
inline const std::vector<ConvCase> odd_convs = {
    {0, 5, 5, 3, 4, {3, 3}, {}},
    {2, 5, 5, 3, 0, {3, 3}, {}},
    {2, 5, 5, 0, 4, {3, 3}, {}},
    {2, 0, 5, 3, 4, {2, 2}, {.padding = {1, 1, 0, 0}}},
    {2, 5, 5, 3, 4, {1, 1}, {}},
    {2, 1, 1, 5, 7, {1, 1}, {}},
    {2, 7, 7, 3, 4, {2, 2}, {.stride = {4, 5}}},
    {2, 2, 3, 2, 3, {2, 2}, {.padding = {5, 3, 4, 6}}},
    {2, 2, 3, 2, 3, {1, 1}, {.stride = {2, 2}, .padding = {3, 2, 1, 3}}},
    {2, 6, 7, 6, 6, {3, 3}, {.padding = {1, 1, 1, 1}, .groups = 6}},
    {1, 9, 9, 16, 16, {3, 3}, {.padding = {1, 1, 1, 1}, .groups = 16}},
    {1, 6, 6, 4, 8, {3, 3}, {.stride = {2, 2}, .padding = {1, 0, 0, 1}, .groups = 4}},
    {1, 11, 13, 2, 3, {7, 5}, {.padding = {3, 3, 2, 2}}},
    {1, 3, 40, 5, 26, {3, 3}, {.dilation = {1, 4}, .padding = {1, 1, 4, 4}}},
    {3, 12, 12, 20, 50, {5, 5}, {}},
    {1, 40, 3, 16, 17, {3, 3}, {.padding = {1, 1, 1, 1}}},
};

/// Calls f(element of x, of w, of y) for every product; x −1 for a padded element.
template <class F>
void for_each_product(const ops::Conv2d& v, const F& f) {
  const auto& g = v.geometry;
  const std::int64_t in = v.c / g.groups;
  for (std::int64_t n = 0; n < v.n; ++n) {
    for (std::int64_t i = 0; i < v.oh; ++i) {
      for (std::int64_t j = 0; j < v.ow; ++j) {
        for (std::int64_t m = 0; m < v.m; ++m) {
          for (std::int64_t a = 0; a < v.kh; ++a) {
            for (std::int64_t b = 0; b < v.kw; ++b) {
              const std::int64_t row = i * g.stride[0] + a * g.dilation[0] - g.padding[0];
              const std::int64_t column = j * g.stride[1] + b * g.dilation[1] - g.padding[2];
              const bool inside = row >= 0 && row < v.h && column >= 0 && column < v.w;
              for (std::int64_t c = 0; c < in; ++c) {
                f(inside ? ((n * v.h + row) * v.w + column) * v.c + m / (v.m / g.groups) * in + c : -1,
                  ((m * v.kh + a) * v.kw + b) * in + c, ((n * v.oh + i) * v.ow + j) * v.m + m);
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace hardbit::test
