#include "cuda/random.h"
#include "cuda/uniform.h"

namespace hardbit::cuda {

void random_integers(const Philox& philox, std::uint32_t stream, std::int32_t* y, std::int64_t n) {
  const Philox random = philox;
  for_each(ceil_div<std::int64_t>(n, 4), [=] __device__(std::int64_t block) {
    const Philox::Block words = random.flat_block(static_cast<std::uint64_t>(block), stream);
    for (int k = 0; k < 4; ++k) {
      if (block * 4 + k < n) y[block * 4 + k] = static_cast<std::int32_t>(words[static_cast<std::size_t>(k)]);
    }
  });
}

void random_uniform(const Philox& philox, std::uint32_t stream, float low, float high, float* y,
                    std::int64_t n) {
  const Philox random = philox;
  for_each(ceil_div<std::int64_t>(n, 4), [=] __device__(std::int64_t block) {
    const Philox::Block words = random.flat_block(static_cast<std::uint64_t>(block), stream);
    for (int k = 0; k < 4; ++k) {
      if (block * 4 + k < n) y[block * 4 + k] = uniform(words[static_cast<std::size_t>(k)], low, high);
    }
  });
}

}  // namespace hardbit::cuda
