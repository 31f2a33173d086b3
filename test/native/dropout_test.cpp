#include "ops/dropout.h"

#include <cmath>
#include <limits>

#include "bit_cases.h"
#include "cpu/dropout.h"
#include "guarded.h"
#include "ops/reference.h"
#include "runtime/random.h"
#include "support.h"

namespace hardbit {
namespace {

using test::bytes;
using test::expect_error;
using test::expect_same;
using test::expect_same_on_all_thread_counts;
using test::random_tensor;

const std::vector<Shape> shapes = {{}, {0}, {1}, {3, 0}, {5, 3}, {2, 65}, {3, 129}, {2, 3, 5, 67}};

TEST(Dropout, ElementIIsKeptByDrawI) {
  for (const Shape& shape : shapes) {
    for (const double rate : {0.0, 0.1, 0.5, 0.9}) {
      const Tensor x = random_tensor(shape, 1);
      test::poison_cache();
      const auto [y, mask] = ops::dropout(x, rate, 7, 3, (1ULL << 40) + 5);
      Tensor expected = Tensor::zeros(DType::f32, shape, test::device());
      Tensor kept = Tensor::empty(DType::f32, shape, test::device());
      for (std::int64_t i = 0; i < x.count(); ++i) {
        const auto words = Philox(7)({static_cast<std::uint32_t>(i / 4), 5, 1 << 8, 3});
        const bool keep = static_cast<double>(words[static_cast<std::size_t>(i % 4)]) >= rate * 0x1p32;
        kept.data<float>()[i] = keep ? 1 : -1;
        if (keep)
          expected.data<float>()[i] =
              static_cast<float>(static_cast<double>(x.data<float>()[i]) / (1 - rate));
      }
      expect_same(y, expected, to_string(shape));
      expect_same(mask, ops::reference::pack_signs(kept), to_string(shape));
      expect_same(ops::dropout_backward(x, mask, rate), expected, to_string(shape));
    }
  }
}

TEST(Dropout, KeepsTheMean) {
  const Tensor x = test::make({100'000}, std::vector<float>(100'000, 1));
  for (const double rate : {0.1, 0.5, 0.75}) {
    const Tensor y = ops::dropout(x, rate, 1, 2, 3).y;
    double sum = 0;
    for (const float v : y.span<float>()) sum += static_cast<double>(v);
    EXPECT_NEAR(sum / 1e5, 1, 6 * std::sqrt(rate / (1 - rate) / 1e5));
  }
}

TEST(Dropout, SeedsStreamsAndStepsDiffer) {
  const Tensor x = random_tensor({1000}, 2);
  const auto mask = [&](std::uint64_t seed, std::uint64_t stream, std::uint64_t step) {
    return bytes(ops::dropout(x, 0.5, seed, stream, step).mask);
  };
  const auto base = mask(1, 2, 3);
  EXPECT_EQ(mask(1, 2, 3), base);
  EXPECT_NE(mask(2, 2, 3), base);
  EXPECT_NE(mask(1, 3, 3), base);
  EXPECT_NE(mask(1, 2, 4), base);
  EXPECT_NE(mask(1, 2, 3 + (1ULL << 32)), base);
}

TEST(Dropout, DroppedIsZeroWhateverItWas) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const auto [y, mask] = ops::dropout(test::make({1000}, std::vector<float>(1000, nan)), 0.5, 1, 2, 3);
  for (std::int64_t i = 0; i < 1000; ++i) {
    if (ops::reference::bit(mask, 0, i)) {
      EXPECT_TRUE(std::isnan(y.data<float>()[i]));
    } else {
      EXPECT_EQ(y.data<float>()[i], 0);
    }
  }
}

TEST(Dropout, WritesNothingElse) {
  for (const std::int64_t rows : {1, 3}) {
    for (const std::int64_t columns : {1, 3, 63, 64, 65, 130}) {
      const test::Guarded<std::uint64_t> mask(static_cast<std::size_t>(rows * words(columns)));
      const test::Guarded<float> x(test::random_floats(rows * columns, 3));
      const test::Guarded<float> y(x.size());
      cpu::dropout_mask(Philox(1), 2, 3, 0.5, mask.data(), rows, columns);
      cpu::apply_dropout(x.data(), mask.data(), 0.5, y.data(), rows, columns);
      EXPECT_TRUE(mask.intact() && y.intact());
    }
  }
}

TEST(Dropout, DoesNotDependOnTheThreadCount) {
  const Tensor x = random_tensor({301, 401}, 4);
  expect_same_on_all_thread_counts([&] { return ops::dropout(x, 0.3, 1, 2, 3).y; });
  expect_same_on_all_thread_counts([&] { return ops::dropout(x, 0.3, 1, 2, 3).mask; });
}

TEST(Dropout, RefusesWrongArguments) {
  const Tensor x = Tensor::zeros(DType::f32, {2, 3}, test::device());
  const Tensor mask = Tensor::zeros(DType::bits, {2, 3}, test::device());
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::dropout(x, 1, 0, 0, 0); }, "rate is 1");
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::dropout(x, -0.1, 0, 0, 0); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::dropout(x, std::nan(""), 0, 0, 0); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::dropout(x, 0.5, 0, 1ULL << 32, 0); }, "stream");
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::dropout(mask, 0.5, 0, 0, 0); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::dropout_backward(x, x, 0.5); });
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    ops::dropout_backward(x, Tensor::zeros(DType::bits, {3, 2}, test::device()), 0.5);
  });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { ops::dropout_backward(x, mask, 2); });
}

}  // namespace
}  // namespace hardbit
