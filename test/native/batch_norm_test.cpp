#include "ops/batch_norm.h"

#include <array>
#include <cmath>
#include <limits>

#include "support.h"

namespace hardbit {
namespace {

using test::bytes;
using test::expect_error;
using test::expect_same_on_all_thread_counts;
using test::make;
using test::random_tensor;
using test::values;

using Doubles = std::vector<double>;

/// z = scale·x in double.
template <class T>
Doubles widened(const Tensor& x, double scale) {
  Doubles z;
  for (const T v : values<T>(x)) z.push_back(static_cast<double>(v) * scale);
  return z;
}

/// Two-pass batch normalization of [n, c] in double.
struct Reference {
  std::size_t n, c;
  Doubles mean, variance, y;
  Reference(const Doubles& z, std::size_t channels, const Doubles& gamma, const Doubles& beta, double epsilon)
      : n(z.size() / channels), c(channels), mean(c), variance(c), y(z.size()) {
    for (std::size_t j = 0; j < c; ++j) {
      for (std::size_t i = 0; i < n; ++i) mean[j] += z[i * c + j] / static_cast<double>(n);
      for (std::size_t i = 0; i < n; ++i) {
        variance[j] += (z[i * c + j] - mean[j]) * (z[i * c + j] - mean[j]) / static_cast<double>(n);
      }
      for (std::size_t i = 0; i < n; ++i) {
        y[i * c + j] = (z[i * c + j] - mean[j]) / std::sqrt(variance[j] + epsilon) * gamma[j] + beta[j];
      }
    }
  }
};

template <class T>
Tensor random_integers(std::int64_t n, std::int64_t c, int most) {
  std::mt19937 random(3);
  std::vector<T> x(static_cast<std::size_t>(n * c));
  for (T& v : x) v = static_cast<T>(static_cast<int>(random() % static_cast<unsigned>(2 * most + 1)) - most);
  return make({n, c}, x);
}

template <class T>
Tensor sample(std::int64_t n, std::int64_t c, int most = sizeof(T) == 2 ? 784 : 200000) {
  if constexpr (std::is_same_v<T, float>) return random_tensor({n, c}, 1, -3, 5);
  return random_integers<T>(n, c, most);
}

template <class T>
double scale_of() {
  return std::is_same_v<T, float> ? 1 : 0.125;  // a power of two, so that z is exact in fp32
}

template <class T>
class BatchNorm : public testing::Test {};
using Elements = testing::Types<float, std::int16_t, std::int32_t>;
TYPED_TEST_SUITE(BatchNorm, Elements);

constexpr double epsilon = 1e-5;
const std::vector<std::array<std::int64_t, 2>> shapes = {{2, 1},  {2, 3},   {3, 0},    {7, 17},   {128, 10},
                                                         {5, 65}, {31, 64}, {2049, 3}, {4099, 5}, {33, 129}};

TYPED_TEST(BatchNorm, TrainingAgreesWithDouble) {
  const double scale = scale_of<TypeParam>();
  for (const auto& [n, c] : shapes) {
    SCOPED_TRACE(to_string({n, c}));
    const Tensor x = sample<TypeParam>(n, c);
    const Tensor gamma = random_tensor({c}, 2, -2, 2);
    const Tensor beta = random_tensor({c}, 3);
    const Tensor running_mean = random_tensor({c}, 4);
    const Tensor running_variance = random_tensor({c}, 5, 0, 2);
    const auto mean_before = values<float>(running_mean);
    const auto variance_before = values<float>(running_variance);
    test::poison_cache();
    const auto out =
        ops::batch_norm_train(x, scale, gamma, beta, running_mean, running_variance, 0.1, epsilon);
    ASSERT_EQ(out.y.shape(), (Shape{n, c}));
    if (c == 0) continue;
    const Reference expected(widened<TypeParam>(x, scale), static_cast<std::size_t>(c),
                             widened<float>(gamma, 1), widened<float>(beta, 1), epsilon);
    const auto channels = static_cast<std::size_t>(c);
    const auto mean = values<float>(out.mean);
    const auto inverse_deviation = values<float>(out.inverse_deviation);
    const auto moved_mean = values<float>(running_mean);
    const auto moved_variance = values<float>(running_variance);
    const auto y = values<float>(out.y);
    for (std::size_t j = 0; j < channels; ++j) {
      const double deviation = std::sqrt(expected.variance[j] + epsilon);
      ASSERT_NEAR(mean[j], expected.mean[j], std::abs(expected.mean[j]) * 1e-7 + deviation * 1e-10);
      ASSERT_NEAR(inverse_deviation[j] * deviation, 1, 1e-7);
      const double unbiased = expected.variance[j] * static_cast<double>(n) / static_cast<double>(n - 1);
      const double mean_after = 0.9 * static_cast<double>(mean_before[j]) + 0.1 * expected.mean[j];
      const double variance_after = 0.9 * static_cast<double>(variance_before[j]) + 0.1 * unbiased;
      ASSERT_NEAR(moved_mean[j], mean_after, std::abs(mean_after) * 1e-7 + 1e-12);
      ASSERT_NEAR(moved_variance[j], variance_after, variance_after * 1e-7);
    }
    for (std::size_t i = 0; i < expected.y.size(); ++i) {
      const double size = std::abs(expected.y[i]) + 4;  // the mean is rounded to fp32 before it is subtracted
      ASSERT_NEAR(y[i], expected.y[i], size * 1e-6) << i;
    }
  }
}

/// Σ r·y of the reference as a function of its inputs; the gradients of this are what backward computes.
double objective(const Doubles& z, std::size_t c, const Doubles& gamma, const Doubles& beta,
                 const Doubles& r) {
  const Reference reference(z, c, gamma, beta, epsilon);
  double sum = 0;
  for (std::size_t i = 0; i < r.size(); ++i) sum += r[i] * reference.y[i];
  return sum;
}

TYPED_TEST(BatchNorm, BackwardAgreesWithFiniteDifferences) {
  const double scale = scale_of<TypeParam>();
  for (const auto& [n, c] : {std::array<std::int64_t, 2>{2, 1}, {3, 2}, {7, 5}, {16, 17}}) {
    SCOPED_TRACE(to_string({n, c}));
    const auto channels = static_cast<std::size_t>(c);
    const Tensor x = sample<TypeParam>(n, c, 30);
    const Tensor gamma = random_tensor({c}, 2, -2, 2);
    const Tensor beta = random_tensor({c}, 3);
    const Tensor running = Tensor::zeros(DType::f32, {c}, test::device());
    const Tensor dy = random_tensor({n, c}, 6);
    const auto forward = ops::batch_norm_train(x, scale, gamma, beta, running, running.clone(), 0.1, epsilon);
    test::poison_cache();
    const auto gradients =
        ops::batch_norm_backward(dy, x, scale, gamma, forward.mean, forward.inverse_deviation);

    const Doubles z = widened<TypeParam>(x, scale);
    const Doubles g = widened<float>(gamma, 1);
    const Doubles b = widened<float>(beta, 1);
    const Doubles r = widened<float>(dy, 1);
    const double h = 1e-5;
    const auto slope = [&](Doubles point, std::size_t i, auto&& f) {
      point[i] += h;
      const double above = f(point);
      point[i] -= 2 * h;
      return (above - f(point)) / (2 * h);
    };
    const auto expect_gradient = [&](const Tensor& result, const Doubles& point, auto&& f) {
      const auto actual = values<float>(result);
      for (std::size_t i = 0; i < point.size(); ++i) {
        ASSERT_NEAR(actual[i], slope(point, i, f), 1e-5) << i;
      }
    };
    expect_gradient(gradients.dx, z, [&](const Doubles& p) { return objective(p, channels, g, b, r); });
    expect_gradient(gradients.dgamma, g, [&](const Doubles& p) { return objective(z, channels, p, b, r); });
    expect_gradient(gradients.dbeta, b, [&](const Doubles& p) { return objective(z, channels, g, p, r); });
  }
}

TYPED_TEST(BatchNorm, EvaluationIsTheOneFunctionBitForBit) {
  const double scale = std::is_same_v<TypeParam, float> ? 1 : 1.0 / 255;
  for (const auto& [n, c] : {std::array<std::int64_t, 2>{0, 3}, {1, 1}, {3, 0}, {7, 17}, {65, 129}}) {
    const Tensor operands[] = {sample<TypeParam>(n, c), random_tensor({c}, 2, -2, 2), random_tensor({c}, 3),
                               random_tensor({c}, 4), random_tensor({c}, 5, 0, 2)};
    test::poison_cache();
    const Tensor result =
        ops::batch_norm_eval(operands[0], scale, operands[1], operands[2], operands[3], operands[4], 1e-5);
    const Tensor y = test::host(result);
    const Tensor dx = test::host(ops::batch_norm_eval_backward(result, operands[1], operands[4], 1e-5));
    const Tensor x = test::host(operands[0]);
    const Tensor gamma = test::host(operands[1]);
    const Tensor beta = test::host(operands[2]);
    const Tensor mean = test::host(operands[3]);
    const Tensor variance = test::host(operands[4]);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < c; ++j) {
        const volatile float z =
            static_cast<float>(x.data<TypeParam>()[i * c + j]) * static_cast<float>(scale);
        const volatile float sum = variance.data<float>()[j] + 1e-5F;
        const volatile float factor = gamma.data<float>()[j] / std::sqrt(sum);
        const volatile float centered = z - mean.data<float>()[j];
        const volatile float product = centered * factor;
        const float expected = product + beta.data<float>()[j];
        ASSERT_EQ(y.data<float>()[i * c + j], expected);
        const float gradient = expected * factor;
        ASSERT_EQ(dx.data<float>()[i * c + j], gradient);
      }
    }
  }
}

