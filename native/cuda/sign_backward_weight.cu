#include <algorithm>

#include "cuda/byte_product.h"
#include "cuda/kernel.h"
#include "cuda/sign_gradient.h"
#include "cuda/wgmma.h"
#include "runtime/words.h"

// dw[tap, c][m] = Σ x[pixel moved by the tap][c]·q[pixel][m], as a product of rows [tap][c] of bits by
// columns m of bytes. Both are turned to lie along the pixels first:
//  - x becomes a bit for each row and pixel of dy, 1 for +1, and 0 for −1 and for padded zeros. One more row
//    for each tap says which of its pixels are not such zeros. With x = 2·bit − 1 on those pixels,
//    dw = 2·Σ bit·q − Σ valid·q.
//  - Codes x of few channels, whose rows are few, become bytes in the order of the product's registers.
//  - q becomes [tile of columns][chunk of pixels][16 pixels][column][16 bytes].
// Four warpgroups of a block multiply 64 rows each by the same 128 columns, in parts of the pixels that
// several blocks add up.

namespace hardbit::cuda {
namespace {

constexpr int chunk_pixels = 128;
constexpr int block_rows = 64;  // of a warpgroup
constexpr int row_groups = 4;
constexpr int tile_rows = row_groups * block_rows;
constexpr int tile_columns = 128;
constexpr int block_threads = row_groups * 128;
constexpr int ring = 5;          // chunks of q in shared memory
constexpr int ahead = ring - 2;  // chunks on their way
constexpr int stage_size = tile_columns * chunk_pixels;
constexpr int tile_sums = tile_rows * tile_columns;

// -- x

struct SignRows {
  const std::uint64_t* signs;
  int h, w, oh, ow;
  int stride[2], dilation[2], before[2], taps[2];
  int groups, channels, channel_blocks;
  std::int64_t pixel_words;             // 32 bits
  std::int64_t first_pixel, end_pixel;  // of dy
  int chunks, row_blocks;
  bool ones;    // what padding stands for
  uint4* rows;  // [group][block of 64 rows][chunk][row][128 pixels]
};

/// Bit i of lane l becomes bit l of lane i.
__device__ inline std::uint32_t turn_bits(std::uint32_t x, unsigned lane) {
  constexpr std::uint32_t low[5] = {0x0000FFFF, 0x00FF00FF, 0x0F0F0F0F, 0x33333333, 0x55555555};
#pragma unroll
  for (int i = 0; i < 5; ++i) {
    const unsigned step = 16U >> i;
    const bool upper = (lane & step) != 0;
    const std::uint32_t other = __shfl_xor_sync(all_lanes, x, static_cast<int>(step));
    const std::uint32_t moved = __funnelshift_r(other, other, upper ? step : 32 - step);
    const std::uint32_t own = upper ? ~low[i] : low[i];
    x = (x & own) | (moved & ~own);
  }
  return x;
}

/// A warp takes 32 channels of 128 pixels of dy for all taps; the block of channels behind the last one is
/// the rows of what is valid. Lane t + 4h + 8j has pixel 16h + 4t + j of 32, so that bits 8j of a word
/// shifted by t and by t + 4 are the bytes of a left operand.
__global__ void __launch_bounds__(256) turn_signs(SignRows job) {
  const int item = static_cast<int>(blockIdx.x) * 8 + static_cast<int>(threadIdx.x) / 32;
  const int per_group = job.channel_blocks + 1;
  const int of_chunk = item / per_group;
  const int block = item - of_chunk * per_group;
  const int group = of_chunk / job.chunks;
  if (group >= job.groups) return;
  const int chunk = of_chunk - group * job.chunks;
  const unsigned lane = threadIdx.x % 32;
  const bool valid = block == job.channel_blocks;
  const int first = group * job.channels + block * 32;
  const int word = first / 32;
  const auto shift = static_cast<unsigned>(first % 32);
  const bool second = !valid && shift != 0 && word + 1 < job.pixel_words;
  const auto* const signs = reinterpret_cast<const std::uint32_t*>(job.signs);

  // This lane's pixels: where their windows begin.
  int image[4];
  int row[4];
  int column[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::int64_t pixel = job.first_pixel + static_cast<std::int64_t>(chunk) * chunk_pixels + i * 32 +
                               lane / 4 % 2 * 16 + lane % 4 * 4 + lane / 8;
    const Division line = divide(pixel, job.ow);
    const Division of_image = divide(line.quotient, job.oh);
    image[i] = pixel < job.end_pixel ? static_cast<int>(of_image.quotient) : -1;
    row[i] = static_cast<int>(of_image.remainder) * job.stride[0] - job.before[0];
    column[i] = static_cast<int>(line.remainder) * job.stride[1] - job.before[1];
  }

  const int rows = job.taps[0] * job.taps[1] * job.channels;
  const int channel = block * 32 + static_cast<int>(lane);
  uint4* const to = job.rows + static_cast<std::int64_t>(group) * job.row_blocks * job.chunks * block_rows +
                    static_cast<std::int64_t>(chunk) * block_rows;
  int tap = 0;
  for (int a = 0; a < job.taps[0]; ++a) {
    for (int b = 0; b < job.taps[1]; ++b, ++tap) {
      std::uint32_t bits[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int y = row[i] + a * job.dilation[0];
        const int x = column[i] + b * job.dilation[1];
        const bool inside = image[i] >= 0 && y >= 0 && y < job.h && x >= 0 && x < job.w;
        bits[i] = image[i] >= 0 && job.ones ? 0xFFFFFFFFU : 0;
        if (inside && valid) bits[i] = 0xFFFFFFFFU;
        if (inside && !valid) {
          const std::uint32_t* const from =
              signs + ((static_cast<std::int64_t>(image[i]) * job.h + y) * job.w + x) * job.pixel_words +
              word;
          bits[i] = __funnelshift_r(from[0], second ? from[1] : 0, shift);
        }
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // All channels of the valid rows are alike.
        bits[i] = valid ? __ballot_sync(all_lanes, bits[i] != 0) : turn_bits(bits[i], lane);
      }
      const int r = valid ? rows + tap : tap * job.channels + channel;
      if (valid ? lane == 0 : channel < job.channels) {
        to[static_cast<std::int64_t>(r / block_rows) * job.chunks * block_rows + r % block_rows] =
            make_uint4(bits[0], bits[1], bits[2], bits[3]);
      }
    }
  }
}

struct CodeRows {
  const std::uint8_t* codes;
  int h, w, oh, ow;
  int stride[2], dilation[2], before[2], taps[2];
  int groups, channels;
  std::int64_t first_pixel, end_pixel;  // of dy
  int chunks, row_blocks;
  std::uint8_t pad;
  uint4* rows;  // [group][block of 64 rows][chunk][32 pixels][warp][lane][left operand]
};

constexpr int code_words = block_rows * chunk_pixels / 16;  // uint4 of a block of rows and a chunk

/// A thread has rows g and g + 8 of a warp's 16, at pixels 4t … 4t + 3 and 16 + 4t ….
__global__ void __launch_bounds__(256) turn_codes(CodeRows job) {
  const int item = static_cast<int>(blockIdx.x) * 2 + static_cast<int>(threadIdx.x) / 128;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const int step = item % 4;
  const int of_chunk = item / 4;
  const int of_block = of_chunk / job.chunks;
  const int chunk = of_chunk - of_block * job.chunks;
  const int group = of_block / job.row_blocks;
  if (group >= job.groups) return;
  const int first_row = (of_block - group * job.row_blocks) * block_rows + warp * 16 + lane / 4;
  const int rows = job.taps[0] * job.taps[1] * job.channels;
  if (first_row >= rows) return;  // nobody looks at sums of such rows
  int down[2];
  int across[2];
  int channel[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = min(first_row + 8 * i, rows - 1);
    const int tap = row / job.channels;
    const int a = tap / job.taps[1];
    channel[i] = group * job.channels + row - tap * job.channels;
    down[i] = a * job.dilation[0] - job.before[0];
    across[i] = (tap - a * job.taps[1]) * job.dilation[1] - job.before[1];
  }
  std::uint32_t words[4] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const std::int64_t pixel = job.first_pixel + static_cast<std::int64_t>(chunk) * chunk_pixels + step * 32 +
                               half * 16 + lane % 4 * 4;
    const Division line = divide(pixel, job.ow);
    const Division of_image = divide(line.quotient, job.oh);
    std::int64_t image = of_image.quotient;
    auto row = static_cast<int>(of_image.remainder);
    auto column = static_cast<int>(line.remainder);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int y = row * job.stride[0] + down[i];
        const int x = column * job.stride[1] + across[i];
        std::uint32_t code = job.pad;
        if (pixel + j >= job.end_pixel) {
          code = 0;
        } else if (y >= 0 && y < job.h && x >= 0 && x < job.w) {
          code = job.codes[((image * job.h + y) * job.w + x) * (job.groups * job.channels) + channel[i]];
        }
        words[2 * half + i] |= code << (8 * j);
      }
      if (++column == job.ow) {
        column = 0;
        if (++row == job.oh) {
          row = 0;
          ++image;
        }
      }
    }
  }
  job.rows[static_cast<std::int64_t>(of_chunk) * code_words + step * 128 + warp * 32 + lane] =
      make_uint4(words[0], words[1], words[2], words[3]);
}

