#include "ops/rows.h"

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

TEST(Rows, GatherCopiesRowsOfEveryDtype) {
  const Tensor indices = make<std::int32_t>({4}, {2, 0, 2, 1});
  EXPECT_EQ(values<float>(ops::gather(make<float>({3, 1, 2}, {0, 1, 2, 3, 4, 5}), indices)),
            (std::vector<float>{4, 5, 0, 1, 4, 5, 2, 3}));
  EXPECT_EQ(values<std::uint8_t>(ops::gather(make<std::uint8_t>({3}, {7, 8, 9}), indices)),
            (std::vector<std::uint8_t>{9, 7, 9, 8}));
  EXPECT_EQ(values<std::uint64_t>(ops::gather(make<std::uint64_t>({3, 65}, {1, 0, 2, 1, 3, 0}), indices)),
            (std::vector<std::uint64_t>{3, 0, 1, 0, 3, 0, 2, 1}));
}

TEST(Rows, GatherAgreesWithALoopOnAwkwardShapes) {
  for (const std::int64_t n : {1, 2, 127, 1009}) {
    for (const std::int64_t k : {1, 7, 785}) {
      const Tensor x = random_tensor({n, k}, 1);
      std::vector<std::int32_t> order;
      for (std::int64_t i = 0; i < n + 3; ++i) order.push_back(static_cast<std::int32_t>(i * 7919 % n));
      const Tensor y = ops::gather(x, make({n + 3}, order));
      ASSERT_EQ(y.shape(), (Shape{n + 3, k}));
      for (std::int64_t i = 0; i < n + 3; ++i) {
        ASSERT_EQ(bytes(y.slice(i, i + 1)),
                  bytes(x.slice(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(i)] + 1)));
      }
    }
  }
}

TEST(Rows, GatherOfNothing) {
  EXPECT_EQ(ops::gather(Tensor::zeros(DType::f32, {3, 2}), Tensor::zeros(DType::i32, {0})).shape(),
            (Shape{0, 2}));
  EXPECT_EQ(ops::gather(Tensor::zeros(DType::f32, {0, 2}), Tensor::zeros(DType::i32, {0})).shape(),
            (Shape{0, 2}));
  EXPECT_EQ(ops::gather(Tensor::zeros(DType::f32, {3, 0}), Tensor::zeros(DType::i32, {5})).shape(),
            (Shape{5, 0}));
}

TEST(Rows, ConcatAndSelect) {
  const Tensor a = make<float>({2, 2}, {1, 2, 3, 4});
  const Tensor b = make<float>({1, 2}, {5, 6});
  EXPECT_EQ(values<float>(ops::concat(a, b)), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(ops::concat(a, Tensor::zeros(DType::f32, {0, 2})).shape(), (Shape{2, 2}));
  const Tensor c = make<float>({2, 2}, {-1, -2, -3, -4});
  EXPECT_EQ(values<float>(ops::select_rows(make<std::uint8_t>({2}, {0, 200}), a, c)),
            (std::vector<float>{-1, -2, 3, 4}));
  const Tensor bits = make<std::uint64_t>({1, 65}, {1, 1});
  EXPECT_EQ(values<std::uint64_t>(ops::concat(bits, bits)), (std::vector<std::uint64_t>{1, 1, 1, 1}));
}

TEST(Rows, ZeroRowsFindsOnlyExactZeros) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = make<float>({5, 1, 3}, {0, -0.0F, 0, 0, 0, 1e-45F, nan, 0, 0, 0, 0, 0, 1, 2, 3});
  EXPECT_EQ(values<std::uint8_t>(ops::zero_rows(x)), (std::vector<std::uint8_t>{1, 0, 0, 1, 0}));
  EXPECT_EQ(ops::zero_rows(Tensor::zeros(DType::f32, {0, 4})).shape(), (Shape{0}));
  EXPECT_EQ(values<std::uint8_t>(ops::zero_rows(Tensor::zeros(DType::f32, {2, 0}))),
            (std::vector<std::uint8_t>{1, 1}));
}

TEST(Rows, ResultsDoNotDependOnTheThreadCount) {
  const Tensor a = random_tensor({1009, 131}, 1);
  const Tensor b = random_tensor({1009, 131}, 2);
  std::vector<std::uint8_t> mask(1009);
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = i % 3 == 0;
  expect_same_on_all_thread_counts([&] { return ops::select_rows(make({1009}, mask), a, b); });
  expect_same_on_all_thread_counts([&] { return ops::concat(a, b); });
}

TEST(Rows, RefusesWrongOperands) {
  const Tensor x = Tensor::zeros(DType::f32, {3, 2});
  expect_error(
      "ERR_HARDBIT_ARGUMENT",
      [&] {
        ops::gather(x, make<std::int32_t>({2}, {0, 3}));
      },
      "index 3");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::gather(x, make<std::int32_t>({1}, {-1})); }, "index -1");
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::gather(x, x); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::gather(x, Tensor::zeros(DType::i32, {1, 1})); });
  expect_error("ERR_HARDBIT_SHAPE",
               [&] { ops::gather(Tensor::zeros(DType::bits, {64}), Tensor::zeros(DType::i32, {1})); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::concat(x, x.reshape({2, 3})); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::concat(x, x.reshape({6})); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::concat(x, Tensor::zeros(DType::i32, {3, 2})); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::select_rows(Tensor::zeros(DType::u8, {2}), x, x); });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::select_rows(Tensor::zeros(DType::i32, {3}), x, x); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::zero_rows(Tensor::zeros(DType::f32, {})); });
}

}  // namespace
}  // namespace hardbit
