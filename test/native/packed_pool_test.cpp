#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "allocation_count.h"
#include "hbit_cases.h"
#include "packed/prediction.h"
#include "packed/reader.h"
#include "packed/worker_pool.h"

namespace hardbit::packed {
namespace {

/// A task of a function; wait() returns how it ended.
class Work final : public Task {
 public:
  explicit Work(std::function<void(std::int64_t, Arena)> body) : body_(std::move(body)) {}
  void run(std::int64_t part, Arena arena) noexcept override { body_(part, arena); }
  void finished(Outcome outcome) noexcept override {
    const std::lock_guard lock(mutex_);
    ++times_;
    outcome_ = outcome;
    end_.notify_all();
  }
  Outcome wait() {
    std::unique_lock lock(mutex_);
    end_.wait(lock, [this] { return times_ > 0; });
    return outcome_;
  }
  int times() {
    const std::lock_guard lock(mutex_);
    return times_;
  }

 private:
  std::function<void(std::int64_t, Arena)> body_;
  std::mutex mutex_;
  std::condition_variable end_;
  int times_ = 0;
  Outcome outcome_ = Outcome::done;
};

/// Occupies one worker until it is opened.
class Gate {
 public:
  explicit Gate(WorkerPool& pool)
      : work_([this](std::int64_t, Arena) {
          begun_.count_down();
          open_.wait();
        }) {
    pool.submit(work_, 1);
    begun_.wait();
  }
  ~Gate() {
    open();
    work_.wait();
  }
  void open() {
    if (!std::exchange(opened_, true)) open_.count_down();
  }