// -- q

/// Of its 128, the one that column `column` of a tile is.
__device__ inline int output_of(int column) { return column % 32 * 4 + column / 32; }

/// A thread turns 16 pixels of four outputs.
__global__ void __launch_bounds__(256)
    turn_outputs(const std::uint8_t* q, std::int64_t first_pixel, std::int64_t end_pixel,
                 std::int64_t pixel_bytes, int padded, int groups, int column_tiles, int chunks,
                 std::uint8_t* turned) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * 8 + threadIdx.x / 32;
  const std::int64_t of_chunk = item / (chunk_pixels / 16);
  const auto part = static_cast<int>(item - of_chunk * (chunk_pixels / 16));
  const Division tile = divide(of_chunk, chunks);
  const Division group = divide(tile.quotient, column_tiles);
  if (group.quotient >= groups) return;
  const auto lane = static_cast<int>(threadIdx.x % 32);
  const std::int64_t output = group.remainder * tile_columns + 4 * lane;
  const std::int64_t pixel = first_pixel + tile.remainder * chunk_pixels + part * 16;
  const std::uint8_t* const from = q + pixel * pixel_bytes + group.quotient * padded + output;
  std::uint32_t words[4][4];
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const bool there = output < padded && pixel + i < end_pixel;
    words[i / 4][i % 4] = there ? *reinterpret_cast<const std::uint32_t*>(from + i * pixel_bytes) : 0;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) turn(words[i]);
  auto* const to = reinterpret_cast<uint4*>(turned + of_chunk * stage_size + part * tile_columns * 16) + lane;
