#pragma once
#include <cstdint>

namespace hardbit::cuda {

void discretize(const float* x, std::uint8_t* codes, std::int64_t n, int bits);
void codes_to_float(const std::uint8_t* codes, float* x, std::int64_t n, int bits);

}  // namespace hardbit::cuda
