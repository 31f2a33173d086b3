#include <algorithm>

#include "cuda/byte_gradient.h"
#include "cuda/byte_product.h"
#include "cuda/kernel.h"
#include "cuda/pack_bits.h"
#include "ops/gradient_rounding.h"
#include "runtime/random.h"

namespace hardbit::cuda {
namespace {

/// The bits of |x|, which order as the magnitudes do.
__device__ inline unsigned magnitude_bits(float x) { return __float_as_uint(x) & 0x7FFFFFFFU; }

constexpr std::int64_t magnitude_part = 2048;  // elements of a warp

/// most[sample] ← max of the bits of |fl(x·factors[i mod m])| over a sample's `count` elements; a warp a
/// part.
__global__ void __launch_bounds__(256)
    sample_magnitudes(const float* x, const float* factors, unsigned m, std::int64_t samples,
                      std::int64_t count, std::int64_t parts, unsigned* most) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * 8 + threadIdx.x / 32;
  if (item >= samples * parts) return;
  const auto [sample, part] = divide(item, parts);
  const float* const from = x + sample * count;
  const std::int64_t end = min(count, (part + 1) * magnitude_part);
  std::int64_t i = part * magnitude_part + threadIdx.x % 32;
  unsigned largest = 0;
  if (factors == nullptr) {
#pragma unroll 4
    for (; i < end; i += 32) largest = max(largest, magnitude_bits(from[i]));
  } else {
    auto channel = static_cast<unsigned>(divide(i, m).remainder);
    const unsigned step = 32 % m;
    for (; i < end; i += 32) {
      largest = max(largest, magnitude_bits(from[i] * factors[channel]));
      channel += step;
      if (channel >= m) channel -= m;
    }
  }
  for (int bits = 16; bits > 0; bits /= 2) largest = max(largest, __shfl_xor_sync(all_lanes, largest, bits));
  if (threadIdx.x % 32 == 0) atomicMax(most + sample, largest);
}

/// most[column] ← the same over columns of x [rows][columns]; a block takes up to 256 of them, or 1024 by
/// fours, of some rows.
template <unsigned vector>
__global__ void __launch_bounds__(256)
    column_magnitudes(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t block_rows,
                      std::int64_t column_blocks, unsigned* most) {
  __shared__ unsigned largest[256 * vector];
  const auto [part, column_block] = divide(blockIdx.x, column_blocks);
  const std::int64_t first = column_block * 256 * vector;
  const auto width = static_cast<unsigned>(min((columns - first) / vector, std::int64_t{256}));
  for (unsigned i = threadIdx.x; i < width * vector; i += 256) largest[i] = 0;
  __syncthreads();
  const unsigned step = 256 / width;
  const unsigned column = threadIdx.x % width * vector;
  if (threadIdx.x < step * width) {
    const std::int64_t end = min(rows, (part + 1) * block_rows);
    unsigned mine[vector] = {};
#pragma unroll 4
    for (std::int64_t row = part * block_rows + threadIdx.x / width; row < end; row += step) {
      const float* const from = x + row * columns + first + column;
      if constexpr (vector == 4) {
        const float4 values = *reinterpret_cast<const float4*>(from);
        mine[0] = max(mine[0], magnitude_bits(values.x));
        mine[1] = max(mine[1], magnitude_bits(values.y));
        mine[2] = max(mine[2], magnitude_bits(values.z));
        mine[3] = max(mine[3], magnitude_bits(values.w));
      } else {
        mine[0] = max(mine[0], magnitude_bits(*from));
      }
    }
#pragma unroll
    for (unsigned i = 0; i < vector; ++i) atomicMax(largest + column + i, mine[i]);
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < width * vector; i += 256) atomicMax(most + first + i, largest[i]);
}

/// What is rounded with, one a sample (by_sample) or channel; inverse is in units of 2^-16. `factors`
/// [channels], which come first, `multipliers` [lift, inverse][count] and `scales` may be null.
void find_roundings(const float* x, const float* factors, std::int64_t samples, std::int64_t rows,
                    std::int64_t channels, bool by_sample, int levels, ops::Rounding* roundings,
                    float* multipliers, float* scales) {
  const std::int64_t count = by_sample ? samples : channels;
  const Scratch<unsigned> magnitudes(count);
  unsigned* const most = magnitudes.data();
  fill(most, 0, static_cast<std::size_t>(count) * sizeof(unsigned));
  if (by_sample) {
    const std::int64_t elements = rows / samples * channels;
    const std::int64_t parts = ceil_div(elements, magnitude_part);
    launch(sample_magnitudes, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(samples * parts, 8))),
           dim3(256), 0, x, factors, channels, samples, elements, parts, most);
  } else {
    const auto start = [&](auto kernel, std::int64_t vector) {
      constexpr std::int64_t block_elements = 1 << 14;
      const std::int64_t block_columns = 256 * vector;
      const std::int64_t block_rows =
          std::max<std::int64_t>(block_elements / std::min(channels, block_columns), 1);
      const std::int64_t column_blocks = ceil_div(channels, block_columns);
      launch(kernel, dim3(static_cast<unsigned>(ceil_div(rows, block_rows) * column_blocks)), dim3(256), 0, x,
             rows, channels, block_rows, column_blocks, most);
    };
    if (channels % 4 == 0 && aligned(x, sizeof(float4))) {
      start(column_magnitudes<4>, 4);
    } else {
      start(column_magnitudes<1>, 1);
    }
  }
  for_each(count, [=] __device__(std::int64_t i) {
    ops::Rounding r = ops::rounding(most[i], levels);
    if (scales != nullptr) scales[i] = r.scale * r.drop;
    r.inverse *= 0x1p16F;
    roundings[i] = r;
    if (multipliers != nullptr) {
      multipliers[i] = r.lift;
      multipliers[count + i] = r.inverse;
    }
  });
}

