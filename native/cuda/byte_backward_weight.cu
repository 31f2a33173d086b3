#include <algorithm>

#include "cuda/byte_gradient.h"
#include "cuda/byte_product.h"
#include "cuda/kernel.h"
#include "cuda/sign_gradient.h"
#include "ops/gradient_rounding.h"
#include "runtime/words.h"

// dw[tap, c][m] = Σ x[pixel moved by the tap][c]·q[pixel][m] over the pixels of dy, in parts that several
// blocks add up. Rows of tiles are [tap][channel of x], columns channels of dy.

namespace hardbit::cuda {
namespace {

/// Bits [pixels][channels of all groups] as bytes ±1 [pixels][group][padded]; a thread a segment.
void unpack_inputs(const std::uint64_t* bits, std::int64_t pixels, std::int64_t groups, std::int64_t channels,
                   std::int64_t padded, std::uint8_t* bytes) {
  const std::int64_t parts = padded / segment;
  const std::int64_t pixel_words = words(groups * channels);
  for_each(pixels * groups * parts, [=] __device__(std::int64_t i) {
    const Division part = divide(i, parts);
    const Division group = divide(part.quotient, groups);
    const std::int64_t first = group.remainder * channels + part.remainder * segment;
    const std::uint64_t* const from = bits + group.quotient * pixel_words;
    const std::int64_t word = first / 64;
    const auto shift = static_cast<unsigned>(first % 64);
    std::uint64_t signs = from[word] >> shift;
    if (shift > 64 - segment && word + 1 < pixel_words) signs |= from[word + 1] << (64 - shift);
    std::uint32_t out[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      // Bit b to the low bit of byte b, then 1 to 1 and 0 to −1; bits of four products do not meet.
      const std::uint32_t ones =
          (static_cast<std::uint32_t>(signs >> (4 * j) & 0xF) * 0x00204081U) & 0x01010101U;
      out[j] = ~(ones * 0xFE);
    }
    reinterpret_cast<uint4*>(bytes)[i] = make_uint4(out[0], out[1], out[2], out[3]);
  });
}

/// Codes [pixels][groups][channels], padded.
void pad_inputs(const std::uint8_t* codes, std::int64_t pixels, std::int64_t groups, std::int64_t channels,
                std::int64_t padded, std::uint8_t* bytes) {
  for_each(pixels * groups * padded, [=] __device__(std::int64_t i) {
    const Division place = divide(i, padded);
    bytes[i] = place.remainder < channels ? codes[place.quotient * channels + place.remainder] : 0;
  });
}

struct WeightGradient {
  const std::uint8_t* x;    // [n][h][w][group][padded]
  const std::uint8_t* pad;  // a segment of what padding stands for
  const std::uint8_t* q;    // [pixel of dy][group][padded]
  std::int64_t n, h, w, oh, ow;
  std::int64_t stride[2], dilation[2], before[2];
  std::int64_t groups, taps, column_taps;
  std::int64_t x_padded, x_pixel_bytes, q_padded, q_pixel_bytes;
  std::int64_t row_tiles, column_tiles;  // of a group
  std::int64_t first_pixel, end_pixel;   // of dy
  std::int64_t part;                     // pixels of a block: whole chunks
  std::int64_t image_step;               // what a chunk's pixels are,
  std::int32_t row_step, column_step;    // in images, rows and columns of dy
  bool add;                              // several blocks share a tile
  int* sums;                             // [group][tile of rows][tile of columns][warp][64][lane]
};

/// A pixel of dy.
struct Pixel {
  std::int64_t image;  // the first pixel of its x; −1: beyond the last
  std::int32_t row, column;
};

/// x [pixel moved by the tap][tap, channel] and q [pixel][m].
template <bool codes, int height, int width>
struct WeightSource {
  using Layout = AcrossRows;
  static constexpr int rows = height;
  static constexpr int columns = width;
  static constexpr int threads = threads_of(rows, columns);
  static constexpr int row_parts = rows / segment;
  static constexpr int column_parts = columns / segment;
  static_assert(threads >= chunk_bytes);

