#pragma once
#include <cstddef>
#include <cstdint>

namespace hardbit::cuda {

// A row is `row_bytes` contiguous bytes, or `columns` elements. Indices lie on the device; one outside the
// `rows` rows of x is reported (Report::row), and row 0, which there must be, is taken in its place.

void gather(const std::byte* x, std::int64_t rows, const std::int32_t* indices, std::byte* y,
            std::int64_t count, std::int64_t row_bytes);
/// T: std::uint8_t (k ↦ fl(k / 255)), float.
template <class T>
void gather_images(const T* x, std::int64_t rows, const std::int32_t* indices, float* y, std::int64_t count,
                   std::int64_t columns);
void select_rows(const std::uint8_t* mask, const std::byte* a, const std::byte* b, std::byte* y,
                 std::int64_t count, std::int64_t row_bytes);
void zero_rows(const float* x, std::uint8_t* zero, std::int64_t rows, std::int64_t columns);

}  // namespace hardbit::cuda
