#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <vector>

#include "cpu/float_gradient.h"
#include "cpu/input_axis.h"
#include "cpu/product/bit_string.h"
#include "runtime/division.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

// The gradient of a convolution's input is a convolution of dy, as in byte_backward_input.cpp: each phase of
// places is a plain stride-1 convolution. Some rows of dy at a time become tables of sums, four output
// channels a table; the lanes are input channels, their signs the weights. Columns beside the image are
// tables of zeros; rows above and below it are left out.

namespace hardbit::cpu {
namespace {

using ops::Conv2d;

/// Where the tables of some rows of dy lie.
struct TableImage {
  std::int64_t group_tables;  // of a pixel in one group
  std::int64_t pixel;         // floats from one pixel to the next
  std::int64_t row_pixels;    // of a row of dy with the columns beside it
  std::int64_t first_column;  // the output column of its first pixel
  std::int64_t row() const { return row_pixels * pixel; }

  TableImage(const Conv2d& conv, const InputAxis& columns)
      : group_tables(divide_up(conv.m / conv.geometry.groups, sign_sum_values)),
        row_pixels(columns.output(conv.w - 1) - columns.output(0) + columns.reach + 1),
        first_column(columns.output(0) - columns.reach) {
    // An odd number of lines, so that pixels fall on all sets of the first-level cache.
    pixel = (conv.geometry.groups * group_tables / 2 * 2 + 1) * sign_sum_table;
    if (pixel < conv.geometry.groups * group_tables * sign_sum_table) pixel += 2 * sign_sum_table;
  }
};

/// One phase of rows and columns.
struct Part {
  const InputAxis::Phase& down;
  const InputAxis::Phase& across;
  std::vector<std::ptrdiff_t> table_segments;  // [rows' taps][columns' taps], from the place's first float on
  std::vector<std::ptrdiff_t> word_segments;
  Tensor words;  // u32 [group][panel of lanes][segment][word][lane]
  std::int64_t panel_words;
};

/// One gradient.
class InputGradient {
 public:
  InputGradient(const SignSumKernels& kernels, const Conv2d& conv, const OutputGradient& dy,
                const std::uint64_t* plane, const float* factors, float* dx)
      : kernels_(kernels),
        conv_(conv),
        dy_(dy),
        plane_(plane),
        factors_(factors),
        dx_(dx),
        rows_(conv.h, conv.kh, conv.geometry.stride[0], conv.geometry.dilation[0], conv.geometry.padding[0]),
        columns_(conv.w, conv.kw, conv.geometry.stride[1], conv.geometry.dilation[1],
                 conv.geometry.padding[2]),
        image_(conv, columns_),
        segment_words_(divide_up(image_.group_tables, 8)),
        panels_(divide_up(conv.group_channels(), sign_sum_lanes)) {
    for (const InputAxis::Phase& down : rows_.phases) {
      for (const InputAxis::Phase& across : columns_.phases) add_part(down, across);
    }
  }

  void run() {
    constexpr std::int64_t budget = 512 * 1024 / 4;  // floats of a unit's tables, in the second-level cache
    const std::int64_t whole = buffer_rows(0, conv_.h) * image_.row();
    const std::int64_t images =
        std::clamp<std::int64_t>(budget / whole, 1, std::max<std::int64_t>(conv_.n / threads(), 1));
    std::int64_t band = conv_.h;
    if (images == 1) {
      // Rows of dy that two bands read become tables twice.
      const std::int64_t by_memory =
          std::max(budget / image_.row() - rows_.reach, 2 * rows_.reach + 1) * rows_.stride;
      const std::int64_t by_threads =
          conv_.n < threads() ? divide_up(conv_.h, divide_up(threads(), conv_.n)) : conv_.h;
      band = std::clamp<std::int64_t>(std::min(by_memory, by_threads), 1, conv_.h);
      band = divide_up(conv_.h, divide_up(conv_.h, band));
    }
    const std::int64_t bands = divide_up(conv_.h, band);
    const std::int64_t units = divide_up(conv_.n, images) * bands;
    // Bands begin at any remainder of the stride: one row more.
    const std::int64_t most_rows =
        std::min((band - 1) / rows_.stride + rows_.reach + 2, buffer_rows(0, conv_.h));
    const std::int64_t scaled = round_up(conv_.m + sign_sum_values, sign_sum_table);
    const std::int64_t values = round_up(dy_.scratch(conv_), sign_sum_table);
    const std::int64_t share = images * most_rows * image_.row() + scaled + values;
    const Tensor memory = Tensor::empty(DType::f32, {share * threads()});
    std::atomic<int> next{0};
    parallel_for(units, 1, [&](std::int64_t begin, std::int64_t end) {
      float* const mine = memory.data<float>() + next++ * share;
      Scratch scratch{.scaled = mine,
                      .values = mine + scaled,
                      .tables = mine + scaled + values,
                      .places = {},
                      .outs = {}};
      std::fill_n(scratch.scaled, scaled, 0.0F);
      for (std::int64_t u = begin; u < end; ++u) {
        const std::int64_t image = u / bands * images;
        add_unit({.image = image,
                  .images = std::min(images, conv_.n - image),
                  .begin = u % bands * band,
                  .end = std::min((u % bands + 1) * band, conv_.h)},
                 scratch);
      }
    });
  }

