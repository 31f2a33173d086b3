#include "cuda/pack_bits.h"
#include "cuda/pool2d.h"

// A thread computes one element of the result, neighbours neighbouring channels. Backward passes gather: each
// pixel visits the windows that hold it in row-major order, so that sums have one order and nothing is added
// to memory.

namespace hardbit::cuda {
namespace {

/// The same numbers as 32-bit integers, which the sides of pooled images and places beside them fit in.
struct Sizes {
  int height, width, out_height, out_width;
  int kernel_height, kernel_width, stride_height, stride_width, above, left;
  std::int64_t channels;

  explicit Sizes(const Pooling& p)
      : height(static_cast<int>(p.height)),
        width(static_cast<int>(p.width)),
        out_height(static_cast<int>(p.out_height)),
        out_width(static_cast<int>(p.out_width)),
        kernel_height(static_cast<int>(p.geometry.kernel[0])),
        kernel_width(static_cast<int>(p.geometry.kernel[1])),
        stride_height(static_cast<int>(p.geometry.stride[0])),
        stride_width(static_cast<int>(p.geometry.stride[1])),
        above(static_cast<int>(p.geometry.padding[0])),
        left(static_cast<int>(p.geometry.padding[2])),
        channels(p.channels) {}
};

/// An element of an image batch [N, rows, columns, units].
struct Spot {
  std::int64_t image, unit;
  int row, column;
};
__device__ inline Spot spot_of(std::int64_t i, int rows, int columns, std::int64_t units) {
  const Place pixel = place_of(i, units);
  const Place line = place_of(pixel.row, columns);
  const Place image = place_of(line.row, rows);
  return {image.row, pixel.column, static_cast<int>(image.column), static_cast<int>(line.column)};
}

/// f(place, offset of the pixel's unit) for every place of an output's window inside the image, row-major.
template <class F>
__device__ inline void each_place(const Sizes& s, const Spot& out, std::int64_t units, F f) {
  const std::int64_t image = out.image * s.height * s.width;
  const int top = out.row * s.stride_height - s.above;
  const int left = out.column * s.stride_width - s.left;
  for (int ky = 0; ky < s.kernel_height; ++ky) {
    const int y = top + ky;
    if (y < 0 || y >= s.height) continue;
    for (int kx = 0; kx < s.kernel_width; ++kx) {
      const int x = left + kx;
      if (x < 0 || x >= s.width) continue;
      f(ky * s.kernel_width + kx, (image + static_cast<std::int64_t>(y) * s.width + x) * units + out.unit);
    }
  }
}

/// f(place of the pixel in the window, offset of the window's unit) for every window that holds a pixel,
/// row-major.
template <class F>
__device__ inline void each_window(const Sizes& s, const Spot& pixel, std::int64_t units, F f) {
  const std::int64_t image = pixel.image * s.out_height * s.out_width;
  const int y = pixel.row + s.above;
  const int x = pixel.column + s.left;
  const int first_row = y < s.kernel_height ? 0 : (y - s.kernel_height) / s.stride_height + 1;
  const int first_column = x < s.kernel_width ? 0 : (x - s.kernel_width) / s.stride_width + 1;
  for (int oy = first_row; oy < s.out_height && oy * s.stride_height <= y; ++oy) {
    for (int ox = first_column; ox < s.out_width && ox * s.stride_width <= x; ++ox) {
      f((y - oy * s.stride_height) * s.kernel_width + x - ox * s.stride_width,
        (image + static_cast<std::int64_t>(oy) * s.out_width + ox) * units + pixel.unit);
    }
  }
}

std::int64_t pixels(const Pooling& p) { return p.images * p.height * p.width; }
std::int64_t windows(const Pooling& p) { return p.images * p.out_height * p.out_width; }

}  // namespace

template <class T>
void max_pool2d(const Pooling& pooling, const T* x, T* y, std::uint8_t* index) {
  const Sizes s(pooling);
  for_each(windows(pooling) * s.channels, [=] __device__(std::int64_t i) {
    T best{};
    int place = -1;
    each_place(s, spot_of(i, s.out_height, s.out_width, s.channels), s.channels,
               [&](int at, std::int64_t from) {
                 const T v = x[from];
                 // The first of the largest, and the first NaN before all.
                 if (place < 0 || (!(v <= best) && best == best)) {
                   best = v;
                   place = at;
                 }
               });
    y[i] = best;
    if (index != nullptr) index[i] = static_cast<std::uint8_t>(place);
  });
}
template void max_pool2d(const Pooling&, const float*, float*, std::uint8_t*);
template void max_pool2d(const Pooling&, const std::int16_t*, std::int16_t*, std::uint8_t*);
template void max_pool2d(const Pooling&, const std::int32_t*, std::int32_t*, std::uint8_t*);

void max_pool2d_bits(const Pooling& pooling, const std::uint64_t* x, std::uint64_t* y, std::uint8_t* index) {
  const Sizes s(pooling);
  const std::int64_t units = words(s.channels);
  for_each(windows(pooling) * units, [=] __device__(std::int64_t i) {
    std::uint64_t any = 0;
    each_place(s, spot_of(i, s.out_height, s.out_width, units), units,
               [&](int, std::int64_t from) { any |= x[from]; });
    y[i] = any;
  });
  if (index == nullptr) return;
  // A byte a thread, so that neighbours read one word and write side by side.
  for_each(windows(pooling) * s.channels, [=] __device__(std::int64_t i) {
    Spot out = spot_of(i, s.out_height, s.out_width, s.channels);
    const auto shift = static_cast<unsigned>(out.unit % 64);
    out.unit /= 64;
    int first = -1;
    bool found = false;
    each_place(s, out, units, [&](int at, std::int64_t from) {
      const bool set = !found && (x[from] >> shift & 1) != 0;
      if (first < 0 || set) first = at;
      found = found || set;
    });
    index[i] = static_cast<std::uint8_t>(first);
  });
}

void max_pool2d_backward(const Pooling& pooling, const float* dy, const std::uint8_t* index, float* dx) {
  const Sizes s(pooling);
  const int places = s.kernel_height * s.kernel_width;
  // Windows that share no pixel leave a gradient of −0 as it is, as those of the cpu do.
  const bool disjoint = s.stride_height >= s.kernel_height && s.stride_width >= s.kernel_width;
  std::uint32_t* const reports = report_words();
  for_each(pixels(pooling) * s.channels, [=] __device__(std::int64_t i) {
    float sum = 0;
    each_window(s, spot_of(i, s.height, s.width, s.channels), s.channels, [&](int place, std::int64_t from) {
      const int winner = index[from];
      if (winner == place) sum = disjoint ? dy[from] : sum + dy[from];
      if (winner >= places) report(reports, Report::place);
    });
    dx[i] = sum;
  });
}

void pool_signs(const Pooling& pooling, const std::uint64_t* x, const std::uint64_t* all, std::uint64_t* y) {
  const Sizes s(pooling);
  const std::int64_t units = words(s.channels);
  for_each(windows(pooling) * units, [=] __device__(std::int64_t i) {
    const Spot out = spot_of(i, s.out_height, s.out_width, units);
    std::uint64_t any = 0;
    std::uint64_t every = ~std::uint64_t{0};
    each_place(s, out, units, [&](int, std::int64_t from) {
      any |= x[from];
      every &= x[from];
    });
    y[i] = (any & ~all[out.unit]) | (every & all[out.unit]);
  });
}

void avg_pool2d(const Pooling& pooling, const float* x, float* y) {
  const Sizes s(pooling);
  const auto area = static_cast<float>(s.kernel_height * s.kernel_width);
  for_each(windows(pooling) * s.channels, [=] __device__(std::int64_t i) {
    float sum = 0;
    bool first = true;
    each_place(s, spot_of(i, s.out_height, s.out_width, s.channels), s.channels, [&](int, std::int64_t from) {
      sum = first ? x[from] : sum + x[from];
      first = false;
    });
    y[i] = sum / area;
  });
}

void avg_pool2d_backward(const Pooling& pooling, const float* dy, float* dx) {
  const Sizes s(pooling);
  const auto area = static_cast<float>(s.kernel_height * s.kernel_width);
  for_each(pixels(pooling) * s.channels, [=] __device__(std::int64_t i) {
    float sum = 0;
    each_window(s, spot_of(i, s.height, s.width, s.channels), s.channels,
                [&](int, std::int64_t from) { sum += dy[from] / area; });
    dx[i] = sum;
  });
}

}  // namespace hardbit::cuda
