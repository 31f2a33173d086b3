#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>

namespace hardbit::node {

/// What V8 is told of the memory behind handles. It collects garbage at every few tens of megabytes that are
/// added, so a training step, which makes and disposes of hundreds, would be interrupted again and again for
/// nothing. Hence what is disposed of stays told as a reserve, from which the next tensors are taken; of the
/// reserve, what has not been touched for a while is given up. What the garbage collector itself frees does
/// not pass here: V8 is told of that at once, so that forgotten tensors bring it as before.
class ExternalMemory {
 public:
  /// Bytes of a new handle. Returns by how many V8 has to be told more, 0 or above.
  std::int64_t take(std::int64_t bytes) {
    const std::int64_t kept = std::min(bytes, reserve_);
    reserve_ -= kept;
    untouched_ = std::min(untouched_, reserve_);
    return bytes - kept;
  }

  /// Bytes of a handle that is disposed of. Returns by how many V8 has to be told less, 0 or below.
  std::int64_t give_back(std::int64_t bytes) {
    reserve_ += bytes;
    if (++disposals_ < period) return 0;
    disposals_ = 0;
    reserve_ -= untouched_;
    return -std::exchange(untouched_, reserve_);
  }

 private:
  /// More disposals than a step has.
  static constexpr int period = 4096;

  std::int64_t reserve_ = 0;
  /// The least that the reserve was in this period.
  std::int64_t untouched_ = 0;
  int disposals_ = 0;
};

}  // namespace hardbit::node
