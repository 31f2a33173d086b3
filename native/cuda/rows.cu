#include <initializer_list>

#include "cuda/kernel.h"
#include "cuda/rows.h"

namespace hardbit::cuda {
namespace {

__device__ inline std::int64_t checked_row(std::int32_t index, std::int64_t rows, std::uint32_t* reports) {
  if (index >= 0 && index < rows) return index;
  report(reports, Report::row);
  return 0;
}

/// The widest unit of copying that divides rows and addresses.
std::int64_t copy_unit(std::int64_t row_bytes, std::initializer_list<const void*> places) {
  std::uintptr_t all = static_cast<std::uintptr_t>(row_bytes);
  for (const void* const place : places) all |= reinterpret_cast<std::uintptr_t>(place);
  return all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : 1;
}

template <class T>
void gather_units(const std::byte* x, std::int64_t x_rows, const std::int32_t* indices, std::byte* y,
                  std::int64_t count, std::int64_t row_units) {
  const auto* const from = reinterpret_cast<const T*>(x);
  auto* const to = reinterpret_cast<T*>(y);
  std::uint32_t* const reports = report_words();
  for_each(count * row_units, [=] __device__(std::int64_t i) {
    const Place place = place_of(i, row_units);
    to[i] = from[checked_row(indices[place.row], x_rows, reports) * row_units + place.column];
  });
}

template <class T>
void select_units(const std::uint8_t* mask, const std::byte* a, const std::byte* b, std::byte* y,
                  std::int64_t count, std::int64_t row_units) {
  const auto* const first = reinterpret_cast<const T*>(a);
  const auto* const second = reinterpret_cast<const T*>(b);
  auto* const to = reinterpret_cast<T*>(y);
  for_each(count * row_units, [=] __device__(std::int64_t i) {
    to[i] = mask[place_of(i, row_units).row] != 0 ? first[i] : second[i];
  });
}

__global__ void __launch_bounds__(256)
    zero_rows_kernel(const float* x, std::uint8_t* zero, std::int64_t columns) {
  __shared__ unsigned found[8];
  const float* const row = x + blockIdx.x * columns;
  bool nonzero = false;
  for (std::int64_t c = threadIdx.x; c < columns; c += 256) nonzero |= row[c] != 0;  // also a NaN
  const bool any = __any_sync(all_lanes, nonzero);
  if (threadIdx.x % 32 == 0) found[threadIdx.x / 32] = any ? 1 : 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned all = 0;
    for (const unsigned each : found) all |= each;
    zero[blockIdx.x] = all == 0 ? 1 : 0;
  }
}

}  // namespace

void gather(const std::byte* x, std::int64_t x_rows, const std::int32_t* indices, std::byte* y,
            std::int64_t count, std::int64_t row_bytes) {
  if (row_bytes == 0) return;
  const std::int64_t unit = copy_unit(row_bytes, {x, y});
  if (unit == 16) {
    gather_units<uint4>(x, x_rows, indices, y, count, row_bytes / 16);
  } else if (unit == 4) {
    gather_units<std::uint32_t>(x, x_rows, indices, y, count, row_bytes / 4);
  } else {
    gather_units<std::uint8_t>(x, x_rows, indices, y, count, row_bytes);
  }
}

template <class T>
void gather_images(const T* x, std::int64_t x_rows, const std::int32_t* indices, float* y, std::int64_t count,
                   std::int64_t columns) {
  std::uint32_t* const reports = report_words();
  for_each(count * columns, [=] __device__(std::int64_t i) {
    const Place place = place_of(i, columns);
    const T value = x[checked_row(indices[place.row], x_rows, reports) * columns + place.column];
    if constexpr (sizeof(T) == 1) {
      y[i] = static_cast<float>(value) / 255.0F;
    } else {
      y[i] = value;
    }
  });
}
template void gather_images(const std::uint8_t*, std::int64_t, const std::int32_t*, float*, std::int64_t,
                            std::int64_t);
template void gather_images(const float*, std::int64_t, const std::int32_t*, float*, std::int64_t,
                            std::int64_t);

void select_rows(const std::uint8_t* mask, const std::byte* a, const std::byte* b, std::byte* y,
                 std::int64_t count, std::int64_t row_bytes) {
  if (row_bytes == 0) return;
  const std::int64_t unit = copy_unit(row_bytes, {a, b, y});
  if (unit == 16) {
    select_units<uint4>(mask, a, b, y, count, row_bytes / 16);
  } else if (unit == 4) {
    select_units<std::uint32_t>(mask, a, b, y, count, row_bytes / 4);
  } else {
    select_units<std::uint8_t>(mask, a, b, y, count, row_bytes);
  }
}

void zero_rows(const float* x, std::uint8_t* zero, std::int64_t rows, std::int64_t columns) {
  launch(zero_rows_kernel, dim3(static_cast<unsigned>(rows)), dim3(256), 0, x, zero, columns);
}

}  // namespace hardbit::cuda
