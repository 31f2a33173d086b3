#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "cpu/byte_gradient.h"
#include "cpu/product/bit_string.h"
#include "runtime/division.h"
#include "runtime/threads.h"

// The gradient of a convolution's input is a convolution of dy: each input place sums the outputs whose
// windows reach it. With a stride the places fall into phases, each with its own taps, and each phase is a
// plain stride-1 convolution of dy. dy is rounded to bytes q + 128 into images that are padded with 128,
// which is zero; S = Σ (q + 128)·w, so 128·Σw is taken off again.

namespace hardbit::cpu {
namespace {

using ops::Conv2d;

/// Channels of dy are padded to what segments are made of: two words.
constexpr std::int64_t segment_bytes = 8;
constexpr std::uint8_t zero_byte = 128;

}  // namespace

InputGradientWeights::InputGradientWeights(const ByteKernels& kernels, const Conv2d& conv,
                                           const std::uint64_t* planes, std::span<const int> coefficients)
    : rows(conv.h, conv.kh, conv.geometry.stride[0], conv.geometry.dilation[0], conv.geometry.padding[0]),
      columns(conv.w, conv.kw, conv.geometry.stride[1], conv.geometry.dilation[1], conv.geometry.padding[2]),
      group_bytes(round_up(conv.m / conv.geometry.groups, segment_bytes)),
      pixel_bytes(group_bytes * conv.geometry.groups),
      row_pixels(columns.output(conv.w - 1) - columns.output(0) + columns.reach + 1),
      first_column(columns.output(0) - columns.reach),
      groups_(conv.geometry.groups) {
  for (const InputAxis::Phase& down : rows.phases) {
    for (const InputAxis::Phase& across : columns.phases) {
      for (std::int64_t g = 0; g < groups_; ++g)
        parts_.push_back(make_part(kernels, conv, planes, coefficients, down, across, g));
    }
  }
}

InputGradientWeights::Part InputGradientWeights::make_part(const ByteKernels& kernels, const Conv2d& conv,
                                                           const std::uint64_t* planes,
                                                           std::span<const int> coefficients,
                                                           const InputAxis::Phase& down,
                                                           const InputAxis::Phase& across,
                                                           std::int64_t group) const {
  Part part{.packed = {}, .offsets = {}, .segments = {}, .segment_words = 0};
  const auto taps = static_cast<std::int64_t>(down.taps.size() * across.taps.size());
  if (taps == 0) return part;

  // The taps of a row lie side by side where their outputs do.
  const bool together =
      groups_ == 1 && columns.step(across.taps.front()) - columns.step(across.taps.back()) ==
                          static_cast<std::int64_t>(across.taps.size()) - 1;
  for (const std::int64_t a : down.taps) {
    for (const std::int64_t b : across.taps) {
      part.segments.push_back(group * group_bytes -
                              (rows.step(a) * row_pixels + columns.step(b)) * pixel_bytes);
      if (together) break;
    }
  }
  part.segment_words =
      (together ? static_cast<std::int64_t>(across.taps.size()) : std::int64_t{1}) * group_bytes / 4;

  // Bytes [channel][tap][output channel], the kernel's order of K.
  const std::int64_t channels = conv.group_channels();
  const std::int64_t outputs = conv.m / groups_;
  const std::int64_t k = taps * group_bytes;
  const std::int64_t row_words = words(conv.k());
  const Tensor matrix = Tensor::zeros(DType::u8, {channels, k});
  part.offsets = Tensor::zeros(DType::i32, {round_up(channels, kernels.product.nr)});
  const std::int64_t blocks = divide_up(channels, 64);
  const bool signs = coefficients.size() == 1 && coefficients[0] == 1;
  // The bits of 64 channels, and the bytes of one plane of them, for each block.
  const Tensor bits = Tensor::empty(DType::u8, {blocks, outputs * 8});
  const Tensor plane = Tensor::empty(DType::u8, {signs ? 0 : blocks, 64 * outputs});
  parallel_for(blocks, element_grain / (64 * k) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t first = block * 64;
      const std::int64_t width = std::min<std::int64_t>(64, channels - first);
      std::uint8_t* const bytes = matrix.data<std::uint8_t>() + first * k;
      auto* const filters = reinterpret_cast<std::uint64_t*>(bits.data<std::uint8_t>() + block * outputs * 8);
      std::int64_t tap = 0;
      for (const std::int64_t a : down.taps) {
        for (const std::int64_t b : across.taps) {
          const std::int64_t at = (a * conv.kw + b) * channels + first;
          std::uint8_t* const out = bytes + tap++ * group_bytes;
          for (std::size_t p = 0; p < coefficients.size(); ++p) {
            const std::uint64_t* row =
                planes + (static_cast<std::int64_t>(p) * conv.m + group * outputs) * row_words;
            for (std::int64_t m = 0; m < outputs; ++m, row += row_words)
              filters[m] = read_bits(row, at, width);
            if (signs) {
              kernels.gradient.unpack(filters, 1, outputs, width, 0xFF, 1, out, k);
              continue;
            }
            std::uint8_t* const values = plane.data<std::uint8_t>() + block * 64 * outputs;
            kernels.gradient.unpack(filters, 1, outputs, width, static_cast<std::uint8_t>(-coefficients[p]),
                                    static_cast<std::uint8_t>(coefficients[p]), values, outputs);
            for (std::int64_t c = 0; c < width; ++c) {
              for (std::int64_t m = 0; m < outputs; ++m)
                out[c * k + m] = static_cast<std::uint8_t>(out[c * k + m] + values[c * outputs + m]);
            }
          }
        }
      }
      for (std::int64_t c = 0; c < width; ++c) {
        std::int32_t sum = 0;
        for (std::int64_t i = 0; i < k; ++i) sum += static_cast<std::int8_t>(bytes[c * k + i]);
        part.offsets.data<std::int32_t>()[first + c] = -std::int32_t{zero_byte} * sum;
      }
    }
  });

  const ProductKernel& kernel = kernels.product;
  part.packed = Tensor::empty(DType::u8, {static_cast<std::int64_t>(kernel.packed_bytes(channels, k / 4))});
  const std::int64_t panels = divide_up(channels, kernel.nr);
  parallel_for(panels, element_grain / (kernel.nr * k) + 1, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * kernel.nr;
    kernel.pack(reinterpret_cast<const std::uint32_t*>(matrix.data<std::uint8_t>() + first * k),
                std::min(end * kernel.nr, channels) - first, k / 4,
                part.packed.data<std::uint8_t>() + kernel.packed_bytes(first, k / 4));
  });
  return part;
}

