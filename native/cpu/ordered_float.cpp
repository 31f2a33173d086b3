#include "cpu/ordered_float.h"

#include <algorithm>

#include "cpu/conv2d.h"
#include "cpu/product/float_product.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace hardbit::cpu {
namespace {

constexpr std::int64_t product_grain = 1 << 18;  // multiply-accumulates a thread should have at least

}  // namespace

void ordered_conv2d(const ops::Conv2d& conv, const float* x, const float* w, const float* bias, float* y) {
  if (conv.empty()) return conv2d_forward(conv, x, w, bias, y);
  const FloatProduct product(conv, w, bias);
  const std::int64_t pixels = conv.oh * conv.ow;
  const std::int64_t most = conv.n * pixels * conv.m * conv.k() / product_grain + 1;
  const std::int64_t parts = std::min({std::int64_t{threads()}, conv.n, most});
  // Images that pad or gather go one by one through memory of their part; single pixels need none.
  const auto scratch_bytes = static_cast<std::int64_t>(product.scratch_bytes(1));
  const Tensor scratch = Tensor::empty(DType::u8, {parts, scratch_bytes});
  parallel_for(parts, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t last = conv.n * (part + 1) / parts;
      const std::int64_t step = scratch_bytes == 0 ? conv.n : 1;
      for (std::int64_t image = conv.n * part / parts; image < last; image += step) {
        product.run(x + image * conv.h * conv.w * conv.c, std::min(step, last - image),
                    y + image * pixels * conv.m, scratch.data<std::byte>() + part * scratch_bytes);
      }
    }
  });
}

void ordered_matmul(std::int64_t n, std::int64_t m, std::int64_t k, const float* x, const float* w,
                    const float* bias, float* y) {
  const ops::Conv2d pixels{
      .geometry = {}, .n = n, .h = 1, .w = 1, .c = k, .m = m, .kh = 1, .kw = 1, .oh = 1, .ow = 1};
  ordered_conv2d(pixels, x, w, bias, y);
}

}  // namespace hardbit::cpu
