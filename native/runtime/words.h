#pragma once
#include <cstdint>

namespace hardbit {

/// 64-bit words that hold `k` bits.
constexpr std::int64_t words(std::int64_t k) { return (k + 63) / 64; }

}  // namespace hardbit
