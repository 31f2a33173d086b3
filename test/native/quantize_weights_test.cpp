#include "ops/quantize_weights.h"

#include <cmath>
#include <limits>

#include "bit_cases.h"
#include "cpu/quantize_weights.h"
#include "guarded.h"
#include "ops/discretize.h"
#include "ops/reference.h"
#include "support.h"

namespace hardbit {
namespace {

using ops::MagnitudeGradient;
using test::awkward_tensor;
using test::expect_error;
using test::expect_same;
using test::expect_same_on_all_thread_counts;
using test::make;
using test::random_codes;
using test::random_tensor;
using test::values;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

const std::vector<Shape> shapes = {{1, 1}, {3, 7}, {5, 64}, {2, 65}, {3, 2049}, {4, 3, 3, 5}, {7, 4611}};

TEST(PackSignsShifted, IsTheSignOfTheRoundedSum) {
  for (const Shape& shape : shapes) {
    for (const double shift : {0.0, 0.25, -0.3, 1e-8}) {
      const Tensor w = awkward_tensor(shape, 1);
      Tensor shifted = w.clone();
      for (float& v : shifted.span<float>()) v = v + static_cast<float>(shift);
      test::poison_cache();
      expect_same(ops::pack_signs_shifted(w, shift), ops::reference::pack_signs(shifted), to_string(shape));
    }
  }
}

TEST(Magnitudes, AreMeansInDouble) {
  for (const Shape& shape : shapes) {
    const Tensor w = random_tensor(shape, 2, -3, 1);
    const std::int64_t rows = shape[0];
    const std::int64_t columns = w.count() / rows;
    const Tensor means = ops::row_magnitudes(w);
    ASSERT_EQ(means.shape(), (Shape{rows}));
    double total = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (std::int64_t c = 0; c < columns; ++c)
        sum += std::abs(static_cast<double>(w.data<float>()[r * columns + c]));
      EXPECT_EQ(means.data<float>()[r], static_cast<float>(sum / static_cast<double>(columns)));
      total += sum;
    }
    EXPECT_NEAR(ops::mean_magnitude(w), total / static_cast<double>(w.count()), 1e-13);
  }
  // Summed in fp32, the ones would vanish beside 2^24.
  std::vector<float> w(200'001, 1);
  w[0] = 0x1p24F;
  EXPECT_EQ(ops::mean_magnitude(make({200'001}, w)), (0x1p24 + 200'000) / 200'001);
}

/// α·sign(w) differentiated by the three rules, in double.
TEST(MagnitudeSignBackward, IsEachRulesFormula) {
  for (const Shape& shape : shapes) {
    const std::int64_t rows = shape[0];
    const Tensor w = random_tensor(shape, 3, -1.5F, 1.5F);
    w.data<float>()[0] = 1;
    w.data<float>()[w.count() - 1] = -0.0F;
    const Tensor g = random_tensor(shape, 4);
    const Tensor alpha = random_tensor({rows}, 5, 0, 1);
    const std::int64_t columns = w.count() / rows;
    const auto n = static_cast<double>(columns);
    const auto rule = [&](MagnitudeGradient gradient) {
      std::vector<double> dw;
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto a = static_cast<double>(alpha.data<float>()[r]);
        double sum = 0;
        for (std::int64_t i = r * columns; i < (r + 1) * columns; ++i)
          sum += (w.data<float>()[i] < 0 ? -1.0 : 1.0) * static_cast<double>(g.data<float>()[i]);
        for (std::int64_t i = r * columns; i < (r + 1) * columns; ++i) {
          const auto v = static_cast<double>(w.data<float>()[i]);
          const auto gi = static_cast<double>(g.data<float>()[i]);
          const double passed = v >= -1 && v <= 1 ? 1 : 0;
          switch (gradient) {
            case MagnitudeGradient::constant:
              dw.push_back(a * gi * passed);
              break;
            case MagnitudeGradient::paper:
              dw.push_back(gi * (1 / n + a * passed));
              break;
            case MagnitudeGradient::chain:
              dw.push_back(a * gi * passed + (v < 0 ? -1 : 1) * sum / n);
              break;
          }
        }
      }
      return dw;
    };
    for (const auto gradient :
         {MagnitudeGradient::constant, MagnitudeGradient::paper, MagnitudeGradient::chain}) {
      test::poison_cache();
      const Tensor dw = ops::magnitude_sign_backward(g, w, alpha, gradient);
      const auto expected = rule(gradient);
      for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(dw.data<float>()[i], expected[i], 1e-7 * std::abs(expected[i]) + 1e-12)
            << to_string(shape);
    }
  }
}

/// Where |w| ≤ 1 is held fixed and sign(w) is replaced by the identity in the product, the chain rule is the
/// derivative of mean|w|·s: the part through α, by finite differences.
TEST(MagnitudeSignBackward, TheChainRuleFollowsAlpha) {
  const std::vector<double> w = {0.5, -1.5, 2.0, -0.25};
  const std::vector<double> g = {0.3, -0.7, 0.2, 0.9};
  const auto loss = [&](const std::vector<double>& v) {
    double alpha = 0;
    for (const double x : v) alpha += std::abs(x) / 4;
    double sum = 0;
    for (std::size_t i = 0; i < 4; ++i) sum += g[i] * alpha * (w[i] < 0 ? -1 : 1);
    return sum;
  };
  const auto floats = [](const std::vector<double>& v) { return std::vector<float>(v.begin(), v.end()); };
  const Tensor gt = make({1, 4}, floats(g));
  const Tensor wt = make({1, 4}, floats(w));
  const Tensor alpha = ops::row_magnitudes(wt);
  const auto chain = values<float>(ops::magnitude_sign_backward(gt, wt, alpha, MagnitudeGradient::chain));
  const auto constant =
      values<float>(ops::magnitude_sign_backward(gt, wt, alpha, MagnitudeGradient::constant));
  for (std::size_t i = 0; i < 4; ++i) {
    auto up = w;
    auto down = w;
    up[i] += 1e-4;
    down[i] -= 1e-4;
    EXPECT_NEAR(chain[i] - constant[i], (loss(up) - loss(down)) / 2e-4, 1e-6);
  }
}

TEST(DorefaWeights, AreTheCodesOfTheFormula) {
  for (const Shape& shape : shapes) {
    const Tensor w = random_tensor(shape, 6, -2, 2);
    double most = 0;
    for (const float v : w.span<float>()) most = std::max(most, std::abs(std::tanh(static_cast<double>(v))));
    for (int bits = 1; bits <= 8; ++bits) {
      const double levels = (1 << bits) - 1;
      const auto [codes, maximum] = ops::dorefa_weights(w, bits);
      ASSERT_EQ(codes.shape(), shape);
      EXPECT_EQ(maximum, static_cast<double>(static_cast<float>(most)));
      for (std::int64_t i = 0; i < w.count(); ++i) {
        const double t = std::tanh(static_cast<double>(w.data<float>()[i])) / (2 * most) + 0.5;
        // Within half a level and the rounding of fp32 around the thresholds.
        ASSERT_LE(std::abs(codes.data<std::uint8_t>()[i] - t * levels), 0.5 + 1e-4);
      }
    }
  }
}

TEST(DorefaWeights, TanhIsRoundedFromDouble) {
  std::vector<float> w = test::random_floats(20'000, 7, -3, 3);
  for (int e = -140; e < 8; ++e) {
    w.push_back(std::ldexp(1.37F, e));
    w.push_back(-std::ldexp(1.37F, e));
  }
  w.push_back(std::numeric_limits<float>::infinity());
  w.push_back(-0.0F);
  w.push_back(1e-4F);
  std::vector<float> t(w.size());
  cpu::tanh_weights(w.data(), t.data(), static_cast<std::int64_t>(w.size()));
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double exact = std::tanh(static_cast<double>(w[i]));
    const double ulp = std::abs(std::nextafter(t[i], 2.0F) - t[i]);
    ASSERT_LE(std::abs(static_cast<double>(t[i]) - exact), 0.5001 * ulp) << w[i];
    ASSERT_EQ(std::signbit(t[i]), std::signbit(w[i]));
  }
}

TEST(DorefaWeights, ZerosAndNan) {
  const auto zeros = ops::dorefa_weights(Tensor::zeros(DType::f32, {2, 3}, test::device()), 2);
  EXPECT_EQ(zeros.maximum, 1);
  EXPECT_EQ(values<std::uint8_t>(zeros.codes), std::vector<std::uint8_t>(6, 2));
  const auto broken = ops::dorefa_weights(make<float>({3}, {nan, 1, -1}), 8);
  EXPECT_EQ(values<std::uint8_t>(broken.codes), (std::vector<std::uint8_t>{0, 255, 0}));
  EXPECT_EQ(broken.maximum, static_cast<double>(static_cast<float>(std::tanh(1.0))));
  EXPECT_EQ(ops::dorefa_weights(Tensor::zeros(DType::f32, {0, 3}, test::device()), 2).maximum, 1);
}

TEST(DorefaWeightsBackward, IsTheSlopeOfTanhOverTheMaximum) {
  const Tensor w = random_tensor({4001}, 8, -3, 3);
  w.data<float>()[0] = 90;
  const Tensor g = random_tensor({4001}, 9);
  const Tensor dw = ops::dorefa_weights_backward(g, w, 0.75);
  for (std::int64_t i = 1; i < w.count(); ++i) {
    const auto v = static_cast<double>(w.data<float>()[i]);
    const double slope = (std::tanh(v + 1e-5) - std::tanh(v - 1e-5)) / 2e-5;
    ASSERT_NEAR(dw.data<float>()[i], static_cast<double>(g.data<float>()[i]) * slope / 0.75, 1e-7);
  }
  EXPECT_LT(std::abs(dw.data<float>()[0]), 1e-30);
}

TEST(Planes, SplitCodesAndPutThemTogetherAgain) {
  for (const Shape& shape : std::vector<Shape>{{0, 5}, {3, 0}, {1, 1}, {3, 65}, {2, 2049}, {70, 300}}) {
    for (int bits = 1; bits <= 8; ++bits) {
      const std::int64_t rows = shape[0];
      const Tensor codes = random_codes(shape, bits, 10).to(test::device());
      test::poison_cache();
      const Tensor planes = ops::code_planes(codes, bits);
      ASSERT_EQ(planes.shape(), (Shape{bits * rows, shape[1]}));
      std::vector<double> coefficients;
      for (int p = 0; p < bits; ++p) {
        coefficients.push_back(std::ldexp(1, p));
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t c = 0; c < shape[1]; ++c)
            ASSERT_EQ(ops::reference::bit(planes, p * rows + r, c),
                      (codes.data<std::uint8_t>()[r * shape[1] + c] >> p & 1) != 0);
      }
      // Σ 2^p·(±1) = 2·code − (2^bits − 1)
      const Tensor scale = random_tensor({rows}, 11);
      const Tensor w = ops::planes_to_float(planes, coefficients, scale);
      ASSERT_EQ(w.shape(), shape);
      for (std::int64_t i = 0; i < w.count(); ++i) {
        const auto whole = static_cast<float>(2 * codes.data<std::uint8_t>()[i] - ((1 << bits) - 1));
        ASSERT_EQ(w.data<float>()[i], whole * scale.data<float>()[i / shape[1]]);
      }
      // The padding bits of every plane are zero.
      for (std::int64_t r = 0; shape[1] % 64 != 0 && r < planes.dim(0); ++r)
        ASSERT_EQ(planes.data<std::uint64_t>()[(r + 1) * planes.row_words() - 1] >> (shape[1] % 64), 0U);
    }
  }
}

template <class T>
void combines(const Shape& shape, const std::vector<double>& coefficients) {
  std::mt19937 random(12);
  Tensor y = Tensor::empty(test::dtype_of<T>(), shape);
  for (T& v : y.span<T>()) v = static_cast<T>(static_cast<std::int16_t>(random()));
  const auto planes = static_cast<std::int64_t>(coefficients.size());
  const std::int64_t channels = shape.back() / planes;
  test::poison_cache();
  const Tensor sums = ops::combine_planes(y, coefficients);
  Shape expected_shape = shape;
  expected_shape.back() = channels;
  ASSERT_EQ(sums.shape(), expected_shape);
  for (std::int64_t i = 0; i < sums.count(); ++i) {
    std::int64_t expected = 0;
    for (std::int64_t p = 0; p < planes; ++p)
      expected += static_cast<std::int64_t>(coefficients[static_cast<std::size_t>(p)]) *
                  y.data<T>()[(i / channels * planes + p) * channels + i % channels];
    ASSERT_EQ(sums.data<std::int32_t>()[i], expected);
  }
}

TEST(CombinePlanes, AddsThePlanesOfEveryChannel) {
  for (const auto& coefficients :
       std::vector<std::vector<double>>{{1}, {1, 2, 4}, {-3, 65532}, {0, 5, -1, 7}}) {
    const auto planes = static_cast<std::int64_t>(coefficients.size());
    for (const Shape& shape : std::vector<Shape>{{planes},
                                                 {0, planes * 3},
                                                 {5, 0},
                                                 {3, planes * 17},
                                                 {2, 3, 4, planes * 5},
                                                 {501, planes * 65}}) {
      combines<std::int16_t>(shape, coefficients);
      combines<std::int32_t>(shape, coefficients);
    }
  }
}

TEST(CombinePlanes, HoldsTheLargestSumsOfI16) {
  const Tensor y = make<std::int16_t>({1, 4}, {-32768, 32767, 32767, -32768});
  EXPECT_EQ(values<std::int32_t>(ops::combine_planes(y, {32768, -32767})),
            (std::vector<std::int32_t>{-32768 * 32768 - 32767 * 32767, 32767 * 32768 + 32768 * 32767}));
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::combine_planes(y, {32768, -32768}); });
}

TEST(QuantizeWeights, WritesNothingElse) {
  for (const std::int64_t rows : {1, 3}) {
    for (const std::int64_t columns : {1, 63, 64, 65, 2048, 2049, 4611}) {
      const auto n = static_cast<std::size_t>(rows * columns);
      const auto bit_words = static_cast<std::size_t>(rows * words(columns));
      const test::Guarded<float> w(test::awkward_floats(n, 13));
      const test::Guarded<float> out(n);
      const test::Guarded<float> scale(static_cast<std::size_t>(rows));
      const test::Guarded<std::uint64_t> bits(bit_words);
      const test::Guarded<std::uint64_t> planes(5 * bit_words);
      const test::Guarded<std::uint8_t> codes(n);
      cpu::pack_signs_shifted(w.data(), 0.5F, bits.data(), rows, columns);
      cpu::row_magnitudes(w.data(), scale.data(), rows, columns);
      cpu::tanh_weights(w.data(), out.data(), rows * columns);
      cpu::dorefa_codes(out.data(), 1, 5, codes.data(), rows * columns);
      cpu::dorefa_weights_backward(w.data(), w.data(), 1, out.data(), rows * columns);
      cpu::code_planes(codes.data(), 5, planes.data(), rows, columns);
      const std::vector<float> coefficients(5, 1);
      cpu::planes_to_float(planes.data(), coefficients, scale.data(), out.data(), rows, columns);
      cpu::magnitude_sign_backward(w.data(), w.data(), scale.data(), MagnitudeGradient::chain, out.data(),
                                   rows, columns);
      EXPECT_TRUE(out.intact() && scale.intact() && bits.intact() && planes.intact() && codes.intact());
    }
  }
}

TEST(QuantizeWeights, ResultsDoNotDependOnTheThreadCount) {
  const Tensor w = random_tensor({301, 401}, 14);
  const Tensor g = random_tensor({301, 401}, 15);
  const Tensor alpha = ops::row_magnitudes(w);
  const auto scalar = [](double value) {
    return make<float>({2},
                       {static_cast<float>(value), static_cast<float>(value - static_cast<float>(value))});
  };
  expect_same_on_all_thread_counts([&] { return ops::pack_signs_shifted(w, 0.1); });
  expect_same_on_all_thread_counts([&] { return scalar(ops::mean_magnitude(w)); });
  expect_same_on_all_thread_counts([&] { return ops::row_magnitudes(w); });
  expect_same_on_all_thread_counts(
      [&] { return ops::magnitude_sign_backward(g, w, alpha, MagnitudeGradient::chain); });
  expect_same_on_all_thread_counts([&] { return ops::dorefa_weights(w, 4).codes; });
  expect_same_on_all_thread_counts([&] { return ops::dorefa_weights_backward(g, w, 0.5); });
  const Tensor planes = ops::code_planes(ops::dorefa_weights(w, 4).codes, 4);
  expect_same_on_all_thread_counts([&] { return ops::code_planes(ops::dorefa_weights(w, 4).codes, 4); });
  expect_same_on_all_thread_counts([&] { return ops::planes_to_float(planes, {1, 2, 4, 8}, alpha); });
}

TEST(QuantizeWeights, RefusesWrongOperands) {
  const Tensor w = Tensor::zeros(DType::f32, {2, 3}, test::device());
  const Tensor other = Tensor::zeros(DType::f32, {3, 2}, test::device());
  const Tensor codes = Tensor::zeros(DType::u8, {2, 3}, test::device());
  const Tensor alpha = Tensor::zeros(DType::f32, {2}, test::device());
  const auto rule = MagnitudeGradient::paper;
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::pack_signs_shifted(codes, 0); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::pack_signs_shifted(w, std::nan("")); });
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    ops::mean_magnitude(Tensor::zeros(DType::f32, {0, 3}, test::device()));
  });
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    ops::row_magnitudes(Tensor::zeros(DType::f32, {3, 0}, test::device()));
  });
  expect_error("ERR_HARDBIT_SHAPE",
               [&] { ops::row_magnitudes(Tensor::zeros(DType::f32, {}, test::device())); });
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::magnitude_sign_backward(other, w, alpha, rule); }, "g has shape");
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] { ops::magnitude_sign_backward(w, w, Tensor::zeros(DType::f32, {3}, test::device()), rule); },
      "alpha");
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::dorefa_weights(w, 0); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::dorefa_weights(codes, 2); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::dorefa_weights_backward(other, w, 1); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::dorefa_weights_backward(w, w, 0); }, "maximum is 0");
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::code_planes(codes.reshape({6}), 2); });
  const Tensor large = codes.clone();
  large.data<std::uint8_t>()[4] = 4;
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { test::bytes(ops::code_planes(large, 2)); },
      test::device() == Device::cpu ? "above 3" : "does not fit");
  const Tensor planes = Tensor::zeros(DType::bits, {4, 3}, test::device());
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::planes_to_float(w, {1}, alpha); });
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        ops::planes_to_float(planes, {1, 2, 4}, alpha);
      },
      "to be 6");
  expect_error(
      "ERR_HARDBIT_ARGUMENT",
      [&] {
        ops::planes_to_float(planes, {1, 0.5}, alpha);
      },
      "whole");
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::planes_to_float(planes, {1, 0x1p24}, alpha); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::planes_to_float(planes, {1, std::nan("")}, alpha); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::planes_to_float(planes, {}, alpha); });
  const Tensor y = Tensor::zeros(DType::i32, {2, 6}, test::device());
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        ops::combine_planes(y, {1, 2, 4, 8});
      },
      "multiple of 4");
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::combine_planes(y, {1.5}); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::combine_planes(y, {}); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::combine_planes(y, {INFINITY}); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::combine_planes(w, {1}); });
}

}  // namespace
}  // namespace hardbit