#pragma unroll
  for (int j = 0; j < 4; ++j) to[32 * j] = make_uint4(words[0][j], words[1][j], words[2][j], words[3][j]);
}

// -- the product

struct SignProduct {
  const uint4* x;
  const std::uint8_t* q;
  int row_blocks, row_tiles, column_tiles, groups, chunks;
  int part;   // chunks of a block
  bool add;   // several blocks share a tile, or it has sums already
  int* sums;  // [group][tile of rows][tile of columns][warp][64][lane]
};

/// A thread's left operands of the chunks, one after the other.
template <bool codes>
class LeftRows;

template <>
class LeftRows<false> {
 public:
  __device__ LeftRows(const uint4* x, int warp, int lane)
      : x_(x + warp * 16 + lane / 4), t_(lane % 4), next_{x_[0], x_[8]} {}
  /// On to the next chunk; there is another one behind it where `more` is true.
  __device__ void step(bool more) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      words_[i][0] = next_[i].x >> t_;
      words_[i][1] = next_[i].y >> t_;
      words_[i][2] = next_[i].z >> t_;
      words_[i][3] = next_[i].w >> t_;
    }
    x_ += block_rows;
    if (warpgroup::behind) load(more);
  }
  __device__ void make(warpgroup::Left& left, int at) const {
    constexpr std::uint32_t ones = 0x01010101;
    left[0] = words_[0][at] & ones;
    left[1] = words_[1][at] & ones;
    left[2] = words_[0][at] >> 4 & ones;
    left[3] = words_[1][at] >> 4 & ones;
  }
  /// What make() was called for last, of a chunk, is made.
  __device__ void made(int, bool) {}
  __device__ void end(bool more) {
    if (!warpgroup::behind) load(more);  // registers are short
  }

 private:
  __device__ void load(bool more) {
    if (!more) return;
    next_[0] = x_[0];
    next_[1] = x_[8];
  }
  const uint4* x_;
  int t_;
  uint4 next_[2];
  std::uint32_t words_[2][4];
};