/// Draws of the run that a kernel is part of.
struct VaryingDraws {
  std::uint64_t key;
  Varying<std::uint64_t> step;
  std::uint32_t stream;

  explicit VaryingDraws(const Draws& draws)
      : key(draws.key), step(varying_step(draws.step)), stream(draws.stream) {}
  __device__ Draws now() const { return {.key = key, .step = value_of(step), .stream = stream}; }
};

/// How elements are rounded, and where the bytes go.
struct Quantization {
  OutputGradient dy;           // [rows][length], or of windows
  std::int64_t blocks, total;  // of draws: of a row, of all
  std::int64_t length;
  std::uint32_t m;
  const ops::Rounding* roundings;
  std::uint32_t per;         // rows that share one; 0: one a channel
  const float* multipliers;  // of channels, lift and inverse; where per is 0
  const float* factors;      // of channels; may be null
  VaryingDraws draws;
  float most;
  unsigned flip;  // 0x80 for q, 0 for q + 128
  /// 0: bytes as elements. Else elements are pixels of groups of `outputs` channels, padded to `padded`
  /// bytes.
  std::uint32_t outputs, padded;
  std::int64_t pixel_bytes, row_bytes;
  bool pairs;  // elements 2i and 2i + 1 of a row lie side by side at even places
  std::uint8_t* bytes;
  std::uint32_t* reports;
};

/// a·b.
__device__ inline void multiply(std::uint32_t a, std::uint32_t b, std::uint32_t& high, std::uint32_t& low) {
#ifdef __CUDA_ARCH__
  asm("{ .reg .b64 p; mul.wide.u32 p, %2, %3; mov.b64 {%1, %0}, p; }"
      : "=r"(high), "=r"(low)
      : "r"(a), "r"(b));
#else
  const std::uint64_t product = std::uint64_t{a} * b;
  high = static_cast<std::uint32_t>(product >> 32);
  low = static_cast<std::uint32_t>(product);
#endif
}

