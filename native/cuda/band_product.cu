#include <algorithm>
#include <array>

#include "cuda/band_product.h"
#include "cuda/binary_product.h"
#include "cuda/bit_warpgroup.h"
#include "cuda/kernel.h"
#include "runtime/words.h"

namespace hardbit::cuda {
namespace {

using ops::Conv2d;

constexpr int warpgroups = 4;
constexpr int threads = warpgroups * warpgroup_threads;
constexpr int warps = threads / 32;
/// A tile is so many rows of so many output pixels.
constexpr int side = 8;
constexpr int most_steps = 64;
constexpr int most_classes = 64;
constexpr std::int64_t most_tiles = std::int64_t{1} << 30;  // of a call

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

/// Where a block's shared memory has what.
struct Room {
  int weights, constants, tiles, terms, counts, buffers, total;
};

/// Ints of a class's constants: those of four lanes lie in different banks.
template <int columns>
constexpr int lane_pitch = columns / 4 + 4;

template <int columns>
constexpr Room room_of(const Band& b) {
  Room r{};
  int at = 0;
  const auto take = [&](int& place, int bytes) {
    place = at;
    at += round_up(bytes, 128);
  };
  take(r.weights, 2 * b.steps * columns * 16);
  take(r.constants, 2 * b.classes() * 4 * lane_pitch<columns> * 4);
  take(r.tiles, b.tiles * 8);
  take(r.terms, 2 * b.tiles * warpgroup_rows * 4);
  take(r.counts, 2 * b.group * b.band_rows * b.pitch * 4);
  take(r.buffers, b.buffers * b.buffer_pieces * 16);
  r.total = at;
  return r;
}

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

  /// Queues the copies of an item.
  __device__ void load(const Band& b, const Item& item, unsigned char* buffer) const {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const bool wide = b.pixel_words % 2 == 0 && reinterpret_cast<std::uintptr_t>(x) % 16 == 0;
    for (int r = static_cast<int>(threadIdx.x / 32); r < b.group * b.band_rows; r += warps) {
      const BandRow row = band_row(b, item, r);
      const std::uint64_t* const from =
          row.inside ? x + (std::int64_t{row.image} * b.h + row.row) * b.w * b.pixel_words : x;
      const int first = r * b.pitch + b.left;
      if (wide) {
        for (int i = lane; i < b.w * b.pieces; i += 32) {
          const int column =
              b.pieces == 1 ? i : static_cast<int>(__umulhi(static_cast<unsigned>(i), b.piece_factor));
          const int piece = i - column * b.pieces;
          copy_async<16>(buffer + (piece * b.piece_stride + first + column) * 16,
                         from + (row.inside ? 2 * i : 0), row.inside);
        }
        continue;
      }
      for (int i = lane; i < b.w * b.pixel_words; i += 32) {
        const int column = i / b.pixel_words;
        const int word = i - column * b.pixel_words;
        unsigned char* const to = buffer + (word / 2 * b.piece_stride + first + column) * 16 + word % 2 * 8;
        const std::uint64_t* const source = from + (row.inside ? i : 0);
        copy_async<8>(to, source, row.inside);
        if (b.pixel_words == 1 && first + column > 0) copy_async<8>(to - 8, source, row.inside);
      }
    }
  }

  /// The ones of each pixel of an item that has arrived.
  __device__ void count(const Band& b, const Item& /*item*/, const unsigned char* buffer, int* counts) const {
    const int lanes = 1 << b.row_lanes;
#pragma unroll 1
    for (int r = static_cast<int>(threadIdx.x) >> b.row_lanes; r < b.group * b.band_rows;
         r += threads >> b.row_lanes) {
#pragma unroll 1
      for (int column = static_cast<int>(threadIdx.x) & (lanes - 1); column < b.w; column += lanes) {
        const int at = r * b.pitch + b.left + column;
        int ones = 0;
        if (b.pixel_words == 1) {
          const uint2 v = *reinterpret_cast<const uint2*>(buffer + at * 16);
          ones = __popc(v.x) + __popc(v.y);
        } else {
#pragma unroll 1
          for (int piece = 0; piece < b.pieces; ++piece) {
            const uint4 v = *reinterpret_cast<const uint4*>(buffer + (piece * b.piece_stride + at) * 16);
            ones += __popc(v.x) + __popc(v.y) + __popc(v.z) + __popc(v.w);
          }
        }
        counts[at] = ones;
      }
    }
  }

