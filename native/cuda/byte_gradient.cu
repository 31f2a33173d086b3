#include <algorithm>

#include "cuda/byte_gradient.h"
#include "cuda/byte_product.h"
#include "cuda/kernel.h"
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

/// most[column] ← the same over columns of x [rows][columns]; a block takes up to 256 columns of some rows.
__global__ void __launch_bounds__(256)
    column_magnitudes(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t block_rows,
                      std::int64_t column_blocks, unsigned* most) {
  __shared__ unsigned largest[256];
  const auto [part, column_block] = divide(blockIdx.x, column_blocks);
  const std::int64_t first = column_block * 256;
  const auto width = static_cast<unsigned>(min(columns - first, std::int64_t{256}));
  largest[threadIdx.x] = 0;
  __syncthreads();
  const unsigned step = 256 / width;
  const unsigned column = threadIdx.x % width;
  if (threadIdx.x < step * width) {
    const std::int64_t end = min(rows, (part + 1) * block_rows);
    unsigned mine = 0;
#pragma unroll 4
    for (std::int64_t row = part * block_rows + threadIdx.x / width; row < end; row += step)
      mine = max(mine, magnitude_bits(x[row * columns + first + column]));
    atomicMax(largest + column, mine);
  }
  __syncthreads();
  if (threadIdx.x < width) atomicMax(most + first + threadIdx.x, largest[threadIdx.x]);
}

/// What is rounded with, one a sample (by_sample) or channel; inverse is in units of 2^-16. `scales` may be
/// null.
void find_roundings(const float* x, const float* factors, std::int64_t samples, std::int64_t rows,
                    std::int64_t channels, bool by_sample, int levels, ops::Rounding* roundings,
                    float* scales) {
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
    constexpr std::int64_t block_elements = 1 << 14;
    const std::int64_t block_rows =
        std::max<std::int64_t>(block_elements / std::min<std::int64_t>(channels, 256), 1);
    const std::int64_t column_blocks = ceil_div<std::int64_t>(channels, 256);
    launch(column_magnitudes, dim3(static_cast<unsigned>(ceil_div(rows, block_rows) * column_blocks)),
           dim3(256), 0, x, rows, channels, block_rows, column_blocks, most);
  }
  for_each(count, [=] __device__(std::int64_t i) {
    ops::Rounding r = ops::rounding(most[i], levels);
    if (scales != nullptr) scales[i] = r.scale * r.drop;
    r.inverse *= 0x1p16F;
    roundings[i] = r;
  });
}

/// How elements are rounded, and where the bytes go.
struct Quantization {
  const float* x;              // [rows][length]
  std::int64_t blocks, total;  // of draws: of a row, of all
  std::int64_t length;
  std::uint32_t m;
  const ops::Rounding* roundings;
  std::uint32_t per;     // rows that share one; 0: one a channel
  const float* factors;  // of channels; may be null
  Draws draws;
  float most;
  unsigned flip;  // 0x80 for q, 0 for q + 128
  /// 0: bytes as elements. Else elements are pixels of groups of `outputs` channels, padded to `padded`
  /// bytes.
  std::uint32_t outputs, padded;
  std::int64_t pixel_bytes, row_bytes;
  bool pairs;  // elements 2i and 2i + 1 of a row lie side by side at even places
  std::uint8_t* bytes;
};

