#include "ops/rows.h"

#include <limits>

#include "ops/elementwise.h"
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
      const auto from = values<float>(x);
      std::vector<float> expected;
      for (const std::int32_t row : order) {
        const auto begin = from.begin() + row * k;
        expected.insert(expected.end(), begin, begin + k);
      }
      ASSERT_EQ(values<float>(y), expected);
    }
  }
}

TEST(Rows, GatherImagesScalesBytesAndCopiesFloats) {
  std::vector<std::uint8_t> all(256);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint8_t>(i);
  const Tensor u8 = make({4, 8, 4, 2}, all);
  const Tensor indices = make<std::int32_t>({5}, {3, 0, 0, 2, 1});
  const Tensor y = ops::gather_images(u8, indices);
  ASSERT_EQ(y.shape(), (Shape{5, 8, 4, 2}));
  EXPECT_EQ(bytes(y), bytes(ops::u8_to_float(ops::gather(u8, indices))));
  EXPECT_EQ(y.data<float>()[63], 1.0F);
  const Tensor f = random_tensor({4, 3, 5}, 1);
  EXPECT_EQ(bytes(ops::gather_images(f, indices)), bytes(ops::gather(f, indices)));
  EXPECT_EQ(ops::gather_images(u8, Tensor::zeros(DType::i32, {0}, test::device())).shape(),
            (Shape{0, 8, 4, 2}));
  EXPECT_EQ(ops::gather_images(Tensor::zeros(DType::u8, {0, 2}, test::device()),
                               Tensor::zeros(DType::i32, {0}, test::device()))
                .shape(),
            (Shape{0, 2}));
  expect_error(
      "ERR_HARDBIT_ARGUMENT",
      [&] {
        ops::gather_images(u8, make<std::int32_t>({2}, {0, 4}).to(Device::cpu));
      },
      "index 4");
  expect_error("ERR_HARDBIT_ARGUMENT",
               [&] { ops::gather_images(u8, make<std::int32_t>({1}, {-1}).to(Device::cpu)); });
  expect_error("ERR_HARDBIT_DTYPE", [&] {
    ops::gather_images(Tensor::zeros(DType::bits, {4, 2}, test::device()), indices);
  });
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::gather_images(u8, f); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::gather_images(u8, indices.reshape({1, 5})); });
}

