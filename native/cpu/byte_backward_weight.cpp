#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <vector>

#include "cpu/byte_gradient.h"
#include "runtime/division.h"
#include "runtime/threads.h"

// The gradient of a convolution's weights sums over pixels. Some images at a time are repacked by channel: x
// as one plane of bytes a channel with its padding, dy rounded to bytes and packed as the product's weights
// [output channel][pixel]. A tap of a channel is then a window of the channel's plane, whose segments are
// rows of the image: dw[m][tap][c] = Σ over rows of plane c shifted by the tap times row of channel m.
//  - Rows of dy are padded with zeros to whole segments; the windows read on into whatever follows in x.
//  - Signs are bytes sign + 1, padding 1: Σ (x + 1)·q, so Σ q is taken off, the sum over a plane of ones.
//  - With a stride, a plane keeps the columns that one tap reads side by side: one part for each remainder.
//  - Where the kernel is one pixel, nothing is padded: all pixels are one row.

namespace hardbit::cpu {
namespace {

using ops::Conv2d;

constexpr std::int64_t segment_bytes = 8;
constexpr std::uint8_t zero_byte = 128;
/// Rows of dy whose length is a multiple of this fall on few sets of the first-level cache; a segment of
/// zeros more spreads them.
constexpr std::int64_t alias_bytes = 1024;

/// Rows of dy that are taken at a time: rows [begin, end) of some images, all rows where there are several.
struct Chunk {
  std::int64_t image, images;
  std::int64_t begin, end;
  std::int64_t rows() const { return end - begin; }
};

/// How a chunk lies in memory.
struct Layout {
  bool flat;                             // all pixels are one row
  std::int64_t row;                      // bytes of a row of dy (not flat)
  std::int64_t pixels;                   // bytes of one channel of dy
  std::int64_t input_rows;               // padded rows of x that one image's rows of dy read
  std::int64_t part;                     // bytes of the columns of one remainder
  std::vector<std::int64_t> remainders;  // of columns, those that taps read
  std::int64_t input_row;                // bytes of all parts
  std::int64_t plane;                    // bytes from one channel of x to the next
  std::vector<std::ptrdiff_t> segments;
  std::int64_t segment_words;
  std::vector<std::ptrdiff_t> taps;  // where each tap begins in a plane

  Layout(const Conv2d& conv, const Chunk& chunk) {
    const auto& [stride, dilation, padding, groups] = conv.geometry;
    flat = conv.kh == 1 && conv.kw == 1 && stride == ops::Pair{1, 1} && padding == decltype(padding){};
    const std::int64_t count = chunk.images * chunk.rows();
    std::int64_t bytes = 0;
    if (flat) {
      row = conv.ow;
      pixels = round_up(count * conv.ow, segment_bytes);
      if (pixels % alias_bytes == 0) pixels += segment_bytes;
      input_rows = part = input_row = 0;
      segments = {0};
      segment_words = pixels / 4;
      taps = {0};
      bytes = pixels;
    } else {
      row = round_up(conv.ow, segment_bytes);
      pixels = count * row;
      input_rows = (chunk.rows() - 1) * stride[0] + (conv.kh - 1) * dilation[0] + 1;
      part = (conv.kw - 1) * dilation[1] / stride[1] + row;
      for (std::int64_t b = 0; b < conv.kw; ++b) {
        const std::int64_t remainder = b * dilation[1] % stride[1];
        if (std::find(remainders.begin(), remainders.end(), remainder) == remainders.end())
          remainders.push_back(remainder);
      }
      input_row = part * static_cast<std::int64_t>(remainders.size());
      for (std::int64_t n = 0; n < chunk.images; ++n) {
        for (std::int64_t i = 0; i < chunk.rows(); ++i)
          segments.push_back((n * input_rows + i * stride[0]) * input_row);
      }
      segment_words = row / 4;
      if (pixels % alias_bytes == 0) {
        pixels += row;
        segments.push_back(0);
      }
      for (std::int64_t a = 0; a < conv.kh; ++a) {
        for (std::int64_t b = 0; b < conv.kw; ++b) {
          const std::int64_t at = b * dilation[1];
          const auto found = std::find(remainders.begin(), remainders.end(), at % stride[1]);
          taps.push_back(a * dilation[0] * input_row + (found - remainders.begin()) * part + at / stride[1]);
        }
      }
      bytes = chunk.images * input_rows * input_row;
    }
    plane = divide_up(bytes, 64) / 2 * 128 + 64;  // an odd number of lines, so that planes fall on all sets
  }
};

/// All of one gradient.
class WeightGradient {
 public:
  WeightGradient(const ByteKernels& kernels, const Conv2d& conv, ops::PaddingValue padding,
                 const OutputGradient& dy, const ByteActivations& x, const Draws& draws, float* dw)
      : kernels_(kernels),
        conv_(conv),
        dy_(dy),
        x_(x),
        draws_(draws),
        dw_(dw),
        signs_(x.codes == nullptr),
        levels_(ops::weight_gradient_levels(signs_, x.bits)),
        group_outputs_(conv.m / conv.geometry.groups),
        panels_(divide_up(group_outputs_, kernels.product.nr)) {
    const bool ones = padding == ops::PaddingValue::one;
    pad_ = static_cast<std::uint8_t>(signs_ ? (ones ? 2 : 1) : (ones ? (1 << x.bits) - 1 : 0));
    zeros_ = Tensor::zeros(DType::i32, {kernels.product.nr});
    find_scales();
  }