 private:
  std::latch begun_{1};
  std::latch open_{1};
  bool opened_ = false;
  Work work_;
};

TEST(PackedPool, RunsEveryPartOnce) {
  for (const int threads : {1, 2, 5, 16}) {
    WorkerPool pool(threads);
    std::vector<std::atomic<int>> times(100);
    Work work([&](std::int64_t part, Arena) { ++times[static_cast<std::size_t>(part)]; });
    pool.submit(work, 100);
    EXPECT_EQ(work.wait(), Task::Outcome::done);
    for (const auto& each : times) EXPECT_EQ(each, 1);
    EXPECT_EQ(pool.statistics().threads, threads);
    EXPECT_EQ(pool.statistics().queued, 0);
  }
}

TEST(PackedPool, StartsWithTheFirstTask) {
  WorkerPool pool(3);
  EXPECT_EQ(pool.threads(), 3);
  EXPECT_EQ(pool.statistics().threads, 0);
  pool.reserve(1000);
  EXPECT_EQ(pool.statistics().threads, 0);
}

TEST(PackedPool, TakesTasksInTheirOrder) {
  WorkerPool pool(1);
  std::vector<int> order;  // one worker writes it
  std::vector<std::unique_ptr<Work>> works;
  for (int i = 0; i < 20; ++i) {
    works.push_back(std::make_unique<Work>(
        [&order, i](std::int64_t part, Arena) { order.push_back(10 * i + static_cast<int>(part)); }));
  }
  {
    const Gate gate(pool);
    for (const auto& work : works) pool.submit(*work, 3);
    EXPECT_EQ(pool.statistics().queued, 20);
    EXPECT_EQ(pool.statistics().running, 1);
  }
  for (const auto& work : works) work->wait();
  EXPECT_EQ(order.size(), 60U);
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

// Both parts wait for each other: only two workers at once can end the task.
TEST(PackedPool, AllWorkersTakePartsOfTheFirstTask) {
  WorkerPool pool(2);
  for (int round = 0; round < 50; ++round) {
    std::latch both(2);
    Work together([&](std::int64_t, Arena) { both.arrive_and_wait(); });
    Work next([](std::int64_t, Arena) {});
    pool.submit(together, 2);
    pool.submit(next, 1);
    together.wait();
    next.wait();
  }
}

TEST(PackedPool, ACancelledTaskThatWaitsNeverRuns) {
  for (const std::size_t which : {0U, 1U, 2U}) {
    WorkerPool pool(1);
    std::atomic<int> runs = 0;
    std::vector<std::unique_ptr<Work>> works;
    for (int i = 0; i < 3; ++i) works.push_back(std::make_unique<Work>([&](std::int64_t, Arena) { ++runs; }));
    Work last([&](std::int64_t, Arena) { ++runs; });
    {
      const Gate gate(pool);
      for (const auto& work : works) pool.submit(*work, 2);
      EXPECT_TRUE(pool.cancel(*works[which]));
      EXPECT_EQ(works[which]->times(), 1);  // within the call
      EXPECT_EQ(works[which]->wait(), Task::Outcome::cancelled);
      EXPECT_FALSE(pool.cancel(*works[which]));
      EXPECT_EQ(pool.statistics().queued, 2);
      EXPECT_EQ(pool.statistics().cancelled, 1);
      pool.submit(last, 1);  // the queue is whole
    }
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(works[i]->wait(), i == which ? Task::Outcome::cancelled : Task::Outcome::done);
    }
    EXPECT_EQ(last.wait(), Task::Outcome::done);
    EXPECT_EQ(runs, 5);
  }
}

TEST(PackedPool, ACancelledTaskThatRunsEndsWithItsRunningParts) {
  WorkerPool pool(1);
  std::latch begun(1);
  std::latch open(1);
  std::atomic<int> runs = 0;
  Work work([&](std::int64_t, Arena) {
    ++runs;
    begun.count_down();
    open.wait();
  });
  pool.submit(work, 5);
  begun.wait();
  EXPECT_TRUE(pool.cancel(work));
  EXPECT_EQ(work.times(), 0);  // a part still runs
  open.count_down();
  EXPECT_EQ(work.wait(), Task::Outcome::cancelled);
  EXPECT_EQ(runs, 1);
}

TEST(PackedPool, ATaskWhosePartsAllRunIsDone) {
  WorkerPool pool(2);
  std::latch begun(2);
  std::latch open(1);
  Work work([&](std::int64_t, Arena) {
    begun.count_down();
    open.wait();
  });
  pool.submit(work, 2);
  begun.wait();
  EXPECT_FALSE(pool.cancel(work));
  open.count_down();
  EXPECT_EQ(work.wait(), Task::Outcome::done);
  EXPECT_FALSE(pool.cancel(work));
  EXPECT_EQ(work.times(), 1);
}

TEST(PackedPool, TasksFollowEachOther) {
  WorkerPool pool(2);
  std::atomic<int> runs = 0;
  for (int i = 0; i < 100; ++i) {
    Work work([&](std::int64_t, Arena) { ++runs; });
    pool.submit(work, 3);
    work.wait();
  }
  EXPECT_EQ(runs, 300);
  EXPECT_EQ(pool.statistics().done, 100);
}

TEST(PackedPool, WorkersHaveArenasOfTheirOwn) {
  WorkerPool pool(4);
  for (const std::size_t bytes : {100U, 5000U, 4000U, 100000U}) {
    pool.reserve(bytes);
    std::atomic<int> broken = 0;
    std::latch all(4);
    Work work([&](std::int64_t part, Arena arena) {
      if (arena.size() < bytes || reinterpret_cast<std::uintptr_t>(arena.data()) % 64 != 0) ++broken;
      const auto mark = static_cast<std::uint8_t>(part + 1);
      std::ranges::fill(arena, mark);
      all.arrive_and_wait();
      if (std::ranges::any_of(arena, [&](std::uint8_t byte) { return byte != mark; })) ++broken;
    });
    pool.submit(work, 4);
    work.wait();
    EXPECT_EQ(broken, 0) << bytes;
  }
  EXPECT_EQ(pool.statistics().arena_bytes, 100000U);
}

TEST(PackedPool, ItsEndCancelsWhatWaitsAndAwaitsWhatRuns) {
  std::latch begun(1);
  std::latch queued(1);
  std::atomic<bool> ended = false;
  Work running([&](std::int64_t, Arena) {
    begun.count_down();
    queued.wait();
    // For the pool's end to begin meanwhile.
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ended = true;
  });
  std::atomic<int> runs = 0;
  Work waiting([&](std::int64_t, Arena) { ++runs; });
  {
    WorkerPool pool(1);
    pool.submit(running, 1);
    begun.wait();
    pool.submit(waiting, 4);
    queued.count_down();
  }
  EXPECT_TRUE(ended);
  EXPECT_EQ(running.wait(), Task::Outcome::done);
  EXPECT_EQ(waiting.wait(), Task::Outcome::cancelled);
  EXPECT_EQ(runs, 0);
}

TEST(PackedPool, ItsEndTakesBackThePartsThatNobodyHasBegun) {
  std::latch begun(1);
  std::atomic<int> runs = 0;
  Work work([&](std::int64_t, Arena) {
    ++runs;
    begun.count_down();
    // As above.
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  });
  {
    WorkerPool pool(1);
    pool.submit(work, 5);
    begun.wait();
  }
  EXPECT_EQ(work.wait(), Task::Outcome::cancelled);
  EXPECT_EQ(work.times(), 1);
  EXPECT_EQ(runs, 1);
}

// Submitters, cancellations and workers at once: every task ends exactly once, and no part runs behind its
// end.
TEST(PackedPool, ManyThreads) {
  WorkerPool pool(3);
  std::vector<std::thread> submitters;
  std::atomic<std::int64_t> done = 0;
  std::atomic<std::int64_t> cancelled = 0;
  for (unsigned t = 0; t < 4; ++t) {
    submitters.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 300; ++i) {
        std::int64_t plain = 0;  // written by one part alone, read behind the end
        const std::int64_t parts = 1 + static_cast<std::int64_t>(random() % 4);
        std::atomic<std::int64_t> runs = 0;
        Work work([&](std::int64_t part, Arena) {
          if (part == 0) ++plain;
          ++runs;
        });
        pool.submit(work, parts);
        const bool cancels = random() % 3 == 0;
        const bool in_time = cancels && pool.cancel(work);
        const Task::Outcome outcome = work.wait();
        EXPECT_EQ(outcome == Task::Outcome::cancelled, in_time);
        EXPECT_EQ(work.times(), 1);
        if (in_time) {
          EXPECT_LT(runs, parts);
          ++cancelled;
        } else {
          EXPECT_EQ(runs, parts);
          EXPECT_EQ(plain, 1);
          ++done;
        }
      }
    });
  }
  for (std::thread& thread : submitters) thread.join();
  const WorkerPool::Statistics statistics = pool.statistics();
  EXPECT_EQ(statistics.done, done);
  EXPECT_EQ(statistics.cancelled, cancelled);
  EXPECT_EQ(statistics.queued, 0);
}

