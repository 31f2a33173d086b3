#include "ops/conv2d.h"

#include <cmath>
#include <vector>

#include "conv_cases.h"
#include "support.h"

namespace hardbit {
namespace {

using test::bytes;
using test::ConvCase;
using test::expect_error;
using test::random_tensor;

/// Sums of products in double, and of their magnitudes and number, which bound the rounding error.
struct Sums {
  std::vector<double> value, magnitude, terms;
  explicit Sums(std::int64_t count)
      : value(static_cast<std::size_t>(count)), magnitude(value), terms(value) {}
  void add(std::int64_t at, float a, float b) {
    const auto i = static_cast<std::size_t>(at);
    const double term = static_cast<double>(a) * static_cast<double>(b);
    value[i] += term;
    magnitude[i] += std::abs(term);
    terms[i] += 1;
  }
  /// Any order of fp32 additions of rounded products.
  void expect_close(const Tensor& actual) const {
    const auto actual_values = test::values<float>(actual);
    ASSERT_EQ(actual_values.size(), value.size());
    for (std::size_t i = 0; i < value.size(); ++i) {
      ASSERT_NEAR(actual_values[i], value[i], magnitude[i] * (terms[i] + 1) * 0x1p-24) << i;
    }
  }
};

/// Calls f(element of x, of w, of y) for every product of the convolution.
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
              if (row < 0 || row >= v.h || column < 0 || column >= v.w) continue;
              for (std::int64_t c = 0; c < in; ++c) {
                f(((n * v.h + row) * v.w + column) * v.c + m / (v.m / g.groups) * in + c,
                  ((m * v.kh + a) * v.kw + b) * in + c, ((n * v.oh + i) * v.ow + j) * v.m + m);
              }
            }
          }
        }
      }
    }
  }
}

void check(const ConvCase& c) {
  SCOPED_TRACE(c.text());
  const ops::Conv2d v = c.sizes();
  const Tensor x = random_tensor({v.n, v.h, v.w, v.c}, 1);
  const Tensor w = random_tensor({v.m, v.kh, v.kw, v.group_channels()}, 2);
  const Tensor bias = random_tensor({v.m}, 3);
  const Tensor dy = random_tensor({v.n, v.oh, v.ow, v.m}, 4);
  Sums y(dy.count());
  Sums dx(x.count());
  Sums dw(w.count());
  const Tensor on_cpu[] = {x.to(Device::cpu), w.to(Device::cpu), dy.to(Device::cpu), bias.to(Device::cpu)};
  const float* const x_values = on_cpu[0].data<float>();
  const float* const w_values = on_cpu[1].data<float>();
  const float* const dy_values = on_cpu[2].data<float>();
  for_each_product(v, [&](std::int64_t at_x, std::int64_t at_w, std::int64_t at_y) {
    y.add(at_y, x_values[at_x], w_values[at_w]);
    dx.add(at_x, dy_values[at_y], w_values[at_w]);
    dw.add(at_w, dy_values[at_y], x_values[at_x]);
  });
  test::poison_cache();
  const Tensor plain = ops::conv2d_forward(x, w, nullptr, c.geometry);
  ASSERT_EQ(plain.shape(), dy.shape());
  y.expect_close(plain);
  for (std::int64_t i = 0; i < dy.count(); ++i) y.add(i, on_cpu[3].data<float>()[i % v.m], 1);
  y.expect_close(ops::conv2d_forward(x, w, &bias, c.geometry));
  const Tensor actual_dx = ops::conv2d_backward_input(dy, w, {v.h, v.w}, c.geometry);
  dx.expect_close(actual_dx);
  // The shape of x holds the channels by groups, which w has no say in where there is no output channel.
  ASSERT_EQ(actual_dx.shape(), x.shape());
  const Tensor actual_dw = ops::conv2d_backward_weight(dy, x, c.kernel, c.geometry);
  ASSERT_EQ(actual_dw.shape(), w.shape());
  dw.expect_close(actual_dw);
}

TEST(Conv2d, AgreesWithDoubleOnRandomGeometries) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    constexpr std::int64_t channels[] = {1, 2, 3, 4, 5, 16, 17};
    check(test::random_conv(random, channels[i % 7]));
    if (HasFailure()) return;
  }
}

TEST(Conv2d, AgreesWithDoubleOnOddOnes) {
  for (const ConvCase& c : test::odd_convs) {
    check(c);
    if (HasFailure()) return;
  }
}

TEST(Conv2d, AgreesWithDoubleOnEveryThreadCount) {
  const int before = threads();
  for (const int count : {1, 2, 3, 7}) {
    set_threads(count);
    check({5, 9, 8, 1, 20, {5, 5}, {.padding = {0, 1, 2, 0}}});
    check({5, 9, 8, 3, 7, {3, 3}, {.stride = {2, 1}}});
    check({5, 9, 8, 18, 33, {3, 3}, {.padding = {1, 1, 1, 1}}});
  }
  set_threads(before);
}

TEST(Conv2d, LongBatchesOfFewChannelsGoInChunks) {
  check({70, 12, 12, 1, 3, {5, 5}, {.padding = {2, 2, 2, 2}}});
  check({40, 12, 12, 3, 3, {5, 5}, {.padding = {2, 2, 2, 2}}});
}

