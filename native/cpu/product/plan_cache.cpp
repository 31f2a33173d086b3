#include "cpu/product/plan_cache.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <mutex>

#include "runtime/words.h"

namespace hardbit::cpu {
namespace {

constexpr std::size_t most_bytes = 32 * 1024 * 1024;
/// Layers of one shape that networks stack, with room to spare. Training leaves plans behind that nobody asks
/// for again; this bounds how many.
constexpr std::ptrdiff_t most_alike = 8;

struct Key {
  ops::Conv2d conv;
  ops::PaddingValue padding;
  Input input;
  int bits;
  const ProductKernel* kernels[2];
  auto operator<=>(const Key&) const = default;
};

struct Entry {
  Key key;
  std::vector<std::uint64_t> weights;
  ConvProduct product;
  std::size_t bytes() const { return product.bytes() + weights.size() * 8; }
};

using Entries = std::list<std::shared_ptr<const Entry>>;

struct Cache {
  std::mutex mutex;
  Entries entries;  // the one used last in front
  std::size_t bytes = 0;

  void drop(Entries::iterator entry) {
    bytes -= (*entry)->bytes();
    entries.erase(entry);
  }
};

Cache& cache() {
  static Cache cache;
  return cache;
}

std::shared_ptr<const ConvProduct> product_of(const std::shared_ptr<const Entry>& entry) {
  return {entry, &entry->product};
}

}  // namespace

std::shared_ptr<const ConvProduct> cached_plan(const ProductRows& rows, const ops::Conv2d& conv,
                                               ops::PaddingValue padding, Input input, int bits,
                                               const std::uint64_t* weights) {
  Key key{conv, padding, input, bits, {&rows.bits, &rows.bytes}};
  key.conv.n = 0;
  const auto size = static_cast<std::size_t>(conv.m * words(conv.k()));
  std::vector<std::shared_ptr<const Entry>> alike;
  {
    const std::lock_guard lock(cache().mutex);
    for (const auto& entry : cache().entries) {
      if (entry->key == key) alike.push_back(entry);
    }
  }
  for (const auto& entry : alike) {
    if (std::memcmp(entry->weights.data(), weights, size * 8) != 0) continue;
    const std::lock_guard lock(cache().mutex);
    auto& entries = cache().entries;
    const auto place = std::ranges::find(entries, entry);
    if (place != entries.end()) entries.splice(entries.begin(), entries, place);
    return product_of(entry);
  }
  const auto made = std::make_shared<const Entry>(
      Entry{key, {weights, weights + size}, {conv, padding, input, bits, weights, rows}});
  if (made->bytes() > most_bytes) return product_of(made);
  const std::lock_guard lock(cache().mutex);
  auto& entries = cache().entries;
  entries.push_front(made);
  cache().bytes += made->bytes();
  const auto is_alike = [&](const auto& entry) { return entry->key == key; };
  if (std::ranges::count_if(entries, is_alike) > most_alike) {
    cache().drop(std::prev(std::find_if(entries.rbegin(), entries.rend(), is_alike).base()));
  }
  while (cache().bytes > most_bytes) cache().drop(std::prev(entries.end()));
  return product_of(made);
}

std::size_t cached_plan_bytes() {
  const std::lock_guard lock(cache().mutex);
  return cache().bytes;
}

void forget_plans() {
  const std::lock_guard lock(cache().mutex);
  cache().entries.clear();
  cache().bytes = 0;
}

}  // namespace hardbit::cpu