template <>
class LeftRows<true> {
 public:
  __device__ LeftRows(const uint4* x, int warp, int lane)
      : x_(x + warp * 32 + lane), next_{x_[0], x_[128], x_[256], x_[384]} {}
  __device__ void step(bool) { x_ += code_words; }
  __device__ void make(warpgroup::Left& left, int at) const {
    left[0] = next_[at].x;
    left[1] = next_[at].y;
    left[2] = next_[at].z;
    left[3] = next_[at].w;
  }
  __device__ void made(int at, bool more) {
    if (more) next_[at] = x_[at * 128];
  }
  __device__ void end(bool) {}

 private:
  const uint4* x_;
  uint4 next_[4];
};

/// Block: [part of the chunks][group][tile of rows][tile of columns].
template <bool codes>
__global__ void __launch_bounds__(block_threads, 1) multiply_rows(SignProduct job) {
  const int column_tile = static_cast<int>(blockIdx.x) % job.column_tiles;
  const int of_columns = static_cast<int>(blockIdx.x) / job.column_tiles;
  const int row_tile = of_columns % job.row_tiles;
  const int of_rows = of_columns / job.row_tiles;
  const int group = of_rows % job.groups;
  const int begin = of_rows / job.groups * job.part;
  const int count = min(job.part, job.chunks - begin);

  auto* const memory = dynamic_shared<unsigned char>();
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  // Of the whole warp, as the compiler has to know: products of a warpgroup are not for single threads.
  const int row_block = row_tile * row_groups + __shfl_sync(all_lanes, thread / 128, 0);
  const bool used = row_block < job.row_blocks;
  LeftRows<codes> rows(
      job.x +
          (static_cast<std::int64_t>(group * job.row_blocks + (used ? row_block : 0)) * job.chunks + begin) *
              (codes ? code_words : block_rows),
      thread / 32 % 4, lane);
  const std::uint8_t* q =
      job.q +
      (static_cast<std::int64_t>(group * job.column_tiles + column_tile) * job.chunks + begin) * stage_size +
      thread * segment;

  const auto load = [&](int chunk) {
    if (chunk < count) {
      unsigned char* const to = memory + chunk % ring * stage_size + thread * segment;
#pragma unroll
      for (int i = 0; i < stage_size; i += block_threads * segment) warpgroup::copy_once(to + i, q + i, true);
      q += stage_size;
    }
    copies_commit();
  };

  warpgroup::Sums<tile_columns> sums;
#pragma unroll
  for (int j = 0; j < tile_columns / 8; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[j][i] = 0;
  }
  warpgroup::Left left[2][2] = {};
#pragma unroll 1
  for (int chunk = 0; chunk < ahead; ++chunk) load(chunk);
#pragma unroll 1
  for (int chunk = 0; chunk < count; ++chunk) {
    copies_wait<ahead - 1>();
    warpgroup::publish();
    __syncthreads();  // this chunk is there, and all are through with the one before the last
    load(chunk + ahead);
    if (!used) continue;
    const bool more = chunk + 1 < count;
    rows.step(more);
    const warpgroup::Right right(memory + chunk % ring * stage_size, tile_columns * segment, 8 * segment);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        rows.make(left[half][step], 2 * half + step);
        rows.made(2 * half + step, more);
      }
#pragma unroll
      for (int step = 0; step < 2; ++step) warpgroup::keep(left[half][step]);
      warpgroup::settle(sums);
      warpgroup::start();
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        warpgroup::multiply<codes>(sums, left[half][step],
                                   right.at((2 * half + step) * 2 * tile_columns * segment));
      }
      warpgroup::commit();
      // What the half before multiplied is free again; this one is under way.
      warpgroup::finish<1>();