  const WeightGradient& job;
  std::int64_t rows_used, columns_used;
  Pixel* pixels;                         // of `stages` chunks
  const std::uint8_t* x;                 // the channels that this thread copies, in pixel 0; null: none
  std::int64_t row_shift, column_shift;  // of their tap
  const std::uint8_t* q;                 // the outputs that it copies, in its first pixel of the next chunk
  int left;                              // pixels from the next chunk's first on; 0 without outputs
  // What this thread prepares next, one pixel a chunk.
  std::int64_t image;
  std::int32_t row, column;

  __device__ WeightSource(const WeightGradient& job_, Pixel* pixels_, std::int64_t group,
                          std::int64_t row_tile, std::int64_t column_tile, std::int64_t begin,
                          std::int64_t end)
      : job(job_),
        rows_used(job_.taps * job_.x_padded - row_tile * rows),
        columns_used(job_.q_padded - column_tile * columns),
        pixels(pixels_),
        x(nullptr),
        row_shift(0),
        column_shift(0),
        q(job_.q),
        left(0) {
    const Division tap = divide(row_tile * rows + threadIdx.x % row_parts * segment, job.x_padded);
    if (tap.quotient < job.taps) {
      const Division place = divide(tap.quotient, job.column_taps);
      x = job.x + group * job.x_padded + tap.remainder;
      row_shift = place.quotient * job.dilation[0] - job.before[0];
      column_shift = place.remainder * job.dilation[1] - job.before[1];
    }
    const std::int64_t output = column_tile * columns + threadIdx.x % column_parts * segment;
    if (output < job.q_padded) {
      q = job.q + (begin + threadIdx.x / column_parts) * job.q_pixel_bytes + group * job.q_padded + output;
      left = static_cast<int>(end - begin);
    }
    const Division line = divide(begin + threadIdx.x, job.ow);
    const Division of_image = divide(line.quotient, job.oh);
    image = of_image.quotient;
    row = static_cast<std::int32_t>(of_image.remainder);
    column = static_cast<std::int32_t>(line.remainder);
  }

  __device__ static void multiply(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                  std::uint32_t b1) {
    if constexpr (codes) {
      mma_bytes(c, a, b0, b1);
    } else {
      mma_signed_bytes(c, a, b0, b1);
    }
  }

  __device__ void prepare(int chunk) {
    if (threadIdx.x >= chunk_bytes) return;
    pixels[chunk % stages * chunk_bytes + static_cast<int>(threadIdx.x)] = {
        image < job.n ? image * job.h * job.w : -1, row, column};
    column += job.column_step;
    const bool next_row = column >= job.ow;
    if (next_row) column -= static_cast<std::int32_t>(job.ow);
    row += job.row_step + (next_row ? 1 : 0);
    const bool next_image = row >= job.oh;
    if (next_image) row -= static_cast<std::int32_t>(job.oh);
    image += job.image_step + (next_image ? 1 : 0);
  }

