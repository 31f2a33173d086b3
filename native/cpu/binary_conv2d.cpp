#include "cpu/binary_conv2d.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "runtime/tensor.h"
#include "runtime/threads.h"

// A convolution is a product of patches and weights. Each thread takes rows of the output, and for them
//  1. makes a tight bit string of every input row they read, padding included: (left + W + right)·C bits;
//  2. cuts it into windows, the taps of one kernel row at one output column, KW·C / groups bits. Where the
//     windows begin and end on words they are the string itself;
//  3. puts KH windows one behind the other, which is the patch of an output pixel in the weights' order,
//     [pixel][plane][words(K)], for a block of pixels; rows above or below the image are windows of padding;
//  4. multiplies the block by the weights of each group with the micro-kernel of the matrix product.
// Zero padding of signs, which have no zero, is a string of 0 bits (−1), and the offset added to the sums of
// a pixel takes it back: it depends on the channel and on the taps that are outside, of which there are few
// sets.

namespace hardbit::cpu {
namespace {

using ops::Conv2d;
using ops::PaddingValue;

/// Work below which a second thread does not pay, in words combined.
constexpr std::int64_t word_grain = 256 * 1024;

std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

Tensor scratch(std::int64_t words) { return Tensor::empty(DType::u8, {words * 8}); }

std::uint64_t low_bits(std::int64_t n) { return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1; }

/// 64 bits from bit `at` on; always reads two words.
std::uint64_t read_word(const std::uint64_t* bits, std::int64_t at) {
  const auto place = static_cast<std::uint64_t>(at);
  const std::uint64_t* const p = bits + place / 64;
  const auto shift = static_cast<int>(place % 64);
  return p[0] >> shift | p[1] << 1 << (63 - shift);
}

/// Writes a string of bits word by word.
class BitWriter {
 public:
  explicit BitWriter(std::uint64_t* out) : out_(out) {}

  /// The low `n` ≤ 64 bits of `value`, whose others are 0.
  void append(std::uint64_t value, int n) {
    word_ |= value << filled_;
    if (filled_ + n < 64) {
      filled_ += n;
      return;
    }
    *out_++ = word_;
    word_ = filled_ == 0 ? 0 : value >> (64 - filled_);
    filled_ += n - 64;
  }
  /// Bits [at, at + n) of a string.
  void copy(const std::uint64_t* bits, std::int64_t at, std::int64_t n) {
    for (; n > 64; n -= 64, at += 64) append(read_word(bits, at), 64);
    if (n > 0) append(read_word(bits, at) & low_bits(n), static_cast<int>(n));
  }
  /// `n` equal bits, all those of `word`.
  void fill(std::uint64_t word, std::int64_t n) {
    for (; n > 64; n -= 64) append(word, 64);
    if (n > 0) append(word & low_bits(n), static_cast<int>(n));
  }
  /// The last word, the rest of it 0.
  void finish() {
    if (filled_ > 0) *out_ = word_;
  }

 private:
  std::uint64_t* out_;
  std::uint64_t word_ = 0;
  int filled_ = 0;
};

/// For each output row (or column) the taps [begin, end) of that side of the kernel that are inside the
/// image, as the number of a distinct interval.
struct Borders {
  struct Inside {
    std::int64_t begin, end;
    bool operator==(const Inside&) const = default;
  };
  std::vector<Inside> classes;
  std::vector<std::int64_t> of;

  Borders(std::int64_t outputs, std::int64_t size, std::int64_t taps, std::int64_t stride,
          std::int64_t dilation, std::int64_t before) {
    for (std::int64_t o = 0; o < outputs; ++o) {
      const std::int64_t first = o * stride - before;  // the input position of tap 0
      const std::int64_t begin = std::min(first < 0 ? (-first + dilation - 1) / dilation : 0, taps);
      const std::int64_t end =
          std::clamp(size > first ? (size - first + dilation - 1) / dilation : 0, begin, taps);
      const Inside inside = begin < end ? Inside{begin, end} : Inside{0, 0};
      const auto found = std::find(classes.begin(), classes.end(), inside);
      of.push_back(found - classes.begin());
      if (found == classes.end()) classes.push_back(inside);
    }
  }
  /// One class: padding that needs no correction.
  Borders(std::int64_t outputs, std::int64_t taps)
      : classes{{0, taps}}, of(static_cast<std::size_t>(outputs), 0) {}
};

/// One operand of the sums: bit strings of rows of images.
class Signs {
 public:
  Signs(const Conv2d& conv, const std::uint64_t* x) : conv_(conv), x_(x) {}
  int planes() const { return 1; }
  /// Words a thread needs to make a string.
  std::int64_t scratch_words(std::int64_t) const { return 0; }

