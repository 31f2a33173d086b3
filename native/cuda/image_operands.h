#pragma once
// What convolutions put into the tiles of float_product.h. Images are NHWC, weights [M, KH, KW, C / groups];
// a tap is a row a and a column b of the kernel, k counts (a, b, channel), and pixels are counted over (n,
// row, column). Counts within an image, a kernel and a launch fit 31 bits (by_images() sees to it).

#include <algorithm>
#include <numeric>

#include "cuda/float_product.h"
#include "ops/geometry.h"

namespace hardbit::cuda::product {

/// Division of numbers below 2^31 by one that is known beforehand: by ⌈2^p / d⌉ of 32 bits, p = 31 + ⌈log2
/// d⌉, which is exact for them.
class Divisor {
 public:
  explicit Divisor(std::int64_t d) : d_(static_cast<unsigned>(d)) {
    if (d <= 1) return;  // 0 is of empty launches
    while ((std::int64_t{1} << log_) < d) ++log_;
    factor_ = static_cast<unsigned>(((std::uint64_t{1} << (31 + log_)) + d_ - 1) / d_);
  }
  __device__ int of(int n) const {
    return factor_ == 0 ? n : static_cast<int>(__umulhi(static_cast<unsigned>(n), factor_) >> (log_ - 1));
  }
  __device__ int rest(int n, int quotient) const { return n - quotient * static_cast<int>(d_); }

 private:
  unsigned d_;
  unsigned factor_ = 0;
  unsigned log_ = 0;
};

/// A side of an image that a window passes over.
struct Side {
  int size, stride, dilation, before;
};
struct Sides {
  Side y, x;
  explicit Sides(const ops::Conv2d& conv)
      : y{static_cast<int>(conv.h), static_cast<int>(conv.geometry.stride[0]),
          static_cast<int>(conv.geometry.dilation[0]), static_cast<int>(conv.geometry.padding[0])},
        x{static_cast<int>(conv.w), static_cast<int>(conv.geometry.stride[1]),
          static_cast<int>(conv.geometry.dilation[1]), static_cast<int>(conv.geometry.padding[2])} {}
};

/// Whether four channels of an image lie in one group and are aligned.
inline bool channel_quads(const float* data, std::int64_t channels, std::int64_t group_channels) {
  return aligned(data, channels, group_channels);
}

/// Patches of images as rows: [N·OH·OW, KH·KW·C / groups].
struct Patches {
  static constexpr bool along_k = true;
  const float* images;
  std::int64_t rows, image_values;
  Sides side;
  int channels, group_channels;
  Divisor by_pixels, by_columns, by_channels, by_taps;
  bool vector;

  Patches(const ops::Conv2d& conv, const float* x)
      : images(x),
        rows(conv.n * conv.oh * conv.ow),
        image_values(conv.h * conv.w * conv.c),
        side(conv),
        channels(static_cast<int>(conv.c)),
        group_channels(static_cast<int>(conv.group_channels())),
        by_pixels(conv.oh * conv.ow),
        by_columns(conv.ow),
        by_channels(conv.group_channels()),
        by_taps(conv.kw),
        vector(channel_quads(x, conv.c, conv.group_channels())) {}

