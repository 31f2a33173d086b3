#include "cpu/float_gradient.h"

#include "runtime/division.h"

namespace hardbit::cpu {
namespace {

// By measurement. A table has to serve a dozen sums; and of one block of lanes loads take longer than sums.
constexpr std::int64_t fewest_blocks = 2;
constexpr std::int64_t fewest_sums = 12;

}  // namespace

const SignSumKernels* choose_sign_sums(const ops::Conv2d& conv) {
  const std::int64_t blocks = divide_up(conv.group_channels(), sign_sum_block);
  const bool pays = blocks >= fewest_blocks && conv.kh * conv.kw * blocks >= fewest_sums;
  return pays ? selected_sign_sum() : nullptr;
}

std::vector<FloatGradientExample> float_gradient_examples() {
  const auto of = [](std::int64_t kernel, std::int64_t inputs, std::int64_t outputs) -> const char* {
    const ops::Conv2d conv{.geometry = {},
                           .n = 1,
                           .h = kernel,
                           .w = kernel,
                           .c = inputs,
                           .m = outputs,
                           .kh = kernel,
                           .kw = kernel,
                           .oh = 1,
                           .ow = 1};
    const SignSumKernels* const chosen = choose_sign_sums(conv);
    return chosen == nullptr ? nullptr : chosen->name;
  };
  return {
      {"5x5, 20 -> 50", of(5, 20, 50)},     {"3x3, 16 -> 16", of(3, 16, 16)},
      {"3x3, 64 -> 64", of(3, 64, 64)},     {"1x1, 64 -> 128", of(1, 64, 128)},
      {"1x1, 256 -> 512", of(1, 256, 512)}, {"dense, 784 -> 600", of(1, 784, 600)},
  };
}

}  // namespace hardbit::cpu
