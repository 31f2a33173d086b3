#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <vector>

#include "runtime/cpu_features.h"
#include "runtime/threads.h"
#include "support.h"

namespace hardbit {
namespace {

using test::expect_error;

TEST(Threads, ParallelForCoversTheRangeOnce) {
  const int before = threads();
  for (const int count : {1, 2, 3, 8}) {
    set_threads(count);
    for (const std::int64_t n : {0, 1, 2, 3, 7, 64, 65, 1000}) {
      for (const std::int64_t grain : {0, 1, 7, 64, 5000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(n));
        parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
          EXPECT_LT(begin, end);
          for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        for (const auto& v : visits) ASSERT_EQ(v, 1);
      }
    }
  }
  set_threads(before);
}

TEST(Threads, CountIsChecked) {
  const int before = threads();
  for (const int count : {0, -1, 1025}) {
    expect_error("ERR_HARDBIT_ARGUMENT", [&] { set_threads(count); });
    EXPECT_EQ(threads(), before);
  }
}

/// The setting is read once, so each value needs a process of its own.
int threads_with(const char* setting) {
  setenv("HARDBIT_NUM_THREADS", setting, 1);
  try {
    return threads();
  } catch (const Error& error) {
    return std::string(error.code()) == "ERR_HARDBIT_ARGUMENT" ? 111 : 112;
  }
}

TEST(ThreadsDeathTest, TheEnvironmentSetsTheCount) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(std::exit(threads_with("3")), testing::ExitedWithCode(3), "");
  EXPECT_EXIT(std::exit(threads_with("")), testing::ExitedWithCode(threads()), "");
  for (const char* wrong : {"0", "-2", "two", "3x", "1.5", "1025", "99999999999"}) {
    EXPECT_EXIT(std::exit(threads_with(wrong)), testing::ExitedWithCode(111), "") << wrong;
  }
}

TEST(CpuFeatures, TheBestAvailableIsTheDefault) {
  const auto isas = available_isas();
  EXPECT_EQ(isas.front(), Isa::generic);
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
  EXPECT_EQ(isa_from_setting(nullptr), isas.back());
  EXPECT_EQ(isa_from_setting(""), isas.back());
  for (const Isa isa : isas) EXPECT_EQ(isa_from_setting(name(isa)), isa);
}

TEST(CpuFeatures, WrongSettingsAreCodedErrors) {
  expect_error(
      "ERR_HARDBIT_UNKNOWN_NAME", [] { isa_from_setting("avx1024"); },
      "generic, neon, avx2, avx512bw, avx512vnni, avx512");
  const auto isas = available_isas();
  for (const Isa isa : {Isa::neon, Isa::avx2, Isa::avx512bw, Isa::avx512vnni, Isa::avx512}) {
    if (std::find(isas.begin(), isas.end(), isa) == isas.end()) {
      expect_error(
          "ERR_HARDBIT_ISA", [&] { isa_from_setting(name(isa)); }, name(isa));
    }
  }
}

TEST(CpuFeatures, TheProcessorHasAName) { EXPECT_FALSE(cpu_name().empty()); }

}  // namespace
}  // namespace hardbit