  __device__ void load(int chunk, unsigned char* a, unsigned char* b) {
    const Pixel* const of_chunk = pixels + chunk % stages * chunk_bytes;
#pragma unroll
    for (int i = 0; i < chunk_bytes * row_parts / threads; ++i) {
      const int place = static_cast<int>(threadIdx.x / row_parts) + i * (threads / row_parts);
      const Pixel pixel = of_chunk[place];
      const std::int64_t y = pixel.row * job.stride[0] + row_shift;
      const std::int64_t z = pixel.column * job.stride[1] + column_shift;
      const bool inside = x != nullptr && pixel.image >= 0 && y >= 0 && y < job.h && z >= 0 && z < job.w;
      copy_async<segment>(a + Layout::template offset<rows>(place, threadIdx.x % row_parts),
                          inside ? x + (pixel.image + y * job.w + z) * job.x_pixel_bytes : job.pad, true);
    }
#pragma unroll
    for (int i = 0; i < chunk_bytes * column_parts / threads; ++i) {
      const int place = static_cast<int>(threadIdx.x / column_parts) + i * (threads / column_parts);
      const bool there = place < left;
      copy_async<segment>(b + Layout::template offset<columns>(place, threadIdx.x % column_parts),
                          there ? q + i * (threads / column_parts) * job.q_pixel_bytes : job.q, there);
    }
    q += chunk_bytes * job.q_pixel_bytes;
    left -= chunk_bytes;
  }
};

/// Block: [part of the pixels][group][tile of rows][tile of columns].
template <bool codes, int height, int width>
__global__ void __launch_bounds__(threads_of(height, width), 768 / (threads_of(height, width) + 128))
    weight_gradient(WeightGradient job) {
  const Division columns = divide(blockIdx.x, job.column_tiles);
  const Division rows = divide(columns.quotient, job.row_tiles);
  const Division of_group = divide(rows.quotient, job.groups);
  const std::int64_t begin = job.first_pixel + of_group.quotient * job.part;
  const std::int64_t end = min(begin + job.part, job.end_pixel);
  auto* const memory = dynamic_shared<unsigned char>();
  WeightSource<codes, height, width> source(
      job, reinterpret_cast<Pixel*>(memory + stages * stage_bytes(height, width)), of_group.remainder,
      rows.remainder, columns.remainder, begin, end);
  Sums sums;
  accumulate(source, static_cast<int>(ceil_div<std::int64_t>(end - begin, chunk_bytes)), memory, sums);

  const std::int64_t tile =
      (of_group.remainder * job.row_tiles + rows.remainder) * job.column_tiles + columns.remainder;
  int* const out =
      job.sums + tile * height * width + threadIdx.x / 32 * (warp_rows * warp_columns) + threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    const int sum = sums[i / 16][i / 4 % 4][i % 4];
    if (job.add) {
      atomicAdd(out + i * 32, sum);
    } else {
      out[i * 32] = sum;
    }
  }
}

/// Where weight_gradient() leaves row `row` of column `column` of a tile `columns` wide.
__device__ inline int place_of_sum(int row, int column, int columns) {
  const int warp = row / warp_rows * (columns / warp_columns) + column / warp_columns;
  const int i = row % warp_rows / 32 * 2 + row % 4 / 2;
  const int j = column % 4;
  const int group = row % 32 / 4;
  const int c = column % warp_columns / 4;
  const int in_lane = i * 16 + j * 4 + row % 2 * 2 + c % 2;
  return (warp * 64 + in_lane) * 32 + group * 4 + c / 2;
}

/// dw [m][k] ← the sums, scaled, or dw + them.
void scale_sums(const WeightGradient& job, int height, int width, std::int64_t m, std::int64_t outputs,
                std::int64_t channels, float unit, const ops::Rounding* roundings, bool add, float* dw) {
  const std::int64_t k = job.taps * channels;
  const int* const sums = job.sums;
  const std::int64_t row_tiles = job.row_tiles;
  const std::int64_t column_tiles = job.column_tiles;
  const std::int64_t padded = job.x_padded;
  for_each(m * k, [=] __device__(std::int64_t i) {
    const Division weight = divide(i, k);
    const Division output = divide(weight.quotient, outputs);
    const Division tap = divide(weight.remainder, channels);
    const std::int64_t row = tap.quotient * padded + tap.remainder;
    const std::int64_t tile =
        (output.quotient * row_tiles + row / height) * column_tiles + output.remainder / width;
    const int sum =
        sums[tile * height * width +
             place_of_sum(static_cast<int>(row % height), static_cast<int>(output.remainder % width), width)];
    const ops::Rounding& r = roundings[weight.quotient];
    const float scaled = static_cast<float>(sum) * (r.scale * unit) * r.drop;
    dw[i] = add ? dw[i] + scaled : scaled;
  });
}

template <int height, int width>
void multiply_weights(const WeightGradient& job, bool codes, std::int64_t blocks) {
  constexpr std::size_t shared = stages * (stage_bytes(height, width) + chunk_bytes * sizeof(Pixel));
  const dim3 grid(static_cast<unsigned>(blocks));
  const dim3 block(threads_of(height, width));
  if (codes) {
    launch(weight_gradient<true, height, width>, grid, block, shared, job);
  } else {
    launch(weight_gradient<false, height, width>, grid, block, shared, job);
  }
}

}  // namespace