TEST(Rows, ImagesOfBitsAreRowsToo) {
  const Shape shape = {5, 3, 2, 65};
  std::vector<std::uint64_t> words(5 * 3 * 2 * 2);
  for (std::size_t i = 0; i < words.size(); ++i)
    words[i] = i % 2 == 0 ? 0x9E3779B97F4A7C15 * (i + 1) : i / 2 % 2;
  const Tensor x = make(shape, words);
  const auto image = [&](std::int64_t i) { return bytes(x.slice(i, i + 1)); };
  const auto joined = [](std::vector<unsigned char> a, const std::vector<unsigned char>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  EXPECT_EQ(values<std::uint64_t>(x.slice(1, 2)),
            std::vector<std::uint64_t>(words.begin() + 12, words.begin() + 24));
  EXPECT_EQ(bytes(ops::gather(x, make<std::int32_t>({2}, {4, 1}))), joined(image(4), image(1)));
  const Tensor both = ops::concat(x.slice(2, 3), x.slice(0, 1));
  EXPECT_EQ(both.shape(), (Shape{2, 3, 2, 65}));
  EXPECT_EQ(bytes(both), joined(image(2), image(0)));
  const Tensor chosen = ops::select_rows(make<std::uint8_t>({2}, {1, 0}), x.slice(0, 2), x.slice(3, 5));
  EXPECT_EQ(bytes(chosen), joined(image(0), image(4)));
  const Tensor copy = x.slice(1, 4).clone();
  EXPECT_EQ(copy.shape(), (Shape{3, 3, 2, 65}));
  EXPECT_EQ(bytes(copy), bytes(x.slice(1, 4)));
  EXPECT_EQ(bytes(x.reshape({30, 65}).slice(6, 12)), image(1));
}

TEST(Rows, GatherOfNothing) {
  EXPECT_EQ(ops::gather(Tensor::zeros(DType::f32, {3, 2}, test::device()),
                        Tensor::zeros(DType::i32, {0}, test::device()))
                .shape(),
            (Shape{0, 2}));
  EXPECT_EQ(ops::gather(Tensor::zeros(DType::f32, {0, 2}, test::device()),
                        Tensor::zeros(DType::i32, {0}, test::device()))
                .shape(),
            (Shape{0, 2}));
  EXPECT_EQ(ops::gather(Tensor::zeros(DType::f32, {3, 0}, test::device()),
                        Tensor::zeros(DType::i32, {5}, test::device()))
                .shape(),
            (Shape{5, 0}));
}

TEST(Rows, ConcatAndSelect) {
  const Tensor a = make<float>({2, 2}, {1, 2, 3, 4});
  const Tensor b = make<float>({1, 2}, {5, 6});
  EXPECT_EQ(values<float>(ops::concat(a, b)), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(ops::concat(a, Tensor::zeros(DType::f32, {0, 2}, test::device())).shape(), (Shape{2, 2}));
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
  EXPECT_EQ(ops::zero_rows(Tensor::zeros(DType::f32, {0, 4}, test::device())).shape(), (Shape{0}));
  EXPECT_EQ(values<std::uint8_t>(ops::zero_rows(Tensor::zeros(DType::f32, {2, 0}, test::device()))),
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

TEST(Rows, WrongIndicesOnTheGpuAreReportedByTheNextRead) {
  if (test::device() == Device::cpu) GTEST_SKIP() << "the cpu checks indices before it gathers";
  const Tensor x = make<float>({3, 2}, {1, 2, 3, 4, 5, 6});
  const Tensor y = ops::gather(x, make<std::int32_t>({2}, {2, 3}));
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { values<float>(y); }, "gather");
  EXPECT_EQ(values<float>(y), (std::vector<float>{5, 6, 1, 2}));  // reported once
}

TEST(Rows, RefusesWrongOperands) {
  const Tensor x = Tensor::zeros(DType::f32, {3, 2}, test::device());
  expect_error(
      "ERR_HARDBIT_ARGUMENT",
      [&] {
        ops::gather(x, make<std::int32_t>({2}, {0, 3}).to(Device::cpu));
      },
      "index 3");
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [&] { ops::gather(x, make<std::int32_t>({1}, {-1}).to(Device::cpu)); },
      "index -1");
  expect_error("ERR_HARDBIT_DTYPE", [&] { ops::gather(x, x); });
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    ops::gather(x, Tensor::zeros(DType::i32, {1, 1}, test::device()));
  });
  expect_error("ERR_HARDBIT_SHAPE", [&] {
    ops::gather(Tensor::zeros(DType::bits, {64}, test::device()),
                Tensor::zeros(DType::i32, {1}, test::device()));
  });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::concat(x, x.reshape({2, 3})); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::concat(x, x.reshape({6})); });
  expect_error("ERR_HARDBIT_DTYPE", [&] {
    ops::concat(x, Tensor::zeros(DType::i32, {3, 2}, test::device()));
  });
  expect_error("ERR_HARDBIT_SHAPE",
               [&] { ops::select_rows(Tensor::zeros(DType::u8, {2}, test::device()), x, x); });
  expect_error("ERR_HARDBIT_DTYPE",
               [&] { ops::select_rows(Tensor::zeros(DType::i32, {3}, test::device()), x, x); });
  expect_error("ERR_HARDBIT_SHAPE", [&] { ops::zero_rows(Tensor::zeros(DType::f32, {}, test::device())); });
}

}  // namespace
}  // namespace hardbit
