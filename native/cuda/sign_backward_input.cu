#include <algorithm>

#include "cuda/byte_product.h"
#include "cuda/kernel.h"
#include "cuda/sign_gradient.h"
#include "cuda/wgmma.h"
#include "runtime/words.h"

// dx[place][c] = Σ w[c][tap][m]·q[place moved by the tap][m], as products of 128 channels by patches of 8 × 8
// places. A patch's pixels of dy and those around it lie in shared memory once for all taps, a chunk of m at
// a time, [16 bytes of m][pixel of the region][16 bytes]: eight places of a row are the eight columns of a
// product, and a tap is where they begin. A block, one warpgroup, has two patches and takes one tile after
// the other; what the next one reads is on its way meanwhile.

namespace hardbit::cuda {
namespace {

constexpr int patch_side = 8;
constexpr int patch_places = patch_side * patch_side;
constexpr int block_patches = 2;
constexpr int tile_channels = 128;
constexpr int block_threads = 128;  // a warpgroup
/// Of a multiprocessor: one multiplies while the other stores its sums.
constexpr int resident_blocks = 2;

/// Words of 32 output channels' bits that a thread has of a tap: of four channels.
template <int chunk>
constexpr int thread_words = 4 * chunk / 32;

struct PatchGradient {
  const std::uint8_t* q;
  const std::uint32_t* w;  // [group][tile of channels][chunk][tap][channel][32 outputs]
  const ops::Rounding* roundings;
  int height, width, out_height, out_width;  // of dx, of dy
  int taps_down, taps_across, dilation_down, dilation_across;
  int top, left;                    // the first pixel of dy that reaches place 0
  int region_height, region_width;  // pixels of dy that reach a patch
  int plane;                        // of all patches, and one more where that is even
  int tap_copies;                   // of a thread, for the next chunk, while it multiplies a tap
  int patches_down, patches_across, patches;
  int groups, channel_tiles, tiles, chunks;
  int channels;             // of a group
  int padded, pixel_bytes;  // of dy, of a group and of all
  int coefficient;
  float scale;
  bool quads;  // channels lie by aligned fours
  float* dx;
};

/// A patch of a tile.
struct Patch {
  int image, row, column;  // image −1: none
};

struct TilePlace {
  int patch, group, channel;  // the first ones

  __device__ TilePlace(const PatchGradient& job, int tile) {
    const int place = tile / job.channel_tiles;
    channel = (tile - place * job.channel_tiles) * tile_channels;
    patch = place / job.groups;
    group = place - patch * job.groups;
    patch *= block_patches;
  }
  __device__ Patch at(const PatchGradient& job, int i) const {
    const int index = patch + i;
    if (index >= job.patches) return {-1, 0, 0};
    const int line = index / job.patches_across;
    const int image = line / job.patches_down;
    return {image, (line - image * job.patches_down) * patch_side,
            (index - line * job.patches_across) * patch_side};
  }
};

/// pixels[region pixel of a patch] ← the pixel of dy; −1: none.
__device__ void find_pixels(const PatchGradient& job, int tile, int* pixels) {
  const TilePlace of(job, tile);
  const int region = job.region_height * job.region_width;
  for (int i = static_cast<int>(threadIdx.x); i < job.plane; i += block_threads) {
    const int patch = i / region;
    int pixel = -1;
    if (patch < block_patches) {
      const Patch place = of.at(job, patch);
      const int in_region = i - patch * region;
      const int down = in_region / job.region_width;
      const int row = place.row + job.top + down;
      const int column = place.column + job.left + in_region - down * job.region_width;
      if (place.image >= 0 && row >= 0 && row < job.out_height && column >= 0 && column < job.out_width)
        pixel = (place.image * job.out_height + row) * job.out_width + column;
    }
    pixels[i] = pixel;
  }
  __syncwarp();
}

/// Copies of a chunk of all regions to shared memory, queued a few at a time.
template <int chunk>
class RegionCopies {
 public:
  __device__ RegionCopies(const PatchGradient& job, int group, const int* pixels, int at,
                          unsigned char* buffer)
      : job_(job), pixels_(pixels), pixel_(static_cast<int>(threadIdx.x) / parts) {
    const int part = static_cast<int>(threadIdx.x) % parts;
    const int byte = at * chunk + part * segment;
    q_ = byte < job.padded ? job.q + group * job.padded + byte : nullptr;
    to_ = buffer + part * job.plane * segment;
  }
  /// The next `count` of this thread.
  __device__ void queue(int count) {
    for (int i = 0; i < count && pixel_ < job_.plane; ++i, pixel_ += block_threads / parts) {
      const int pixel = pixels_[pixel_];
      const bool there = q_ != nullptr && pixel >= 0;
      warpgroup::copy_once(to_ + pixel_ * segment,
                           there ? q_ + static_cast<std::int64_t>(pixel) * job_.pixel_bytes : job_.q, there);
    }
    __syncwarp();
  }
  static int of_thread(int plane) { return ceil_div(plane, block_threads / parts); }

