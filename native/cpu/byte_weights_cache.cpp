#include "cpu/byte_weights_cache.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <mutex>
#include <vector>

namespace hardbit::cpu {
namespace {

constexpr std::size_t most_bytes = 64 * 1024 * 1024;
/// Layers of one shape that networks stack, with room to spare.
constexpr std::ptrdiff_t most_alike = 8;

struct Key {
  ops::Conv2d conv;
  std::vector<int> coefficients;
  const ProductKernel* kernel;
  bool operator==(const Key&) const = default;
};

struct Entry {
  Key key;
  std::vector<std::uint64_t> planes;
  std::shared_ptr<const InputGradientWeights> packed;  // none before the second call
  std::size_t bytes() const { return planes.size() * 8 + (packed ? packed->bytes() : 0); }
};

using Entries = std::list<Entry>;

struct Cache {
  std::mutex mutex;
  Entries entries;  // the one used last in front
  std::size_t bytes = 0;

  void drop(Entries::iterator entry) {
    bytes -= entry->bytes();
    entries.erase(entry);
  }
};

/// Never destroyed: what it holds belongs to an allocator that is not either.
Cache& cache() {
  static Cache* const instance = new Cache;
  return *instance;
}

}  // namespace

std::shared_ptr<const InputGradientWeights> cached_input_weights(const ByteKernels& kernels,
                                                                 const ops::Conv2d& conv,
                                                                 const std::uint64_t* planes,
                                                                 std::span<const int> coefficients) {
  Key key{conv, {coefficients.begin(), coefficients.end()}, &kernels.product};
  key.conv.n = 0;  // says nothing of weights
  const auto size = coefficients.size() * static_cast<std::size_t>(conv.m * words(conv.k()));
  const auto is_same = [&](const Entry& entry) {
    return entry.key == key && std::memcmp(entry.planes.data(), planes, size * 8) == 0;
  };
  bool seen = false;
  {
    const std::lock_guard lock(cache().mutex);
    auto& entries = cache().entries;
    const auto found = std::ranges::find_if(entries, is_same);
    seen = found != entries.end();
    if (seen) {
      entries.splice(entries.begin(), entries, found);
      if (found->packed) return found->packed;
    }
  }
  auto packed = std::make_shared<const InputGradientWeights>(kernels, conv, planes, coefficients);
  const std::lock_guard lock(cache().mutex);
  auto& entries = cache().entries;
  const auto found = std::ranges::find_if(entries, is_same);  // others may have come and gone
  if (found != entries.end()) {
    if (seen && !found->packed) {
      found->packed = packed;
      cache().bytes += packed->bytes();
    }
  } else {
    entries.push_front({key, {planes, planes + size}, nullptr});
    cache().bytes += entries.front().bytes();
  }
  const auto is_alike = [&](const Entry& entry) { return entry.key == key; };
  if (std::ranges::count_if(entries, is_alike) > most_alike) {
    cache().drop(std::prev(std::find_if(entries.rbegin(), entries.rend(), is_alike).base()));
  }
  while (cache().bytes > most_bytes) cache().drop(std::prev(entries.end()));
  return packed;
}

std::size_t cached_input_weight_bytes() {
  const std::lock_guard lock(cache().mutex);
  return cache().bytes;
}

void forget_input_weights() {
  const std::lock_guard lock(cache().mutex);
  cache().entries.clear();
  cache().bytes = 0;
}

}  // namespace hardbit::cpu
