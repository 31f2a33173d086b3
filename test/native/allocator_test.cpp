#include "runtime/allocator.h"

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "runtime/tensor.h"
#include "support.h"

/// Under AddressSanitizer an impossible size must come back as null, as the system's allocator would answer.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }

namespace hardbit {
namespace {

TEST(Allocator, BlocksAreAlignedAndLargeEnough) {
  for (std::size_t bytes = 0; bytes < 5000; ++bytes) {
    const Block block = allocate(bytes);
    ASSERT_NE(block.data, nullptr);
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block.data) % 64, 0U);
    ASSERT_GE(block.capacity, bytes);
    ASSERT_LE(block.capacity, bytes + bytes / 8 + 64);
    std::memset(block.data, 0x5A, block.capacity);
    release(block);
  }
}

TEST(Allocator, ReusesAReleasedBlockOfTheSameClass) {
  const Block first = allocate(100'000);
  void* const address = first.data;
  release(first);
  const Block second = allocate(99'999);
  EXPECT_EQ(second.data, address);
  const Block third = allocate(100'000);
  EXPECT_NE(third.data, address);
  release(second);
  release(third);
}

TEST(Allocator, CountsLiveCachedAndPeakBytes) {
  empty_cache();
  const MemoryInfo before = memory_info();
  EXPECT_EQ(before.cached_bytes, 0U);
  const Block a = allocate(1 << 20);
  const Block b = allocate(1 << 20);
  EXPECT_EQ(memory_info().live_blocks, before.live_blocks + 2);
  EXPECT_EQ(memory_info().live_bytes, before.live_bytes + (2 << 20));
  EXPECT_GE(memory_info().peak_bytes, before.live_bytes + (2 << 20));
  release(a);
  EXPECT_EQ(memory_info().live_bytes, before.live_bytes + (1 << 20));
  EXPECT_EQ(memory_info().cached_bytes, std::size_t{1} << 20);
  release(b);
  EXPECT_EQ(memory_info().live_blocks, before.live_blocks);
  EXPECT_EQ(memory_info().cached_bytes, std::size_t{2} << 20);
  empty_cache();
  EXPECT_EQ(memory_info().cached_bytes, 0U);
}

TEST(Allocator, TensorsReturnTheirBlocks) {
  const MemoryInfo before = memory_info();
  const std::int64_t storages = live_storages();
  {
    const Tensor x = Tensor::zeros(DType::f32, {100});
    const Tensor view = x.reshape({10, 10});
    const Tensor copy = x;
    EXPECT_EQ(memory_info().live_blocks, before.live_blocks + 1);
    EXPECT_EQ(live_storages(), storages + 1);
  }
  EXPECT_EQ(memory_info().live_blocks, before.live_blocks);
  EXPECT_EQ(memory_info().live_bytes, before.live_bytes);
  EXPECT_EQ(live_storages(), storages);
}

TEST(Allocator, ImpossibleSizesAreCodedErrors) {
  const MemoryInfo before = memory_info();
  test::expect_error(
      "ERR_HARDBIT_MEMORY", [] { allocate(SIZE_MAX); }, "18446744073709551615");
  test::expect_error("ERR_HARDBIT_MEMORY", [] { allocate(std::size_t{1} << 62); });
  test::expect_error("ERR_HARDBIT_MEMORY", [] { allocate((std::size_t{1} << 62) + 1); });
  EXPECT_EQ(memory_info().live_blocks, before.live_blocks);
  EXPECT_EQ(memory_info().cached_bytes, 0U) << "the cache is given back before failing";
}

TEST(Allocator, ThreadsDoNotShareABlock) {
  const MemoryInfo before = memory_info();
  std::vector<std::thread> workers;
  for (int t = 0; t < 4; ++t) {
    workers.emplace_back([t] {
      std::vector<Block> held;
      for (std::size_t i = 0; i < 4000; ++i) {
        const Block block = allocate(64 * (i % 7 + 1));
        std::memset(block.data, t, block.capacity);
        held.push_back(block);
        if (held.size() < 5) continue;
        const Block oldest = held.front();
        held.erase(held.begin());
        const auto* const p = static_cast<const unsigned char*>(oldest.data);
        for (std::size_t j = 0; j < oldest.capacity; ++j) {
          if (p[j] != t) {
            ADD_FAILURE() << "another thread wrote to this block";
            break;
          }
        }
        release(oldest);
      }
      for (const Block& block : held) release(block);
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(memory_info().live_blocks, before.live_blocks);
  EXPECT_EQ(memory_info().live_bytes, before.live_bytes);
}

}  // namespace
}  // namespace hardbit
