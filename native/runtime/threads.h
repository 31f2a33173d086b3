#pragma once
#include <cstdint>

namespace hardbit {

/// Threads of a parallel region: HARDBIT_NUM_THREADS, else the processors this process may run on; changed by
/// set_threads. ERR_HARDBIT_ARGUMENT outside 1 … 1024.
int threads();
void set_threads(int count);

/// Elements a thread should have at least, for loops that do little with each.
inline constexpr std::int64_t element_grain = 32 * 1024;

/// Calls body(begin, end) on disjoint ranges that cover [0, n), at least `grain` long (but the last), on the
/// OpenMP pool. The split depends on n, grain and the thread count alone. Runs inline for one range. `body`
/// must not throw.
template <class Body>
void parallel_for(std::int64_t n, std::int64_t grain, const Body& body) {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  const std::int64_t most = (n + grain - 1) / grain;
  const int parts = static_cast<int>(most < threads() ? most : threads());
  if (parts <= 1) {
    body(std::int64_t{0}, n);
    return;
  }
#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int p = 0; p < parts; ++p) body(n * p / parts, n * (p + 1) / parts);
}

}  // namespace hardbit
