#include "ops/optimizer.h"

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

const std::vector<std::int64_t> lengths = {0, 1, 3, 17, 1009, 8193};

double clamped(double x, double clip) { return clip > 0 ? std::min(std::max(x, -clip), clip) : x; }

/// Adam in double, written from the paper: m̂ = m/(1 − b1^t), v̂ = v/(1 − b2^t), w ← w − lr·m̂/(√v̂ + ε).
struct AdamReference {
  double w, m = 0, v = 0;
  void step(double g, const ops::AdamParameters& p) {
    w -= p.learning_rate * p.weight_decay * w;
    m = p.beta1 * m + (1 - p.beta1) * g;
    v = p.beta2 * v + (1 - p.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(p.beta1, static_cast<double>(p.step)));
    const double v_hat = v / (1 - std::pow(p.beta2, static_cast<double>(p.step)));
    w = clamped(w - p.learning_rate * m_hat / (std::sqrt(v_hat) + p.epsilon), p.clip);
  }
};

TEST(Adam, FollowsThePaperOverManySteps) {
  for (const double decay : {0.0, 0.01}) {
    for (const double clip : {0.0, 0.5}) {
      for (const std::int64_t n : lengths) {
        const auto start = random_floats(n, 1);
        const Tensor w = make({n}, start);
        const Tensor m = Tensor::zeros(DType::f32, {n}, test::device());
        const Tensor v = Tensor::zeros(DType::f32, {n}, test::device());
        std::vector<AdamReference> reference;
        for (const float x : start) reference.push_back({x});
        ops::AdamParameters p{.learning_rate = 0.01, .weight_decay = decay, .clip = clip};
        for (p.step = 1; p.step <= 20; ++p.step) {
          const auto g = random_floats(n, static_cast<std::uint32_t>(100 + p.step));
          ops::adam_step(w, make({n}, g), m, v, p);
          for (std::size_t i = 0; i < reference.size(); ++i) reference[i].step(g[i], p);
        }
        const auto ends = {values<float>(w), values<float>(m), values<float>(v)};
        for (std::size_t i = 0; i < reference.size(); ++i) {
          ASSERT_NEAR(ends.begin()[0][i], reference[i].w, 3e-6);
          ASSERT_NEAR(ends.begin()[1][i], reference[i].m, 1e-6);
          ASSERT_NEAR(ends.begin()[2][i], reference[i].v, 1e-7);
        }
      }
    }
  }
}

TEST(Adam, TheFirstStepIsTheLearningRateTowardsTheGradientsSign) {
  const Tensor w = make<float>({3}, {1, 1, 1});
  const Tensor zero = Tensor::zeros(DType::f32, {3}, test::device());
  ops::adam_step(w, make<float>({3}, {10, -0.5F, 0}), zero, zero.clone(),
                 {.learning_rate = 0.25, .epsilon = 0.0001});
  EXPECT_NEAR(values<float>(w)[0], 0.75, 1e-5);
  EXPECT_NEAR(values<float>(w)[1], 1.25, 1e-4);
  EXPECT_EQ(values<float>(w)[2], 1);
}

/// PyTorch's SGD in double.
struct SgdReference {
  double w, velocity = 0;
  void step(double g, const ops::SgdParameters& p) {
    g += p.weight_decay * w;
    velocity = p.momentum * velocity + g;
    w = clamped(w - p.learning_rate * (p.nesterov ? g + p.momentum * velocity : velocity), p.clip);
  }
};

TEST(Sgd, FollowsTheReferenceOverManySteps) {
  const std::vector<ops::SgdParameters> settings = {
      {.learning_rate = 0.1},
      {.learning_rate = 0.1, .weight_decay = 0.01},
      {.learning_rate = 0.1, .momentum = 0.9},
      {.learning_rate = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.01, .clip = 0.7}};
  for (const auto& p : settings) {
    for (const std::int64_t n : lengths) {
      const auto start = random_floats(n, 1);
      const Tensor w = make({n}, start);
      const Tensor velocity = Tensor::zeros(DType::f32, {n}, test::device());
      std::vector<SgdReference> reference;
      for (const float x : start) reference.push_back({x});
      for (std::uint32_t step = 0; step < 20; ++step) {
        const auto g = random_floats(n, 100 + step);
        ops::sgd_step(w, make({n}, g), p.momentum > 0 ? &velocity : nullptr, p);
        for (std::size_t i = 0; i < reference.size(); ++i) reference[i].step(g[i], p);
      }
      const auto end = values<float>(w);
      for (std::size_t i = 0; i < reference.size(); ++i) ASSERT_NEAR(end[i], reference[i].w, 2e-5);
    }
  }
}

TEST(Sgd, AVelocityWithoutMomentumChangesNothing) {
  const Tensor a = random_tensor({100}, 1);
  const Tensor b = a.clone();
  const Tensor velocity = Tensor::zeros(DType::f32, {100}, test::device());
  for (std::uint32_t step = 0; step < 3; ++step) {
    const Tensor g = random_tensor({100}, 10 + step);
    ops::sgd_step(a, g, nullptr, {});
    ops::sgd_step(b, g, &velocity, {});
  }
  EXPECT_EQ(test::bytes(a), test::bytes(b));
}

