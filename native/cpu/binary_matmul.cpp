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

/// Calls epilogue(first row, first column, tile, sums [rows][nr]) for each tile of the product, on all
/// threads. Tiles go down the rows first, so that a thread's nr channels of weights stay in its cache.
template <class Epilogue>
void for_each_tile(const Bgemm& kernel, const Activations& x, const std::uint64_t* packed, std::int64_t m,
                   std::int64_t words, const Epilogue& epilogue) {
  const std::int64_t down = (x.n + kernel.mr - 1) / kernel.mr;
  const std::int64_t across = (m + kernel.nr - 1) / kernel.nr;
  const std::int64_t tile_words = x.planes * words * kernel.mr * kernel.nr + kernel.mr * kernel.nr;
  parallel_for(down * across, word_grain / tile_words + 1, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) std::uint32_t sums[max_tile];
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i % down * kernel.mr;
      const std::int64_t column = i / down * kernel.nr;
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

/// out[r][c] = offsets[c] − factor·S[r][c].
template <int factor, class Out>
void store_tile(const Bgemm& kernel, std::int64_t row, std::int64_t column, const BgemmTile& tile,
                const std::int32_t* offsets, Out* out, std::int64_t m) {
  for (int r = 0; r < tile.rows; ++r) {
    const std::uint32_t* sums = tile.sums + r * kernel.nr;
    Out* to = out + (row + r) * m + column;
    for (int c = 0; c < tile.columns; ++c) {
      to[c] = static_cast<Out>(offsets[column + c] - factor * static_cast<std::int32_t>(sums[c]));
    }
  }
}

}  // namespace

template <class Out>
void binary_matmul(const Bgemm& kernel, const std::uint64_t* a, const std::uint64_t* w, Out* out,
                   std::int64_t n, std::int64_t m, std::int64_t k) {
  const Tensor packed = pack_weights(kernel, w, m, words(k));
  const Tensor offsets = Tensor::empty(DType::i32, {m});
  std::fill_n(offsets.data<std::int32_t>(), m, static_cast<std::int32_t>(k));
  for_each_tile(kernel, {a, n, 1}, packed.data<std::uint64_t>(), m, words(k),
                [&](std::int64_t row, std::int64_t column, const BgemmTile& tile) {
                  store_tile<2>(kernel, row, column, tile, offsets.data<std::int32_t>(), out, m);
                });
}

template <class Out>
int codes_matmul(const Bgemm& kernel, const BitKernels& bit_kernels, const std::uint8_t* codes, int bits,
                 const std::uint64_t* w, Out* out, std::int64_t n, std::int64_t m, std::int64_t k) {
  const Tensor planes = scratch(n * bits * words(k));
  std::atomic<int> all{0};
  parallel_for(n, rows_grain(k), [&](std::int64_t begin, std::int64_t end) {
    all |= bit_kernels.pack_planes(codes + begin * k, end - begin, k, bits,
                                   planes.data<std::uint64_t>() + begin * bits * words(k));
  });
  if (all >> bits != 0) return all;

  const Tensor packed = pack_weights(kernel, w, m, words(k));
  const Tensor offsets = Tensor::empty(DType::i32, {m});
  // (2^bits − 1)·popcount(w): the sums of a row of zeros are the popcounts of the weights.
  const Tensor zeros = Tensor::zeros(DType::u8, {words(k) * 8});
  for_each_tile(kernel, {zeros.data<std::uint64_t>(), 1, 1}, packed.data<std::uint64_t>(), m, words(k),
                [&](std::int64_t, std::int64_t column, const BgemmTile& tile) {
                  for (int c = 0; c < tile.columns; ++c) {
                    offsets.data<std::int32_t>()[column + c] =
                        ((1 << bits) - 1) * static_cast<std::int32_t>(tile.sums[c]);
                  }
                });
  for_each_tile(kernel, {planes.data<std::uint64_t>(), n, bits}, packed.data<std::uint64_t>(), m, words(k),
                [&](std::int64_t row, std::int64_t column, const BgemmTile& tile) {
                  store_tile<1>(kernel, row, column, tile, offsets.data<std::int32_t>(), out, m);
                });
  return all;
}

template void binary_matmul(const Bgemm&, const std::uint64_t*, const std::uint64_t*, std::int16_t*,
                            std::int64_t, std::int64_t, std::int64_t);
template void binary_matmul(const Bgemm&, const std::uint64_t*, const std::uint64_t*, std::int32_t*,
                            std::int64_t, std::int64_t, std::int64_t);
template int codes_matmul(const Bgemm&, const BitKernels&, const std::uint8_t*, int, const std::uint64_t*,
                          std::int16_t*, std::int64_t, std::int64_t, std::int64_t);
template int codes_matmul(const Bgemm&, const BitKernels&, const std::uint8_t*, int, const std::uint64_t*,
                          std::int32_t*, std::int64_t, std::int64_t, std::int64_t);

}  // namespace hardbit::cpu
