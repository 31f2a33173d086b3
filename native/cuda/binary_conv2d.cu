#include "cuda/binary_conv2d.h"
#include "cuda/binary_product.h"
#include "cuda/pool2d.h"

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
  binary_sums(BinaryWeights(layer, w, BinaryWeights::Use::sums), conv.n, x, out);
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

template <class Out>
void binary_conv2d_pool(const ops::Conv2d& conv, ops::PaddingValue padding, const void* x,
                        std::optional<int> bits, const std::uint64_t* w, const ops::Pooling& pooling, Out* y,
                        std::uint8_t* index) {
  const BinaryLayer layer{
      .conv = conv, .padding = padding, .codes = bits.has_value(), .bits = bits.value_or(1)};
  if (!conv.empty()) {
    const BinaryWeights weights(layer, w, BinaryWeights::Use::sums);
    const BandProduct* const bands = weights.bands();
    if (bands != nullptr && bands->pays(conv.n) && bands->pools(pooling)) {
      return bands->maxima(conv.n, x, y, index);
    }
    const Scratch<Out> sums(conv.n * conv.oh * conv.ow * conv.m);
    binary_sums(weights, conv.n, x, sums.data());
    return max_pool2d(pooling, static_cast<const Out*>(sums.data()), y, index);
  }
  const Scratch<Out> sums(conv.n * conv.oh * conv.ow * conv.m);
  run(layer, x, w, sums.data());
  max_pool2d(pooling, static_cast<const Out*>(sums.data()), y, index);
}
template void binary_conv2d_pool(const ops::Conv2d&, ops::PaddingValue, const void*, std::optional<int>,
                                 const std::uint64_t*, const ops::Pooling&, std::int16_t*, std::uint8_t*);
template void binary_conv2d_pool(const ops::Conv2d&, ops::PaddingValue, const void*, std::optional<int>,
                                 const std::uint64_t*, const ops::Pooling&, std::int32_t*, std::uint8_t*);

}  // namespace hardbit::cuda