  /// The string of row `row` of image `image`, between `pad` bits.
  void string(std::int64_t image, std::int64_t row, std::uint64_t pad, std::int64_t, std::uint64_t*,
              std::uint64_t* out) const {
    const auto& padding = conv_.geometry.padding;
    const std::int64_t pixel = words(conv_.c);
    const std::uint64_t* x = x_ + (image * conv_.h + row) * conv_.w * pixel;
    BitWriter writer(out);
    writer.fill(pad, padding[2] * conv_.c);
    for (std::int64_t i = 0; i < conv_.w; ++i) {
      std::int64_t left = conv_.c;
      for (; left > 64; left -= 64) writer.append(*x++, 64);
      writer.append(*x++, static_cast<int>(left));
    }
    writer.fill(pad, padding[3] * conv_.c);
    writer.finish();
  }

 private:
  const Conv2d& conv_;
  const std::uint64_t* x_;
};

class Codes {
 public:
  Codes(const Conv2d& conv, const std::uint8_t* codes, int bits, const BitKernels& kernels)
      : conv_(conv), codes_(codes), bits_(bits), kernels_(kernels) {}
  int planes() const { return bits_; }
  /// The codes of a row and their padding.
  std::int64_t scratch_words(std::int64_t string_bits) const { return words(string_bits * 8); }

  void string(std::int64_t image, std::int64_t row, std::uint64_t pad, std::int64_t string_bits,
              std::uint64_t* scratch, std::uint64_t* out) const {
    const auto& padding = conv_.geometry.padding;
    const std::int64_t row_codes = conv_.w * conv_.c;
    const auto code = static_cast<std::uint8_t>(pad & low_bits(bits_));
    auto* const padded = reinterpret_cast<std::uint8_t*>(scratch);
    std::fill_n(padded, padding[2] * conv_.c, code);
    std::memcpy(padded + padding[2] * conv_.c, codes_ + (image * conv_.h + row) * row_codes,
                static_cast<std::size_t>(row_codes));
    std::fill_n(padded + padding[2] * conv_.c + row_codes, padding[3] * conv_.c, code);
    kernels_.pack_planes(padded, 1, string_bits, bits_, out);
  }

 private:
  const Conv2d& conv_;
  const std::uint8_t* codes_;
  int bits_;
  const BitKernels& kernels_;
};

/// The sizes of a thread's work, in words where nothing else is said.
struct Layout {
  std::int64_t string_bits;  // of a padded input row
  std::int64_t string;       // of one of its planes
  bool aligned;              // the windows of a string are words of it
  std::int64_t window_bits;  // the taps of one kernel row
  std::int64_t window;       // of the same
  std::int64_t pitch;        // from the window of one output column to that of the next
  std::int64_t plane;        // of one plane's windows
  std::int64_t row;          // of all windows of an input row, [groups][planes]
  std::int64_t patch;        // of one plane of a patch
  std::int64_t rows;         // most output rows made from one set of windows
  std::int64_t window_rows;  // most input rows they read
  std::int64_t pixels;       // patches made at a time

