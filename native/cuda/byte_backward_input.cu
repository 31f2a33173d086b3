#include <algorithm>
#include <numeric>

#include "cuda/byte_gradient.h"
#include "cuda/byte_product.h"
#include "cuda/kernel.h"
#include "cuda/sign_gradient.h"
#include "runtime/words.h"

// dx[place][c] = Σ q[place moved by the tap][m]·w[c][tap][m]: each place of x sums the outputs whose windows
// reach it. With a stride the places fall into phases, each with its own taps, and each phase is a plain
// convolution.

namespace hardbit::cuda {
namespace {

/// One axis of an input. Its places i with (i + before) mod stride = r meet the taps a with a·dilation mod
/// stride = r, `tap_step` apart, at outputs `output_step` apart: a plain convolution of its own, the phase of
/// its smallest place.
struct Axis {
  std::uint32_t size, taps, stride, dilation, before, outputs;
  std::uint32_t tap_step, output_step;

  static Axis of(std::int64_t size, std::int64_t taps, std::int64_t stride, std::int64_t dilation,
                 std::int64_t before, std::int64_t outputs) {
    const std::int64_t common = std::gcd(stride, dilation);
    const auto word = [](std::int64_t n) { return static_cast<std::uint32_t>(n); };
    return {word(size),   word(taps),    word(stride),          word(dilation),
            word(before), word(outputs), word(stride / common), word(dilation / common)};
  }
  std::int64_t phases() const { return std::min(stride, size); }
  /// Places of the longest phase, which is the first.
  std::int64_t most_places() const { return (std::int64_t{size} + stride - 1) / stride; }
};

struct Phase {
  std::uint32_t places, first_tap, taps;
  /// What place 0 and its first tap read; as all outputs modulo 2^32, where those before the first are too
  /// large.
  std::uint32_t output;

  __device__ Phase(const Axis& axis, std::uint32_t first)
      : places((axis.size - 1 - first) / axis.stride + 1), first_tap(0), taps(0), output(0) {
    const std::uint32_t remainder = (first + axis.before) % axis.stride;
    const std::uint32_t end = min(axis.taps, axis.tap_step);
    while (first_tap < end && first_tap * axis.dilation % axis.stride != remainder) ++first_tap;
    if (first_tap >= end) return;
    taps = (axis.taps - 1 - first_tap) / axis.tap_step + 1;
    output = (first + axis.before) / axis.stride - first_tap * axis.dilation / axis.stride;
  }
};

struct InputGradient {
  const std::uint8_t* q;
  const std::uint8_t* w;  // [group][channel][tap][padded]
  Axis rows, columns;
  std::int64_t n;
  std::int64_t groups, channels;     // of a group
  std::int64_t padded, pixel_bytes;  // of dy
  std::uint32_t channel_tiles;       // of a group
  const ops::Rounding* roundings;    // of images
  float scale;
  bool pairs;  // channels 2i and 2i + 1 lie side by side at even places
  float* dx;
};

/// A row of the tile: a place of dx.
struct Place {
  std::int64_t image;         // its first pixel of dy; −1: no place
  std::uint32_t row, column;  // of dy, read by the first tap
  std::int64_t out;
  float scale, drop;
};

constexpr int place_rows = 128;

/// bytes [place][tap, m] and w [channel][tap, m].
template <int width>
struct InputSource {
  using Layout = AlongRows;
  static constexpr int rows = place_rows;
  static constexpr int columns = width;
  static constexpr int threads = threads_of(rows, columns);

  const InputGradient& job;
  const Place* places;
  const std::uint8_t* w;  // of the tile's first channel
  std::int64_t w_pitch;   // of a channel
  std::int64_t rows_used;
  int columns_used;
  std::uint32_t down_taps, across_taps, first_tap, first_column_tap;
  std::int64_t group;  // where it begins in a pixel
  // The next chunk's byte of this thread.
  std::uint32_t down = 0, across = 0;
  std::int64_t channel;

  __device__ static void multiply(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                  std::uint32_t b1) {
    mma_signed_bytes(c, a, b0, b1);
  }

  /// Steps on to the tap that `channel` leads to.
  __device__ void settle() {
    while (channel >= job.padded && down < down_taps) {
      channel -= job.padded;
      if (++across == across_taps) {
        across = 0;
        ++down;
      }
    }
  }

  __device__ void prepare(int) {}

