#include "cpu/pool2d.h"

#include <algorithm>
#include <array>
#include <bit>

#include "cpu/kernels/pool.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// The places of one window that lie inside the image, in row-major order.
struct Window {
  int count = 0;
  std::array<std::uint8_t, 256> place;
  std::array<std::int64_t, 256> pixel;  // row·width + column in the image
};

/// Adds the places of row ky of a window, whose pixels begin at `row`.
void add_places(const Pooling& p, std::int64_t ky, std::int64_t ox, std::int64_t row, Window& window) {
  const auto& [kernel, stride, padding] = p.geometry;
  for (std::int64_t kx = 0; kx < kernel[1]; ++kx) {
    const std::int64_t x = ox * stride[1] - padding[2] + kx;
    if (x < 0 || x >= p.width) continue;
    const auto i = static_cast<std::size_t>(window.count++);
    window.place[i] = static_cast<std::uint8_t>(ky * kernel[1] + kx);
    window.pixel[i] = row + x;
  }
}

void fill_window(const Pooling& p, std::int64_t oy, std::int64_t ox, Window& window) {
  window.count = 0;
  for (std::int64_t ky = 0; ky < p.geometry.kernel[0]; ++ky) {
    const std::int64_t y = oy * p.geometry.stride[0] - p.geometry.padding[0] + ky;
    if (y >= 0 && y < p.height) add_places(p, ky, ox, y * p.width, window);
  }
}

/// Calls f(image, window, out) for every window, on all threads; `out` counts windows from the first image's
/// first. `row` is the length of a pixel in the units that pixels are addressed in.
template <class F>
void each_window(const Pooling& p, std::int64_t cost, const F& f) {
  const std::int64_t lines = p.images * p.out_height;
  const std::int64_t line_cost = std::max<std::int64_t>(p.out_width * cost, 1);
  parallel_for(lines, element_grain / line_cost, [&](std::int64_t begin, std::int64_t end) {
    Window window;
    for (std::int64_t line = begin; line < end; ++line) {
      for (std::int64_t ox = 0; ox < p.out_width; ++ox) {
        fill_window(p, line % p.out_height, ox, window);
        f(line / p.out_height, window, line * p.out_width + ox);
      }
    }
  });
}

/// Calls f(image) for every image, on all threads.
template <class F>
void each_image(const Pooling& p, const F& f) {
  const std::int64_t cost = std::max<std::int64_t>(p.height * p.width * p.channels, 1);
  parallel_for(p.images, element_grain / cost, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t image = begin; image < end; ++image) f(image);
  });
}

std::int64_t places(const Pooling& p) { return p.geometry.kernel[0] * p.geometry.kernel[1]; }

/// Calls f(windows, ox) for the runs of equal windows of a line, ox the column of the first one.
/// fill(ox, window) finds the window's places.
template <class Fill, class F>
void each_run(const Pooling& p, const Fill& fill, const F& f) {
  const std::int64_t stride = p.geometry.stride[1];
  // The windows that lie inside the image from left to right: [begin, end).
  const std::int64_t begin = std::min((p.geometry.padding[2] + stride - 1) / stride, p.out_width);
  const std::int64_t room = p.width + p.geometry.padding[2] - p.geometry.kernel[1];
  const std::int64_t end = std::clamp(room < 0 ? 0 : room / stride + 1, begin, p.out_width);
  Window window;
  for (std::int64_t ox = 0; ox < p.out_width;) {
    const std::int64_t count = ox == begin && begin < end ? end - begin : 1;
    window.count = 0;
    fill(ox, window);
    for (int i = 0; i < window.count; ++i) window.pixel[static_cast<std::size_t>(i)] *= p.channels;
    f(PoolWindows{count, stride * p.channels, p.channels, window.count, window.pixel.data(),
                  window.place.data()},
      ox);
    ox += count;
  }
}

/// The same of line oy, places counted from the image's first element.
template <class F>
void each_run_of_line(const Pooling& p, std::int64_t oy, const F& f) {
  each_run(
      p, [&](std::int64_t ox, Window& window) { fill_window(p, oy, ox, window); }, f);
}