  struct Cursor {
    const float* image;
    int y, x, first_k;
  };
  __device__ Cursor start(unsigned group, std::int64_t row, std::int64_t k, int) const {
    constexpr int outside = -0x7FFFFFFF;  // and a window further is so, too
    if (row >= rows) return {images, outside, outside, 0};
    const int pixel = static_cast<int>(row);
    const int n = by_pixels.of(pixel);
    const int at = by_pixels.rest(pixel, n);
    const int i = by_columns.of(at);
    return {images + n * image_values + static_cast<std::int64_t>(group) * group_channels,
            i * side.y.stride - side.y.before, by_columns.rest(at, i) * side.x.stride - side.x.before,
            static_cast<int>(k)};
  }
  /// Null in the padding.
  __device__ const float* value(const Cursor& at, int k) const {
    const int tap = by_channels.of(k);
    const int a = by_taps.of(tap);
    const int y = at.y + a * side.y.dilation;
    const int x = at.x + by_taps.rest(tap, a) * side.x.dilation;
    const bool inside = static_cast<unsigned>(y) < static_cast<unsigned>(side.y.size) &&
                        static_cast<unsigned>(x) < static_cast<unsigned>(side.x.size);
    return inside ? at.image + ((y * side.x.size + x) * channels + by_channels.rest(k, tap)) : nullptr;
  }
  __device__ Quad load(Cursor& at, int k, int length) const {
    Quad q{};
    if (vector) {
      const float* const p = k < length ? value(at, at.first_k + k) : nullptr;
      return p != nullptr ? load_quad(p) : q;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const p = k + i < length ? value(at, at.first_k + k + i) : nullptr;
      if (p != nullptr) q.v[i] = *p;
    }
    return q;
  }
};

/// The same, transposed, as the columns of B: k is the pixel.
struct PatchColumns {
  static constexpr bool along_k = false;
  const float* images;
  std::int64_t columns, image_values;
  Sides side;
  int channels, group_channels;
  Divisor by_pixels, by_columns, by_channels, by_taps;
  bool vector;

  PatchColumns(const ops::Conv2d& conv, const float* x)
      : images(x),
        columns(conv.k()),
        image_values(conv.h * conv.w * conv.c),
        side(conv),
        channels(static_cast<int>(conv.c)),
        group_channels(static_cast<int>(conv.group_channels())),
        by_pixels(conv.oh * conv.ow),
        by_columns(conv.ow),
        by_channels(conv.group_channels()),
        by_taps(conv.kw),
        vector(channel_quads(x, conv.c, conv.group_channels())) {}

  struct Cursor {
    const float* images;
    int first_k;
    // Of each value; of the first alone where quads are loaded.
    int y[4], x[4], channel[4];
  };
  __device__ Cursor start(unsigned group, std::int64_t column, std::int64_t k, int) const {
    constexpr int outside = -0x7FFFFFFF;
    Cursor at{images + static_cast<std::int64_t>(group) * group_channels, static_cast<int>(k), {}, {}, {}};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int c = static_cast<int>(column) + i;
      const int tap = by_channels.of(c);
      const int a = by_taps.of(tap);
      const bool inside = column + i < columns;
      at.y[i] = inside ? a * side.y.dilation - side.y.before : outside;
      at.x[i] = by_taps.rest(tap, a) * side.x.dilation - side.x.before;
      at.channel[i] = by_channels.rest(c, tap);
    }
    return at;
  }
  __device__ Quad load(Cursor& at, int k, int length) const {
    Quad q{};
    if (k >= length) return q;
    const int pixel = at.first_k + k;
    const int n = by_pixels.of(pixel);
    const int place = by_pixels.rest(pixel, n);
    const int i = by_columns.of(place);
    const int y = i * side.y.stride;
    const int x = by_columns.rest(place, i) * side.x.stride;
    const float* const image = at.images + n * image_values;
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      const int to_y = y + at.y[v];
      const int to_x = x + at.x[v];
      if (static_cast<unsigned>(to_y) < static_cast<unsigned>(side.y.size) &&
          static_cast<unsigned>(to_x) < static_cast<unsigned>(side.x.size)) {
        const float* const p = image + ((to_y * side.x.size + to_x) * channels + at.channel[v]);
        if (vector) return load_quad(p);
        q.v[v] = *p;
      } else if (vector) {
        return q;
      }
    }
    return q;
  }
};

/// Every step-th row (or column) of an input from `first` on, and the taps that reach them from an output
/// pixel: strides apart, inputs see the same taps.
struct Phase {
  int first, step, count;
  int first_tap, tap_step, taps;
};