#pragma unroll
      for (int step = 0; step < 2; ++step) warpgroup::keep(left[1 - half][step]);
    }
    rows.end(more);
    // Operands as they were loaded are variables of the loop, which its end gives new values.
    if constexpr (codes) warpgroup::finish<0>();
  }
  copies_wait<0>();
  warpgroup::finish<0>();
  warpgroup::settle(sums);
  if (!used) return;

  const std::int64_t tile =
      (static_cast<std::int64_t>(group) * job.row_tiles + row_tile) * job.column_tiles + column_tile;
  int* const out = job.sums + tile * tile_sums + thread / 32 * (tile_sums / (4 * row_groups)) + lane;
#pragma unroll
  for (int i = 0; i < tile_columns / 2; ++i) {
    const int sum = sums[i / 4][i % 4];
    if (job.add) {
      atomicAdd(out + i * 32, sum);
    } else {
      out[i * 32] = sum;
    }
  }
}

struct SumScale {
  const int* sums;
  const ops::Rounding* roundings;
  int row_tiles, column_tiles, groups;
  int outputs, channels, taps;  // of a group
  float unit;
  bool add;
  float* dw;  // [m][tap, channel]
};

constexpr int scale_sums_of = 16;  // of a thread

/// dw ← the sums, scaled, or dw + them. A warp takes some of the sums of one of the product's; eight lanes
/// have rows, which lie side by side in dw.
template <bool codes>
__global__ void __launch_bounds__(256) scale_rows(SumScale job) {
  constexpr int warp_parts = tile_columns / 2 / scale_sums_of;
  const int item = static_cast<int>(blockIdx.x) * 8 + static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int part = item % warp_parts;
  const int warp = item / warp_parts % (4 * row_groups);
  const int tile = item / (warp_parts * 4 * row_groups);
  const int of_columns = tile / job.column_tiles;
  const int column_tile = tile - of_columns * job.column_tiles;
  const int group = of_columns / job.row_tiles;
  if (group >= job.groups) return;
  const int first_row = (of_columns - group * job.row_tiles) * tile_rows + warp * 16 + lane / 4;
  const int k = job.taps * job.channels;
  const int* const from =
      job.sums + static_cast<std::int64_t>(tile) * tile_sums + warp * (tile_sums / (4 * row_groups)) + lane;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row + 8 * half;
    if (row >= k) continue;
    // The sums of the valid pixels of the tap, of the same columns.
    const int valid_row = codes ? row : k + row / job.channels;
    const int in_tile = valid_row % tile_rows;
    const int* const valid =
        job.sums +
        static_cast<std::int64_t>((group * job.row_tiles + valid_row / tile_rows) * job.column_tiles +
                                  column_tile) *
            tile_sums +
        in_tile / 16 * (tile_sums / (4 * row_groups)) + in_tile % 16 / 8 * 2 * 32 + in_tile % 8 * 4 +
        lane % 4;
#pragma unroll
    for (int i = 0; i < scale_sums_of / 2; ++i) {
      const int at = part * scale_sums_of + i / 2 * 4 + i % 2;  // of the upper rows
      const int column = at / 4 * 8 + lane % 4 * 2 + at % 2;
      const int output = column_tile * tile_columns + output_of(column);
      if (output >= job.outputs) continue;
      int sum = from[(at + 2 * half) * 32];
      if constexpr (!codes) {
        sum = static_cast<int>(2 * static_cast<std::uint32_t>(sum) -
                               static_cast<std::uint32_t>(valid[at * 32]));
      }
      const int m = group * job.outputs + output;
      const ops::Rounding& r = job.roundings[m];
      const float scaled = static_cast<float>(sum) * (r.scale * job.unit) * r.drop;
      float* const out = job.dw + static_cast<std::int64_t>(m) * k + row;
      *out = job.add ? *out + scaled : scaled;
    }
  }
}