  Layout(const Conv2d& conv, int planes, int mr) {
    constexpr std::int64_t rows_budget = 8 * 1024;     // the windows stay in the second-level cache
    constexpr std::int64_t patches_budget = 3 * 1024;  // the patches stay in the first
    const auto& [stride, dilation, padding, groups] = conv.geometry;
    string_bits = (padding[2] + conv.w + padding[3]) * conv.c;
    string = words(string_bits);
    window_bits = conv.kw * conv.group_channels();
    window = words(window_bits);
    aligned = conv.c % 64 == 0 && groups == 1 && dilation[1] == 1;
    pitch = aligned ? stride[1] * conv.c / 64 : window;
    plane = aligned ? string : conv.ow * window;
    row = groups * planes * plane;
    patch = words(conv.k());
    const std::int64_t reach = dilation[0] * (conv.kh - 1) + 1;
    rows = std::clamp<std::int64_t>((rows_budget / row - reach) / stride[0] + 1,
                                    std::min<std::int64_t>(4, conv.oh), conv.oh);
    window_rows = std::min(conv.h, (rows - 1) * stride[0] + reach);
    pixels = round_up(std::clamp<std::int64_t>(patches_budget / (planes * patch), 1, 64), mr);
  }
};

/// The windows of every output column and group from one plane of a string.
void cut(const Conv2d& conv, const Layout& layout, const std::uint64_t* string, std::int64_t group,
         std::uint64_t* windows) {
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  const std::int64_t channels = conv.group_channels();
  const bool together = dilation[1] == 1 && groups == 1;
  const std::int64_t step = stride[1] * conv.c;
  std::int64_t at = group * channels;
  if (!together) {
    for (std::int64_t j = 0; j < conv.ow; ++j, at += step, windows += layout.window) {
      BitWriter writer(windows);
      for (std::int64_t b = 0; b < conv.kw; ++b) writer.copy(string, at + b * dilation[1] * conv.c, channels);
      writer.finish();
    }
    return;
  }
  const std::uint64_t last = low_bits(layout.window_bits - (layout.window - 1) * 64);
  for (std::int64_t j = 0; j < conv.ow; ++j, at += step) {
    for (std::int64_t i = 0; i + 1 < layout.window; ++i) *windows++ = read_word(string, at + i * 64);
    *windows++ = read_word(string, at + (layout.window - 1) * 64) & last;
  }
}

/// Where a kernel row's window goes in the patches of a block.
struct Placement {
  int shift;            // the first bit, in the first word
  std::int64_t window;  // words
  bool spill;           // shifted, it takes one word more
  std::int64_t pitch;   // from one window to the next
  std::int64_t stride;  // from one patch to the next
};

/// Puts the windows of `count` output columns into their patches, of which earlier kernel rows wrote all bits
/// below; `fixed` is the window's words where they are known.
template <int fixed>
void place(const Placement& given, const std::uint64_t* from, std::int64_t count, std::uint64_t* to) {
  const Placement p = given;
  const std::int64_t window = fixed > 0 ? fixed : p.window;
  if (p.shift == 0) {
    for (; count > 0; --count, from += p.pitch, to += p.stride) {
      for (std::int64_t i = 0; i < window; ++i) to[i] = from[i];
    }
    return;
  }
  const int rest = 64 - p.shift;
  for (; count > 0; --count, from += p.pitch, to += p.stride) {
    to[0] |= from[0] << p.shift;
    for (std::int64_t i = 1; i < window; ++i) to[i] = from[i] << p.shift | from[i - 1] >> rest;
    if (p.spill) to[window] = from[window - 1] >> rest;
  }
}

void place(const Placement& p, const std::uint64_t* from, std::int64_t count, std::uint64_t* to) {
  switch (p.window) {
    case 1:
      return place<1>(p, from, count, to);
    case 2:
      return place<2>(p, from, count, to);
    case 3:  // 3×3 over 64 channels
      return place<3>(p, from, count, to);
    case 6:  // and over 128
      return place<6>(p, from, count, to);
    default:
      return place<0>(p, from, count, to);
  }
}

/// Calls epilogue(first row, first column, tile with its sums) for each tile of patches
/// [count][planes][words] by packed weights of `m` channels.
template <class Epilogue>
void multiply(const Bgemm& kernel, const std::uint64_t* patches, std::int64_t count, int planes,
              std::int64_t words, const std::uint64_t* packed, std::int64_t m, const Epilogue& epilogue) {
  alignas(64) std::uint32_t sums[max_tile];
  for (std::int64_t column = 0; column < m; column += kernel.nr) {
    for (std::int64_t row = 0; row < count; row += kernel.mr) {
      const BgemmTile tile{.x = patches + row * planes * words,
                           .row_stride = planes * words,
                           .plane_stride = words,
                           .w = packed + column * words,
                           .words = words,
                           .planes = planes,
                           .rows = static_cast<int>(std::min<std::int64_t>(kernel.mr, count - row)),
                           .columns = static_cast<int>(std::min<std::int64_t>(kernel.nr, m - column)),
                           .sums = sums};
      kernel.run(tile);
      epilogue(row, column, tile);
    }
  }
}

/// The weights as the kernel reads them, a group after another.
struct Weights {
  Tensor packed;
  std::int64_t channels;  // of a group
  std::int64_t stride;    // words from one group to the next