  __device__ void load(int, unsigned char* a, unsigned char* b) {
    const int part = static_cast<int>(threadIdx.x % 4);
    const int first = static_cast<int>(threadIdx.x / 4);
    const bool inside = down < down_taps;
#pragma unroll
    for (int row = first; row < rows; row += threads / 4) {
      const Place& place = places[row];
      const std::uint32_t i = place.row - down * job.rows.output_step;
      const std::uint32_t j = place.column - across * job.columns.output_step;
      const bool there = inside && place.image >= 0 && i < job.rows.outputs && j < job.columns.outputs;
      const std::int64_t pixel = place.image + static_cast<std::int64_t>(i) * job.columns.outputs + j;
      copy_async<segment>(a + Layout::offset(row, part),
                          there ? job.q + pixel * job.pixel_bytes + group + channel : job.q, there);
    }
    const std::int64_t tap =
        static_cast<std::int64_t>(first_tap + down * job.rows.tap_step) * job.columns.taps +
        first_column_tap + across * job.columns.tap_step;
#pragma unroll
    for (int row = first; row < columns; row += threads / 4) {
      const bool there = inside && row < columns_used;
      copy_async<segment>(b + Layout::offset(row, part),
                          there ? w + row * w_pitch + tap * job.padded + channel : job.w, there);
    }
    channel += chunk_bytes;
    settle();
  }
};

template <int width>
constexpr std::size_t input_shared = stages* stage_bytes(place_rows, width) + place_rows * sizeof(Place);

/// Block x: [tile of places][group][tile of channels]; y and z: the phases of rows and columns.
template <int width>
__global__ void __launch_bounds__(threads_of(place_rows, width), width == 128 ? 2 : 3)
    input_gradient(InputGradient job) {
  const Phase down(job.rows, blockIdx.y);
  const Phase across(job.columns, blockIdx.z);
  const Division tile = divide(blockIdx.x, job.channel_tiles);
  const Division of_group = divide(tile.quotient, job.groups);
  const std::int64_t group = of_group.remainder;
  const std::int64_t first_place = of_group.quotient * place_rows;
  const std::int64_t image_places = static_cast<std::int64_t>(down.places) * across.places;
  if (first_place >= job.n * image_places) return;

  auto* const memory = dynamic_shared<unsigned char>();
  auto* const places = reinterpret_cast<Place*>(memory + stages * stage_bytes(place_rows, width));
  const std::int64_t first_channel = tile.remainder * width;
  for (unsigned i = threadIdx.x; i < place_rows; i += threads_of(place_rows, width)) {
    Place place{.image = -1, .row = 0, .column = 0, .out = -1, .scale = 0, .drop = 0};
    const auto [image, in_image] = divide(first_place + i, image_places);
    if (image < job.n) {
      const auto [row, column] = divide(in_image, across.places);
      const ops::Rounding& rounding = job.roundings[image];
      place.image = image * job.rows.outputs * job.columns.outputs;
      place.row = static_cast<std::uint32_t>(row) + down.output;
      place.column = static_cast<std::uint32_t>(column) + across.output;
      place.out = ((image * job.rows.size + blockIdx.y + row * job.rows.stride) * job.columns.size +
                   blockIdx.z + column * job.columns.stride) *
                      job.groups * job.channels +
                  group * job.channels + first_channel;
      place.scale = rounding.scale * job.scale;
      place.drop = rounding.drop;
    }
    places[i] = place;  // seen by others behind accumulate()'s first barrier
  }

  const std::int64_t w_pitch = static_cast<std::int64_t>(job.rows.taps) * job.columns.taps * job.padded;
  const auto used = static_cast<int>(min(job.channels - first_channel, std::int64_t{width}));
  InputSource<width> source{.job = job,
                            .places = places,
                            .w = job.w + (group * job.channels + first_channel) * w_pitch,
                            .w_pitch = w_pitch,
                            .rows_used = job.n * image_places - first_place,
                            .columns_used = used,
                            .down_taps = across.taps == 0 ? 0 : down.taps,
                            .across_taps = across.taps,
                            .first_tap = down.first_tap,
                            .first_column_tap = across.first_tap,
                            .group = group * job.padded,
                            .channel = static_cast<std::int64_t>(threadIdx.x % 4) * segment};
  source.settle();
  const std::int64_t bytes = static_cast<std::int64_t>(down.taps) * across.taps * job.padded;
  Sums sums;
  accumulate(source, static_cast<int>(ceil_div<std::int64_t>(bytes, chunk_bytes)), memory, sums);

  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int first_row = warp / (width / warp_columns) * warp_rows;
  const int first_column = warp % (width / warp_columns) * warp_columns + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Place& place = places[first_row + AlongRows::row(i, half, lane / 4)];
      if (place.out < 0) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int column = first_column + AlongRows::column(j, 0);
        if (column >= used) continue;
        const float low = static_cast<float>(sums[i][j][2 * half]) * place.scale * place.drop;
        const float high = static_cast<float>(sums[i][j][2 * half + 1]) * place.scale * place.drop;
        float* const out = job.dx + place.out + column;
        if (job.pairs) {
          *reinterpret_cast<float2*>(out) = make_float2(low, high);
        } else {
          out[0] = low;
          if (column + 1 < used) out[1] = high;
        }
      }
    }
  }
}

/// Planes with a coefficient other than 0: at most 64, as their magnitudes add up to no more.
struct Planes {
  const std::uint64_t* bits;
  int count;
  std::int64_t first_row[64];
  std::int8_t coefficients[64];
};

