#pragma once
#include <cstdint>

namespace hardbit::cuda {

// Bits are rows of words(columns) 64-bit words.

void pack_signs(const float* x, std::uint64_t* bits, std::int64_t rows, std::int64_t columns);
void unpack_signs(const std::uint64_t* bits, float* x, std::int64_t rows, std::int64_t columns);
/// y's [rows, columns] bits are those of x, whose rows are x_columns long, in the same order; columns > 0.
void repack_bits(const std::uint64_t* x, std::int64_t x_columns, std::uint64_t* y, std::int64_t rows,
                 std::int64_t columns);

}  // namespace hardbit::cuda