/// One block of draws a thread: its eight halves of words, for four pairs of elements
/// (ops/binary_gradient.h).
__global__ void __launch_bounds__(256) round_elements(Quantization to) {
  const std::int64_t block = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (block >= to.total) return;
  const auto [row, in_row] = divide(block, to.blocks);
  const auto lane = static_cast<int>(in_row % 16);
  const std::int64_t first = in_row / 16 * 128 + lane / 8 * 32 + lane % 8 * 2;
  if (first >= to.length) return;
  const Philox::Block words =
      Philox(to.draws.key).row_block(static_cast<std::uint32_t>(block), to.draws.step, to.draws.stream);
  ops::Rounding rounding{};
  if (to.per != 0) rounding = to.roundings[divide(row, to.per).quotient];
  const bool channels = to.per == 0 || to.factors != nullptr || to.outputs != 0;
  const auto [pixel, channel] = channels ? divide(first, to.m) : Division{0, 0};
  const float* const x = to.x + row * to.length;

  /// q + 128 of element i, which is of channel c.
  const auto rounded = [&](float value, std::uint32_t c, std::uint32_t draw) {
    if (to.per == 0) rounding = to.roundings[c];
    float factor = rounding.lift;
    if (to.factors != nullptr) factor *= to.factors[c];
    float t = value * factor * rounding.inverse;
    t = t < to.most ? t : to.most;
    t = t > -to.most ? t : -to.most;
    // 2^23 is 128 steps of 2^16; the sum is below 2^24, where floats are whole numbers and their halves.
    return ((static_cast<std::uint32_t>(__float2int_rz(t + 0x1p23F)) + draw) >> 16 & 0xFF) ^ to.flip;
  };

  /// Where the byte of element i goes, which is of channel c of pixel p of the row.
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
      const float2 values = *reinterpret_cast<const float2*>(x + i);
      const std::uint32_t low = rounded(values.x, c, even);
      const std::uint32_t high = rounded(values.y, c + 1, odd);
      *reinterpret_cast<std::uint16_t*>(place(at_pixel, c, i)) = static_cast<std::uint16_t>(low | high << 8);
      continue;
    }
    *place(at_pixel, c, i) = static_cast<std::uint8_t>(rounded(x[i], c, even));
    if (i + 1 >= to.length) continue;
    if (channels && ++c == to.m) {
      c = 0;
      ++at_pixel;
    }
    *place(at_pixel, c, i + 1) = static_cast<std::uint8_t>(rounded(x[i + 1], c, odd));
  }
}

/// Starts it; the members for draws are set here.
void run(Quantization to, std::int64_t rows) {
  to.blocks = ops::draw_blocks(to.length);
  to.total = rows * to.blocks;
  const bool aligned = reinterpret_cast<std::uintptr_t>(to.x) % sizeof(float2) == 0 &&
                       reinterpret_cast<std::uintptr_t>(to.bytes) % 2 == 0;
  to.pairs = aligned && to.m % 2 == 0 && (to.outputs == 0 || to.outputs % 2 == 0);
  launch(round_elements, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(to.total, 256))), dim3(256), 0,
         to);
}

}  // namespace

RoundedOutputs::RoundedOutputs(const ops::Conv2d& conv, const float* dy, bool by_sample, const float* factors,
                               int levels, const Draws& draws)
    : outputs_(conv.m / conv.geometry.groups),
      padded_(padded_to_segments(outputs_)),
      pixel_bytes_(padded_ * conv.geometry.groups),
      roundings_(by_sample ? conv.n : conv.m),
      bytes_(conv.n * conv.oh * conv.ow * pixel_bytes_) {
  find_roundings(dy, factors, conv.n, conv.n * conv.oh * conv.ow, conv.m, by_sample, levels,
                 roundings_.data(), nullptr);
  const bool same = padded_ == outputs_;
  if (!same) fill(bytes_.data(), 0, static_cast<std::size_t>(bytes_.count()));
  run({.x = dy,
       .blocks = 0,
       .total = 0,
       .length = conv.ow * conv.m,
       .m = static_cast<std::uint32_t>(conv.m),
       .roundings = roundings_.data(),
       .per = static_cast<std::uint32_t>(by_sample ? conv.oh : 0),
       .factors = factors,
       .draws = draws,
       .most = static_cast<float>(levels) * 0x1p16F,
       .flip = 0x80,
       .outputs = same ? 0 : static_cast<std::uint32_t>(outputs_),
       .padded = static_cast<std::uint32_t>(padded_),
       .pixel_bytes = pixel_bytes_,
       .row_bytes = conv.ow * pixel_bytes_,
       .pairs = false,
       .bytes = bytes_.data()},
      conv.n * conv.oh);
}

void quantize_gradient(const float* x, std::int64_t rows, std::int64_t length, std::int64_t channels,
                       std::int64_t per, int levels, const Draws& draws, std::uint8_t* codes, float* scales) {
  const bool by_sample = per > 0;
  const std::int64_t samples = by_sample ? rows / per : 0;
  const Scratch<ops::Rounding> roundings(by_sample ? samples : channels);
  find_roundings(x, nullptr, samples, rows * length / channels, channels, by_sample, levels, roundings.data(),
                 scales);
  run({.x = x,
       .blocks = 0,
       .total = 0,
       .length = length,
       .m = static_cast<std::uint32_t>(channels),
       .roundings = roundings.data(),
       .per = static_cast<std::uint32_t>(per),
       .factors = nullptr,
       .draws = draws,
       .most = static_cast<float>(levels) * 0x1p16F,
       .flip = 0,
       .outputs = 0,
       .padded = 0,
       .pixel_bytes = 0,
       .row_bytes = 0,
       .pairs = false,
       .bytes = codes},
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
