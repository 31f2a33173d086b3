#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/attack.h"
#include "guarded.h"
#include "ops/attack.h"
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

using test::host;

/// ‖a − b‖₂ of a row in long double; both on the host.
double distance(const Tensor& a, const Tensor& b, std::int64_t row) {
  const std::int64_t columns = a.count() / a.dim(0);
  long double sum = 0;
  for (std::int64_t i = row * columns; i < (row + 1) * columns; ++i) {
    const long double d =
        static_cast<long double>(a.data<float>()[i]) - static_cast<long double>(b.data<float>()[i]);
    sum += d * d;
  }
  return static_cast<double>(std::sqrt(sum));
}

void expect_inside(const Tensor& y, const Tensor& origin, double epsilon, const std::string& what) {
  const auto measured = values<float>(ops::row_distances(y, origin));
  const Tensor reached = host(y);
  const Tensor center = host(origin);
  for (std::int64_t row = 0; row < y.dim(0); ++row) {
    ASSERT_LE(distance(reached, center, row), epsilon * (1 + 1e-12)) << what << ", row " << row;
    ASSERT_LE(static_cast<double>(measured[static_cast<std::size_t>(row)]), epsilon * (1 + 1e-6)) << what;
  }
  ASSERT_EQ(ops::count_invalid_pixels(y), 0) << what;
}

TEST(RowDistances, AreSumsInDouble) {
  for (const Shape& shape : std::vector<Shape>{{0, 3}, {3, 0}, {1, 1}, {5, 7}, {3, 4, 5, 3}, {301, 785}}) {
    const Tensor a = random_tensor(shape, 1);
    const Tensor b = random_tensor(shape, 2);
    const Tensor d = ops::row_distances(a, b);
    ASSERT_EQ(d.shape(), (Shape{shape[0]}));
    for (std::int64_t row = 0; row < shape[0]; ++row) {
      EXPECT_FLOAT_EQ(host(d).data<float>()[row], static_cast<float>(distance(host(a), host(b), row)));
    }
  }
  const auto one = [](const Tensor& a, const Tensor& b) {
    return values<float>(ops::row_distances(a, b))[0];
  };
  EXPECT_EQ(one(make<float>({1, 2}, {3e38F, 0}), make<float>({1, 2}, {0, 0})), 3e38F);
  EXPECT_EQ(one(make<float>({1, 1}, {1e-45F}), make<float>({1, 1}, {0})), 1e-45F);
}

TEST(AttackStepL2, AgreesWithTheFormulaInDouble) {
  for (const Shape& shape : std::vector<Shape>{{2, 1}, {3, 7}, {5, 28, 28, 1}, {130, 33}}) {
    for (const double step : {0.01, 0.5, -0.3, 40.0}) {
      for (const double epsilon : {0.05, 0.7, 3.0, 100.0}) {
        const Tensor operands[] = {random_tensor(shape, 3, 0, 1), random_tensor(shape, 4),
                                   random_tensor(shape, 5, 0, 1)};
        const Tensor x = host(operands[0]);
        const Tensor g = host(operands[1]);
        const Tensor origin = host(operands[2]);
        const std::int64_t columns = x.count() / shape[0];
        test::poison_cache();
        const Tensor result = ops::attack_step_l2(operands[0], operands[1], operands[2], step, epsilon);
        const Tensor y = host(result);
        const Tensor zero = Tensor::zeros(DType::f32, shape);
        for (std::int64_t row = 0; row < shape[0]; ++row) {
          const double length = distance(g, zero, row);
          std::vector<double> d;
          double squares = 0;
          for (std::int64_t i = row * columns; i < (row + 1) * columns; ++i) {
            d.push_back(static_cast<double>(x.data<float>()[i]) +
                        step * static_cast<double>(g.data<float>()[i]) / length -
                        static_cast<double>(origin.data<float>()[i]));
            squares += d.back() * d.back();
          }
          const double shrink = std::min(1.0, epsilon / std::sqrt(squares));
          for (std::int64_t c = 0; c < columns; ++c) {
            const auto o = static_cast<double>(origin.data<float>()[row * columns + c]);
            const double expected = std::clamp(o + d[static_cast<std::size_t>(c)] * shrink, 0.0, 1.0);
            ASSERT_NEAR(y.data<float>()[row * columns + c], expected, 6.1e-8);  // one ulp below 1
          }
        }
        expect_inside(result, operands[2], epsilon, "epsilon " + std::to_string(epsilon));
      }
    }
  }
}

