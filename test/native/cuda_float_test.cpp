#include <bit>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <thread>
#include <tuple>
#include <vector>

#include "conv_cases.h"
#include "cuda/conv2d.h"
#include "cuda/dense.h"
#include "cuda/float_plan.h"
#include "cuda/libraries.h"
#include "ops/conv2d.h"
#include "ops/dense.h"
#include "support.h"

// Float products of the GPU: every tile and way to cut a sum, bf16, and the libraries against our own
// kernels.

namespace hardbit {
namespace {

using cuda::product::Plan;
using test::bytes;
using test::ConvCase;
using test::make;
using test::random_floats;
using test::values;

constexpr Plan plans[] = {{128, 1}, {128, 3}, {64, 1}, {64, 2}, {32, 1}, {32, 5}};

class CudaFloat : public testing::Test {
 protected:
  void SetUp() override {
    if (test::device() != Device::cuda) GTEST_SKIP() << "runs on the cuda device (HARDBIT_TEST_DEVICE)";
    cuda::libraries::set_enabled(false);
  }
  void TearDown() override {
    cuda::libraries::set_enabled(true);
    cuda::product::forced_plan = {0, 1};
    cuda::product::most_pixels = std::int64_t{1} << 30;
  }
};

std::vector<float> transposed(const std::vector<float>& x, std::int64_t rows, std::int64_t columns) {
  std::vector<float> y(x.size());
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    y[static_cast<std::size_t>(i % columns * rows + i / columns)] = x[static_cast<std::size_t>(i)];
  }
  return y;
}

float to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000);
}

struct Product {
  std::int64_t m, n, k;
  std::vector<float> a, b, bias;
  Product(std::int64_t rows, std::int64_t columns, std::int64_t sums)
      : m(rows),
        n(columns),
        k(sums),
        a(random_floats(m * k, 1)),
        b(random_floats(k * n, 2)),
        bias(random_floats(n, 3)) {}

  /// Of operands that go through `round`, against double.
  void check(const std::vector<float>& c, bool biased, const std::function<float(float)>& round) const {
    ASSERT_EQ(c.size(), static_cast<std::size_t>(m * n));
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = biased ? bias[static_cast<std::size_t>(j)] : 0;
        double magnitude = std::abs(sum);
        for (std::int64_t p = 0; p < k; ++p) {
          const double term = static_cast<double>(round(a[static_cast<std::size_t>(i * k + p)])) *
                              static_cast<double>(round(b[static_cast<std::size_t>(p * n + j)]));
          sum += term;
          magnitude += std::abs(term);
        }
        ASSERT_NEAR(c[static_cast<std::size_t>(i * n + j)], sum,
                    magnitude * static_cast<double>(k + 2) * 0x1p-24 + 1e-30)
            << i << " " << j;
      }
    }
  }
  Tensor left(bool transpose) const {
    return transpose ? make({k, m}, transposed(a, m, k)) : make({m, k}, a);
  }
  Tensor right(bool transpose) const {
    return transpose ? make({n, k}, transposed(b, k, n)) : make({k, n}, b);
  }
};

std::string text(const Plan& plan) {
  return "tile " + std::to_string(plan.tile) + " parts " + std::to_string(plan.parts);
}

