#include "ops/fold.h"

#include <cmath>
#include <limits>

#include "ops/batch_norm.h"
#include "support.h"

namespace hardbit {
namespace {

using test::expect_error;

/// Folding runs on the cpu alone.
Tensor make(Shape shape, const std::vector<float>& values) {
  return Tensor::from_host(DType::f32, std::move(shape), values.data());
}
Tensor random_tensor(Shape shape, std::uint32_t seed, float low = -1, float high = 1) {
  return test::random_tensor(std::move(shape), seed, low, high).to(Device::cpu);
}

struct Channel {
  float scale, gamma, beta, mean, variance;
};

Tensor column(const std::vector<Channel>& channels, float Channel::*member) {
  std::vector<float> values;
  for (const Channel& channel : channels) values.push_back(channel.*member);
  return make({static_cast<std::int64_t>(values.size())}, values);
}

ops::FoldedSigns fold(std::int64_t magnitude, const std::vector<Channel>& channels, double epsilon) {
  return ops::fold_signs(magnitude, column(channels, &Channel::scale), column(channels, &Channel::gamma),
                         column(channels, &Channel::beta), column(channels, &Channel::mean),
                         column(channels, &Channel::variance), epsilon);
}

bool sign(const Channel& c, std::int64_t n, float epsilon) {
  return ops::batch_norm_value(static_cast<float>(n) * c.scale, c.mean,
                               ops::batch_norm_factor(c.gamma, c.variance, epsilon), c.beta) >= 0;
}

/// Every integer of the range where there are few, else a stride through it and the neighbours of the
/// threshold.
void expect_folded(std::int64_t magnitude, const std::vector<Channel>& channels, double epsilon = 1e-5) {
  const ops::FoldedSigns folded = fold(magnitude, channels, epsilon);
  ASSERT_EQ(folded.direction.count(), static_cast<std::int64_t>(channels.size()));
  for (std::size_t c = 0; c < channels.size(); ++c) {
    const Channel& channel = channels[c];
    const std::int64_t direction = folded.direction.data<std::int32_t>()[c];
    const std::int64_t minimum = folded.minimum.data<std::int32_t>()[c];
    SCOPED_TRACE(testing::Message() << "scale " << channel.scale << " gamma " << channel.gamma << " beta "
                                    << channel.beta << " mean " << channel.mean << " variance "
                                    << channel.variance << " direction " << direction << " minimum "
                                    << minimum);
    const auto agrees = [&](std::int64_t n) {
      ASSERT_EQ(direction * n >= minimum, sign(channel, n, static_cast<float>(epsilon))) << n;
    };
    if (direction == 0) {
      ASSERT_TRUE(minimum == 0 || minimum == 1);
    }
    const std::int64_t step = magnitude <= 5000 ? 1 : magnitude / 997;
    for (std::int64_t n = -magnitude; n <= magnitude; n += step) agrees(n);
    agrees(magnitude);
    for (std::int64_t n = direction * minimum - 40; n <= direction * minimum + 40; ++n) {
      if (std::abs(n) <= magnitude) agrees(n);
    }
  }
}

TEST(Fold, EveryIntegerAgreesWithTheUnfoldedFunction) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> uniform(0, 1);
  for (const std::int64_t magnitude : {0, 1, 2, 27, 784, 784 * 3, 25 * 255}) {
    const auto range = static_cast<float>(magnitude);
    for (const float scale : {1.0F, 1 / 3.0F, 1 / 255.0F, 0.0371F}) {
      std::vector<Channel> channels;
      for (int i = 0; i < 40; ++i) {
        channels.push_back({scale, normal(random), normal(random), range * scale * normal(random) / 2,
                            range * scale * uniform(random)});
        // A threshold inside the range, whatever the rest: beta 0 puts it at the mean.
        channels.push_back(
            {scale, normal(random), 0, range * scale * (2 * uniform(random) - 1), uniform(random)});
      }
      expect_folded(magnitude, channels);
    }
  }
}

TEST(Fold, ExtremeNumbersAgreeToo) {
  constexpr float largest = std::numeric_limits<float>::max();
  constexpr float smallest = std::numeric_limits<float>::denorm_min();
  std::vector<Channel> channels;
  for (const float scale : {1.0F, 1e-30F, smallest, 1e30F, 0.0F}) {
    for (const float gamma : {1.0F, -1.0F, 0.0F, -0.0F, 1e-38F, -1e30F, smallest}) {
      for (const float beta : {0.0F, -0.0F, 3.0F, -1e30F, largest, smallest}) {
        for (const float mean : {0.0F, -0.0F, 17.0F, -1e-30F, 1e20F}) {
          channels.push_back({scale, gamma, beta, mean, 0.0F});
          channels.push_back({scale, gamma, beta, mean, 1e30F});
        }
      }
    }
  }
  expect_folded(2000, channels);
}

TEST(Fold, IntegersThatFp32CannotHoldAgree) {
  // Behind 2^24 neighbouring integers become one float; thresholds at ties of the rounding.
  std::vector<Channel> channels;
  for (const float at : {16777216.0F, 16777218.0F, 33554436.0F, 1e9F}) {
    channels.push_back({1, 1, 0, at, 1});
    channels.push_back({1, -1, 0, -at, 1});
  }
  expect_folded(std::numeric_limits<std::int32_t>::max(), channels);
}

TEST(Fold, ThresholdIsTheLeastInteger) {
  // z − 5 ≥ 0; −(z − 5) ≥ 0; and the same by thirds.
  const auto folded = fold(100, {{1, 1, 0, 5, 1}, {1, -1, 0, 5, 1}, {1 / 3.0F, 2, 0, 5, 4}}, 0);
  EXPECT_EQ(test::values<std::int32_t>(folded.direction), (std::vector<std::int32_t>{1, -1, 1}));
  EXPECT_EQ(test::values<std::int32_t>(folded.minimum), (std::vector<std::int32_t>{5, -5, 15}));
}

TEST(Fold, ConstantsHaveNoDirection) {
  // Factor 0 by beta's sign, sign(0) = +1; a threshold outside the range.
  const auto folded = fold(
      10, {{1, 0, 1, 0, 1}, {1, 0, -1, 0, 1}, {1, 0, 0, 3, 1}, {1, 1, 0, 11, 1}, {1, 1, 0, -10, 1}}, 1e-5);
  EXPECT_EQ(test::values<std::int32_t>(folded.direction), (std::vector<std::int32_t>{0, 0, 0, 0, 0}));
  EXPECT_EQ(test::values<std::int32_t>(folded.minimum), (std::vector<std::int32_t>{0, 1, 0, 1, 0}));
}

TEST(Fold, RefusesWhatIsNoNumber) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const Channel good{1, 1, 0, 0, 1};
  for (const float bad : {nan, infinity, -infinity}) {
    for (float Channel::*const member : {&Channel::scale, &Channel::gamma, &Channel::beta, &Channel::mean}) {
      Channel channel = good;
      channel.*member = bad;
      expect_error(
          "ERR_HARDBIT_ARGUMENT",
          [&] {
            fold(10, {good, channel}, 1e-5);
          },
          "channel 1");
    }
  }
  expect_error(
      "ERR_HARDBIT_ARGUMENT",
      [&] {
        fold(10, {{1, 1, 0, 0, -1}}, 1e-5);
      },
      "channel 0");
  expect_error(
      "ERR_HARDBIT_ARGUMENT",
      [&] {
        fold(10, {{1, 1, 0, 0, 0}}, 0);
      },
      "inf");
  // (∞ − mean)·0
  expect_error(
      "ERR_HARDBIT_ARGUMENT",
      [&] {
        fold(1000, {{3e38F, 0, 0, 0, 1}}, 1e-5);
      },
      "no number");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { fold(-1, {good}, 1e-5); }, "magnitude");
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    ops::fold_signs(1, random_tensor({2}, 1), random_tensor({3}, 1), random_tensor({2}, 1),
                    random_tensor({2}, 1), random_tensor({2}, 1, 1, 2), 0);
  });
}

TEST(Fold, RefusesTensorsOfAGpu) {
  if (test::device() == Device::cpu) GTEST_SKIP() << "these are on the cpu";
  const Tensor x = test::random_tensor({3}, 1, 1, 2);
  expect_error("ERR_HARDBIT_UNSUPPORTED", [&] { ops::batch_norm_factors(x, x, 1e-5); });
  expect_error("ERR_HARDBIT_UNSUPPORTED", [&] { ops::fold_signs(1, x, x, x, x, x, 1e-5); });
}

TEST(Fold, FactorsAreThoseOfEvaluation) {
  const Tensor gamma = random_tensor({33}, 1, -2, 2);
  const Tensor variance = random_tensor({33}, 2, 0, 3);
  const Tensor factors = ops::batch_norm_factors(gamma, variance, 1e-5);
  for (std::int64_t c = 0; c < 33; ++c) {
    EXPECT_EQ(factors.data<float>()[c],
              ops::batch_norm_factor(gamma.data<float>()[c], variance.data<float>()[c], 1e-5F));
  }
  EXPECT_EQ(ops::batch_norm_factors(make({0}, {}), make({0}, {}), 1).count(), 0);
}

}  // namespace
}  // namespace hardbit
