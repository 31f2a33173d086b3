#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace hardbit::cuda {

// A row is `row_bytes` contiguous bytes.

void gather(const std::byte* x, const std::int32_t* indices, std::byte* y, std::int64_t count,
            std::int64_t row_bytes);
/// On the calling thread alone. T: std::uint8_t (k ↦ fl(k / 255)), float.
template <class T>
void gather_images(const T* x, std::span<const std::int32_t> indices, float* y, std::int64_t columns);
void select_rows(const std::uint8_t* mask, const std::byte* a, const std::byte* b, std::byte* y,
                 std::int64_t count, std::int64_t row_bytes);
void copy(const std::byte* x, std::byte* y, std::int64_t bytes);
void zero_rows(const float* x, std::uint8_t* zero, std::int64_t rows, std::int64_t columns);

}  // namespace hardbit::cuda
