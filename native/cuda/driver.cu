#include <cuda_runtime.h>

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>

#include "cuda/driver.h"
#include "cuda/kernel.h"
#include "runtime/error.h"

namespace hardbit::cuda::driver {
namespace {

/// There for what it is compiled for.
__global__ void probe_kernel() {}
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
__device__ bool code_has_wgmma = true;
#else
__device__ bool code_has_wgmma = false;
#endif

/// Set once an error came that the context does not survive; the CPU path is not touched by it.
std::atomic<bool> lost{false};
std::mutex lost_mutex;
std::string lost_sentence;

[[noreturn]] void fail_lost() {
  const std::lock_guard lock(lost_mutex);
  throw Error("ERR_HARDBIT_CUDA", lost_sentence);
}

/// The compute queue, once it is made.
std::atomic<cudaStream_t> compute_queue{nullptr};

/// Throws what the runtime says. Errors of the context stay: no call after one succeeds, the wait for what is
/// queued neither. That wait is for a stream which no thread records, so that it is allowed.
void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that is not of the context is forgotten
  const std::string sentence = std::string(what) + " failed on the GPU: " + cudaGetErrorString(status) +
                               " (" + cudaGetErrorName(status) + ")";
  if (status >= cudaErrorStreamCaptureUnsupported && status <= cudaErrorStreamCaptureWrongThread) {
    throw Error("ERR_HARDBIT_UNSUPPORTED", sentence + ": it cannot be recorded.");
  }
  const Unrecorded unrecorded;
  if (cudaStreamSynchronize(compute_queue) != cudaSuccess) {
    {
      const std::lock_guard lock(lost_mutex);
      if (!lost) {
        lost_sentence =
            sentence +
            "; the GPU is lost to this process, which has to start again to use it. The cpu device "
            "still works.";
      }
      lost = true;
    }
    fail_lost();
  }
  throw Error(status == cudaErrorMemoryAllocation ? "ERR_HARDBIT_MEMORY" : "ERR_HARDBIT_CUDA",
              sentence + ".");
}

DeviceInfo describe(int index) {
  cudaDeviceProp p{};
  check(cudaGetDeviceProperties(&p, index), "Reading a device's properties");
  return {.name = p.name,
          .major = p.major,
          .minor = p.minor,
          .multiprocessors = p.multiProcessorCount,
          .memory = p.totalGlobalMem,
          .shared_memory = p.sharedMemPerBlockOptin};
}

/// 0 with a reason where there is no driver, none new enough, or no device.
int device_count(std::string& reason) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  cudaGetLastError();
  int driver = 0;
  int runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const auto version = [](int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); };
  if (driver == 0) {
    reason = "This machine has no NVIDIA driver.";
  } else if (status == cudaErrorInsufficientDriver) {
    reason = "The NVIDIA driver supports CUDA " + version(driver) + "; this build needs " + version(runtime) +
             ": update the driver.";
  } else if (status == cudaSuccess || status == cudaErrorNoDevice) {
    reason = "This machine shows no CUDA device.";
  } else {
    reason = std::string("The NVIDIA driver reports: ") + cudaGetErrorString(status) + ".";
  }
  return 0;
}

struct Context {
  DeviceInfo info;
  int index = 0;
  cudaStream_t compute = nullptr;
  cudaStream_t upload = nullptr;
};

Context open() {
  std::string reason;
  const int count = device_count(reason);
  if (count == 0) throw Error("ERR_HARDBIT_NO_CUDA", reason + " Use the cpu device.");
  Context context;
  if (const char* const wanted = std::getenv("HARDBIT_CUDA_DEVICE"); wanted != nullptr && *wanted != '\0') {
    const char* const end = wanted + std::strlen(wanted);
    const auto [rest, error] = std::from_chars(wanted, end, context.index);
    if (error != std::errc() || rest != end || context.index < 0 || context.index >= count) {
      throw Error("ERR_HARDBIT_NO_CUDA", std::string("HARDBIT_CUDA_DEVICE is ") + wanted +
                                             "; expected a device from 0 to " + std::to_string(count - 1) +
                                             ".");
    }
  }
  check(cudaSetDevice(context.index), "Choosing the device");
  context.info = describe(context.index);
  // Kernels are compiled for this device, or there are none.
  cudaFuncAttributes attributes{};
  if (cudaFuncGetAttributes(&attributes, probe_kernel) != cudaSuccess) {
    cudaGetLastError();
    throw Error("ERR_HARDBIT_NO_CUDA",
                "This build has no kernels for " + context.info.name + " (compute capability " +
                    std::to_string(context.info.major) + "." + std::to_string(context.info.minor) +
                    "); build it there with `npx hardbit build`, or use the cpu device.");
  }
  check(cudaMemcpyFromSymbol(&context.info.wgmma, code_has_wgmma, sizeof(bool)), "Reading what kernels use");
  check(cudaStreamCreateWithFlags(&context.compute, cudaStreamNonBlocking), "Making a stream");
  check(cudaStreamCreateWithFlags(&context.upload, cudaStreamNonBlocking), "Making a stream");
  compute_queue = context.compute;
  return context;
}

