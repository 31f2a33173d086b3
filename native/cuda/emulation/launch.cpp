#include <cstdlib>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/emulation/driver.h"
#include "cuda/emulation/fibers.h"
#include "cuda/emulation/kernel.h"

namespace hardbit::cuda::emulation {

thread_local Place place;

namespace {

constexpr unsigned warp_size = 32;

/// Lanes that meet.
struct Meeting {
  unsigned mask = 0;
  unsigned arrived = 0;
  unsigned readers = 0;
  const char* operation = nullptr;
  bool complete = false;
  Lane lanes[warp_size];
};

/// An asynchronous copy under way, with what it read.
struct Copy {
  void* to;
  unsigned bytes;
  unsigned char contents[16];
};

enum class State { ready, at_barrier, at_meeting, waiting, done };

struct Thread {
  Fiber fiber;
  State state = State::done;
  uint3 index;
  Meeting* meeting = nullptr;
  /// What a waiting thread waits for.
  std::function<bool()> holds;
  /// Groups of copies, the oldest first; the last one is not committed yet.
  std::vector<std::vector<Copy>> copies;
};

/// The fibers of this system thread, and the block that they are.
class Machine {
 public:
  void run(dim3 grid, dim3 block, std::size_t shared, const std::function<void()>& body) {
    if (running_) throw std::logic_error("a kernel was started from a kernel");
    const std::size_t count = std::size_t{block.x} * block.y * block.z;
    if (count == 0 || count > 1024) {
      throw std::logic_error("a block of " + std::to_string(count) + " threads; at most 1024 are possible");
    }
    if (shared > shared_memory_limit) {
      throw std::logic_error("a block with " + std::to_string(shared) + " bytes of shared memory; at most " +
                             std::to_string(shared_memory_limit) + " are possible");
    }
    while (threads_.size() < count) threads_.push_back(std::make_unique<Thread>());
    count_ = count;
    body_ = &body;
    running_ = true;
    const Running guard{running_};
    const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
    // Blocks run in an order of their own too: forwards, backwards, or from the middle on.
    const std::uint64_t first = random_() % blocks;
    const bool backwards = random_() % 2 == 0;
    for (std::uint64_t i = 0; i < blocks; ++i) {
      const std::uint64_t b = (first + (backwards ? blocks - i : i)) % blocks;
      const uint3 index{static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                        static_cast<unsigned>(b / grid.x / grid.y)};
      // New memory for every block, exactly as large as asked for: the address sanitizer watches its ends.
      const std::unique_ptr<void, decltype(&std::free)> memory(std::malloc(shared), &std::free);
      if (shared > 0) std::memset(memory.get(), 0xCD, shared);
      shared_ = static_cast<unsigned char*>(memory.get());
      place = {.thread = {}, .block = index, .block_size = block, .grid_size = grid};
      run_block(block);
    }
  }

  unsigned char* shared() const { return shared_; }

  void barrier() {
    Thread& me = *threads_[current_];
    me.state = State::at_barrier;
    ++at_barrier_;
    if (at_barrier_ == count_) {
      at_barrier_ = 0;
      for (std::size_t t = 0; t < count_; ++t) threads_[t]->state = State::ready;
    }
    me.fiber.suspend();
  }

  void part_barrier(unsigned barrier, unsigned threads) {
    if (barrier >= std::size(parts_)) fail("there are no more than 16 barriers");
    Part& part = parts_[barrier];
    const std::uint64_t round = part.rounds;
    if (++part.arrived == threads) {
      part.arrived = 0;
      ++part.rounds;
    }
    wait_until([&part, round] { return part.rounds != round; });
  }

  void wait_until(std::function<bool()> holds) {
    if (holds()) return;
    Thread& me = *threads_[current_];
    me.holds = std::move(holds);
    me.state = State::waiting;
    me.fiber.suspend();
  }

  void exchange(unsigned mask, const char* operation, const Lane& mine,
                const std::function<void(const Lane*)>& read) {
    Thread& me = *threads_[current_];
    const unsigned lane = lane_id();
    const std::size_t warp = current_ / warp_size;
    if ((mask >> lane & 1) == 0) fail(std::string(operation) + " by a lane outside its mask");
    Meeting* meeting = nullptr;
    for (const auto& open : meetings_[warp]) {
      if (!open->complete && open->arrived != 0 && open->mask == mask && (open->arrived >> lane & 1) == 0) {
        meeting = open.get();
      }
    }
    if (meeting == nullptr) {
      for (const auto& open : meetings_[warp]) {
        if (open->arrived == 0 && open->readers == 0) meeting = open.get();
      }
      if (meeting == nullptr) {
        meetings_[warp].push_back(std::make_unique<Meeting>());
        meeting = meetings_[warp].back().get();
      }
      meeting->mask = mask;
      meeting->operation = operation;
      meeting->complete = false;
    }
    if (std::strcmp(meeting->operation, operation) != 0) {
      fail(std::string(operation) + " meets " + meeting->operation + " in one warp");
    }
    meeting->lanes[lane] = mine;
    meeting->arrived |= 1U << lane;
    if (meeting->arrived == mask) {
      meeting->complete = true;
      meeting->readers = mask;
      for (std::size_t t = warp * warp_size; t < std::min((warp + 1) * warp_size, count_); ++t) {
        if (threads_[t]->meeting == meeting) threads_[t]->state = State::ready;
      }
    } else {
      me.state = State::at_meeting;
      me.meeting = meeting;
      me.fiber.suspend();
      me.meeting = nullptr;
    }
    read(meeting->lanes);
    meeting->readers &= ~(1U << lane);
    if (meeting->readers == 0) {
      meeting->arrived = 0;
      meeting->complete = false;
    }
  }