/// w [group][channel][tap][padded], Σ_p c_p·s_p, zeros where padded. A warp takes 32 output channels, one a
/// lane, by 32 columns [tap][channel].
__global__ void __launch_bounds__(256)
    input_weights(Planes planes, std::int64_t groups, std::int64_t outputs, std::int64_t padded,
                  std::int64_t channels, std::int64_t taps, std::uint8_t* w) {
  const std::int64_t k = taps * channels;
  const std::int64_t column_blocks = ceil_div<std::int64_t>(k, 32);
  const std::int64_t output_blocks = ceil_div<std::int64_t>(padded, 32);
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * 8 + threadIdx.x / 32;
  if (item >= groups * output_blocks * column_blocks) return;
  const Division columns = divide(item, column_blocks);
  const Division rows = divide(columns.quotient, output_blocks);
  const std::int64_t group = rows.quotient;
  const std::int64_t m = rows.remainder * 32 + threadIdx.x % 32;
  if (m >= padded) return;
  int sums[32] = {};
  if (m < outputs) {
    for (int p = 0; p < planes.count; ++p) {
      const auto* const row = reinterpret_cast<const std::uint32_t*>(
          planes.bits + (planes.first_row[p] + group * outputs + m) * words(k));
      const std::uint32_t bits = row[columns.remainder];
      const int c = planes.coefficients[p];
#pragma unroll
      for (int i = 0; i < 32; ++i) sums[i] += (bits >> i & 1) != 0 ? c : -c;
    }
  }
  const Division first = divide(columns.remainder * 32, channels);
  std::int64_t tap = first.quotient;
  std::int64_t channel = first.remainder;
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    if (tap < taps) {
      w[((group * channels + channel) * taps + tap) * padded + m] = static_cast<std::uint8_t>(sums[i]);
    }
    if (++channel == channels) {
      channel = 0;
      ++tap;
    }
  }
}

}  // namespace

void byte_backward_input(const ops::Conv2d& conv, const OutputGradient& dy, const float* channel_scales,
                         const std::uint64_t* planes, std::span<const int> coefficients, float scale,
                         const Draws& draws, float* dx) {
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  const std::int64_t channels = conv.group_channels();
  const RoundedOutputs q(conv, dy, true, channel_scales, 127, draws);

  Planes with{.bits = planes, .count = 0, .first_row = {}, .coefficients = {}};
  for (std::size_t p = 0; p < coefficients.size(); ++p) {
    if (coefficients[p] == 0) continue;
    with.first_row[with.count] = static_cast<std::int64_t>(p) * conv.m;
    with.coefficients[with.count++] = static_cast<std::int8_t>(coefficients[p]);
  }
  if (with.count == 1 && sign_backward_input(conv, q, planes + with.first_row[0] * words(conv.k()),
                                             with.coefficients[0], scale, dx)) {
    return;
  }
  const std::int64_t taps = conv.kh * conv.kw;
  const Scratch<std::uint8_t> w(conv.c * taps * q.padded());
  const std::int64_t items =
      groups * ceil_div<std::int64_t>(q.padded(), 32) * ceil_div<std::int64_t>(conv.k(), 32);
  launch(input_weights, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(items, 8))), dim3(256), 0, with,
         groups, q.outputs(), q.padded(), channels, taps, w.data());

  InputGradient job{.q = q.data(),
                    .w = w.data(),
                    .rows = Axis::of(conv.h, conv.kh, stride[0], dilation[0], padding[0], conv.oh),
                    .columns = Axis::of(conv.w, conv.kw, stride[1], dilation[1], padding[2], conv.ow),
                    .n = conv.n,
                    .groups = groups,
                    .channels = channels,
                    .padded = q.padded(),
                    .pixel_bytes = q.pixel_bytes(),
                    .channel_tiles = 0,
                    .roundings = q.roundings(),
                    .scale = scale,
                    .pairs = channels % 2 == 0 && reinterpret_cast<std::uintptr_t>(dx) % sizeof(float2) == 0,
                    .dx = dx};
  const std::int64_t place_tiles =
      ceil_div<std::int64_t>(conv.n * job.rows.most_places() * job.columns.most_places(), place_rows);
  const std::int64_t phases = job.rows.phases() * job.columns.phases();
  const auto start = [&](auto kernel, std::int64_t width, std::size_t shared) {
    job.channel_tiles = static_cast<std::uint32_t>(ceil_div(channels, width));
    launch(kernel,
           dim3(static_cast<unsigned>(place_tiles * groups * job.channel_tiles),
                static_cast<unsigned>(job.rows.phases()), static_cast<unsigned>(job.columns.phases())),
           dim3(static_cast<unsigned>(threads_of(place_rows, static_cast<int>(width)))), shared, job);
  };
  // Wide tiles read less; narrow ones are more of them.
  const std::int64_t wide = place_tiles * phases * groups * ceil_div<std::int64_t>(channels, 128);
  if (channels > 64 && wide >= driver::device().multiprocessors) {
    start(input_gradient<128>, 128, input_shared<128>);
  } else {
    start(input_gradient<64>, 64, input_shared<64>);
  }
}

}  // namespace hardbit::cuda