/// Parts of the chunks, so that few multiprocessors are idle in the last of a few rounds of blocks.
int parts_of(int tiles, int chunks, int multiprocessors) {
  constexpr int least_chunks = 8;
  constexpr int most_rounds = 4;
  int best = 1;
  double best_idle = 1e9;
  for (int parts = 1; parts == 1 || parts * tiles <= most_rounds * multiprocessors; ++parts) {
    if (parts > std::max(chunks / least_chunks, 1)) break;
    const int rounds = ceil_div(parts * tiles, multiprocessors);
    // A round costs what some chunks do, for its start and end.
    const double idle = rounds * (static_cast<double>(chunks) / parts + 6);
    if (idle < best_idle) {
      best = parts;
      best_idle = idle;
    }
  }
  return best;
}

}  // namespace

std::int64_t most_turned_bytes = std::int64_t{1} << 29;

bool sign_backward_weight(const ops::Conv2d& conv, ops::PaddingValue padding, const RoundedOutputs& q,
                          const std::uint64_t* signs, const std::uint8_t* codes, int bits, float* dw) {
  const auto& [stride, dilation, before, groups] = conv.geometry;
  constexpr std::int64_t most = std::int64_t{1} << 30;
  const bool is_codes = signs == nullptr;
  const std::int64_t channels = conv.group_channels();
  const std::int64_t taps = conv.kh * conv.kw;
  const std::int64_t rows = is_codes ? taps * channels : taps * (channels + 1);
  const std::int64_t row_blocks = ceil_div<std::int64_t>(rows, block_rows);
  const std::int64_t row_tiles = ceil_div<std::int64_t>(row_blocks, row_groups);
  const std::int64_t column_tiles = ceil_div<std::int64_t>(q.outputs(), tile_columns);
  // Few outputs leave a tile empty, and few channels are as many as the rows of what is valid. Codes are
  // eight times the bits, once for every tap.
  if (q.outputs() <= tile_columns / 2) return false;
  if (is_codes ? rows > tile_rows : channels < 16) return false;
  if (std::max({conv.h, conv.w, stride[0] * conv.oh, stride[1] * conv.ow, (conv.kh - 1) * dilation[0],
                (conv.kw - 1) * dilation[1], before[0], before[2], groups * rows, conv.n}) > most / 2 ||
      groups * row_tiles * column_tiles > most / 1024) {
    return false;
  }
  const std::size_t shared = std::size_t{ring} * stage_size;
  const driver::DeviceInfo& device = driver::device();
  if (shared > device.shared_memory) return false;

  const std::int64_t words_of_block = is_codes ? code_words : block_rows;
  const std::int64_t chunk_bytes =
      groups * (row_blocks * words_of_block * std::int64_t{sizeof(uint4)} + column_tiles * stage_size);
  const std::int64_t most_chunks =
      std::clamp<std::int64_t>(most_turned_bytes / chunk_bytes, 1, most / (groups * (channels + 64) * 16));
  const std::int64_t all = ceil_div<std::int64_t>(conv.n * conv.oh * conv.ow, chunk_pixels);
  const std::int64_t scratch_chunks = std::min(all, most_chunks);
  const Scratch<uint4> x(scratch_chunks * groups * row_blocks * words_of_block);
  const Scratch<std::uint8_t> turned(scratch_chunks * groups * column_tiles * stage_size);
  const std::int64_t tiles = groups * row_tiles * column_tiles;
  const Scratch<int> sums(tiles * tile_sums);

  const auto number = [](std::int64_t n) { return static_cast<int>(n); };
  const std::int64_t channel_blocks = ceil_div<std::int64_t>(channels, 32);
  const int largest = is_codes ? (1 << bits) - 1 : 1;
  SignRows of_signs{.signs = signs,
                    .h = number(conv.h),
                    .w = number(conv.w),
                    .oh = number(conv.oh),
                    .ow = number(conv.ow),
                    .stride = {number(stride[0]), number(stride[1])},
                    .dilation = {number(dilation[0]), number(dilation[1])},
                    .before = {number(before[0]), number(before[2])},
                    .taps = {number(conv.kh), number(conv.kw)},
                    .groups = number(groups),
                    .channels = number(channels),
                    .channel_blocks = number(channel_blocks),
                    .pixel_words = 2 * words(conv.c),
                    .first_pixel = 0,
                    .end_pixel = 0,
                    .chunks = 0,
                    .row_blocks = number(row_blocks),
                    .ones = padding == ops::PaddingValue::one,
                    .rows = x.data()};
  CodeRows of_codes{.codes = codes,
                    .h = of_signs.h,
                    .w = of_signs.w,
                    .oh = of_signs.oh,
                    .ow = of_signs.ow,
                    .stride = {of_signs.stride[0], of_signs.stride[1]},
                    .dilation = {of_signs.dilation[0], of_signs.dilation[1]},
                    .before = {of_signs.before[0], of_signs.before[1]},
                    .taps = {of_signs.taps[0], of_signs.taps[1]},
                    .groups = of_signs.groups,
                    .channels = of_signs.channels,
                    .first_pixel = 0,
                    .end_pixel = 0,
                    .chunks = 0,
                    .row_blocks = of_signs.row_blocks,
                    .pad = static_cast<std::uint8_t>(padding == ops::PaddingValue::one ? largest : 0),
                    .rows = x.data()};
  SignProduct job{.x = x.data(),
                  .q = turned.data(),
                  .row_blocks = number(row_blocks),
                  .row_tiles = number(row_tiles),
                  .column_tiles = number(column_tiles),
                  .groups = number(groups),
                  .chunks = 0,
                  .part = 0,
                  .add = false,
                  .sums = sums.data()};
  const ops::PixelChunks pixel_chunks(conv,
                                      std::int64_t{ops::weight_gradient_levels(!is_codes, bits)} * largest);
  for (std::int64_t begin = 0; begin < conv.n * conv.oh;) {
    const std::int64_t end = pixel_chunks.end_of_sums(conv, begin);
    bool first = true;
    for (std::int64_t pixel = begin * conv.ow; pixel < end * conv.ow;) {
      const std::int64_t end_pixel = std::min(end * conv.ow, pixel + most_chunks * chunk_pixels);
      const std::int64_t chunks = ceil_div<std::int64_t>(end_pixel - pixel, chunk_pixels);
      of_signs.first_pixel = of_codes.first_pixel = pixel;
      of_signs.end_pixel = of_codes.end_pixel = end_pixel;
      of_signs.chunks = of_codes.chunks = job.chunks = number(chunks);
      if (is_codes) {
        launch(turn_codes, dim3(static_cast<unsigned>(2 * groups * row_blocks * chunks)), dim3(256), 0,
               of_codes);
      } else {
        const std::int64_t items = groups * chunks * (channel_blocks + 1);
        launch(turn_signs, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(items, 8))), dim3(256), 0,
               of_signs);
      }
      // A block turns a chunk of a tile.
      launch(turn_outputs, dim3(static_cast<unsigned>(groups * column_tiles * chunks)), dim3(256), 0,
             q.data(), pixel, end_pixel, q.pixel_bytes(), q.padded(), groups, column_tiles, chunks,
             turned.data());
      job.part = ceil_div(job.chunks, parts_of(number(tiles), job.chunks, device.multiprocessors));
      const int parts = ceil_div(job.chunks, job.part);
      job.add = parts > 1 || !first;
      if (job.add && first) fill(sums.data(), 0, static_cast<std::size_t>(sums.count()) * sizeof(int));
      launch(is_codes ? multiply_rows<true> : multiply_rows<false>,
             dim3(static_cast<unsigned>(parts * tiles)), dim3(block_threads), shared, job);
      first = false;
      pixel = end_pixel;
    }
    constexpr int tile_warps = 4 * row_groups * (tile_columns / 2 / scale_sums_of);
    launch(is_codes ? scale_rows<true> : scale_rows<false>,
           dim3(static_cast<unsigned>(tiles * tile_warps / 8)), dim3(256), 0,
           SumScale{.sums = sums.data(),
                    .roundings = q.roundings(),
                    .row_tiles = job.row_tiles,
                    .column_tiles = job.column_tiles,
                    .groups = job.groups,
                    .outputs = number(q.outputs()),
                    .channels = number(channels),
                    .taps = number(taps),
                    .unit = 1.0F / static_cast<float>(largest),
                    .add = begin > 0,
                    .dw = dw});
    begin = end;
  }
  return true;
}

}  // namespace hardbit::cuda
