// What cpu/onednn.h declares, without oneDNN: short loops in its place, for builds with HARDBIT_ONEDNN=OFF,
// where a sanitizer must see every access and every thread.

#include <algorithm>

#include "cpu/onednn.h"
#include "runtime/error.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

/// Calls f(tap row, tap column, input pixel) for the taps of output pixel (i, j) that are inside an image.
template <class F>
void for_each_tap(const ops::Conv2d& v, std::int64_t i, std::int64_t j, const F& f) {
  const auto& [stride, dilation, padding, groups] = v.geometry;
  for (std::int64_t a = 0; a < v.kh; ++a) {
    const std::int64_t row = i * stride[0] + a * dilation[0] - padding[0];
    if (row < 0 || row >= v.h) continue;
    for (std::int64_t b = 0; b < v.kw; ++b) {
      const std::int64_t column = j * stride[1] + b * dilation[1] - padding[2];
      if (column >= 0 && column < v.w) f(a, b, row * v.w + column);
    }
  }
}

/// The range of channels of x that output channel m sees begins here.
std::int64_t first_channel(const ops::Conv2d& v, std::int64_t m) {
  return m / (v.m / v.geometry.groups) * v.group_channels();
}

}  // namespace

std::string onednn_version() { return "none"; }

void matmul(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
            const float* a, const float* b, const float* bias, float* c) {
  const std::int64_t a_row = transpose_a ? 1 : k;
  const std::int64_t a_column = transpose_a ? m : 1;
  const std::int64_t b_row = transpose_b ? 1 : n;
  const std::int64_t b_column = transpose_b ? k : 1;
  parallel_for(m, element_grain / (n * k + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float* const to = c + i * n;
      for (std::int64_t j = 0; j < n; ++j) to[j] = bias != nullptr ? bias[j] : 0.0F;
      for (std::int64_t p = 0; p < k; ++p) {
        const float factor = a[i * a_row + p * a_column];
        for (std::int64_t j = 0; j < n; ++j) to[j] += factor * b[p * b_row + j * b_column];
      }
    }
  });
}

void convolution_forward(const ops::Conv2d& v, const float* x, const float* w, const float* bias, float* y) {
  const std::int64_t in = v.group_channels();
  parallel_for(v.n * v.oh, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* const image = x + row / v.oh * v.h * v.w * v.c;
      for (std::int64_t j = 0; j < v.ow; ++j) {
        float* const to = y + (row * v.ow + j) * v.m;
        for (std::int64_t m = 0; m < v.m; ++m) to[m] = bias != nullptr ? bias[m] : 0.0F;
        for_each_tap(v, row % v.oh, j, [&](std::int64_t a, std::int64_t b, std::int64_t pixel) {
          for (std::int64_t m = 0; m < v.m; ++m) {
            const float* const from = image + pixel * v.c + first_channel(v, m);
            const float* const weights = w + ((m * v.kh + a) * v.kw + b) * in;
            for (std::int64_t c = 0; c < in; ++c) to[m] += from[c] * weights[c];
          }
        });
      }
    }
  });
}

void convolution_backward_data(const ops::Conv2d& v, const float* dy, const float* w, float* dx) {
  const std::int64_t in = v.group_channels();
  parallel_for(v.n, 1, [&](std::int64_t begin, std::int64_t end) {
    std::fill(dx + begin * v.h * v.w * v.c, dx + end * v.h * v.w * v.c, 0.0F);
    for (std::int64_t pixel = begin * v.oh * v.ow; pixel < end * v.oh * v.ow; ++pixel) {
      const float* const from = dy + pixel * v.m;
      float* const image = dx + pixel / v.ow / v.oh * v.h * v.w * v.c;
      for_each_tap(v, pixel / v.ow % v.oh, pixel % v.ow,
                   [&](std::int64_t a, std::int64_t b, std::int64_t at) {
                     for (std::int64_t m = 0; m < v.m; ++m) {
                       float* const to = image + at * v.c + first_channel(v, m);
                       const float* const weights = w + ((m * v.kh + a) * v.kw + b) * in;
                       for (std::int64_t c = 0; c < in; ++c) to[c] += from[m] * weights[c];
                     }
                   });
    }
  });
}

void convolution_backward_weights(const ops::Conv2d& v, const float* dy, const float* x, float* dw) {
  const std::int64_t in = v.group_channels();
  parallel_for(v.m, 1, [&](std::int64_t begin, std::int64_t end) {
    std::fill(dw + begin * v.k(), dw + end * v.k(), 0.0F);
    for (std::int64_t pixel = 0; pixel < v.n * v.oh * v.ow; ++pixel) {
      const float* const image = x + pixel / v.ow / v.oh * v.h * v.w * v.c;
      for_each_tap(v, pixel / v.ow % v.oh, pixel % v.ow,
                   [&](std::int64_t a, std::int64_t b, std::int64_t at) {
                     for (std::int64_t m = begin; m < end; ++m) {
                       const float* const from = image + at * v.c + first_channel(v, m);
                       float* const to = dw + ((m * v.kh + a) * v.kw + b) * in;
                       for (std::int64_t c = 0; c < in; ++c) to[c] += dy[pixel * v.m + m] * from[c];
                     }
                   });
    }
  });
}

namespace {

[[noreturn]] void no_bf16() {
  throw Error("ERR_HARDBIT_UNSUPPORTED",
              "This build has no oneDNN, and so no bf16; choose 'float' or 'int8'.");
}

}  // namespace

bool has_bf16() { return false; }
void matmul_bf16(bool, bool, std::int64_t, std::int64_t, std::int64_t, const float*, const float*, float*) {
  no_bf16();
}
void convolution_backward_data_bf16(const ops::Conv2d&, const float*, const float*, float*) { no_bf16(); }
void convolution_backward_weights_bf16(const ops::Conv2d&, const float*, const float*, float*) { no_bf16(); }

}  // namespace hardbit::cpu