TEST_F(CudaFloat, EveryTileAndTransposeAgreesWithDouble) {
  // Around the ends of tiles and of steps of k; multiples of four, which are read as quads, and others.
  for (const auto& [m, n, k] : {std::tuple{1, 1, 1}, std::tuple{33, 31, 9}, std::tuple{65, 130, 17},
                                std::tuple{132, 36, 24}, std::tuple{36, 132, 44}}) {
    const Product product(m, n, k);
    const Tensor bias = make({n}, product.bias);
    for (const Plan& plan : plans) {
      cuda::product::forced_plan = plan;
      for (const bool transpose_a : {false, true}) {
        for (const bool transpose_b : {false, true}) {
          SCOPED_TRACE(text(plan) + " of " + to_string({m, n, k}) + (transpose_a ? " T" : " N") +
                       (transpose_b ? "T" : "N"));
          const Tensor c = Tensor::empty(DType::f32, {m, n}, Device::cuda);
          const Tensor a = product.left(transpose_a);
          const Tensor b = product.right(transpose_b);
          cuda::matmul(transpose_a, transpose_b, m, n, k, a.data<float>(), b.data<float>(),
                       bias.data<float>(), c.data<float>());
          product.check(values<float>(c), true, [](float x) { return x; });
          cuda::matmul_bf16(transpose_a, transpose_b, m, n, k, a.data<float>(), b.data<float>(),
                            c.data<float>());
          product.check(values<float>(c), false, to_bf16);
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST_F(CudaFloat, LongSumsOfFewResultsAreCut) {
  EXPECT_GT(cuda::product::plan({.rows = 3, .cols = 5, .k = 5000, .groups = 1}, true).parts, 1U);
  EXPECT_EQ(cuda::product::plan({.rows = 3, .cols = 5, .k = 5000, .groups = 1}, false).parts, 1U);
  const Product product(3, 5, 5000);
  const Tensor c = Tensor::empty(DType::f32, {3, 5}, Device::cuda);
  cuda::matmul(true, false, 3, 5, 5000, product.left(true).data<float>(), product.right(false).data<float>(),
               make({5}, product.bias).data<float>(), c.data<float>());
  product.check(values<float>(c), true, [](float x) { return x; });
}

TEST_F(CudaFloat, PlansFitTheWork) {
  const auto tile = [](std::int64_t rows, std::int64_t cols, std::int64_t k) {
    return cuda::product::plan({.rows = rows, .cols = cols, .k = k, .groups = 1}, true).tile;
  };
  EXPECT_EQ(tile(65536, 128, 1152), 128);
  EXPECT_EQ(tile(128, 1152, 65536), 128);
  EXPECT_EQ(tile(65536, 64, 1152), 64);
  EXPECT_EQ(tile(65536, 10, 100), 32);
  EXPECT_EQ(tile(16, 16, 16), 32);
  // Sums over more than 31 bits count are cut even where there is work enough.
  EXPECT_GE(
      cuda::product::plan({.rows = 1 << 20, .cols = 1 << 10, .k = std::int64_t{1} << 33, .groups = 1}, true)
          .parts,
      8U);
  EXPECT_EQ(cuda::product::plan({.rows = 0, .cols = 7, .k = 7, .groups = 1}, true).parts, 1U);
}

TEST_F(CudaFloat, Bf16RoundsToNearestEven) {
  const float above_tie = std::bit_cast<float>(0x3F808001U);
  const float even_tie = std::bit_cast<float>(0x3F808000U);
  const float odd_tie = std::bit_cast<float>(0x3F818000U);
  const float largest = std::bit_cast<float>(0x7F7FFFFFU);
  const float nan = std::bit_cast<float>(0x7F800001U);
  const Tensor a = make<float>({6, 1}, {above_tie, even_tie, odd_tie, largest, nan, -above_tie});
  const Tensor b = make<float>({1, 1}, {1});
  const Tensor c = Tensor::empty(DType::f32, {6, 1}, Device::cuda);
  cuda::matmul_bf16(false, false, 6, 1, 1, a.data<float>(), b.data<float>(), c.data<float>());
  const auto rounded = values<float>(c);
  EXPECT_EQ(rounded[0], std::bit_cast<float>(0x3F810000U));
  EXPECT_EQ(rounded[1], 1.0F);
  EXPECT_EQ(rounded[2], std::bit_cast<float>(0x3F820000U));
  EXPECT_EQ(rounded[3], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(rounded[4]));
  EXPECT_EQ(rounded[5], -std::bit_cast<float>(0x3F810000U));
}

/// Convolutions whose channels are read as quads, in groups, at strides in phases and beyond, dilated.
const std::vector<ConvCase> convolutions = {
    {2, 6, 7, 8, 12, {3, 3}, {.padding = {1, 1, 1, 1}}},
    {2, 7, 6, 8, 8, {3, 2}, {.stride = {2, 3}, .padding = {1, 0, 2, 1}, .groups = 2}},
    {1, 9, 8, 4, 4, {2, 3}, {.stride = {2, 2}, .dilation = {2, 3}, .padding = {2, 2, 3, 0}}},
    {1, 11, 9, 3, 5, {3, 3}, {.stride = {5, 4}, .dilation = {2, 1}, .padding = {3, 1, 0, 2}}},
    {2, 5, 5, 6, 9, {3, 3}, {.stride = {4, 2}, .dilation = {2, 2}, .padding = {4, 3, 4, 3}, .groups = 3}},
};

struct Operands {
  ops::Conv2d v;
  Tensor x, w, dy;
  explicit Operands(const ConvCase& c)
      : v(c.sizes()),
        x(test::random_tensor({v.n, v.h, v.w, v.c}, 1)),
        w(test::random_tensor({v.m, v.kh, v.kw, v.group_channels()}, 2)),
        dy(test::random_tensor({v.n, v.oh, v.ow, v.m}, 3)) {}
  Operands on_cpu() const {
    Operands copy = *this;
    copy.x = x.to(Device::cpu);
    copy.w = w.to(Device::cpu);
    copy.dy = dy.to(Device::cpu);
    return copy;
  }
  std::vector<Tensor> all(const ops::Conv2dGeometry& geometry) const {
    return {ops::conv2d_forward(x, w, nullptr, geometry),
            ops::conv2d_backward_input(dy, w, {v.h, v.w}, geometry),
            ops::conv2d_backward_weight(dy, x, {v.kh, v.kw}, geometry)};
  }
};

/// `terms`: that a value may be the sum of, each of magnitude 1 at most.
void expect_near(const Tensor& actual, const Tensor& expected, double terms) {
  const auto a = values<float>(actual);
  const auto e = values<float>(expected);
  ASSERT_EQ(a.size(), e.size());
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], e[i], terms * 0x1p-20) << i;
}

void expect_near(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected,
                 const ops::Conv2d& v) {
  const double taps = static_cast<double>(v.kh * v.kw);
  const auto groups = static_cast<double>(v.geometry.groups);
  expect_near(actual[0], expected[0], taps * static_cast<double>(v.c) / groups);
  expect_near(actual[1], expected[1], taps * static_cast<double>(v.m) / groups);
  expect_near(actual[2], expected[2], static_cast<double>(v.n * v.oh * v.ow));
}

TEST_F(CudaFloat, EveryTileConvolvesAsTheCpu) {
  for (const ConvCase& c : convolutions) {
    const Operands operands(c);
    const auto expected = operands.on_cpu().all(c.geometry);
    const Tensor ordered =
        ops::ordered_conv2d_forward(operands.on_cpu().x, operands.on_cpu().w, nullptr, c.geometry);
    for (const Plan& plan : plans) {
      SCOPED_TRACE(c.text() + " by " + text(plan));
      cuda::product::forced_plan = plan;
      expect_near(operands.all(c.geometry), expected, operands.v);
      EXPECT_EQ(bytes(ops::ordered_conv2d_forward(operands.x, operands.w, nullptr, c.geometry)),
                bytes(ordered));
      if (HasFailure()) return;
    }
  }
}

TEST_F(CudaFloat, ImagesOfFewChannelsConvolveAsOnTheCpu) {
  const std::vector<ConvCase> cases = {
      {2, 32, 32, 3, 128, {3, 3}, {.padding = {1, 1, 1, 1}}},  // two tiles an image
      {3, 28, 28, 1, 20, {5, 5}, {.padding = {2, 2, 2, 2}}},
      {2, 12, 11, 1, 7, {3, 3}, {}},                          // no quads, few columns
      {1, 70, 90, 2, 36, {7, 5}, {.padding = {3, 3, 2, 2}}},  // columns in passes, tiles of both sides
      {2, 33, 31, 4, 18, {3, 3}, {.stride = {2, 3}, .padding = {1, 1, 0, 2}}},
      {1, 20, 18, 3, 8, {3, 2}, {.stride = {1, 2}, .dilation = {3, 2}, .padding = {5, 0, 2, 1}}},
      {1, 9, 40, 3, 4, {1, 1}, {.stride = {3, 2}}},  // places that no window reaches
  };
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(c.text());
    const ops::Conv2d v = c.sizes();
    const Tensor w = test::random_tensor({v.m, v.kh, v.kw, v.c}, 2);
    const Tensor dy = test::random_tensor({v.n, v.oh, v.ow, v.m}, 3);
    const auto gradient = [&](Device device) {
      return ops::conv2d_backward_input(dy.to(device), w.to(device), {v.h, v.w}, c.geometry);
    };
    const Tensor actual = gradient(Device::cuda);
    expect_near(actual, gradient(Device::cpu), static_cast<double>(v.kh * v.kw * v.m));
    EXPECT_EQ(bytes(gradient(Device::cuda)), bytes(actual));
    if (HasFailure()) return;
  }
}

TEST_F(CudaFloat, BatchesBeyondACountGoInParts) {
  const ConvCase c{5, 6, 7, 4, 8, {3, 3}, {.padding = {1, 1, 1, 1}}};
  const Operands operands(c);
  const auto whole = operands.all(c.geometry);
  const auto ordered = bytes(ops::ordered_conv2d_forward(operands.x, operands.w, nullptr, c.geometry));
  cuda::product::most_pixels = 2 * 6 * 7 + 1;
  const auto parts = operands.all(c.geometry);
  expect_near(parts, whole, operands.v);
  EXPECT_EQ(bytes(ops::ordered_conv2d_forward(operands.x, operands.w, nullptr, c.geometry)), ordered);
  cuda::product::most_pixels = 6 * 7 - 1;
  test::expect_error(
      "ERR_HARDBIT_UNSUPPORTED", [&] { operands.all(c.geometry); }, "2^31");
}

TEST_F(CudaFloat, Bf16GradientsRoundOperandsAlone) {
  const auto rounded = [](const Tensor& x) {
    auto all = values<float>(x);
    for (float& v : all) v = to_bf16(v);
    return make(x.shape(), all);
  };
  for (const ConvCase& c : convolutions) {
    SCOPED_TRACE(c.text());
    Operands operands(c);
    const Tensor dx = Tensor::empty(DType::f32, operands.x.shape(), Device::cuda);
    const Tensor dw = Tensor::empty(DType::f32, operands.w.shape(), Device::cuda);
    cuda::convolution_backward_data_bf16(operands.v, operands.dy.data<float>(), operands.w.data<float>(),
                                         dx.data<float>());
    cuda::convolution_backward_weights_bf16(operands.v, operands.dy.data<float>(), operands.x.data<float>(),
                                            dw.data<float>());
    operands.x = rounded(operands.x);
    operands.w = rounded(operands.w);
    operands.dy = rounded(operands.dy);
    // The same sums of the same products, in the same order.
    EXPECT_EQ(bytes(dx), bytes(ops::conv2d_backward_input(operands.dy, operands.w,
                                                          {operands.v.h, operands.v.w}, c.geometry)));
    EXPECT_EQ(bytes(dw), bytes(ops::conv2d_backward_weight(operands.dy, operands.x,
                                                           {operands.v.kh, operands.v.kw}, c.geometry)));
  }
}

TEST_F(CudaFloat, OrderOfThreadsDoesNotMatter) {
  const ConvCase c{3, 9, 8, 8, 12, {3, 3}, {.stride = {2, 1}, .padding = {1, 1, 1, 1}}};
  cuda::product::forced_plan = {32, 3};
  std::vector<std::vector<unsigned char>> first;
  for (const char* const seed : {"1", "2", "3", "4"}) {
    setenv("HARDBIT_EMULATION_SEED", seed, 1);
    // A thread has an emulated GPU, and draws, of its own.
    std::thread([&] {
      std::vector<std::vector<unsigned char>> all;
      for (const Tensor& result : Operands(c).all(c.geometry)) all.push_back(bytes(result));
      if (first.empty()) first = all;
      EXPECT_EQ(all, first) << seed;
    }).join();
  }
  unsetenv("HARDBIT_EMULATION_SEED");
}

// -- the libraries

class CudaLibraries : public CudaFloat {
 protected:
  void SetUp() override {
    CudaFloat::SetUp();
    if (IsSkipped()) return;
    cuda::libraries::set_enabled(true);
    if (cuda::float_math() != cuda::FloatMath::fp32) GTEST_SKIP() << "compares fp32 (HARDBIT_CUDA_MATH)";
  }
  /// f() by the libraries and by our own kernels.
  template <class F>
  static auto both(const F& f) {
    cuda::libraries::set_enabled(false);
    auto own = f();
    cuda::libraries::set_enabled(true);
    return std::pair{f(), own};
  }
  static std::string report() {
    std::string all;
    for (const std::string& sentence : cuda::libraries::describe()) all += sentence + "\n";
    return all;
  }
};

TEST_F(CudaLibraries, DescribeThemselves) {
  for (const std::string& sentence : cuda::libraries::describe()) {
    EXPECT_EQ(sentence.back(), '.') << sentence;
    std::printf("%s\n", sentence.c_str());
  }
}

TEST_F(CudaLibraries, CublasMultipliesAsOurs) {
  if (!cuda::libraries::takes_matmul(1, 1, 1)) GTEST_SKIP() << report();
  for (const auto& [m, n, k] :
       {std::tuple{1, 1, 1}, std::tuple{33, 31, 9}, std::tuple{128, 600, 784}, std::tuple{10, 1152, 4096}}) {
    const Product product(m, n, k);
    const Tensor bias = make({n}, product.bias);
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        SCOPED_TRACE(to_string({m, n, k}) + (transpose_a ? " T" : " N") + (transpose_b ? "T" : "N"));
        const Tensor a = product.left(transpose_a);
        const Tensor b = product.right(transpose_b);
        const auto [library, own] = both([&, m = m, n = n, k = k] {
          const Tensor c = Tensor::empty(DType::f32, {m, n}, Device::cuda);
          cuda::matmul(transpose_a, transpose_b, m, n, k, a.data<float>(), b.data<float>(),
                       bias.data<float>(), c.data<float>());
          return c;
        });
        expect_near(library, own, static_cast<double>(k));
        const auto [library_bf16, own_bf16] = both([&, m = m, n = n, k = k] {
          const Tensor c = Tensor::empty(DType::f32, {m, n}, Device::cuda);
          cuda::matmul_bf16(transpose_a, transpose_b, m, n, k, a.data<float>(), b.data<float>(),
                            c.data<float>());
          return c;
        });
        expect_near(library_bf16, own_bf16, static_cast<double>(k));
      }
    }
  }
  EXPECT_EQ(report().find("status"), std::string::npos) << report();
}