 private:
  /// A thread's rows of dx: all of some images, or a band of one.
  struct Unit {
    std::int64_t image, images;
    std::int64_t begin, end;
  };

  struct Scratch {
    float* scaled;  // the channels of a pixel, and zeros behind them
    float* values;  // of a row of dy that is not at hand
    float* tables;
    // The places of one phase and one number of taps.
    std::vector<const float*> places;
    std::vector<float*> outs;
  };

  std::int64_t buffer_rows(std::int64_t begin, std::int64_t end) const {
    return rows_.output(end - 1) - rows_.output(begin) + rows_.reach + 1;
  }

  /// The weights' signs of one phase, 32 output channels a word, a lane an input channel.
  void add_part(const InputAxis::Phase& down, const InputAxis::Phase& across) {
    const std::int64_t groups = conv_.geometry.groups;
    const std::int64_t channels = conv_.group_channels();
    const std::int64_t outputs = conv_.m / groups;
    const auto segments = static_cast<std::int64_t>(down.taps.size() * across.taps.size());
    Part part{.down = down,
              .across = across,
              .table_segments = {},
              .word_segments = {},
              .words = {},
              .panel_words = segments * segment_words_ * sign_sum_lanes};
    std::vector<std::int64_t> first_bits;
    for (const std::int64_t a : down.taps) {
      for (const std::int64_t b : across.taps) {
        part.table_segments.push_back(-(rows_.step(a) * image_.row_pixels + columns_.step(b)) * image_.pixel);
        part.word_segments.push_back(static_cast<std::int64_t>(first_bits.size()) * segment_words_ *
                                     sign_sum_lanes);
        first_bits.push_back((a * conv_.kw + b) * channels);
      }
    }
    part.words = Tensor::empty(DType::i32, {groups * panels_ * part.panel_words});
    const std::int64_t row_words = words(conv_.k());
    parallel_for(groups * panels_, element_grain / (segments * outputs + 1) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   std::array<std::uint64_t, 32> signs{};
                   for (std::int64_t i = begin; i < end; ++i) {
                     const std::int64_t channel = i % panels_ * sign_sum_lanes;
                     const std::int64_t width = std::min<std::int64_t>(sign_sum_lanes, channels - channel);
                     const auto blocks = static_cast<int>(divide_up(width, sign_sum_block));
                     std::uint32_t* to = part.words.data<std::uint32_t>() + i * part.panel_words;
                     for (const std::int64_t bit : first_bits) {
                       const std::uint64_t* filter = plane_ + i / panels_ * outputs * row_words;
                       for (std::int64_t m = 0; m < outputs; m += 32, to += sign_sum_lanes) {
                         const std::int64_t count = std::min<std::int64_t>(32, outputs - m);
                         for (std::int64_t j = 0; j < count; ++j, filter += row_words)
                           signs[static_cast<std::size_t>(j)] = read_bits(filter, bit + channel, width);
                         kernels_.transpose(signs.data(), blocks, to);
                       }
                     }
                   }
                 });
    parts_.push_back(std::move(part));
  }

  void add_unit(const Unit& unit, Scratch& scratch) const {
    const std::int64_t first_row = rows_.output(unit.begin) - rows_.reach;
    const std::int64_t count = buffer_rows(unit.begin, unit.end);
    fill_tables(unit, first_row, count, scratch);
    for (const Part& part : parts_) {
      const std::int64_t stride = rows_.stride;
      std::int64_t i = part.down.first +
                       divide_up(std::max<std::int64_t>(unit.begin - part.down.first, 0), stride) * stride;
      // Rows that the same taps reach, of all images.
      while (i < unit.end) {
        const Taps taps = taps_of(part, i);
        std::int64_t end = i + stride;
        while (end < unit.end && taps_of(part, end) == taps) end += stride;
        find_places(part, unit, i, std::min(end, unit.end), first_row, count, scratch);
        for (std::int64_t g = 0; g < conv_.geometry.groups; ++g) sum(part, taps, g, scratch);
        i = end;
      }
    }
  }

  /// Taps [begin, end) of a phase whose rows of dy are there.
  struct Taps {
    std::int64_t begin, end;
    bool operator==(const Taps&) const = default;
  };
  Taps taps_of(const Part& part, std::int64_t row) const {
    const auto count = static_cast<std::int64_t>(part.down.taps.size());
    const auto output = [&](std::int64_t t) {
      return rows_.output(row) - rows_.step(part.down.taps[static_cast<std::size_t>(t)]);
    };
    Taps taps{0, count};
    while (taps.begin < count && output(taps.begin) < 0) ++taps.begin;
    while (taps.end > taps.begin && output(taps.end - 1) >= conv_.oh) --taps.end;
    return taps;
  }