  Weights(const Bgemm& kernel, const Conv2d& conv, const std::uint64_t* w)
      : channels(conv.m / conv.geometry.groups), stride(round_up(channels, kernel.lanes) * words(conv.k())) {
    packed = scratch(conv.geometry.groups * stride);
    const std::int64_t row = words(conv.k());
    const std::int64_t vectors = round_up(channels, kernel.lanes) / kernel.lanes;
    parallel_for(conv.geometry.groups * vectors, word_grain / 8 / (row * kernel.lanes) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     const std::int64_t group = i / vectors;
                     const std::int64_t first = i % vectors * kernel.lanes;
                     kernel.pack(w + (group * channels + first) * row,
                                 std::min<std::int64_t>(kernel.lanes, channels - first), row,
                                 packed.data<std::uint64_t>() + group * stride + first * row);
                   }
                 });
  }
  const std::uint64_t* group(std::int64_t g) const { return packed.data<std::uint64_t>() + g * stride; }
};

/// S of every row of `patches` [count][words(k)] by every channel: [count][m].
Tensor sums_of(const Bgemm& kernel, const Conv2d& conv, const Weights& weights, const std::uint64_t* patches,
               std::int64_t count) {
  Tensor sums = Tensor::empty(DType::i32, {count, conv.m});
  for (std::int64_t g = 0; g < conv.geometry.groups; ++g) {
    multiply(kernel, patches, count, 1, words(conv.k()), weights.group(g), weights.channels,
             [&](std::int64_t row, std::int64_t column, const BgemmTile& tile) {
               for (int r = 0; r < tile.rows; ++r) {
                 for (int c = 0; c < tile.columns; ++c) {
                   sums.data<std::int32_t>()[(row + r) * conv.m + g * weights.channels + column + c] =
                       static_cast<std::int32_t>(tile.sums[r * kernel.nr + c]);
                 }
               }
             });
  }
  return sums;
}

/// The offsets [row classes][column classes][m] of signs padded with 0 bits: with S of the patch 0, which is
/// popcount(w), and S of the patch that is 1 at the taps inside, K + Σ w over the taps outside is their sum.
Tensor border_offsets(const Bgemm& kernel, const Conv2d& conv, const Weights& weights, const Borders& rows,
                      const Borders& columns) {
  const auto count = static_cast<std::int64_t>(rows.classes.size() * columns.classes.size());
  const Tensor masks = Tensor::zeros(DType::bits, {count + 1, conv.k()});  // the last one stays 0
  auto* mask = masks.data<std::uint64_t>();
  for (const auto& down : rows.classes) {
    for (const auto& across : columns.classes) {
      BitWriter writer(mask);
      for (std::int64_t a = 0; a < conv.kh; ++a) {
        for (std::int64_t b = 0; b < conv.kw; ++b) {
          const bool inside = a >= down.begin && a < down.end && b >= across.begin && b < across.end;
          writer.fill(inside ? ~std::uint64_t{0} : 0, conv.group_channels());
        }
      }
      writer.finish();
      mask += masks.row_words();
    }
  }
  Tensor offsets = sums_of(kernel, conv, weights, masks.data<std::uint64_t>(), count + 1);
  const std::int32_t* const zero = offsets.data<std::int32_t>() + count * conv.m;
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t m = 0; m < conv.m; ++m) offsets.data<std::int32_t>()[i * conv.m + m] += zero[m];
  }
  return offsets;
}