// -- predictions

struct Drawn {
  test::HbitNetwork network;
  std::shared_ptr<const Engine> engine;
  std::vector<std::uint8_t> images;
  std::int64_t count;
};

Drawn drawn(std::uint32_t seed, std::int64_t count) {
  test::HbitDraw draw(seed);
  Drawn result{draw.network(), nullptr, {}, count};
  const std::vector<std::uint8_t> file = test::hbit_file(result.network);
  result.engine = std::make_shared<const Engine>(read_network(std::span<const std::uint8_t>(file), "x"));
  result.images = draw.images(result.network, count);
  return result;
}

struct Results {
  explicit Results(const Drawn& drawn)
      : logits(static_cast<std::size_t>(drawn.count * drawn.engine->classes())),
        classes(static_cast<std::size_t>(drawn.count)) {}
  std::vector<float> logits;
  std::vector<std::int32_t> classes;
  bool operator==(const Results&) const = default;
};

/// Image by image on this thread.
Results expected(const Drawn& d) {
  Results results(d);
  const Buffer arena(d.engine->arena_bytes());
  for (std::int64_t i = 0; i < d.count; ++i) {
    d.engine->run(d.images.data() + i * d.engine->image_values(), 1,
                  results.logits.data() + i * d.engine->classes(), results.classes.data() + i,
                  {arena.data(), arena.size()});
  }
  return results;
}

TEST(PackedPrediction, DoesNotDependOnThreadsOrBatches) {
  for (const std::int64_t count : {1, 2, 16, 17, 100}) {
    const Drawn d = drawn(static_cast<std::uint32_t>(count), count);
    const Results right = expected(d);
    for (const int threads : {1, 2, 3, 8}) {
      WorkerPool pool(threads);
      pool.reserve(d.engine->arena_bytes());
      Results results(d);
      predict(d.engine, pool, d.images.data(), count, results.logits.data(), results.classes.data());
      EXPECT_EQ(results, right) << count << " images, " << threads << " threads";
    }
  }
}

