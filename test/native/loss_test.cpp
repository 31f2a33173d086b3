#include "ops/loss.h"

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

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

/// −log softmax(z)_label in long double.
long double cross_entropy(const std::vector<long double>& z, std::size_t label) {
  long double most = z[0];
  for (const long double v : z) most = std::max(most, v);
  long double sum = 0;
  for (const long double v : z) sum += std::exp(v - most);
  return std::log(sum) + most - z[label];
}

std::vector<long double> row(const Tensor& x, std::int64_t i) {
  const auto all = values<float>(x.slice(i, i + 1));
  return {all.begin(), all.end()};
}

Tensor some_labels(std::int64_t n, std::int64_t c) {
  std::vector<std::int32_t> labels;
  for (std::int64_t i = 0; i < n; ++i) labels.push_back(static_cast<std::int32_t>(i * 7919 % c));
  return make({n}, labels);
}

TEST(SoftmaxCrossEntropy, LossAndFiniteDifferencesInLongDouble) {
  for (const auto& [n, c] : {std::array<std::int64_t, 2>{1, 1}, {0, 3}, {1, 2}, {7, 3}, {33, 10}, {5, 65}}) {
    SCOPED_TRACE(to_string({n, c}));
    const Tensor logits = random_tensor({n, c}, 1, -8, 8);
    const Tensor labels = some_labels(n, c);
    test::poison_cache();
    const auto out = ops::softmax_cross_entropy(logits, labels, 0.5);
    ASSERT_EQ(out.losses.shape(), (Shape{n}));
    ASSERT_EQ(out.gradient.shape(), (Shape{n, c}));
    for (std::int64_t i = 0; i < n; ++i) {
      const auto z = row(logits, i);
      const auto at = static_cast<std::size_t>(i);
      const auto label = static_cast<std::size_t>(values<std::int32_t>(labels)[at]);
      const auto loss = static_cast<double>(cross_entropy(z, label));
      ASSERT_NEAR(values<float>(out.losses)[at], loss, loss * 0x1p-23);
      const auto gradient = row(out.gradient, i);
      for (std::size_t j = 0; j < z.size(); ++j) {
        constexpr long double h = 1e-6L;
        auto above = z;
        auto below = z;
        above[j] += h;
        below[j] -= h;
        const auto slope =
            static_cast<double>(0.5L * (cross_entropy(above, label) - cross_entropy(below, label)) / (2 * h));
        ASSERT_NEAR(static_cast<double>(gradient[j]), slope, std::abs(slope) * 0x1p-22 + 1e-11);
      }
    }
  }
}

TEST(SoftmaxCrossEntropy, ConfidentRowsKeepTheirGradient) {
  // softmax of the label is 1 − e^−60: in fp32, and even in double, 1 − p would be 0.
  const auto out = ops::softmax_cross_entropy(make<float>({1, 2}, {60, 0}), make<std::int32_t>({1}, {0}), 1);
  const auto tiny = static_cast<float>(std::exp(-60.0));
  EXPECT_FLOAT_EQ(values<float>(out.losses)[0], tiny);
  EXPECT_FLOAT_EQ(values<float>(out.gradient)[0], -tiny);
  EXPECT_FLOAT_EQ(values<float>(out.gradient)[1], tiny);
}

TEST(SoftmaxCrossEntropy, LargeLogitsDoNotOverflow) {
  const auto out = ops::softmax_cross_entropy(make<float>({2, 2}, {3e38F, -3e38F, 1e5F, 2e5F}),
                                              make<std::int32_t>({2}, {0, 0}), 1);
  EXPECT_EQ(values<float>(out.losses), (std::vector<float>{0, 1e5F}));
  EXPECT_EQ(values<float>(out.gradient), (std::vector<float>{0, 0, -1, 1}));
}

TEST(SoftmaxCrossEntropy, LogitsThatAreNotFiniteShow) {
  const auto out = ops::softmax_cross_entropy(make<float>({3, 2}, {nan, 0, 0, nan, infinity, 0}),
                                              make<std::int32_t>({3}, {0, 0, 1}), 1);
  for (const float loss : values<float>(out.losses)) EXPECT_FALSE(std::isfinite(loss));
}

TEST(SoftmaxCrossEntropy, TheGradientOfAnExampleDoesNotDependOnTheBatch) {
  const Tensor logits = random_tensor({40, 10}, 4, -5, 5);
  const Tensor labels = some_labels(40, 10);
  const auto whole = ops::softmax_cross_entropy(logits, labels, 1);
  const auto part = ops::softmax_cross_entropy(logits.slice(13, 29), labels.slice(13, 29), 1);
  EXPECT_EQ(test::bytes(part.gradient), test::bytes(whole.gradient.slice(13, 29)));
}

TEST(SoftmaxCrossEntropy, ResultsDoNotDependOnTheThreadCount) {
  const std::int64_t rows = test::device() == Device::cpu ? 5003 : 503;
  const Tensor logits = random_tensor({rows, 11}, 5);
  const Tensor labels = some_labels(rows, 11);
  expect_same_on_all_thread_counts([&] { return ops::softmax_cross_entropy(logits, labels, 1).gradient; });
  expect_same_on_all_thread_counts([&] { return ops::softmax_cross_entropy(logits, labels, 1).losses; });
  expect_same_on_all_thread_counts([&] { return ops::argmax(logits); });
}

TEST(Argmax, FirstAmongEqualsAndNanNeverWins) {
  const Tensor logits =
      make<float>({7, 3}, {1,   3,   2,   5,   5,   4, nan, -1,  0,         nan,      -infinity,
                           nan, nan, nan, nan, nan, 7, 7,   nan, -infinity, -infinity});
  // Rows: [1 3 2] [5 5 4] [nan -1 0] [nan -inf nan] [nan nan nan] [nan 7 7] [nan -inf -inf]
  EXPECT_EQ(values<std::int32_t>(ops::argmax(logits)), (std::vector<std::int32_t>{1, 0, 2, 1, 0, 1, 1}));
  EXPECT_EQ(ops::argmax(Tensor::zeros(DType::f32, {0, 3}, test::device())).shape(), (Shape{0}));
}

TEST(Loss, RefusesWrongOperands) {
  const Tensor logits = Tensor::zeros(DType::f32, {2, 3}, test::device());
  // Read, because a GPU reports labels then.
  const auto loss = [&](const Tensor& labels) {
    bytes(ops::softmax_cross_entropy(logits, labels, 1).losses);
  };
  const bool on_cpu = test::device() == Device::cpu;
  expect_error(
      "ERR_HARDBIT_LABELS",
      [&] {
        loss(make<std::int32_t>({2}, {0, 3}));
      },
      on_cpu ? "row 1 is 3" : "[0, classes)");
  expect_error(
      "ERR_HARDBIT_LABELS",
      [&] {
        loss(make<std::int32_t>({2}, {-1, 0}));
      },
      on_cpu ? "[0, 3)" : "[0, classes)");
  expect_error("ERR_HARDBIT_SHAPE", [&] { loss(make<std::int32_t>({1}, {0})); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { loss(Tensor::zeros(DType::u8, {2}, test::device())); });
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        ops::argmax(Tensor::zeros(DType::f32, {2, 0}, test::device()));
      },
      "classes");
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::argmax(Tensor::zeros(DType::f32, {2}, test::device())); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::argmax(Tensor::zeros(DType::i32, {2, 3}, test::device())); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] {
    ops::softmax_cross_entropy(logits, Tensor::zeros(DType::i32, {2}, test::device()), nan);
  });
}

}  // namespace
}  // namespace hardbit
