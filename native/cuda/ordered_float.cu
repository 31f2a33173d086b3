#include "cuda/image_operands.h"
#include "cuda/ordered_float.h"

namespace hardbit::cuda {

void ordered_conv2d(const ops::Conv2d& conv, const float* x, const float* w, const float* bias, float* y) {
  if (conv.empty()) {
    product::fill_rows(bias, conv.m, y, conv.n * conv.oh * conv.ow * conv.m);
    return;
  }
  product::by_images(conv, [&](const ops::Conv2d& part, std::int64_t images) {
    product::forward<product::Rounded>(part, x + images * conv.h * conv.w * conv.c, w, bias,
                                       y + images * conv.oh * conv.ow * conv.m, false);
  });
}

void ordered_matmul(std::int64_t n, std::int64_t m, std::int64_t k, const float* x, const float* w,
                    const float* bias, float* y) {
  if (n == 0 || m == 0) return;
  if (k == 0) {
    product::fill_rows(bias, m, y, n * m);
    return;
  }
  const product::Sizes sizes{.rows = n, .cols = m, .k = k, .groups = 1};
  product::queue<product::Rounded>(sizes, product::plan(sizes, false),
                                   product::Rows{x, n, k, 0, product::aligned(x, k, k)},
                                   product::Rows{w, m, k, 0, product::aligned(w, k, k)},
                                   product::Matrix{y, m, 0}, bias, product::aligned(y, m, 0), 0);
}

}  // namespace hardbit::cuda
