#include "cpu/binary_matmul.h"

#include <algorithm>
#include <atomic>

#include "cpu/bits.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// Work below which a second thread does not pay, in 64-bit words combined (about 10 µs).
constexpr std::int64_t word_grain = 256 * 1024;

std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

/// Uninitialised words from the caching allocator.
Tensor scratch(std::int64_t words) { return Tensor::empty(DType::u8, {words * 8}); }

/// Activations as a kernel reads them: [n][planes][words].
struct Activations {
  const std::uint64_t* data;
  std::int64_t n;
  int planes;
};

/// w [m, words] in the kernel's layout.
Tensor pack_weights(const Bgemm& kernel, const std::uint64_t* w, std::int64_t m, std::int64_t words) {
  Tensor packed = scratch(round_up(m, kernel.lanes) * words);
  const std::int64_t groups = round_up(m, kernel.lanes) / kernel.lanes;
  parallel_for(
      groups, word_grain / 8 / (words * kernel.lanes + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
        const std::int64_t first = begin * kernel.lanes;
        const std::int64_t last = std::min(end * kernel.lanes, m);
        kernel.pack(w + first * words, last - first, words, packed.data<std::uint64_t>() + first * words);
      });
  return packed;
}

/// Calls epilogue(first row, first column, tile with its sums) for each tile of the product, on all threads.
/// The operand with the smaller tile is walked in the inner loop, so that the larger one stays in the
/// first-level cache.
template <class Epilogue>
void for_each_tile(const Bgemm& kernel, const Activations& x, const std::uint64_t* packed, std::int64_t m,
                   std::int64_t words, const Epilogue& epilogue) {
  const std::int64_t down = (x.n + kernel.mr - 1) / kernel.mr;
  const std::int64_t across = (m + kernel.nr - 1) / kernel.nr;
  const bool rows_inside = x.n * x.planes <= m;
  const std::int64_t tile_words = (x.planes * words + 1) * kernel.mr * kernel.nr;
  parallel_for(down * across, word_grain / tile_words + 1, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) std::uint32_t sums[max_tile];
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = (rows_inside ? i % down : i / across) * kernel.mr;
      const std::int64_t column = (rows_inside ? i / down : i % across) * kernel.nr;
      const BgemmTile tile{.x = x.data + row * x.planes * words,
                           .row_stride = x.planes * words,
                           .plane_stride = words,
                           .w = packed + column * words,
                           .words = words,
                           .planes = x.planes,
                           .rows = static_cast<int>(std::min<std::int64_t>(kernel.mr, x.n - row)),
                           .columns = static_cast<int>(std::min<std::int64_t>(kernel.nr, m - column)),
                           .sums = sums};
      kernel.run(tile);
      epilogue(row, column, tile);
    }
  });
}

void store_tile(const BitKernels& kernels, const TileStore<std::int16_t>& store) { kernels.store_i16(store); }
void store_tile(const BitKernels& kernels, const TileStore<std::int32_t>& store) { kernels.store_i32(store); }

/// out [n, m] = offsets[m] − factor·S[n][m].
template <class Out>
void product(const Kernels& kernels, const Activations& x, const Tensor& packed, const Tensor& offsets,
             int factor, Out* out, std::int64_t m, std::int64_t words) {
  for_each_tile(kernels.bgemm, x, packed.data<std::uint64_t>(), m, words,
                [&](std::int64_t row, std::int64_t column, const BgemmTile& tile) {
                  store_tile(kernels.bits, TileStore<Out>{.sums = tile.sums,
                                                          .nr = kernels.bgemm.nr,
                                                          .rows = tile.rows,
                                                          .columns = tile.columns,
                                                          .offsets = offsets.data<std::int32_t>() + column,
                                                          .factor = factor,
                                                          .out = out + row * m + column,
                                                          .stride = m});
                });
}

}  // namespace

template <class Out>
void binary_matmul(const Kernels& kernels, const std::uint64_t* a, const std::uint64_t* w, Out* out,
                   std::int64_t n, std::int64_t m, std::int64_t k) {
  const Tensor packed = pack_weights(kernels.bgemm, w, m, words(k));
  const Tensor offsets = Tensor::empty(DType::i32, {m});
  std::fill_n(offsets.data<std::int32_t>(), m, static_cast<std::int32_t>(k));
  product(kernels, {a, n, 1}, packed, offsets, 2, out, m, words(k));
}

template <class Out>
int codes_matmul(const Kernels& kernels, const std::uint8_t* codes, int bits, const std::uint64_t* w,
                 Out* out, std::int64_t n, std::int64_t m, std::int64_t k) {
  const Tensor planes = scratch(n * bits * words(k));
  std::atomic<int> all{0};
  parallel_for(n, rows_grain(k), [&](std::int64_t begin, std::int64_t end) {
    all |= kernels.bits.pack_planes(codes + begin * k, end - begin, k, bits,
                                    planes.data<std::uint64_t>() + begin * bits * words(k));
  });
  if (all >> bits != 0) return all;

  const Tensor packed = pack_weights(kernels.bgemm, w, m, words(k));
  const Tensor offsets = Tensor::empty(DType::i32, {m});
  // (2^bits − 1)·popcount(w): the sums of a row of zeros are the popcounts of the weights.
  const Tensor zeros = Tensor::zeros(DType::u8, {words(k) * 8});
  for_each_tile(kernels.bgemm, {zeros.data<std::uint64_t>(), 1, 1}, packed.data<std::uint64_t>(), m, words(k),
                [&](std::int64_t, std::int64_t column, const BgemmTile& tile) {
                  for (int c = 0; c < tile.columns; ++c) {
                    offsets.data<std::int32_t>()[column + c] =
                        ((1 << bits) - 1) * static_cast<std::int32_t>(tile.sums[c]);
                  }
                });
  product(kernels, {planes.data<std::uint64_t>(), n, bits}, packed, offsets, 1, out, m, words(k));
  return all;
}

template void binary_matmul(const Kernels&, const std::uint64_t*, const std::uint64_t*, std::int16_t*,
                            std::int64_t, std::int64_t, std::int64_t);
template void binary_matmul(const Kernels&, const std::uint64_t*, const std::uint64_t*, std::int32_t*,
                            std::int64_t, std::int64_t, std::int64_t);
template int codes_matmul(const Kernels&, const std::uint8_t*, int, const std::uint64_t*, std::int16_t*,
                          std::int64_t, std::int64_t, std::int64_t);
template int codes_matmul(const Kernels&, const std::uint8_t*, int, const std::uint64_t*, std::int32_t*,
                          std::int64_t, std::int64_t, std::int64_t);

}  // namespace hardbit::cpu