void store_tile(const BitKernels& kernels, const TileStore<std::int16_t>& store) { kernels.store_i16(store); }
void store_tile(const BitKernels& kernels, const TileStore<std::int32_t>& store) { kernels.store_i32(store); }

/// What all threads share. out = offsets[class of the pixel][m] − factor·S.
struct Job {
  const Kernels& kernels;
  const Conv2d& conv;
  std::uint64_t pad;  // all ones or all zeros
  const Weights& weights;
  const Tensor& offsets;
  int factor;
  const Borders& rows;
  const Borders& columns;
};

/// One thread's windows and patches, in memory of its own.
template <class Operand>
class Worker {
 public:
  static std::int64_t scratch_words(const Layout& layout, const Operand& x) {
    return x.planes() * (layout.string + layout.pixels * layout.patch) + 1 +
           (layout.window_rows + 1) * layout.row + x.scratch_words(layout.string_bits);
  }

  Worker(const Job& job, const Layout& layout, const Operand& x, std::uint64_t* scratch)
      : job_(job),
        layout_(layout),
        x_(x),
        string_(scratch),
        patches_(string_ + x.planes() * layout.string + 1),  // read_word reads one word more
        padding_(patches_ + layout.pixels * x.planes() * layout.patch),
        windows_(padding_ + layout.row),
        scratch_(windows_ + layout.window_rows * layout.row),
        offsets_(static_cast<std::size_t>(layout.pixels)) {
    std::uint64_t* const string = layout.aligned ? padding_ : string_;
    std::fill_n(string, x.planes() * layout.string, job.pad);
    if (!layout.aligned) cut_all(padding_);
  }

  /// Output rows [begin, end) of an image, at most layout.rows.
  template <class Out>
  void run(std::int64_t image, std::int64_t begin, std::int64_t end, Out* out) {
    const Conv2d& conv = job_.conv;
    const std::int64_t top = begin * conv.geometry.stride[0] - conv.geometry.padding[0];
    const std::int64_t bottom = (end - 1) * conv.geometry.stride[0] - conv.geometry.padding[0] +
                                conv.geometry.dilation[0] * (conv.kh - 1) + 1;
    first_row_ = std::clamp<std::int64_t>(top, 0, conv.h);
    for (std::int64_t row = first_row_; row < std::min(bottom, conv.h); ++row) {
      std::uint64_t* const windows = windows_ + (row - first_row_) * layout_.row;
      x_.string(image, row, job_.pad, layout_.string_bits, scratch_, layout_.aligned ? windows : string_);
      if (!layout_.aligned) cut_all(windows);
    }
    const std::int64_t last = end * conv.ow;
    for (std::int64_t pixel = begin * conv.ow; pixel < last; pixel += layout_.pixels) {
      const std::int64_t count = std::min(layout_.pixels, last - pixel);
      find_offsets(pixel, count);
      for (std::int64_t g = 0; g < conv.geometry.groups; ++g) {
        make_patches(pixel, count, g);
        block(g, count, out + (image * conv.oh * conv.ow + pixel) * conv.m);
      }
    }
  }

 private:
  /// All windows of the string just made.
  void cut_all(std::uint64_t* windows) const {
    for (std::int64_t g = 0; g < job_.conv.geometry.groups; ++g) {
      for (int p = 0; p < x_.planes(); ++p, windows += layout_.plane) {
        cut(job_.conv, layout_, string_ + p * layout_.string, g, windows);
      }
    }
  }

  /// The offsets of each pixel of a block: those of its border class.
  void find_offsets(std::int64_t pixel, std::int64_t count) {
    const Conv2d& conv = job_.conv;
    const auto classes = static_cast<std::int64_t>(job_.columns.classes.size());
    for (std::int64_t i = 0; i < count;) {
      const std::int64_t row = (pixel + i) / conv.ow;
      const std::int64_t row_class = job_.rows.of[static_cast<std::size_t>(row)];
      for (std::int64_t column = (pixel + i) % conv.ow; column < conv.ow && i < count; ++column, ++i) {
        const std::int64_t border = row_class * classes + job_.columns.of[static_cast<std::size_t>(column)];
        offsets_[static_cast<std::size_t>(i)] = job_.offsets.data<std::int32_t>() + border * conv.m;
      }
    }
  }