/// Those of one side; a single one with all taps, some of which reach nothing, where strides are too long for
/// that. `kernel`: taps.
inline Phase phase(const Side& side, int kernel, int index, bool single) {
  if (single) return {0, 1, side.size, 0, 1, kernel};
  Phase p{index, side.stride, index < side.size ? (side.size - index - 1) / side.stride + 1 : 0, 0, 1, 0};
  p.tap_step = side.stride / std::gcd(side.stride, side.dilation);
  for (p.first_tap = 0; p.first_tap < p.tap_step && p.first_tap < kernel; ++p.first_tap) {
    if ((index + side.before - p.first_tap * side.dilation) % side.stride == 0) {
      p.taps = (kernel - p.first_tap - 1) / p.tap_step + 1;
      break;
    }
  }
  return p;
}

/// The input pixels of two phases, counted.
struct PhasePixels {
  Phase y, x;
  Divisor by_pixels, by_columns;
  PhasePixels(const Phase& rows, const Phase& columns)
      : y(rows), x(columns), by_pixels(std::int64_t{rows.count} * columns.count), by_columns(columns.count) {}
  struct At {
    int n, y, x;
  };
  __device__ At at(int pixel) const {
    const int n = by_pixels.of(pixel);
    const int place = by_pixels.rest(pixel, n);
    const int i = by_columns.of(place);
    return {n, y.first + i * y.step, x.first + by_columns.rest(place, i) * x.step};
  }
};

/// What reaches input pixels, from output ones: rows of [pixels of the phases, their taps · M / groups].
struct Reaching {
  static constexpr bool along_k = true;
  const float* gradients;
  std::int64_t rows, image_values;
  PhasePixels pixels;
  Sides side;
  int height, width, channels, group_channels;
  Divisor by_channels, by_taps, by_stride_y, by_stride_x;
  bool vector;

  Reaching(const ops::Conv2d& conv, const float* dy, const PhasePixels& phases)
      : gradients(dy),
        rows(conv.n * phases.y.count * phases.x.count),
        image_values(conv.oh * conv.ow * conv.m),
        pixels(phases),
        side(conv),
        height(static_cast<int>(conv.oh)),
        width(static_cast<int>(conv.ow)),
        channels(static_cast<int>(conv.m)),
        group_channels(static_cast<int>(conv.m / conv.geometry.groups)),
        by_channels(group_channels),
        by_taps(phases.x.taps),
        by_stride_y(side.y.stride),
        by_stride_x(side.x.stride),
        vector(channel_quads(dy, conv.m, group_channels)) {}

  struct Cursor {
    const float* image;
    int y, x, first_k;
  };
  __device__ Cursor start(unsigned group, std::int64_t row, std::int64_t k, int) const {
    if (row >= rows) return {gradients, -1, -1, 0};  // further taps lie further before
    const PhasePixels::At at = pixels.at(static_cast<int>(row));
    return {gradients + at.n * image_values + static_cast<std::int64_t>(group) * group_channels,
            at.y + side.y.before - pixels.y.first_tap * side.y.dilation,
            at.x + side.x.before - pixels.x.first_tap * side.x.dilation, static_cast<int>(k)};
  }
  /// Null where the tap reaches the pixel from nowhere.
  __device__ const float* value(const Cursor& at, int k) const {
    const int tap = by_channels.of(k);
    const int a = by_taps.of(tap);
    const int y = at.y - a * (pixels.y.tap_step * side.y.dilation);
    const int x = at.x - by_taps.rest(tap, a) * (pixels.x.tap_step * side.x.dilation);
    if (y < 0 || x < 0) return nullptr;
    const int i = by_stride_y.of(y);
    const int j = by_stride_x.of(x);
    if (by_stride_y.rest(y, i) != 0 || by_stride_x.rest(x, j) != 0 || i >= height || j >= width)
      return nullptr;
    return at.image + ((i * width + j) * channels + by_channels.rest(k, tap));
  }
  __device__ Quad load(Cursor& at, int k, int length) const {
    Quad q{};
    if (vector) {
      const float* const p = k < length ? value(at, at.first_k + k) : nullptr;
      return p != nullptr ? load_quad(p) : q;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const p = k + i < length ? value(at, at.first_k + k + i) : nullptr;
      if (p != nullptr) q.v[i] = *p;
    }
    return q;
  }
};