TYPED_TEST(BatchNorm, ResultsDoNotDependOnTheThreadCount) {
  const double scale = scale_of<TypeParam>();
  const std::int64_t rows = test::device() == Device::cpu ? 10007 : 1501;
  const Tensor x = sample<TypeParam>(rows, 67);
  const Tensor gamma = random_tensor({67}, 2);
  const Tensor dy = random_tensor({rows, 67}, 3);
  const auto train = [&] {
    const Tensor running = Tensor::zeros(DType::f32, {67}, test::device());
    return ops::batch_norm_train(x, scale, gamma, gamma, running, running.clone(), 0.1, epsilon);
  };
  expect_same_on_all_thread_counts([&] { return train().y; });
  expect_same_on_all_thread_counts([&] { return train().inverse_deviation; });
  const auto saved = train();
  const auto backward = [&] {
    return ops::batch_norm_backward(dy, x, scale, gamma, saved.mean, saved.inverse_deviation);
  };
  expect_same_on_all_thread_counts([&] { return backward().dx; });
  expect_same_on_all_thread_counts([&] { return backward().dgamma; });
  expect_same_on_all_thread_counts([&] { return backward().dbeta; });
}

TYPED_TEST(BatchNorm, ImagesAreRowsOfChannels) {
  const double scale = scale_of<TypeParam>();
  const Shape shape = {3, 5, 7, 19};
  const Tensor flat = sample<TypeParam>(3 * 5 * 7, 19);
  const Tensor x = flat.reshape(shape);
  const Tensor gamma = random_tensor({19}, 2);
  const Tensor beta = random_tensor({19}, 3);
  const Tensor dy = random_tensor(shape, 4);
  const auto flattened = [&](const Tensor& t) {
    EXPECT_EQ(t.shape(), shape);
    return test::bytes(t);
  };
  const auto train = [&](const Tensor& t) {
    return ops::batch_norm_train(t, scale, gamma, beta, gamma.clone(), beta.clone(), 0.1, epsilon);
  };
  const auto trained = train(flat);
  const auto trained_images = train(x);
  EXPECT_EQ(flattened(trained_images.y), test::bytes(trained.y));
  EXPECT_EQ(test::bytes(trained_images.mean), test::bytes(trained.mean));
  EXPECT_EQ(test::bytes(trained_images.inverse_deviation), test::bytes(trained.inverse_deviation));
  const Tensor& mean = trained.mean;
  const Tensor& deviation = trained.inverse_deviation;
  const Tensor flat_dy = dy.reshape(flat.shape());
  const auto gradients = ops::batch_norm_backward(flat_dy, flat, scale, gamma, mean, deviation);
  const auto of_images = ops::batch_norm_backward(dy, x, scale, gamma, mean, deviation);
  EXPECT_EQ(flattened(of_images.dx), test::bytes(gradients.dx));
  EXPECT_EQ(test::bytes(of_images.dgamma), test::bytes(gradients.dgamma));
  EXPECT_EQ(test::bytes(of_images.dbeta), test::bytes(gradients.dbeta));
  EXPECT_EQ(flattened(ops::batch_norm_eval(x, scale, gamma, beta, mean, deviation, epsilon)),
            test::bytes(ops::batch_norm_eval(flat, scale, gamma, beta, mean, deviation, epsilon)));
  EXPECT_EQ(flattened(ops::batch_norm_eval_backward(dy, gamma, deviation, epsilon)),
            test::bytes(ops::batch_norm_eval_backward(flat_dy, gamma, deviation, epsilon)));
}