  /// Σ x of a tile's row.
  __device__ void finish(const Band& b, int at, int /*row*/, const int* counts, unsigned char* /*buffer*/,
                         int* term) const {
    int sum = 0;
#pragma unroll 1
    for (int i = 0; i < b.kh; ++i) {
      const int* const row = counts + at + i * b.dilation_h * b.pitch;
      if (b.kw == 3) {
        sum += row[0] + row[b.dilation_w] + row[2 * b.dilation_w];
        continue;
      }
#pragma unroll 1
      for (int j = 0; j < b.kw; ++j) sum += row[j * b.dilation_w];
    }
    *term = sum;
  }
};

/// Codes of few bits in few channels: a window's bits fit into one step, and are written out for each pixel.
struct CodeBand {
  static constexpr bool is_signs = false;
  static constexpr int doubled = 0;
  const std::uint8_t* x;
  std::uint32_t* report;

  __device__ void load(const Band& /*b*/, const Item& /*item*/, unsigned char* /*buffer*/) const {}

  /// The bits that stand for each pixel.
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

  /// Writes a tile's row, and Σ x, the ones of it.
  __device__ void finish(const Band& b, int at, int row, const int* counts, unsigned char* buffer,
                         int* term) const {
    const int pixel_bits = b.channels * b.code_bits;
    std::uint64_t open = 0;
    int filled = 0;
    int word = 0;
    int ones = 0;
    const auto write = [&] {
      const auto bits = static_cast<std::uint32_t>(open);
      ones += __popc(bits);
      *reinterpret_cast<std::uint32_t*>(buffer + (word / 4 * b.piece_stride + row) * 16 + word % 4 * 4) =
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
    *term = ones;
  }
};

// With P' = P − ⌊Σ x / 2⌋, n = (2·P' − Σ x mod 2) << doubled and a constant: of the channel, the border
// class, and whether Σ x is odd.

/// Which of a slice's channels each lane of a row has sums of, so that what it writes lies side by side.
enum class Places {
  /// Lane t those of t·columns / 4 on: a word of bits.
  words,
  /// Of each 32 the eight of 8·t on: 16 bytes of narrow sums, 64 by the four lanes of a row.
  eights,
};
/// A channel of the slice: whose it is, and the number of its sum there.
struct Owner {
  int lane, number;
};
template <int columns>
__device__ constexpr Owner owner_of(Places order, int channel) {
  if (order == Places::words) return {channel / (columns / 4), channel % (columns / 4)};
  return {channel / 8 % 4, channel / 32 * 8 + channel % 8};
}
/// The other way round.
__device__ constexpr int channel_of(Places order, int columns, int lane, int number) {
  return order == Places::words ? lane * (columns / 4) + number : number / 8 * 32 + lane * 8 + number % 8;
}

/// A lane's sums of a tile: two output pixels, one above the other, of columns / 4 channels each.
struct Tile {
  int image, row, column;  // of the upper one
  int slice;
  const int* constants[2];
  int halves[2];  // −⌊Σ x / 2⌋
};

/// P of channel `i` of a lane's.
template <int columns>
__device__ inline int sum_of(const int (&sums)[columns / 2], int half, int i) {
  return sums[i / 2 * 4 + 2 * half + i % 2];
}

/// Eight sums side by side, of which so many exist; `aligned` if all do and 16 bytes may go at once.
template <class Out>
__device__ inline void write_eight(Out* to, const int (&n)[8], bool aligned, int exist) {
  if (aligned) {
    if constexpr (sizeof(Out) == 2) {
      const auto pair = [&](int k) {
        return __byte_perm(static_cast<unsigned>(n[k]), static_cast<unsigned>(n[k + 1]), 0x5410);
      };
      *reinterpret_cast<uint4*>(to) = make_uint4(pair(0), pair(2), pair(4), pair(6));
    } else {
      const auto word = [&](int k) { return static_cast<unsigned>(n[k]); };
      *reinterpret_cast<uint4*>(to) = make_uint4(word(0), word(1), word(2), word(3));
      *reinterpret_cast<uint4*>(to + 4) = make_uint4(word(4), word(5), word(6), word(7));
    }
    return;
  }
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    if (k < exist) to[k] = static_cast<Out>(n[k]);
  }
}

/// Writes n [pixels][m].
template <class Out>
struct BandSums {
  static constexpr Places order = Places::eights;
  Out* out;
  bool aligned;

  template <int doubled>
  __device__ int constant(int /*channel*/, int correction, int odd) const {
    return correction - (odd << doubled);
  }
  __device__ int beyond() const { return 0; }

