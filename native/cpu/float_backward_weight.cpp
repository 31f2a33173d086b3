#include <algorithm>
#include <array>
#include <atomic>
#include <vector>

#include "cpu/float_gradient.h"
#include "cpu/product/bit_string.h"
#include "runtime/division.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

// The gradient of a convolution's weights sums over pixels. Four neighbours of one output channel of dy are a
// table; the lanes are input channels. Their signs are repacked by channel, once a row of x with its padding,
// and then shifted for each tap to where the pixels of dy are, 32 a word. Some rows of dy at a time are
// summed in registers and added to dw.
//  - Rows are padded with zeros of dy to whole tables. Where the kernel is one pixel and nothing is padded,
//  pixels are cut into rows of one length, whatever the image.
//  - With a stride, a row of x keeps the columns that one tap reads side by side: one part for each
//  remainder.
//  - Pixels outside of the image are ones where the padding is. Else they count as −1, which is corrected at
//  the end.

namespace hardbit::cpu {
namespace {

using ops::Conv2d;

/// Tables of one output channel that are summed at a time; those of six channels stay in the second-level
/// cache. Fewer would fit the first one, and sums would be added to dw more often, which costs more.
constexpr std::int64_t tables_at_a_time = 256;
/// Bytes of signs that are repacked at a time, which stay in the second-level cache.
constexpr std::int64_t words_at_a_time = 256 * 1024;

/// Bytes of a thread's sums that count as being in its second-level cache.
constexpr std::int64_t sums_in_cache = 512 * 1024;

class WeightGradient {
 public:
  WeightGradient(const SignSumKernels& kernels, const Conv2d& conv, ops::PaddingValue padding,
                 const float* dy, const std::uint64_t* x, float* dw)
      : kernels_(kernels),
        conv_(conv),
        ones_(padding == ops::PaddingValue::one),
        dy_(dy),
        x_(x),
        dw_(dw),
        flat_(conv.kh == 1 && conv.kw == 1 && conv.geometry.stride == ops::Pair{1, 1} &&
              conv.geometry.padding == decltype(conv.geometry.padding){}),
        pixels_(conv.n * conv.oh * conv.ow),
        row_(flat_ ? std::min(pixels_, tables_at_a_time * sign_sum_values) : conv.ow),
        rows_(flat_ ? divide_up(pixels_, row_) : conv.n * conv.oh),
        row_tables_(divide_up(row_, sign_sum_values)),
        chunk_(std::clamp<std::int64_t>(tables_at_a_time / row_tables_, 1, rows_)),
        tap_words_(divide_up(chunk_ * row_tables_, 8)),
        part_words_(
            divide_up(row_ + (conv.kw - 1) * conv.geometry.dilation[1] / conv.geometry.stride[1], 32) + 1),
        group_lanes_(round_up(conv.group_channels(), sign_sum_block)),
        pitch_(group_lanes_ * conv.geometry.groups),
        zeros_(Tensor::zeros(DType::f32, {conv.m})) {
    for (std::int64_t b = 0; b < conv.kw; ++b) {
      const std::int64_t remainder = b * conv.geometry.dilation[1] % conv.geometry.stride[1];
      if (std::find(remainders_.begin(), remainders_.end(), remainder) == remainders_.end())
        remainders_.push_back(remainder);
    }
  }