/// Statistics seen through running values with momentum 1.
std::pair<float, float> running_after(const Tensor& x, double scale) {
  const Tensor one = make<float>({1}, {1});
  const Tensor mean = Tensor::zeros(DType::f32, {1}, test::device());
  const Tensor variance = Tensor::zeros(DType::f32, {1}, test::device());
  ops::batch_norm_train(x, scale, one, one, mean, variance, 1, epsilon);
  return {values<float>(mean)[0], values<float>(variance)[0]};
}

TEST(BatchNormStatistics, LargeIntegersLoseNothing) {
  constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
  constexpr std::int32_t least = std::numeric_limits<std::int32_t>::min();
  EXPECT_EQ(running_after(make<std::int32_t>({3, 1}, {1000000000, 1000000001, 1000000002}), 1).second, 1.0F);
  EXPECT_EQ(running_after(make<std::int32_t>({3, 1}, {most, most - 1, most - 2}), 1).second, 1.0F);
  // Every square is 2^62: their sum passes 2^63 after two rows.
  EXPECT_EQ(running_after(make<std::int32_t>({5000, 1}, std::vector<std::int32_t>(5000, least)), 1).second,
            0.0F);
  std::vector<std::int32_t> ends(10000, least);
  for (std::size_t i = 0; i < ends.size(); i += 2) ends[i] = most;
  const auto [mean, variance] = running_after(make<std::int32_t>({10000, 1}, ends), 1);
  EXPECT_EQ(mean, -0.5F);
  EXPECT_EQ(variance, static_cast<float>(4294967295.0 * 4294967295.0 / 4 * (10000.0 / 9999)));
  EXPECT_EQ(running_after(make<std::int16_t>({3, 1}, {32767, 32766, 32765}), 2).second, 4.0F);
  EXPECT_EQ(
      running_after(make<std::int16_t>({100000, 1}, std::vector<std::int16_t>(100000, -32768)), 1).second,
      0.0F);
}