  template <int columns, int doubled>
  __device__ void write(const Band& b, const Tile& tile, const int (&sums)[columns / 2]) const {
    const int first = tile.slice * columns + static_cast<int>(threadIdx.x % 4) * 8;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (tile.image >= b.images || tile.row + half >= b.oh || tile.column >= b.ow) continue;
      const int less = tile.halves[half] * (2 << doubled);
      Out* const to =
          out + ((std::int64_t{tile.image} * b.oh + tile.row + half) * b.ow + tile.column) * b.m + first;
#pragma unroll
      for (int i = 0; i < columns / 4; i += 8) {
        int n[8];
#pragma unroll
        for (int k = 0; k < 8; k += 4) {
          const int4 c = *reinterpret_cast<const int4*>(tile.constants[half] + i + k);
          const int constants[4] = {c.x, c.y, c.z, c.w};
#pragma unroll
          for (int l = 0; l < 4; ++l) {
            const auto sum = static_cast<std::uint32_t>(sum_of<columns>(sums, half, i + k + l));
            n[k + l] =
                static_cast<int>((sum << (1 + doubled)) + static_cast<std::uint32_t>(constants[l])) + less;
          }
        }
        write_eight(to + 4 * i, n, aligned && first + 4 * i + 8 <= b.m, b.m - first - 4 * i);
      }
    }
  }
};

/// Writes the largest n of 2 × 2 pixels, [pooled pixels][m], and which of them held it first, row by row.
template <class Out>
struct BandMaxima {
  static constexpr Places order = Places::eights;
  Out* out;
  std::uint8_t* index;  // or null
  bool aligned;

  /// In fours: below, two bits say which pixel it is.
  template <int doubled>
  __device__ int constant(int /*channel*/, int correction, int odd) const {
    return 4 * (correction - (odd << doubled));
  }
  __device__ int beyond() const { return 0; }

  template <int columns, int doubled>
  __device__ void write(const Band& b, const Tile& tile, const int (&sums)[columns / 2]) const {
    constexpr int count = columns / 4;
    constexpr int mine = count / 2;
    const int right = tile.column % 2;
    // 4·n + 3 − place: the largest has the largest n, and of those the first place. The lane of the left
    // column goes on with the first half of the channels, that of the right one with the second.
    int best[mine];
#pragma unroll
    for (int i = 0; i < mine; i += 4) {
      int keys[2][4];
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        int rows[2][4];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int4 c = *reinterpret_cast<const int4*>(tile.constants[half] + part * mine + i);
          const int constants[4] = {c.x, c.y, c.z, c.w};
          const int place = 3 - 2 * half - right + tile.halves[half] * (8 << doubled);
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            const auto sum = static_cast<std::uint32_t>(sum_of<columns>(sums, half, part * mine + i + k));
            rows[half][k] =
                static_cast<int>((sum << (3 + doubled)) + static_cast<std::uint32_t>(constants[k])) + place;
          }
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) keys[part][k] = max(rows[0][k], rows[1][k]);
      }
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int other = __shfl_xor_sync(all_lanes, right != 0 ? keys[0][k] : keys[1][k], 4);
        best[i + k] = max(right != 0 ? keys[1][k] : keys[0][k], other);
      }
    }
    const int row = tile.row / 2;
    const int column = tile.column / 2;
    if (tile.image >= b.images || row >= b.oh / 2 || column >= b.ow / 2) return;
    const int first = tile.slice * columns + right * columns / 2 + static_cast<int>(threadIdx.x % 4) * 8;
    const std::int64_t at =
        ((std::int64_t{tile.image} * (b.oh / 2) + row) * (b.ow / 2) + column) * b.m + first;
#pragma unroll
    for (int i = 0; i < mine; i += 8) {
      const int exist = b.m - first - 4 * i;
      const bool whole = aligned && exist >= 8;
      int n[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) n[k] = best[i + k] >> 2;
      write_eight(out + at + 4 * i, n, whole, exist);
      if (index == nullptr) continue;
      unsigned places[2] = {};
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        places[k / 4] |= (static_cast<unsigned>(~best[i + k]) & 3) << (8 * (k % 4));
      }
      if (whole) {
        *reinterpret_cast<uint2*>(index + at + 4 * i) = make_uint2(places[0], places[1]);
        continue;
      }
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        if (k < exist) index[at + 4 * i + k] = static_cast<std::uint8_t>(places[k / 4] >> (8 * (k % 4)));
      }
    }
  }
};

/// Writes bits [pixels, or pooled ones][words of 32 channels].
struct BandBits {
  static constexpr Places order = Places::words;
  std::uint32_t* out;
  const std::int32_t* minimum;
  const std::uint32_t* all;
  int pixel_words;
  bool pooled;

