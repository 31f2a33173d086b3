#pragma once
#include <array>
#include <cstdint>
#include <span>

namespace hardbit::packed {

using Digest = std::array<std::uint8_t, 32>;

/// SHA-256 (FIPS 180-4).
Digest sha256(std::span<const std::uint8_t> bytes);

}  // namespace hardbit::packed