 private:
  static constexpr int parts = chunk / segment;
  const PatchGradient& job_;
  const int* pixels_;
  const std::uint8_t* q_;  // null where there is nothing but padding
  unsigned char* to_;
  int pixel_;
};

/// Bits as bytes: bits 4j of the low half of `word` as byte j, 1 as 1 and 0 as −1.
__device__ inline std::uint32_t low_signs(std::uint32_t word) {
  return __byte_perm(0x000001FFU, 0, word & 0x1111);
}
/// Rows g and g + 8 of a left operand, from the words of their 32 outputs, shifted by t.
__device__ inline void make_left(warpgroup::Left& left, std::uint32_t upper, std::uint32_t lower) {
  left[0] = low_signs(upper);
  left[1] = low_signs(lower);
  left[2] = low_signs(upper >> 16);
  left[3] = low_signs(lower >> 16);
}

template <int chunk>
__device__ inline void load_words(std::uint32_t (&words)[thread_words<chunk>], const std::uint32_t* from) {
#pragma unroll
  for (int i = 0; i < thread_words<chunk>; i += 4) {
    const uint4 four = *reinterpret_cast<const uint4*>(from + i);
    words[i] = four.x;
    words[i + 1] = four.y;
    words[i + 2] = four.z;
    words[i + 3] = four.w;
  }
}

template <int chunk>
__global__ void __launch_bounds__(block_threads, resident_blocks) patch_gradient(PatchGradient job) {
  constexpr int steps = chunk / 64;  // of 32 bytes, in half a tap
  constexpr int tap_words = tile_channels * chunk / 32;
  const int buffer_bytes = chunk * job.plane;
  auto* const memory = dynamic_shared<unsigned char>();
  auto* const tables = reinterpret_cast<int*>(memory + 2 * buffer_bytes);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int t = lane % 4;
  // This thread's rows are four channels that lie side by side, row g + 8·h of product i the one at 2i + h.
  const int own_channel = warp * 32 + lane / 4 * 4;
  const int taps = job.taps_down * job.taps_across;
  const int region = job.region_height * job.region_width;

  const int grid = static_cast<int>(gridDim.x);
  const auto weights = [&](int tile) {
    const TilePlace of(job, tile);
    return job.w +
           static_cast<std::int64_t>(of.group * job.channel_tiles + of.channel / tile_channels) * job.chunks *
               taps * tap_words +
           own_channel * (chunk / 32);
  };

  int tile = static_cast<int>(blockIdx.x);
  find_pixels(job, tile, tables);
  if (tile + grid < job.tiles) find_pixels(job, tile + grid, tables + job.plane);
  __syncthreads();
  RegionCopies<chunk>(job, TilePlace(job, tile).group, tables, 0, memory).queue(job.plane);
  copies_commit();
  const std::uint32_t* w = weights(tile);
  std::uint32_t words[thread_words<chunk>];
  std::uint32_t next[thread_words<chunk>];
  load_words<chunk>(next, w);

  warpgroup::Left left[2][steps][2] = {};
  int buffer = 0;
  int table = 0;
#pragma unroll 1
  for (; tile < job.tiles; tile += grid, table ^= 1) {
    const bool last_tile = tile + grid >= job.tiles;
    warpgroup::Sums<patch_places> sums[2][block_patches];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int p = 0; p < block_patches; ++p) {
#pragma unroll
        for (int j = 0; j < patch_places / 8; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) sums[i][p][j][e] = 0;
        }
      }
    }
#pragma unroll 1
    for (int c = 0; c < job.chunks; ++c, buffer ^= 1) {
      copies_wait<0>();
      warpgroup::publish();
      __syncthreads();  // this chunk is there, and all are through with the one before
      const bool last = c + 1 == job.chunks;
      const int copies = last && last_tile ? 0 : job.tap_copies;
      RegionCopies<chunk> next_regions(job, TilePlace(job, last && !last_tile ? tile + grid : tile).group,
                                       tables + (last ? table ^ 1 : table) * job.plane, last ? 0 : c + 1,
                                       memory + (buffer ^ 1) * buffer_bytes);

      const warpgroup::Right right(memory + buffer * buffer_bytes, job.plane * segment,
                                   job.region_width * segment);
      int row_shift = (job.taps_down - 1) * job.dilation_down * job.region_width;
      int column_tap = job.taps_across - 1;
#pragma unroll 1
      for (int tap = 0; tap < taps; ++tap) {
        const int shift = row_shift + column_tap * job.dilation_across;
        if (--column_tap < 0) {
          column_tap = job.taps_across - 1;
          row_shift -= job.dilation_down * job.region_width;
        }
#pragma unroll
        for (int i = 0; i < thread_words<chunk>; ++i) words[i] = next[i] >> t;
        w += tap_words;
        const bool end = tap + 1 == taps && last;
        if (end && !last_tile) w = weights(tile + grid);
        if (!end || !last_tile) load_words<chunk>(next, w);

#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
          for (int step = 0; step < steps; ++step) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              const int at = half * steps + step;
              make_left(left[half][step][i], words[2 * i * (chunk / 32) + at],
                        words[(2 * i + 1) * (chunk / 32) + at]);
            }
          }
#pragma unroll
          for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int p = 0; p < block_patches; ++p) warpgroup::settle(sums[i][p]);
          }
          warpgroup::start();
