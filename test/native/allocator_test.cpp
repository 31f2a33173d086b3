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

TEST(Allocator, LargeBlocksAreCutFromWhatLargerOnesLeft) {
  constexpr std::size_t mebibyte = std::size_t{1} << 20;
  empty_cache();
  const Block whole = allocate(64 * mebibyte);
  release(whole);
  EXPECT_EQ(memory_info().cached_bytes, 64 * mebibyte);
  std::vector<Block> parts;
  for (int i = 0; i < 16; ++i) parts.push_back(allocate(4 * mebibyte));
  EXPECT_EQ(memory_info().cached_bytes, 0U) << "no new memory was taken";
  for (const std::size_t i : {3, 1, 2, 15, 0, 7, 9, 8, 14, 4, 13, 6, 5, 10, 12, 11}) release(parts[i]);
  EXPECT_EQ(memory_info().cached_bytes, 64 * mebibyte);
  const Block again = allocate(64 * mebibyte);
  EXPECT_EQ(again.data, whole.data) << "the parts have joined";
  EXPECT_EQ(memory_info().cached_bytes, 0U);
  release(again);
  empty_cache();
}

TEST(Allocator, LargeBlocksDoNotOverlap) {
  const MemoryInfo before = memory_info();
  std::mt19937 random(7);
  std::vector<std::pair<Block, unsigned char>> held;
  const auto check_and_release = [&](std::size_t i) {
    const auto [block, mark] = held[i];
    const auto* const p = static_cast<const unsigned char*>(block.data);
    for (const std::size_t at : {std::size_t{0}, block.capacity / 2, block.capacity - 1})
      ASSERT_EQ(p[at], mark);
    release(block);
    held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
  };
  for (int step = 0; step < 600; ++step) {
    if (held.size() == 12) check_and_release(random() % held.size());
    // Sizes around the least large one, and up to 40 MiB.
    const std::size_t bytes = step % 3 == 0 ? (std::size_t{2} << 20) - 300'000 + random() % 600'000
                                            : random() % (std::size_t{40} << 20);
    const Block block = allocate(bytes);
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block.data) % 64, 0U);
    ASSERT_GE(block.capacity, bytes);
    const auto mark = static_cast<unsigned char>(step);
    auto* const p = static_cast<unsigned char*>(block.data);
    p[0] = p[block.capacity / 2] = p[block.capacity - 1] = mark;
    held.emplace_back(block, mark);
  }
  while (!held.empty()) check_and_release(0);
  EXPECT_EQ(memory_info().live_blocks, before.live_blocks);
  EXPECT_EQ(memory_info().live_bytes, before.live_bytes);
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
