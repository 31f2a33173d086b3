#include "cpu/loss.h"

#include <algorithm>
#include <cmath>

#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// Rows a thread gets at least; an exponential costs about as much as 16 plain elements.
std::int64_t row_grain(std::int64_t classes, std::int64_t cost) {
  return element_grain / cost / std::max<std::int64_t>(classes, 1);
}

/// The largest of a row; the first among equals, a NaN never, 0 where all are NaN.
std::int64_t largest(const float* row, std::int64_t classes) {
  std::int64_t best = -1;
  for (std::int64_t c = 0; c < classes; ++c) {
    if (!std::isnan(row[c]) && (best < 0 || row[c] > row[best])) best = c;
  }
  return std::max<std::int64_t>(best, 0);
}

}  // namespace

void softmax_cross_entropy(const float* logits, const std::int32_t* labels, float gradient_scale,
                           float* losses, float* gradient, std::int64_t rows, std::int64_t classes) {
  parallel_for(rows, row_grain(classes, 16), [=](std::int64_t begin, std::int64_t end) {
    const auto scale = static_cast<double>(gradient_scale);
    for (std::int64_t i = begin; i < end; ++i) {
      const float* const z = logits + i * classes;
      float* const g = gradient + i * classes;
      const std::int64_t label = labels[i];
      const std::int64_t top = largest(z, classes);
      const auto most = static_cast<double>(z[top]);
      // Σ exp(z_j − most) = 1 + others. On confident rows `others` is tiny and must not be rounded away by
      // the 1.
      double others = 0;
      double not_label = 0;  // Σ over j ≠ label
      for (std::int64_t c = 0; c < classes; ++c) {
        const double e = std::exp(static_cast<double>(z[c]) - most);
        if (c != top) others += e;
        if (c != label) not_label += e;
      }
      const double factor = scale / (1 + others);
      for (std::int64_t c = 0; c < classes; ++c) {
        g[c] = static_cast<float>(factor * std::exp(static_cast<double>(z[c]) - most));
      }
      g[label] = static_cast<float>(-factor * not_label);
      losses[i] = static_cast<float>((most - static_cast<double>(z[label])) + std::log1p(others));
    }
  });
}

void argmax(const float* logits, std::int32_t* indices, std::int64_t rows, std::int64_t classes) {
  parallel_for(rows, row_grain(classes, 1), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      indices[i] = static_cast<std::int32_t>(largest(logits + i * classes, classes));
    }
  });
}

}  // namespace hardbit::cpu
