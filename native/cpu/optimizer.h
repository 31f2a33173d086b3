#pragma once
#include <cstdint>

#include "ops/optimizer.h"

namespace hardbit::cpu {

void adam_step(float* value, const float* gradient, float* m, float* v, std::int64_t n,
               const ops::AdamParameters& parameters);
/// `velocity` may be null.
void sgd_step(float* value, const float* gradient, float* velocity, std::int64_t n,
              const ops::SgdParameters& parameters);

}  // namespace hardbit::cpu