TEST(Conv2d, RepeatsItself) {
  const Tensor x = random_tensor({4, 14, 14, 32}, 1);
  const Tensor w = random_tensor({64, 3, 3, 32}, 2);
  const ops::Conv2dGeometry geometry{.padding = {1, 1, 1, 1}};
  const Tensor dy = random_tensor({4, 14, 14, 64}, 3);
  const auto y = bytes(ops::conv2d_forward(x, w, nullptr, geometry));
  const auto dx = bytes(ops::conv2d_backward_input(dy, w, {14, 14}, geometry));
  const auto dw = bytes(ops::conv2d_backward_weight(dy, x, {3, 3}, geometry));
  const int times = test::device() == Device::cpu ? 3 : 1;  // an emulated GPU is slow
  for (int i = 0; i < times; ++i) {
    ASSERT_EQ(bytes(ops::conv2d_forward(x, w, nullptr, geometry)), y);
    ASSERT_EQ(bytes(ops::conv2d_backward_input(dy, w, {14, 14}, geometry)), dx);
    ASSERT_EQ(bytes(ops::conv2d_backward_weight(dy, x, {3, 3}, geometry)), dw);
  }
}

TEST(Conv2d, RefusesWrongOperands) {
  const Tensor x = Tensor::zeros(DType::f32, {2, 5, 6, 4}, test::device());
  const Tensor w = Tensor::zeros(DType::f32, {6, 3, 3, 4}, test::device());
  const Tensor half = Tensor::zeros(DType::f32, {6, 3, 3, 2}, test::device());
  const Tensor dy = Tensor::zeros(DType::f32, {2, 3, 4, 6}, test::device());
  const Tensor ints = Tensor::zeros(DType::i32, {2, 5, 6, 4}, test::device());
  const ops::Conv2dGeometry plain;
  const auto refuses = [&](const char* code, const Tensor& images, const Tensor& weights, const Tensor* bias,
                           const ops::Conv2dGeometry& geometry, const std::string& part) {
    expect_error(
        code, [&] { ops::conv2d_forward(images, weights, bias, geometry); }, part);
  };
  EXPECT_NO_THROW(ops::conv2d_forward(x, w, nullptr, plain));
  EXPECT_NO_THROW(ops::conv2d_forward(x, half, nullptr, {.groups = 2}));
  refuses("ERR_HARDBIT_DTYPE", ints, w, nullptr, plain, "x holds i32");
  refuses("ERR_HARDBIT_DTYPE", x, ints, nullptr, plain, "w holds i32");
  refuses("ERR_HARDBIT_SHAPE", x.reshape({2, 30, 4}), w, nullptr, plain, "[N, H, W, C]");
  refuses("ERR_HARDBIT_SHAPE", x, w.reshape({6, 9, 4}), nullptr, plain, "[M, KH, KW, C / groups]");
  refuses("ERR_HARDBIT_SHAPE", x, half, nullptr, plain, "to be 4");
  refuses("ERR_HARDBIT_SHAPE", x, w, &x, plain, "bias");
  refuses("ERR_HARDBIT_SHAPE", x, w, nullptr, {.dilation = {3, 1}}, "spans 7 rows of an input of 5");
  refuses("ERR_HARDBIT_SHAPE", x, w, nullptr, {.dilation = {1, 3}}, "spans 7 columns of an input of 6");
  refuses("ERR_HARDBIT_SHAPE", x, w, nullptr, {.groups = 3}, "3 groups do not divide the 4 input");
  refuses("ERR_HARDBIT_SHAPE", x, w, nullptr, {.groups = 4}, "4 groups do not divide the 6 output");
  refuses("ERR_HARDBIT_ARGUMENT", x, w, nullptr, {.groups = 0}, "groups is 0");
  refuses("ERR_HARDBIT_ARGUMENT", x, w, nullptr, {.stride = {0, 1}}, "stride is 0");
  refuses("ERR_HARDBIT_ARGUMENT", x, w, nullptr, {.stride = {1, -1}}, "stride is -1");
  refuses("ERR_HARDBIT_ARGUMENT", x, w, nullptr, {.dilation = {1, 0}}, "dilation is 0");
  refuses("ERR_HARDBIT_ARGUMENT", x, w, nullptr, {.padding = {0, 0, 0, -1}}, "padding is -1");
  refuses("ERR_HARDBIT_ARGUMENT", x, w, nullptr, {.stride = {1, 65536}}, "65536");
  refuses("ERR_HARDBIT_ARGUMENT", x, Tensor::zeros(DType::f32, {6, 0, 3, 4}, test::device()), nullptr, plain,
          "kernel is 0");

  EXPECT_NO_THROW(ops::conv2d_backward_input(dy, w, {5, 6}, plain));
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        ops::conv2d_backward_input(dy, w, {6, 6}, plain);
      },
      "[2, 4, 4, 6]");
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::conv2d_backward_input(x, w, {5, 6}, plain); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::conv2d_backward_input(dy, w, {2, 6}, plain); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::conv2d_backward_input(dy, w, {-5, 6}, plain); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::conv2d_backward_input(ints, w, {5, 6}, plain); });
  EXPECT_NO_THROW(ops::conv2d_backward_weight(dy, x, {3, 3}, plain));
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::conv2d_backward_weight(dy, x, {2, 3}, plain); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::conv2d_backward_weight(dy, x, {6, 3}, plain); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::conv2d_backward_weight(dy, x, {0, 3}, plain); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::conv2d_backward_weight(dy, ints, {3, 3}, plain); });
}

}  // namespace
}  // namespace hardbit
