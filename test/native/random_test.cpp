#include "ops/random.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "runtime/random.h"
#include "support.h"

namespace hardbit {
namespace {

using test::expect_error;
using test::expect_same_on_all_thread_counts;
using test::values;

// tests/kat_vectors of Random123, "philox4x32 10": counter, key, result.
TEST(Philox, PublishedVectors) {
  using Block = Philox::Block;
  EXPECT_EQ(Philox(0)({0, 0, 0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox(0xffffffffffffffff)({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox(0x299f31d0a4093822)({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, CounterLayout) {
  const Philox p(5);
  EXPECT_EQ(p.row_block(1, 0x300000002, 4), p({1, 2, 3, 4}));
  EXPECT_EQ(p.flat_block(0x200000001, 4), p({1, 2, 0, 4}));
}

TEST(Philox, BoundedIntegersAreUniform) {
  for (const std::uint32_t bound : {1U, 2U, 3U, 7U, 10U, 1000U}) {
    PhiloxStream random(1, bound);
    std::vector<int> counts(bound);
    const int draws = 200'000;
    for (int i = 0; i < draws; ++i) ++counts.at(random.below(bound));
    const double expected = static_cast<double>(draws) / bound;
    double chi = 0;
    for (const int n : counts) chi += (n - expected) * (n - expected) / expected;
    EXPECT_LT(chi, bound + 6 * std::sqrt(2.0 * bound) + 6) << bound;  // six standard deviations
  }
}

TEST(Philox, BoundedIntegersRejectTheBiasedWords) {
  // Of 2^32 words, a bound of 3·2^30 keeps 3·2^30: a word whose product's low half is below 2^32 mod bound =
  // 2^30 goes.
  constexpr std::uint32_t bound = 0xC0000000;
  PhiloxStream words(9, 0);
  PhiloxStream random(9, 0);
  for (int i = 0; i < 1000; ++i) {
    std::uint64_t product = 0;
    do product = std::uint64_t{words.next()} * bound;
    while ((product & 0xFFFFFFFF) < 0x40000000);
    ASSERT_EQ(random.below(bound), product >> 32);
  }
}

TEST(Random, IntegersAreTheStreamsWords) {
  const auto x = values<std::int32_t>(ops::random_integers(6, 0, 0, test::device()));
  EXPECT_EQ(static_cast<std::uint32_t>(x[0]), 0x6627e8d5U);
  EXPECT_EQ(static_cast<std::uint32_t>(x[3]), 0x9b00dbd8U);
  EXPECT_EQ(static_cast<std::uint32_t>(x[4]), Philox(0)({1, 0, 0, 0})[0]);
  for (const std::int64_t n : {0, 1, 3, 4, 5, 70001}) {
    const auto y =
        values<std::int32_t>(ops::random_integers(n, (1ULL << 53) - 1, 0xFFFFFFFF, test::device()));
    const Philox p((1ULL << 53) - 1);
    for (std::size_t i = 0; i < y.size(); ++i) {
      ASSERT_EQ(static_cast<std::uint32_t>(y[i]),
                p({static_cast<std::uint32_t>(i / 4), 0, 0, 0xFFFFFFFF})[i % 4]);
    }
  }
}

TEST(Random, SeedsAndStreamsDiffer) {
  const auto x = values<std::int32_t>(ops::random_integers(100, 1, 0, test::device()));
  EXPECT_NE(x, values<std::int32_t>(ops::random_integers(100, 2, 0, test::device())));
  EXPECT_NE(x, values<std::int32_t>(ops::random_integers(100, 1, 1, test::device())));
  EXPECT_NE(x, values<std::int32_t>(ops::random_integers(100, 1 + (1ULL << 32), 0, test::device())));
  EXPECT_EQ(x, values<std::int32_t>(ops::random_integers(100, 1, 0, test::device())));
}

TEST(Random, UniformIsInRangeWithTheRightMoments) {
  const auto x = values<float>(ops::random_uniform({400, 250}, -2, 3, 7, 1, test::device()));
  double sum = 0;
  double squares = 0;
  for (const float v : x) {
    ASSERT_GE(v, -2);
    ASSERT_LT(v, 3);
    sum += v;
    squares += (v - 0.5) * (v - 0.5);
  }
  EXPECT_NEAR(sum / 1e5, 0.5, 6 * std::sqrt(25.0 / 12 / 1e5));
  EXPECT_NEAR(squares / 1e5, 25.0 / 12, 0.05);
}

TEST(Random, UniformNeverReachesHigh) {
  // One step of fp32 between low and high: every value must be low.
  const float low = 1000;
  const float high = std::nextafter(low, 2000.0F);
  for (const float v : values<float>(ops::random_uniform({10000}, low, high, 1, 1, test::device())))
    ASSERT_EQ(v, low);
  for (const float v : values<float>(ops::random_uniform({100000}, -0.1, 0.1, 1, 1, test::device()))) {
    ASSERT_GE(v, -0.1F);
    ASSERT_LT(v, 0.1F);
  }
}

TEST(Random, PermutationHoldsEveryIndexOnce) {
  for (const std::int64_t n : {0, 1, 2, 3, 1009, 60000}) {
    auto p = values<std::int32_t>(ops::permutation(n, 3, 5, test::device()));
    ASSERT_EQ(static_cast<std::int64_t>(p.size()), n);
    if (n > 100) {
      EXPECT_FALSE(std::is_sorted(p.begin(), p.end()));
    }
    std::sort(p.begin(), p.end());
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(p[static_cast<std::size_t>(i)], i);
  }
}

TEST(Random, PermutationsAreUniform) {
  std::map<std::vector<std::int32_t>, int> counts;
  // A GPU gets each from the host, and gives it back.
  const int draws = test::device() == Device::cpu ? 24'000 : 2'400;
  const double expected = draws / 24.0;
  for (int i = 0; i < draws; ++i)
    ++counts[values<std::int32_t>(ops::permutation(4, 11, static_cast<std::uint64_t>(i), test::device()))];
  EXPECT_EQ(counts.size(), 24U);
  double chi = 0;
  for (const auto& [order, n] : counts) chi += (n - expected) * (n - expected) / expected;
  EXPECT_LT(chi, 23 + 6 * std::sqrt(46.0));
}

TEST(Random, ResultsDoNotDependOnTheThreadCount) {
  expect_same_on_all_thread_counts([] { return ops::random_integers(100003, 5, 1, test::device()); });
  expect_same_on_all_thread_counts([] {
    return ops::random_uniform({3, 33343}, -1, 1, 5, 1, test::device());
  });
  expect_same_on_all_thread_counts([] { return ops::permutation(10007, 5, 1, test::device()); });
}

TEST(Random, RefusesWrongArguments) {
  expect_error("ERR_HARDBIT_SHAPE", [] { ops::random_integers(-1, 0, 0, test::device()); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [] { ops::random_integers(1, 0, 1ULL << 32, test::device()); },
      "stream is 4294967296");
  expect_error("ERR_HARDBIT_ARGUMENT", [] { ops::permutation(-1, 0, 0, test::device()); });
  expect_error("ERR_HARDBIT_ARGUMENT", [] { ops::permutation(1LL << 31, 0, 0, test::device()); });
  expect_error(
      "ERR_HARDBIT_ARGUMENT", [] { ops::random_uniform({1}, 1, 1, 0, 0, test::device()); }, "low < high");
  expect_error("ERR_HARDBIT_ARGUMENT", [] { ops::random_uniform({1}, 1, 0, 0, 0, test::device()); });
  expect_error("ERR_HARDBIT_ARGUMENT", [] { ops::random_uniform({1}, -3e38, 3e38, 0, 0, test::device()); });
  expect_error("ERR_HARDBIT_ARGUMENT",
               [] { ops::random_uniform({1}, 0, std::nan(""), 0, 0, test::device()); });
}

}  // namespace
}  // namespace hardbit
