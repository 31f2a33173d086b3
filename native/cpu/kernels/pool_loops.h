#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/kernels/pool.h"

// The kernels of pool.h in the compiler's vectors. Each instruction set's file includes them under its own
// flags; so all is in an unnamed namespace, and nothing of it can be linked elsewhere.

namespace hardbit::cpu {
namespace {

/// `bytes` of values, and their places as wide as they are, so that one mask of a comparison serves both.
template <class T, int bytes>
struct Lanes {
  static constexpr std::int64_t count = bytes / sizeof(T);
  using Place = std::conditional_t<sizeof(T) == 2, std::int16_t, std::int32_t>;
  typedef T Values __attribute__((vector_size(bytes)));
  typedef Place Places __attribute__((vector_size(bytes)));
  typedef std::uint8_t Index __attribute__((vector_size(bytes / sizeof(T))));

  static Values load(const T* from) {
    Values v;
    std::memcpy(&v, from, sizeof v);
    return v;
  }
  static Places load(const std::uint8_t* from) {
    Index v;
    std::memcpy(&v, from, sizeof v);
    return __builtin_convertvector(v, Places);
  }
  static void store(T* to, Values v) { std::memcpy(to, &v, sizeof v); }
  static void store(std::uint8_t* to, Places v) {
    const Index narrow = __builtin_convertvector(v, Index);
    std::memcpy(to, &narrow, sizeof narrow);
  }
};

/// v takes the place of best: it is larger, or the first NaN.
template <class T>
bool wins(T v, T best) {
  return static_cast<int>(!(v <= best)) & static_cast<int>(best == best);
}

/// The places of each window, copied: the compiler cannot know that results do not overwrite them.
template <int count>
struct Places {
  std::int64_t element[count];
  std::uint8_t place[count];

  explicit Places(const PoolWindows& windows) {
    std::memcpy(element, windows.element, sizeof element);
    std::memcpy(place, windows.place, sizeof place);
  }
  static constexpr std::int64_t size() { return count; }
};

/// As many as there are.
template <>
struct Places<0> {
  const std::int64_t* element;
  const std::uint8_t* place;
  std::int64_t places;

