#include "ops/quantize.h"

#include <cmath>
#include <limits>

#include "bit_cases.h"
#include "cpu/quantize.h"
#include "guarded.h"
#include "ops/discretize.h"
#include "ops/random.h"
#include "ops/reference.h"
#include "support.h"

namespace hardbit {
namespace {

using test::awkward_tensor;
using test::expect_error;
using test::expect_same;
using test::expect_same_on_all_thread_counts;
using test::make;
using test::random_tensor;
using test::values;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

const std::vector<Shape> shapes = {{}, {0}, {1}, {3, 0}, {17}, {2, 3, 5, 65}, {3, 40009}};

TEST(SwishSignBackward, IsTheFormula) {
  for (const double beta : {0.5, 1.0, 5.0, 10.0}) {
    const Tensor x = random_tensor({4001}, 1, -4, 4);
    const Tensor dy = random_tensor({4001}, 2);
    const Tensor dx = ops::swish_sign_backward(dy, x, beta);
    for (std::int64_t i = 0; i < x.count(); ++i) {
      const auto z = beta * static_cast<double>(x.data<float>()[i]);
      const double slope = beta * (2 - z * std::tanh(z / 2)) / (1 + std::cosh(z));
      const double expected = static_cast<double>(dy.data<float>()[i]) * slope;
      ASSERT_NEAR(dx.data<float>()[i], expected, 1e-7 * std::abs(expected) + 1e-14) << z;
    }
  }
}

/// The derivative of 2σ(z)(1 + z(1 − σ(z))) − 1, z = βx, by finite differences in double.
TEST(SwishSignBackward, IsTheSlopeOfSignSwish) {
  const double beta = 5;
  const auto swish = [=](double x) {
    const double s = 1 / (1 + std::exp(-beta * x));
    return 2 * s * (1 + beta * x * (1 - s)) - 1;
  };
  const Tensor x = random_tensor({101}, 3, -2, 2);
  const Tensor dx = ops::swish_sign_backward(make({101}, std::vector<float>(101, 1)), x, beta);
  for (int i = 0; i < 101; ++i) {
    const auto v = static_cast<double>(x.data<float>()[i]);
    ASSERT_NEAR(dx.data<float>()[i], (swish(v + 1e-5) - swish(v - 1e-5)) / 2e-5, 1e-6);
  }
}

TEST(SwishSignBackward, VanishesFarAwayAndKeepsNan) {
  const Tensor x = make<float>({5}, {infinity, -infinity, 3e38F, -200, nan});
  const auto dx = values<float>(ops::swish_sign_backward(make<float>({5}, {1, 1, 1, 1, 1}), x, 5));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(dx[static_cast<std::size_t>(i)], 0) << i;
  EXPECT_TRUE(std::isnan(dx[4]));
}

TEST(Quantize, GradientsPassWhereTheyShould) {
  for (const Shape& shape : shapes) {
    const Tensor x = awkward_tensor(shape, 4);
    const Tensor dy = awkward_tensor(shape, 5);
    Tensor clipped = dy.clone();
    Tensor unit = dy.clone();
    for (std::int64_t i = 0; i < x.count(); ++i) {
      const float v = x.data<float>()[i];
      if (!(v >= -1 && v <= 1)) clipped.data<float>()[i] = 0;
      if (!(v >= 0 && v <= 1)) unit.data<float>()[i] = 0;
    }
    test::poison_cache();
    expect_same(ops::clipped_backward(dy, x), clipped, to_string(shape));
    expect_same(ops::unit_backward(dy, x), unit, to_string(shape));
  }
}

TEST(Quantize, CodesOfActivations) {
  for (const Shape& shape : shapes) {
    const Tensor x = awkward_tensor(shape, 6);
    Tensor step = Tensor::empty(DType::u8, shape, test::device());
    for (std::int64_t i = 0; i < x.count(); ++i)
      step.data<std::uint8_t>()[i] = x.data<float>()[i] > 0 ? 1 : 0;
    expect_same(ops::heaviside(x), step, to_string(shape));
    for (int bits = 1; bits <= 8; ++bits) {
      Tensor codes = Tensor::empty(DType::u8, shape, test::device());
      const auto levels = static_cast<float>((1 << bits) - 1);
      for (std::int64_t i = 0; i < x.count(); ++i) {
        const float v = x.data<float>()[i];
        const float clipped = v > 1 ? 1 : v > 0 ? v : 0;  // a NaN gives 0
        codes.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(std::floor(clipped * levels + 0.5F));
      }
      expect_same(ops::quantize_unit(x, bits), codes, to_string(shape));
    }
  }
}

template <class T>
void scales_every_channel(const Tensor& x, const Tensor& scales) {
  Tensor expected = Tensor::empty(DType::f32, x.shape(), test::device());
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const auto v = static_cast<float>(x.data<T>()[i]);
    expected.data<float>()[i] = v * scales.data<float>()[i % x.columns()];
  }
  test::poison_cache();
  expect_same(ops::scale_channels(x, scales), expected, to_string(x.shape()));
}

TEST(ScaleChannels, OfEveryType) {
  std::mt19937 random(7);
  for (const Shape& shape : std::vector<Shape>{{5}, {0, 3}, {7, 0}, {2, 3, 4, 17}, {301, 129}}) {
    const Tensor scales = random_tensor({shape.back()}, 8);
    scales_every_channel<float>(random_tensor(shape, 9), scales);
    Tensor i32 = Tensor::empty(DType::i32, shape, test::device());
    for (auto& v : i32.span<std::int32_t>()) v = static_cast<std::int32_t>(random());
    scales_every_channel<std::int32_t>(i32, scales);
    Tensor i16 = Tensor::empty(DType::i16, shape, test::device());
    for (auto& v : i16.span<std::int16_t>()) v = static_cast<std::int16_t>(random());
    scales_every_channel<std::int16_t>(i16, scales);
  }
}

TEST(CountDifferentSigns, CountsBitByBit) {
  for (const Shape& shape : std::vector<Shape>{{0}, {1}, {64}, {3, 65}, {2, 3, 4, 7}, {4099, 640}}) {
    const Tensor a = test::random_bits(shape, 10).to(test::device());
    const Tensor b = test::random_bits(shape, 11).to(test::device());
    std::int64_t expected = 0;
    for (std::int64_t r = 0; r < a.rows(); ++r)
      for (std::int64_t c = 0; c < a.columns(); ++c)
        expected += ops::reference::bit(a, r, c) != ops::reference::bit(b, r, c);
    EXPECT_EQ(ops::count_different_signs(a, b), expected) << to_string(shape);
    EXPECT_EQ(ops::count_different_signs(a, a.clone()), 0);
    const int before = threads();
    set_threads(7);
    EXPECT_EQ(ops::count_different_signs(a, b), expected);
    set_threads(before);
  }
}

TEST(Quantize, WritesNothingElse) {
  for (const std::size_t n : {0, 1, 7, 63, 129, 4099}) {
    const test::Guarded<float> x(test::awkward_floats(n, 12));
    const test::Guarded<float> dy(test::awkward_floats(n, 13));
    const test::Guarded<float> dx(n);
    const test::Guarded<std::uint8_t> codes(n);
    const auto count = static_cast<std::int64_t>(n);
    cpu::swish_sign_backward(dy.data(), x.data(), 5, dx.data(), count);
    cpu::clipped_backward(dy.data(), x.data(), dx.data(), count);
    cpu::unit_backward(dy.data(), x.data(), dx.data(), count);
    cpu::scale_channels(x.data(), dy.data(), dx.data(), 1, count);
    cpu::heaviside(x.data(), codes.data(), count);
    EXPECT_TRUE(dx.intact() && codes.intact());
  }
}

TEST(Quantize, ResultsDoNotDependOnTheThreadCount) {
  const Tensor x = awkward_tensor({301, 401}, 14);
  // No NaN here: which of two NaN a product keeps is the compiler's choice, vector by vector.
  const Tensor dy = ops::random_uniform({301, 401}, -2, 2, 1, 15, test::device());
  expect_same_on_all_thread_counts([&] { return ops::swish_sign_backward(dy, x, 5); });
  expect_same_on_all_thread_counts([&] { return ops::clipped_backward(dy, x); });
  expect_same_on_all_thread_counts([&] { return ops::heaviside(x); });
  expect_same_on_all_thread_counts([&] { return ops::quantize_unit(x, 3); });
  expect_same_on_all_thread_counts([&] { return ops::scale_channels(x, dy.slice(0, 1).reshape({401})); });
}

TEST(Quantize, RefusesWrongOperands) {
  const Tensor f = Tensor::zeros(DType::f32, {2, 3}, test::device());
  const Tensor other = Tensor::zeros(DType::f32, {3, 2}, test::device());
  const Tensor bits = Tensor::zeros(DType::bits, {2, 3}, test::device());
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::swish_sign_backward(other, f, 5); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::swish_sign_backward(f, f, 0); }, "beta is 0");
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::swish_sign_backward(f, f, std::nan("")); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::clipped_backward(other, f); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::unit_backward(f, bits); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::heaviside(bits); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::quantize_unit(f, 9); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::quantize_unit(bits, 2); });
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::scale_channels(f, Tensor::zeros(DType::f32, {2}, test::device())); },
      "scales");
  expect_error("ERR_HARDBIT_DTYPE",
               [&] { ops::scale_channels(bits, Tensor::zeros(DType::f32, {3}, test::device())); });
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    ops::scale_channels(Tensor::zeros(DType::f32, {}, test::device()),
                        Tensor::zeros(DType::f32, {1}, test::device()));
  });
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    ops::count_different_signs(bits, Tensor::zeros(DType::bits, {3, 2}, test::device()));
  });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::count_different_signs(bits, f); });
}

}  // namespace
}  // namespace hardbit
