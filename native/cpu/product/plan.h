#pragma once
#include <algorithm>
#include <tuple>
#include <vector>

#include "cpu/product/conv_product.h"
#include "runtime/division.h"
#include "runtime/words.h"

namespace hardbit::cpu {

/// For each output row (or column) the taps [begin, end) of that side of the kernel that are inside the
/// image, as the number of a distinct interval.
struct Borders {
  struct Inside {
    std::int64_t begin, end;
    bool operator==(const Inside&) const = default;
  };
  std::vector<Inside> classes;
  std::vector<std::int32_t> of;

  Borders(std::int64_t outputs, std::int64_t size, std::int64_t taps, std::int64_t stride,
          std::int64_t dilation, std::int64_t before);
  /// One class: padding that needs no correction.
  Borders(std::int64_t outputs, std::int64_t taps);
};

/// How a window is read.
enum class Path : std::uint8_t {
  /// Where it lies in the image: kernel rows, or taps, are segments of whole words.
  direct,
  /// From a copy without gaps between the taps: fewer words where the channels fill none.
  patches,
};

/// The 32-bit words of K that the kernels combine.
struct WindowWords {
  std::int64_t bits;  // of a plane
  bool patches;       // whether the bits are copied for that
  std::int64_t bytes;
};
WindowWords window_words(const ops::Conv2d& conv, const ProductRows& rows);

struct ConvProduct::Plan {
  ops::Conv2d conv;
  ops::PaddingValue padding;
  Input input;
  /// Of a code; 1 for signs.
  int bits;
  ProductRows rows;
  const ProductKernel& kernel;
  Path path;

  // -- the window, as the kernel reads it

  /// Of the kernel's call: `bits`, or 1 for bytes.
  int planes;
  /// Direct: bytes of a tap: a group's channels in whole words of bits, or as bytes.
  std::int64_t tap_bytes;
  /// Direct: the taps of a kernel row lie side by side.
  bool joined;
  std::int64_t segments;
  std::int64_t segment_words;
  /// 32-bit words of K.
  std::int64_t k_words;

  // -- input rows in scratch memory, where the image itself is not read

  /// Rows of the image that one output row reads, from the first to the last.
  std::int64_t reach;
  /// Padding that windows read: above, below, left, right. At most the geometry's.
  std::array<std::int64_t, 4> needs;
  /// Bytes of a pixel (direct; else 0), of a plane's row of pixels, padding included, and of all planes.
  std::int64_t pixel_bytes = 0;
  std::int64_t plane_bytes;
  std::int64_t row_bytes;
  /// Direct: a kernel row's segment ends with it, so that nothing behind an image is read.
  bool exact;

  // -- patches

  /// The bits of a padded row's string, and of one window of it: the taps of a kernel row in a group.
  std::int64_t string_bits;
  std::int64_t window_bits;
  /// 0: windows and patches are strings of 64-bit words; else one word of that many bits, 32 or 64, holds a
  /// patch, and planes are apart.
  int small;

  /// Tiles of pixels of one border class leave out the taps outside of the image. Their tables stand behind
  /// those of whole windows, class by class.
  bool skips;

  // -- blocking

  /// Rows of input in scratch memory at a time.
  std::int64_t strip_rows;
  /// Output pixels at a time.
  std::int64_t block;

  // -- channels

  std::int64_t group_outputs;
  /// Channels of a group in tables, whole vectors.
  std::int64_t table_group;
  /// Of a class, all groups.
  std::int64_t table_row;
  std::int64_t group_tiles;
  std::size_t packed_group;
  PlanMemory packed;

  // dot = offsets[class][channel] − factor·S

  Borders down;
  Borders across;
  std::int32_t factor;
  PlanMemory offsets;

  Plan(const ops::Conv2d& conv, ops::PaddingValue padding, Input input, int bits,
       const std::uint64_t* weights, const ProductRows& rows, Operand operand);

  bool bytes_operand() const { return kernel.operand == Operand::bytes; }
  std::int64_t classes() const {
    return static_cast<std::int64_t>(down.classes.size() * across.classes.size());
  }
  /// Rows of the tables of offsets and thresholds.
  std::int64_t tables() const { return skips ? 2 * classes() : classes(); }
  /// The taps that are inside for a border class: rows and columns of the kernel.
  std::pair<Borders::Inside, Borders::Inside> inside(std::int64_t border) const {
    const auto columns = static_cast<std::int64_t>(across.classes.size());
    return {down.classes[static_cast<std::size_t>(border / columns)],
            across.classes[static_cast<std::size_t>(border % columns)]};
  }
  std::int64_t tiles() const { return conv.geometry.groups * group_tiles; }
  /// Whether windows can be read where the caller keeps the images.
  bool reads_in_place(const Images& x) const;
  /// Bytes of the rows of bits behind the threshold that wait for pooling, a conv row each.
  std::int64_t pool_row_bytes() const { return conv.ow * words(conv.m) * 8; }
  /// Where a group's bits do not begin on a byte they are put together here.
  bool merges_groups() const { return conv.geometry.groups > 1 && group_outputs % 8 != 0; }

 private:
  void lay_out_windows();
  bool skipping_pays() const;
  void pack_weights(const std::uint64_t* weights);
  void make_offsets(const std::uint64_t* weights);
};

}  // namespace hardbit::cpu
