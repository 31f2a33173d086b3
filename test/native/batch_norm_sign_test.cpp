#include <array>
#include <optional>

#include "ops/batch_norm.h"
#include "ops/bits.h"
#include "ops/quantize.h"
#include "ops/sign.h"
#include "support.h"

// Batch norm and sign at once against the one after the other, whose own tests compare with double
// arithmetic.

namespace hardbit {
namespace {

using ops::SignSurrogate;
using test::bytes;
using test::expect_error;
using test::random_tensor;

constexpr double epsilon = 1e-5;
constexpr SignSurrogate surrogates[] = {SignSurrogate::clipped, SignSurrogate::identity,
                                        SignSurrogate::approx, SignSurrogate::swish};

template <class T>
Tensor sample(const Shape& shape) {
  if constexpr (std::is_same_v<T, float>) return random_tensor(shape, 1, -3, 5);
  std::mt19937 random(3);
  const unsigned most = sizeof(T) == 2 ? 300 : 200000;
  std::vector<T> x(static_cast<std::size_t>(element_count(shape)));
  for (T& v : x) v = static_cast<T>(static_cast<int>(random() % (2 * most + 1)) - static_cast<int>(most));
  return test::make(shape, x);
}

template <class T>
double scale_of() {
  return std::is_same_v<T, float> ? 1 : 1.0 / 3;
}

/// What the surrogate makes of the signs' gradient, where y is at hand.
Tensor through_sign(const Tensor& dy, const Tensor& y, SignSurrogate surrogate) {
  switch (surrogate) {
    case SignSurrogate::clipped:
      return ops::mask_backward(dy, ops::sign_forward(y).mask);
    case SignSurrogate::identity:
      return dy;
    case SignSurrogate::approx:
      return ops::approx_sign_backward(dy, y);
    case SignSurrogate::swish:
      return ops::swish_sign_backward(dy, y, 5);
  }
  return {};
}

bool reads_y(SignSurrogate surrogate) {
  return surrogate == SignSurrogate::approx || surrogate == SignSurrogate::swish;
}

void expect_signs(const ops::BatchNormSigns& fused, const Tensor& y, bool with_mask) {
  const ops::SignForward expected = ops::sign_forward(y);
  ASSERT_EQ(fused.signs.shape(), y.shape());
  EXPECT_EQ(bytes(fused.signs), bytes(expected.signs));
  ASSERT_EQ(fused.mask.has_value(), with_mask);
  if (with_mask) {
    EXPECT_EQ(bytes(*fused.mask), bytes(expected.mask));
  }
}

template <class T>
class BatchNormSign : public testing::Test {};
using Elements = testing::Types<float, std::int16_t, std::int32_t>;
TYPED_TEST_SUITE(BatchNormSign, Elements);

const std::vector<Shape> shapes = {{2, 1},    {3, 0},    {7, 17},
                                   {128, 10}, {5, 65},   {31, 64},
                                   {33, 63},  {2049, 3}, {test::device() == Device::cpu ? 4099 : 259, 130},
                                   {3, 1089}, {9, 2048}, {2, 3, 5, 67}};

TYPED_TEST(BatchNormSign, InTrainingEqualsTheTwoOperatorsBitForBit) {
  const double scale = scale_of<TypeParam>();
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(to_string(shape));
    const std::int64_t c = shape.back();
    const Tensor x = sample<TypeParam>(shape);
    const Tensor gamma = random_tensor({c}, 2, -2, 2);
    const Tensor beta = random_tensor({c}, 3);
    const Tensor dy = random_tensor(shape, 4);
    const Tensor running[] = {random_tensor({c}, 5), random_tensor({c}, 6, 0, 2)};
    const Tensor moved[] = {running[0].clone(), running[1].clone()};
    const auto pair = ops::batch_norm_train(x, scale, gamma, beta, running[0], running[1], 0.1, epsilon);
    for (const bool with_mask : {false, true}) {
      const Tensor again[] = {moved[0].clone(), moved[1].clone()};
      test::poison_cache();
      const auto fused =
          ops::batch_norm_sign_train(x, scale, gamma, beta, again[0], again[1], 0.1, epsilon, with_mask);
      expect_signs(fused.y, pair.y, with_mask);
      EXPECT_EQ(bytes(fused.mean), bytes(pair.mean));
      EXPECT_EQ(bytes(fused.inverse_deviation), bytes(pair.inverse_deviation));
      for (const int i : {0, 1}) EXPECT_EQ(bytes(again[i]), bytes(running[i]));
    }
    const Tensor mask = ops::sign_forward(pair.y).mask;
    for (const SignSurrogate surrogate : surrogates) {
      SCOPED_TRACE(static_cast<int>(surrogate));
      const auto expected = ops::batch_norm_backward(through_sign(dy, pair.y, surrogate), x, scale, gamma,
                                                     pair.mean, pair.inverse_deviation);
      test::poison_cache();
      const auto fused =
          ops::batch_norm_sign_backward(dy, x, scale, gamma, beta, pair.mean, pair.inverse_deviation,
                                        surrogate, surrogate == SignSurrogate::clipped ? &mask : nullptr);
      EXPECT_EQ(bytes(fused.dx), bytes(expected.dx));
      EXPECT_EQ(bytes(fused.dgamma), bytes(expected.dgamma));
      EXPECT_EQ(bytes(fused.dbeta), bytes(expected.dbeta));
    }
  }
}

TYPED_TEST(BatchNormSign, InEvaluationEqualsTheTwoOperatorsBitForBit) {
  const double scale = scale_of<TypeParam>();
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(to_string(shape));
    const std::int64_t c = shape.back();
    const Tensor x = sample<TypeParam>(shape);
    const Tensor gamma = random_tensor({c}, 2, -2, 2);
    const Tensor beta = random_tensor({c}, 3);
    const Tensor mean = random_tensor({c}, 4);
    const Tensor variance = random_tensor({c}, 5, 0, 2);
    const Tensor dy = random_tensor(shape, 6);
    const Tensor y = ops::batch_norm_eval(x, scale, gamma, beta, mean, variance, epsilon);
    for (const bool with_mask : {false, true}) {
      test::poison_cache();
      expect_signs(ops::batch_norm_sign_eval(x, scale, gamma, beta, mean, variance, epsilon, with_mask), y,
                   with_mask);
    }
    const Tensor mask = ops::sign_forward(y).mask;
    for (const SignSurrogate surrogate : surrogates) {
      SCOPED_TRACE(static_cast<int>(surrogate));
      test::poison_cache();
      const Tensor fused = ops::batch_norm_sign_eval_backward(
          dy, reads_y(surrogate) ? &x : nullptr, scale, gamma, beta, mean, variance, epsilon, surrogate,
          surrogate == SignSurrogate::clipped ? &mask : nullptr);
      EXPECT_EQ(bytes(fused), bytes(ops::batch_norm_eval_backward(through_sign(dy, y, surrogate), gamma,
                                                                  variance, epsilon)));
    }
  }
}

