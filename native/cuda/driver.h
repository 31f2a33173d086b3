#pragma once
#include <cstddef>
#include <string>
#include <vector>

/// What the CUDA back end asks of the machine. Two files implement it: driver.cu on the CUDA runtime, and
/// emulation/driver.cpp on this process's own memory.
///
/// Everything is queued on one stream for the whole process, so work runs in the order in which it was asked
/// for, whatever thread asked; uploads run on a second stream beside it. With HARDBIT_CUDA_MANAGED=1, which
/// is for tests, device memory is managed and everything is waited for as it is queued, so that the host may
/// read and write tensors where they lie. Functions throw Error: ERR_HARDBIT_NO_CUDA where there is no
/// driver, none new enough, or no device; ERR_HARDBIT_CUDA once the device is lost; ERR_HARDBIT_UNSUPPORTED
/// for what cannot be recorded; ERR_HARDBIT_MEMORY where there is not enough.
namespace hardbit::cuda::driver {

struct DeviceInfo {
  std::string name;
  /// Compute capability, 9 and 0 for Hopper.
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  std::size_t memory = 0;
  /// Shared memory that a block may ask for, in bytes.
  std::size_t shared_memory = 0;
  /// Whether the kernels that it runs use Hopper's own instructions (code for sm_90a).
  bool wgmma = false;
};

/// The devices of this machine; where there are none, `reason` says why in a sentence.
std::vector<DeviceInfo> devices(std::string& reason);
/// The device in use: the one that HARDBIT_CUDA_DEVICE counts from 0, else the first.
const DeviceInfo& device();

/// Device memory; null where there is not enough. 256-byte aligned.
void* allocate(std::size_t bytes);
void release(void* data) noexcept;
/// Bytes that the device has left.
std::size_t free_memory();

/// Host memory that the device reads and writes directly; null where there is not enough.
void* allocate_pinned(std::size_t bytes);

enum class Queue { compute, upload };

/// Copies between pinned host memory and the device.
void upload(void* device, const void* pinned, std::size_t bytes);
void download(void* pinned, const void* device, std::size_t bytes);
void copy(void* to, const void* from, std::size_t bytes);
void fill(void* device, int byte, std::size_t bytes);
/// Waits for all work.
void synchronize();

/// A place in a queue that others can wait for. What a thread records is in no queue until it is run.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  /// The place is the queue's end as of now.
  void record(Queue queue);
  /// What is queued from now on waits until the place is reached; nothing is waited for before the first
  /// record.
  void hold(Queue queue) const;
  /// The calling thread waits.
  void wait() const;

 private:
  void* event_;
};

/// Work recorded once and run many times: what is queued between begin_capture() and end_capture() by this
/// thread, in place of running it; what other threads queue runs as ever. Memory that it names must stay
/// where it is.
class Graph {
 public:
  Graph() = default;
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;
  ~Graph();
  void run() const;

 private:
  friend Graph end_capture();
  void* graph_ = nullptr;
};
void begin_capture();
Graph end_capture();
bool capturing();
/// While it lives, this thread may make calls that recording refuses, such as a library's allocations; they
/// are made and not recorded.
class Unrecorded {
 public:
  Unrecorded();
  ~Unrecorded();
  Unrecorded(const Unrecorded&) = delete;
  Unrecorded& operator=(const Unrecorded&) = delete;

 private:
  int mode_;
};

}  // namespace hardbit::cuda::driver