TEST(AttackStepL2, NeverLeavesTheBall) {
  // An emulated GPU takes its time.
  const bool all = test::device() == Device::cpu;
  for (const double epsilon : {0.0, 1e-30, 1e-9, 1e-7, 1e-6, 1e-4, 0.0123, 0.5, 1.5, 28.0, 1e10, 1e38}) {
    for (const double step :
         all ? std::vector{1e-30, 1e-8, 1e-3, 0.25, 10.0, 1e20} : std::vector{1e-8, 0.25, 1e20}) {
      for (const float size : all ? std::vector{1e-38F, 1e-30F, 1.0F, 1e30F} : std::vector{1e-38F, 1.0F}) {
        Tensor x = random_tensor({6, 97}, 6, 0, 1);
        const Tensor g = random_tensor({6, 97}, 7, -size, size);
        auto pixels = test::random_floats(6 * 97, 8, 0, 1);
        // Pixels at the edges and near zero, where rounding is uneven.
        for (std::size_t i = 0; i < 97; ++i) pixels[i] = i % 2 == 0 ? 0.0F : 1.0F;
        for (std::size_t i = 97; i < 194; ++i) pixels[i] *= 1e-6F;
        const Tensor origin = make({6, 97}, pixels);
        for (int i = 0; i < (all ? 4 : 2); ++i) {
          x = ops::attack_step_l2(x, g, origin, step, epsilon);
          expect_inside(x, origin, epsilon, "epsilon " + std::to_string(epsilon));
        }
      }
    }
  }
}

TEST(AttackStepL2, AnyScaleOfTheGradientIsTheSameDirection) {
  const Tensor x = make({1, 4}, std::vector<float>(4, 0.5F));
  for (const float size : {1e-30F, 1e-3F, 1.0F, 1e30F}) {
    const Tensor g = make<float>({1, 4}, {3 * size, 0, -4 * size, 0});
    const auto y = values<float>(ops::attack_step_l2(x, g, x, 0.25, 1));
    EXPECT_NEAR(y[0], 0.65, 1e-7);
    EXPECT_EQ(y[1], 0.5F);
    EXPECT_NEAR(y[2], 0.3, 1e-7);
  }
}

TEST(AttackStepL2, AZeroOrBrokenGradientMovesNothing) {
  const Tensor x = random_tensor({5, 9}, 9, 0.4F, 0.6F);
  std::vector<float> g(5 * 9);
  g[9 + 2] = -0.0F;
  g[18 + 2] = nan;
  g[27 + 2] = infinity;
  g[36 + 2] = 1e-45F;  // the smallest gradient moves
  const Tensor y = ops::attack_step_l2(x, make({5, 9}, g), x, 0.25, 1);
  EXPECT_EQ(bytes(y.slice(0, 4)), bytes(x.slice(0, 4)));
  EXPECT_FLOAT_EQ(values<float>(y)[36 + 2], values<float>(x)[36 + 2] + 0.25F);
  // It is projected all the same.
  const Tensor origin = Tensor::zeros(DType::f32, {5, 9}, test::device());
  expect_inside(ops::attack_step_l2(x, Tensor::zeros(DType::f32, {5, 9}, test::device()), origin, 0.25, 0.5),
                origin, 0.5, "0");
}

TEST(AttackUniformStartL2, StaysInsideTheBall) {
  const Tensor origin = random_tensor({50, 3, 257}, 10, 0, 1);
  for (const double epsilon : {0.0, 1e-30, 1e-9, 1e-6, 0.01, 2.0, 1e6, 1e38})
    expect_inside(ops::attack_uniform_start_l2(origin, epsilon, 1, 2, 3), origin, epsilon,
                  std::to_string(epsilon));
}

/// In d dimensions (r/ε)^d is uniform in [0, 1), and directions have no preference.
TEST(AttackUniformStartL2, IsUniformInTheBall) {
  for (const std::int64_t d : {1, 2, 3, 10}) {
    const std::int64_t rows = test::device() == Device::cpu ? 20'000 : 1'000;  // emulated, a row is a block
    const Tensor origin = make({rows, d}, std::vector<float>(static_cast<std::size_t>(rows * d), 0.5F));
    const Tensor start = ops::attack_uniform_start_l2(origin, 0.25, 5, 6, 7);
    const Tensor y = host(start);
    std::vector<double> levels;
    for (const float r : values<float>(ops::row_distances(start, origin)))
      levels.push_back(std::pow(static_cast<double>(r) / 0.25, static_cast<double>(d)));
    std::sort(levels.begin(), levels.end());
    double worst = 0;  // Kolmogorov–Smirnov
    for (std::size_t i = 0; i < levels.size(); ++i)
      worst = std::max(worst, std::abs(levels[i] - static_cast<double>(i) / static_cast<double>(rows)));
    EXPECT_LT(worst, 2.2 / std::sqrt(static_cast<double>(rows))) << d;
    for (std::int64_t c = 0; c < d; ++c) {
      double sum = 0;
      double squares = 0;
      for (std::int64_t row = 0; row < rows; ++row) {
        const double v = static_cast<double>(y.data<float>()[row * d + c]) - 0.5;
        sum += v;
        squares += v * v;
      }
      const double variance = 0.0625 / static_cast<double>(d + 2);  // of a coordinate of the uniform ball
      EXPECT_NEAR(sum / static_cast<double>(rows), 0, 6 * std::sqrt(variance / static_cast<double>(rows)));
      EXPECT_NEAR(squares / static_cast<double>(rows), variance,
                  6 * std::sqrt(2 / static_cast<double>(rows)) * variance);
    }
  }
}

