#pragma once
#include <cstdint>

#include "ops/optimizer.h"

namespace hardbit::cpu {

void adam_step(float* value, const float* gradient, float* m, float* v, std::int64_t n,
               const ops::AdamParameters& parameters);
/// `velocity` may be null.
void sgd_step(float* value, const float* gradient, float* velocity, std::int64_t n,
              const ops::SgdParameters& parameters);
void bop_step(float* weights, const float* gradient, float* m, std::int64_t n,
              const ops::BopParameters& parameters);
void average_step(float* average, const float* value, std::int64_t n, double decay);

}  // namespace hardbit::cpu