#pragma unroll
          for (int step = 0; step < steps; ++step) {
#pragma unroll
            for (int p = 0; p < block_patches; ++p) {
              const warpgroup::Right columns =
                  right.at(((half * steps + step) * 2 * job.plane + p * region + shift) * segment);
#pragma unroll
              for (int i = 0; i < 2; ++i)
                warpgroup::multiply<false>(sums[i][p], left[half][step][i], columns);
            }
          }
          warpgroup::commit();
          if (half == 0) {
            next_regions.queue(copies);
          } else if (tap == 0 && last && tile + 2 * grid < job.tiles) {
            // The tile after the next one takes the place of this one's pixels, which are all copied.
            find_pixels(job, tile + 2 * grid, tables + table * job.plane);
          }
          // What the half before multiplied is free again; this one is under way.
          warpgroup::finish<1>();
#pragma unroll
          for (int step = 0; step < steps; ++step) {
#pragma unroll
            for (int i = 0; i < 2; ++i) warpgroup::keep(left[1 - half][step][i]);
          }
        }
      }
      copies_commit();
      warpgroup::finish<0>();
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int p = 0; p < block_patches; ++p) warpgroup::settle(sums[i][p]);
      }
    }

    const TilePlace of(job, tile);
    const int channel = of.channel + own_channel;
