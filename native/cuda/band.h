#pragma once
// Bands of images in shared memory, which the kernels of binary layers read as they lie: a band is a few rows
// of an image, or a few images whole, with their borders. A tap of a window is then the same band read from
// another place on.
//
// The kernels cut their work into items, a band each, and items into tiles of 8 output columns by `tile_rows`
// rows. Some of a block's warps load a band and count its ones.

#include <cstdint>
#include <optional>

#include "cuda/binary_product.h"
#include "cuda/bit_warpgroup.h"
#include "cuda/kernel.h"

namespace hardbit::cuda::band {

/// Columns of a tile.
inline constexpr int side = 8;
inline constexpr int most_steps = 64;
inline constexpr int most_classes = 64;
inline constexpr std::int64_t most_tiles = std::int64_t{1} << 30;  // of a call

constexpr int round_up(int n, int to) { return (n + to - 1) / to * to; }

/// A layer cut into items, each a few images or a band of rows of one.
struct Band {
  int images, h, w, oh, ow;
  int kh, kw, stride_h, stride_w, dilation_h, dilation_w, top, left;
  int channels;  // of the input
  int m;
  BorderClasses rows, columns;

  /// An item: so many images, or so many output rows of one.
  int group, item_rows, bands, items, slices;
  /// Rows of a tile, and its pixels.
  int tile_rows;
  constexpr int tile_pixels() const { return tile_rows * side; }
  /// Positions of a row of the band, whose first is `left` before the image, and rows of an image of it.
  int pitch, band_rows;
  int tile_columns, tiles;

  /// Signs: 64-bit words of a pixel, and its 16-byte pieces, `piece_stride` apart (in pieces). One word alone
  /// shares its piece with its right neighbour's.
  int pixel_words, pieces, piece_stride;
  /// 2^32 / pieces, rounded up.
  std::uint32_t piece_factor;
  /// Binary logarithm of the lanes that take a row of an image, at most 5.
  int row_lanes;
  /// Codes: their bits, and those that stand for one, bit p of it 2^p times.
  int bits, code_bits;

  /// Pieces of a buffer of the operand, a power of two of which there are.
  int buffer_pieces, buffers;
  constexpr int positions() const { return group * band_rows * pitch; }

  int steps;
  /// Of the operand's, from a tile's first position on (BitOperand::moved).
  std::uint32_t offset[most_steps];

  constexpr int classes() const { return rows.count() * columns.count(); }
};

struct Item {
  int image, row;  // the first of each
};
__device__ inline Item item_of(const Band& b, int item) {
  if (b.bands == 1) return {item * b.group, 0};
  const int image = item / b.bands;
  return {image, (item - image * b.bands) * b.item_rows};
}

/// A row of the band: of which image, and the input row there, where it is inside.
struct BandRow {
  int image, row;
  bool inside;
};
__device__ inline BandRow band_row(const Band& b, const Item& item, int r) {
  const int image = b.group == 1 ? 0 : r / b.band_rows;
  const int row = item.row * b.stride_h - b.top + r - image * b.band_rows;
  return {item.image + image, row,
          item.image + image < b.images && static_cast<unsigned>(row) < static_cast<unsigned>(b.h)};
}

/// Signs: their words lie in the buffer as they come, and windows are read from there.
struct SignBand {
  static constexpr bool is_signs = true;
  /// n = (2·P − Σ x) << doubled, and a constant.
  static constexpr int doubled = 1;
  const std::uint64_t* x;

  /// Queues the copies of an item, a warp a row; `thread` of so many.
  template <int threads>
  __device__ void load(const Band& b, int thread, const Item& item, unsigned char* buffer) const {
    const bool wide = b.pixel_words % 2 == 0 && reinterpret_cast<std::uintptr_t>(x) % 16 == 0;
    const int row_words = b.w * b.pixel_words;
    for (int i = thread % 32; i < (wide ? row_words / 2 : row_words); i += 32) {
      if (wide) {
        const int column =
            b.pieces == 1 ? i : static_cast<int>(__umulhi(static_cast<unsigned>(i), b.piece_factor));
        unsigned char* const to = buffer + ((i - column * b.pieces) * b.piece_stride + b.left + column) * 16;
        load_column<threads, 16>(b, thread, item, to, 2 * i, false);
        continue;
      }
      const int column = b.pixel_words == 1 ? i : i / b.pixel_words;
      const int word = i - column * b.pixel_words;
      unsigned char* const to = buffer + (word / 2 * b.piece_stride + b.left + column) * 16 + word % 2 * 8;
      load_column<threads, 8>(b, thread, item, to, i, b.pixel_words == 1);
    }
  }