  void copy_async(void* to, const void* from, unsigned bytes, bool there) {
    Copy copy{.to = to, .bytes = bytes, .contents = {}};
    if (there) std::memcpy(copy.contents, from, bytes);
    if (random_() % 2 == 0) {
      std::memcpy(to, copy.contents, bytes);
    } else {
      threads_[current_]->copies.back().push_back(copy);
    }
  }
  void copies_commit() { threads_[current_]->copies.emplace_back(); }
  void copies_wait(unsigned pending) {
    auto& copies = threads_[current_]->copies;
    while (copies.size() > pending + std::size_t{1}) {
      for (const Copy& copy : copies.front()) std::memcpy(copy.to, copy.contents, copy.bytes);
      copies.erase(copies.begin());
    }
  }

  unsigned lane_id() const { return static_cast<unsigned>(current_ % warp_size); }

  [[noreturn]] static void fail(const std::string& sentence) {
    throw std::logic_error("kernel: " + sentence);
  }

 private:
  /// A barrier of a part of the block.
  struct Part {
    unsigned arrived = 0;
    std::uint64_t rounds = 0;
  };

  struct Running {
    bool& running;
    ~Running() { running = false; }
  };

  void run_block(dim3 size) {
    std::vector<std::size_t> order(count_);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), random_);
    meetings_.resize((count_ + warp_size - 1) / warp_size);
    for (auto& warp : meetings_) warp.clear();
    at_barrier_ = 0;
    for (Part& part : parts_) part = {};
    done_ = 0;
    failure_ = nullptr;
    for (std::size_t t = 0; t < count_; ++t) {
      Thread& thread = *threads_[t];
      thread.index = {static_cast<unsigned>(t % size.x), static_cast<unsigned>(t / size.x % size.y),
                      static_cast<unsigned>(t / size.x / size.y)};
      thread.state = State::ready;
      thread.meeting = nullptr;
      thread.copies.assign(1, {});
      thread.fiber.start(&Machine::enter, this);
    }
    while (done_ < count_) {
      bool moved = false;
      for (const std::size_t t : order) {
        if (threads_[t]->state == State::waiting && threads_[t]->holds()) threads_[t]->state = State::ready;
        if (threads_[t]->state != State::ready) continue;
        moved = true;
        current_ = t;
        place.thread = threads_[t]->index;
        threads_[t]->fiber.resume();
        if (failure_) std::rethrow_exception(failure_);
      }
      if (!moved) {
        fail("threads wait in vain: " + std::to_string(at_barrier_) + " of " + std::to_string(count_) +
             " at a barrier, " + std::to_string(done_) +
             " ended, the others within their warps or for each other");
      }
    }
  }

  static void enter(void* machine) {
    auto& self = *static_cast<Machine*>(machine);
    try {
      (*self.body_)();
    } catch (...) {
      self.failure_ = std::current_exception();
    }
    ++self.done_;
    Thread& me = *self.threads_[self.current_];
    me.state = State::done;
    me.fiber.finish();
  }

  static std::uint64_t seed() {
    const char* const given = std::getenv("HARDBIT_EMULATION_SEED");
    return given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
  }

  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<std::vector<std::unique_ptr<Meeting>>> meetings_;
  std::mt19937_64 random_{seed()};
  std::size_t count_ = 0;
  std::size_t current_ = 0;
  std::size_t at_barrier_ = 0;
  Part parts_[16];
  std::size_t done_ = 0;
  const std::function<void()>* body_ = nullptr;
  unsigned char* shared_ = nullptr;
  std::exception_ptr failure_;
  bool running_ = false;
};

Machine& machine() {
  thread_local Machine machine;
  return machine;
}

}  // namespace

void launch(dim3 grid, dim3 block, std::size_t shared, std::function<void()> body) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  queue([=, body = std::move(body)] { machine().run(grid, block, shared, body); });
}

unsigned char* dynamic_shared_memory() { return machine().shared(); }
void block_barrier() { machine().barrier(); }
void part_barrier(unsigned barrier, unsigned threads) { machine().part_barrier(barrier, threads); }
void wait_until(std::function<bool()> holds) { machine().wait_until(std::move(holds)); }
void exchange(unsigned mask, const char* operation, const Lane& mine,
              const std::function<void(const Lane*)>& read) {
  machine().exchange(mask, operation, mine, read);
}
unsigned lane_id() { return machine().lane_id(); }
void copy_async(void* to, const void* from, unsigned bytes, bool there) {
  check_aligned("cp.async", to, bytes);
  check_aligned("cp.async", from, bytes);
  machine().copy_async(to, from, bytes, there);
}
void copies_commit() { machine().copies_commit(); }
void copies_wait(unsigned pending) { machine().copies_wait(pending); }
void check_aligned(const char* operation, const void* address, unsigned bytes) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes == 0) return;
  Machine::fail(std::string(operation) + " of an address that is no multiple of " + std::to_string(bytes));
}

}  // namespace hardbit::cuda::emulation