  /// The bit of a channel is P' + constant ≥ 0.
  template <int doubled>
  __device__ int constant(int channel, int correction, int odd) const {
    // Beyond what a sum can be it is the same anyway.
    const std::int64_t c = std::int64_t{correction} - (odd << doubled) - minimum[channel];
    const std::int64_t most = 1 << 29;
    return static_cast<int>(c < -most ? -most : c > most ? most : c) >> (1 + doubled);
  }
  __device__ int beyond() const { return -(1 << 29); }

  template <int columns, int /*doubled*/>
  __device__ void write(const Band& b, const Tile& tile, const int (&sums)[columns / 2]) const {
    constexpr int count = columns / 4;
    const int t = static_cast<int>(threadIdx.x % 4);
    // Sign bits: of channels whose bit is not set.
    std::uint32_t signs[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // In two parts, which do not wait for each other.
      std::uint32_t parts[2] = {};
#pragma unroll
      for (int i = count / 2 - 4; i >= 0; i -= 4) {
#pragma unroll
        for (int part = 0; part < 2; ++part) {
          const int first = part * count / 2 + i;
          const int4 c = *reinterpret_cast<const int4*>(tile.constants[half] + first);
          const int constants[4] = {c.x, c.y, c.z, c.w};
#pragma unroll
          for (int k = 3; k >= 0; --k) {
            const int value = sum_of<columns>(sums, half, first + k) + constants[k] + tile.halves[half];
            parts[part] = __funnelshift_l(static_cast<unsigned>(value), parts[part], 1);
          }
        }
      }
      std::uint32_t word = parts[0] | parts[1] << count / 2;
      if constexpr (count == 16) {
        const std::uint32_t other = __shfl_xor_sync(all_lanes, word, 1);
        word = t % 2 == 0 ? word | other << 16 : other | word << 16;
      }
      signs[half] = word;
    }
    const int at = columns == 128 ? tile.slice * 4 + t : tile.slice * 2 + t / 2;
    const bool writes = at < pixel_words && (columns == 128 || t % 2 == 0) && tile.image < b.images;
    if (!pooled) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (!writes || tile.row + half >= b.oh || tile.column >= b.ow) continue;
        out[((std::int64_t{tile.image} * b.oh + tile.row + half) * b.ow + tile.column) * pixel_words + at] =
            ~signs[half];
      }
      return;
    }
    std::uint32_t none = signs[0] & signs[1];
    std::uint32_t some = signs[0] | signs[1];
    none &= __shfl_xor_sync(all_lanes, none, 4);
    some |= __shfl_xor_sync(all_lanes, some, 4);
    const int row = tile.row / 2;
    const int column = tile.column / 2;
    if (!writes || tile.column % 2 != 0 || row >= b.oh / 2 || column >= b.ow / 2) return;
    const std::uint32_t every = all == nullptr ? 0 : all[at];
    out[((std::int64_t{tile.image} * (b.oh / 2) + row) * (b.ow / 2) + column) * pixel_words + at] =
        (~none & ~every) | (~some & every);
  }
};

