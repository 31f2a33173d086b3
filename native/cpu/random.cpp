#include "cpu/random.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// y[i] ← f(word i of the stream).
template <class T, class F>
void fill(const Philox& philox, std::uint32_t stream, T* y, std::int64_t n, const F& f) {
  parallel_for((n + 3) / 4, element_grain / 32, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const Philox::Block words = philox.flat_block(static_cast<std::uint64_t>(block), stream);
      const std::int64_t first = block * 4;
      for (std::int64_t i = first; i < std::min(n, first + 4); ++i)
        y[i] = f(words[static_cast<std::size_t>(i - first)]);
    }
  });
}

}  // namespace

void random_integers(const Philox& philox, std::uint32_t stream, std::int32_t* y, std::int64_t n) {
  fill(philox, stream, y, n, [](std::uint32_t word) { return static_cast<std::int32_t>(word); });
}

void random_uniform(const Philox& philox, std::uint32_t stream, float low, float high, float* y,
                    std::int64_t n) {
  fill(philox, stream, y, n, [=](std::uint32_t word) { return uniform(word, low, high); });
}

void permutation(PhiloxStream random, std::int32_t* y, std::int64_t n) {
  std::iota(y, y + n, 0);
  for (std::int64_t i = n - 1; i > 0; --i)
    std::swap(y[i], y[random.below(static_cast<std::uint32_t>(i + 1))]);
}

}  // namespace hardbit::cpu