TEST(AttackUniformStartL2, BatchingChangesNothingAndRowsSeedsAndStreamsDiffer) {
  for (const std::int64_t columns : {1, 3, 4, 5, 785}) {
    const Tensor x = random_tensor({9, 1, columns}, 11, 0, 1);
    const auto whole = bytes(ops::attack_uniform_start_l2(x, 0.5, 7, 2, 100));
    std::vector<unsigned char> parts;
    for (const auto& [begin, end] : {std::pair{0, 1}, {1, 5}, {5, 5}, {5, 9}}) {
      const auto part = bytes(ops::attack_uniform_start_l2(x.slice(begin, end), 0.5, 7, 2,
                                                           static_cast<std::uint64_t>(100 + begin)));
      parts.insert(parts.end(), part.begin(), part.end());
    }
    ASSERT_EQ(parts, whole) << columns;
  }
  const Tensor x = make({1, 784}, std::vector<float>(784, 0.5F));
  const auto base = bytes(ops::attack_uniform_start_l2(x, 0.5, 7, 2, 100));
  EXPECT_NE(bytes(ops::attack_uniform_start_l2(x, 0.5, 8, 2, 100)), base);
  EXPECT_NE(bytes(ops::attack_uniform_start_l2(x, 0.5, 7, 3, 100)), base);
  EXPECT_NE(bytes(ops::attack_uniform_start_l2(x, 0.5, 7, 2, 101)), base);
}

TEST(AttackL2, WritesNothingElse) {
  if (test::device() != Device::cpu) GTEST_SKIP() << "the cpu's own";
  for (const std::int64_t rows : {0, 1, 3}) {
    for (const std::int64_t columns : {0, 1, 5, 8, 129}) {
      const auto n = static_cast<std::size_t>(rows * columns);
      const test::Guarded<float> x(test::random_floats(rows * columns, 12, 0, 1));
      const test::Guarded<float> g(test::random_floats(rows * columns, 13));
      const test::Guarded<float> y(n);
      const test::Guarded<float> distances(static_cast<std::size_t>(rows));
      cpu::attack_step_l2(x.data(), g.data(), x.data(), 0.5, 0.1, y.data(), rows, columns);
      cpu::attack_uniform_start_l2(x.data(), 0.1, Philox(1), 2, 3, y.data(), rows, columns);
      cpu::row_distances(x.data(), y.data(), distances.data(), rows, columns);
      EXPECT_TRUE(y.intact() && distances.intact());
    }
  }
}

TEST(AttackL2, DoesNotDependOnTheThreadCount) {
  const Shape shape = {test::device() == Device::cpu ? 301 : 61, 785};
  const Tensor x = random_tensor(shape, 14, 0, 1);
  const Tensor g = random_tensor(shape, 15);
  const Tensor origin = random_tensor(shape, 16, 0, 1);
  expect_same_on_all_thread_counts([&] { return ops::attack_step_l2(x, g, origin, 0.5, 2); });
  expect_same_on_all_thread_counts([&] { return ops::attack_uniform_start_l2(origin, 2, 1, 2, 3); });
  expect_same_on_all_thread_counts([&] { return ops::row_distances(x, origin); });
}

TEST(AttackL2, RefusesWrongArguments) {
  const Tensor x = Tensor::zeros(DType::f32, {2, 3}, test::device());
  const Tensor bad = Tensor::zeros(DType::f32, {3, 2}, test::device());
  const Tensor scalar = Tensor::zeros(DType::f32, {}, test::device());
  const Tensor codes = Tensor::zeros(DType::u8, {2, 3}, test::device());
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::attack_step_l2(x, bad, x, 0.1, 0.1); }, "gradient");
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { ops::attack_step_l2(x, x, bad, 0.1, 0.1); }, "origin");
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::attack_step_l2(scalar, scalar, scalar, 0.1, 0.1); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::attack_step_l2(codes, x, x, 0.1, 0.1); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::attack_step_l2(x, x, x, 0.1, -1); }, "epsilon is -1");
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::attack_step_l2(x, x, x, 0.1, INFINITY); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::attack_step_l2(x, x, x, std::nan(""), 0.1); }, "stepSize");
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::attack_uniform_start_l2(x, -1, 0, 0, 0); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::attack_uniform_start_l2(x, 1, 0, 1ULL << 32, 0); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::attack_uniform_start_l2(codes, 1, 0, 0, 0); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::row_distances(x, bad); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::row_distances(scalar, scalar); });
}

}  // namespace
}  // namespace hardbit