/// Block x: every blocks / slices-th item of the channels of a slice.
template <int columns, class Source, class Target>
__global__ void __launch_bounds__(threads, 1)
    band_kernel(Band b, Room room, Source source, const unsigned char* weights,
                const std::int32_t* corrections, std::int64_t correction_pitch, Target target) {
  unsigned char* const memory = dynamic_shared<unsigned char>();
  unsigned char* const w = memory + room.weights;
  int* const constants = reinterpret_cast<int*>(memory + room.constants);
  int2* const tiles = reinterpret_cast<int2*>(memory + room.tiles);
  int* const all_terms = reinterpret_cast<int*>(memory + room.terms);
  int* const all_counts = reinterpret_cast<int*>(memory + room.counts);
  unsigned char* const all_buffers = memory + room.buffers;
  const auto terms_of = [&](int item) { return all_terms + (item & 1) * b.tiles * warpgroup_rows; };
  const auto counts_of = [&](int item) { return all_counts + (item & 1) * b.positions(); };
  const auto buffer_of = [&](int item) {
    return all_buffers + (item & (b.buffers - 1)) * b.buffer_pieces * 16;
  };

  const int thread = static_cast<int>(threadIdx.x);
  const auto slices = static_cast<unsigned>(b.slices);
  const auto slice = static_cast<int>(blockIdx.x % slices);
  const auto first_item = static_cast<int>(blockIdx.x / slices);
  const auto item_step = static_cast<int>(gridDim.x / slices);

  for (int i = thread; i < 2 * b.steps * columns; i += threads) {
    copy_async<16>(w + i * 16, weights + (std::int64_t{slice} * 2 * b.steps * columns + i) * 16, true);
  }
  // Borders stay as they are now.
  for (int i = thread; i < b.buffers * b.buffer_pieces; i += threads) {
    *reinterpret_cast<uint4*>(all_buffers + i * 16) = make_uint4(0, 0, 0, 0);
  }
  for (int i = thread; i < 2 * b.positions(); i += threads) all_counts[i] = 0;
  for (int i = thread; i < 2 * b.classes() * columns; i += threads) {
    const int row = i / columns;
    const int border_class = row / 2;
    const int channel = slice * columns + i % columns;
    const int correction =
        corrections != nullptr && channel < b.m ? corrections[border_class * correction_pitch + channel] : 0;
    const Owner owner = owner_of<columns>(Target::order, i % columns);
    constants[(row * 4 + owner.lane) * lane_pitch<columns> + owner.number] =
        channel < b.m ? target.template constant<Source::doubled>(channel, correction, row % 2)
                      : target.beyond();
  }
  // Of each tile its first position in the band, and the output row there with its image and its column.
  const int image_tiles = b.item_rows / side * b.tile_columns;
  for (int i = thread; i < b.tiles; i += threads) {
    const int image = i / image_tiles;
    const int row = (i - image * image_tiles) / b.tile_columns * side;
    const int column = (i - image * image_tiles) % b.tile_columns * side;
    tiles[i] = {(image * b.band_rows + row * b.stride_h) * b.pitch + column * b.stride_w,
                image << 24 | row << 12 | column};
  }
  __syncthreads();

  const auto item_at = [&](int k) { return item_of(b, first_item + k * item_step); };
  const int count = (b.items - first_item + item_step - 1) / item_step;
  const auto load = [&](int k) {
    if (k < count) source.load(b, item_at(k), buffer_of(k));
    copies_commit();
  };
  const auto count_pixels = [&](int k) {
    if (k < count) source.count(b, item_at(k), buffer_of(k), counts_of(k));
  };
  const auto finish_rows = [&](int k) {
    if (k >= count) return;
    const int* const counts = counts_of(k);
    int* const terms = terms_of(k);
    for (int i = thread; i < b.tiles * warpgroup_rows; i += threads) {
      const int at = tiles[i / warpgroup_rows].x + i % warpgroup_rows / side * b.stride_h * b.pitch +
                     i % side * b.stride_w;
      source.finish(b, at, i, counts, buffer_of(k), terms + i);
    }
  };

  if (count <= 0) return;  // of the whole block
#pragma unroll 1
  for (int k = 0; k < 3; ++k) load(k);
  copies_wait<0>();
  __syncthreads();
  count_pixels(0);
  count_pixels(1);
  __syncthreads();
  finish_rows(0);

  // Warps by themselves read this: it has to be the same for the four of a group.
  const int group = __shfl_sync(all_lanes, thread / warpgroup_threads, 0);
  const int lane = thread % 32;
  const int warp = thread / 32 % 4;
  const BitOperand all_channels = bit_operand(w, side, columns);
#pragma unroll 1
  for (int k = 0; k < count; ++k) {
    // Behind it items k to k + 2 have arrived, k + 1 is counted, and k is ready; what k − 1 used is free.
    copies_wait<0>();
    warpgroup::publish();
    __syncthreads();
    load(k + 3);
    const Item item = item_at(k);
    const unsigned char* const buffer = buffer_of(k);
    const int* const terms = terms_of(k);
    bool prepared = false;
    const auto prepare = [&] {
      count_pixels(k + 2);
      finish_rows(k + 1);
      prepared = true;
    };
#pragma unroll 1
    for (int t = group; t < b.tiles; t += warpgroups) {
      const int2 place = tiles[t];
      int sums[columns / 2];
      const BitOperand a = bit_operand(buffer + (Source::is_signs ? place.x : t * warpgroup_rows) * 16,
                                       Source::is_signs ? b.pitch : side, 0);
      BitOperand channels = all_channels;
      warpgroup::start();
#pragma unroll 1
      for (int s = 0; s < b.steps; ++s) {
        multiply_bits<columns>(sums, a.moved(b.offset[s]), channels, s);
        channels = channels.moved(bit_offset(2 * columns, 0));
      }
      warpgroup::commit();
      // While the tensor cores work.
      if (!prepared) prepare();
      warpgroup::finish<0>();

      Tile tile{item.image + (place.y >> 24),
                item.row + (place.y >> 12 & 0xFFF) + 2 * warp,
                (place.y & 0xFFF) + lane / 4,
                slice,
                {}};
      const int column_class = b.columns.of(min(tile.column, b.ow - 1));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int border_class = b.rows.of(min(tile.row + half, b.oh - 1)) * b.columns.count() + column_class;
        const int term = terms[t * warpgroup_rows + (2 * warp + half) * side + lane / 4];
        tile.halves[half] = -(term >> 1);
        tile.constants[half] =
            constants + ((2 * border_class + (term & 1)) * 4 + lane % 4) * lane_pitch<columns>;
      }
      target.template write<columns, Source::doubled>(b, tile, sums);
    }
    if (!prepared) prepare();
  }
  copies_wait<0>();
}