TEST(Bop, FollowsTheAlgorithmOverManySteps) {
  for (const std::int64_t n : lengths) {
    const ops::BopParameters p{.gamma = 0.25, .threshold = 0.125};  // exact in fp32
    std::vector<float> w = random_floats(n, 1);
    for (float& x : w) x = x < 0 ? -1.0F : 1.0F;
    std::vector<float> average(w.size());
    const Tensor weights = make({n}, w);
    const Tensor m = Tensor::zeros(DType::f32, {n}, test::device());
    std::int64_t all = 0;
    for (std::uint32_t step = 0; step < 20; ++step) {
      const auto g = random_floats(n, 100 + step);
      for (std::size_t i = 0; i < w.size(); ++i) {
        const float kept = 0.75F * average[i];
        const float newest = 0.25F * g[i];
        average[i] = kept + newest;
        if (w[i] * average[i] > 0.125F) {
          w[i] = -w[i];
          ++all;
        }
      }
      ops::bop_step(weights, make({n}, g), m, p);
      ASSERT_EQ(values<float>(weights), w);
      ASSERT_EQ(values<float>(m), average);
    }
    EXPECT_GE(all, n / 4);
  }
}

TEST(Bop, FlipsAboveTheThresholdOnly) {
  const Tensor w = make<float>({4}, {1, -1, 1, -1});
  const Tensor m = Tensor::zeros(DType::f32, {4}, test::device());
  ops::bop_step(w, make<float>({4}, {0.5F, -0.625F, -9, 9}), m, {.gamma = 1, .threshold = 0.5});
  EXPECT_EQ(values<float>(w), (std::vector<float>{1, 1, 1, -1}));
  EXPECT_EQ(values<float>(m), (std::vector<float>{0.5F, -0.625F, -9, 9}));
  // The other three are at the threshold or point the other way.
  ops::bop_step(w, Tensor::zeros(DType::f32, {4}, test::device()), m, {.gamma = 0, .threshold = 0.5});
  EXPECT_EQ(values<float>(w), (std::vector<float>{1, 1, 1, -1}));
}

TEST(AverageStep, IsTheMovingAverageInDouble) {
  for (const double decay : {0.0, 0.5, 0.9999, 1.0}) {
    for (const std::int64_t n : lengths) {
      const auto a = random_floats(n, 1);
      const auto v = random_floats(n, 2);
      const Tensor average = make({n}, a);
      ops::average_step(average, make({n}, v), decay);
      const auto moved = values<float>(average);
      for (std::size_t i = 0; i < a.size(); ++i) {
        ASSERT_EQ(moved[i], static_cast<float>(decay * static_cast<double>(a[i]) +
                                               (1 - decay) * static_cast<double>(v[i])));
      }
    }
  }
}

TEST(Optimizers, ClipKeepsLatentWeightsInside) {
  const Tensor w = make<float>({3}, {0.9F, -0.9F, 0});
  ops::sgd_step(w, make<float>({3}, {-5, 5, 0}), nullptr, {.learning_rate = 1, .clip = 1});
  EXPECT_EQ(values<float>(w), (std::vector<float>{1, -1, 0}));
}

TEST(Optimizers, ResultsDoNotDependOnTheThreadCount) {
  const Tensor start = random_tensor({100003}, 1);
  const Tensor g = random_tensor({100003}, 2);
  expect_same_on_all_thread_counts([&] {
    const Tensor w = start.clone();
    ops::adam_step(w, g, g.clone(), Tensor::zeros(DType::f32, {100003}, test::device()), {});
    return w;
  });
  expect_same_on_all_thread_counts([&] {
    const Tensor w = start.clone();
    const Tensor velocity = g.clone();
    ops::sgd_step(w, g, &velocity, {.momentum = 0.9});
    return w;
  });
  expect_same_on_all_thread_counts([&] {
    const Tensor w = start.clone();
    ops::bop_step(w, g, g.clone(), {.gamma = 0.1, .threshold = 0.1});
    ops::average_step(w, g, 0.9);
    return w;
  });
}

TEST(Optimizers, RefuseWrongArguments) {
  const Tensor w = Tensor::zeros(DType::f32, {3}, test::device());
  const Tensor bad = Tensor::zeros(DType::f32, {4}, test::device());
  const auto adam = [&](const ops::AdamParameters& p) { ops::adam_step(w, w, w, w, p); };
  const auto sgd = [&](const ops::SgdParameters& p) { ops::sgd_step(w, w, &w, p); };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::adam_step(w, bad, w, w, {}); }, "gradient");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::adam_step(w, w, w, bad, {}); }, "v has shape");
  expect_error("ERR_HARDBIT_DTYPE",
               [&] { ops::adam_step(w, w, Tensor::zeros(DType::i32, {3}, test::device()), w, {}); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { adam({.step = 0}); }, "step is 0");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { adam({.beta1 = 1}); }, "beta1");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { adam({.beta2 = -0.1}); }, "beta2");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { adam({.learning_rate = nan}); }, "learningRate");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { adam({.weight_decay = -1}); }, "weightDecay");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { adam({.clip = -1}); }, "clip");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { sgd({.momentum = 1}); }, "momentum");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { sgd({.nesterov = true}); }, "nesterov");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::sgd_step(w, w, nullptr, {.momentum = 0.9}); }, "velocity is null");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::sgd_step(w, w, &bad, {}); }, "velocity");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::bop_step(w, bad, w, {}); }, "gradient");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::bop_step(w, w, bad, {}); }, "m has shape");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::bop_step(w, w, w, {.gamma = 1.5}); }, "gamma");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::bop_step(w, w, w, {.threshold = -1}); }, "threshold");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::average_step(w, bad, 0.5); }, "value");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::average_step(w, w, 1.5); }, "decay");
}

}  // namespace
}  // namespace hardbit
