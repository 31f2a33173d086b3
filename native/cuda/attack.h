#pragma once
#include <cstdint>

#include "ops/attack.h"
#include "runtime/random.h"

namespace hardbit::cuda {

void attack_step(const float* x, const float* gradient, const float* origin, float step_size, float epsilon,
                 float* y, std::int64_t n);
void attack_uniform_start(const float* origin, float radius, float epsilon, const Philox& philox,
                          std::uint32_t stream, std::uint64_t first_row, float* y, std::int64_t rows,
                          std::int64_t columns);
void attack_sign_start(const float* origin, float alpha, float epsilon, const Philox& philox,
                       std::uint32_t stream, std::uint64_t first_row, float* y, std::int64_t rows,
                       std::int64_t columns);
std::int64_t count_flippable(const float* x, float epsilon, int bits, std::int64_t n);
ops::Perturbation perturbation(const float* a, const float* b, float epsilon, std::int64_t n);
std::int64_t count_invalid_pixels(const float* x, std::int64_t n);

// attack_l2.cpp
void attack_step_l2(const float* x, const float* gradient, const float* origin, double step_size,
                    double epsilon, float* y, std::int64_t rows, std::int64_t columns);
void attack_uniform_start_l2(const float* origin, double epsilon, const Philox& philox, std::uint32_t stream,
                             std::uint64_t first_row, float* y, std::int64_t rows, std::int64_t columns);
void row_distances(const float* a, const float* b, float* distances, std::int64_t rows, std::int64_t columns);

}  // namespace hardbit::cuda