/// The largest of windows of whichever numbers.
void max_windows(const PoolKernels& k, const PoolWindows& w, const float* x, float* y, std::uint8_t* index) {
  k.max_f32(w, x, y, index);
}
void max_windows(const PoolKernels& k, const PoolWindows& w, const std::int16_t* x, std::int16_t* y,
                 std::uint8_t* index) {
  k.max_i16(w, x, y, index);
}
void max_windows(const PoolKernels& k, const PoolWindows& w, const std::int32_t* x, std::int32_t* y,
                 std::uint8_t* index) {
  k.max_i32(w, x, y, index);
}

/// dx += dy where index names the place, for windows that overlap.
void add_spread(const PoolWindows& windows, const float* dy, const std::uint8_t* index, float* dx) {
  for (std::int64_t w = 0; w < windows.count; ++w) {
    for (std::int64_t i = 0; i < windows.places; ++i) {
      float* const __restrict to = dx + windows.element[i] + w * windows.step;
      for (std::int64_t c = 0; c < windows.channels; ++c) {
        const float gradient = dy[w * windows.channels + c];  // always loaded: else no vectors
        to[c] += index[w * windows.channels + c] == windows.place[i] ? gradient : 0.0F;
      }
    }
  }
}

bool is_disjoint(const Pooling& p) {
  return p.geometry.stride[0] >= p.geometry.kernel[0] && p.geometry.stride[1] >= p.geometry.kernel[1];
}

/// Every pixel lies in one window.
bool is_tiled(const Pooling& p) {
  return p.geometry.stride == p.geometry.kernel &&
         p.out_height * p.geometry.stride[0] - p.geometry.padding[0] >= p.height &&
         p.out_width * p.geometry.stride[1] - p.geometry.padding[2] >= p.width;
}

}  // namespace

template <class T>
void max_pool2d(const Pooling& p, const T* x, T* y, std::uint8_t* index) {
  if (p.channels == 0) return;
  const PoolKernels& kernels = selected_pool_kernels();
  const std::int64_t image_size = p.height * p.width * p.channels;
  const std::int64_t cost = std::max<std::int64_t>(p.out_width * p.channels * places(p), 1);
  parallel_for(p.images * p.out_height, element_grain / cost, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t line = begin; line < end; ++line) {
      each_run_of_line(p, line % p.out_height, [&](const PoolWindows& windows, std::int64_t ox) {
        const std::int64_t out = (line * p.out_width + ox) * p.channels;
        max_windows(kernels, windows, x + line / p.out_height * image_size, y + out,
                    index == nullptr ? nullptr : index + out);
      });
    }
  });
}
template void max_pool2d(const Pooling&, const float*, float*, std::uint8_t*);
template void max_pool2d(const Pooling&, const std::int16_t*, std::int16_t*, std::uint8_t*);
template void max_pool2d(const Pooling&, const std::int32_t*, std::int32_t*, std::uint8_t*);

void max_pool2d_bits(const Pooling& p, const std::uint64_t* x, std::uint64_t* y, std::uint8_t* index) {
  const std::int64_t row = words(p.channels);
  const std::int64_t cost = index == nullptr ? row * places(p) : p.channels * 2;
  each_window(p, cost, [&](std::int64_t image, const Window& window, std::int64_t out) {
    const std::uint64_t* const from = x + image * p.height * p.width * row;
    std::uint64_t* const bits = y + out * row;
    std::fill_n(bits, row, 0);
    if (index == nullptr) {
      for (int i = 0; i < window.count; ++i) {
        const std::uint64_t* const v = from + window.pixel[static_cast<std::size_t>(i)] * row;
        for (std::int64_t k = 0; k < row; ++k) bits[k] |= v[k];
      }
      return;
    }
    std::uint8_t* const first = index + out * p.channels;
    std::fill_n(first, p.channels, window.place[0]);
    for (int i = 0; i < window.count; ++i) {
      const std::uint64_t* const v = from + window.pixel[static_cast<std::size_t>(i)] * row;
      for (std::int64_t k = 0; k < row; ++k) {
        for (std::uint64_t found = v[k] & ~bits[k]; found != 0; found &= found - 1) {
          first[k * 64 + std::countr_zero(found)] = window.place[static_cast<std::size_t>(i)];
        }
        bits[k] |= v[k];
      }
    }
  });
}

int largest_place(const std::uint8_t* index, std::int64_t n) {
  std::uint8_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, index[i]);
  return largest;
}