  /// The patches of a block of pixels for one group.
  void make_patches(std::int64_t pixel, std::int64_t count, std::int64_t group) {
    const Conv2d& conv = job_.conv;
    const auto& [stride, dilation, padding, groups] = conv.geometry;
    Placement placement{.shift = 0,
                        .window = layout_.window,
                        .spill = false,
                        .pitch = layout_.pitch,
                        .stride = x_.planes() * layout_.patch};
    std::int64_t columns = 0;
    for (std::int64_t i = 0; i < count; i += columns) {  // a part of an output row at a time
      const std::int64_t row = (pixel + i) / conv.ow;
      const std::int64_t column = (pixel + i) % conv.ow;
      columns = std::min(conv.ow - column, count - i);
      for (std::int64_t a = 0; a < conv.kh; ++a) {
        const std::int64_t y = row * stride[0] - padding[0] + a * dilation[0];
        const bool inside = y >= 0 && y < conv.h;
        const std::uint64_t* const windows = (inside ? windows_ + (y - first_row_) * layout_.row : padding_) +
                                             group * x_.planes() * layout_.plane + column * layout_.pitch;
        const std::int64_t bit = a * layout_.window_bits;
        placement.shift = static_cast<int>(bit % 64);
        placement.spill = placement.shift + layout_.window_bits > layout_.window * 64;
        for (int p = 0; p < x_.planes(); ++p) {
          place(placement, windows + p * layout_.plane, columns,
                patches_ + (i * x_.planes() + p) * layout_.patch + bit / 64);
        }
      }
    }
  }

  /// A block of patches by one group's weights; `out` is the first pixel's row of channels.
  template <class Out>
  void block(std::int64_t group, std::int64_t count, Out* out) {
    const Bgemm& kernel = job_.kernels.bgemm;
    const std::int64_t m = job_.conv.m;
    multiply(kernel, patches_, count, x_.planes(), layout_.patch, job_.weights.group(group),
             job_.weights.channels, [&](std::int64_t row, std::int64_t column, const BgemmTile& tile) {
               const std::int64_t channel = group * job_.weights.channels + column;
               const std::int32_t* const* offsets = offsets_.data() + row;
               for (int r = 0; r < tile.rows;) {  // runs of one border class
                 int end = r + 1;
                 while (end < tile.rows && offsets[end] == offsets[r]) ++end;
                 store_tile(job_.kernels.bits, TileStore<Out>{.sums = tile.sums + r * kernel.nr,
                                                              .nr = kernel.nr,
                                                              .rows = end - r,
                                                              .columns = tile.columns,
                                                              .offsets = offsets[r] + channel,
                                                              .factor = job_.factor,
                                                              .out = out + (row + r) * m + channel,
                                                              .stride = m});
                 r = end;
               }
             });
  }

  const Job& job_;
  const Layout& layout_;
  const Operand& x_;
  std::uint64_t* string_;
  std::uint64_t* patches_;
  std::uint64_t* padding_;  // the windows of a row outside
  std::uint64_t* windows_;  // those of input rows from first_row_ on
  std::uint64_t* scratch_;
  std::int64_t first_row_ = 0;
  std::vector<const std::int32_t*> offsets_;
};