TYPED_TEST(BatchNormSign, ResultsDoNotDependOnTheThreadCount) {
  const double scale = scale_of<TypeParam>();
  const Shape shape = {test::device() == Device::cpu ? 10007 : 1501, 67};
  const Tensor x = sample<TypeParam>(shape);
  const Tensor gamma = random_tensor({67}, 2);
  const Tensor dy = random_tensor(shape, 3);
  const auto train = [&] {
    const Tensor running = Tensor::zeros(DType::f32, {67}, test::device());
    return ops::batch_norm_sign_train(x, scale, gamma, gamma, running, running.clone(), 0.1, epsilon, true);
  };
  test::expect_same_on_all_thread_counts([&] { return train().y.signs; });
  test::expect_same_on_all_thread_counts([&] { return *train().y.mask; });
  const auto saved = train();
  for (const SignSurrogate surrogate : surrogates) {
    const auto backward = [&] {
      return ops::batch_norm_sign_backward(dy, x, scale, gamma, gamma, saved.mean, saved.inverse_deviation,
                                           surrogate,
                                           surrogate == SignSurrogate::clipped ? &*saved.y.mask : nullptr);
    };
    test::expect_same_on_all_thread_counts([&] { return backward().dx; });
    test::expect_same_on_all_thread_counts([&] { return backward().dgamma; });
  }
}

TEST(BatchNormSignErrors, NameTheOperandThatDoesNotFit) {
  const Tensor x = random_tensor({4, 3}, 1);
  const Tensor c = random_tensor({3}, 2);
  const Tensor mask = Tensor::zeros(DType::bits, {4, 3}, test::device());
  const Tensor wrong = Tensor::zeros(DType::bits, {4, 2}, test::device());
  const auto backward = [&](const Tensor& dy, SignSurrogate surrogate, const Tensor* bits) {
    ops::batch_norm_sign_backward(dy, x, 1, c, c, c, c, surrogate, bits);
  };
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { backward(x, SignSurrogate::clipped, nullptr); }, "no mask");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { backward(x, SignSurrogate::identity, &mask); }, "a mask");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { backward(x, SignSurrogate::clipped, &wrong); }, "mask");
  expect_error(
      "ERR_HARDBIT_DTYPE", [&] { backward(x, SignSurrogate::clipped, &x); }, "mask");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { backward(c, SignSurrogate::identity, nullptr); }, "dy");
  const auto evaluated = [&](const Tensor* z, SignSurrogate surrogate) {
    ops::batch_norm_sign_eval_backward(x, z, 1, c, c, c, c, epsilon, surrogate, nullptr);
  };
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { evaluated(nullptr, SignSurrogate::approx); }, "x is missing");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { evaluated(&x, SignSurrogate::identity); }, "an x");
  expect_error("ERR_HARDBIT_SHAPE", [&] { evaluated(&c, SignSurrogate::swish); });
  if (test::device() == Device::cuda) {
    const Tensor elsewhere = Tensor::zeros(DType::bits, {4, 3});
    expect_error(
        "ERR_HARDBIT_ARGUMENT", [&] { backward(x, SignSurrogate::clipped, &elsewhere); }, "devices");
    const Tensor z = test::host(x);
    expect_error(
        "ERR_HARDBIT_ARGUMENT", [&] { evaluated(&z, SignSurrogate::swish); }, "devices");
  }
  const auto train = [&](const Tensor& z) {
    ops::batch_norm_sign_train(z, 1, c, c, c.clone(), c.clone(), 0.1, epsilon, true);
  };
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { train(x.slice(0, 1)); }, "2 or more");
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        train(random_tensor({4, 2}, 1));
      },
      "gamma");
  expect_error(
      "ERR_HARDBIT_DTYPE", [&] { train(mask); }, "x holds bits");
}

}  // namespace
}  // namespace hardbit
