#include "cpu/codes_conv2d_float.h"

#include <atomic>

#include "cpu/bits.h"
#include "cpu/conv2d.h"
#include "runtime/tensor.h"
#include "runtime/threads.h"

namespace hardbit::cpu {

bool prefers_float(const ops::Conv2d& conv, int bits) {
  constexpr int least_bits = 5;
  constexpr std::int64_t most_taps = 64;  // 64·255 is far below 2^24
  return bits >= least_bits && conv.k() <= most_taps;
}

template <class Out>
int codes_conv2d_float(const ops::Conv2d& conv, const std::uint8_t* codes, int bits, const std::uint64_t* w,
                       Out* out) {
  const std::int64_t pixels = conv.n * conv.h * conv.w * conv.c;
  const Tensor x = Tensor::empty(DType::f32, {pixels});
  std::atomic<int> all{0};
  parallel_for(pixels, element_grain, [&](std::int64_t begin, std::int64_t end) {
    int found = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      found |= codes[i];
      x.data<float>()[i] = static_cast<float>(codes[i]);
    }
    all |= found;
  });
  if (all >> bits != 0) return all;

  const Tensor signs = Tensor::empty(DType::f32, {conv.m, conv.k()});
  unpack_signs(w, signs.data<float>(), conv.m, conv.k());
  const std::int64_t count = conv.n * conv.oh * conv.ow * conv.m;
  const Tensor sums = Tensor::empty(DType::f32, {count});
  conv2d_forward(conv, x.data<float>(), signs.data<float>(), nullptr, sums.data<float>());
  parallel_for(count, element_grain, [&](std::int64_t begin, std::int64_t end) {
    const float* const from = sums.data<float>();
    for (std::int64_t i = begin; i < end; ++i) out[i] = static_cast<Out>(from[i]);
  });
  return all;
}

template int codes_conv2d_float(const ops::Conv2d&, const std::uint8_t*, int, const std::uint64_t*,
                                std::int16_t*);
template int codes_conv2d_float(const ops::Conv2d&, const std::uint8_t*, int, const std::uint64_t*,
                                std::int32_t*);

}  // namespace hardbit::cpu