  void run() {
    const PixelChunks chunks(conv_, std::int64_t{levels_} * (signs_ ? 1 : (1 << x_.bits) - 1));
    const auto& [images, rows, limit] = chunks;
    if (images >= conv_.n && rows >= conv_.oh) {
      add_all({0, conv_.n, 0, conv_.oh});
      return;
    }
    sums_ = Tensor::empty(DType::i32, {conv_.geometry.groups * panels_, conv_.k() + 1, kernels_.product.nr});
    std::int64_t pixels = 0;  // in the sums
    for (std::int64_t image = 0; image < conv_.n; image += images) {
      for (std::int64_t begin = 0; begin < conv_.oh; begin += rows) {
        const Chunk chunk{image, std::min(images, conv_.n - image), begin, std::min(begin + rows, conv_.oh)};
        const std::int64_t more = chunk.images * chunk.rows() * conv_.ow;
        if (pixels > 0 && pixels + more > limit) {
          flush();
          pixels = 0;
        }
        add(chunk, pixels == 0);
        pixels += more;
      }
    }
    flush();
  }

 private:
  /// One scale an output channel.
  void find_scales() {
    const OutputGradient::Rows given = dy_.given(conv_);
    const std::int64_t rows = conv_.n * given.count * given.columns;
    const std::int64_t parts = std::clamp<std::int64_t>(rows * conv_.m / element_grain, 1, threads());
    const Tensor most = Tensor::zeros(DType::i32, {parts, conv_.m});
    parallel_for(parts, 1, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t first = rows * begin / parts;
      kernels_.gradient.column_magnitudes(given.values + first * conv_.m, rows * end / parts - first, conv_.m,
                                          most.data<std::uint32_t>() + begin * conv_.m);
    });
    const float unit = signs_ ? 1.0F : 1.0F / static_cast<float>((1 << x_.bits) - 1);
    factors_ = Tensor::empty(DType::f32, {2, conv_.m});
    period_ = factor_period(conv_.m, conv_.ow * conv_.m);
    row_factors_ = Tensor::empty(DType::f32, {2, period_});
    float* const lift = row_factors_.data<float>();
    for (std::int64_t m = 0; m < conv_.m; ++m) {
      std::uint32_t magnitude = 0;
      for (std::int64_t p = 0; p < parts; ++p)
        magnitude = std::max(magnitude, most.data<std::uint32_t>()[p * conv_.m + m]);
      const Rounding r = rounding(magnitude, levels_);
      factors_.data<float>()[m] = r.scale * unit;
      factors_.data<float>()[conv_.m + m] = r.drop;
      for (std::int64_t i = m; i < period_; i += conv_.m) {
        lift[i] = r.lift;
        lift[period_ + i] = r.inverse * 0x1p16F;
      }
    }
  }

  void add(const Chunk& chunk, bool first) {
    const Layout layout(conv_, chunk);
    fill_planes(chunk, layout);
    fill_outputs(chunk, layout);
    multiply(layout, first);
  }

  /// Grows scratch memory that chunks share.
  static std::uint8_t* reserve(Tensor& memory, std::int64_t bytes) {
    if (!memory.defined() || memory.count() < bytes) {
      memory = Tensor();
      memory = Tensor::empty(DType::u8, {bytes});
    }
    return memory.data<std::uint8_t>();
  }

