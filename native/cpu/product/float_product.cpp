#include "cpu/product/float_product.h"

#include <algorithm>
#include <cstring>

namespace hardbit::cpu {
namespace {

constexpr std::int64_t word = sizeof(float);
/// Windows whose pointers are made at a time: enough to use each tile of weights several times.
constexpr std::int64_t most_block = 64;
/// Of gathered windows.
constexpr std::int64_t gathered_bytes = 128 * 1024;

}  // namespace

FloatProduct::FloatProduct(const ops::Conv2d& conv, const float* weights, const float* bias,
                           const FloatKernel& kernel)
    : conv_(conv), kernel_(&kernel) {
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  rows_ = conv.h + padding[0] + padding[1];
  columns_ = conv.w + padding[2] + padding[3];
  pads_ = rows_ != conv.h || columns_ != conv.w;

  const std::int64_t channels = conv.group_channels();
  const std::int64_t row = columns_ * conv.c;
  // As long as taps follow each other in the image, they are one segment.
  const bool whole_rows = groups == 1 && (dilation[1] == 1 || conv.kw == 1);
  const bool whole_window = whole_rows && (conv.kh == 1 || (dilation[0] == 1 && conv.kw == columns_));
  segment_words_ = whole_window ? conv.k() : whole_rows ? conv.kw * conv.c : channels;
  for (std::int64_t a = 0; a < (whole_window ? 1 : conv.kh); ++a) {
    for (std::int64_t b = 0; b < (whole_rows ? 1 : conv.kw); ++b) {
      segments_.push_back((a * dilation[0] * row + b * dilation[1] * conv.c) * word);
    }
  }
  gathers_ = segments_.size() > 1 && segment_words_ % 2 != 0;
  block_ =
      gathers_ ? std::clamp<std::int64_t>(gathered_bytes / (conv.k() * word), 1, most_block) : most_block;

  const std::int64_t outputs = conv.m / groups;
  group_bytes_ = kernel.packed_bytes(outputs, conv.k());
  weights_ = PlanMemory(group_bytes_ * static_cast<std::size_t>(groups));
  for (std::int64_t g = 0; g < groups; ++g) {
    std::byte* const packed = weights_.data() + group_bytes_ * static_cast<std::size_t>(g);
    kernel.pack(weights + g * outputs * conv.k(), outputs, conv.k(), reinterpret_cast<float*>(packed));
  }
  // The kernel reads a whole vector of it, from a group's last channels on too.
  bias_.assign(static_cast<std::size_t>(conv.m + kernel.lanes), 0.0F);
  if (bias != nullptr) std::copy(bias, bias + conv.m, bias_.begin());
}

std::size_t FloatProduct::scratch_bytes(std::int64_t images) const {
  const std::int64_t padded = pads_ ? images * padded_values() : 0;
  const std::int64_t gathered = gathers_ ? block_ * conv_.k() : 0;
  return static_cast<std::size_t>((padded + gathered) * word);
}

void FloatProduct::run(const float* x, std::int64_t images, float* y, std::byte* scratch) const {
  const auto& [stride, dilation, padding, groups] = conv_.geometry;
  const std::int64_t k = conv_.k();
  const std::int64_t outputs = conv_.m / groups;
  const std::int64_t row_values = conv_.w * conv_.c;
  auto* free = reinterpret_cast<float*>(scratch);
  if (pads_) {
    float* const padded = free;
    free += images * padded_values();
    std::fill(padded, free, 0.0F);
    float* to = padded + (padding[0] * columns_ + padding[2]) * conv_.c;
    for (std::int64_t image = 0; image < images; ++image) {
      for (std::int64_t h = 0; h < conv_.h; ++h) {
        std::copy_n(x + (image * conv_.h + h) * row_values, row_values,
                    to + image * padded_values() + h * columns_ * conv_.c);
      }
    }
    x = padded;
  }

  const std::uint8_t* windows[most_block];
  float* out[max_product_rows];
  const std::ptrdiff_t whole = 0;
  FloatTile tile{};
  tile.windows = gathers_ ? Windows{windows, &whole, 1, k}
                          : Windows{windows, segments_.data(), static_cast<std::int64_t>(segments_.size()),
                                    segment_words_};
  const std::int64_t pixels = conv_.oh * conv_.ow;
  const std::int64_t rows = images * pixels;
  for (std::int64_t begin = 0; begin < rows; begin += block_) {
    const std::int64_t count = std::min(block_, rows - begin);
    for (std::int64_t g = 0; g < groups; ++g) {
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t image = (begin + i) / pixels;
        const std::int64_t pixel = (begin + i) % pixels;
        const float* const window =
            x + image * padded_values() +
            (pixel / conv_.ow * stride[0] * columns_ + pixel % conv_.ow * stride[1]) * conv_.c +
            g * conv_.group_channels();
        windows[i] = reinterpret_cast<const std::uint8_t*>(window);
        if (!gathers_) continue;
        float* to = free + i * k;
        for (const std::ptrdiff_t offset : segments_) {
          std::memcpy(to, windows[i] + offset, static_cast<std::size_t>(segment_words_ * word));
          to += segment_words_;
        }
        windows[i] = reinterpret_cast<const std::uint8_t*>(free + i * k);
      }
      const std::byte* const weights = weights_.data() + group_bytes_ * static_cast<std::size_t>(g);
      for (std::int64_t c = 0; c < outputs; c += kernel_->nr) {
        tile.w = reinterpret_cast<const float*>(weights + kernel_->packed_bytes(c, k));
        tile.columns = static_cast<int>(std::min<std::int64_t>(kernel_->nr, outputs - c));
        tile.bias = bias_.data() + g * outputs + c;
        for (std::int64_t i = 0; i < count; i += kernel_->mr) {
          tile.windows.x = windows + i;
          tile.rows = static_cast<int>(std::min<std::int64_t>(kernel_->mr, count - i));
          for (int r = 0; r < tile.rows; ++r) {
            out[r] = y + (begin + i + r) * conv_.m + g * outputs + c;
          }
          tile.out = out;
          kernel_->run(tile);
        }
      }
    }
  }
}

}  // namespace hardbit::cpu
