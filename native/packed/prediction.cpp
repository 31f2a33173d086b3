#include "packed/prediction.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <new>
#include <utility>

#include "runtime/error.h"

namespace hardbit::packed {
namespace {

/// A prediction whose caller waits.
class Awaited final : public Prediction {
 public:
  void finished(Outcome outcome) noexcept override {
    // Notified under the lock: the waiting thread destroys this object as soon as it may.
    const std::lock_guard lock(mutex_);
    outcome_ = outcome;
    ended_ = true;
    end_.notify_one();
  }

  Outcome wait() {
    std::unique_lock lock(mutex_);
    end_.wait(lock, [this] { return ended_; });
    return outcome_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable end_;
  bool ended_ = false;
  Outcome outcome_ = Outcome::done;
};

}  // namespace

void Prediction::prepare(std::shared_ptr<const Engine> engine, const std::uint8_t* images, std::int64_t count,
                         float* logits, std::int32_t* classes, int threads) {
  engine_ = std::move(engine);
  images_ = images;
  count_ = count;
  logits_ = logits;
  classes_ = classes;
  starved_.store(false, std::memory_order_relaxed);
  // As few chunks as possible, but as many as occupy all threads alike.
  const std::int64_t chunks = (count + engine_->chunk() - 1) / engine_->chunk();
  const std::int64_t even = (chunks + threads - 1) / threads * threads;
  parts_ = std::max<std::int64_t>(std::min(even, count), 1);
}

void Prediction::run(std::int64_t part, Arena arena) noexcept {
  if (arena.size() < engine_->arena_bytes()) {
    starved_.store(true, std::memory_order_relaxed);
    return;
  }
  const std::int64_t begin = count_ * part / parts_;
  const std::int64_t end = count_ * (part + 1) / parts_;
  engine_->run(images_ + begin * engine_->image_values(), end - begin, logits_ + begin * engine_->classes(),
               classes_ + begin, arena);
}

void predict(const std::shared_ptr<const Engine>& engine, WorkerPool& pool, const std::uint8_t* images,
             std::int64_t count, float* logits, std::int32_t* classes) {
  if (count <= engine->chunk()) {
    const WorkerPool::Loan loan(pool, engine->arena_bytes());
    engine->run(images, count, logits, classes, loan.arena());
    return;
  }
  Awaited prediction;
  prediction.prepare(engine, images, count, logits, classes, pool.threads());
  pool.submit(prediction, prediction.parts());
  if (prediction.wait() == Task::Outcome::cancelled) {
    throw Error("ERR_HARDBIT_ABORTED", "The process ends; the prediction was given up.");
  }
  if (prediction.starved()) throw std::bad_alloc();
}

}  // namespace hardbit::packed