  /// x by channel, and a plane of ones behind it.
  void fill_planes(const Chunk& chunk, const Layout& layout) {
    std::uint8_t* const planes = reserve(planes_, (conv_.c + 1) * layout.plane);
    parallel_for(conv_.c, element_grain * 8 / layout.plane + 1, [&](std::int64_t begin, std::int64_t end) {
      std::memset(planes + begin * layout.plane, pad_,
                  static_cast<std::size_t>((end - begin) * layout.plane));
    });
    std::memset(planes + conv_.c * layout.plane, 1, static_cast<std::size_t>(layout.plane));
    if (layout.flat) {
      const std::int64_t pixels = chunk.images * chunk.rows() * conv_.ow;
      const std::int64_t from = (chunk.image * conv_.oh + chunk.begin) * conv_.ow;
      const std::int64_t blocks = divide_up(pixels, 64);
      parallel_for(blocks, element_grain / (64 * conv_.c) + 1, [&](std::int64_t begin, std::int64_t end) {
        unpack(from + begin * 64, 1, std::min(end * 64, pixels) - begin * 64, planes + begin * 64,
               layout.plane);
      });
      return;
    }
    const auto& [stride, dilation, padding, groups] = conv_.geometry;
    const std::int64_t top = chunk.begin * stride[0] - padding[0];
    parallel_for(chunk.images * layout.input_rows, element_grain / (conv_.c * conv_.w + 1) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     const std::int64_t row = top + i % layout.input_rows;
                     if (row < 0 || row >= conv_.h) continue;
                     const std::int64_t image = chunk.image + i / layout.input_rows;
                     for (std::size_t p = 0; p < layout.remainders.size(); ++p) {
                       // Byte t is column remainder + t·stride − left.
                       const std::int64_t shift = layout.remainders[p] - conv_.geometry.padding[2];
                       const std::int64_t step = conv_.geometry.stride[1];
                       const std::int64_t t = shift < 0 ? divide_up(-shift, step) : 0;
                       const std::int64_t last =
                           std::min(layout.part, shift < conv_.w ? divide_up(conv_.w - shift, step) : 0);
                       if (t >= last) continue;
                       unpack((image * conv_.h + row) * conv_.w + shift + t * step, step, last - t,
                              planes + i * layout.input_row + static_cast<std::int64_t>(p) * layout.part + t,
                              layout.plane);
                     }
                   }
                 });
  }

  /// `count` pixels from `pixel` on, `step` apart, as bytes by channel.
  void unpack(std::int64_t pixel, std::int64_t step, std::int64_t count, std::uint8_t* out,
              std::int64_t plane) const {
    if (!signs_) {
      kernels_.gradient.transpose(x_.codes + pixel * conv_.c, step * conv_.c, count, conv_.c, 0, out, plane);
      return;
    }
    const std::int64_t pixel_words = words(conv_.c);
    for (std::int64_t c = 0; c < conv_.c; c += 64) {
      kernels_.gradient.unpack(x_.signs + pixel * pixel_words + c / 64, step * pixel_words, count,
                               std::min<std::int64_t>(64, conv_.c - c), 0, 2, out + c * plane, plane);
    }
  }

  /// dy rounded, and packed as the product's weights: [output channel][pixel].
  void fill_outputs(const Chunk& chunk, const Layout& layout) {
    const ProductKernel& kernel = kernels_.product;
    const std::int64_t words = layout.pixels / 4;
    packed_group_ = round_up(static_cast<std::int64_t>(kernel.packed_bytes(group_outputs_, words)), 64);
    std::uint8_t* const packed = reserve(packed_, conv_.geometry.groups * packed_group_);
    const std::int64_t pixels = chunk.images * chunk.rows() * layout.row;
    const std::int64_t used = layout.flat ? round_up(pixels, segment_bytes) : pixels;
    if (kernel.pack_rows == nullptr) {
      std::uint8_t* const outputs = reserve(outputs_, conv_.m * layout.pixels);
      round_outputs(chunk, layout, [&](const std::uint8_t* bytes, std::int64_t pixel, std::int64_t count) {
        kernels_.gradient.transpose(bytes, conv_.m, count, conv_.m, zero_byte, outputs + pixel,
                                    layout.pixels);
      });
      for (std::int64_t m = 0; m < conv_.m; ++m)
        std::memset(outputs + m * layout.pixels + used, 0, static_cast<std::size_t>(layout.pixels - used));
      pack(outputs, words, packed);
      return;
    }
    round_outputs(chunk, layout, [&](const std::uint8_t* bytes, std::int64_t pixel, std::int64_t count) {
      for (std::int64_t group = 0; group < conv_.geometry.groups; ++group) {
        kernel.pack_rows(bytes + group * group_outputs_, conv_.m, group_outputs_, count / 4, zero_byte, words,
                         packed + group * packed_group_ + pixel * kernel.lanes);
      }
    });
    for (std::int64_t group = 0; group < conv_.geometry.groups; ++group) {
      for (std::int64_t m = 0; m < group_outputs_; m += kernel.lanes) {
        std::memset(packed + group * packed_group_ + m * layout.pixels + used * kernel.lanes, 0,
                    static_cast<std::size_t>((layout.pixels - used) * kernel.lanes));
      }
    }
  }

  /// Calls take(bytes [count][m], pixel, count) with what dy becomes, some pixels at a time; both numbers are
  /// whole eights.
  template <class Take>
  void round_outputs(const Chunk& chunk, const Layout& layout, const Take& take) {
    const std::int64_t length = conv_.ow * conv_.m;
    // A few rows at a time, which begin at whole eights of pixels.
    std::int64_t block = divide_up(64, layout.row);
    while (block * layout.row % segment_bytes != 0) ++block;
    const std::int64_t rows = chunk.images * chunk.rows();
    const std::int64_t blocks = divide_up(rows, block);
    const std::int64_t rounded = round_up(round_up(block * layout.row, segment_bytes) * conv_.m, 64);
    const std::int64_t share = round_up(rounded + dy_.scratch(conv_) * 4, 64) + 64;
    std::uint8_t* const memory = reserve(rounded_, share * threads());
    std::atomic<int> next{0};
    parallel_for(blocks, element_grain / (block * length) + 1, [&](std::int64_t begin, std::int64_t end) {
      std::uint8_t* const bytes = memory + next++ * share;
      auto* const values = reinterpret_cast<float*>(bytes + rounded);
      for (std::int64_t b = begin; b < end; ++b) {
        const std::int64_t count = std::min(block, rows - b * block);
        const std::int64_t pixels = round_up(count * layout.row, segment_bytes);
        for (std::int64_t i = 0; i < count; ++i) {
          const std::int64_t row = chunk.image * conv_.oh + chunk.begin + b * block + i;
          std::uint8_t* const to = bytes + i * layout.row * conv_.m;
          kernels_.gradient.quantize(draws_, static_cast<std::uint32_t>(row * draw_blocks(length)),
                                     dy_.row(conv_, row, values), row_factors_.data<float>(),
                                     row_factors_.data<float>() + period_, period_, levels_, length, to);
          if (layout.row > conv_.ow)
            std::memset(to + length, zero_byte, static_cast<std::size_t>(layout.row * conv_.m - length));
        }
        std::memset(bytes + count * layout.row * conv_.m, zero_byte,
                    static_cast<std::size_t>((pixels - count * layout.row) * conv_.m));
        take(bytes, b * block * layout.row, pixels);
      }
    });
  }

  /// outputs [m][words of four pixels], packed.
  void pack(const std::uint8_t* outputs, std::int64_t words, std::uint8_t* packed) const {
    const ProductKernel& kernel = kernels_.product;
    parallel_for(conv_.geometry.groups * panels_, element_grain / (words * 4 * kernel.nr) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     const std::int64_t group = i / panels_;
                     const std::int64_t channel = i % panels_ * kernel.nr;
                     kernel.pack(reinterpret_cast<const std::uint32_t*>(
                                     outputs + (group * group_outputs_ + channel) * words * 4),
                                 std::min<std::int64_t>(kernel.nr, group_outputs_ - channel), words,
                                 packed + group * packed_group_ + kernel.packed_bytes(channel, words));
                   }
                 });
  }

  /// Windows of a group: its channels' taps, and the ones where they are needed.
  std::int64_t group_windows() const { return conv_.k() + (signs_ ? 1 : 0); }

  /// Windows [group][channel][tap], so that neighbours share a plane; a group's last one is of ones.
  std::vector<const std::uint8_t*> find_windows(const Layout& layout) const {
    std::vector<const std::uint8_t*> windows;
    for (std::int64_t c = 0; c < conv_.c; ++c) {
      for (const std::ptrdiff_t tap : layout.taps)
        windows.push_back(planes_.data<std::uint8_t>() + c * layout.plane + tap);
      if (signs_ && (c + 1) % conv_.group_channels() == 0)
        windows.push_back(planes_.data<std::uint8_t>() + conv_.c * layout.plane);
    }
    return windows;
  }

  /// One panel of output channels, counted through all groups: what its tiles have in common.
  struct Panel {
    std::int64_t group, channel;  // its first output channel
    const std::uint8_t* weights;
    int width;
  };
  Panel panel_at(const Layout& layout, std::int64_t panel) const {
    const std::int64_t group = panel / panels_;
    const std::int64_t column = panel % panels_ * kernels_.product.nr;
    return {.group = group,
            .channel = group * group_outputs_ + column,
            .weights = packed_.data<std::uint8_t>() + group * packed_group_ +
                       kernels_.product.packed_bytes(column, layout.pixels / 4),
            .width = static_cast<int>(std::min<std::int64_t>(kernels_.product.nr, group_outputs_ - column))};
  }

  void run_tile(const Layout& layout, const Panel& panel, const std::uint8_t* const* windows, int height,
                const std::int32_t* const* offsets, std::int32_t* const* outs) const {
    kernels_.product.store_i32(
        {.windows = {windows, layout.segments.data(), static_cast<std::int64_t>(layout.segments.size()),
                     layout.segment_words},
         .planes = 1,
         .plane_pitch = 0,
         .w = panel.weights,
         .rows = height,
         .columns = panel.width},
        {.offsets = offsets, .factor = -1, .out = outs});
  }

  /// A gradient whose pixels are one chunk: the sums of some channels go to dw while they are in the
  /// second-level cache.
  void add_all(const Chunk& chunk) {
    constexpr std::int64_t block_rows = 1024;  // of sums
    const Layout layout(conv_, chunk);
    fill_planes(chunk, layout);
    fill_outputs(chunk, layout);
    const ProductKernel& kernel = kernels_.product;
    const std::int64_t channels = conv_.group_channels();
    const auto taps = static_cast<std::int64_t>(layout.taps.size());
    const std::vector<const std::uint8_t*> windows = find_windows(layout);
    const std::int64_t panels = conv_.geometry.groups * panels_;
    std::array<const std::int32_t*, max_product_rows> zeros;
    zeros.fill(zeros_.data<std::int32_t>());

    // Σ q of every panel, or zeros.
    const Tensor minus = Tensor::zeros(DType::i32, {panels, kernel.nr});
    if (signs_) {
      for (std::int64_t p = 0; p < panels; ++p) {
        const Panel panel = panel_at(layout, p);
        std::int32_t* const out = minus.data<std::int32_t>() + p * kernel.nr;
        run_tile(layout, panel, windows.data() + (panel.group + 1) * group_windows() - 1, 1, zeros.data(),
                 &out);
      }
    }

    const std::int64_t block =
        std::clamp<std::int64_t>(block_rows / taps / 16 * 16, 16, round_up(channels, 16));
    const std::int64_t blocks = divide_up(channels, block);
    const std::int64_t share = round_up(block * taps * kernel.nr, 16) + 16;
    const Tensor memory = Tensor::empty(DType::i32, {share * threads()});
    std::atomic<int> next{0};
    const std::int64_t work = layout.pixels * block * taps * kernel.nr;
    parallel_for(panels * blocks, element_grain * 16 / work + 1, [&](std::int64_t begin, std::int64_t end) {
      std::int32_t* const sums = memory.data<std::int32_t>() + next++ * share;
      std::array<std::int32_t*, max_product_rows> outs;
      for (std::int64_t i = begin; i < end; ++i) {
        const Panel panel = panel_at(layout, i / blocks);
        const std::int64_t first = i % blocks * block;
        const std::int64_t width = std::min(block, channels - first);
        std::int64_t tap = 0;  // the sums are [tap][channel], the windows [channel][tap]
        std::int64_t channel = 0;
        for (std::int64_t row = 0; row < width * taps; row += kernel.mr) {
          const int height = static_cast<int>(std::min<std::int64_t>(kernel.mr, width * taps - row));
          for (int r = 0; r < height; ++r) {
            outs[static_cast<std::size_t>(r)] = sums + (tap * width + channel) * kernel.nr;
            if (++tap == taps) {
              tap = 0;
              ++channel;
            }
          }
          run_tile(layout, panel, windows.data() + panel.group * group_windows() + first * taps + row, height,
                   zeros.data(), outs.data());
        }
        for (tap = 0; tap < taps; ++tap) {
          kernels_.gradient.scale_transposed(
              sums + tap * width * kernel.nr, width, kernel.nr, panel.width,
              minus.data<std::int32_t>() + i / blocks * kernel.nr, factors_.data<float>() + panel.channel,
              factors_.data<float>() + conv_.m + panel.channel, false, conv_.k(),
              dw_ + panel.channel * conv_.k() + tap * channels + first);
        }
      }
    });
  }

  /// All windows of each group by its output channels, added to the sums.
  void multiply(const Layout& layout, bool first) {
    const ProductKernel& kernel = kernels_.product;
    const std::int64_t groups = conv_.geometry.groups;
    const std::int64_t channels = conv_.group_channels();
    const auto taps = static_cast<std::int64_t>(layout.taps.size());
    const std::vector<const std::uint8_t*> windows = find_windows(layout);
    const std::int64_t count = group_windows();
    // The rows of sums they belong to: K of a weight is [tap][channel]; the ones come last.
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < channels * taps; ++i) rows.push_back(i % taps * channels + i / taps);
    rows.push_back(channels * taps);
    const std::int64_t tiles = divide_up(count, kernel.mr);
    const std::int64_t work = layout.pixels * kernel.mr * kernel.nr;
    parallel_for(groups * panels_ * tiles, element_grain * 16 / work + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   std::array<std::int32_t*, max_product_rows> outs;
                   std::array<const std::int32_t*, max_product_rows> offsets;
                   offsets.fill(zeros_.data<std::int32_t>());
                   while (begin < end) {
                     const std::int64_t place_of_panel = begin / tiles;
                     const Panel panel = panel_at(layout, place_of_panel);
                     std::int32_t* const sums = panel_sums(place_of_panel);
                     const std::int64_t last = std::min(end - place_of_panel * tiles, tiles);
                     for (std::int64_t tile = begin - place_of_panel * tiles; tile < last; ++tile) {
                       const std::int64_t row = tile * kernel.mr;
                       const int height = static_cast<int>(std::min<std::int64_t>(kernel.mr, count - row));
                       for (int r = 0; r < height; ++r) {
                         const auto place = static_cast<std::size_t>(r);
                         outs[place] = sums + rows[static_cast<std::size_t>(row + r)] * kernel.nr;
                         if (!first) offsets[place] = outs[place];
                       }
                       run_tile(layout, panel, windows.data() + panel.group * count + row, height,
                                offsets.data(), outs.data());
                     }
                     begin = place_of_panel * tiles + last;
                   }
                 });
  }

  /// The sums [K, and Σ q][nr] of a panel of output channels; panels are counted through all groups.
  std::int32_t* panel_sums(std::int64_t panel) const {
    return sums_.data<std::int32_t>() + panel * (conv_.k() + 1) * kernels_.product.nr;
  }

  /// The sums, scaled, to dw.
  void flush() {
    const std::int64_t k = conv_.k();
    const std::int64_t nr = kernels_.product.nr;
    parallel_for(conv_.geometry.groups * panels_, element_grain / (nr * k) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t panel = begin; panel < end; ++panel) {
                     const std::int64_t column = panel % panels_ * nr;
                     const std::int64_t channel = panel / panels_ * group_outputs_ + column;
                     const std::int32_t* const sums = panel_sums(panel);
                     kernels_.gradient.scale_transposed(sums, k, nr, std::min(nr, group_outputs_ - column),
                                                        signs_ ? sums + k * nr : zeros_.data<std::int32_t>(),
                                                        factors_.data<float>() + channel,
                                                        factors_.data<float>() + conv_.m + channel, flushed_,
                                                        k, dw_ + channel * k);
                   }
                 });
    flushed_ = true;
  }

  const ByteKernels& kernels_;
  const Conv2d& conv_;
  const OutputGradient& dy_;
  const ByteActivations& x_;
  const Draws& draws_;
  float* dw_;
  bool signs_;
  int levels_;
  std::uint8_t pad_ = 0;
  bool flushed_ = false;
  std::int64_t group_outputs_;
  std::int64_t panels_;  // of output channels of a group
  std::int64_t packed_group_ = 0;
  std::int64_t period_ = 0;  // of the factors of a row of dy
  Tensor sums_, zeros_, factors_, row_factors_;
  Tensor planes_, outputs_, rounded_, packed_;
};

}  // namespace

void byte_backward_weight(const ByteKernels& kernels, const Conv2d& conv, ops::PaddingValue padding,
                          const OutputGradient& dy, const ByteActivations& x, const Draws& draws, float* dw) {
  WeightGradient(kernels, conv, padding, dy, x, draws, dw).run();
}

}  // namespace hardbit::cpu
