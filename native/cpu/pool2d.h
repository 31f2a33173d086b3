#pragma once
#include <cstdint>

#include "ops/pool2d.h"

namespace hardbit::cpu {

// The operators of ops/pool2d.h on valid operands, into allocated results.

using ops::Pooling;

/// T: float, std::int16_t, std::int32_t. `index` may be null.
template <class T>
void max_pool2d(const Pooling& pooling, const T* x, T* y, std::uint8_t* index);
void max_pool2d_bits(const Pooling& pooling, const std::uint64_t* x, std::uint64_t* y, std::uint8_t* index);
/// The largest of `n` places, 0 for none.
int largest_place(const std::uint8_t* index, std::int64_t n);
void max_pool2d_backward(const Pooling& pooling, const float* dy, const std::uint8_t* index, float* dx);
/// Row `row` of images·height of that, where windows lie side by side.
void max_pool2d_backward_row(const Pooling& pooling, const float* dy, const std::uint8_t* index,
                             std::int64_t row, float* dx);
void pool_signs(const Pooling& pooling, const std::uint64_t* x, const std::uint64_t* all, std::uint64_t* y);
void avg_pool2d(const Pooling& pooling, const float* x, float* y);
void avg_pool2d_backward(const Pooling& pooling, const float* dy, float* dx);

}  // namespace hardbit::cpu
