#include "node/external_memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

namespace hardbit::node {
namespace {

/// What V8 was told altogether, and what is live.
struct Told {
  ExternalMemory memory;
  std::int64_t told = 0;
  std::int64_t live = 0;

  std::int64_t make(std::int64_t bytes) {
    live += bytes;
    const std::int64_t more = memory.take(bytes);
    EXPECT_GE(more, 0);
    told += more;
    return more;
  }
  std::int64_t dispose(std::int64_t bytes) {
    live -= bytes;
    const std::int64_t less = memory.give_back(bytes);
    EXPECT_LE(less, 0);
    told += less;
    return less;
  }
  /// Two whole periods, in which nothing more than a byte is live at a time.
  void wait() {
    for (int i = 0; i < 2 * 4096; ++i) {
      make(1);
      dispose(1);
    }
  }
};

TEST(ExternalMemory, TellsOfAStepOnce) {
  Told v8;
  for (int step = 0; step < 100; ++step) {
    for (int i = 0; i < 100; ++i) EXPECT_EQ(v8.make(1000), step == 0 ? 1000 : 0) << step;
    EXPECT_EQ(v8.told, 100'000);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(v8.dispose(1000), 0) << step;
  }
}

TEST(ExternalMemory, TellsOnlyWhatTheReserveDoesNotHold) {
  Told v8;
  v8.make(1000);
  v8.dispose(1000);
  EXPECT_EQ(v8.make(600), 0);
  EXPECT_EQ(v8.make(600), 200);
  EXPECT_EQ(v8.told, v8.live);
}

TEST(ExternalMemory, GivesUpWhatStaysUnused) {
  Told v8;
  v8.make(1'000'000);
  v8.make(3000);
  v8.dispose(1'000'000);
  v8.wait();
  EXPECT_EQ(v8.live, 3000);
  EXPECT_GE(v8.told, v8.live);
  EXPECT_LE(v8.told, v8.live + 1);
  EXPECT_EQ(v8.make(1000), 999);
}

/// What the garbage collector frees is told without it, and is no reserve.
TEST(ExternalMemory, KeepsNoReserveOfForgottenMemory) {
  Told v8;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(v8.make(1000), 1000);
  v8.live -= 100'000;
  v8.told -= 100'000;
  EXPECT_EQ(v8.make(1000), 1000);
}

TEST(ExternalMemory, NeverTellsLessThanIsLiveNorMoreThanLatelyWas) {
  Told v8;
  std::mt19937 random(3);
  std::vector<std::int64_t> live;
  std::int64_t most = 0;
  for (int i = 0; i < 200'000; ++i) {
    if (live.empty() || (live.size() < 50 && random() % 2 == 0)) {
      live.push_back(static_cast<std::int64_t>(random() % 100'000));
      v8.make(live.back());
    } else {
      const std::size_t at = random() % live.size();
      v8.dispose(live[at]);
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(at));
    }
    most = std::max(most, v8.live);
    ASSERT_GE(v8.told, v8.live) << i;
    ASSERT_LE(v8.told, most) << i;
  }
  for (const std::int64_t bytes : live) v8.dispose(bytes);
  v8.wait();
  EXPECT_LE(v8.told, 1);
}

}  // namespace
}  // namespace hardbit::node
