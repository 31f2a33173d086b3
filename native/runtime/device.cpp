#include "runtime/device.h"

#include <cstring>

#include "runtime/cuda_build.h"
#include "runtime/error.h"
#if HARDBIT_CUDA
#include "cuda/runtime.h"
#endif

namespace hardbit {
namespace {

class HostMemory : public Memory {
 public:
  Block allocate(std::size_t bytes) override { return hardbit::allocate(bytes); }
  void release(Block block) noexcept override { hardbit::release(block); }
};

#if !HARDBIT_CUDA
[[noreturn]] void no_cuda() {
  throw Error("ERR_HARDBIT_NO_CUDA", "This build of hardbit has no CUDA support; use the cpu device.");
}
#endif

}  // namespace

std::shared_ptr<Memory> device_memory(Device device, [[maybe_unused]] Contents contents) {
  if (device == Device::cpu) {
    // Never destroyed: tensors may outlive static objects.
    static const auto* const host = new std::shared_ptr<Memory>(std::make_shared<HostMemory>());
    return *host;
  }
#if HARDBIT_CUDA
  return contents == Contents::uploaded ? cuda::upload_pool() : cuda::current_pool();
#else
  no_cuda();
#endif
}

void fill_bytes(Device device, void* data, int byte, std::size_t bytes) {
  if (bytes == 0) return;
  if (device == Device::cpu) {
    std::memset(data, byte, bytes);
    return;
  }
#if HARDBIT_CUDA
  cuda::fill(data, byte, bytes);
#else
  no_cuda();
#endif
}

void copy_bytes(Device device, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  if (device == Device::cpu) {
    std::memcpy(to, from, bytes);
    return;
  }
#if HARDBIT_CUDA
  cuda::copy(to, from, bytes);
#else
  no_cuda();
#endif
}

void copy_from_host(Device device, void* to, const void* host, std::size_t bytes,
                    [[maybe_unused]] Contents contents) {
  if (device == Device::cpu) {
    std::memcpy(to, host, bytes);
    return;
  }
#if HARDBIT_CUDA
  cuda::upload(to, host, bytes,
               contents == Contents::uploaded ? cuda::Order::beside_others : cuda::Order::after_all);
#else
  no_cuda();
#endif
}

void copy_to_host(Device device, void* host, const void* from, std::size_t bytes) {
  if (device == Device::cpu) {
    std::memcpy(host, from, bytes);
    return;
  }
#if HARDBIT_CUDA
  cuda::download(host, from, bytes);
#else
  no_cuda();
#endif
}

}  // namespace hardbit