/// Philox::row_block(), which nvcc makes of 64-bit operations, several for each of these.
__device__ inline Philox::Block draw_block(const Draws& draws, std::uint32_t block) {
  std::uint32_t c0 = block;
  auto c1 = static_cast<std::uint32_t>(draws.step);
  auto c2 = static_cast<std::uint32_t>(draws.step >> 32);
  std::uint32_t c3 = draws.stream;
  auto k0 = static_cast<std::uint32_t>(draws.key);
  auto k1 = static_cast<std::uint32_t>(draws.key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    std::uint32_t high0 = 0;
    std::uint32_t low0 = 0;
    std::uint32_t high1 = 0;
    std::uint32_t low1 = 0;
    multiply(0xD2511F53, c0, high0, low0);
    multiply(0xCD9E8D57, c2, high1, low1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {c0, c1, c2, c3};
}

/// 2^16 steps of `value`, 128 of them added: whole numbers below 2^24.
__device__ inline std::uint32_t steps_of(float value, float factor, float inverse, float most) {
  const float t = fmaxf(fminf(value * factor * inverse, most), -most);
  // 2^23 is 128 steps of 2^16; the sum is below 2^24, where floats are whole numbers and their halves.
  return static_cast<std::uint32_t>(__float2int_rz(t + 0x1p23F));
}

/// dy at a pixel of a row, an element of the gradient of pooled outputs where that came from there.
__device__ inline float gradient_at(const Quantization& to, std::int64_t row, std::int64_t pixel,
                                    std::uint32_t channel) {
  const OutputGradient& dy = to.dy;
  const Division line = divide(row, dy.rows);
  const Division y = divide(line.remainder, dy.window_rows);
  const Division x = divide(pixel, dy.window_columns);
  if (y.quotient >= dy.pooled_rows || x.quotient >= dy.pooled_columns) return 0;
  const std::int64_t at =
      ((line.quotient * dy.pooled_rows + y.quotient) * dy.pooled_columns + x.quotient) * to.m + channel;
  const int place = dy.places[at];
  if (place >= dy.window_rows * dy.window_columns) report(to.reports, Report::place);
  return place == y.remainder * dy.window_columns + x.remainder ? dy.values[at] : 0;
}

/// One block of draws a thread: its eight halves of words, for four pairs of elements
/// (ops/binary_gradient.h).
template <bool pooled>
__global__ void __launch_bounds__(256) round_elements(Quantization to) {
  const std::int64_t block = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (block >= to.total) return;
  const Division of_row = divide(block, to.blocks);  // no binding: Clang 14 does not let lambdas have it
  const std::int64_t row = of_row.quotient;
  const std::int64_t in_row = of_row.remainder;
  const auto lane = static_cast<int>(in_row % 16);
  const std::int64_t first = in_row / 16 * 128 + lane / 8 * 32 + lane % 8 * 2;
  if (first >= to.length) return;
  const Philox::Block words = draw_block(to.draws.now(), static_cast<std::uint32_t>(block));
  ops::Rounding rounding{};
  if (to.per != 0) rounding = to.roundings[divide(row, to.per).quotient];
  const bool channels = pooled || to.per == 0 || to.factors != nullptr || to.outputs != 0;
  const auto [pixel, channel] = channels ? divide(first, to.m) : Division{0, 0};
  const float* const x = to.dy.values + row * to.length;

  /// q + 128 of an element of channel c.
  const auto rounded = [&](float value, std::uint32_t c, std::uint32_t draw) {
    if (to.per == 0) rounding = to.roundings[c];
    float factor = rounding.lift;
    if (to.factors != nullptr) factor *= to.factors[c];
    return ((steps_of(value, factor, rounding.inverse, to.most) + draw) >> 16 & 0xFF) ^ to.flip;
  };

  /// Element i, which is of channel c of pixel p of the row.
  const auto value = [&](std::int64_t p, std::uint32_t c, std::int64_t i) {
    if constexpr (pooled) {
      return gradient_at(to, row, p, c);
    } else {
      return x[i];
    }
  };

  /// Where its byte goes.
  const std::int64_t first_byte = row * (to.outputs == 0 ? to.length : to.row_bytes);
  const auto place = [&](std::int64_t p, std::uint32_t c, std::int64_t i) {
    return to.bytes + first_byte +
           (to.outputs == 0 ? i : p * to.pixel_bytes + c / to.outputs * to.padded + c % to.outputs);
  };

#pragma unroll
  for (unsigned pair = 0; pair < 4; ++pair) {
    const unsigned half = pair / 2;
    const unsigned r = pair % 2;
    const unsigned offset = 64 * half + 16 * r;
    const std::int64_t i = first + offset;
    if (i >= to.length) continue;
    const std::uint32_t even = words[2 * r] >> (16 * half) & 0xFFFF;
    const std::uint32_t odd = words[2 * r + 1] >> (16 * half) & 0xFFFF;
    std::uint32_t c = 0;
    std::int64_t at_pixel = pixel;
    if (channels) {
      const Division moved = divide(channel + offset, to.m);
      at_pixel += moved.quotient;
      c = static_cast<std::uint32_t>(moved.remainder);
    }
    if (to.pairs) {
      const std::uint32_t low = rounded(value(at_pixel, c, i), c, even);
      const std::uint32_t high = rounded(value(at_pixel, c + 1, i + 1), c + 1, odd);
      *reinterpret_cast<std::uint16_t*>(place(at_pixel, c, i)) = static_cast<std::uint16_t>(low | high << 8);
      continue;
    }
    *place(at_pixel, c, i) = static_cast<std::uint8_t>(rounded(value(at_pixel, c, i), c, even));
    if (i + 1 >= to.length) continue;
    if (channels && ++c == to.m) {
      c = 0;
      ++at_pixel;
    }
    *place(at_pixel, c, i + 1) = static_cast<std::uint8_t>(rounded(value(at_pixel, c, i + 1), c, odd));
  }
}

// Two blocks of draws serve four elements side by side at each of four places: 16-byte reads, 4-byte writes.
// Rows are whole runs of 16 elements, bytes lie as elements.

constexpr unsigned runs = 4;
__device__ constexpr unsigned run_offset(unsigned run) { return run / 2 * 64 + run % 2 * 16; }

/// What is added to the elements of two blocks of draws, four of each run.
struct RunDraws {
  Philox::Block first, second;

  __device__ RunDraws(const Draws& draws, std::uint32_t block)
      : first(draw_block(draws, block)), second(draw_block(draws, block + 1)) {}

  /// The bytes q + 128 of a run's four elements.
  __device__ std::uint32_t bytes(unsigned run, const std::uint32_t (&steps)[4]) const {
    const bool odd = run % 2 != 0;  // no place in registers depends on it
    const std::uint32_t low =
        pair(run, odd ? first[2] : first[0], odd ? first[3] : first[1], steps[0], steps[1]);
    const std::uint32_t high =
        pair(run, odd ? second[2] : second[0], odd ? second[3] : second[1], steps[2], steps[3]);
    return __byte_perm(low, high, 0x5410);
  }

 private:
  __device__ static std::uint32_t pair(unsigned run, std::uint32_t even, std::uint32_t odd,
                                       std::uint32_t even_steps, std::uint32_t odd_steps) {
    const unsigned half = run / 2 * 16;
    return __byte_perm(even_steps + (even >> half & 0xFFFF), odd_steps + (odd >> half & 0xFFFF), 0x0062);
  }
};

/// The steps of four elements side by side, from `channel` on.
template <bool by_channel>
__device__ inline void find_steps(const Quantization& to, float4 values, float lift, float inverse,
                                  std::uint32_t channel, std::uint32_t (&steps)[4]) {
  float4 lifts = make_float4(lift, lift, lift, lift);
  float4 inverses = make_float4(inverse, inverse, inverse, inverse);
  if constexpr (by_channel) {
    lifts = *reinterpret_cast<const float4*>(to.multipliers + channel);
    inverses = *reinterpret_cast<const float4*>(to.multipliers + to.m + channel);
  } else if (to.factors != nullptr) {
    const float4 factors = *reinterpret_cast<const float4*>(to.factors + channel);
    lifts = make_float4(lift * factors.x, lift * factors.y, lift * factors.z, lift * factors.w);
  }
  steps[0] = steps_of(values.x, lifts.x, inverses.x, to.most);
  steps[1] = steps_of(values.y, lifts.y, inverses.y, to.most);
  steps[2] = steps_of(values.z, lifts.z, inverses.z, to.most);
  steps[3] = steps_of(values.w, lifts.w, inverses.w, to.most);
}

/// Thread: [row][128 elements][8]. `whole`: so many make up a row; else its last runs may be missing.
template <bool by_channel, bool whole>
__global__ void __launch_bounds__(256) round_runs(Quantization to) {
  const std::uint32_t item = blockIdx.x * 256 + threadIdx.x;
  if (item >= static_cast<std::uint32_t>(to.total / 2)) return;
  const auto groups = static_cast<std::uint32_t>(to.blocks / 16);
  const std::uint32_t row = item / 8 / groups;
  const std::uint32_t group = item / 8 - row * groups;
  const unsigned lane = item % 8;
  const std::uint32_t first = group * 128 + lane / 4 * 32 + lane % 4 * 4;
  const std::int64_t place = static_cast<std::int64_t>(row) * to.length + first;
  const auto there = [&](unsigned run) { return whole || first + run_offset(run) < to.length; };

  float4 values[runs];
#pragma unroll
  for (unsigned run = 0; run < runs; ++run) {
    values[run] = there(run) ? *reinterpret_cast<const float4*>(to.dy.values + place + run_offset(run))
                             : make_float4(0, 0, 0, 0);
  }
  float lift = 1;
  float inverse = 1;
  if constexpr (!by_channel) {
    const ops::Rounding& rounding = to.roundings[row / to.per];
    lift = rounding.lift;
    inverse = rounding.inverse;
  }
  const std::uint32_t flip = to.flip * 0x01010101U;
  const std::uint32_t channel = by_channel || to.factors != nullptr ? first % to.m : 0;
  const RunDraws draws(to.draws.now(), item * 2);
#pragma unroll
  for (unsigned run = 0; run < runs; ++run) {
    std::uint32_t c = channel + run_offset(run);
    if (c >= to.m) c %= to.m;
    std::uint32_t steps[4];
    find_steps<by_channel>(to, values[run], lift, inverse, c, steps);
    const std::uint32_t bytes = draws.bytes(run, steps) ^ flip;
    if (there(run)) *reinterpret_cast<std::uint32_t*>(to.bytes + place + run_offset(run)) = bytes;
  }
}

/// 0xFF where bytes of `places`, all below 128, differ from `place`.
__device__ inline std::uint32_t differing(std::uint32_t places, unsigned place) {
  const std::uint32_t high = ((places ^ place * 0x01010101U) + 0x7F7F7F7FU) & 0x80808080U;
  return (high >> 7) * 0xFF;
}

/// The same of windows of two by two pixels: what was the largest is rounded with the draw of the pixel that
/// it came from, and the others' bytes are 0. Thread: [window][128 channels][8]; with one run, whose draws
/// are then taken for it alone, [window][4 channels].
template <bool by_channel, unsigned count>
__global__ void __launch_bounds__(256) round_windows(Quantization to) {
  static_assert(count == runs || count == 1);
  const std::uint32_t item = blockIdx.x * 256 + threadIdx.x;
  if (item >= static_cast<std::uint32_t>(to.total)) return;
  const auto columns = static_cast<std::uint32_t>(to.dy.pooled_columns);
  const auto rows = static_cast<std::uint32_t>(to.dy.pooled_rows);
  const std::uint32_t window = item / (to.m / (count * 4));
  const std::uint32_t vector = item - window * (to.m / (count * 4));
  const std::uint32_t line = window / columns;
  const std::uint32_t column = window - line * columns;
  const std::uint32_t image = line / rows;
  const std::uint32_t channel =
      count == 1 ? vector * 4 : vector / 8 * 128 + vector % 8 / 4 * 32 + vector % 4 * 4;

  const std::int64_t from = static_cast<std::int64_t>(window) * to.m + channel;
  float4 values[count];
  std::uint32_t places[count];
#pragma unroll
  for (unsigned run = 0; run < count; ++run) {
    values[run] = *reinterpret_cast<const float4*>(to.dy.values + from + run_offset(run));
    places[run] = *reinterpret_cast<const std::uint32_t*>(to.dy.places + from + run_offset(run));
  }
  float lift = 1;
  float inverse = 1;
  if constexpr (!by_channel) {
    lift = to.roundings[image].lift;
    inverse = to.roundings[image].inverse;
  }
  std::uint32_t steps[count][4];
  std::uint32_t all = 0;
#pragma unroll
  for (unsigned run = 0; run < count; ++run) {
    find_steps<by_channel>(to, values[run], lift, inverse, channel + run_offset(run), steps[run]);
    all |= places[run];
  }
  if ((all & 0xFCFCFCFCU) != 0) report(to.reports, Report::place);
  const std::uint32_t flip = to.flip * 0x01010101U;
  const Draws now = to.draws.now();
  const std::uint32_t first_row = image * static_cast<std::uint32_t>(to.dy.rows) + (line - image * rows) * 2;
#pragma unroll
  for (unsigned place = 0; place < 4; ++place) {
    const std::uint32_t row = first_row + place / 2;
    const std::uint32_t element = (column * 2 + place % 2) * to.m + channel;  // of the row
    const RunDraws draws(now, row * static_cast<std::uint32_t>(to.blocks) + element / 128 * 16 +
                                  element / 32 % 2 * 8 + element % 16 / 2);
    std::uint8_t* const bytes = to.bytes + static_cast<std::int64_t>(row) * to.length + element;
#pragma unroll
    for (unsigned run = 0; run < count; ++run) {
      const unsigned of_draws = count == 1 ? element / 64 % 2 * 2 + element / 16 % 2 : run;
      const std::uint32_t q = draws.bytes(of_draws, steps[run]) ^ flip;
      *reinterpret_cast<std::uint32_t*>(bytes + run_offset(run)) = q & ~differing(places[run], place);
    }
  }
}

/// Starts it; the members for draws are set here.
void run(Quantization to, std::int64_t rows) {
  to.blocks = ops::draw_blocks(to.length);
  to.total = rows * to.blocks;
  to.reports = report_words();
  const OutputGradient& dy = to.dy;
  const bool pooled = dy.places != nullptr;
  const bool by_channel = to.per == 0;
  const auto start = [&](auto kernel, std::int64_t threads) {
    launch(kernel, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(threads, 256))), dim3(256), 0, to);
  };
  const bool vectors = to.outputs == 0 && to.length < std::int64_t{1} << 31 &&
                       aligned(dy.values, sizeof(float4)) && aligned(to.bytes, 4) &&
                       aligned(to.factors, sizeof(float4));
  if (!pooled && vectors && to.length % 16 == 0 &&
      (to.m % 16 == 0 || (!by_channel && to.factors == nullptr))) {
    if (to.length % 128 == 0) {
      start(by_channel ? round_runs<true, true> : round_runs<false, true>, to.total / 2);
    } else {
      start(by_channel ? round_runs<true, false> : round_runs<false, false>, to.total / 2);
    }
    return;
  }
  const bool squares = dy.window_rows == 2 && dy.window_columns == 2;
  if (pooled && vectors && squares && to.m % 16 == 0 && aligned(dy.places, 4)) {
    const bool covered = dy.rows == 2 * dy.pooled_rows && to.length == 2 * dy.pooled_columns * to.m;
    if (!covered) fill(to.bytes, 0, static_cast<std::size_t>(rows * to.length));
    const std::int64_t windows = rows / dy.rows * dy.pooled_rows * dy.pooled_columns;
    if (to.m % 128 == 0) {
      to.total = windows * to.m / 16;
      start(by_channel ? round_windows<true, runs> : round_windows<false, runs>, to.total);
    } else {
      to.total = windows * to.m / 4;
      start(by_channel ? round_windows<true, 1> : round_windows<false, 1>, to.total);
    }
    return;
  }
  to.pairs = aligned(to.bytes, 2) && to.m % 2 == 0 && (to.outputs == 0 || to.outputs % 2 == 0);
  start(pooled ? round_elements<true> : round_elements<false>, to.total);
}

}  // namespace

