#pragma once
#include <cstddef>

namespace hardbit {

/// Process-wide caching allocator: 64-byte aligned blocks, kept for reuse, large ones joined.
/// Thread-safe. Throws ERR_HARDBIT_MEMORY with the size asked for when the system has none left (after
/// emptying the cache once).
struct MemoryInfo {
  std::size_t live_blocks = 0;
  std::size_t live_bytes = 0;
  std::size_t cached_bytes = 0;
  std::size_t peak_bytes = 0;
};

struct Block {
  void* data = nullptr;
  std::size_t capacity = 0;
};

Block allocate(std::size_t bytes);
void release(Block block) noexcept;
MemoryInfo memory_info();
/// Returns cached blocks to the system.
void empty_cache();

}  // namespace hardbit
