#include "ops/random.h"

#include <limits>

#include "cpu/random.h"
#include "cuda/random.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hardbit::ops {

Tensor random_integers(std::int64_t count, std::uint64_t seed, std::uint64_t stream, Device device) {
  const std::uint32_t word = check::stream("randomIntegers", stream);
  Tensor y = Tensor::empty(DType::i32, {count}, device);
  dispatch<cpu::random_integers, cuda::random_integers>(y.device(), Philox(seed), word,
                                                        y.data<std::int32_t>(), count);
  return y;
}

Tensor random_uniform(const Shape& shape, double low, double high, std::uint64_t seed, std::uint64_t stream,
                      Device device) {
  constexpr const char* op = "randomUniform";
  const float least = check::finite(op, "low", low);
  const float most = check::finite(op, "high", high);
  check::finite(op, "high - low", high - low);
  if (!(least < most)) {
    check::fail(
        "ERR_HARDBIT_ARGUMENT", op,
        "low is " + check::text(low) + " and high is " + check::text(high) + "; expected low < high.");
  }
  const std::uint32_t word = check::stream(op, stream);
  Tensor y = Tensor::empty(DType::f32, shape, device);
  dispatch<cpu::random_uniform, cuda::random_uniform>(y.device(), Philox(seed), word, least, most,
                                                      y.data<float>(), y.count());
  return y;
}

Tensor permutation(std::int64_t count, std::uint64_t seed, std::uint64_t stream, Device device) {
  constexpr const char* op = "permutation";
  check::integer_between(op, "count", count, 0, std::numeric_limits<std::int32_t>::max());
  const std::uint32_t word = check::stream(op, stream);
  Tensor y = Tensor::empty(DType::i32, {count});
  cpu::permutation(PhiloxStream(seed, word), y.data<std::int32_t>(), count);
  return y.to(device);
}

}  // namespace hardbit::ops
