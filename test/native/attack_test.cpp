#include "ops/attack.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/ball.h"
#include "ops/discretize.h"
#include "runtime/random.h"
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

TEST(Ball, IsCutToTheUnitInterval) {
  EXPECT_EQ(ball_low(0.05F, 0.1F), 0.0F);
  EXPECT_EQ(ball_high(0.05F, 0.1F), 0.05F + 0.1F);
  EXPECT_EQ(ball_high(0.95F, 0.1F), 1.0F);
  EXPECT_EQ(ball_low(0, 0), 0.0F);
  EXPECT_EQ(ball_high(1, 0), 1.0F);
}

TEST(AttackStep, MovesBySignAndProjects) {
  const Tensor x = make<float>({8}, {0.5F, 0.5F, 0.5F, 0.5F, 0.58F, 0.42F, 0, 1});
  const Tensor g = make<float>({8}, {3, -1e-45F, -0.0F, nan, infinity, -infinity, -1, 1});
  const Tensor origin = make<float>({8}, {0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0, 1});
  const auto y = values<float>(ops::attack_step(x, g, origin, 0.05, 0.1));
  EXPECT_EQ(y, (std::vector<float>{0.5F + 0.05F, 0.5F - 0.05F, 0.5F, 0.5F, 0.5F + 0.1F, 0.5F - 0.1F, 0, 1}));
  const auto down = values<float>(ops::attack_step(x, g, origin, -0.05, 0.1));
  EXPECT_EQ(down[0], 0.5F - 0.05F);
  EXPECT_EQ(down[1], 0.5F + 0.05F);
}

TEST(AttackStep, AgreesWithALoopAndStaysInsideTheBall) {
  for (const std::int64_t n : {0, 1, 3, 785, 40009}) {
    const Tensor x = random_tensor({n}, 1, 0, 1);
    const Tensor g = random_tensor({n}, 2);
    const Tensor origin = random_tensor({n}, 3, 0, 1);
    test::poison_cache();
    const auto y = values<float>(ops::attack_step(x, g, origin, 0.02, 0.3));
    const auto from = values<float>(x);
    const auto slope = values<float>(g);
    const auto center = values<float>(origin);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const float moved = from[i] + (slope[i] > 0 ? 0.02F : -0.02F);
      const float low = std::max(0.0F, center[i] - 0.3F);
      const float high = std::min(1.0F, center[i] + 0.3F);
      ASSERT_EQ(y[i], std::clamp(moved, low, high));
    }
    EXPECT_EQ(ops::perturbation(make({n}, y), origin, 0.3).outside, 0);
  }
}

/// Both starts as functions of (origin, first row).
using Start = Tensor (*)(const Tensor&, std::uint64_t, std::uint64_t, std::uint64_t);
Tensor uniform_start(const Tensor& x, std::uint64_t seed, std::uint64_t stream, std::uint64_t row) {
  return ops::attack_uniform_start(x, 0.1, 0.1, seed, stream, row);
}
Tensor sign_start(const Tensor& x, std::uint64_t seed, std::uint64_t stream, std::uint64_t row) {
  return ops::attack_sign_start(x, 0.05, 0.1, seed, stream, row);
}

class AttackStart : public testing::TestWithParam<Start> {};
INSTANTIATE_TEST_SUITE_P(Both, AttackStart, testing::Values(uniform_start, sign_start));

TEST_P(AttackStart, BatchingChangesNothing) {
  for (const std::int64_t columns : {1, 3, 4, 127, 128, 129, 785}) {
    const Tensor x = random_tensor({9, 1, columns}, 1, 0, 1);
    const auto whole = bytes(GetParam()(x, 7, 2, 100));
    std::vector<unsigned char> pieces;
    for (const auto& [begin, end] : {std::pair{0, 1}, {1, 5}, {5, 5}, {5, 9}}) {
      const auto piece =
          bytes(GetParam()(x.slice(begin, end), 7, 2, static_cast<std::uint64_t>(100 + begin)));
      pieces.insert(pieces.end(), piece.begin(), piece.end());
    }
    ASSERT_EQ(pieces, whole) << columns;
  }
}

TEST_P(AttackStart, RowsSeedsAndStreamsDiffer) {
  const Tensor x = make({1, 784}, std::vector<float>(784, 0.5F));
  const auto base = bytes(GetParam()(x, 7, 2, 100));
  EXPECT_EQ(bytes(GetParam()(x, 7, 2, 100)), base);
  EXPECT_NE(bytes(GetParam()(x, 8, 2, 100)), base);
  EXPECT_NE(bytes(GetParam()(x, 7, 3, 100)), base);
  EXPECT_NE(bytes(GetParam()(x, 7, 2, 101)), base);
  EXPECT_NE(bytes(GetParam()(x, 7, 2, 100 + (1ULL << 32))), base);
}

