#include "cuda/codes.h"
#include "cuda/discretize.h"
#include "cuda/kernel.h"
#include "ops/discretize.h"

namespace hardbit::cuda {

void discretize(const float* x, std::uint8_t* codes, std::int64_t n, int bits) {
  map_to_codes(x, codes, n, [=] __device__(float v) { return unsigned{quantize_code(v, bits)}; });
}

void codes_to_float(const std::uint8_t* codes, float* x, std::int64_t n, int bits) {
  const auto levels = static_cast<float>((1 << bits) - 1);
  map_codes(codes, x, n, [=] __device__(unsigned code) { return static_cast<float>(code) / levels; });
}

}  // namespace hardbit::cuda
