#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

#include "cuda/driver.h"
#include "cuda/runtime.h"

namespace hardbit::cuda {

// -- operators recorded once and run many times

/// How a run differs from what was recorded.
struct Run {
  /// What counts the steps made before (random draws, Adam's bias corrections) counts as many more.
  std::int64_t steps = 0;
  /// Multiplies learning rates.
  double rate_factor = 1;
};

/// An operand of a kernel that is another one in every run: value_of() (kernel.h) is what kernels take.
template <class T>
struct Varying {
  T value;
  /// Where a recording puts what is for its next run; null where nothing was recorded.
  const T* slot;
};

/// The device memory of what varies in a recording, and what goes there.
class Slots {
 public:
  /// Writes what is for a run.
  using Value = std::function<void(const Run& run, std::uint64_t* words)>;

  /// A place of so many words of 8 bytes, at most part_words, for as long as this lives.
  const void* add(std::size_t words, Value value);
  /// Queues the values of a run.
  void write(const Run& run) const;

  /// As many go to the device in one launch, as its argument: there is no memory of the host that another
  /// run could overwrite before it was read.
  static constexpr std::size_t part_words = 256;

 private:
  struct Slot {
    std::size_t word;
    Value value;
  };
  struct Part {
    Scratch<std::uint64_t> memory;
    std::size_t used = 0;
    std::vector<Slot> slots;

    explicit Part(const std::shared_ptr<Pool>& pool) : memory(part_words, pool) {}
  };
  /// Of its own: a block that the recording has used before would be written by every run, after write().
  std::shared_ptr<Pool> pool_ = std::make_shared<Pool>(Pool::Use::recording);
  std::vector<std::unique_ptr<Part>> parts_;
};

/// Those of what this thread is recording; null where it is not.
Slots* recording_slots();

/// The operand f(run), a function of the run that the kernel will be part of: of Run{} where nothing is being
/// recorded.
template <class F>
auto varying(F f) {
  using T = std::invoke_result_t<F, const Run&>;
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignof(std::uint64_t));
  Varying<T> operand{f(Run{}), nullptr};
  if (Slots* const slots = recording_slots()) {
    operand.slot =
        static_cast<const T*>(slots->add((sizeof(T) + 7) / 8, [f](const Run& run, std::uint64_t* words) {
          const T value = f(run);
          std::memcpy(words, &value, sizeof value);
        }));
  }
  return operand;
}

/// The number of steps made before, of which random draws are a function.
inline Varying<std::uint64_t> varying_step(std::uint64_t step) {
  return varying([step](const Run& run) { return step + static_cast<std::uint64_t>(run.steps); });
}

/// A recorded sequence of operators, with the memory it works in. Its operands stay where they are.
class RecordedGraph {
 public:
  /// Queues it: as the operators would have been without recording, at that step and with these learning
  /// rates.
  void run(const Run& run = {}) const;

 private:
  friend class Recording;
  std::shared_ptr<Pool> pool_;
  std::unique_ptr<Slots> slots_;
  driver::Graph graph_;
};

/// While it lives, operators of this thread are recorded and not run.
class Recording {
 public:
  Recording();
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  RecordedGraph finish();

 private:
  /// Throws what became of the capture.
  driver::Graph end();

  std::shared_ptr<Pool> pool_;
  std::unique_ptr<Slots> slots_;
  bool finished_ = false;
};

}  // namespace hardbit::cuda
