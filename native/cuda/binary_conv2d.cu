#include "cuda/binary_conv2d.h"
#include "cuda/binary_product.h"

namespace hardbit::cuda {
namespace {

template <class Out>
void run(const BinaryLayer& layer, const void* x, const std::uint64_t* w, Out* out) {
  const ops::Conv2d& conv = layer.conv;
  if (conv.n == 0 || conv.m == 0) return;
  if (conv.c == 0) {
    fill(out, 0, static_cast<std::size_t>(conv.n * conv.oh * conv.ow * conv.m) * sizeof(Out));
    return;
  }
  binary_sums(BinaryWeights(layer, w), conv.n, x, out);
}

}  // namespace

template <class Out>
void binary_conv2d(const ops::Conv2d& conv, ops::PaddingValue padding, const std::uint64_t* x,
                   const std::uint64_t* w, Out* out) {
  run({.conv = conv, .padding = padding, .codes = false, .bits = 1}, x, w, out);
}
template void binary_conv2d(const ops::Conv2d&, ops::PaddingValue, const std::uint64_t*, const std::uint64_t*,
                            std::int16_t*);
template void binary_conv2d(const ops::Conv2d&, ops::PaddingValue, const std::uint64_t*, const std::uint64_t*,
                            std::int32_t*);

template <class Out>
void codes_conv2d(const ops::Conv2d& conv, ops::PaddingValue padding, const std::uint8_t* codes, int bits,
                  const std::uint64_t* w, Out* out) {
  run({.conv = conv, .padding = padding, .codes = true, .bits = bits}, codes, w, out);
}
template void codes_conv2d(const ops::Conv2d&, ops::PaddingValue, const std::uint8_t*, int,
                           const std::uint64_t*, std::int16_t*);
template void codes_conv2d(const ops::Conv2d&, ops::PaddingValue, const std::uint8_t*, int,
                           const std::uint64_t*, std::int32_t*);

}  // namespace hardbit::cuda
