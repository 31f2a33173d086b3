#include "ops/discretize.h"

#include <gtest/gtest.h>

#include <bit>

#include "bit_cases.h"
#include "ops/reference.h"

namespace hardbit {
namespace {

/// The formula in double, rounded to fp32 after each step. The product is exact in double.
int code_by_formula(float x, int bits) {
  const auto scaled = static_cast<float>(static_cast<double>(x) * ((1 << bits) - 1));
  const auto shifted = static_cast<float>(static_cast<double>(scaled) + 0.5);
  return static_cast<int>(std::floor(static_cast<double>(shifted)));
}

TEST(Discretize, FollowsTheFormulaOnAThousandthOfAllFloats) {
  const auto one = std::bit_cast<std::uint32_t>(1.0F);
  std::vector<float> values;
  for (std::uint32_t pattern = 0; pattern < one; pattern += 1009)
    values.push_back(std::bit_cast<float>(pattern));
  values.push_back(1.0F);
  const Tensor x = test::make<float>({static_cast<std::int64_t>(values.size())}, values);
  for (int bits = 1; bits <= 8; ++bits) {
    const Tensor codes = ops::discretize(x, bits);
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(codes.data<std::uint8_t>()[i], code_by_formula(values[i], bits))
          << bits << " bits, " << values[i];
    }
  }
}

TEST(Discretize, RoundsToSinglePrecisionAfterEachStep) {
  // Just below a step: exact arithmetic gives the lower code, fp32 rounds up to the step.
  EXPECT_EQ(quantize_code(0x1.fffffep-2F, 1), 1);
  EXPECT_EQ(quantize_code(0x1.aaaaaap-1F, 2), 3);
  EXPECT_EQ(quantize_code(0x1.492492p-1F, 3), 5);
  EXPECT_EQ(quantize_code(0x1.11111p-5F, 4), 1);
  for (int bits = 1; bits <= 8; ++bits) {
    const auto levels = static_cast<float>((1 << bits) - 1);
    for (float code = 0; code < levels; ++code) {
      std::uint32_t pattern = std::bit_cast<std::uint32_t>((code + 0.5F) / levels) - 32;
      for (int i = 0; i < 64; ++i) {
        const auto x = std::bit_cast<float>(pattern++);
        ASSERT_EQ(quantize_code(x, bits), code_by_formula(x, bits)) << bits << " bits, " << x;
      }
    }
  }
}

TEST(Discretize, ClampsOutsideTheUnitInterval) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = test::make<float>({9}, {-infinity, -3.0F, -0.0F, 0.0F, 1.0F, 1.1F, 1e30F, infinity, nan});
  for (int bits = 1; bits <= 8; ++bits) {
    const auto most = static_cast<std::uint8_t>((1 << bits) - 1);
    const Tensor codes = ops::discretize(x, bits);
    const auto span = codes.span<std::uint8_t>();
    EXPECT_EQ(std::vector<std::uint8_t>(span.begin(), span.end()),
              (std::vector<std::uint8_t>{0, 0, 0, 0, most, most, most, most, 0}));
  }
}

TEST(Discretize, KeepsTheValueOfEveryCode) {
  for (int bits = 1; bits <= 8; ++bits) {
    Tensor codes = Tensor::empty(DType::u8, {std::int64_t{1} << bits});
    for (std::int64_t i = 0; i < codes.count(); ++i)
      codes.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i);
    const Tensor x = ops::codes_to_float(codes, bits);
    for (std::int64_t i = 0; i < codes.count(); ++i) {
      // Correctly rounded: the quotient in double, rounded once more, cannot meet a tie for operands this
      // short.
      EXPECT_EQ(x.data<float>()[i], static_cast<float>(static_cast<double>(i) / ((1 << bits) - 1)));
    }
    test::expect_same(ops::discretize(x, bits), codes, std::to_string(bits));
  }
}

TEST(Discretize, KeepsShapesAndIsTheSameOnEveryThreadCount) {
  for (const Shape& shape : std::vector<Shape>{{}, {0}, {5, 0}, {3, 7}, {2, 3, 4, 5}, {130, 784}}) {
    const Tensor x = test::awkward_tensor(shape, 6);
    const Tensor codes = ops::discretize(x, 4);
    test::expect_same(codes, ops::reference::discretize(x, 4), to_string(shape));
    test::expect_same(ops::codes_to_float(codes, 4), ops::reference::codes_to_float(codes, 4),
                      to_string(shape));
    test::expect_same_on_all_thread_counts([&] { return ops::discretize(x, 4); });
    test::expect_same_on_all_thread_counts([&] { return ops::codes_to_float(codes, 4); });
  }
}

TEST(Discretize, RefusesOtherTypesAndBitCounts) {
  const Tensor x = Tensor::zeros(DType::f32, {2}, test::device());
  const Tensor codes = Tensor::zeros(DType::u8, {2}, test::device());
  for (const int bits : {-1, 0, 9, 32}) {
    test::expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::discretize(x, bits); });
    test::expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::codes_to_float(codes, bits); });
  }
  test::expect_error("ERR_HARDBIT_DTYPE", [&] { ops::discretize(codes, 2); });
  test::expect_error("ERR_HARDBIT_DTYPE", [&] { ops::codes_to_float(x, 2); });
}

}  // namespace
}  // namespace hardbit
