#include "runtime/allocator.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <string>

#include "runtime/error.h"

namespace hardbit {
namespace {

constexpr std::size_t alignment = 64;
/// Eight classes a doubling: at most 1/8 of a block is waste (below 512 bytes: at most 63 bytes).
constexpr unsigned steps_log2 = 3;
constexpr std::size_t largest = std::size_t{1} << 62;

/// A free block, kept in its own memory so that releasing one cannot fail.
struct FreeBlock {
  FreeBlock* next;
};

/// The smallest class size >= bytes: a multiple of 64 with at most four significant bits.
constexpr std::size_t class_size(std::size_t bytes) {
  if (bytes <= alignment) return alignment;
  const unsigned top = static_cast<unsigned>(std::bit_width(bytes - 1)) - 1;  // 2^top <= bytes - 1
  const std::size_t step = std::max(alignment, std::size_t{1} << (top > steps_log2 ? top - steps_log2 : 0));
  return (bytes + step - 1) / step * step;
}

/// A number for each class size.
constexpr std::size_t class_index(std::size_t size) {
  const unsigned top = static_cast<unsigned>(std::bit_width(size)) - 1;
  return (static_cast<std::size_t>(top) << steps_log2) | ((size >> (top - steps_log2)) & 7);
}

static_assert(class_size(0) == 64 && class_size(65) == 128 && class_size(513) == 576 &&
              class_size(1025) == 1152);
static_assert(class_index(class_size(512)) + 1 == class_index(class_size(513)));

class Cache {
 public:
  Block allocate(std::size_t bytes) {
    if (bytes > largest) fail(bytes);
    const std::size_t size = class_size(bytes);
    {
      const std::lock_guard lock(mutex_);
      FreeBlock*& head = free_[class_index(size)];
      if (head != nullptr) {
        FreeBlock* const block = head;
        head = block->next;
        info_.cached_bytes -= size;
        count_live(size);
        return {block, size};
      }
    }
    void* data = std::aligned_alloc(alignment, size);
    if (data == nullptr) {
      empty();
      data = std::aligned_alloc(alignment, size);
      if (data == nullptr) fail(bytes);
    }
    const std::lock_guard lock(mutex_);
    count_live(size);
    return {data, size};
  }

  void release(Block block) noexcept {
    const std::lock_guard lock(mutex_);
    FreeBlock*& head = free_[class_index(block.capacity)];
    head = new (block.data) FreeBlock{head};
    --info_.live_blocks;
    info_.live_bytes -= block.capacity;
    info_.cached_bytes += block.capacity;
  }

  MemoryInfo info() {
    const std::lock_guard lock(mutex_);
    return info_;
  }

  void empty() {
    const std::lock_guard lock(mutex_);
    for (FreeBlock*& head : free_) {
      while (head != nullptr) {
        FreeBlock* const block = head;
        head = block->next;
        std::free(block);
      }
    }
    info_.cached_bytes = 0;
  }

 private:
  void count_live(std::size_t size) {
    ++info_.live_blocks;
    info_.live_bytes += size;
    info_.peak_bytes = std::max(info_.peak_bytes, info_.live_bytes);
  }

  [[noreturn]] static void fail(std::size_t bytes) {
    throw Error("ERR_HARDBIT_MEMORY",
                "The system refused " + std::to_string(bytes) +
                    " bytes; use a smaller batch or dispose of tensors that are not needed.");
  }

  std::mutex mutex_;
  std::array<FreeBlock*, std::size_t{64} << steps_log2> free_{};
  MemoryInfo info_;
};

/// Never destroyed: tensors may outlive static destruction when the process exits.
Cache& cache() {
  static Cache* const instance = new Cache;
  return *instance;
}

}  // namespace

Block allocate(std::size_t bytes) { return cache().allocate(bytes); }

void release(Block block) noexcept {
  if (block.data != nullptr) cache().release(block);
}

MemoryInfo memory_info() { return cache().info(); }

void empty_cache() { cache().empty(); }

}  // namespace hardbit
