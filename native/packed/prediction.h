#pragma once
#include <atomic>
#include <cstdint>
#include <memory>

#include "packed/engine.h"
#include "packed/worker_pool.h"

namespace hardbit::packed {

/// The classification of a batch of images as a task: cut into chunks that go through the whole network on
/// one worker each. Who derives from it owns the memory and says what happens at the end.
class Prediction : public Task {
 public:
  /// images u8 [count][height][width][channels], logits [count][classes], classes [count].
  void prepare(std::shared_ptr<const Engine> engine, const std::uint8_t* images, std::int64_t count,
               float* logits, std::int32_t* classes, int threads);
  /// What submit() is told.
  std::int64_t parts() const { return parts_; }
  /// A worker had too little memory: the results are not there.
  bool starved() const { return starved_.load(std::memory_order_relaxed); }
  void release() { engine_.reset(); }

  void run(std::int64_t part, Arena arena) noexcept final;

 private:
  std::shared_ptr<const Engine> engine_;
  const std::uint8_t* images_ = nullptr;
  std::int64_t count_ = 0;
  float* logits_ = nullptr;
  std::int32_t* classes_ = nullptr;
  std::int64_t parts_ = 0;
  std::atomic<bool> starved_{false};
};

/// Waits for the result; one chunk runs on the calling thread, more on the pool. ERR_HARDBIT_MEMORY where
/// there is too little.
void predict(const std::shared_ptr<const Engine>& engine, WorkerPool& pool, const std::uint8_t* images,
             std::int64_t count, float* logits, std::int32_t* classes);

}  // namespace hardbit::packed