void byte_backward_weight(const ops::Conv2d& conv, ops::PaddingValue padding, const OutputGradient& dy,
                          const std::uint64_t* signs, const std::uint8_t* codes, int bits, const Draws& draws,
                          float* dw) {
  const auto& [stride, dilation, before, groups] = conv.geometry;
  const std::int64_t channels = conv.group_channels();
  const bool is_codes = signs == nullptr;
  const int levels = ops::weight_gradient_levels(!is_codes, bits);
  const int most = is_codes ? (1 << bits) - 1 : 1;
  const float unit = is_codes ? 1.0F / static_cast<float>(most) : 1.0F;

  const RoundedOutputs q(conv, dy, false, nullptr, levels, draws);
  if (sign_backward_weight(conv, padding, q, signs, codes, bits, dw)) return;

  const std::int64_t x_padded = padded_to_segments(channels);
  const std::int64_t x_pixels = conv.n * conv.h * conv.w;
  const bool direct =
      is_codes && x_padded == channels && reinterpret_cast<std::uintptr_t>(codes) % segment == 0;
  const Scratch<std::uint8_t> x(direct ? 1 : x_pixels * groups * x_padded);
  if (!is_codes) {
    unpack_inputs(signs, x_pixels, groups, channels, x_padded, x.data());
  } else if (!direct) {
    pad_inputs(codes, x_pixels, groups, channels, x_padded, x.data());
  }
  const Scratch<std::uint8_t> pad(segment);
  fill(pad.data(), padding == ops::PaddingValue::one ? most : 0, segment);

  // Tiles: rows are [tap][channel], columns output channels.
  const std::int64_t taps = conv.kh * conv.kw;
  const int height = taps * x_padded > 64 ? 128 : 64;
  const int width = q.outputs() > 64 ? 128 : 64;
  WeightGradient job{.x = direct ? codes : x.data(),
                     .pad = pad.data(),
                     .q = q.data(),
                     .n = conv.n,
                     .h = conv.h,
                     .w = conv.w,
                     .oh = conv.oh,
                     .ow = conv.ow,
                     .stride = {stride[0], stride[1]},
                     .dilation = {dilation[0], dilation[1]},
                     .before = {before[0], before[2]},
                     .groups = groups,
                     .taps = taps,
                     .column_taps = conv.kw,
                     .x_padded = x_padded,
                     .x_pixel_bytes = groups * x_padded,
                     .q_padded = q.padded(),
                     .q_pixel_bytes = q.pixel_bytes(),
                     .row_tiles = ceil_div<std::int64_t>(taps * x_padded, height),
                     .column_tiles = ceil_div<std::int64_t>(q.outputs(), width),
                     .first_pixel = 0,
                     .end_pixel = 0,
                     .part = 0,
                     .image_step = chunk_bytes / conv.ow / conv.oh,
                     .row_step = static_cast<std::int32_t>(chunk_bytes / conv.ow % conv.oh),
                     .column_step = static_cast<std::int32_t>(chunk_bytes % conv.ow),
                     .add = false,
                     .sums = nullptr};
  const std::int64_t tiles = groups * job.row_tiles * job.column_tiles;
  const Scratch<int> sums(tiles * height * width);
  job.sums = sums.data();

  const ops::PixelChunks chunks(conv, std::int64_t{levels} * most);
  for (std::int64_t begin = 0; begin < conv.n * conv.oh;) {
    constexpr std::int64_t least_chunks = 8;  // of a block
    const std::int64_t end = chunks.end_of_sums(conv, begin);
    job.first_pixel = begin * conv.ow;
    job.end_pixel = end * conv.ow;
    const std::int64_t all = ceil_div<std::int64_t>(job.end_pixel - job.first_pixel, chunk_bytes);
    const std::int64_t wanted = ceil_div<std::int64_t>(2 * driver::device().multiprocessors, tiles);
    const std::int64_t part = ceil_div(all, std::clamp<std::int64_t>(wanted, 1, ceil_div(all, least_chunks)));
    const std::int64_t parts = ceil_div(all, part);
    job.part = part * chunk_bytes;
    job.add = parts > 1;
    if (job.add) fill(sums.data(), 0, static_cast<std::size_t>(sums.count()) * sizeof(int));
    const std::int64_t blocks = parts * tiles;
    if (height == 128 && width == 128) {
      multiply_weights<128, 128>(job, is_codes, blocks);
    } else if (height == 128) {
      multiply_weights<128, 64>(job, is_codes, blocks);
    } else if (width == 128) {
      multiply_weights<64, 128>(job, is_codes, blocks);
    } else {
      multiply_weights<64, 64>(job, is_codes, blocks);
    }
    scale_sums(job, height, width, conv.m, q.outputs(), channels, unit, q.roundings(), begin > 0, dw);
    begin = end;
  }
}

}  // namespace hardbit::cuda