RoundedOutputs::RoundedOutputs(const ops::Conv2d& conv, const OutputGradient& dy, bool by_sample,
                               const float* factors, int levels, const Draws& draws)
    : outputs_(conv.m / conv.geometry.groups),
      padded_(padded_to_segments(outputs_)),
      pixel_bytes_(padded_ * conv.geometry.groups),
      roundings_(by_sample ? conv.n : conv.m),
      bytes_(conv.n * conv.oh * conv.ow * pixel_bytes_) {
  const Scratch<float> multipliers(by_sample ? 1 : 2 * conv.m);
  // The zeros between what was the largest of its window are no larger.
  const std::int64_t pixels = dy.places == nullptr ? conv.oh * conv.ow : dy.pooled_rows * dy.pooled_columns;
  find_roundings(dy.values, factors, conv.n, conv.n * pixels, conv.m, by_sample, levels, roundings_.data(),
                 by_sample ? nullptr : multipliers.data(), nullptr);
  const bool same = padded_ == outputs_;
  if (!same) fill(bytes_.data(), 0, static_cast<std::size_t>(bytes_.count()));
  run({.dy = dy,
       .blocks = 0,
       .total = 0,
       .length = conv.ow * conv.m,
       .m = static_cast<std::uint32_t>(conv.m),
       .roundings = roundings_.data(),
       .per = static_cast<std::uint32_t>(by_sample ? conv.oh : 0),
       .multipliers = multipliers.data(),
       .factors = factors,
       .draws = VaryingDraws(draws),
       .most = static_cast<float>(levels) * 0x1p16F,
       .flip = 0x80,
       .outputs = same ? 0 : static_cast<std::uint32_t>(outputs_),
       .padded = static_cast<std::uint32_t>(padded_),
       .pixel_bytes = pixel_bytes_,
       .row_bytes = conv.ow * pixel_bytes_,
       .pairs = false,
       .bytes = bytes_.data(),
       .reports = nullptr},
      conv.n * conv.oh);
}

