#pragma once
#include <cstdint>

namespace hardbit::cuda {

void softmax_cross_entropy(const float* logits, const std::int32_t* labels, float gradient_scale,
                           float* losses, float* gradient, std::int64_t rows, std::int64_t classes);
void argmax(const float* logits, std::int32_t* indices, std::int64_t rows, std::int64_t classes);

}  // namespace hardbit::cuda