namespace {

/// What all threads share.
struct Job {
  const ByteKernels& kernels;
  const Conv2d& conv;
  const InputGradientWeights& weights;
  const OutputGradient& dy;
  float scale;
  const Draws& draws;
  const float* factors;  // the channels' scales, repeated for `period` elements of a row
  std::int64_t period;
  /// Bits of each image's largest magnitude; null where whoever takes an image finds it.
  const std::uint32_t* magnitudes;
  float* dx;

  std::int64_t row_length() const { return conv.ow * conv.m; }
};

/// Bits of the largest magnitude of dy times the channels' factors in row `row` of those that are given.
std::uint32_t magnitude_of_row(const GradientKernels& kernels, const OutputGradient::Rows& given,
                               std::int64_t channels, const float* factors, std::int64_t period,
                               std::int64_t row, std::uint32_t most) {
  const std::int64_t length = given.columns * channels;
  return kernels.magnitude(given.values + row * length, factors, std::min(period, length), length, most);
}

/// A thread's images of bytes: some images, or a band of rows of one.
struct Unit {
  std::int64_t image, images;
  std::int64_t begin, end;  // rows of dx
};

/// Where a thread works.
struct Scratch {
  std::uint8_t* bytes;              // the images
  std::uint8_t* row;                // of dy, rounded
  float* values;                    // of dy, where they are not at hand
  float* lift;                      // what a row is multiplied by,
  float* inverse;                   // and then by
  std::vector<Rounding> roundings;  // of the images
  // The places of one phase.
  std::vector<const std::uint8_t*> windows;
  std::vector<float*> outs;
  std::vector<const Rounding*> rounded;
};

/// Rounds the rows of dy that a unit reads.
void round_images(const Job& job, const Unit& unit, Scratch& scratch, std::int64_t first_row,
                  std::int64_t buffer_rows) {
  const Conv2d& conv = job.conv;
  const InputGradientWeights& w = job.weights;
  const GradientKernels& kernels = job.kernels.gradient;
  const std::int64_t length = job.row_length();
  const std::int64_t row_bytes = w.row_pixels * w.pixel_bytes;
  const std::int64_t outputs = conv.m / conv.geometry.groups;
  // A row of bytes is a row of the buffer, where no channel is padded and no column left out.
  const bool direct =
      w.pixel_bytes == conv.m && w.first_column <= 0 && w.first_column + w.row_pixels >= conv.ow;
  std::memset(scratch.bytes, zero_byte, static_cast<std::size_t>(unit.images * buffer_rows * row_bytes));
  for (std::int64_t n = 0; n < unit.images; ++n) {
    const std::int64_t image = unit.image + n;
    std::uint32_t most = 0;
    if (job.magnitudes != nullptr) {
      most = job.magnitudes[image];
    } else {
      const OutputGradient::Rows given = job.dy.given(conv);
      for (std::int64_t i = image * given.count; i < (image + 1) * given.count; ++i)
        most = magnitude_of_row(kernels, given, conv.m, job.factors, job.period, i, most);
    }
    const Rounding r = rounding(most, 127);
    scratch.roundings[static_cast<std::size_t>(n)] = r;
    for (std::int64_t i = 0; i < job.period; ++i) scratch.lift[i] = job.factors[i] * r.lift;
    std::fill_n(scratch.inverse, job.period, r.inverse * 0x1p16F);
    for (std::int64_t i = 0; i < buffer_rows; ++i) {
      const std::int64_t o = first_row + i;
      if (o < 0 || o >= conv.oh) continue;
      std::uint8_t* const to = scratch.bytes + (n * buffer_rows + i) * row_bytes;
      const auto block = static_cast<std::uint32_t>((image * conv.oh + o) * draw_blocks(length));
      std::uint8_t* const row = direct ? to - w.first_column * w.pixel_bytes : scratch.row;
      kernels.quantize(job.draws, block, job.dy.row(conv, image * conv.oh + o, scratch.values), scratch.lift,
                       scratch.inverse, job.period, 127, length, row);
      if (direct) continue;
      for (std::int64_t j = 0; j < w.row_pixels; ++j) {
        const std::int64_t column = w.first_column + j;
        if (column < 0 || column >= conv.ow) continue;
        for (std::int64_t g = 0; g < conv.geometry.groups; ++g) {
          std::memcpy(to + j * w.pixel_bytes + g * w.group_bytes, row + column * conv.m + g * outputs,
                      static_cast<std::size_t>(outputs));
        }
      }
    }
  }
}

/// Finds the places of one phase of a unit.
void find_places(const Job& job, const Unit& unit, const InputAxis::Phase& down,
                 const InputAxis::Phase& across, std::int64_t first_row, std::int64_t buffer_rows,
                 Scratch& scratch) {
  const Conv2d& conv = job.conv;
  const InputGradientWeights& w = job.weights;
  scratch.windows.clear();
  scratch.outs.clear();
  scratch.rounded.clear();
  const std::int64_t stride = w.rows.stride;
  const std::int64_t first =
      down.first + divide_up(std::max<std::int64_t>(unit.begin - down.first, 0), stride) * stride;
  const std::int64_t column = w.columns.output(across.first) - w.first_column;
  const std::int64_t step = w.columns.stride * conv.c;
  for (std::int64_t n = 0; n < unit.images; ++n) {
    for (std::int64_t i = first; i < unit.end; i += stride) {
      const std::uint8_t* window =
          scratch.bytes +
          ((n * buffer_rows + w.rows.output(i) - first_row) * w.row_pixels + column) * w.pixel_bytes;
      float* out = job.dx + (((unit.image + n) * conv.h + i) * conv.w + across.first) * conv.c;
      for (std::int64_t j = 0; j < across.count; ++j, window += w.pixel_bytes, out += step) {
        scratch.windows.push_back(window);
        scratch.outs.push_back(out);
        scratch.rounded.push_back(&scratch.roundings[static_cast<std::size_t>(n)]);
      }
    }
  }
}

/// The places of one phase for one group, by panels of channels.
void multiply(const Job& job, Scratch& scratch, const InputGradientWeights::Part& part, std::int64_t group) {
  const ProductKernel& kernel = job.kernels.product;
  const auto scale = job.kernels.gradient.scale;
  const std::int64_t channels = job.conv.group_channels();
  const auto count = static_cast<std::int64_t>(scratch.windows.size());
  alignas(64) std::array<std::int32_t, max_product_tile> sums;
  std::array<const std::int32_t*, max_product_rows> offsets;
  std::array<std::int32_t*, max_product_rows> outs;
  for (int r = 0; r < kernel.mr; ++r) outs[static_cast<std::size_t>(r)] = sums.data() + r * kernel.nr;
  const auto segments = static_cast<std::int64_t>(part.segments.size());
  const std::int64_t k = segments * part.segment_words;
  if (segments == 0) sums.fill(0);  // no tap reaches these places
  for (std::int64_t c = 0; c < channels; c += kernel.nr) {
    const int width = static_cast<int>(std::min<std::int64_t>(kernel.nr, channels - c));
    const std::uint8_t* weights = nullptr;
    if (segments > 0) {
      weights = part.packed.data<std::uint8_t>() + kernel.packed_bytes(c, k);
      offsets.fill(part.offsets.data<std::int32_t>() + c);
    }
    for (std::int64_t p = 0; p < count; p += kernel.mr) {
      const int height = static_cast<int>(std::min<std::int64_t>(kernel.mr, count - p));
      if (segments > 0) {
        kernel.store_i32(
            {.windows = {scratch.windows.data() + p, part.segments.data(), segments, part.segment_words},
             .planes = 1,
             .plane_pitch = 0,
             .w = weights,
             .rows = height,
             .columns = width},
            {.offsets = offsets.data(), .factor = -1, .out = outs.data()});
      }
      for (int r = 0; r < height; ++r) {
        const auto at = static_cast<std::size_t>(p + r);
        const Rounding& rounded = *scratch.rounded[at];
        scale(sums.data() + r * kernel.nr, rounded.scale * job.scale, rounded.drop, width,
              scratch.outs[at] + group * channels + c);
      }
    }
  }
}

}  // namespace

