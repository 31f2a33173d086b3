#pragma once
#include <cstddef>

namespace hardbit::cuda::emulation {

/// A stack with something to run on it: its function starts at the first resume() and changes places with
/// whoever resumed it by suspend(). All on one system thread. The address sanitizer is told of every change.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Prepares the stack to call entry(argument) at the next resume(). entry must end with finish().
  void start(void (*entry)(void*), void* argument);
  void resume();
  /// From within: back to whoever resumed.
  void suspend();
  /// The same for good.
  [[noreturn]] void finish();

 private:
  friend void fiber_main(Fiber*);
  void switch_in(bool ends);

  std::byte* memory_;
  void* stack_pointer_ = nullptr;
  void* resumer_ = nullptr;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  // What the address sanitizer keeps for either side.
  void* fake_stack_ = nullptr;
  void* resumer_fake_stack_ = nullptr;
  const void* resumer_bottom_ = nullptr;
  std::size_t resumer_size_ = 0;
};

}  // namespace hardbit::cuda::emulation