  void run() {
    const std::int64_t taps = conv_.kh * conv_.kw;
    const std::int64_t chunk_words = taps * tap_words_ * pitch_;
    const std::int64_t chunks = divide_up(rows_, chunk_);
    const std::int64_t some = std::clamp<std::int64_t>(words_at_a_time / 4 / chunk_words, 1, chunks);
    const Tensor words = Tensor::empty(DType::i32, {some * chunk_words});
    // Tiles of output channels, each of one group.
    const std::int64_t outputs = conv_.m / conv_.geometry.groups;
    const std::int64_t group_tiles = divide_up(outputs, sign_sum_rows);
    // Either the tile's sums stay in a cache for some chunks, or all sums for all chunks.
    const bool by_chunk = conv_.m * conv_.k() * 4 <= sums_in_cache * threads();
    // An odd number of lines, so that channels fall on all sets of the first-level cache.
    const std::int64_t channel_floats = (chunk_ * row_tables_ / 2 * 2 + 1) * sign_sum_table;
    const std::int64_t share = sign_sum_rows * channel_floats;
    const Tensor memory = Tensor::empty(DType::f32, {share * threads()});
    for (std::int64_t first = 0; first < chunks; first += some) {
      const std::int64_t count = std::min(some, chunks - first);
      repack(first, count, words.data<std::uint32_t>());
      std::atomic<int> next{0};
      parallel_for(group_tiles * conv_.geometry.groups, 1, [&](std::int64_t begin, std::int64_t end) {
        float* const tables = memory.data<float>() + next++ * share;
        const auto one = [&](std::int64_t tile, std::int64_t chunk) {
          const std::int64_t group = tile / group_tiles;
          const std::int64_t m = tile % group_tiles * sign_sum_rows;
          add(first + chunk, words.data<std::uint32_t>() + chunk * chunk_words, group, group * outputs + m,
              std::min<std::int64_t>(sign_sum_rows, outputs - m), tables, channel_floats);
        };
        if (by_chunk) {
          for (std::int64_t c = 0; c < count; ++c) {
            for (std::int64_t t = begin; t < end; ++t) one(t, c);
          }
        } else {
          for (std::int64_t t = begin; t < end; ++t) {
            for (std::int64_t c = 0; c < count; ++c) one(t, c);
          }
        }
      });
    }
    if (!flat_ && !ones_) correct();
  }

 private:
  /// Rows of one image of x that have been repacked, `rows` from `row` on.
  struct Image {
    std::int64_t slot, row, rows, image;
  };

  /// The column of x that tap b of output column j reads, which may lie outside.
  std::int64_t column_of(std::int64_t j, std::int64_t b) const {
    const auto& [stride, dilation, padding, groups] = conv_.geometry;
    return j * stride[1] + b * dilation[1] - padding[2];
  }
  /// The same of rows, in one image.
  std::int64_t row_of(std::int64_t o, std::int64_t a) const {
    const auto& [stride, dilation, padding, groups] = conv_.geometry;
    return o * stride[0] + a * dilation[0] - padding[0];
  }

  bool inside(std::int64_t row, std::int64_t column) const {
    return row >= 0 && row < conv_.h && column >= 0 && column < conv_.w;
  }

  /// The signs that `count` chunks from `first` on meet: words [chunk][tap][word][lane].
  void repack(std::int64_t first, std::int64_t count, std::uint32_t* out) {
    repack_rows(first * chunk_, std::min((first + count) * chunk_, rows_));
    const std::int64_t taps = conv_.kh * conv_.kw;
    const std::int64_t tap_words = tap_words_ * pitch_;
    parallel_for(count * taps, element_grain / (4 * tap_words) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   std::fill_n(out + begin * tap_words, (end - begin) * tap_words, 0);
                   for (std::int64_t i = begin; i < end; ++i)
                     shift_rows((first + i / taps) * chunk_, i % taps, out + i * tap_words);
                 });
  }