#pragma unroll
    for (int p = 0; p < block_patches; ++p) {
      const Patch place = of.at(job, p);
      if (place.image < 0 || channel >= job.channels) continue;
      const ops::Rounding& rounding = job.roundings[place.image];
      const float scale = rounding.scale * job.scale;
      const float drop = rounding.drop;
      const int columns = job.width - place.column;
      const std::int64_t column_pitch = job.groups * job.channels;
      const std::int64_t row_pitch = job.width * column_pitch;
      float* const corner = job.dx +
                            (static_cast<std::int64_t>(place.image) * job.height + place.row) * row_pitch +
                            (place.column + 2 * t) * column_pitch + of.group * job.channels + channel;
#pragma unroll
      for (int j = 0; j < patch_side; ++j) {
        if (place.row + j >= job.height) continue;
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          if (2 * t + e >= columns) continue;
          float* const out = corner + j * row_pitch + e * column_pitch;
          float values[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            values[i] = static_cast<float>(sums[i / 2][p][j][i % 2 * 2 + e] * job.coefficient) * scale * drop;
          }
          if (job.quads) {
            *reinterpret_cast<float4*>(out) = make_float4(values[0], values[1], values[2], values[3]);
          } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              if (channel + i < job.channels) out[i] = values[i];
            }
          }
        }
      }
    }
  }
}

/// w of PatchGradient from bits [m][tap, channel]. A warp takes 32 outputs by 32 columns [tap, channel]; lane
/// 16h + 4j + t has output 16h + 4t + j, so that bit 4j of a word shifted by t is byte 4t + j of a left
/// operand.
__global__ void __launch_bounds__(256)
    pack_weights(const std::uint64_t* signs, int groups, int outputs, int output_blocks, int channels,
                 int channel_tiles, int taps, int chunk_words, std::uint32_t* w) {
  const int k = taps * channels;
  const int column_blocks = ceil_div(k, 32);
  const int item = static_cast<int>(blockIdx.x) * 8 + static_cast<int>(threadIdx.x) / 32;
  if (item >= groups * output_blocks * column_blocks) return;
  const int row_block = item / column_blocks;
  const int column_block = item - row_block * column_blocks;
  const int group = row_block / output_blocks;
  const int output_block = row_block - group * output_blocks;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int m = output_block * 32 + lane / 16 * 16 + lane % 4 * 4 + lane % 16 / 4;
  std::uint32_t bits = 0;
  if (m < outputs) {
    bits = reinterpret_cast<const std::uint32_t*>(signs + static_cast<std::int64_t>(group * outputs + m) *
                                                              words(k))[column_block];
  }
  std::uint32_t own = 0;
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    const std::uint32_t column = __ballot_sync(all_lanes, (bits >> i & 1) != 0);
    if (lane == i) own = column;
  }
  const int column = column_block * 32 + lane;
  if (column >= k) return;
  const int tap = column / channels;
  const int channel = column - tap * channels;
  const int chunk = output_block / chunk_words;
  const std::int64_t tile = group * channel_tiles + channel / tile_channels;
  const int chunks = output_blocks / chunk_words;
  w[(((tile * chunks + chunk) * taps + tap) * tile_channels + channel % tile_channels) * chunk_words +
    output_block % chunk_words] = own;
}

std::size_t shared_bytes(const PatchGradient& job, int chunk) {
  return 2 * static_cast<std::size_t>(job.plane) * (static_cast<std::size_t>(chunk) + sizeof(int));
}

}  // namespace