template <class Out, class Operand>
void convolve(const Job& job, const Operand& x, Out* out) {
  const Conv2d& conv = job.conv;
  const Layout layout(conv, x.planes(), job.kernels.bgemm.mr);
  // A cache line and more between threads, so that none waits for another's writes.
  const std::int64_t share = round_up(Worker<Operand>::scratch_words(layout, x), 16) + 16;
  const Tensor memory = scratch(share * threads());
  std::atomic<int> next{0};
  const std::int64_t row_work = conv.ow * conv.m * (x.planes() * layout.patch + 1);
  parallel_for(conv.n * conv.oh, word_grain / row_work + 1, [&](std::int64_t begin, std::int64_t end) {
    Worker<Operand> worker(job, layout, x, memory.data<std::uint64_t>() + next++ * share);
    while (begin < end) {
      const std::int64_t row = begin % conv.oh;
      const std::int64_t count = std::min({end - begin, conv.oh - row, layout.rows});
      worker.run(begin / conv.oh, row, row + count, out);
      begin += count;
    }
  });
}

}  // namespace

template <class Out>
void binary_conv2d(const Kernels& kernels, const Conv2d& conv, PaddingValue padding, const std::uint64_t* x,
                   const std::uint64_t* w, Out* out) {
  if (conv.n == 0 || conv.m == 0 || conv.c == 0) {
    std::fill_n(out, conv.n * conv.oh * conv.ow * conv.m, Out{0});
    return;
  }
  const auto& [stride, dilation, pad, groups] = conv.geometry;
  const bool exact = padding == PaddingValue::one;
  const Borders rows =
      exact ? Borders(conv.oh, conv.kh) : Borders(conv.oh, conv.h, conv.kh, stride[0], dilation[0], pad[0]);
  const Borders columns =
      exact ? Borders(conv.ow, conv.kw) : Borders(conv.ow, conv.w, conv.kw, stride[1], dilation[1], pad[2]);
  const Weights weights(kernels.bgemm, conv, w);
  const Tensor offsets = border_offsets(kernels.bgemm, conv, weights, rows, columns);
  convolve(Job{kernels, conv, exact ? ~std::uint64_t{0} : 0, weights, offsets, 2, rows, columns},
           Signs(conv, x), out);
}

template <class Out>
int codes_conv2d(const Kernels& kernels, const Conv2d& conv, PaddingValue padding, const std::uint8_t* codes,
                 int bits, const std::uint64_t* w, Out* out) {
  std::atomic<int> all{0};
  parallel_for(conv.n * conv.h * conv.w * conv.c, 8 * element_grain,
               [&](std::int64_t begin, std::int64_t end) {
                 std::uint8_t part = 0;
                 for (std::int64_t i = begin; i < end; ++i) part |= codes[i];
                 all |= part;
               });
  if (all >> bits != 0) return all;
  if (conv.n == 0 || conv.m == 0 || conv.c == 0) {
    std::fill_n(out, conv.n * conv.oh * conv.ow * conv.m, Out{0});
    return all;
  }
  const Borders rows(conv.oh, conv.kh);
  const Borders columns(conv.ow, conv.kw);
  const Weights weights(kernels.bgemm, conv, w);
  // (2^bits − 1)·popcount(w): the sums of a patch of zeros are the popcounts of the weights.
  const Tensor zeros = Tensor::zeros(DType::bits, {1, conv.k()});
  const Tensor offsets = sums_of(kernels.bgemm, conv, weights, zeros.data<std::uint64_t>(), 1);
  for (std::int32_t& offset : offsets.span<std::int32_t>()) offset *= (1 << bits) - 1;
  convolve(Job{kernels, conv, padding == PaddingValue::one ? ~std::uint64_t{0} : 0, weights, offsets, 1, rows,
               columns},
           Codes(conv, codes, bits, kernels.bits), out);
  return all;
}

template void binary_conv2d(const Kernels&, const Conv2d&, PaddingValue, const std::uint64_t*,
                            const std::uint64_t*, std::int16_t*);
template void binary_conv2d(const Kernels&, const Conv2d&, PaddingValue, const std::uint64_t*,
                            const std::uint64_t*, std::int32_t*);
template int codes_conv2d(const Kernels&, const Conv2d&, PaddingValue, const std::uint8_t*, int,
                          const std::uint64_t*, std::int16_t*);
template int codes_conv2d(const Kernels&, const Conv2d&, PaddingValue, const std::uint8_t*, int,
                          const std::uint64_t*, std::int32_t*);

}  // namespace hardbit::cpu
