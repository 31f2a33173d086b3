#include "cuda/driver.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cuda/emulation/driver.h"
#include "runtime/error.h"

// A device made of this process's memory. HARDBIT_EMULATION sets what it is like, read at every use, so that
// tests can change it: "none" has no device, "lost" loses it, a number is its memory in bytes. With
// HARDBIT_EMULATION_GUARD=1, the host's touching that memory ends the process, as on a GPU.

namespace hardbit::cuda {
namespace {

std::string_view setting() {
  const char* const value = std::getenv("HARDBIT_EMULATION");
  return value == nullptr ? std::string_view() : std::string_view(value);
}

std::size_t memory_size() {
  const std::string_view value = setting();
  if (value.empty() || value[0] < '0' || value[0] > '9') return std::size_t{4} << 30;
  return std::strtoull(value.data(), nullptr, 10);
}

/// Memory that only what is queued may touch: whole pages, each handed out once. Pages of a protection key
/// are opened and shut by a register of the thread; without such keys, by the system, for all threads.
class Guard {
 public:
  static Guard* instance() {
    static auto* const guard = std::getenv("HARDBIT_EMULATION_GUARD") == nullptr ? nullptr : new Guard;
    return guard;
  }

  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes > all - used_) return nullptr;
    std::byte* const data = memory_ + used_;
    used_ += (bytes + page - 1) / page * page;
    if (key_ < 0) protect();
    return data;
  }
  static void release(void* data, std::size_t bytes) { madvise(data, bytes, MADV_DONTNEED); }

  void open() {
    if (key_ >= 0) {
      if (opened_++ == 0) pkey_set(key_, 0);
      return;
    }
    const std::lock_guard lock(mutex_);
    if (users_++ == 0) protect();
  }
  void close() {
    if (key_ >= 0) {
      if (--opened_ == 0) pkey_set(key_, PKEY_DISABLE_ACCESS);
      return;
    }
    const std::lock_guard lock(mutex_);
    if (--users_ == 0) protect();
  }

 private:
  static constexpr std::size_t page = 4096;
  static constexpr std::size_t all = std::size_t{1} << 40;

  Guard() {
    if (key_ < 0 || pkey_mprotect(memory_, all, PROT_READ | PROT_WRITE, key_) == 0) return;
    pkey_free(key_);
    key_ = -1;
  }

  void protect() { mprotect(memory_, used_, users_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE); }

  std::mutex mutex_;
  std::byte* const memory_ = static_cast<std::byte*>(
      mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  std::size_t used_ = 0;
  int users_ = 0;
  int key_ = pkey_alloc(0, PKEY_DISABLE_ACCESS);  // below 0: there are none
  static thread_local int opened_;
};
thread_local int Guard::opened_ = 0;

/// While it lives, the device's memory may be touched.
class Opened {
 public:
  Opened() {
    if (guard_ != nullptr) guard_->open();
  }
  ~Opened() {
    if (guard_ != nullptr) guard_->close();
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

 private:
  Guard* const guard_ = Guard::instance();
};

std::mutex blocks_mutex;
std::unordered_map<void*, std::size_t> blocks;
std::size_t used = 0;

using Work = std::vector<std::function<void()>>;
thread_local Work* recording = nullptr;

void check_present() {
  if (setting() == "none")
    throw Error("ERR_HARDBIT_NO_CUDA", "This machine shows no CUDA device. Use the cpu device.");
  if (setting() == "lost") {
    throw Error(
        "ERR_HARDBIT_CUDA",
        "Work failed on the GPU: it was lost; the GPU is lost to this process, which has to start again to "
        "use it. The cpu device still works.");
  }
}

}  // namespace

namespace emulation {

void queue(std::function<void()> work) {
  check_present();
  if (recording != nullptr) {
    recording->push_back(std::move(work));
  } else {
    const Opened opened;
    work();
  }
}

}  // namespace emulation

namespace driver {

std::vector<DeviceInfo> devices(std::string& reason) {
  if (setting() != "none") return {device()};
  reason = "This machine shows no CUDA device.";
  return {};
}

const DeviceInfo& device() {
  check_present();
  static DeviceInfo info{.name = "emulated on the CPU",
                         .major = 9,
                         .minor = 0,
                         .multiprocessors = 4,
                         .memory = 0,
                         .shared_memory = emulation::shared_memory_limit,
                         .wgmma = true};
  info.memory = memory_size();
  return info;
}

void* allocate(std::size_t bytes) {
  check_present();
  const std::lock_guard lock(blocks_mutex);
  if (bytes > memory_size() || used > memory_size() - bytes) return nullptr;
  const Opened opened;
  Guard* const guard = Guard::instance();
  void* const data =
      guard != nullptr ? guard->allocate(bytes) : std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (data == nullptr) return nullptr;
  std::memset(data, 0xFF, bytes);  // what nobody wrote is a NaN
  blocks[data] = bytes;
  used += bytes;
  return data;
}

void release(void* data) noexcept {
  const std::lock_guard lock(blocks_mutex);
  const auto block = blocks.find(data);
  if (block == blocks.end()) std::abort();
  const std::size_t bytes = block->second;
  used -= bytes;
  blocks.erase(block);
  if (Guard::instance() != nullptr) {
    Guard::release(data, bytes);
  } else {
    std::free(data);
  }
}

std::size_t free_memory() {
  const std::lock_guard lock(blocks_mutex);
  return memory_size() > used ? memory_size() - used : 0;
}

void* allocate_pinned(std::size_t bytes) {
  check_present();
  return std::aligned_alloc(256, (bytes + 255) / 256 * 256);
}

void upload(void* device, const void* pinned, std::size_t bytes) {
  emulation::queue([=] { std::memcpy(device, pinned, bytes); });
}
void download(void* pinned, const void* device, std::size_t bytes) {
  emulation::queue([=] { std::memcpy(pinned, device, bytes); });
}
void copy(void* to, const void* from, std::size_t bytes) {
  emulation::queue([=] { std::memcpy(to, from, bytes); });
}
void fill(void* device, int byte, std::size_t bytes) {
  emulation::queue([=] { std::memset(device, byte, bytes); });
}
void synchronize() { check_present(); }

// Work ends before the call that queues it returns: nobody ever waits.
Event::Event() : event_(nullptr) {}
Event::~Event() { static_cast<void>(event_); }
void Event::record(Queue) {}
void Event::hold(Queue) const {}
void Event::wait() const {}

Graph::Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(graph_, other.graph_);
  return *this;
}
Graph::~Graph() { delete static_cast<Work*>(graph_); }
void Graph::run() const {
  for (const auto& work : *static_cast<const Work*>(graph_)) emulation::queue(work);
}

void begin_capture() {
  check_present();
  recording = new Work;
}
Graph end_capture() {
  Graph graph;
  graph.graph_ = std::exchange(recording, nullptr);
  return graph;
}
bool capturing() { return recording != nullptr; }
Unrecorded::Unrecorded() : mode_(0) {}
Unrecorded::~Unrecorded() { static_cast<void>(mode_); }

}  // namespace driver
}  // namespace hardbit::cuda
