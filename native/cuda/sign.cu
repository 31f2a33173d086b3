#include <cmath>

#include "cuda/kernel.h"
#include "cuda/pack_bits.h"
#include "cuda/sign.h"

namespace hardbit::cuda {
namespace {

struct SignAndMask {
  struct Channel {};
  template <int V>
  __device__ OfVector<Channel, V> channels(unsigned) const {
    return {};
  }
  __device__ unsigned operator()(float x, Channel) const { return sign_and_mask(x); }
};

}  // namespace

void sign_forward(const float* x, std::uint64_t* signs, std::uint64_t* mask, std::int64_t rows,
                  std::int64_t columns) {
  pack_elements<2>(x, rows, columns, SignAndMask(), signs, mask);
}

void mask_backward(const float* dy, const std::uint64_t* mask, float* dx, std::int64_t rows,
                   std::int64_t columns) {
  map_bits(dy, mask, dx, rows, columns,
           [] __device__(float gradient, bool passes) { return passes ? gradient : 0.0F; });
}

void approx_sign_backward(const float* dy, const float* x, float* dx, std::int64_t n) {
  map_elements(n, dy, x, dx, [] __device__(float gradient, float v) {
    const float magnitude = std::fabs(v);
    return magnitude <= 1 ? gradient * (2 - 2 * magnitude) : 0.0F;
  });
}

}  // namespace hardbit::cuda
