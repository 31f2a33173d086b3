#include "cpu/rows.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// Calls f(i) for every row; a thread gets at least element_grain·4 bytes of them.
template <class F>
void each_row(std::int64_t rows, std::int64_t row_bytes, const F& f) {
  parallel_for(rows, element_grain * 4 / std::max<std::int64_t>(row_bytes, 1),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) f(i);
               });
}

}  // namespace

void gather(const std::byte* x, const std::int32_t* indices, std::byte* y, std::int64_t count,
            std::int64_t row_bytes) {
  each_row(count, row_bytes, [=](std::int64_t i) {
    std::memcpy(y + i * row_bytes, x + indices[i] * row_bytes, static_cast<std::size_t>(row_bytes));
  });
}

template <class T>
void gather_images(const T* x, std::span<const std::int32_t> indices, float* y, std::int64_t columns) {
  for (const std::int32_t index : indices) {
    const T* const row = x + index * columns;
    for (std::int64_t c = 0; c < columns; ++c) {
      if constexpr (std::is_same_v<T, float>) {
        y[c] = row[c];
      } else {
        y[c] = static_cast<float>(row[c]) / 255.0F;
      }
    }
    y += columns;
  }
}
template void gather_images(const std::uint8_t*, std::span<const std::int32_t>, float*, std::int64_t);
template void gather_images(const float*, std::span<const std::int32_t>, float*, std::int64_t);

void select_rows(const std::uint8_t* mask, const std::byte* a, const std::byte* b, std::byte* y,
                 std::int64_t count, std::int64_t row_bytes) {
  each_row(count, row_bytes, [=](std::int64_t i) {
    std::memcpy(y + i * row_bytes, (mask[i] != 0 ? a : b) + i * row_bytes,
                static_cast<std::size_t>(row_bytes));
  });
}

void copy(const std::byte* x, std::byte* y, std::int64_t bytes) {
  parallel_for(bytes, element_grain * 4, [=](std::int64_t begin, std::int64_t end) {
    std::memcpy(y + begin, x + begin, static_cast<std::size_t>(end - begin));
  });
}

void zero_rows(const float* x, std::uint8_t* zero, std::int64_t rows, std::int64_t columns) {
  each_row(rows, columns * 4, [=](std::int64_t i) {
    const float* const row = x + i * columns;
    zero[i] = std::all_of(row, row + columns, [](float v) { return v == 0; }) ? 1 : 0;
  });
}

}  // namespace hardbit::cpu