  /// Tables of the rows of dy that a unit reads.
  void fill_tables(const Unit& unit, std::int64_t first_row, std::int64_t count,
                   const Scratch& scratch) const {
    const std::int64_t groups = conv_.geometry.groups;
    const std::int64_t outputs = conv_.m / groups;
    for (std::int64_t n = 0; n < unit.images; ++n) {
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t o = first_row + i;
        if (o < 0 || o >= conv_.oh) continue;
        const float* const row = dy_.row(conv_, (unit.image + n) * conv_.oh + o, scratch.values);
        float* to = scratch.tables + (n * count + i) * image_.row();
        for (std::int64_t j = 0; j < image_.row_pixels; ++j, to += image_.pixel) {
          const std::int64_t column = image_.first_column + j;
          if (column < 0 || column >= conv_.ow) {
            std::fill_n(to, image_.pixel, 0.0F);
            continue;
          }
          const float* const pixel = row + column * conv_.m;
          for (std::int64_t g = 0; g < groups; ++g) {
            for (std::int64_t m = 0; m < outputs; ++m)
              scratch.scaled[m] = pixel[g * outputs + m] * factors_[g * outputs + m];
            const std::array<const float*, sign_sum_values> values{scratch.scaled, scratch.scaled + 1,
                                                                   scratch.scaled + 2, scratch.scaled + 3};
            kernels_.tables({.values = values.data(),
                             .rows = 1,
                             .row_step = 0,
                             .row_pitch = 0,
                             .count = image_.group_tables,
                             .step = sign_sum_values,
                             .pitch = sign_sum_table,
                             .out = to + g * image_.group_tables * sign_sum_table});
          }
        }
      }
    }
  }

  /// The places of one phase in rows [begin, end).
  void find_places(const Part& part, const Unit& unit, std::int64_t begin, std::int64_t end,
                   std::int64_t first_row, std::int64_t count, Scratch& scratch) const {
    scratch.places.clear();
    scratch.outs.clear();
    const std::int64_t column = columns_.output(part.across.first) - image_.first_column;
    for (std::int64_t n = 0; n < unit.images; ++n) {
      for (std::int64_t i = begin; i < end; i += rows_.stride) {
        const float* place =
            scratch.tables + (n * count + rows_.output(i) - first_row) * image_.row() + column * image_.pixel;
        float* out = dx_ + (((unit.image + n) * conv_.h + i) * conv_.w + part.across.first) * conv_.c;
        for (std::int64_t j = 0; j < part.across.count; ++j) {
          scratch.places.push_back(place);
          scratch.outs.push_back(out);
          place += image_.pixel;
          out += columns_.stride * conv_.c;
        }
      }
    }
  }

  /// The places of one group: a few of them by all panels of channels, while their tables are at hand.
  void sum(const Part& part, const Taps& taps, std::int64_t group, const Scratch& scratch) const {
    const std::int64_t channels = conv_.group_channels();
    const auto across = static_cast<std::int64_t>(part.across.taps.size());
    const auto count = static_cast<std::int64_t>(scratch.places.size());
    std::array<const float*, sign_sum_rows> tables;
    std::array<float*, sign_sum_rows> outs;
    for (std::int64_t p = 0; p < count; p += sign_sum_rows) {
      const int rows = static_cast<int>(std::min<std::int64_t>(sign_sum_rows, count - p));
      for (int r = 0; r < rows; ++r)
        tables[static_cast<std::size_t>(r)] =
            scratch.places[static_cast<std::size_t>(p + r)] + group * image_.group_tables * sign_sum_table;
      for (std::int64_t c = 0; c < channels; c += sign_sum_lanes) {
        for (int r = 0; r < rows; ++r)
          outs[static_cast<std::size_t>(r)] =
              scratch.outs[static_cast<std::size_t>(p + r)] + group * channels + c;
        kernels_.sum({.tables = tables.data(),
                      .table_segments = part.table_segments.data() + taps.begin * across,
                      .words = part.words.data<std::uint32_t>() +
                               (group * panels_ + c / sign_sum_lanes) * part.panel_words,
                      .word_segments = part.word_segments.data() + taps.begin * across,
                      .word_pitch = sign_sum_lanes,
                      .segments = (taps.end - taps.begin) * across,
                      .groups = image_.group_tables,
                      .rows = rows,
                      .lanes = static_cast<int>(std::min<std::int64_t>(sign_sum_lanes, channels - c)),
                      .out = outs.data(),
                      .add = false});
      }
    }
  }

  const SignSumKernels& kernels_;
  const Conv2d& conv_;
  const OutputGradient& dy_;
  const std::uint64_t* plane_;
  const float* factors_;
  float* dx_;
  InputAxis rows_, columns_;
  TableImage image_;
  std::int64_t segment_words_;
  std::int64_t panels_;  // of lanes
  std::vector<Part> parts_;
};

}  // namespace

void float_backward_input(const SignSumKernels& kernels, const Conv2d& conv, const OutputGradient& dy,
                          const std::uint64_t* plane, const float* factors, float* dx) {
  InputGradient(kernels, conv, dy, plane, factors, dx).run();
}

}  // namespace hardbit::cpu
