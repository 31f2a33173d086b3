#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cuda/driver.h"
#include "runtime/allocator.h"
#include "runtime/device.h"

namespace hardbit::cuda {

/// Blocks of device memory, kept for reuse. A block given back may be handed out at once: whoever gets it
/// queues work behind that of the one before. A pool of its own serves what must not share blocks with the
/// rest: uploads, and recorded graphs, which keep writing to the same addresses; their pools keep all blocks.
class Pool : public Memory {
 public:
  enum class Use { compute, uploads, recording };
  explicit Pool(Use use);
  ~Pool() override;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// Throws ERR_HARDBIT_MEMORY with what was asked for and what was free.
  Block allocate(std::size_t bytes) override;
  void release(Block block) noexcept override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Where new tensors of this thread get their memory.
std::shared_ptr<Pool> current_pool();
/// From that pool while this thread records (recording.h); null: from the one of everybody.
void set_recording_pool(std::shared_ptr<Pool> pool);
/// For tensors that are written from the host next: its blocks wait for nothing but their own last use, so
/// that such a copy runs beside whatever is being computed.
std::shared_ptr<Pool> upload_pool();

MemoryInfo memory_info();
/// Returns cached blocks to the device.
void empty_cache();

enum class Order {
  /// The copy waits for all work that was queued before it.
  after_all,
  /// It does not: the memory is new, of upload_pool().
  beside_others,
};

/// Queues a copy to the device; `host` may be reused at once. What is queued later waits for it.
void upload(void* device, const void* host, std::size_t bytes, Order order = Order::after_all);
/// Waits for all work before it and copies to the host. Throws what kernels reported (Report).
void download(void* host, const void* device, std::size_t bytes);
/// One value of device memory.
template <class T>
T download_value(const T* device) {
  T value;
  download(&value, device, sizeof value);
  return value;
}
void copy(void* to, const void* from, std::size_t bytes);
void fill(void* device, int byte, std::size_t bytes);
/// Waits for all work. Throws what kernels reported.
void synchronize();

/// Device memory for the time of a call.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::int64_t count, std::shared_ptr<Pool> pool = current_pool())
      : pool_(std::move(pool)),
        block_(pool_->allocate(static_cast<std::size_t>(count) * sizeof(T))),
        count_(count) {}
  ~Scratch() { pool_->release(block_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return static_cast<T*>(block_.data); }
  std::int64_t count() const { return count_; }

 private:
  std::shared_ptr<Pool> pool_;
  Block block_;
  std::int64_t count_;
};

/// A small table on the device, copied from the host: offsets, taps, coefficients.
template <class T>
class Table : public Scratch<T> {
 public:
  explicit Table(std::span<const T> values) : Scratch<T>(static_cast<std::int64_t>(values.size())) {
    upload(this->data(), values.data(), values.size_bytes());
  }
};

/// What a kernel found wrong with the contents of its operands. Nobody waits for kernels, so it is thrown by
/// the next call that reads from the device.
enum class Report : std::uint32_t { label, row, code, place };
/// One word a report, which kernels set (kernel.h's report()): host memory that the device writes.
std::uint32_t* report_words();

}  // namespace hardbit::cuda