void max_pool2d_backward(const Pooling& p, const float* dy, const std::uint8_t* index, float* dx) {
  if (p.channels == 0) return;
  const std::int64_t image_size = p.height * p.width * p.channels;
  const auto add = is_disjoint(p) ? selected_pool_kernels().spread : add_spread;
  const bool tiled = is_tiled(p);
  each_image(p, [&](std::int64_t image) {
    float* const to = dx + image * image_size;
    if (!tiled) std::fill_n(to, image_size, 0.0F);
    for (std::int64_t oy = 0; oy < p.out_height; ++oy) {
      each_run_of_line(p, oy, [&](const PoolWindows& windows, std::int64_t ox) {
        const std::int64_t out = ((image * p.out_height + oy) * p.out_width + ox) * p.channels;
        add(windows, dy + out, index + out, to);
      });
    }
  });
}

void max_pool2d_backward_row(const Pooling& p, const float* dy, const std::uint8_t* index, std::int64_t row,
                             float* dx) {
  const std::int64_t kernel = p.geometry.kernel[0];
  const std::int64_t oy = row % p.height / kernel;
  const std::int64_t ky = row % p.height % kernel;
  const std::int64_t covered = oy < p.out_height ? p.out_width * p.geometry.kernel[1] : 0;
  std::fill(dx + covered * p.channels, dx + p.width * p.channels, 0.0F);
  if (covered == 0 || p.channels == 0) return;
  const auto spread = selected_pool_kernels().spread;
  each_run(
      p, [&](std::int64_t ox, Window& window) { add_places(p, ky, ox, 0, window); },
      [&](const PoolWindows& windows, std::int64_t ox) {
        const std::int64_t out = ((row / p.height * p.out_height + oy) * p.out_width + ox) * p.channels;
        spread(windows, dy + out, index + out, dx);
      });
}

void pool_signs(const Pooling& p, const std::uint64_t* x, const std::uint64_t* all, std::uint64_t* y) {
  const std::int64_t row = words(p.channels);
  each_window(p, row * places(p), [&](std::int64_t image, const Window& window, std::int64_t out) {
    const std::uint64_t* const from = x + image * p.height * p.width * row;
    const auto at = [&](int i) { return from + window.pixel[static_cast<std::size_t>(i)] * row; };
    for (std::int64_t k = 0; k < row; ++k) {
      std::uint64_t any = at(0)[k];
      std::uint64_t every = any;
      for (int i = 1; i < window.count; ++i) {
        any |= at(i)[k];
        every &= at(i)[k];
      }
      y[out * row + k] = (any & ~all[k]) | (every & all[k]);
    }
  });
}

void avg_pool2d(const Pooling& p, const float* x, float* y) {
  const auto area = static_cast<float>(places(p));
  each_window(p, p.channels * places(p), [&](std::int64_t image, const Window& window, std::int64_t out) {
    const float* const from = x + image * p.height * p.width * p.channels;
    float* const __restrict mean = y + out * p.channels;
    std::copy_n(from + window.pixel[0] * p.channels, p.channels, mean);
    for (int i = 1; i < window.count; ++i) {
      const float* const v = from + window.pixel[static_cast<std::size_t>(i)] * p.channels;
      for (std::int64_t k = 0; k < p.channels; ++k) mean[k] += v[k];
    }
    for (std::int64_t k = 0; k < p.channels; ++k) mean[k] /= area;
  });
}

void avg_pool2d_backward(const Pooling& p, const float* dy, float* dx) {
  const auto area = static_cast<float>(places(p));
  const std::int64_t image_size = p.height * p.width * p.channels;
  each_image(p, [&](std::int64_t image) {
    Window window;
    float* const to = dx + image * image_size;
    std::fill_n(to, image_size, 0.0F);
    for (std::int64_t oy = 0; oy < p.out_height; ++oy) {
      for (std::int64_t ox = 0; ox < p.out_width; ++ox) {
        fill_window(p, oy, ox, window);
        const float* const g = dy + ((image * p.out_height + oy) * p.out_width + ox) * p.channels;
        for (int i = 0; i < window.count; ++i) {
          float* const __restrict pixel = to + window.pixel[static_cast<std::size_t>(i)] * p.channels;
          for (std::int64_t k = 0; k < p.channels; ++k) pixel[k] += g[k] / area;
        }
      }
    }
  });
}

}  // namespace hardbit::cpu