TEST(PackedPrediction, ManyCallersAtOnce) {
  const Drawn d = drawn(7, 40);
  const Results right = expected(d);
  WorkerPool pool(3);
  pool.reserve(d.engine->arena_bytes());
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        Results results(d);
        // A chunk on this thread, or all of it on the pool.
        const std::int64_t count = (t + i) % 2 == 0 ? 1 : d.count;
        predict(d.engine, pool, d.images.data(), count, results.logits.data(), results.classes.data());
        EXPECT_EQ(results.classes[0], right.classes[0]);
        if (count == d.count) {
          EXPECT_EQ(results, right);
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST(PackedPrediction, SaysThatWorkersHaveTooLittleMemory) {
  const Drawn d = drawn(7, 40);
  WorkerPool pool(2);  // nothing was reserved
  Results results(d);
  EXPECT_THROW(
      predict(d.engine, pool, d.images.data(), d.count, results.logits.data(), results.classes.data()),
      std::bad_alloc);
}

TEST(PackedPrediction, CutsBatchesEvenly) {
  const Drawn d = drawn(7, 1);
  const std::int64_t chunk = d.engine->chunk();
  ASSERT_GT(chunk, 1);
  Results results(d);
  class Cut final : public Prediction {
   public:
    void finished(Outcome) noexcept override {}
  } cut;
  const auto parts = [&](std::int64_t count, int threads) {
    cut.prepare(d.engine, d.images.data(), count, results.logits.data(), results.classes.data(), threads);
    return cut.parts();
  };
  EXPECT_EQ(parts(1, 4), 1);
  EXPECT_EQ(parts(3, 4), 3);
  EXPECT_EQ(parts(chunk, 4), 4);
  EXPECT_EQ(parts(chunk, 1), 1);
  EXPECT_EQ(parts(chunk + 1, 1), 2);
  EXPECT_EQ(parts(3 * chunk, 2), 4);
  EXPECT_EQ(parts(0, 2), 1);
}

/// A prediction that is made again and again.
class Repeated final : public Prediction {
 public:
  void finished(Outcome) noexcept override {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    end_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    end_.wait(lock, [this] { return ended_; });
    ended_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable end_;
  bool ended_ = false;
};

TEST(PackedPrediction, AllocatesNothingOnceItRuns) {
  if (!test::counts_allocations()) GTEST_SKIP() << "the sanitizers have an operator new of their own";
  for (std::uint32_t seed = 20; seed < 40; ++seed) {
    const Drawn d = drawn(seed, 40);
    WorkerPool pool(2);
    pool.reserve(d.engine->arena_bytes());
    Results results(d);
    Repeated prediction;
    const auto once = [&](std::int64_t count) {
      prediction.prepare(d.engine, d.images.data(), count, results.logits.data(), results.classes.data(), 2);
      pool.submit(prediction, prediction.parts());
      prediction.wait();
      predict(d.engine, pool, d.images.data(), 1, results.logits.data(), results.classes.data());
    };
    // Both workers have run, and have their arenas.
    std::latch both(2);
    Work warm([&](std::int64_t, Arena) { both.arrive_and_wait(); });
    pool.submit(warm, 2);
    warm.wait();
    once(d.count);
    const std::int64_t before = test::allocations();
    for (int i = 0; i < 20; ++i) once(i % 2 == 0 ? d.count : 1);
    EXPECT_EQ(test::allocations(), before) << seed;
  }
}

TEST(PackedPrediction, TheCountSeesAllocations) {
  if (!test::counts_allocations()) GTEST_SKIP() << "the sanitizers have an operator new of their own";
  const std::int64_t before = test::allocations();
  const auto memory = std::make_unique<Buffer>(100);
  EXPECT_EQ(test::allocations(), before + 2);
}

// A process may end while its pool is at work.
TEST(PackedPoolDeathTest, ExitsWhileWorking) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        static Work busy(
            [](std::int64_t, Arena) { std::this_thread::sleep_for(std::chrono::milliseconds(5)); });
        static Work waiting([](std::int64_t, Arena) {});
        WorkerPool::process().submit(busy, 3);
        WorkerPool::process().submit(waiting, 3);
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace hardbit::packed