/// Opened at the first use; a failure is tried again by the next call.
Context& context() {
  static Context opened = open();
  if (lost) fail_lost();
  // Other threads than the first start on device 0.
  thread_local const bool chosen = (check(cudaSetDevice(opened.index), "Choosing the device"), true);
  static_cast<void>(chosen);
  return opened;
}

cudaStream_t stream(Queue queue) { return queue == Queue::compute ? context().compute : context().upload; }

/// Recordings of this thread go through a stream of their own, so that neither what other threads queue
/// meanwhile nor an event is part of them. Never destroyed: libraries remember it.
thread_local cudaStream_t recorded = nullptr;
thread_local bool is_capturing = false;

cudaEvent_t native(void* event) { return static_cast<cudaEvent_t>(event); }

bool managed() {
  static const bool on = std::getenv("HARDBIT_CUDA_MANAGED") != nullptr;
  return on;
}

}  // namespace

cudaStream_t compute_stream() {
  const Context& opened = context();
  return is_capturing ? recorded : opened.compute;
}

void settle() {
  if (managed() && !is_capturing) synchronize();
}

std::vector<DeviceInfo> devices(std::string& reason) {
  std::vector<DeviceInfo> all;
  const int count = device_count(reason);
  for (int i = 0; i < count; ++i) all.push_back(describe(i));
  return all;
}

const DeviceInfo& device() { return context().info; }

void* allocate(std::size_t bytes) {
  context();
  void* data = nullptr;
  // Recording is about the stream; memory is not part of it.
  const Unrecorded unrecorded;
  // Managed memory lets tests read results where they lie, once settle() has waited for them.
  const cudaError_t status = managed() ? cudaMallocManaged(&data, bytes) : cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, "Allocating memory");
  return data;
}

void release(void* data) noexcept {
  const Unrecorded unrecorded;
  cudaFree(data);  // waits for work that uses it
  cudaGetLastError();
}

std::size_t free_memory() {
  std::size_t free = 0;
  std::size_t all = 0;
  return cudaMemGetInfo(&free, &all) == cudaSuccess ? free : 0;
}

void* allocate_pinned(std::size_t bytes) {
  context();
  void* data = nullptr;
  const cudaError_t status = cudaHostAlloc(&data, bytes, cudaHostAllocPortable);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, "Allocating pinned memory");
  return data;
}

void upload(void* device, const void* pinned, std::size_t bytes) {
  check(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, stream(Queue::upload)),
        "A copy to the device");
  settle();
}

void download(void* pinned, const void* device, std::size_t bytes) {
  check(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, compute_stream()),
        "A copy from the device");
}

void copy(void* to, const void* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, compute_stream()), "A copy");
  settle();
}

void fill(void* device, int byte, std::size_t bytes) {
  check(cudaMemsetAsync(device, byte, bytes, compute_stream()), "Filling memory");
  settle();
}

void synchronize() {
  check(cudaStreamSynchronize(stream(Queue::upload)), "Work");
  check(cudaStreamSynchronize(stream(Queue::compute)), "Work");
}

Event::Event() {
  context();
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "Making an event");
  event_ = event;
}
Event::~Event() {
  cudaEventDestroy(native(event_));
  cudaGetLastError();
}
void Event::record(Queue queue) {
  check(cudaEventRecord(native(event_), stream(queue)), "Recording an event");
}
void Event::hold(Queue queue) const {
  check(cudaStreamWaitEvent(stream(queue), native(event_), 0), "Waiting for an event");
}
void Event::wait() const { check(cudaEventSynchronize(native(event_)), "Work"); }

Graph::Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(graph_, other.graph_);
  return *this;
}
Graph::~Graph() {
  if (graph_ == nullptr) return;
  cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph_));
  cudaGetLastError();
}
void Graph::run() const {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph_), compute_stream()), "Running a graph");
  settle();
}

void begin_capture() {
  context();
  if (recorded == nullptr) {
    check(cudaStreamCreateWithFlags(&recorded, cudaStreamNonBlocking), "Making a stream");
  }
  // Thread-local: calls that other threads make meanwhile are not refused.
  check(cudaStreamBeginCapture(recorded, cudaStreamCaptureModeThreadLocal), "Recording");
  is_capturing = true;
}

Graph end_capture() {
  is_capturing = false;
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(recorded, &graph), "Recording");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "Making a graph");
  Graph result;
  result.graph_ = executable;
  return result;
}

bool capturing() { return is_capturing; }

Unrecorded::Unrecorded() {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaThreadExchangeStreamCaptureMode(&mode);
  mode_ = mode;
}
Unrecorded::~Unrecorded() {
  auto mode = static_cast<cudaStreamCaptureMode>(mode_);
  cudaThreadExchangeStreamCaptureMode(&mode);
}

void check_launch() {
  check(cudaPeekAtLastError(), "Starting a kernel");
  settle();
}

}  // namespace hardbit::cuda::driver