void quantize_gradient(const float* x, std::int64_t rows, std::int64_t length, std::int64_t channels,
                       std::int64_t per, int levels, const Draws& draws, std::uint8_t* codes, float* scales) {
  const bool by_sample = per > 0;
  const std::int64_t samples = by_sample ? rows / per : 0;
  const Scratch<ops::Rounding> roundings(by_sample ? samples : channels);
  const Scratch<float> multipliers(by_sample ? 1 : 2 * channels);
  find_roundings(x, nullptr, samples, rows * length / channels, channels, by_sample, levels, roundings.data(),
                 by_sample ? nullptr : multipliers.data(), scales);
  run({.dy = x,
       .blocks = 0,
       .total = 0,
       .length = length,
       .m = static_cast<std::uint32_t>(channels),
       .roundings = roundings.data(),
       .per = static_cast<std::uint32_t>(per),
       .multipliers = multipliers.data(),
       .factors = nullptr,
       .draws = VaryingDraws(draws),
       .most = static_cast<float>(levels) * 0x1p16F,
       .flip = 0,
       .outputs = 0,
       .padded = 0,
       .pixel_bytes = 0,
       .row_bytes = 0,
       .pairs = false,
       .bytes = codes,
       .reports = nullptr},
      rows);
}

void check_codes(const std::uint8_t* codes, std::int64_t n, int bits) {
  if (bits >= 8) return;
  std::uint32_t* const reports = report_words();
  const std::uint32_t above = 0x01010101U * (0xFFU << bits & 0xFF);
  const std::int64_t vectors = reinterpret_cast<std::uintptr_t>(codes) % sizeof(uint4) == 0 ? n / 16 : 0;
  for_each(vectors + (n - vectors * 16), [=] __device__(std::int64_t i) {
    std::uint32_t all = 0;
    if (i < vectors) {
      const uint4 words = reinterpret_cast<const uint4*>(codes)[i];
      all = words.x | words.y | words.z | words.w;
    } else {
      all = codes[vectors * 16 + i - vectors];
    }
    if ((all & above) != 0) report(reports, Report::code);
  });
}

void fill_floats(float* x, float value, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { x[i] = value; });
}

void subtract_one(float* x, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { x[i] -= 1.0F; });
}

void add_to_rows(const float* sums, float* dw, std::int64_t m, std::int64_t k) {
  for_each(m * k, [=] __device__(std::int64_t i) { dw[i] += sums[divide(i, k).quotient]; });
}

}  // namespace hardbit::cuda