void byte_backward_input(const ByteKernels& kernels, const Conv2d& conv, const OutputGradient& dy,
                         const float* channel_scales, const InputGradientWeights& weights, float scale,
                         const Draws& draws, float* dx) {
  constexpr std::int64_t budget = 192 * 1024;  // of a unit's bytes, which stay in the second-level cache
  const std::int64_t length = conv.ow * conv.m;
  const std::int64_t row_bytes = weights.row_pixels * weights.pixel_bytes;
  const InputAxis& rows = weights.rows;
  const auto buffer_rows = [&rows](std::int64_t begin, std::int64_t end) {
    return rows.output(end - 1) - rows.output(begin) + rows.reach + 1;
  };

  // Units: several images, one, or bands of rows of one.
  const std::int64_t whole = buffer_rows(0, conv.h) * row_bytes;
  const std::int64_t images =
      std::clamp<std::int64_t>(budget / whole, 1, std::max<std::int64_t>(conv.n / threads(), 1));
  std::int64_t band = conv.h;
  if (images == 1) {
    const std::int64_t by_memory = std::max(budget / row_bytes * rows.stride, 8 * rows.reach * rows.stride);
    const std::int64_t by_threads =
        conv.n < threads() ? divide_up(conv.h, divide_up(threads(), conv.n)) : conv.h;
    band = std::clamp<std::int64_t>(std::min(by_memory, by_threads), 1, conv.h);
  }
  const std::int64_t bands = divide_up(conv.h, band);
  const std::int64_t units = divide_up(conv.n, images) * bands;

  const std::int64_t period = factor_period(channel_scales != nullptr ? conv.m : 1, length);
  const Tensor factors = Tensor::empty(DType::f32, {period});
  for (std::int64_t i = 0; i < period; ++i)
    factors.data<float>()[i] = channel_scales != nullptr ? channel_scales[i % conv.m] : 1.0F;
  Tensor magnitudes;
  if (bands > 1) {
    const OutputGradient::Rows given = dy.given(conv);
    const std::int64_t count = conv.n * given.count;
    const Tensor of_rows = Tensor::empty(DType::i32, {count});
    parallel_for(count, element_grain / length + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        of_rows.data<std::uint32_t>()[i] =
            magnitude_of_row(kernels.gradient, given, conv.m, factors.data<float>(), period, i, 0);
    });
    magnitudes = Tensor::zeros(DType::i32, {conv.n});
    for (std::int64_t i = 0; i < count; ++i) {
      std::uint32_t& most = magnitudes.data<std::uint32_t>()[i / given.count];
      most = std::max(most, of_rows.data<std::uint32_t>()[i]);
    }
  }

  const Job job{.kernels = kernels,
                .conv = conv,
                .weights = weights,
                .dy = dy,
                .scale = scale,
                .draws = draws,
                .factors = factors.data<float>(),
                .period = period,
                .magnitudes = magnitudes.defined() ? magnitudes.data<std::uint32_t>() : nullptr,
                .dx = dx};
  // Bands begin at any remainder of the stride: one row more.
  const std::int64_t bytes = round_up(
      images * std::min((band - 1) / rows.stride + rows.reach + 2, buffer_rows(0, conv.h)) * row_bytes, 64);
  const std::int64_t values = round_up(dy.scratch(conv), 64);
  const std::int64_t share = round_up(bytes + round_up(period, 64) * 8 + values * 4 + length, 64) + 64;
  const Tensor memory = Tensor::empty(DType::u8, {share * threads()});
  std::atomic<int> next{0};
  parallel_for(units, 1, [&](std::int64_t begin, std::int64_t end) {
    std::uint8_t* const mine = memory.data<std::uint8_t>() + next++ * share;
    auto* const floats = reinterpret_cast<float*>(mine + bytes);
    Scratch scratch{.bytes = mine,
                    .row = mine + bytes + round_up(period, 64) * 8 + values * 4,
                    .values = floats + round_up(period, 64) * 2,
                    .lift = floats,
                    .inverse = floats + round_up(period, 64),
                    .roundings = std::vector<Rounding>(static_cast<std::size_t>(images)),
                    .windows = {},
                    .outs = {},
                    .rounded = {}};
    for (std::int64_t u = begin; u < end; ++u) {
      const std::int64_t image = u / bands * images;
      const Unit unit{.image = image,
                      .images = std::min(images, conv.n - image),
                      .begin = u % bands * band,
                      .end = std::min((u % bands + 1) * band, conv.h)};
      const std::int64_t first_row = rows.output(unit.begin) - rows.reach;
      const std::int64_t count = buffer_rows(unit.begin, unit.end);
      round_images(job, unit, scratch, first_row, count);
      for (std::size_t i = 0; i < rows.phases.size(); ++i) {
        for (std::size_t j = 0; j < weights.columns.phases.size(); ++j) {
          find_places(job, unit, rows.phases[i], weights.columns.phases[j], first_row, count, scratch);
          for (std::int64_t g = 0; g < conv.geometry.groups; ++g)
            multiply(job, scratch, weights.part(i, j, g), g);
        }
      }
    }
  });
}

}  // namespace hardbit::cpu