TEST_F(CudaLibraries, CudnnConvolvesAsOurs) {
  using cuda::libraries::Convolution;
  std::vector<ConvCase> cases = convolutions;
  cases.push_back({8, 32, 32, 3, 64, {3, 3}, {.padding = {1, 1, 1, 1}}});
  cases.push_back({8, 16, 16, 64, 64, {3, 3}, {.padding = {1, 1, 1, 1}}});
  cases.push_back({4, 17, 15, 32, 48, {5, 3}, {.stride = {2, 1}, .padding = {2, 2, 1, 1}}});
  if (!cuda::libraries::takes(Convolution::forward, cuda::FloatMath::fp32, cases[0].sizes())) {
    GTEST_SKIP() << report();
  }
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(c.text());
    const Operands operands(c);
    const auto [library, own] = both([&] { return operands.all(c.geometry); });
    expect_near(library, own, operands.v);
    // Algorithms repeat themselves.
    const auto again = operands.all(c.geometry);
    for (std::size_t i = 0; i < again.size(); ++i) EXPECT_EQ(bytes(again[i]), bytes(library[i]));
    const auto [library_bf16, own_bf16] = both([&] {
      const Tensor dx = Tensor::empty(DType::f32, operands.x.shape(), Device::cuda);
      cuda::convolution_backward_data_bf16(operands.v, operands.dy.data<float>(), operands.w.data<float>(),
                                           dx.data<float>());
      return dx;
    });
    expect_near(library_bf16, own_bf16, static_cast<double>(operands.v.kh * operands.v.kw * operands.v.m));
  }
  EXPECT_EQ(report().find("status"), std::string::npos) << report();
}

}  // namespace
}  // namespace hardbit
