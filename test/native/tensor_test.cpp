#include "runtime/tensor.h"

#include <limits>

#include "runtime/cuda_build.h"
#include "support.h"

namespace hardbit {
namespace {

using test::expect_error;
using test::make;
using test::values;

TEST(Tensor, KnowsItsSizes) {
  const Tensor x = Tensor::empty(DType::i16, {2, 3, 5});
  EXPECT_EQ(x.count(), 30);
  EXPECT_EQ(x.rows(), 6);
  EXPECT_EQ(x.columns(), 5);
  EXPECT_EQ(x.byte_length(), 60U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(x.raw()) % 64, 0U);
  EXPECT_EQ(to_string(x.shape()), "[2, 3, 5]");
  EXPECT_STREQ(name(x.dtype()), "i16");
}

TEST(Tensor, ARankZeroTensorHoldsOneElement) {
  const Tensor x = Tensor::zeros(DType::f32, {});
  EXPECT_EQ(x.count(), 1);
  EXPECT_EQ(x.rows(), 1);
  EXPECT_EQ(x.columns(), 1);
  EXPECT_EQ(values<float>(x), std::vector<float>{0});
}

TEST(Tensor, EmptyShapesHaveNoBytes) {
  for (const Shape& shape : {Shape{0}, Shape{0, 5}, Shape{5, 0}, Shape{2, 0, 3}}) {
    for (const DType dtype : {DType::f32, DType::u8, DType::bits}) {
      const Tensor x = Tensor::zeros(dtype, shape);
      EXPECT_EQ(x.count(), 0);
      EXPECT_EQ(x.byte_length(), 0U);
      EXPECT_NE(x.raw(), nullptr);
      EXPECT_EQ(x.clone().shape(), shape);
    }
  }
}

TEST(Tensor, BitsRowsArePaddedWithZeros) {
  for (const std::int64_t k : {1, 63, 64, 65, 127, 128, 129}) {
    // A dirty block comes back from the cache.
    {
      std::memset(Tensor::empty(DType::bits, {3, k}).raw(), 0xFF, static_cast<std::size_t>(3 * words(k) * 8));
    }
    const Tensor x = Tensor::empty(DType::bits, {3, k});
    EXPECT_EQ(x.row_words(), words(k));
    EXPECT_EQ(x.byte_length(), static_cast<std::size_t>(3 * words(k) * 8));
    if (k % 64 == 0) continue;
    for (std::int64_t row = 0; row < 3; ++row) {
      const std::uint64_t last = x.data<std::uint64_t>()[(row + 1) * words(k) - 1];
      EXPECT_EQ(last >> (k % 64), 0U) << k;
    }
  }
}

TEST(Tensor, ViewsShareStorage) {
  const Tensor x = make<float>({3, 2}, {0, 1, 2, 3, 4, 5});
  const Tensor flat = x.reshape({6});
  const Tensor rows = x.slice(1, 3);
  flat.data<float>()[2] = 20;
  EXPECT_EQ(values<float>(rows), (std::vector<float>{20, 3, 4, 5}));
  EXPECT_EQ(rows.shape(), (Shape{2, 2}));
  EXPECT_EQ(values<float>(rows.slice(1, 2)), (std::vector<float>{4, 5}));
  const Tensor copy = rows.clone();
  flat.data<float>()[2] = -1;
  EXPECT_EQ(values<float>(copy), (std::vector<float>{20, 3, 4, 5}));
}

TEST(Tensor, AViewKeepsTheStorageAlive) {
  const std::int64_t before = live_storages();
  Tensor view;
  {
    const Tensor x = Tensor::zeros(DType::f32, {4, 2});
    view = x.slice(2, 4);
    EXPECT_EQ(live_storages(), before + 1);
  }
  EXPECT_EQ(live_storages(), before + 1);
  EXPECT_EQ(values<float>(view), std::vector<float>(4, 0.0F));
  view = Tensor();
  EXPECT_EQ(live_storages(), before);
}

TEST(Tensor, SlicesBitsByRows) {
  const Tensor x = make<std::uint64_t>({3, 65}, {1, 0, 2, 1, 3, 0});
  EXPECT_EQ(values<std::uint64_t>(x.slice(1, 2)), (std::vector<std::uint64_t>{2, 1}));
  expect_error("ERR_HARDBIT_SHAPE", [] { Tensor::zeros(DType::bits, {65}).slice(0, 1); });
}

TEST(Tensor, EmptySlicesAreAllowed) {
  EXPECT_EQ(Tensor::zeros(DType::f32, {3, 2}).slice(3, 3).count(), 0);
  EXPECT_EQ(Tensor::zeros(DType::f32, {0, 2}).slice(0, 0).count(), 0);
}

TEST(Tensor, RefusesWrongShapes) {
  const Tensor x = Tensor::zeros(DType::f32, {3, 2});
  const Tensor b = Tensor::zeros(DType::bits, {4, 6});
  expect_error(
      "ERR_HARDBIT_SHAPE", [&] { x.reshape({5}); }, "6 elements");
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        x.reshape({-1, -6});
      },
      "negative");
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        b.reshape({6, 4});
      },
      "last dimension");
  EXPECT_EQ(b.reshape({2, 2, 6}).shape(), (Shape{2, 2, 6}));
  EXPECT_EQ(Tensor::zeros(DType::bits, {4, 64}).reshape({2, 128}).shape(), (Shape{2, 128}));
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { x.slice(-1, 2); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { x.slice(2, 1); });
  expect_error("ERR_HARDBIT_ARGUMENT", [&] { x.slice(0, 4); });
  expect_error("ERR_HARDBIT_SHAPE", [] { Tensor::zeros(DType::f32, {}).slice(0, 1); });
  expect_error(
      "ERR_HARDBIT_SHAPE",
      [] {
        Tensor::empty(DType::f32, {2, -3});
      },
      "[2, -3]");
}

TEST(Tensor, RefusesShapesThatOverflow) {
  constexpr std::int64_t huge = std::int64_t{1} << 40;
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  for (const Shape& shape :
       {Shape{huge, huge}, Shape{huge, huge, 0}, Shape{0, most, 2}, Shape{most}, Shape{most, most}}) {
    for (const DType dtype : {DType::f32, DType::u8, DType::bits}) {
      if (dtype == DType::bits && shape == Shape{most}) continue;  // 2^63 bits do fit in an address space
      expect_error("ERR_HARDBIT_SHAPE", [&] { Tensor::empty(dtype, shape); });
    }
  }
  expect_error(
      "ERR_HARDBIT_MEMORY", [] { Tensor::empty(DType::u8, {std::int64_t{1} << 52}); }, "4503599627370496");
}

TEST(Tensor, CudaIsRefusedWithoutCuda) {
  if (cuda_built) GTEST_SKIP() << "this build has CUDA";
  expect_error("ERR_HARDBIT_NO_CUDA", [] { Tensor::empty(DType::f32, {1}, Device::cuda); });
}

}  // namespace
}  // namespace hardbit
