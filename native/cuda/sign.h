#pragma once
#include <cstdint>

namespace hardbit::cuda {

void sign_forward(const float* x, std::uint64_t* signs, std::uint64_t* mask, std::int64_t rows,
                  std::int64_t columns);
void mask_backward(const float* dy, const std::uint64_t* mask, float* dx, std::int64_t rows,
                   std::int64_t columns);
void approx_sign_backward(const float* dy, const float* x, float* dx, std::int64_t n);

}  // namespace hardbit::cuda