TEST(BatchNormStatistics, ALargeMeanDoesNotDrownTheVariance) {
  EXPECT_EQ(running_after(make<float>({3, 1}, {16777214, 16777215, 16777216}), 1).second, 1.0F);
  EXPECT_EQ(running_after(make<float>({4, 1}, {3e37F, 3e37F, 3e37F, 3e37F}), 1).second, 0.0F);
}

TEST(BatchNormStatistics, ANanStays) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(running_after(make<float>({3, 1}, {1, nan, 2}), 1).second));
}

TEST(BatchNormChecks, RefuseWrongOperands) {
  const Tensor x = Tensor::zeros(DType::f32, {4, 3}, test::device());
  const Tensor i = Tensor::zeros(DType::i16, {4, 3}, test::device());
  const Tensor c = Tensor::zeros(DType::f32, {3}, test::device());
  const Tensor bad = Tensor::zeros(DType::f32, {4}, test::device());
  const auto train = [&](const Tensor& t, double scale, double momentum, double eps) {
    ops::batch_norm_train(t, scale, c, c, c, c, momentum, eps);
  };
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { train(x.slice(0, 1), 1, 0.1, 1e-5); }, "x has 1 row;");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { train(x.slice(0, 0), 1, 0.1, 1e-5); }, "x has 0 rows;");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { train(x, 2, 0.1, 1e-5); }, "scale is 2; expected 1");
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { train(i, std::nan(""), 0.1, 1e-5); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { train(x, 1, 1.5, 1e-5); }, "momentum");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { train(x, 1, 0.1, -1); }, "epsilon");
  expect_error(
      "ERR_HARDBIT_DTYPE",
      [&] {
        train(Tensor::zeros(DType::u8, {4, 3}, test::device()), 1, 0.1, 1e-5);
      },
      "f32 or i16 or i32");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { train(x.reshape({12}), 1, 0.1, 1e-5); }, "rank 2 or more");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::batch_norm_eval_backward(c, c, c, 1e-5); }, "rank 2 or more");
  expect_error(
      "ERR_HARDBIT_ARGUMENT",
      [&] {
        train(x.slice(0, 1).reshape({1, 1, 1, 3}), 1, 0.1, 1e-5);
      },
      "x has 1 row;");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::batch_norm_train(x, 1, bad, c, c, c, 0.1, 1e-5); }, "gamma");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::batch_norm_train(x, 1, c, c, c, bad, 0.1, 1e-5); }, "runningVariance");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::batch_norm_backward(bad, x, 1, c, c, c); }, "dy");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::batch_norm_eval(x, 1, c, bad, c, c, 1e-5); }, "beta");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::batch_norm_eval_backward(x, bad, c, 1e-5); }, "gamma");
}

}  // namespace
}  // namespace hardbit
