#include "ops/sign.h"

#include <gtest/gtest.h>

#include "bit_cases.h"
#include "ops/bits.h"
#include "ops/reference.h"

namespace hardbit {
namespace {

TEST(SignForward, MasksWhereTheMagnitudeIsAtMostOne) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = test::make<float>(
      {8}, {0.0F, -0.0F, 1.0F, -1.0F, std::nextafter(1.0F, 2.0F), std::nextafter(-1.0F, -2.0F), nan, 0.5F});
  const auto [signs, mask] = ops::sign_forward(x);
  EXPECT_EQ(signs.data<std::uint64_t>()[0], 0b10010111U);
  EXPECT_EQ(mask.data<std::uint64_t>()[0], 0b10001111U);
}

TEST(SignForward, EqualsTheReferenceOnEveryThreadCount) {
  for (const Shape& shape :
       std::vector<Shape>{{}, {0}, {4, 0}, {2, 3, 65}, {2, 3, 4, 70}, {128, 600}, {301, 400}}) {
    const Tensor x = test::awkward_tensor(shape, 1);
    const Tensor signs = ops::reference::pack_signs(x);
    const Tensor mask = ops::reference::pack_mask(x);
    const ops::SignForward y = ops::sign_forward(x);
    test::expect_same(y.signs, signs, to_string(shape));
    test::expect_same(y.mask, mask, to_string(shape));
    test::expect_same_on_all_thread_counts([&] { return ops::sign_forward(x).signs; });
    test::expect_same_on_all_thread_counts([&] { return ops::sign_forward(x).mask; });
  }
}

TEST(MaskBackward, KeepsTheGradientUnderTheMaskAndIsZeroElsewhere) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = test::make<float>({4}, {0.5F, 2.0F, -1.0F, nan});
  const Tensor dy = test::make<float>({4}, {3.0F, nan, -0.25F, -7.0F});
  const Tensor dx = ops::mask_backward(dy, ops::sign_forward(x).mask);
  test::expect_same(dx, test::make<float>({4}, {3.0F, 0.0F, -0.25F, 0.0F}), "dx");
}

TEST(MaskBackward, EqualsTheReferenceOnEveryThreadCount) {
  for (const Shape& shape :
       std::vector<Shape>{{}, {0}, {4, 0}, {2, 3, 65}, {2, 3, 4, 70}, {128, 600}, {301, 400}}) {
    const Tensor dy = test::awkward_tensor(shape, 2);
    const Tensor mask = test::random_bits(shape, 3).to(test::device());
    const Tensor expected = ops::reference::mask_backward(dy, mask);
    test::expect_same(ops::mask_backward(dy, mask), expected, to_string(shape));
    test::expect_same_on_all_thread_counts([&] { return ops::mask_backward(dy, mask); });
  }
}

TEST(ApproxSignBackward, IsTheSlopeOfTheApproximationTimesTheGradient) {
  std::mt19937 random(4);
  std::uniform_real_distribution<float> uniform(-2.0F, 2.0F);
  std::vector<float> x(120000);
  std::vector<float> dy(x.size());
  std::vector<float> expected(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = uniform(random);
    dy[i] = uniform(random);
    // 2|x| and the product are exact in double, so this rounds where the formula does.
    const auto slope = static_cast<float>(2.0 - 2.0 * std::fabs(static_cast<double>(x[i])));
    expected[i] = std::fabs(x[i]) <= 1.0F ? static_cast<float>(static_cast<double>(dy[i]) * slope) : 0.0F;
  }
  const auto n = static_cast<std::int64_t>(x.size());
  const Tensor gradient = test::make({n}, dy);
  const Tensor input = test::make({n}, x);
  test::expect_same(ops::approx_sign_backward(gradient, input), test::make({n}, expected), "dx");
  test::expect_same_on_all_thread_counts([&] { return ops::approx_sign_backward(gradient, input); });
}

TEST(ApproxSignBackward, IsZeroAtTheEdgesOutsideAndForNan) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = test::make<float>({6}, {1.0F, -1.0F, 1.5F, -2.0F, nan, 0.0F});
  const Tensor dy = test::make<float>({6}, {3.0F, 3.0F, -3.0F, nan, 3.0F, 3.0F});
  test::expect_same(ops::approx_sign_backward(dy, x),
                    test::make<float>({6}, {0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 6.0F}), "dx");
}

TEST(Sign, RefusesWrongOperands) {
  const Tensor f = Tensor::zeros(DType::f32, {2, 3}, test::device());
  const Tensor other = Tensor::zeros(DType::f32, {3, 2}, test::device());
  const Tensor bits = Tensor::zeros(DType::bits, {2, 3}, test::device());
  test::expect_error("ERR_HARDBIT_DTYPE", [&] { ops::sign_forward(bits); });
  test::expect_error("ERR_HARDBIT_DTYPE", [&] { ops::mask_backward(bits, bits); });
  test::expect_error("ERR_HARDBIT_DTYPE", [&] { ops::mask_backward(f, f); });
  test::expect_error("ERR_HARDBIT_SHAPE", [&] { ops::mask_backward(other, bits); });
  test::expect_error("ERR_HARDBIT_SHAPE", [&] { ops::approx_sign_backward(f, other); });
  test::expect_error("ERR_HARDBIT_DTYPE", [&] { ops::approx_sign_backward(bits, f); });
}

}  // namespace
}  // namespace hardbit