/// The weights of the phases' taps as columns: [taps · M / groups, C / groups].
struct TapWeights {
  static constexpr bool along_k = false;
  const float* weights;
  Phase y, x;
  std::int64_t group_values;
  int taps_across, values, columns;  // of the kernel, of an output channel, of a group
  Divisor by_channels, by_taps;
  bool vector;

  TapWeights(const ops::Conv2d& conv, const float* w, const PhasePixels& phases)
      : weights(w),
        y(phases.y),
        x(phases.x),
        group_values(conv.m / conv.geometry.groups * conv.k()),
        taps_across(static_cast<int>(conv.kw)),
        values(static_cast<int>(conv.k())),
        columns(static_cast<int>(conv.group_channels())),
        by_channels(conv.m / conv.geometry.groups),
        by_taps(phases.x.taps),
        vector(aligned(w, columns, columns)) {}

  struct Cursor {
    const float* p;
    int first_k, inside;
  };
  __device__ Cursor start(unsigned group, std::int64_t column, std::int64_t k, int) const {
    const std::int64_t rest = columns - column;
    return {weights + group * group_values + column, static_cast<int>(k),
            static_cast<int>(rest < 4 ? rest : 4)};
  }
  __device__ Quad load(Cursor& at, int k, int length) const {
    if (at.inside <= 0 || k >= length) return {};
    const int tap = by_channels.of(at.first_k + k);
    const int channel = by_channels.rest(at.first_k + k, tap);
    const int a = by_taps.of(tap);
    const int row = y.first_tap + a * y.tap_step;
    const int column = x.first_tap + by_taps.rest(tap, a) * x.tap_step;
    const float* const p = at.p + (channel * values + (row * taps_across + column) * columns);
    return vector ? load_quad(p) : load_values(p, at.inside);
  }
};

/// Gradients of the phases' pixels in their images.
struct PhaseOutput {
  float* data;
  PhasePixels pixels;
  std::int64_t height, width, channels, group_channels;
  __device__ float* row(unsigned group, std::int64_t r) const {
    const PhasePixels::At at = pixels.at(static_cast<int>(r));
    return data + ((at.n * height + at.y) * width + at.x) * channels + group * group_channels;
  }
};

// -- launches

/// ERR_HARDBIT_UNSUPPORTED for an image or a kernel whose values cannot be counted; `conv` is not empty.
void check_counts(const ops::Conv2d& conv);

/// Calls f(part, images before it) for parts of the batch that one launch takes.
template <class F>
void by_images(const ops::Conv2d& conv, const F& f) {
  check_counts(conv);
  const std::int64_t pixels = std::max(conv.h * conv.w, conv.oh * conv.ow);
  const std::int64_t most = std::max<std::int64_t>(most_pixels / pixels, 1);
  for (std::int64_t first = 0; first < conv.n; first += most) {
    ops::Conv2d part = conv;
    part.n = std::min(most, conv.n - first);
    f(part, first);
  }
}

/// y = conv(x, w) + bias of what one launch takes; `parts` as in plan().
template <class Arithmetic>
void forward(const ops::Conv2d& conv, const float* x, const float* w, const float* bias, float* y,
             bool parts) {
  const std::int64_t outputs = conv.m / conv.geometry.groups;
  const std::int64_t k = conv.k();
  const Sizes sizes{.rows = conv.n * conv.oh * conv.ow,
                    .cols = outputs,
                    .k = k,
                    .groups = static_cast<unsigned>(conv.geometry.groups)};
  const Plan cut = plan(sizes, parts);
  in_parts(
      cut, bias, conv.m, y, sizes.rows * conv.m, [&](float* to, std::int64_t part_pitch, const float* add) {
        queue<Arithmetic>(sizes, cut, Patches(conv, x), Rows{w, outputs, k, outputs * k, aligned(w, k, k)},
                          Matrix{to, conv.m, outputs}, add,
                          channel_quads(to, conv.m, outputs) && part_pitch % 4 == 0, part_pitch);
      });
}

}  // namespace hardbit::cuda::product
