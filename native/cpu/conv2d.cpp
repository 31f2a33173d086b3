#include "cpu/conv2d.h"

#include <algorithm>

#include "cpu/onednn.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

using ops::Conv2d;

/// Output positions o in [begin, end) whose tap `tap` reads input o·stride + shift inside [0, size).
struct Reach {
  std::int64_t begin, end, shift;
  Reach(std::int64_t tap, std::int64_t stride, std::int64_t dilation, std::int64_t before, std::int64_t size,
        std::int64_t outputs)
      : shift(tap * dilation - before) {
    begin = std::min(shift < 0 ? (-shift + stride - 1) / stride : 0, outputs);
    end = std::clamp(size > shift ? (size - shift + stride - 1) / stride : 0, begin, outputs);
  }
};

/// One image's dx [h][w][c] from columns [kh][kw][c][oh·ow], whose rows are `pitch` apart; `plane` [h][w] is
/// scratch, unused for one channel.
void add_columns(const Conv2d& conv, const float* columns, std::int64_t pitch, float* plane, float* dx) {
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  if (conv.c == 1) plane = dx;
  for (std::int64_t c = 0; c < conv.c; ++c) {
    std::fill_n(plane, conv.h * conv.w, 0.0F);
    for (std::int64_t a = 0; a < conv.kh; ++a) {
      const Reach rows(a, stride[0], dilation[0], padding[0], conv.h, conv.oh);
      for (std::int64_t b = 0; b < conv.kw; ++b) {
        const Reach across(b, stride[1], dilation[1], padding[2], conv.w, conv.ow);
        const float* const tap = columns + ((a * conv.kw + b) * conv.c + c) * pitch;
        for (std::int64_t i = rows.begin; i < rows.end; ++i) {
          const float* const from = tap + i * conv.ow;
          float* const to = plane + (i * stride[0] + rows.shift) * conv.w + across.shift;
          if (stride[1] == 1) {
            for (std::int64_t j = across.begin; j < across.end; ++j) to[j] += from[j];
          } else {
            for (std::int64_t j = across.begin; j < across.end; ++j) to[j * stride[1]] += from[j];
          }
        }
      }
    }
    if (conv.c > 1) {
      for (std::int64_t i = 0; i < conv.h * conv.w; ++i) dx[i * conv.c + c] = plane[i];
    }
  }
}

/// dx as a matrix product and a sum over taps, for few input channels: oneDNN's kernels compute a whole
/// vector of them, however few there are.
void backward_few_channels(const Conv2d& conv, const float* dy, const float* w, float* dx) {
  constexpr std::int64_t chunk_bytes = 1 << 20;  // the columns stay in the second-level cache
  const std::int64_t pixels = conv.oh * conv.ow;
  const std::int64_t k = conv.k();
  const std::int64_t most = std::clamp<std::int64_t>(chunk_bytes / 4 / (k * pixels), threads(), conv.n);
  const Tensor columns = Tensor::empty(DType::f32, {k, most * pixels});
  const Tensor planes = Tensor::empty(DType::f32, {conv.c == 1 ? 0 : most, conv.h, conv.w});
  for (std::int64_t first = 0; first < conv.n; first += most) {
    const std::int64_t count = std::min(most, conv.n - first);
    matmul(true, true, k, count * pixels, conv.m, w, dy + first * pixels * conv.m, nullptr,
           columns.data<float>());
    parallel_for(count, element_grain / (k * pixels) + 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        add_columns(conv, columns.data<float>() + i * pixels, count * pixels,
                    planes.data<float>() + (conv.c == 1 ? 0 : i * conv.h * conv.w),
                    dx + (first + i) * conv.h * conv.w * conv.c);
      }
    });
  }
}

}  // namespace

void conv2d_forward(const Conv2d& conv, const float* x, const float* w, const float* bias, float* y) {
  if (!conv.empty()) {
    convolution_forward(conv, x, w, bias, y);
    return;
  }
  for (std::int64_t i = 0; i < conv.n * conv.oh * conv.ow * conv.m; ++i) {
    y[i] = bias != nullptr ? bias[i % conv.m] : 0.0F;
  }
}

void conv2d_backward_input(const Conv2d& conv, const float* dy, const float* w, float* dx) {
  constexpr std::int64_t few = 4;  // measured: oneDNN catches up between 6 and 10
  if (conv.empty()) {
    std::fill_n(dx, conv.n * conv.h * conv.w * conv.c, 0.0F);
  } else if (conv.c <= few && conv.geometry.groups == 1) {
    backward_few_channels(conv, dy, w, dx);
  } else {
    convolution_backward_data(conv, dy, w, dx);
  }
}

void conv2d_backward_weight(const Conv2d& conv, const float* dy, const float* x, float* dw) {
  if (conv.empty()) {
    std::fill_n(dw, conv.m * conv.k(), 0.0F);
  } else {
    convolution_backward_weights(conv, dy, x, dw);
  }
}

}  // namespace hardbit::cpu
