#include "ops/bits.h"

#include <gtest/gtest.h>

#include "bit_cases.h"
#include "ops/reference.h"

namespace hardbit {
namespace {

TEST(PackSigns, GivesPlusForBothZerosAndMinusForNan) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = test::make<float>({8}, {0.0F, -0.0F, 1e-45F, -1e-45F, nan, -nan, 2.0F, -2.0F});
  EXPECT_EQ(ops::pack_signs(x).data<std::uint64_t>()[0], 0b01000111U);
}

TEST(PackSigns, NeverSetsPaddingBits) {
  for (const std::int64_t columns : test::awkward_lengths) {
    Tensor x = Tensor::empty(DType::f32, {3, columns}, test::device());
    std::fill_n(x.data<float>(), x.count(), 1.0F);
    const Tensor bits = ops::pack_signs(x);
    for (std::int64_t r = 0; r < 3; ++r) {
      for (std::int64_t k = 0; k < bits.row_words(); ++k) {
        const std::int64_t n = std::min<std::int64_t>(64, columns - 64 * k);
        EXPECT_EQ(bits.data<std::uint64_t>()[r * bits.row_words() + k],
                  n == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1);
      }
    }
  }
}

TEST(PackSigns, KeepsShapesOfEveryRank) {
  for (const Shape& shape :
       std::vector<Shape>{{}, {1}, {0}, {130}, {2, 65}, {3, 0}, {0, 3}, {2, 3, 70}, {2, 2, 2, 9}}) {
    const Tensor x = test::awkward_tensor(shape, 5);
    const Tensor bits = ops::pack_signs(x);
    test::expect_same(bits, ops::reference::pack_signs(x), to_string(shape));
    test::expect_same(ops::unpack_signs(bits), ops::reference::unpack_signs(bits), to_string(shape));
  }
}

TEST(PackSigns, IsInvertedByUnpackSigns) {
  for (const std::int64_t columns : test::awkward_lengths) {
    const Tensor bits = test::random_bits({7, columns}, 3).to(test::device());
    test::expect_same(ops::pack_signs(ops::unpack_signs(bits)), bits, std::to_string(columns));
  }
}

TEST(ReshapeSigns, KeepsEveryBitInItsPlace) {
  const std::vector<std::pair<Shape, Shape>> cases = {
      {{4, 6}, {6, 4}},
      {{24}, {2, 3, 4}},
      {{7, 65}, {65, 7}},
      {{3, 4, 50}, {3, 200}},
      {{3, 4, 50}, {600}},
      {{600}, {4, 3, 50}},
      {{5, 64}, {64, 5}},
      {{2, 96}, {6, 32}},
      {{2, 4, 4, 512}, {2, 8192}},
      {{1000, 3}, {3, 1000}},
      {{33, 129}, {129, 33}},
      {{2, 0}, {0, 7}},
      {{1}, {}},
      {{301, 770}, {770, 301}},
  };
  for (const auto& each : cases) {
    const Shape& from = each.first;  // a lambda may capture no structured binding before clang 16
    const Shape& to = each.second;
    SCOPED_TRACE(to_string(from) + " to " + to_string(to));
    const Tensor bits = test::random_bits(from, 8).to(test::device());
    const Tensor expected = ops::reference::pack_signs(ops::reference::unpack_signs(bits).reshape(to));
    test::poison_cache();
    test::expect_same(ops::reshape_signs(bits, to), expected, "bits");
    test::expect_same_on_all_thread_counts([&] { return ops::reshape_signs(bits, to); });
  }
}

TEST(ReshapeSigns, SharesWholeWords) {
  const Tensor bits = test::random_bits({2, 3, 128}, 8).to(test::device());
  EXPECT_EQ(ops::reshape_signs(bits, {6, 128}).raw(), bits.raw());
  EXPECT_EQ(ops::reshape_signs(bits, {2, 384}).raw(), bits.raw());
  EXPECT_EQ(ops::reshape_signs(bits, {12, 64}).raw(), bits.raw());
  EXPECT_NE(ops::reshape_signs(bits, {768, 1}).raw(), bits.raw());
}

TEST(ReshapeSigns, RefusesOtherCountsAndTypes) {
  const Tensor bits = test::random_bits({2, 6}, 8).to(test::device());
  test::expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        ops::reshape_signs(bits, {2, 5});
      },
      "12 elements");
  test::expect_error(
      "ERR_HARDBIT_SHAPE",
      [&] {
        ops::reshape_signs(bits, {3, 6});
      },
      "12 elements");
  test::expect_error("ERR_HARDBIT_DTYPE",
                     [] { ops::reshape_signs(Tensor::zeros(DType::f32, {2}, test::device()), {2}); });
}

TEST(PackSigns, IsTheSameOnEveryThreadCount) {
  const Tensor x = test::awkward_tensor({301, 500}, 4);
  const Tensor expected = ops::reference::pack_signs(x);
  test::expect_same(ops::pack_signs(x), expected, "reference");
  test::expect_same_on_all_thread_counts([&] { return ops::pack_signs(x); });
  test::expect_same_on_all_thread_counts([&] { return ops::unpack_signs(expected); });
}

TEST(PackSigns, RefusesOtherTypes) {
  test::expect_error("ERR_HARDBIT_DTYPE",
                     [] { ops::pack_signs(Tensor::zeros(DType::i32, {2}, test::device())); });
  test::expect_error("ERR_HARDBIT_DTYPE",
                     [] { ops::unpack_signs(Tensor::zeros(DType::f32, {2}, test::device())); });
}

}  // namespace
}  // namespace hardbit
