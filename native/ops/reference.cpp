#include "ops/reference.h"

#include <cmath>

#include "ops/binary_matmul.h"
#include "ops/check.h"
#include "ops/discretize.h"

namespace hardbit::ops::reference {
namespace {

/// The bits of a tensor, for loops that ask for many of them.
struct Bits {
  const std::uint64_t* words;
  std::int64_t row_words;

  explicit Bits(const Tensor& bits) : words(bits.data<std::uint64_t>()), row_words(bits.row_words()) {}
  bool operator()(std::int64_t row, std::int64_t column) const {
    return (words[row * row_words + column / 64] >> (column % 64) & 1) != 0;
  }
};

/// A bits tensor of x's shape from f(value).
template <class F>
Tensor pack(const char* op, const Tensor& x, const F& f) {
  check::dtype(op, "x", x, DType::f32);
  Tensor bits = Tensor::zeros(DType::bits, x.shape());
  for (std::int64_t r = 0; r < x.rows(); ++r) {
    for (std::int64_t c = 0; c < x.columns(); ++c) {
      if (f(x.data<float>()[r * x.columns() + c])) {
        bits.data<std::uint64_t>()[r * bits.row_words() + c / 64] |= std::uint64_t{1} << (c % 64);
      }
    }
  }
  return bits;
}

/// out[n, m] = Σ_k x(n, k)·w[m, k].
template <class X>
Tensor product(const BinaryProduct& p, const Tensor& w, const X& x) {
  Tensor y = Tensor::empty(p.dtype, {p.n, p.m});
  const Bits positive(w);
  for (std::int64_t n = 0; n < p.n; ++n) {
    for (std::int64_t m = 0; m < p.m; ++m) {
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < p.k; ++k) {
        const std::int32_t value = x(n, k);
        sum += positive(m, k) ? value : -value;
      }
      if (p.dtype == DType::i16) {
        y.data<std::int16_t>()[n * p.m + m] = static_cast<std::int16_t>(sum);
      } else {
        y.data<std::int32_t>()[n * p.m + m] = sum;
      }
    }
  }
  return y;
}

/// out[n, i, j, m] = Σ_{a, b, c} x(n, i·stride + a·dilation − above, …, c)·w[m, (a, b, c)], where x is
/// `padding` outside the image.
template <class X>
Tensor convolution(const BinaryConv2d& p, const Tensor& w, std::int32_t padding, const X& x) {
  const auto& [geometry, n, height, width, channels, m, kh, kw, oh, ow] = p.conv;
  const std::int64_t in = p.conv.group_channels();
  const std::int64_t out = m / geometry.groups;
  Tensor y = Tensor::empty(p.dtype, p.shape());
  const Bits positive(w);
  for (std::int64_t e = 0; e < y.count(); ++e) {
    const std::int64_t channel = e % m;
    const std::int64_t j = e / m % ow;
    const std::int64_t i = e / m / ow % oh;
    const std::int64_t image = e / m / ow / oh;
    std::int32_t sum = 0;
    for (std::int64_t a = 0; a < kh; ++a) {
      for (std::int64_t b = 0; b < kw; ++b) {
        const std::int64_t row = i * geometry.stride[0] + a * geometry.dilation[0] - geometry.padding[0];
        const std::int64_t column = j * geometry.stride[1] + b * geometry.dilation[1] - geometry.padding[2];
        const bool inside = row >= 0 && row < height && column >= 0 && column < width;
        for (std::int64_t c = 0; c < in; ++c) {
          const std::int32_t value =
              inside ? x((image * height + row) * width + column, channel / out * in + c) : padding;
          sum += positive(channel, (a * kw + b) * in + c) ? value : -value;
        }
      }
    }
    if (p.dtype == DType::i16) {
      y.data<std::int16_t>()[e] = static_cast<std::int16_t>(sum);
    } else {
      y.data<std::int32_t>()[e] = sum;
    }
  }
  return y;
}

void check_codes(const char* op, const Tensor& codes, int bits) {
  int all = 0;
  for (std::int64_t i = 0; i < codes.count(); ++i) all |= codes.data<std::uint8_t>()[i];
  check_code_range(op, all, bits);
}

}  // namespace

bool bit(const Tensor& bits, std::int64_t row, std::int64_t column) { return Bits(bits)(row, column); }

Tensor pack_signs(const Tensor& x) {
  return pack("packSigns", x, [](float value) { return value >= 0.0F; });
}

Tensor pack_mask(const Tensor& x) {
  return pack("signForward", x, [](float value) { return std::fabs(value) <= 1.0F; });
}