bool sign_backward_input(const ops::Conv2d& conv, const RoundedOutputs& q, const std::uint64_t* signs,
                         int coefficient, float scale, float* dx) {
  const auto& [stride, dilation, before, groups] = conv.geometry;
  constexpr std::int64_t most = (std::int64_t{1} << 31) - 1024;
  const std::int64_t channels = conv.group_channels();
  const std::int64_t taps = conv.kh * conv.kw;
  const std::int64_t down = ceil_div<std::int64_t>(conv.h, patch_side);
  const std::int64_t across = ceil_div<std::int64_t>(conv.w, patch_side);
  if (stride[0] != 1 || stride[1] != 1 || channels <= tile_channels / 2) return false;
  // Half of the places are of the image at least, and what is around them is not much.
  if (down * across * patch_places > 2 * conv.h * conv.w) return false;
  if ((conv.kh - 1) * dilation[0] > 24 || (conv.kw - 1) * dilation[1] > 24) return false;
  if (conv.n * std::max(conv.oh * conv.ow, down * across * 8) * groups > most / 8 || conv.c > most / 1024 ||
      conv.m > most / 1024 || conv.k() * ceil_div<std::int64_t>(q.padded(), 32) * groups > most / 32 ||
      conv.h * conv.w > most || std::max(before[0], before[2]) > 1 << 20) {
    return false;
  }
  const auto number = [](std::int64_t n) { return static_cast<int>(n); };
  PatchGradient job{.q = q.data(),
                    .w = nullptr,
                    .roundings = q.roundings(),
                    .height = number(conv.h),
                    .width = number(conv.w),
                    .out_height = number(conv.oh),
                    .out_width = number(conv.ow),
                    .taps_down = number(conv.kh),
                    .taps_across = number(conv.kw),
                    .dilation_down = number(dilation[0]),
                    .dilation_across = number(dilation[1]),
                    .top = number(before[0] - (conv.kh - 1) * dilation[0]),
                    .left = number(before[2] - (conv.kw - 1) * dilation[1]),
                    .region_height = number(patch_side + (conv.kh - 1) * dilation[0]),
                    .region_width = number(patch_side + (conv.kw - 1) * dilation[1]),
                    .plane = 0,
                    .tap_copies = 0,
                    .patches_down = number(down),
                    .patches_across = number(across),
                    .patches = number(conv.n * down * across),
                    .groups = number(groups),
                    .channel_tiles = number(ceil_div<std::int64_t>(channels, tile_channels)),
                    .tiles = 0,
                    .chunks = 0,
                    .channels = number(channels),
                    .padded = number(q.padded()),
                    .pixel_bytes = number(q.pixel_bytes()),
                    .coefficient = coefficient,
                    .scale = scale,
                    .quads = channels % 4 == 0 && reinterpret_cast<std::uintptr_t>(dx) % 16 == 0,
                    .dx = dx};
  job.plane = block_patches * job.region_height * job.region_width | 1;
  job.tiles = ceil_div(job.patches, block_patches) * job.groups * job.channel_tiles;
  const driver::DeviceInfo& device = driver::device();
  const int chunk = q.padded() > 64 && shared_bytes(job, 128) <= device.shared_memory ? 128 : 64;
  const std::size_t shared = shared_bytes(job, chunk);
  if (shared > device.shared_memory) return false;
  job.chunks = number(ceil_div<std::int64_t>(q.padded(), chunk));
  job.tap_copies = ceil_div(
      chunk == 128 ? RegionCopies<128>::of_thread(job.plane) : RegionCopies<64>::of_thread(job.plane),
      number(taps));

  const int output_blocks = job.chunks * chunk / 32;
  const Scratch<std::uint32_t> w(groups * job.channel_tiles * tile_channels * taps * output_blocks);
  job.w = w.data();
  const std::int64_t items = groups * output_blocks * ceil_div<std::int64_t>(conv.k(), 32);
  launch(pack_weights, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(items, 8))), dim3(256), 0, signs,
         job.groups, number(q.outputs()), output_blocks, job.channels, job.channel_tiles, number(taps),
         chunk / 32, w.data());
  const dim3 grid(static_cast<unsigned>(std::min(job.tiles, resident_blocks * device.multiprocessors)));
  if (chunk == 128) {
    launch(patch_gradient<128>, grid, dim3(block_threads), shared, job);
  } else {
    launch(patch_gradient<64>, grid, dim3(block_threads), shared, job);
  }
  return true;
}

}  // namespace hardbit::cuda