  /// The same bytes of every row of a band, `word` of the row's words on; `to` is the first row's place.
  /// `twice`: the left neighbour's piece has them too.
  template <int threads, int bytes>
  __device__ void load_column(const Band& b, int thread, const Item& item, unsigned char* to, int word,
                              bool twice) const {
    constexpr int warps = threads / 32;
    const int warp = thread / 32;
    const int row_words = b.w * b.pixel_words;
    const int pitch = b.pitch * 16;
    // Whole images have the same border always, which is zero already.
    const bool whole = b.bands == 1;
    const int top = whole ? 0 : item.row - b.top;
    const int rows = whole ? b.h : b.band_rows;
    if (whole) to += b.top * pitch;
    // Before the first position there is no left neighbour.
    const bool alone = b.left == 0 && word == 0 && (!whole || b.top == 0);
#pragma unroll 1
    for (int image = 0; image < b.group && item.image + image < b.images; ++image) {
      const std::uint64_t* from =
          x + (std::int64_t{item.image + image} * b.h + top + warp) * row_words + word;
      unsigned char* place = to + (image * b.band_rows + warp) * pitch;
      const auto copy = [&](int r) {
        const bool inside = whole || static_cast<unsigned>(top + r) < static_cast<unsigned>(b.h);
        copy_async<bytes>(place, from, inside);
        if (bytes == 8 && twice && !(alone && r == 0 && image == 0)) {
          copy_async<bytes>(place - bytes, from, inside);
        }
        place += warps * pitch;
        from += warps * row_words;
      };
      int r = warp;
#pragma unroll 1
      for (; r + 3 * warps < rows; r += 4 * warps) {
#pragma unroll
        for (int i = 0; i < 4; ++i) copy(r + i * warps);
      }
#pragma unroll 1
      for (; r < rows; r += warps) copy(r);
    }
  }

  /// The ones of each pixel of an item that has arrived.
  template <int threads>
  __device__ void count(const Band& b, const Item& /*item*/, const unsigned char* buffer, int* counts) const {
    const int lanes = 1 << b.row_lanes;
    const int first = static_cast<int>(threadIdx.x) >> b.row_lanes;
    const int rows = b.group * b.band_rows;
    const auto ones = [](const uint4& v) { return __popc(v.x) + __popc(v.y) + __popc(v.z) + __popc(v.w); };
#pragma unroll 1
    for (int column = static_cast<int>(threadIdx.x) & (lanes - 1); column < b.w; column += lanes) {
      const unsigned char* const from = buffer + (b.left + column) * 16;
      int* const to = counts + b.left + column;
      if (b.pixel_words == 2) {
#pragma unroll 4
        for (int r = first; r < rows; r += threads >> b.row_lanes) {
          to[r * b.pitch] = ones(*reinterpret_cast<const uint4*>(from + r * b.pitch * 16));
        }
        continue;
      }
      if (b.pixel_words == 1) {
#pragma unroll 4
        for (int r = first; r < rows; r += threads >> b.row_lanes) {
          const uint2 v = *reinterpret_cast<const uint2*>(from + r * b.pitch * 16);
          to[r * b.pitch] = __popc(v.x) + __popc(v.y);
        }
        continue;
      }
#pragma unroll 1
      for (int r = first; r < rows; r += threads >> b.row_lanes) {
        int sum = 0;
#pragma unroll 2
        for (int piece = 0; piece < b.pieces; ++piece) {
          sum += ones(*reinterpret_cast<const uint4*>(from + (piece * b.piece_stride + r * b.pitch) * 16));
        }
        to[r * b.pitch] = sum;
      }
    }
  }

  /// Σ x of a tile's pixel, whose window starts `at`.
  __device__ int finish(const Band& b, int at, int /*pixel*/, const int* counts,
                        unsigned char* /*buffer*/) const {
    int sum = 0;
    if (b.kh == 3 && b.kw == 3) {
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        const int* const row = counts + at + i * b.dilation_h * b.pitch;
        sum += row[0] + row[b.dilation_w] + row[2 * b.dilation_w];
      }
      return sum;
    }
#pragma unroll 1
    for (int i = 0; i < b.kh; ++i) {
      const int* const row = counts + at + i * b.dilation_h * b.pitch;
#pragma unroll 1
      for (int j = 0; j < b.kw; ++j) sum += row[j * b.dilation_w];
    }
    return sum;
  }
};

/// Codes of few bits in few channels: a window's bits fit into one step, and are written out for each pixel.
struct CodeBand {
  static constexpr bool is_signs = false;
  static constexpr int doubled = 0;
  const std::uint8_t* x;
  std::uint32_t* report;

  template <int threads>
  __device__ void load(const Band& /*b*/, int /*thread*/, const Item& /*item*/,
                       unsigned char* /*buffer*/) const {}

