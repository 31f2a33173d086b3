#pragma once
#include <cstdint>

namespace hardbit {

/// ⌈n / by⌉ of n ≥ 0.
constexpr std::int64_t divide_up(std::int64_t n, std::int64_t by) { return (n + by - 1) / by; }

/// The smallest multiple of `to` from n ≥ 0 on.
constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) { return divide_up(n, to) * to; }

}  // namespace hardbit
