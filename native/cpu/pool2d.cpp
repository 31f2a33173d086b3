#include "cpu/pool2d.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>

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

void fill_window(const Pooling& p, std::int64_t oy, std::int64_t ox, Window& window) {
  const auto& [kernel, stride, padding] = p.geometry;
  window.count = 0;
  for (std::int64_t ky = 0; ky < kernel[0]; ++ky) {
    const std::int64_t y = oy * stride[0] - padding[0] + ky;
    if (y < 0 || y >= p.height) continue;
    for (std::int64_t kx = 0; kx < kernel[1]; ++kx) {
      const std::int64_t x = ox * stride[1] - padding[2] + kx;
      if (x < 0 || x >= p.width) continue;
      const auto i = static_cast<std::size_t>(window.count++);
      window.place[i] = static_cast<std::uint8_t>(ky * kernel[1] + kx);
      window.pixel[i] = y * p.width + x;
    }
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

/// v takes the place of best: it is larger, or the first NaN.
template <class T>
bool wins(T v, T best) {
  return static_cast<int>(!(v <= best)) & static_cast<int>(best == best);
}

/// Places as wide as the values, so that one mask of a comparison serves both.
template <class T>
using WidePlace = std::conditional_t<sizeof(T) == 2, std::int16_t, std::int32_t>;

/// Channels of a pass over a window: a vector that every 64-bit processor has, since the compiler takes wider
/// ones apart element by element.
template <class T>
constexpr std::int64_t lanes = 16 / sizeof(T);

/// The largest of each of `lanes<T>` channels of a window, whose pixels begin at `image` and are `channels`
/// wide, and where it stood, unless `index` is null. In the compiler's vectors, since it does not find them
/// by itself.
template <class T>
void max_lanes(const T* image, std::int64_t channels, const Window& window, T* y, std::uint8_t* index) {
  typedef T Values __attribute__((vector_size(16)));
  typedef WidePlace<T> Places __attribute__((vector_size(16)));
  Values best;
  std::memcpy(&best, image + window.pixel[0] * channels, sizeof(best));
  Places place = Places{} + window.place[0];
  for (int i = 1; i < window.count; ++i) {
    Values next;
    std::memcpy(&next, image + window.pixel[static_cast<std::size_t>(i)] * channels, sizeof(next));
    const Places take = ~(next <= best) & (best == best);  // as wins()
    best = take ? next : best;
    place = take ? Places{} + window.place[static_cast<std::size_t>(i)] : place;
  }
  std::memcpy(y, &best, sizeof(best));
  if (index == nullptr) return;
  for (std::int64_t k = 0; k < lanes<T>; ++k) index[k] = static_cast<std::uint8_t>(place[k]);
}

template <class T>
void max_one(const T* image, std::int64_t channels, const Window& window, T* y, std::uint8_t* index) {
  T best = image[window.pixel[0] * channels];
  std::uint8_t place = window.place[0];
  for (int i = 1; i < window.count; ++i) {
    const T next = image[window.pixel[static_cast<std::size_t>(i)] * channels];
    if (!wins(next, best)) continue;
    best = next;
    place = window.place[static_cast<std::size_t>(i)];
  }
  *y = best;
  if (index != nullptr) *index = place;
}

template <class T>
void max_pixel(const T* image, std::int64_t channels, const Window& window, T* y, std::uint8_t* index) {
  const auto places_of = [index](std::int64_t k) { return index == nullptr ? nullptr : index + k; };
  std::int64_t k = 0;
  for (; k + lanes<T> <= channels; k += lanes<T>) max_lanes(image + k, channels, window, y + k, places_of(k));
  if (k == channels) return;
  if (channels >= lanes<T>) {  // the last pass overlaps the one before
    k = channels - lanes<T>;
    max_lanes(image + k, channels, window, y + k, places_of(k));
    return;
  }
  for (; k < channels; ++k) max_one(image + k, channels, window, y + k, places_of(k));
}

/// dx[k] += dy[k] where the winner was `place`. Disjoint windows meet each pixel once, so nothing is read.
template <bool disjoint>
void scatter(const float* dy, const std::uint8_t* index, std::uint8_t place, float* __restrict dx,
             std::int64_t channels) {
  for (std::int64_t k = 0; k < channels; ++k) {
    const float gradient = dy[k];  // loaded in any case: a load under a condition does not vectorise
    const float share = index[k] == place ? gradient : 0.0F;
    dx[k] = disjoint ? share : dx[k] + share;
  }
}

bool is_disjoint(const Pooling& p) {
  return p.geometry.stride[0] >= p.geometry.kernel[0] && p.geometry.stride[1] >= p.geometry.kernel[1];
}

}  // namespace

template <class T>
void max_pool2d(const Pooling& p, const T* x, T* y, std::uint8_t* index) {
  const std::int64_t image_size = p.height * p.width * p.channels;
  each_window(p, p.channels * places(p), [&](std::int64_t image, const Window& window, std::int64_t out) {
    const T* const from = x + image * image_size;
    max_pixel(from, p.channels, window, y + out * p.channels,
              index == nullptr ? nullptr : index + out * p.channels);
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
  const std::int64_t image_size = p.height * p.width * p.channels;
  const bool disjoint = is_disjoint(p);
  each_image(p, [&](std::int64_t image) {
    Window window;
    float* const to = dx + image * image_size;
    std::fill_n(to, image_size, 0.0F);
    for (std::int64_t oy = 0; oy < p.out_height; ++oy) {
      for (std::int64_t ox = 0; ox < p.out_width; ++ox) {
        fill_window(p, oy, ox, window);
        const std::int64_t out = ((image * p.out_height + oy) * p.out_width + ox) * p.channels;
        for (int i = 0; i < window.count; ++i) {
          const std::uint8_t place = window.place[static_cast<std::size_t>(i)];
          float* const pixel = to + window.pixel[static_cast<std::size_t>(i)] * p.channels;
          if (disjoint) {
            scatter<true>(dy + out, index + out, place, pixel, p.channels);
          } else {
            scatter<false>(dy + out, index + out, place, pixel, p.channels);
          }
        }
      }
    }
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
