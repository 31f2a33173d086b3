#include "cuda/emulation/fibers.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define HARDBIT_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HARDBIT_ADDRESS_SANITIZER 1
#endif
#endif

#ifdef HARDBIT_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace hardbit::cuda::emulation {

namespace {

constexpr std::size_t page = 4096;
#ifdef HARDBIT_ADDRESS_SANITIZER
constexpr std::size_t stack_bytes = std::size_t{256} << 10;
#else
constexpr std::size_t stack_bytes = std::size_t{64} << 10;
#endif

}  // namespace

void fiber_main(Fiber* fiber);

#ifdef __x86_64__

// Saves what a callee has to keep on the present stack, and takes the other stack's.
extern "C" void hardbit_switch_stack(void** save, void* to);
asm(R"(
.text
.p2align 4
.globl hardbit_switch_stack
.hidden hardbit_switch_stack
.type hardbit_switch_stack, @function
hardbit_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size hardbit_switch_stack, .-hardbit_switch_stack
.globl hardbit_fiber_entry
.hidden hardbit_fiber_entry
.type hardbit_fiber_entry, @function
hardbit_fiber_entry:
  movq %r12, %rdi
  callq *%r13
  ud2
.size hardbit_fiber_entry, .-hardbit_fiber_entry
)");
extern "C" void hardbit_fiber_entry();

namespace {

void* prepare(std::byte* stack, Fiber* fiber) {
  auto* top = reinterpret_cast<std::uint64_t*>(stack + stack_bytes);
  top -= 2;  // where hardbit_fiber_entry calls, the stack is aligned to 16 bytes
  top[0] = top[1] = 0;
  *--top = reinterpret_cast<std::uint64_t>(&hardbit_fiber_entry);
  *--top = 0;                                             // rbp
  *--top = 0;                                             // rbx
  *--top = reinterpret_cast<std::uint64_t>(fiber);        // r12
  *--top = reinterpret_cast<std::uint64_t>(&fiber_main);  // r13
  *--top = 0;                                             // r14
  *--top = 0;                                             // r15
  return top;
}

void switch_stack(void** save, void* to) { hardbit_switch_stack(save, to); }

}  // namespace

#else

namespace {

// Slower, since every switch asks the system for the signal mask, but it is everywhere. A stack pointer is a
// ucontext_t of its own.
void enter(unsigned high, unsigned low) {
  fiber_main(reinterpret_cast<Fiber*>(static_cast<std::uintptr_t>(std::uint64_t{high} << 32 | low)));
}

void* prepare(std::byte* stack, Fiber* fiber) {
  auto* const context = new (stack) ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = stack + page;
  context->uc_stack.ss_size = stack_bytes - page;
  context->uc_link = nullptr;
  const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(fiber));
  makecontext(context, reinterpret_cast<void (*)()>(&enter), 2, static_cast<unsigned>(address >> 32),
              static_cast<unsigned>(address));
  return context;
}

void switch_stack(void** save, void* to) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}

}  // namespace

#endif

Fiber::Fiber() {
  void* const memory = mmap(nullptr, stack_bytes + page, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, page, PROT_NONE);  // an overflow stops here
  memory_ = static_cast<std::byte*>(memory) + page;
}

Fiber::~Fiber() { munmap(memory_ - page, stack_bytes + page); }

void Fiber::start(void (*entry)(void*), void* argument) {
#ifdef HARDBIT_ADDRESS_SANITIZER
  // What an earlier life left poisoned is free again.
  ASAN_UNPOISON_MEMORY_REGION(memory_, stack_bytes);
#endif
  entry_ = entry;
  argument_ = argument;
  fake_stack_ = nullptr;
  stack_pointer_ = prepare(memory_, this);
}

void Fiber::resume() {
#ifdef HARDBIT_ADDRESS_SANITIZER
  __sanitizer_start_switch_fiber(&resumer_fake_stack_, memory_, stack_bytes);
#endif
  switch_stack(&resumer_, stack_pointer_);
#ifdef HARDBIT_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(resumer_fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::switch_in(bool ends) {
#ifdef HARDBIT_ADDRESS_SANITIZER
  __sanitizer_start_switch_fiber(ends ? nullptr : &fake_stack_, resumer_bottom_, resumer_size_);
#endif
  static_cast<void>(ends);
  switch_stack(&stack_pointer_, resumer_);
#ifdef HARDBIT_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(fake_stack_, &resumer_bottom_, &resumer_size_);
#endif
}

void Fiber::suspend() { switch_in(false); }

void Fiber::finish() {
  switch_in(true);
  std::abort();  // nobody resumes a finished fiber
}

void fiber_main(Fiber* fiber) {
#ifdef HARDBIT_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(nullptr, &fiber->resumer_bottom_, &fiber->resumer_size_);
#endif
  fiber->entry_(fiber->argument_);
  std::abort();
}

}  // namespace hardbit::cuda::emulation
