#include "packed/worker_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

#include "runtime/error.h"
#include "runtime/threads.h"

namespace hardbit::packed {
namespace {

/// Signals belong to the program's own threads: workers are started with all of them blocked.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

/// `buffer` with `bytes` or more; unchanged where there is no memory.
void grow(Buffer& buffer, std::size_t bytes) noexcept {
  if (buffer.size() >= bytes) return;
  try {
    buffer = Buffer(bytes);
  } catch (const std::bad_alloc&) {  // smaller networks go on; the task that needs more sees it
  }
}

}  // namespace

WorkerPool& WorkerPool::process() {
  static WorkerPool pool(hardbit::threads());
  return pool;
}

WorkerPool::~WorkerPool() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  while (first_ != nullptr) {
    Task& task = *first_;
    // Once it is unlocked, a task with running parts may be over, and gone.
    if (!abandon(task)) continue;
    lock.unlock();
    task.finished(Task::Outcome::cancelled);
    lock.lock();
  }
  lock.unlock();
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void WorkerPool::start() {
  if (!workers_.empty()) return;
  const BlockedSignals blocked;
  workers_.reserve(static_cast<std::size_t>(size_));
  try {
    while (std::cmp_less(workers_.size(), size_)) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    // Fewer will do, but one there must be.
    if (workers_.empty()) {
      throw Error("ERR_HARDBIT_MEMORY",
                  "No thread could be started for predictions: " + std::string(error.what()) + ".");
    }
  }
  statistics_.threads = static_cast<int>(workers_.size());
}

void WorkerPool::reserve(std::size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    if (bytes <= statistics_.arena_bytes) return;
    statistics_.arena_bytes = bytes;
  }
  wake_.notify_all();  // idle workers allocate now, not with the next task
}

void WorkerPool::submit(Task& task, std::int64_t parts) {
  {
    const std::lock_guard lock(mutex_);
    start();
    task.next_ = nullptr;
    task.parts_ = parts;
    task.claimed_ = 0;
    task.ended_ = 0;
    task.cancelled_ = false;
    (last_ == nullptr ? first_ : last_->next_) = &task;
    last_ = &task;
    ++statistics_.queued;
  }
  if (parts == 1) {
    wake_.notify_one();
  } else {
    wake_.notify_all();
  }
}

void WorkerPool::unlink(Task& task) {
  Task* before = nullptr;
  for (Task* each = first_; each != &task; each = each->next_) before = each;
  (before == nullptr ? first_ : before->next_) = task.next_;
  if (last_ == &task) last_ = before;
  --statistics_.queued;
}

bool WorkerPool::abandon(Task& task) {
  unlink(task);
  task.cancelled_ = true;
  task.parts_ = task.claimed_;
  ++statistics_.cancelled;
  return task.ended_ == task.parts_;
}

bool WorkerPool::cancel(Task& task) {
  bool ended;
  {
    const std::lock_guard lock(mutex_);
    if (task.claimed_ == task.parts_) return false;
    ended = abandon(task);
  }
  if (ended) task.finished(Task::Outcome::cancelled);
  return true;
}

void WorkerPool::work() noexcept {
  pthread_setname_np(pthread_self(), "hardbit-packed");
  Buffer arena;
  std::size_t asked = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    if (asked < statistics_.arena_bytes) {
      asked = statistics_.arena_bytes;
      lock.unlock();
      grow(arena, asked);
      lock.lock();
      continue;
    }
    if (first_ == nullptr) {
      if (stopping_) return;
      wake_.wait(lock);
      continue;
    }
    Task& task = *first_;
    const std::int64_t part = task.claimed_++;
    if (task.claimed_ == task.parts_) unlink(task);
    ++statistics_.running;
    lock.unlock();
    task.run(part, {arena.data(), arena.size()});
    lock.lock();
    --statistics_.running;
    if (++task.ended_ != task.parts_) continue;
    const auto outcome = task.cancelled_ ? Task::Outcome::cancelled : Task::Outcome::done;
    if (outcome == Task::Outcome::done) ++statistics_.done;
    lock.unlock();
    task.finished(outcome);
    lock.lock();
  }
}

WorkerPool::Statistics WorkerPool::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

WorkerPool::Loan::Loan(WorkerPool& pool, std::size_t bytes) : pool_(pool) {
  {
    const std::lock_guard lock(pool_.mutex_);
    if (!pool_.lendable_.empty()) {
      buffer_ = std::move(pool_.lendable_.back());
      pool_.lendable_.pop_back();
    }
  }
  if (buffer_.size() < bytes) buffer_ = Buffer(bytes);
}

WorkerPool::Loan::~Loan() {
  const std::lock_guard lock(pool_.mutex_);
  try {
    pool_.lendable_.push_back(std::move(buffer_));
  } catch (const std::bad_alloc&) {  // then it is freed
  }
}

}  // namespace hardbit::packed