// -- weights

struct BandWeightsJob {
  const std::uint64_t* w;  // [m][words]
  std::int64_t w_words;
  int m, channels, kh, kw, columns, pieces_of_k, count;
  bool signs, pairs;
  int code_bits;
  std::uint32_t* packed;  // in the order of words, then in that of eights
};

/// Bits [at, at + n) of a row, n ≤ 32.
__device__ inline std::uint32_t row_bits(const std::uint64_t* row, int at, int n) {
  if (n <= 0) return 0;
  const int shift = at % 64;
  std::uint64_t word = row[at / 64] >> shift;
  if (shift + n > 64) word |= row[at / 64 + 1] << (64 - shift);
  return static_cast<std::uint32_t>(word) & (n >= 32 ? ~0U : (1U << n) - 1);
}

/// A thread a piece: [order][slice][piece of k][column][16 bytes].
__global__ void __launch_bounds__(256) band_weights_kernel(BandWeightsJob j) {
  const int i = static_cast<int>(blockIdx.x) * 256 + static_cast<int>(threadIdx.x);
  if (i >= 2 * j.count) return;
  const Places order = i < j.count ? Places::words : Places::eights;
  const int column = i % j.columns;
  const int piece = i / j.columns % j.pieces_of_k;
  // Columns 8·i + 2·t and + 1 are sums 2·i and 2·i + 1 of lane t.
  const int channel = (i - (order == Places::words ? 0 : j.count)) / j.columns / j.pieces_of_k * j.columns +
                      channel_of(order, j.columns, column % 8 / 2, column / 8 * 2 + column % 2);
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

struct BandProduct::Plan {
  Band band;  // without what depends on the number of images
  bool signs;
  int wide;  // channels of a slice
  int pieces_of_k;
  const std::int32_t* corrections;
  std::int64_t correction_pitch;
  std::int64_t image_tiles;

  /// Cut into items of about so many tiles; nothing where they do not fit into shared memory.
  std::optional<Band> cut(std::int64_t images, int tiles) const;
  std::optional<Band> cut(std::int64_t images) const;
  Room room(const Band& b) const { return wide == 64 ? room_of<64>(b) : room_of<128>(b); }
};

std::optional<Band> BandProduct::Plan::cut(std::int64_t images, int tiles) const {
  Band b = band;
  b.images = static_cast<int>(images);
  const int full_rows = round_up(b.oh, side);
  const int per_image = full_rows / side * b.tile_columns;
  if (per_image >= tiles) {
    b.group = 1;
    b.item_rows = std::min(full_rows, side * std::max(1, tiles / b.tile_columns));
  } else {
    b.group = std::min(tiles / per_image, 64);
    b.item_rows = full_rows;
  }
  b.bands = ceil_div(full_rows, b.item_rows);
  b.items = b.bands == 1 ? ceil_div(b.images, b.group) : b.images * b.bands;
  b.band_rows = (b.item_rows - 1) * b.stride_h + (b.kh - 1) * b.dilation_h + 1;
  b.tiles = b.group * b.item_rows / side * b.tile_columns;
  if (signs) {
    // Pieces of a pixel in different banks.
    const int spread = b.pieces >= side ? 1 : side / b.pieces;
    b.piece_stride = round_up(b.positions(), side) + spread % side;
    b.buffers = 4;
    b.buffer_pieces = b.pieces * b.piece_stride;
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
    if (b.buffer_pieces > (1 << 14)) return {};
    for (int s = 0; s < b.steps; ++s) {
      b.offset[s] = bit_offset(offsets[2 * s], 2 * s + 1 < n ? offsets[2 * s + 1] - offsets[2 * s] : 0U);
    }
  } else {
    b.piece_stride = b.tiles * warpgroup_rows;
    b.buffers = 2;
    b.buffer_pieces = 2 * b.piece_stride;
    b.offset[0] = bit_offset(0, static_cast<std::uint32_t>(b.piece_stride));
    if (b.piece_stride >= 1 << 14) return {};
  }
  if (static_cast<std::size_t>(room(b).total) > driver::device().shared_memory) return {};
  return b;
}

std::optional<Band> BandProduct::Plan::cut(std::int64_t images) const {
  const std::int64_t blocks = driver::device().multiprocessors;
  // Large items read fewer rows twice and wait less for each other; small ones give every multiprocessor
  // some.
  for (int tiles = 16; tiles >= 1; tiles /= 2) {
    if (tiles > warpgroups && images * image_tiles * band.slices < 4 * blocks * tiles) continue;
    if (const std::optional<Band> b = cut(images, tiles)) return b;
  }
  return {};
}

BandProduct::BandProduct(std::unique_ptr<Plan> plan, std::int64_t bytes)
    : plan_(std::move(plan)), packed_(bytes) {}
BandProduct::~BandProduct() = default;

std::unique_ptr<BandProduct::Plan> BandProduct::plan_of(const BinaryLayer& layer,
                                                        const BinaryLayout& layout) {
  const Conv2d& conv = layer.conv;
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  const std::int64_t most = 1 << 11;
  if (groups != 1 || std::max({conv.h, conv.w, conv.oh, conv.ow, conv.kh, conv.kw}) > most ||
      std::min(conv.oh, conv.ow) < 2 || conv.m > (1 << 20) || layout.classes() > most_classes) {
    return nullptr;
  }
  const std::int64_t taps = conv.kh * conv.kw;
  auto plan = std::make_unique<Plan>();
  plan->signs = !layer.codes;
  const auto size = [](std::int64_t n) { return static_cast<int>(n); };
  Band& b = plan->band;
  b = {};
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
  if (plan->signs) {
    if (stride != ops::Pair{1, 1} || conv.c % 64 != 0 || conv.c > (1 << 14)) return nullptr;
    b.pixel_words = size(conv.c / 64);
    // Neighbours that share a piece are neighbouring taps.
    if (b.pixel_words == 1 && conv.kw > 1 && dilation[1] != 1) return nullptr;
    b.pieces = (b.pixel_words + 1) / 2;
    plan->pieces_of_k = b.pixel_words == 1 ? b.kh * ((b.kw + 1) / 2) : size(taps) * b.pieces;
  } else {
    b.code_bits = layer.bits > 5 ? 32 : (1 << layer.bits) - 1;
    if (conv.c * b.code_bits > 32 || taps * conv.c * b.code_bits > 256) return nullptr;
    plan->pieces_of_k = 2;
  }
  b.piece_factor =
      b.pieces > 1
          ? static_cast<std::uint32_t>((std::uint64_t{1} << 32) / static_cast<unsigned>(b.pieces) + 1)
          : 0;
  while (b.row_lanes < 5 && 1 << b.row_lanes < b.w) ++b.row_lanes;
  b.steps = (plan->pieces_of_k + 1) / 2;
  if (b.steps > most_steps) return nullptr;
  plan->wide = conv.m <= 64 ? 64 : 128;
  b.slices = ceil_div(b.m, plan->wide);
  b.tile_columns = ceil_div(b.ow, side);
  b.pitch = std::max((b.tile_columns * side - 1) * b.stride_w + (b.kw - 1) * b.dilation_w + 1, b.left + b.w);
  plan->image_tiles = std::int64_t{ceil_div(b.oh, side)} * b.tile_columns;
  plan->correction_pitch = layout.correction_pitch;
  if (!plan->cut(1, 1)) return nullptr;
  return plan;
}

bool BandProduct::fits(const BinaryLayer& layer, const BinaryLayout& layout) {
  return plan_of(layer, layout) != nullptr;
}

std::unique_ptr<BandProduct> BandProduct::of(const BinaryLayer& layer, const BinaryLayout& layout,
                                             const std::uint64_t* w, const std::int32_t* corrections) {
  std::unique_ptr<Plan> plan = plan_of(layer, layout);
  if (plan == nullptr) return nullptr;
  plan->corrections = corrections;
  const Band& b = plan->band;
  const std::int64_t count = std::int64_t{b.slices} * 2 * b.steps * plan->wide;
  BandWeightsJob job{.w = w,
                     .w_words = words(layer.conv.k()),
                     .m = b.m,
                     .channels = b.channels,
                     .kh = b.kh,
                     .kw = b.kw,
                     .columns = plan->wide,
                     .pieces_of_k = 2 * b.steps,
                     .count = static_cast<int>(count),
                     .signs = plan->signs,
                     .pairs = b.pixel_words == 1,
                     .code_bits = b.code_bits,
                     .packed = nullptr};
  std::unique_ptr<BandProduct> product(new BandProduct(std::move(plan), 2 * count * 16));
  job.packed = reinterpret_cast<std::uint32_t*>(product->packed_.data());
  launch(band_weights_kernel, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(2 * count, 256))), dim3(256),
         0, job);
  return product;
}