  /// The bits that stand for each pixel.
  template <int threads>
  __device__ void count(const Band& b, const Item& item, const unsigned char* /*buffer*/, int* counts) const {
    const int lanes = 1 << b.row_lanes;
    for (int r = static_cast<int>(threadIdx.x) >> b.row_lanes; r < b.group * b.band_rows;
         r += threads >> b.row_lanes) {
      const BandRow row = band_row(b, item, r);
      const std::uint8_t* const from =
          row.inside ? x + (std::int64_t{row.image} * b.h + row.row) * b.w * b.channels : x;
      for (int column = static_cast<int>(threadIdx.x) & (lanes - 1); column < b.w; column += lanes) {
        std::uint32_t bits = 0;
        unsigned wrong = 0;
        if (row.inside) {
          for (int c = 0; c < b.channels; ++c) {
            const unsigned code = from[column * b.channels + c];
            wrong |= code >> b.bits;
            std::uint32_t field = 0;
            for (int p = 0; p < b.bits; ++p) {
              if ((code >> p & 1) != 0) field |= ((1U << (1 << p)) - 1) << ((1 << p) - 1);
            }
            bits |= field << (c * b.code_bits);
          }
        }
        if (wrong != 0) cuda::report(report, Report::code);
        counts[r * b.pitch + b.left + column] = static_cast<int>(bits);
      }
    }
  }

  /// Writes a tile's pixel, and gives Σ x, the ones of it.
  __device__ int finish(const Band& b, int at, int pixel, const int* counts, unsigned char* buffer) const {
    const int pixel_bits = b.channels * b.code_bits;
    std::uint64_t open = 0;
    int filled = 0;
    int word = 0;
    int ones = 0;
    const auto write = [&] {
      const auto bits = static_cast<std::uint32_t>(open);
      ones += __popc(bits);
      *reinterpret_cast<std::uint32_t*>(buffer + (word / 4 * b.piece_stride + pixel) * 16 + word % 4 * 4) =
          bits;
      ++word;
    };
    for (int i = 0; i < b.kh; ++i) {
      for (int j = 0; j < b.kw; ++j) {
        const auto pixel =
            static_cast<std::uint32_t>(counts[at + i * b.dilation_h * b.pitch + j * b.dilation_w]);
        open |= std::uint64_t{pixel} << filled;
        filled += pixel_bits;
        if (filled >= 32) {
          write();
          open >>= 32;
          filled -= 32;
        }
      }
    }
    if (filled > 0) write();
    return ones;
  }
};

/// Of each tile of an item its first position in the band, and where it is: image, row and column of the
/// item.
struct TilePlace {
  int position;
  int packed;
  __device__ int image() const { return packed >> 24; }
  __device__ int row() const { return packed >> 12 & 0xFFF; }
  __device__ int column() const { return packed & 0xFFF; }
};
__device__ inline TilePlace tile_place(const Band& b, int tile) {
  const int image_tiles = b.item_rows / b.tile_rows * b.tile_columns;
  const int image = tile / image_tiles;
  const int row = (tile - image * image_tiles) / b.tile_columns * b.tile_rows;
  const int column = (tile - image * image_tiles) % b.tile_columns * side;
  return {(image * b.band_rows + row * b.stride_h) * b.pitch + column * b.stride_w,
          image << 24 | row << 12 | column};
}
/// Where the window of a tile's pixel starts.
__device__ inline int window_of(const Band& b, const TilePlace& tile, int pixel) {
  return tile.position + pixel / side * b.stride_h * b.pitch + pixel % side * b.stride_w;
}

// -- on the host

/// A layer as bands take it, not cut yet; nothing where it does not fit: groups, strides (but for windows
/// small enough to be written out), channels that are not whole words, windows of too many steps.
struct Layer {
  Band band;
  bool signs;
};
std::optional<Layer> layer_of(const BinaryLayer& layer, const BinaryLayout& layout);

/// Cuts a layer into items of about so many tiles of `tile_rows` rows; false where tensor cores cannot reach
/// all of a band.
bool cut(Layer& layer, std::int64_t images, int tile_rows, int tiles, int buffers);

/// The order in which a slice's channels are packed.
enum class ChannelOrder : std::uint8_t {
  /// As they come.
  plain,
  /// So that a lane's sums of columns are words() or eights() of band_product.cu.
  words,
  eights,
};

/// Which of a slice's channels each lane of a row has sums of, in columns of products.
__device__ constexpr int channel_of(ChannelOrder order, int columns, int lane, int number) {
  return order == ChannelOrder::words ? lane * (columns / 4) + number
                                      : number / 8 * 32 + lane * 8 + number % 8;
}

/// 16-byte pieces of a slice's weights, all channels of it.
constexpr std::int64_t weight_pieces(const Band& b, int channels) {
  return std::int64_t{2} * b.steps * channels;
}
/// Writes [slice of `channels`][piece of k][channel][16 bytes], zeros beyond m; w [m][words(k)]. Queued.
void pack_weights(const Layer& layer, const std::uint64_t* w, int channels, ChannelOrder order,
                  std::uint8_t* packed);

}  // namespace hardbit::cuda::band
