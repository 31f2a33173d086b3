#pragma once
#include <cstdint>

#include "runtime/random.h"

namespace hardbit::cuda {

// y is 16-byte aligned.

void random_integers(const Philox& philox, std::uint32_t stream, std::int32_t* y, std::int64_t n);
void random_uniform(const Philox& philox, std::uint32_t stream, float low, float high, float* y,
                    std::int64_t n);

}  // namespace hardbit::cuda
