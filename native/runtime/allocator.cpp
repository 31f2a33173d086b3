#include "runtime/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <utility>

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

/// Blocks from this size on are cut out of the arena. Activations and their gradients are few, large, of many
/// sizes and short-lived: kept by size class, a training step would hold each class's own peak.
constexpr std::size_t arena_least = std::size_t{2} << 20;

/// Address space mapped in large regions and handed out first fit; what is freed joins its neighbours. High
/// addresses are used first, since the system maps each region below the one before: so memory touched once
/// is touched again before any new is.
class Arena {
 public:
  static constexpr std::size_t page = 4096;

  static constexpr std::size_t size_of(std::size_t bytes) { return (bytes + page - 1) / page * page; }

  /// null where the system refuses; `size` as size_of() gives it. `reused` says how much of it was cached.
  void* allocate(std::size_t size, std::size_t& reused) {
    auto range =
        std::find_if(free_.rbegin(), free_.rend(), [=](const auto& r) { return r.second.size >= size; });
    if (range == free_.rend()) {
      if (!map(size)) return nullptr;
      range =
          std::find_if(free_.rbegin(), free_.rend(), [=](const auto& r) { return r.second.size >= size; });
      if (range == free_.rend()) return nullptr;
    }
    auto& [begin, rest] = *range;
    reused = std::min(rest.touched, size);
    rest = {rest.size - size, rest.touched - reused};
    std::byte* const data = begin + rest.size;
    if (rest.size == 0) free_.erase(std::next(range).base());
    return data;
  }

  void release(void* data, std::size_t size) noexcept { insert(static_cast<std::byte*>(data), {size, size}); }

  /// Gives the memory of all free ranges back to the system, and keeps their addresses.
  void empty() {
    for (auto& [begin, range] : free_) {
      if (range.touched > 0) madvise(begin, range.size, MADV_DONTNEED);
      range.touched = 0;
    }
  }

 private:
  struct Range {
    std::size_t size;
    /// Bytes of it that have been in use, and that the system still holds for us.
    std::size_t touched;
  };
  using Ranges = std::map<std::byte*, Range>;

  /// Adds a free range, joined with those beside it.
  void insert(std::byte* begin, Range range) noexcept {
    const auto after = free_.lower_bound(begin);
    const bool joins_after = after != free_.end() && begin + range.size == after->first;
    if (joins_after) {
      range.size += after->second.size;
      range.touched += after->second.touched;
    }
    if (after != free_.begin()) {
      const auto before = std::prev(after);
      if (before->first + before->second.size == begin) {
        before->second.size += range.size;
        before->second.touched += range.touched;
        if (joins_after) free_.erase(after);
        return;
      }
    }
    if (joins_after) {
      auto node = free_.extract(after);
      node.key() = begin;
      node.mapped() = range;
      free_.insert(std::move(node));
      return;
    }
    try {
      free_.emplace(begin, range);
    } catch (const std::bad_alloc&) {
      madvise(begin, range.size, MADV_DONTNEED);  // the addresses are lost, the memory is not
    }
  }

  bool map(std::size_t size) {
    constexpr std::size_t region = std::size_t{256} << 20;
    const std::size_t bytes = (size + region - 1) / region * region;
    void* const data =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return false;
    madvise(data, bytes, MADV_HUGEPAGE);  // tensors of megabytes; refused, they are merely slower
    insert(static_cast<std::byte*>(data), {bytes, 0});
    return true;
  }

  Ranges free_;
};

class Cache {
 public:
  Block allocate(std::size_t bytes) {
    if (bytes > largest) fail(bytes);
    const std::size_t size = class_size(bytes);
    if (size >= arena_least) return allocate_large(bytes);
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
    if (block.capacity >= arena_least) {
      arena_.release(block.data, block.capacity);
    } else {
      FreeBlock*& head = free_[class_index(block.capacity)];
      head = new (block.data) FreeBlock{head};
    }
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
    arena_.empty();
    info_.cached_bytes = 0;
  }

 private:
  Block allocate_large(std::size_t bytes) {
    const std::size_t size = std::max(Arena::size_of(bytes), arena_least);
    for (const bool last : {false, true}) {
      {
        const std::lock_guard lock(mutex_);
        std::size_t reused = 0;
        void* const data = arena_.allocate(size, reused);
        if (data != nullptr) {
          info_.cached_bytes -= reused;
          count_live(size);
          return {data, size};
        }
      }
      if (!last) empty();
    }
    fail(bytes);
  }

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
  Arena arena_;
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
