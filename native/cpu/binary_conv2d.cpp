#include "cpu/binary_conv2d.h"

#include <algorithm>
#include <atomic>

#include "cpu/product/plan_cache.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

using ops::Conv2d;
using ops::PaddingValue;

/// Work below which a second thread does not pay, in 32-bit words combined (about 10 µs).
constexpr std::int64_t word_grain = 512 * 1024;

/// Runs the whole batch. Threads share the rows; where these are few, the channels.
template <class Out>
void run(const ConvProduct& product, const Images& x, std::int64_t n, int planes, Out* out) {
  const Conv2d& conv = product.conv();
  const Target<Out> target{out, conv.m, conv.ow * conv.m, conv.oh * conv.ow * conv.m};
  const std::int64_t rows = n * conv.oh;
  const bool by_rows = rows >= 8 * threads() || product.tiles() == 1;
  const std::int64_t units = by_rows ? rows : product.tiles();
  const std::int64_t work = rows * conv.ow * conv.m * (planes * ((conv.k() + 31) / 32) + 2);

  // A cache line and more between threads, so that none waits for another's writes.
  const auto share = static_cast<std::int64_t>(product.scratch_bytes()) + 128;
  const Tensor memory = Tensor::empty(DType::u8, {share * threads()});
  std::atomic<int> next{0};
  parallel_for(units, word_grain / (work / units + 1) + 1, [&](std::int64_t begin, std::int64_t end) {
    auto* const scratch = memory.data<std::byte>() + next++ * share / 64 * 64;
    const Part part = by_rows ? Part{begin, end} : Part{0, rows, begin, end};
    product.run(x, part, target, scratch);
  });
}

template <class Out>
bool nothing(const Conv2d& conv, Out* out) {
  if (conv.n > 0 && conv.m > 0 && conv.c > 0) return false;
  std::fill_n(out, conv.n * conv.oh * conv.ow * conv.m, Out{0});
  return true;
}

}  // namespace

Conv2d dense_as_conv2d(std::int64_t n, std::int64_t m, std::int64_t k) {
  return {.geometry = {}, .n = n, .h = 1, .w = 1, .c = k, .m = m, .kh = 1, .kw = 1, .oh = 1, .ow = 1};
}

template <class Out>
void binary_conv2d(const ProductRows& rows, const Conv2d& conv, PaddingValue padding, const std::uint64_t* x,
                   const std::uint64_t* w, Out* out) {
  if (nothing(conv, out)) return;
  const auto product = cached_plan(rows, conv, padding, Input::signs, 1, w);
  const std::int64_t pixel = words(conv.c) * 8;
  const Images images{.data = reinterpret_cast<const std::uint8_t*>(x),
                      .pixel = pixel,
                      .row = conv.w * pixel,
                      .image = conv.h * conv.w * pixel};
  run(*product, images, conv.n, 1, out);
}

template <class Out>
int codes_conv2d(const ProductRows& rows, const Conv2d& conv, PaddingValue padding, const std::uint8_t* codes,
                 int bits, const std::uint64_t* w, Out* out) {
  std::atomic<int> all{0};
  parallel_for(conv.n * conv.h * conv.w * conv.c, 8 * element_grain,
               [&](std::int64_t begin, std::int64_t end) {
                 std::uint8_t part = 0;
                 for (std::int64_t i = begin; i < end; ++i) part |= codes[i];
                 all |= part;
               });
  if (all >> bits != 0 || nothing(conv, out)) return all;
  const auto product = cached_plan(rows, conv, padding, Input::codes, bits, w);
  const Images images{
      .data = codes, .pixel = conv.c, .row = conv.w * conv.c, .image = conv.h * conv.w * conv.c};
  run(*product, images, conv.n, product->kernel().operand == Operand::bits ? bits : 4, out);
  return all;
}

template void binary_conv2d(const ProductRows&, const Conv2d&, PaddingValue, const std::uint64_t*,
                            const std::uint64_t*, std::int16_t*);
template void binary_conv2d(const ProductRows&, const Conv2d&, PaddingValue, const std::uint64_t*,
                            const std::uint64_t*, std::int32_t*);
template int codes_conv2d(const ProductRows&, const Conv2d&, PaddingValue, const std::uint8_t*, int,
                          const std::uint64_t*, std::int16_t*);
template int codes_conv2d(const ProductRows&, const Conv2d&, PaddingValue, const std::uint8_t*, int,
                          const std::uint64_t*, std::int32_t*);

}  // namespace hardbit::cpu
