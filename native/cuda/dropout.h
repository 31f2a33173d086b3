#pragma once
#include <cstdint>

#include "runtime/random.h"

namespace hardbit::cuda {

/// mask: bits [rows, words(columns)], 1 with probability 1 − rate; y = fl(x/(1 − rate)) where the bit is 1,
/// else +0.
void dropout(const Philox& philox, std::uint32_t stream, std::uint64_t step, double rate, const float* x,
             float* y, std::uint64_t* mask, std::int64_t rows, std::int64_t columns);
/// y = fl(x/(1 − rate)) where the bit is 1, else +0.
void apply_dropout(const float* x, const std::uint64_t* mask, double rate, float* y, std::int64_t rows,
                   std::int64_t columns);

}  // namespace hardbit::cuda