  /// Rows of x that rows [first, last) of dy read, by channel: words [row of x][remainder][word][lane]; and
  /// one part for rows outside of the image.
  void repack_rows(std::int64_t first, std::int64_t last) {
    images_.clear();
    std::int64_t slots = 0;
    if (flat_) {
      images_.push_back({.slot = 0, .row = first, .rows = last - first, .image = 0});
      slots = last - first;
    } else {
      for (std::int64_t n = first / conv_.oh; n * conv_.oh < last; ++n) {
        const std::int64_t begin = std::max(first - n * conv_.oh, std::int64_t{0});
        const std::int64_t end = std::min(last - n * conv_.oh, conv_.oh);
        const std::int64_t from = std::clamp<std::int64_t>(row_of(begin, 0), 0, conv_.h);
        const std::int64_t to = std::clamp<std::int64_t>(row_of(end - 1, conv_.kh - 1) + 1, from, conv_.h);
        images_.push_back({.slot = slots, .row = from, .rows = to - from, .image = n});
        slots += to - from;
      }
    }
    const std::int64_t part = part_words_ * pitch_;
    const std::int64_t slot = static_cast<std::int64_t>(remainders_.size()) * part;
    const std::int64_t needed = slots * slot + part;
    if (!signs_.defined() || signs_.count() < needed) {
      signs_ = Tensor();
      signs_ = Tensor::empty(DType::i32, {needed});
    }
    auto* const out = signs_.data<std::uint32_t>();
    outside_ = out + slots * slot;
    std::fill_n(out + slots * slot, part, ones_ ? ~std::uint32_t{0} : 0);
    // What counts for a pixel beside the image.
    const std::vector<std::uint64_t> beside(static_cast<std::size_t>(words(conv_.c)),
                                            ones_ ? ~std::uint64_t{0} : 0);
    for (const Image& image : images_) {
      parallel_for(image.rows, element_grain / (32 * slot) + 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          for (std::size_t r = 0; r < remainders_.size(); ++r)
            repack_row(image, image.row + i, remainders_[r], beside.data(),
                       out + (image.slot + i) * slot + static_cast<std::int64_t>(r) * part);
        }
      });
    }
  }

  /// The columns of one row of x from remainder − left on, a stride apart.
  void repack_row(const Image& image, std::int64_t row, std::int64_t remainder, const std::uint64_t* beside,
                  std::uint32_t* out) const {
    const std::int64_t pixel_words = words(conv_.c);
    const std::int64_t width = flat_ ? std::min(row_, pixels_ - row * row_) : conv_.w;
    const std::uint64_t* const base =
        x_ + (flat_ ? row * row_ : (image.image * conv_.h + row) * conv_.w) * pixel_words;
    const std::int64_t stride = conv_.geometry.stride[1];
    std::int64_t column = remainder - conv_.geometry.padding[2];
    std::array<const std::uint64_t*, 32> pixels;
    for (std::int64_t w = 0; w < part_words_; ++w, out += pitch_) {
      for (const std::uint64_t*& pixel : pixels) {
        pixel = column >= 0 && column < width ? base + column * pixel_words : beside;
        column += stride;
      }
      repack_word(pixels, out);
    }
  }

  /// One word of each lane.
  void repack_word(const std::array<const std::uint64_t*, 32>& pixels, std::uint32_t* out) const {
    const std::int64_t channels = conv_.group_channels();
    std::array<std::uint64_t, 32> signs;
    for (std::int64_t g = 0; g < conv_.geometry.groups; ++g) {
      for (std::int64_t c = 0; c < channels; c += sign_sum_lanes) {
        const std::int64_t bit = g * channels + c;
        const std::int64_t width = std::min<std::int64_t>(sign_sum_lanes, channels - c);
        if (bit % 64 == 0) {
          for (std::size_t j = 0; j < 32; ++j) signs[j] = pixels[j][bit / 64];
        } else {
          for (std::size_t j = 0; j < 32; ++j) signs[j] = read_bits(pixels[j], bit, width);
        }
        kernels_.transpose(signs.data(), static_cast<int>(divide_up(width, sign_sum_block)),
                           out + g * group_lanes_ + c);
      }
    }
  }

  /// The signs of the chunk from row `row` of dy on that one tap reads, at the pixels of its tables.
  void shift_rows(std::int64_t row, std::int64_t tap, std::uint32_t* out) const {
    const std::int64_t end = std::min(row + chunk_, rows_);
    const std::int64_t at = flat_ ? 0 : tap % conv_.kw * conv_.geometry.dilation[1];
    const std::int64_t stride = conv_.geometry.stride[1];
    const auto remainder =
        std::find(remainders_.begin(), remainders_.end(), at % stride) - remainders_.begin();
    const std::int64_t part = part_words_ * pitch_;
    const std::int64_t slot_words = static_cast<std::int64_t>(remainders_.size()) * part;
    const Image* image = images_.data();
    std::int64_t o = 0;
    if (!flat_) {
      image += row / conv_.oh - image->image;
      o = row % conv_.oh;
    }
    std::int64_t to = 0;
    for (; row < end; ++row) {
      const std::int64_t input = flat_ ? row : row_of(o, tap / conv_.kw);
      const bool there = flat_ || (input >= 0 && input < conv_.h);
      const std::uint32_t* const from = there ? signs_.data<const std::uint32_t>() +
                                                    (image->slot + input - image->row) * slot_words +
                                                    remainder * part
                                              : outside_;
      for (std::int64_t done = 0; done < row_;) {
        const std::int64_t bit = to + done;
        const std::int64_t count = std::min(32 - bit % 32, row_ - done);
        kernels_.window({.words = from,
                         .word_pitch = pitch_,
                         .from = at / stride + done,
                         .to = static_cast<int>(bit % 32),
                         .count = static_cast<int>(count),
                         .blocks = pitch_ / sign_sum_block,
                         .out = out + bit / 32 * pitch_});
        done += count;
      }
      to += row_tables_ * sign_sum_values;
      if (!flat_ && ++o == conv_.oh) {
        o = 0;
        ++image;
      }
    }
  }

  /// Adds a chunk for `count` ≤ sign_sum_rows output channels from m on.
  void add(std::int64_t chunk, const std::uint32_t* words, std::int64_t group, std::int64_t m,
           std::int64_t count, float* tables, std::int64_t channel_floats) const {
    const std::int64_t begin = chunk * chunk_;
    const std::int64_t end = std::min(begin + chunk_, rows_);
    fill_tables(begin, end, m, count, tables, channel_floats);
    const std::int64_t channels = conv_.group_channels();
    constexpr std::ptrdiff_t start = 0;  // one segment
    std::array<const float*, sign_sum_rows> rows;
    std::array<float*, sign_sum_rows> outs;
    for (std::int64_t r = 0; r < count; ++r) rows[static_cast<std::size_t>(r)] = tables + r * channel_floats;
    for (std::int64_t tap = 0; tap < conv_.kh * conv_.kw; ++tap) {
      for (std::int64_t c = 0; c < channels; c += sign_sum_lanes) {
        for (std::int64_t r = 0; r < count; ++r)
          outs[static_cast<std::size_t>(r)] = dw_ + (m + r) * conv_.k() + tap * channels + c;
        kernels_.sum({.tables = rows.data(),
                      .table_segments = &start,
                      .words = words + tap * tap_words_ * pitch_ + group * group_lanes_ + c,
                      .word_segments = &start,
                      .word_pitch = pitch_,
                      .segments = 1,
                      .groups = (end - begin) * row_tables_,
                      .rows = static_cast<int>(count),
                      .lanes = static_cast<int>(std::min<std::int64_t>(sign_sum_lanes, channels - c)),
                      .out = outs.data(),
                      .add = chunk > 0});
      }
    }
  }

  void fill_tables(std::int64_t begin, std::int64_t end, std::int64_t m, std::int64_t count, float* tables,
                   std::int64_t channel_floats) const {
    std::array<const float*, sign_sum_values> values;
    for (std::int64_t row = begin; row < end; ++row) {
      const float* const first = dy_ + row * row_ * conv_.m + m;
      float* const out = tables + (row - begin) * row_tables_ * sign_sum_table;
      const std::int64_t length = std::min(row_, pixels_ - row * row_);
      const std::int64_t whole = length / sign_sum_values;
      for (std::int64_t v = 0; v < sign_sum_values; ++v)
        values[static_cast<std::size_t>(v)] = first + v * conv_.m;
      SignSumTables job{.values = values.data(),
                        .rows = whole,
                        .row_step = sign_sum_values * conv_.m,
                        .row_pitch = sign_sum_table,
                        .count = count,
                        .step = 1,
                        .pitch = channel_floats,
                        .out = out};
      kernels_.tables(job);
      // The rest of the row, and zeros.
      job.rows = 1;
      for (std::int64_t t = whole; t < row_tables_; ++t) {
        for (std::int64_t v = 0; v < sign_sum_values; ++v) {
          const std::int64_t place = t * sign_sum_values + v;
          values[static_cast<std::size_t>(v)] =
              place < length ? first + place * conv_.m : zeros_.data<const float>();
        }
        job.out = out + t * sign_sum_table;
        kernels_.tables(job);
      }
    }
  }

  /// Pixels outside of the image counted as −1: what they took from each tap is given back.
  void correct() const {
    const std::int64_t channels = conv_.group_channels();
    const std::int64_t taps = conv_.kh * conv_.kw;
    // Columns of dy that lie outside for a column of taps; and all of them, for rows that do.
    std::vector<std::vector<std::int64_t>> columns(static_cast<std::size_t>(conv_.kw + 1));
    for (std::int64_t j = 0; j < conv_.ow; ++j) {
      for (std::int64_t b = 0; b < conv_.kw; ++b) {
        if (!inside(0, column_of(j, b))) columns[static_cast<std::size_t>(b)].push_back(j);
      }
      columns.back().push_back(j);
    }
    const auto row_inside = [&](std::int64_t o, std::int64_t a) { return inside(row_of(o, a), 0); };
    bool any = false;
    for (std::int64_t o = 0; o < conv_.oh; ++o) {
      for (std::int64_t a = 0; a < conv_.kh; ++a) any = any || !row_inside(o, a);
    }
    for (std::int64_t b = 0; b < conv_.kw; ++b) any = any || !columns[static_cast<std::size_t>(b)].empty();
    if (!any) return;
    parallel_for(
        conv_.m, element_grain / (rows_ * conv_.kw + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
          const auto width = static_cast<std::size_t>(end - begin);
          std::vector<double> given(static_cast<std::size_t>(taps) * width);
          std::vector<double> sums(width);
          for (std::int64_t o = 0; o < conv_.oh; ++o) {
            bool beyond = false;
            for (std::int64_t a = 0; a < conv_.kh; ++a) beyond = beyond || !row_inside(o, a);
            for (std::int64_t b = 0; b <= conv_.kw; ++b) {
              const std::vector<std::int64_t>& places = columns[static_cast<std::size_t>(b)];
              if (places.empty() || (b == conv_.kw && !beyond)) continue;
              std::ranges::fill(sums, 0);
              for (std::int64_t n = 0; n < conv_.n; ++n) {
                for (const std::int64_t j : places) {
                  const float* const pixel = dy_ + ((n * conv_.oh + o) * conv_.ow + j) * conv_.m + begin;
                  for (std::size_t i = 0; i < width; ++i) sums[i] += static_cast<double>(pixel[i]);
                }
              }
              for (std::int64_t tap = 0; tap < taps; ++tap) {
                const bool whole = !row_inside(o, tap / conv_.kw);
                if (b != (whole ? conv_.kw : tap % conv_.kw)) continue;
                double* const sum = given.data() + static_cast<std::size_t>(tap) * width;
                for (std::size_t i = 0; i < width; ++i) sum[i] += sums[i];
              }
            }
          }
          for (std::size_t i = 0; i < width; ++i) {
            for (std::int64_t tap = 0; tap < taps; ++tap) {
              const auto sum = static_cast<float>(given[static_cast<std::size_t>(tap) * width + i]);
              float* const out = dw_ + (begin + static_cast<std::int64_t>(i)) * conv_.k() + tap * channels;
              for (std::int64_t c = 0; c < channels; ++c) out[c] += sum;
            }
          }
        });
  }

  const SignSumKernels& kernels_;
  const Conv2d& conv_;
  bool ones_;
  const float* dy_;
  const std::uint64_t* x_;
  float* dw_;
  bool flat_;
  std::int64_t pixels_;
  std::int64_t row_, rows_;  // pixels of a row of dy; rows
  std::int64_t row_tables_;
  std::int64_t chunk_;       // rows that are summed at a time
  std::int64_t tap_words_;   // of one lane in a chunk
  std::int64_t part_words_;  // of one lane in a row of x, and one more
  std::int64_t group_lanes_, pitch_;
  std::vector<std::int64_t> remainders_;  // of columns, those that taps read
  Tensor zeros_;
  Tensor signs_;
  std::vector<Image> images_;
  const std::uint32_t* outside_ = nullptr;
};

}  // namespace

void float_backward_weight(const SignSumKernels& kernels, const Conv2d& conv, ops::PaddingValue padding,
                           const float* dy, const std::uint64_t* x, float* dw) {
  WeightGradient(kernels, conv, padding, dy, x, dw).run();
}

}  // namespace hardbit::cpu
