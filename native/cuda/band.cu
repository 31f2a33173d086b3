#include <algorithm>
#include <array>

#include "cuda/band.h"
#include "runtime/words.h"

namespace hardbit::cuda::band {
namespace {

struct WeightsJob {
  const std::uint64_t* w;  // [m][words]
  std::int64_t w_words;
  int m, channels, kh, kw, columns, pieces_of_k, count;
  bool signs, pairs;
  int code_bits;
  ChannelOrder order;
  std::uint32_t* packed;
};

/// Bits [at, at + n) of a row, n ≤ 32.
__device__ inline std::uint32_t row_bits(const std::uint64_t* row, int at, int n) {
  if (n <= 0) return 0;
  const int shift = at % 64;
  std::uint64_t word = row[at / 64] >> shift;
  if (shift + n > 64) word |= row[at / 64 + 1] << (64 - shift);
  return static_cast<std::uint32_t>(word) & (n >= 32 ? ~0U : (1U << n) - 1);
}

/// A thread a piece: [slice][piece of k][column][16 bytes].
__global__ void __launch_bounds__(256) weights_kernel(WeightsJob j) {
  const int i = static_cast<int>(blockIdx.x) * 256 + static_cast<int>(threadIdx.x);
  if (i >= j.count) return;
  const int column = i % j.columns;
  const int piece = i / j.columns % j.pieces_of_k;
  // Columns 8·i + 2·t and + 1 are sums 2·i and 2·i + 1 of lane t.
  const int of_slice = j.order == ChannelOrder::plain
                           ? column
                           : channel_of(j.order, j.columns, column % 8 / 2, column / 8 * 2 + column % 2);
  const int channel = i / j.columns / j.pieces_of_k * j.columns + of_slice;
  std::uint32_t words[4] = {};
  if (channel < j.m) {
    const std::uint64_t* const row = j.w + channel * j.w_words;
    const int taps = j.kh * j.kw;
    if (!j.signs) {
      const int bits = taps * j.channels * j.code_bits;
      for (int e = 0; e < 128; ++e) {
        const int bit = piece * 128 + e;
        if (bit < bits) words[e / 32] |= row_bits(row, bit / j.code_bits, 1) << (e % 32);
      }
    } else if (j.pairs) {
      const int across = (j.kw + 1) / 2;
      const int down = piece / across;
      for (int e = 0; e < 4; ++e) {
        const int tap_column = piece % across * 2 + e / 2;
        if (down < j.kh && tap_column < j.kw) {
          words[e] = row_bits(row, (down * j.kw + tap_column) * 64 + e % 2 * 32, 32);
        }
      }
    } else {
      const int first = piece / taps * 128;
      for (int e = 0; e < 4; ++e) {
        words[e] =
            row_bits(row, piece % taps * j.channels + first + 32 * e, min(32, j.channels - first - 32 * e));
      }
    }
  }
  reinterpret_cast<uint4*>(j.packed)[i] = make_uint4(words[0], words[1], words[2], words[3]);
}

}  // namespace

void pack_weights(const Layer& layer, const std::uint64_t* w, int channels, ChannelOrder order,
                  std::uint8_t* packed) {
  const Band& b = layer.band;
  const int slices = ceil_div(b.m, channels);
  const std::int64_t k = std::int64_t{b.kh} * b.kw * b.channels;
  const WeightsJob job{.w = w,
                       .w_words = words(k),
                       .m = b.m,
                       .channels = b.channels,
                       .kh = b.kh,
                       .kw = b.kw,
                       .columns = channels,
                       .pieces_of_k = 2 * b.steps,
                       .count = static_cast<int>(slices * weight_pieces(b, channels)),
                       .signs = layer.signs,
                       .pairs = b.pixel_words == 1,
                       .code_bits = b.code_bits,
                       .order = order,
                       .packed = reinterpret_cast<std::uint32_t*>(packed)};
  launch(weights_kernel, dim3(static_cast<unsigned>(ceil_div(job.count, 256))), dim3(256), 0, job);
}

std::optional<Layer> layer_of(const BinaryLayer& layer, const BinaryLayout& layout) {
  const ops::Conv2d& conv = layer.conv;
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  const std::int64_t most = 1 << 11;
  if (groups != 1 || std::max({conv.h, conv.w, conv.oh, conv.ow, conv.kh, conv.kw}) > most ||
      std::min(conv.oh, conv.ow) < 2 || conv.m > (1 << 20) || layout.classes() > most_classes) {
    return {};
  }
  const std::int64_t taps = conv.kh * conv.kw;
  Layer result{.band = {}, .signs = !layer.codes};
  const auto size = [](std::int64_t n) { return static_cast<int>(n); };
  Band& b = result.band;
  b.h = size(conv.h);
  b.w = size(conv.w);
  b.oh = size(conv.oh);
  b.ow = size(conv.ow);
  b.kh = size(conv.kh);
  b.kw = size(conv.kw);
  b.stride_h = size(stride[0]);
  b.stride_w = size(stride[1]);
  b.dilation_h = size(dilation[0]);
  b.dilation_w = size(dilation[1]);
  b.top = size(padding[0]);
  b.left = size(padding[2]);
  b.channels = size(conv.c);
  b.m = size(conv.m);
  b.rows = layout.rows;
  b.columns = layout.columns;
  b.bits = layer.bits;
  int pieces_of_k = 2;
  if (result.signs) {
    if (stride != ops::Pair{1, 1} || conv.c % 64 != 0 || conv.c > (1 << 14)) return {};
    b.pixel_words = size(conv.c / 64);
    // Neighbours that share a piece are neighbouring taps.
    if (b.pixel_words == 1 && conv.kw > 1 && dilation[1] != 1) return {};
    b.pieces = (b.pixel_words + 1) / 2;
    pieces_of_k = b.pixel_words == 1 ? b.kh * ((b.kw + 1) / 2) : size(taps) * b.pieces;
  } else {
    b.code_bits = layer.bits > 5 ? 32 : (1 << layer.bits) - 1;
    if (conv.c * b.code_bits > 32 || taps * conv.c * b.code_bits > 256) return {};
  }
  b.piece_factor =
      b.pieces > 1
          ? static_cast<std::uint32_t>((std::uint64_t{1} << 32) / static_cast<unsigned>(b.pieces) + 1)
          : 0;
  while (b.row_lanes < 5 && 1 << b.row_lanes < b.w) ++b.row_lanes;
  b.steps = (pieces_of_k + 1) / 2;
  if (b.steps > most_steps) return {};
  b.tile_columns = ceil_div(b.ow, side);
  b.pitch = std::max((b.tile_columns * side - 1) * b.stride_w + (b.kw - 1) * b.dilation_w + 1, b.left + b.w);
  return result;
}

bool cut(Layer& layer, std::int64_t images, int tile_rows, int tiles, int buffers) {
  Band& b = layer.band;
  b.images = static_cast<int>(images);
  b.tile_rows = tile_rows;
  const int full_rows = round_up(b.oh, tile_rows);
  const int per_image = full_rows / tile_rows * b.tile_columns;
  if (per_image >= tiles) {
    b.group = 1;
    b.item_rows = std::min(full_rows, tile_rows * std::max(1, tiles / b.tile_columns));
  } else {
    b.group = std::min(tiles / per_image, 64);
    b.item_rows = full_rows;
  }
  b.bands = ceil_div(full_rows, b.item_rows);
  b.items = b.bands == 1 ? ceil_div(b.images, b.group) : b.images * b.bands;
  b.band_rows = (b.item_rows - 1) * b.stride_h + (b.kh - 1) * b.dilation_h + 1;
  b.tiles = b.group * b.item_rows / tile_rows * b.tile_columns;
  b.buffers = buffers;
  if (!layer.signs) {
    b.piece_stride = b.tiles * b.tile_pixels();
    b.buffer_pieces = 2 * b.piece_stride;
    b.offset[0] = bit_offset(0, static_cast<std::uint32_t>(b.piece_stride));
    return b.piece_stride < 1 << 14;
  }
  // Pieces of a pixel in different banks.
  const int spread = b.pieces >= side ? 1 : side / b.pieces;
  b.piece_stride = round_up(b.positions(), side) + spread % side;
  b.buffer_pieces = b.pieces * b.piece_stride;
  if (b.buffer_pieces > 1 << 14) return false;
  int n = 0;
  std::array<std::uint16_t, 2 * most_steps> offsets{};
  const int across = b.pixel_words == 1 ? 2 : 1;
  for (int piece = 0; piece < b.pieces; ++piece) {
    for (int i = 0; i < b.kh; ++i) {
      for (int j = 0; j < b.kw; j += across) {
        offsets[n++] = static_cast<std::uint16_t>(piece * b.piece_stride + i * b.dilation_h * b.pitch +
                                                  j * b.dilation_w);
      }
    }
  }
  for (int s = 0; s < b.steps; ++s) {
    b.offset[s] = bit_offset(offsets[2 * s], 2 * s + 1 < n ? offsets[2 * s + 1] - offsets[2 * s] : 0U);
  }
  return true;
}

}  // namespace hardbit::cuda::band
