#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "runtime/threads.h"

namespace hardbit::cpu {

/// Σ term(i) over [begin, end) in double, in eight interleaved partial sums: an order that depends on the
/// range alone, and one that compilers vectorise.
template <class Term>
double ordered_sum(std::int64_t begin, std::int64_t end, const Term& term) {
  std::array<double, 8> lanes{};
  std::int64_t i = begin;
  for (; i + 8 <= end; i += 8) {
    for (std::int64_t lane = 0; lane < 8; ++lane) lanes[static_cast<std::size_t>(lane)] += term(i + lane);
  }
  for (; i < end; ++i) lanes[static_cast<std::size_t>(i - begin) % 8] += term(i);
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

/// Calls f(begin, end) for fixed pieces of [0, n), so that sums of pieces do not depend on the thread count.
/// Returns f's results in order.
template <class Result, class F>
std::vector<Result> pieces(std::int64_t n, const F& f) {
  std::vector<Result> results(static_cast<std::size_t>((n + element_grain - 1) / element_grain));
  parallel_for(static_cast<std::int64_t>(results.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      results[static_cast<std::size_t>(i)] = f(i * element_grain, std::min(n, (i + 1) * element_grain));
    }
  });
  return results;
}

}  // namespace hardbit::cpu