bool BandProduct::pays(std::int64_t images) const {
  const Plan& plan = *plan_;
  // Items are counted in an int.
  return images <= most_tiles / plan.image_tiles &&
         images * plan.image_tiles * plan.band.slices >=
             std::int64_t{warpgroups} * driver::device().multiprocessors;
}

namespace {

bool pools_by_two(const ops::Pool2dGeometry& pool, const ops::Pair& pooled, const Band& b) {
  return pool.side_by_side() && pool.kernel == ops::Pair{2, 2} && pooled == ops::Pair{b.oh / 2, b.ow / 2};
}

}  // namespace

bool BandProduct::fuses(const BinaryThresholds& thresholds) const {
  const auto& [kernel, stride, padding] = thresholds.pool;
  return (kernel == ops::Pair{1, 1} && stride == ops::Pair{1, 1}) ||
         pools_by_two(thresholds.pool, thresholds.pooled, plan_->band);
}

bool BandProduct::pools(const ops::Pooling& pooling) const {
  return pools_by_two(pooling.geometry, {pooling.out_height, pooling.out_width}, plan_->band);
}

template <class Target>
void BandProduct::run(std::int64_t images, const void* x, const Target& target) const {
  const Plan& plan = *plan_;
  const Band b = *plan.cut(images);
  const Room room = plan.room(b);
  const int per_slice = std::min(b.items, std::max(1, driver::device().multiprocessors / b.slices));
  const dim3 grid(static_cast<unsigned>(per_slice * b.slices));
  const auto start = [&](auto kernel, const auto& source) {
    const std::uint8_t* const weights =
        packed_.data() + (Target::order == Places::words ? 0 : packed_.count() / 2);
    launch(kernel, grid, dim3(threads), static_cast<std::size_t>(room.total), b, room, source, weights,
           plan.corrections, plan.correction_pitch, target);
  };
  if (plan.signs) {
    const SignBand source{static_cast<const std::uint64_t*>(x)};
    if (plan.wide == 64) {
      start(band_kernel<64, SignBand, Target>, source);
    } else {
      start(band_kernel<128, SignBand, Target>, source);
    }
  } else {
    const CodeBand source{static_cast<const std::uint8_t*>(x), report_words()};
    if (plan.wide == 64) {
      start(band_kernel<64, CodeBand, Target>, source);
    } else {
      start(band_kernel<128, CodeBand, Target>, source);
    }
  }
}

