#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "cuda/float_product.h"
#include "cuda/libraries.h"

namespace hardbit::cuda {

FloatMath float_math() {
  static const FloatMath chosen = [] {
    const char* const name = std::getenv("HARDBIT_CUDA_MATH");
    const std::string_view wanted = name == nullptr ? "" : name;
    if (wanted.empty() || wanted == "fp32") return FloatMath::fp32;
    if (wanted == "tf32") return FloatMath::tf32;
    if (wanted == "bf16") return FloatMath::bf16;
    throw Error("ERR_HARDBIT_ARGUMENT",
                "HARDBIT_CUDA_MATH is " + std::string(wanted) + "; expected fp32, tf32 or bf16.");
  }();
  return chosen;
}

namespace product {

Plan forced_plan{0, 1};

Plan plan(const Sizes& sizes, bool parts) {
  constexpr std::int64_t enough = 264;      // blocks: two for each multiprocessor of the largest GPUs so far
  constexpr std::int64_t least_part = 256;  // of k, so that adding the parts is little beside them
  constexpr std::int64_t most_part = 1 << 30;
  if (!parts && sizes.k > most_part) {
    throw Error("ERR_HARDBIT_UNSUPPORTED", "A sum of " + std::to_string(sizes.k) +
                                               " products in one order; at most " +
                                               std::to_string(most_part) + " are possible on the GPU.");
  }
  if (forced_plan.tile != 0) return {forced_plan.tile, parts ? forced_plan.parts : 1};
  const std::int64_t most_parts = parts ? std::max<std::int64_t>(sizes.k / least_part, 1) : 1;
  for (int tile = 128;; tile /= 2) {
    // Halves saturate where products of counts would overflow.
    const double tiles = static_cast<double>(ceil_div<std::int64_t>(sizes.rows, tile)) *
                         static_cast<double>(ceil_div<std::int64_t>(sizes.cols, tile)) * sizes.groups;
    const bool full = tiles * static_cast<double>(most_parts) >= enough;
    if (tile > 32 && (!full || std::min(sizes.rows, sizes.cols) <= tile / 2)) continue;
    if (tiles == 0) return {tile, 1};
    const std::int64_t wanted = tiles >= enough ? 1 : ceil_div(enough, static_cast<std::int64_t>(tiles));
    const std::int64_t count = std::max(std::min(wanted, most_parts), ceil_div(sizes.k, most_part));
    return {tile, static_cast<unsigned>(std::max<std::int64_t>(count, 1))};
  }
}

void add_parts(const float* parts, unsigned count, const float* bias, std::int64_t columns, float* y,
               std::int64_t size) {
  for_each(size, [=] __device__(std::int64_t i) {
    float sum = parts[i];
#pragma unroll 8
    for (unsigned part = 1; part < count; ++part) sum += parts[part * size + i];
    y[i] = bias != nullptr ? sum + bias[place_of(i, columns).column] : sum;
  });
}

void fill_rows(const float* bias, std::int64_t columns, float* y, std::int64_t size) {
  for_each(size, [=] __device__(std::int64_t i) {
    y[i] = bias != nullptr ? bias[place_of(i, columns).column] : 0.0F;
  });
}

void add_bias(const float* bias, std::int64_t columns, float* y, std::int64_t size) {
  if (bias == nullptr) return;
  for_each(size, [=] __device__(std::int64_t i) { y[i] += bias[place_of(i, columns).column]; });
}

void round_to_bf16(const float* x, std::uint16_t* y, std::int64_t size) {
  for_each(size, [=] __device__(std::int64_t i) { y[i] = static_cast<std::uint16_t>(bf16_bits(x[i])); });
}
void round_to_bf16(const float* x, float* y, std::int64_t size) {
  for_each(size, [=] __device__(std::int64_t i) { y[i] = Bf16::operand(x[i]); });
}

}  // namespace product
}  // namespace hardbit::cuda
