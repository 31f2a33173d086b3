#include <bit>

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

// Windows of two by two pixels side by side, of channels in whole vectors of 16 bytes: a thread computes a
// vector.

/// Of a window: vectors in a pixel, and the sides of images.
struct Squares {
  std::uint32_t total;  // of vectors of the result
  std::uint32_t vectors, out_width, out_height;
  std::int64_t width, height;

  /// `size`: of an element. Vectors of more than 32 bits have none.
  Squares(const Pooling& p, std::size_t size)
      : total(0),
        vectors(static_cast<std::uint32_t>(static_cast<std::size_t>(p.channels) * size / 16)),
        out_width(static_cast<std::uint32_t>(p.out_width)),
        out_height(static_cast<std::uint32_t>(p.out_height)),
        width(p.width),
        height(p.height) {
    const std::int64_t all = p.images * p.out_height * p.out_width * vectors;
    const bool square = p.geometry.side_by_side() && p.geometry.kernel == ops::Pair{2, 2};
    if (square && static_cast<std::size_t>(p.channels) * size % 16 == 0 && all < std::int64_t{1} << 31)
      total = static_cast<std::uint32_t>(all);
  }

  /// The place of vector i's first pixel, counted in vectors.
  __device__ std::int64_t first(std::uint32_t i) const {
    const std::uint32_t window = i / vectors;
    const std::uint32_t line = window / out_width;
    const std::uint32_t image = line / out_height;
    const std::int64_t pixel =
        (image * height + (line - image * out_height) * 2) * width + (window - line * out_width) * 2;
    return pixel * vectors + (i - window * vectors);
  }
  unsigned blocks() const { return ceil_div(total, 256U); }
};

/// The T at bit `shift` of a word.
template <class T>
__device__ inline T element(std::uint32_t word, unsigned shift) {
  if constexpr (sizeof(T) == 4) {
    return std::bit_cast<T>(word);
  } else {
    return static_cast<T>(word >> shift & 0xFFFF);
  }
}

/// The first of the largest of a word's elements in four pixels, and their places in bytes from bit `to` on.
template <class T>
__device__ inline std::uint32_t largest(const std::uint32_t (&words)[4], std::uint32_t& places, unsigned to) {
  constexpr unsigned bits = 8 * sizeof(T);
  std::uint32_t result = 0;
#pragma unroll
  for (unsigned shift = 0; shift < 32; shift += bits) {
    T best = element<T>(words[0], shift);
    std::uint32_t place = 0;
#pragma unroll
    for (unsigned k = 1; k < 4; ++k) {
      const T v = element<T>(words[k], shift);
      // The first NaN before all.
      const bool better = !(v <= best) && best == best;
      best = better ? v : best;
      place = better ? k : place;
    }
    if constexpr (bits == 32) {
      result = std::bit_cast<std::uint32_t>(best);
    } else {
      result |= static_cast<std::uint32_t>(static_cast<std::uint16_t>(best)) << shift;
    }
    places |= place << (to + shift / bits * 8);
  }
  return result;
}

template <class T>
__global__ void __launch_bounds__(256)
    max_pool_squares(Squares s, const uint4* x, uint4* y, std::uint8_t* index) {
  const std::uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= s.total) return;
  const uint4* const from = x + s.first(i);
  const std::int64_t below = s.width * s.vectors;
  const uint4 a = from[0];
  const uint4 b = from[s.vectors];
  const uint4 c = from[below];
  const uint4 d = from[below + s.vectors];
  constexpr unsigned each = 4 / sizeof(T);  // elements of a word
  std::uint32_t places[each] = {};
  uint4 result;
  result.x = largest<T>({a.x, b.x, c.x, d.x}, places[0], 0);
  result.y = largest<T>({a.y, b.y, c.y, d.y}, places[0], each * 8);
  result.z = largest<T>({a.z, b.z, c.z, d.z}, places[each - 1], each == 1 ? 16 : 0);
  result.w = largest<T>({a.w, b.w, c.w, d.w}, places[each - 1], each == 1 ? 24 : 16);
  y[i] = result;
  if (index == nullptr) return;
  if constexpr (each == 1) {
    reinterpret_cast<std::uint32_t*>(index)[i] = places[0];
  } else {
    reinterpret_cast<uint2*>(index)[i] = make_uint2(places[0], places[1]);
  }
}

/// Of windows that cover the image.
__global__ void __launch_bounds__(256)
    max_pool_squares_backward(Squares s, const float4* dy, const std::uint32_t* index, float4* dx,
                              std::uint32_t* reports) {
  const std::uint32_t i = blockIdx.x * 256 + threadIdx.x;
  if (i >= s.total) return;
  const float4 g = dy[i];
  const std::uint32_t places = index[i];
  if ((places & 0xFCFCFCFCU) != 0) report(reports, Report::place);
  float4* const to = dx + s.first(i);
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) {
    to[(k / 2 * s.width + k % 2) * s.vectors] =
        make_float4((places & 0xFF) == k ? g.x : 0, (places >> 8 & 0xFF) == k ? g.y : 0,
                    (places >> 16 & 0xFF) == k ? g.z : 0, places >> 24 == k ? g.w : 0);
  }
}

std::int64_t pixels(const Pooling& p) { return p.images * p.height * p.width; }
std::int64_t windows(const Pooling& p) { return p.images * p.out_height * p.out_width; }

}  // namespace

template <class T>
void max_pool2d(const Pooling& pooling, const T* x, T* y, std::uint8_t* index) {
  const Squares squares(pooling, sizeof(T));
  if (squares.total > 0 && aligned(x, 16) && aligned(y, 16) && aligned(index, 16 / sizeof(T))) {
    launch(max_pool_squares<T>, dim3(squares.blocks()), dim3(256), 0, squares,
           reinterpret_cast<const uint4*>(x), reinterpret_cast<uint4*>(y), index);
    return;
  }
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
  const Squares squares(pooling, sizeof(float));
  const bool covered = pooling.height == 2 * pooling.out_height && pooling.width == 2 * pooling.out_width;
  if (squares.total > 0 && covered && aligned(dy, 16) && aligned(dx, 16) && aligned(index, 4)) {
    launch(max_pool_squares_backward, dim3(squares.blocks()), dim3(256), 0, squares,
           reinterpret_cast<const float4*>(dy), reinterpret_cast<const std::uint32_t*>(index),
           reinterpret_cast<float4*>(dx), report_words());
    return;
  }
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
