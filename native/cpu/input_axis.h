#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace hardbit::cpu {

/// The places of one axis of an input by their remainder: those with (i + before) mod stride = r meet the
/// taps a with a·dilation mod stride = r, at the output o = ⌊(i + before) / stride⌋ − ⌊a·dilation / stride⌋.
struct InputAxis {
  struct Phase {
    std::int64_t first;              // smallest place
    std::int64_t count;              // of places, `stride` apart
    std::vector<std::int64_t> taps;  // by rising output, that is from the last to the first
  };
  std::int64_t stride, dilation, before;
  std::vector<Phase> phases;
  /// What is taken from ⌊(i + before) / stride⌋ at most.
  std::int64_t reach;

  InputAxis(std::int64_t size, std::int64_t taps, std::int64_t stride_, std::int64_t dilation_,
            std::int64_t before_)
      : stride(stride_), dilation(dilation_), before(before_), reach((taps - 1) * dilation_ / stride_) {
    for (std::int64_t first = 0; first < std::min(stride, size); ++first) {
      Phase phase{.first = first, .count = (size - 1 - first) / stride + 1, .taps = {}};
      for (std::int64_t a = taps - 1; a >= 0; --a) {
        if (a * dilation % stride == (first + before) % stride) phase.taps.push_back(a);
      }
      phases.push_back(std::move(phase));
    }
  }
  std::int64_t step(std::int64_t tap) const { return tap * dilation / stride; }
  std::int64_t output(std::int64_t place) const { return (place + before) / stride; }
};

}  // namespace hardbit::cpu
