#include <type_traits>

#include "cuda/kernel.h"
#include "cuda/pack_bits.h"
#include "cuda/rows.h"

namespace hardbit::cuda {
namespace {

/// The row that indices[i] asks for.
struct Indices {
  const std::int32_t* indices;
  std::int64_t rows;
  std::uint32_t* words;

  __device__ std::int64_t operator()(std::int64_t i) const {
    const std::int64_t index = indices[i];
    if (index >= 0 && index < rows) return index;
    report(words, Report::row);
    return 0;
  }
};

template <class Unit>
void gather_units(const std::byte* x, Indices indices, std::byte* y, std::int64_t count,
                  std::int64_t row_bytes) {
  const auto* const from = reinterpret_cast<const Unit*>(x);
  auto* const to = reinterpret_cast<Unit*>(y);
  const std::int64_t units = row_bytes / static_cast<std::int64_t>(sizeof(Unit));
  for_each(count * units, [=] __device__(std::int64_t i) {
    const Place at = place_of(i, units);
    to[i] = from[indices(at.row) * units + at.column];
  });
}

template <class Unit>
void select_units(const std::uint8_t* mask, const std::byte* a, const std::byte* b, std::byte* y,
                  std::int64_t count, std::int64_t row_bytes) {
  const auto* const of_a = reinterpret_cast<const Unit*>(a);
  const auto* const of_b = reinterpret_cast<const Unit*>(b);
  auto* const to = reinterpret_cast<Unit*>(y);
  const std::int64_t units = row_bytes / static_cast<std::int64_t>(sizeof(Unit));
  for_each(count * units,
           [=] __device__(std::int64_t i) { to[i] = mask[place_of(i, units).row] != 0 ? of_a[i] : of_b[i]; });
}

void gather_bytes_as_floats(const std::uint8_t* x, Indices indices, float* y, std::int64_t count,
                            std::int64_t columns) {
  if (columns == 0) {
    for_each(count, [=] __device__(std::int64_t i) { indices(i); });
    return;
  }
  if (columns % 4 != 0 || !aligned(x, 4)) {
    for_each(count * columns, [=] __device__(std::int64_t i) {
      const Place at = place_of(i, columns);
      y[i] = static_cast<float>(x[indices(at.row) * columns + at.column]) / 255.0F;
    });
    return;
  }
  const std::int64_t quads = columns / 4;
  for_each(count * quads, [=] __device__(std::int64_t i) {
    const Place at = place_of(i, quads);
    const std::uint32_t four = reinterpret_cast<const std::uint32_t*>(x)[indices(at.row) * quads + at.column];
    reinterpret_cast<float4*>(y)[i] =
        make_float4(static_cast<float>(four & 0xFF) / 255.0F, static_cast<float>(four >> 8 & 0xFF) / 255.0F,
                    static_cast<float>(four >> 16 & 0xFF) / 255.0F, static_cast<float>(four >> 24) / 255.0F);
  });
}

/// A warp has one row, and stops at the first 128 elements of which one is not zero: most rows have one
/// there.
__global__ void __launch_bounds__(256)
    zero_rows_kernel(const float* x, std::uint8_t* zero, std::int64_t rows, std::int64_t columns) {
  const unsigned lane = threadIdx.x % 32;
  const std::int64_t warps = static_cast<std::int64_t>(gridDim.x) * 8;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * 8 + threadIdx.x / 32; row < rows;
       row += warps) {
    const float* const elements = x + row * columns;
    bool nothing = true;
    for (std::int64_t first = 0; nothing && first < columns; first += 128) {
      bool mine = true;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const std::int64_t column = first + 32 * k + lane;
        // A NaN is not zero.
        if (column < columns && !(elements[column] == 0)) mine = false;
      }
      nothing = __all_sync(all_lanes, mine);
    }
    if (lane == 0) zero[row] = nothing ? 1 : 0;
  }
}

/// Rows and addresses are multiples of `bytes`.
bool in_units(std::uintptr_t bytes, std::int64_t row_bytes, const void* a, const void* b, const void* c) {
  return static_cast<std::uintptr_t>(row_bytes) % bytes == 0 && aligned(a, bytes) && aligned(b, bytes) &&
         aligned(c, bytes);
}

}  // namespace

void gather(const std::byte* x, std::int64_t rows, const std::int32_t* indices, std::byte* y,
            std::int64_t count, std::int64_t row_bytes) {
  const Indices rows_of{indices, rows, report_words()};
  if (row_bytes == 0) {
    for_each(count, [=] __device__(std::int64_t i) { rows_of(i); });
  } else if (in_units(16, row_bytes, x, y, nullptr)) {
    gather_units<uint4>(x, rows_of, y, count, row_bytes);
  } else if (in_units(4, row_bytes, x, y, nullptr)) {
    gather_units<std::uint32_t>(x, rows_of, y, count, row_bytes);
  } else {
    gather_units<std::uint8_t>(x, rows_of, y, count, row_bytes);
  }
}

template <class T>
void gather_images(const T* x, std::int64_t rows, const std::int32_t* indices, float* y, std::int64_t count,
                   std::int64_t columns) {
  if constexpr (std::is_same_v<T, float>) {
    gather(reinterpret_cast<const std::byte*>(x), rows, indices, reinterpret_cast<std::byte*>(y), count,
           columns * 4);
  } else {
    gather_bytes_as_floats(x, {indices, rows, report_words()}, y, count, columns);
  }
}
template void gather_images(const std::uint8_t*, std::int64_t, const std::int32_t*, float*, std::int64_t,
                            std::int64_t);
template void gather_images(const float*, std::int64_t, const std::int32_t*, float*, std::int64_t,
                            std::int64_t);

void select_rows(const std::uint8_t* mask, const std::byte* a, const std::byte* b, std::byte* y,
                 std::int64_t count, std::int64_t row_bytes) {
  if (in_units(16, row_bytes, a, b, y)) {
    select_units<uint4>(mask, a, b, y, count, row_bytes);
  } else if (in_units(4, row_bytes, a, b, y)) {
    select_units<std::uint32_t>(mask, a, b, y, count, row_bytes);
  } else {
    select_units<std::uint8_t>(mask, a, b, y, count, row_bytes);
  }
}

void zero_rows(const float* x, std::uint8_t* zero, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t most_blocks = 1 << 20;
  const std::int64_t blocks = ceil_div<std::int64_t>(rows, 8);
  launch(zero_rows_kernel, dim3(static_cast<unsigned>(blocks < most_blocks ? blocks : most_blocks)),
         dim3(256), 0, x, zero, rows, columns);
}

}  // namespace hardbit::cuda