template <class Out>
void BandProduct::sums(std::int64_t images, const void* x, Out* out) const {
  const bool aligned = plan_->band.m % static_cast<int>(16 / sizeof(Out)) == 0 &&
                       reinterpret_cast<std::uintptr_t>(out) % 16 == 0;
  run(images, x, BandSums<Out>{out, aligned});
}
template void BandProduct::sums(std::int64_t, const void*, std::int16_t*) const;
template void BandProduct::sums(std::int64_t, const void*, std::int32_t*) const;

template <class Out>
void BandProduct::maxima(std::int64_t images, const void* x, Out* out, std::uint8_t* index) const {
  const bool aligned = plan_->band.m % 8 == 0 && reinterpret_cast<std::uintptr_t>(out) % 16 == 0 &&
                       reinterpret_cast<std::uintptr_t>(index) % 8 == 0;
  run(images, x, BandMaxima<Out>{out, index, aligned});
}
template void BandProduct::maxima(std::int64_t, const void*, std::int16_t*, std::uint8_t*) const;
template void BandProduct::maxima(std::int64_t, const void*, std::int32_t*, std::uint8_t*) const;

void BandProduct::layer(std::int64_t images, const void* x, const BinaryThresholds& thresholds,
                        std::uint64_t* out) const {
  const bool pooled = thresholds.pool.stride != ops::Pair{1, 1};
  run(images, x,
      BandBits{reinterpret_cast<std::uint32_t*>(out), thresholds.minimum,
               reinterpret_cast<const std::uint32_t*>(thresholds.all),
               static_cast<int>(2 * words(plan_->band.m)), pooled});
}

}  // namespace hardbit::cuda
