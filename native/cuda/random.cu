#include "cuda/kernel.h"
#include "cuda/random.h"

namespace hardbit::cuda {
namespace {

/// y[i] ← f(word i of the stream); y is 16-byte aligned. A thread has one block of four words.
template <class F>
void fill_stream(const Philox& philox, std::uint32_t stream, std::uint32_t* y, std::int64_t n, F f) {
  const Philox random = philox;
  for_each(ceil_div<std::int64_t>(n, 4), [=] __device__(std::int64_t q) {
    const Philox::Block words = random.flat_block(static_cast<std::uint64_t>(q), stream);
    const uint4 four = make_uint4(f(words[0]), f(words[1]), f(words[2]), f(words[3]));
    if (4 * q + 4 <= n) {
      reinterpret_cast<uint4*>(y)[q] = four;
      return;
    }
    y[4 * q] = four.x;
    if (4 * q + 1 < n) y[4 * q + 1] = four.y;
    if (4 * q + 2 < n) y[4 * q + 2] = four.z;
  });
}

}  // namespace

void random_integers(const Philox& philox, std::uint32_t stream, std::int32_t* y, std::int64_t n) {
  fill_stream(philox, stream, reinterpret_cast<std::uint32_t*>(y), n,
              [] __device__(std::uint32_t word) { return word; });
}

void random_uniform(const Philox& philox, std::uint32_t stream, float low, float high, float* y,
                    std::int64_t n) {
  fill_stream(philox, stream, reinterpret_cast<std::uint32_t*>(y), n,
              [=] __device__(std::uint32_t word) { return __float_as_uint(uniform(word, low, high)); });
}

}  // namespace hardbit::cuda