  explicit Places(const PoolWindows& windows)
      : element(windows.element), place(windows.place), places(windows.places) {}
  std::int64_t size() const { return places; }
};

/// x, y and index are moved to the window and channel.
template <class T, int bytes, bool with_index, int count>
void max_lanes(const Places<count>& window, const T* x, T* y, std::uint8_t* index) {
  using L = Lanes<T, bytes>;
  auto best = L::load(x + window.element[0]);
  typename L::Places place = typename L::Places{} + window.place[0];
  for (std::int64_t i = 1; i < window.size(); ++i) {
    const auto next = L::load(x + window.element[i]);
    const typename L::Places take = ~(next <= best) & (best == best);  // as wins()
    best = take ? next : best;
    if constexpr (with_index) place = take ? typename L::Places{} + window.place[i] : place;
  }
  L::store(y, best);
  if constexpr (with_index) L::store(index, place);
}

template <class T>
void max_one(const PoolWindows& windows, const T* x, T* y, std::uint8_t* index) {
  T best = x[windows.element[0]];
  std::uint8_t place = windows.place[0];
  for (std::int64_t i = 1; i < windows.places; ++i) {
    const T next = x[windows.element[i]];
    if (!wins(next, best)) continue;
    best = next;
    place = windows.place[i];
  }
  *y = best;
  if (index != nullptr) *index = place;
}

template <int bytes, int count>
void spread_lanes(const Places<count>& window, const float* dy, const std::uint8_t* index, float* dx) {
  using L = Lanes<float, bytes>;
  const auto gradient = L::load(dy);
  const auto winner = L::load(index);
  for (std::int64_t i = 0; i < window.size(); ++i) {
    L::store(dx + window.element[i], winner == window.place[i] ? gradient : typename L::Values{});
  }
}

void spread_one(const PoolWindows& windows, float dy, std::uint8_t index, float* dx) {
  for (std::int64_t i = 0; i < windows.places; ++i) {
    dx[windows.element[i]] = index == windows.place[i] ? dy : 0.0F;
  }
}

/// Calls wide(channel) for `lanes` channels at a time; the last pass overlaps the one before.
template <class F>
void each_pass(std::int64_t channels, std::int64_t lanes, const F& wide) {
  std::int64_t c = 0;
  for (; c + lanes <= channels; c += lanes) wide(c);
  if (c < channels) wide(channels - lanes);
}

/// Vectors of `bytes`, and narrower ones where the channels do not fill them.
template <class T, int bytes, int fixed, bool with_index>
void max_windows(const PoolWindows& windows, const T* x, T* y, std::uint8_t* index) {
  const std::int64_t channels = windows.channels;
  constexpr std::int64_t lanes = Lanes<T, bytes>::count;
  const auto place_of = [&](std::int64_t w, std::int64_t c) {
    return with_index ? index + w * channels + c : nullptr;
  };
  if (channels < lanes) {
    if constexpr (bytes > 16) {
      max_windows<T, bytes / 2, fixed, with_index>(windows, x, y, index);
    } else {
      for (std::int64_t w = 0; w < windows.count; ++w) {
        for (std::int64_t c = 0; c < channels; ++c) {
          max_one(windows, x + w * windows.step + c, y + w * channels + c, place_of(w, c));
        }
      }
    }
    return;
  }
  const Places<fixed> window(windows);
  for (std::int64_t w = 0, count = windows.count, step = windows.step; w < count; ++w) {
    each_pass(channels, lanes, [&](std::int64_t c) {
      max_lanes<T, bytes, with_index>(window, x + w * step + c, y + w * channels + c, place_of(w, c));
    });
  }
}

template <class T, int bytes>
void max_values(const PoolWindows& windows, const T* x, T* y, std::uint8_t* index) {
  const bool square = windows.places == 4;  // 2×2, the usual one
  if (index != nullptr) {
    (square ? max_windows<T, bytes, 4, true> : max_windows<T, bytes, 0, true>)(windows, x, y, index);
  } else {
    (square ? max_windows<T, bytes, 4, false> : max_windows<T, bytes, 0, false>)(windows, x, y, index);
  }
}

template <int bytes, int fixed>
void spread_windows(const PoolWindows& windows, const float* dy, const std::uint8_t* index, float* dx) {
  const std::int64_t channels = windows.channels;
  constexpr std::int64_t lanes = Lanes<float, bytes>::count;
  if (channels < lanes) {
    if constexpr (bytes > 16) {
      spread_windows<bytes / 2, fixed>(windows, dy, index, dx);
    } else {
      for (std::int64_t w = 0; w < windows.count; ++w) {
        for (std::int64_t c = 0; c < channels; ++c) {
          spread_one(windows, dy[w * channels + c], index[w * channels + c], dx + w * windows.step + c);
        }
      }
    }
    return;
  }
  const Places<fixed> window(windows);
  for (std::int64_t w = 0, count = windows.count, step = windows.step; w < count; ++w) {
    each_pass(channels, lanes, [&](std::int64_t c) {
      spread_lanes<bytes>(window, dy + w * channels + c, index + w * channels + c, dx + w * step + c);
    });
  }
}

template <int bytes>
void spread(const PoolWindows& windows, const float* dy, const std::uint8_t* index, float* dx) {
  (windows.places == 4 ? spread_windows<bytes, 4> : spread_windows<bytes, 0>)(windows, dy, index, dx);
}

template <int bytes>
constexpr PoolKernels pool_row(const char* name, Isa isa) {
  return {
      name,
      isa,
      max_values<float, bytes>,
      max_values<std::int16_t, bytes>,
      max_values<std::int32_t, bytes>,
      spread<bytes>,
  };
}

}  // namespace
}  // namespace hardbit::cpu
