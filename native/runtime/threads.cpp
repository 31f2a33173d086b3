#include "runtime/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include "runtime/error.h"

namespace hardbit {
namespace {

constexpr int most_threads = 1024;

/// Processors in this process's affinity mask.
int processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::clamp(CPU_COUNT(&set), 1, most_threads);
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, most_threads);
}

int from_environment() {
  const char* const setting = std::getenv("HARDBIT_NUM_THREADS");
  if (setting == nullptr || *setting == '\0') return processors();
  const std::string_view text = setting;
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < 1 || count > most_threads) {
    throw Error("ERR_HARDBIT_ARGUMENT", "HARDBIT_NUM_THREADS is '" + std::string(text) +
                                            "'; expected an integer from 1 to " +
                                            std::to_string(most_threads) + ".");
  }
  return count;
}

std::atomic<int> chosen{0};  // 0: set_threads was not called

}  // namespace

int threads() {
  const int count = chosen.load(std::memory_order_relaxed);
  if (count > 0) return count;
  static const int initial = from_environment();
  return initial;
}

void set_threads(int count) {
  if (count < 1 || count > most_threads) {
    throw Error("ERR_HARDBIT_ARGUMENT", "The thread count is " + std::to_string(count) +
                                            "; expected an integer from 1 to " +
                                            std::to_string(most_threads) + ".");
  }
  chosen.store(count, std::memory_order_relaxed);
}

}  // namespace hardbit