Tensor unpack_signs(const Tensor& bits) {
  check::dtype("unpackSigns", "x", bits, DType::bits);
  Tensor x = Tensor::empty(DType::f32, bits.shape());
  for (std::int64_t r = 0; r < bits.rows(); ++r) {
    for (std::int64_t c = 0; c < bits.columns(); ++c) {
      x.data<float>()[r * bits.columns() + c] = bit(bits, r, c) ? 1.0F : -1.0F;
    }
  }
  return x;
}

Tensor mask_backward(const Tensor& dy, const Tensor& mask) {
  check::dtype("maskBackward", "mask", mask, DType::bits);
  check::f32("maskBackward", "dy", dy, mask.shape());
  Tensor dx = Tensor::zeros(DType::f32, dy.shape());
  for (std::int64_t r = 0; r < dy.rows(); ++r) {
    for (std::int64_t c = 0; c < dy.columns(); ++c) {
      if (bit(mask, r, c)) dx.data<float>()[r * dy.columns() + c] = dy.data<float>()[r * dy.columns() + c];
    }
  }
  return dx;
}

Tensor approx_sign_backward(const Tensor& dy, const Tensor& x) {
  check::dtype("approxSignBackward", "x", x, DType::f32);
  check::f32("approxSignBackward", "dy", dy, x.shape());
  Tensor dx = Tensor::zeros(DType::f32, dy.shape());
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const float magnitude = std::fabs(x.data<float>()[i]);
    if (magnitude <= 1.0F) dx.data<float>()[i] = dy.data<float>()[i] * (2.0F - 2.0F * magnitude);
  }
  return dx;
}

Tensor discretize(const Tensor& x, int bits) {
  check::dtype("discretize", "x", x, DType::f32);
  check::integer_between("discretize", "bits", bits, 1, 8);
  Tensor codes = Tensor::empty(DType::u8, x.shape());
  for (std::int64_t i = 0; i < x.count(); ++i) {
    codes.data<std::uint8_t>()[i] = quantize_code(x.data<float>()[i], bits);
  }
  return codes;
}

Tensor codes_to_float(const Tensor& codes, int bits) {
  check::dtype("codesToFloat", "codes", codes, DType::u8);
  check::integer_between("codesToFloat", "bits", bits, 1, 8);
  Tensor x = Tensor::empty(DType::f32, codes.shape());
  for (std::int64_t i = 0; i < x.count(); ++i) {
    x.data<float>()[i] =
        static_cast<float>(codes.data<std::uint8_t>()[i]) / static_cast<float>((1 << bits) - 1);
  }
  return x;
}

Tensor binary_matmul(const Tensor& a, const Tensor& w) {
  const BinaryProduct p = check_binary_matmul("binaryMatmulReference", a, w);
  return product(p, w, [x = Bits(a)](std::int64_t n, std::int64_t k) { return x(n, k) ? 1 : -1; });
}

Tensor codes_matmul(const Tensor& codes, int bits, const Tensor& w) {
  const BinaryProduct p = check_codes_matmul("codesMatmulReference", codes, bits, w);
  check_codes("codesMatmulReference", codes, bits);
  return product(
      p, w, [x = codes.data<std::uint8_t>(), &p](std::int64_t n, std::int64_t k) { return x[n * p.k + k]; });
}

Tensor binary_conv2d(const Tensor& x, const Tensor& w, const Pair& kernel, const Conv2dGeometry& geometry,
                     PaddingValue padding) {
  const BinaryConv2d p = check_binary_conv2d("binaryConv2dReference", x, w, kernel, geometry);
  return convolution(p, w, padding == PaddingValue::one ? 1 : 0,
                     [x = Bits(x)](std::int64_t pixel, std::int64_t c) { return x(pixel, c) ? 1 : -1; });
}

Tensor codes_conv2d(const Tensor& codes, int bits, const Tensor& w, const Pair& kernel,
                    const Conv2dGeometry& geometry, PaddingValue padding) {
  const BinaryConv2d p = check_codes_conv2d("codesConv2dReference", codes, bits, w, kernel, geometry);
  check_codes("codesConv2dReference", codes, bits);
  return convolution(p, w, padding == PaddingValue::one ? (1 << bits) - 1 : 0,
                     [x = codes.data<std::uint8_t>(), &p](std::int64_t pixel, std::int64_t c) {
                       return x[pixel * p.conv.c + c];
                     });
}

}  // namespace hardbit::ops::reference
