#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "runtime/threads.h"

namespace hardbit::cpu {

inline constexpr std::int64_t tile_rows = 2048;
inline constexpr std::int64_t tile_columns = 64;
/// Tiles side by side that one thread sums at once, so that memory is read along whole rows: a tile alone
/// reads a few cache lines of each, which no prefetcher follows.
inline constexpr std::int64_t most_beside = 8;

/// K running sums of each column of a tile.
template <class T, std::size_t K>
using TileSums = std::array<std::array<T, tile_columns>, K>;

/// K sums down each column of a row-major [rows, columns] array, on all threads, in an order that does not
/// depend on their number: the array is cut into fixed tiles, a tile sums row by row, and tiles are added
/// from top to bottom.
///
/// `add(row, column, width, sums)` adds elements [column, column + width) of one row to a TileSums, width <=
/// tile_columns; its loop over the width is the innermost one.
template <class T, std::size_t K, class Add>
std::array<std::vector<T>, K> column_sums(std::int64_t rows, std::int64_t columns, const Add& add) {
  const std::int64_t down = (rows + tile_rows - 1) / tile_rows;
  const std::int64_t across = (columns + tile_columns - 1) / tile_columns;
  std::vector<TileSums<T, K>> partial(static_cast<std::size_t>(down * across));
  const std::int64_t tile_elements = std::min(rows, tile_rows) * std::min(columns, tile_columns);
  const std::int64_t beside = down >= threads() ? most_beside : 1;
  const std::int64_t groups = (across + beside - 1) / beside;
  parallel_for(down * groups, element_grain / 4 / std::max<std::int64_t>(tile_elements * beside, 1),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t group = begin; group < end; ++group) {
                   const std::int64_t first = group / groups * tile_rows;
                   const std::int64_t last = std::min(rows, first + tile_rows);
                   const std::int64_t left = group % groups * beside;
                   const std::int64_t right = std::min(across, left + beside);
                   // Local, so that the compiler knows that nothing else points to it.
                   std::array<TileSums<T, K>, most_beside> sums;
                   std::fill_n(sums.begin(), right - left, TileSums<T, K>{});
                   for (std::int64_t row = first; row < last; ++row) {
                     for (std::int64_t tile = left; tile < right; ++tile) {
                       const std::int64_t column = tile * tile_columns;
                       add(row, column, std::min(columns - column, tile_columns),
                           sums[static_cast<std::size_t>(tile - left)]);
                     }
                   }
                   std::copy_n(sums.begin(), right - left, partial.begin() + group / groups * across + left);
                 }
               });
  std::array<std::vector<T>, K> totals;
  for (std::size_t k = 0; k < K; ++k) {
    totals[k].resize(static_cast<std::size_t>(columns));
    for (std::int64_t tile = 0; tile < down * across; ++tile) {
      const std::int64_t column = tile % across * tile_columns;
      for (std::int64_t c = 0; c < std::min(columns - column, tile_columns); ++c) {
        totals[k][static_cast<std::size_t>(column + c)] +=
            partial[static_cast<std::size_t>(tile)][k][static_cast<std::size_t>(c)];
      }
    }
  }
  return totals;
}

}  // namespace hardbit::cpu