TEST_P(AttackStart, StaysInsideTheBall) {
  const Tensor x = random_tensor({50, 785}, 1, 0, 1);
  test::poison_cache();
  const auto p = ops::perturbation(GetParam()(x, 1, 0, 0), x, 0.1);
  EXPECT_EQ(p.outside, 0);
  EXPECT_GT(p.max, 0.049);
}

TEST_P(AttackStart, DoesNotDependOnTheThreadCount) {
  const Tensor x = random_tensor({301, 129}, 1, 0, 1);
  expect_same_on_all_thread_counts([&] { return GetParam()(x, 1, 0, 0); });
}

TEST(AttackUniformStart, IsUniformInTheRadius) {
  const Tensor x = make({200, 500}, std::vector<float>(100'000, 0.5F));
  const auto y = values<float>(ops::attack_uniform_start(x, 0.25, 0.5, 3, 0, 0));
  double sum = 0;
  double squares = 0;
  for (const float v : y) {
    ASSERT_GE(v, 0.25F);
    ASSERT_LE(v, 0.75F);
    sum += v - 0.5;
    squares += (v - 0.5) * (v - 0.5);
  }
  EXPECT_NEAR(sum / 1e5, 0, 6 * std::sqrt(0.0625 / 3 / 1e5));
  EXPECT_NEAR(squares / 1e5, 0.0625 / 3, 2e-4);
  // Word j of block j/4 of the row's stream.
  const auto words = Philox(3).row_block(1, 199, 0);
  EXPECT_EQ(y[199 * 500 + 6], 0.5F + (-0.25F + 0.5F * unit_float(words[2])));
}

TEST(AttackUniformStart, ARadiusOfZeroStaysAtTheOrigin) {
  const Tensor x = random_tensor({3, 5}, 1, 0, 1);
  EXPECT_EQ(bytes(ops::attack_uniform_start(x, 0, 0.1, 1, 0, 0)), bytes(x));
}

TEST(AttackSignStart, TossesAFairCoinPerPixel) {
  const Tensor x = make({200, 500}, std::vector<float>(100'000, 0.5F));
  int up = 0;
  int same_as_last = 0;
  float last = 0;
  for (const float v : values<float>(ops::attack_sign_start(x, 0.125, 0.5, 3, 0, 0))) {
    ASSERT_TRUE(v == 0.375F || v == 0.625F);
    up += v > 0.5F;
    same_as_last += v == last;
    last = v;
  }
  EXPECT_NEAR(up, 50'000, 6 * std::sqrt(25'000.0));
  EXPECT_NEAR(same_as_last, 50'000, 6 * std::sqrt(25'000.0));
}

TEST(CountFlippable, AgreesWithTheReachableCodes) {
  for (const std::int64_t n : {0, 1, 785, 40009}) {
    const Tensor x = random_tensor({n}, 1, 0, 1);
    for (int bits = 1; bits <= 8; ++bits) {
      for (const double epsilon : {0.0, 0.01, 0.1, 0.5, 1.0}) {
        std::int64_t expected = 0;
        const auto eps = static_cast<float>(epsilon);
        const auto levels = static_cast<float>((1 << bits) - 1);
        for (const float v : values<float>(x)) {
          const float low = std::max(0.0F, v - eps) * levels;
          const float high = std::min(1.0F, v + eps) * levels;
          expected += std::floor(low + 0.5F) != std::floor(high + 0.5F);
        }
        ASSERT_EQ(ops::count_flippable(x, epsilon, bits), expected) << bits << " bits, epsilon " << epsilon;
      }
    }
  }
}

// At epsilon 0.1 and 2 bits, six of the 256 levels have an end of their ball on a rounding threshold (1/6,
// 1/2, 5/6) in exact arithmetic, where fp32 decides: k = 17, 68 and 102, 153 and 187, 238.
TEST(CountFlippable, TiesAreThoseOfTheOneDiscretizer) {
  std::vector<int> ties;
  for (int k = 0; k < 256; ++k) {
    // In units of 1/510: pixel 2k, epsilon 51, thresholds 85, 255, 425.
    for (const int end : {2 * k - 51, 2 * k + 51}) {
      if (end == 85 || end == 255 || end == 425) ties.push_back(k);
    }
  }
  EXPECT_EQ(ties, (std::vector<int>{17, 68, 102, 153, 187, 238}));
  for (int k = 0; k < 256; ++k) {
    const float x = static_cast<float>(k) / 255.0F;
    const float low = std::max(0.0F, x - 0.1F);
    const float high = std::min(1.0F, x + 0.1F);
    const bool flips = quantize_code(low, 2) != quantize_code(high, 2);
    EXPECT_EQ(ops::count_flippable(make<float>({1}, {x}), 0.1, 2), flips ? 1 : 0) << k;
    // What the count promises: the attack's own step reaches another code exactly where it says so.
    const Tensor origin = make<float>({1}, {x});
    const auto reached = [&](float sign) {
      return quantize_code(
          values<float>(ops::attack_step(origin, make<float>({1}, {sign}), origin, 1, 0.1))[0], 2);
    };
    EXPECT_EQ(reached(1) != reached(-1), flips) << k;
    if (std::find(ties.begin(), ties.end(), k) != ties.end()) continue;
    // Away from ties fp32 agrees with exact arithmetic.
    const auto code = [](int end) { return end < 85 ? 0 : end < 255 ? 1 : end < 425 ? 2 : 3; };
    EXPECT_EQ(flips, code(std::max(0, 2 * k - 51)) != code(std::min(510, 2 * k + 51))) << k;
  }
}

TEST(Perturbation, SumsInDoubleAndFindsWhatIsOutside) {
  const Tensor b = make<float>({4}, {0.5F, 0.05F, 0.95F, 0.5F});
  const float beyond = std::nextafter(0.5F + 0.1F, 1.0F);
  const std::vector<float> moved = {0.5F + 0.1F, 0, 1, beyond};
  const auto p = ops::perturbation(make({4}, moved), b, 0.1);
  EXPECT_EQ(p.outside, 1);
  EXPECT_DOUBLE_EQ(p.max, static_cast<double>(beyond) - 0.5);
  double sum = 0;
  for (std::size_t i = 0; i < 4; ++i)
    sum += std::abs(static_cast<double>(moved[i]) - static_cast<double>(values<float>(b)[i]));
  EXPECT_DOUBLE_EQ(p.sum, sum);
  EXPECT_EQ(ops::perturbation(make<float>({2}, {-0.01F, 1.01F}), make<float>({2}, {0, 1}), 0.1).outside, 2);
}

TEST(Perturbation, ANanIsOutsideAndShows) {
  std::vector<float> x(40'000, 0.5F);
  const Tensor b = make({40'000}, x);
  x[7] = nan;
  x[39'999] = 0.75F;
  const auto p = ops::perturbation(make({40'000}, x), b, 0.1);
  EXPECT_EQ(p.outside, 2);
  EXPECT_TRUE(std::isnan(p.max));
  EXPECT_TRUE(std::isnan(p.sum));
  const auto empty = ops::perturbation(Tensor::zeros(DType::f32, {0}, test::device()),
                                       Tensor::zeros(DType::f32, {0}, test::device()), 0.1);
  EXPECT_EQ(empty.sum, 0);
  EXPECT_EQ(empty.max, 0);
}

TEST(Perturbation, DoesNotDependOnTheThreadCount) {
  const Tensor a = random_tensor({100'003}, 1, 0, 1);
  const Tensor b = random_tensor({100'003}, 2, 0, 1);
  const int before = threads();
  set_threads(1);
  const auto expected = ops::perturbation(a, b, 0.1);
  const auto flippable = ops::count_flippable(a, 0.1, 2);
  for (const int count : {2, 3, 7}) {
    set_threads(count);
    EXPECT_EQ(ops::perturbation(a, b, 0.1).sum, expected.sum);
    EXPECT_EQ(ops::perturbation(a, b, 0.1).outside, expected.outside);
    EXPECT_EQ(ops::count_flippable(a, 0.1, 2), flippable);
  }
  set_threads(before);
}

TEST(CountInvalidPixels, CountsNanAndOutOfRange) {
  const Tensor x = make<float>({8}, {0, 1, -0.0F, nan, -1e-45F, std::nextafter(1.0F, 2.0F), infinity, 0.5F});
  EXPECT_EQ(ops::count_invalid_pixels(x), 4);
  EXPECT_EQ(ops::count_invalid_pixels(Tensor::zeros(DType::f32, {0}, test::device())), 0);
}

TEST(Attack, RefusesWrongArguments) {
  const Tensor x = Tensor::zeros(DType::f32, {2, 3}, test::device());
  const Tensor bad = Tensor::zeros(DType::f32, {3, 2}, test::device());
  const Tensor codes = Tensor::zeros(DType::u8, {2, 3}, test::device());
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::attack_step(x, bad, x, 0.1, 0.1); }, "gradient");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::attack_step(x, x, bad, 0.1, 0.1); }, "origin");
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::attack_step(codes, x, x, 0.1, 0.1); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::attack_step(x, x, x, 0.1, 8); }, "epsilon is 8");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::attack_step(x, x, x, std::nan(""), 0.1); }, "stepSize");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::attack_uniform_start(x, -0.1, 0.1, 0, 0, 0); }, "radius");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::attack_uniform_start(x, 0.1, 0.1, 0, 1ULL << 32, 0); }, "stream");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::attack_sign_start(x, 2, 0.1, 0, 0, 0); }, "alpha");
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    ops::attack_sign_start(Tensor::zeros(DType::f32, {}, test::device()), 0.1, 0.1, 0, 0, 0);
  });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::count_flippable(x, 0.1, 9); }, "bits is 9");
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::count_flippable(x, 0.1, 0); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::count_flippable(codes, 0.1, 2); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::perturbation(x, bad, 0.1); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::count_invalid_pixels(codes); });
}

}  // namespace
}  // namespace hardbit
