#include "ops/elementwise.h"

#include <cmath>
#include <limits>

#include "support.h"

namespace hardbit {
namespace {

using test::expect_error;
using test::expect_same_on_all_thread_counts;
using test::make;
using test::random_floats;
using test::random_tensor;
using test::values;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();
const std::vector<std::int64_t> lengths = {0, 1, 3, 8, 17, 1009, 32768, 32769, 70001};

TEST(Elementwise, U8ToFloatDividesBy255) {
  std::vector<std::uint8_t> all(256);
  for (std::size_t k = 0; k < 256; ++k) all[k] = static_cast<std::uint8_t>(k);
  const auto y = values<float>(ops::u8_to_float(make({256}, all)));
  for (std::size_t k = 0; k < 256; ++k) {
    EXPECT_EQ(y[k], static_cast<float>(static_cast<double>(k) / 255)) << k;  // one correctly rounded division
  }
  EXPECT_EQ(y[255], 1.0F);
}

TEST(Elementwise, IntToFloatConvertsThenScales) {
  const std::vector<std::int32_t> x = {0, 1, -1, 16777217, -2147483647 - 1, 2147483647};
  const auto y = values<float>(ops::int_to_float(make({2, 3}, x), 1.0 / 3));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float expected = static_cast<float>(x[i]) * static_cast<float>(1.0 / 3);
    EXPECT_EQ(y[i], expected);
  }
  const std::vector<std::int16_t> s = {-32768, 32767, 0};
  EXPECT_EQ(values<float>(ops::int_to_float(make({3}, s), 0.5)), (std::vector<float>{-16384, 16383.5F, 0}));
}

TEST(Elementwise, AxpyMultipliesThenAdds) {
  for (const std::int64_t n : lengths) {
    const auto a = random_floats(n, 1);
    const auto b = random_floats(n, 2);
    const Tensor y = make({n}, a);
    ops::axpy(y, 0.1, make({n}, b));
    const auto result = values<float>(y);
    for (std::size_t i = 0; i < a.size(); ++i) {
      const float product = 0.1F * b[i];  // rounded: an FMA would differ
      ASSERT_EQ(result[i], a[i] + product);
    }
  }
}

TEST(Elementwise, AxpyOfATensorWithItself) {
  const Tensor y = make<float>({3}, {1, -2, 4});
  ops::axpy(y, 2, y);
  EXPECT_EQ(values<float>(y), (std::vector<float>{3, -6, 12}));
}

TEST(Elementwise, ReluAndItsGradient) {
  const Tensor x = make<float>({7}, {-1, 0, 2, infinity, -infinity, 1e-45F, -1e-45F});
  const Tensor y = ops::relu(x);
  EXPECT_EQ(values<float>(y), (std::vector<float>{0, 0, 2, infinity, 0, 1e-45F, 0}));
  EXPECT_TRUE(std::isnan(values<float>(ops::relu(make<float>({1}, {nan})))[0]));
  const Tensor dy = make<float>({7}, {1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(values<float>(ops::relu_backward(dy, y)), (std::vector<float>{0, 0, 3, 4, 0, 6, 0}));
  EXPECT_EQ(values<float>(ops::relu_backward(make<float>({1}, {1}), make<float>({1}, {nan})))[0], 0);
}

TEST(Elementwise, HardtanhAndItsGradient) {
  const float above = std::nextafter(1.0F, 2.0F);
  const float below = std::nextafter(1.0F, 0.0F);
  const Tensor x = make<float>({9}, {-infinity, -above, -1, -below, 0, below, 1, above, infinity});
  EXPECT_EQ(values<float>(ops::hardtanh(x)), (std::vector<float>{-1, -1, -1, -below, 0, below, 1, 1, 1}));
  const Tensor dy = make<float>({9}, {1, 2, 3, 4, 5, 6, 7, 8, nan});
  EXPECT_EQ(values<float>(ops::hardtanh_backward(dy, x)), (std::vector<float>{0, 0, 0, 4, 5, 6, 0, 0, 0}));
  const Tensor broken = make<float>({1}, {nan});
  EXPECT_TRUE(std::isnan(values<float>(ops::hardtanh(broken))[0]));
  EXPECT_EQ(values<float>(ops::hardtanh_backward(make<float>({1}, {1}), broken))[0], 0);
}

TEST(Elementwise, AddRoundsOnce) {
  const Tensor a = random_tensor({3, 5, 7, 11}, 6);
  const Tensor b = random_tensor({3, 5, 7, 11}, 7);
  const Tensor y = ops::add(a, b);
  ASSERT_EQ(y.shape(), a.shape());
  for (std::int64_t i = 0; i < a.count(); ++i) {
    const double sum = static_cast<double>(a.data<float>()[i]) + static_cast<double>(b.data<float>()[i]);
    ASSERT_EQ(y.data<float>()[i], static_cast<float>(sum));
  }
}

TEST(Elementwise, ResultsDoNotDependOnTheThreadCount) {
  const Tensor a = random_tensor({100003}, 3);
  const Tensor b = random_tensor({100003}, 4);
  expect_same_on_all_thread_counts([&] { return ops::relu(a); });
  expect_same_on_all_thread_counts([&] { return ops::relu_backward(a, b); });
  expect_same_on_all_thread_counts([&] { return ops::add(a, b); });
  expect_same_on_all_thread_counts([&] { return ops::hardtanh(a); });
  expect_same_on_all_thread_counts([&] { return ops::hardtanh_backward(a, b); });
  expect_same_on_all_thread_counts([&] {
    const Tensor y = a.clone();
    ops::axpy(y, 0.3, b);
    return y;
  });
}

TEST(Elementwise, WorksOnUnalignedSlices) {
  const Tensor x = random_tensor({101, 3}, 5);
  const auto part = values<float>(ops::relu(x.slice(1, 100)));
  const auto whole = values<float>(ops::relu(x));
  EXPECT_EQ(part, std::vector<float>(whole.begin() + 3, whole.begin() + 300));
}

TEST(Elementwise, RefusesWrongOperands) {
  const Tensor f = Tensor::zeros(DType::f32, {2, 3}, test::device());
  const Tensor i = Tensor::zeros(DType::i32, {2, 3}, test::device());
  expect_error(
      "ERR_HARDBIT_DTYPE", [&] { ops::u8_to_float(f); }, "u8ToFloat: x holds f32; expected u8.");
  expect_error(
      "ERR_HARDBIT_DTYPE", [&] { ops::int_to_float(f, 1); }, "expected i16 or i32");
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::int_to_float(i, nan); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::int_to_float(i, 1e39); }, "1e+39");
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        ops::axpy(f, 1, f.reshape({3, 2}));
      },
      "[3, 2]; expected [2, 3]");
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::axpy(f, 1, i); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::relu(i); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::relu_backward(f, f.reshape({6})); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::add(f, f.reshape({6})); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::add(i, i); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::hardtanh(i); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::hardtanh_backward(f, f.reshape({6})); });
}

}  // namespace
}  // namespace hardbit
