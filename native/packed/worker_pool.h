#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "packed/buffer.h"

namespace hardbit::packed {

/// Memory that a part of a task has to itself while it runs; 64-byte aligned.
using Arena = std::span<std::uint8_t>;

/// Work in parts 0 … parts − 1, which the workers of a pool run in any order and at once. It belongs to the
/// caller and stays where it is from submit() until finished() was called.
class Task {
 public:
  enum class Outcome : std::uint8_t { done, cancelled };

  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;

  virtual void run(std::int64_t part, Arena arena) noexcept = 0;
  /// Called once, when no part runs and none will: on the last worker, or within cancel() or the pool's end.
  /// The pool does not touch the task afterwards.
  virtual void finished(Outcome outcome) noexcept = 0;

 private:
  friend class WorkerPool;
  Task* next_ = nullptr;
  std::int64_t parts_ = 0;
  std::int64_t claimed_ = 0;
  std::int64_t ended_ = 0;
  bool cancelled_ = false;
};

/// Threads that run tasks in the order of their submission: all workers take parts of the first task until it
/// has none left, then of the next. They start with the first task. Nothing is allocated from then on, but
/// for what reserve() asks.
class WorkerPool {
 public:
  struct Statistics {
    int threads = 0;
    /// Tasks with parts that nobody has taken.
    std::int64_t queued = 0;
    /// Parts that run.
    std::int64_t running = 0;
    std::int64_t done = 0;
    std::int64_t cancelled = 0;
    /// Bytes that a worker has to itself.
    std::size_t arena_bytes = 0;
  };

  explicit WorkerPool(int threads) : size_(threads) {}
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  /// Cancels what is queued, waits for what runs, and ends the threads.
  ~WorkerPool();

  /// The one pool of this process: hardbit::threads() workers, as set when it is first asked for.
  static WorkerPool& process();

  int threads() const { return size_; }
  /// From now on arenas have `bytes` or more; where memory is short, a task's run() sees a smaller one.
  void reserve(std::size_t bytes);
  /// Queues a task of one part or more. ERR_HARDBIT_MEMORY where the system starts no thread.
  void submit(Task& task, std::int64_t parts);
  /// Takes back the parts that nobody has begun; false where there are none. For tasks that are not finished.
  bool cancel(Task& task);
  Statistics statistics() const;

  /// An arena for work on the calling thread; the same memory is lent again and again.
  class Loan {
   public:
    Loan(WorkerPool& pool, std::size_t bytes);
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan();
    Arena arena() const { return {buffer_.data(), buffer_.size()}; }

   private:
    WorkerPool& pool_;
    Buffer buffer_;
  };

 private:
  void start();
  void work() noexcept;
  /// Removes a task from the queue.
  void unlink(Task& task);
  /// Cancels a task of the queue; false where a part of it runs, whose worker finishes it. The caller has the
  /// lock.
  bool abandon(Task& task);

  const int size_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  Task* first_ = nullptr;
  Task* last_ = nullptr;
  bool stopping_ = false;
  Statistics statistics_;
  std::vector<Buffer> lendable_;
};

}  // namespace hardbit::packed
