#include "cuda/discretize.h"
#include "cuda/kernel.h"
#include "ops/discretize.h"

namespace hardbit::cuda {

void discretize(const float* x, std::uint8_t* codes, std::int64_t n, int bits) {
  for_each(n, [=] __device__(std::int64_t i) { codes[i] = quantize_code(x[i], bits); });
}

void codes_to_float(const std::uint8_t* codes, float* x, std::int64_t n, int bits) {
  const auto levels = static_cast<float>((1 << bits) - 1);
  for_each(n, [=] __device__(std::int64_t i) { x[i] = static_cast<float>(codes[i]) / levels; });
}

}  // namespace hardbit::cuda
