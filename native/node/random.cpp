#include "ops/random.h"

#include <optional>

#include "node/binding.h"

namespace hardbit::node {

namespace {

// The device may be left out, and is the cpu then.

Tensor random_integers(std::int64_t count, std::uint64_t seed, std::uint64_t stream,
                       std::optional<Device> device) {
  return ops::random_integers(count, seed, stream, device.value_or(Device::cpu));
}

Tensor random_uniform(const Shape& shape, double low, double high, std::uint64_t seed, std::uint64_t stream,
                      std::optional<Device> device) {
  return ops::random_uniform(shape, low, high, seed, stream, device.value_or(Device::cpu));
}

Tensor permutation(std::int64_t count, std::uint64_t seed, std::uint64_t stream,
                   std::optional<Device> device) {
  return ops::permutation(count, seed, stream, device.value_or(Device::cpu));
}

}  // namespace

void add_random(Napi::Object exports) {
  add<random_integers>(exports, "randomIntegers");
  add<random_uniform>(exports, "randomUniform");
  add<permutation>(exports, "permutation");
}

}  // namespace hardbit::node
