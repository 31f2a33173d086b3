#pragma once
#include <cstddef>
#include <memory>

#include "runtime/allocator.h"
#include "runtime/tensor.h"

// Memory by device: what tensors ask of the CPU's allocator, or of the CUDA back end where it is built.
// Without it the cuda device throws ERR_HARDBIT_NO_CUDA.

namespace hardbit {

/// Where blocks come from and go back to.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual Block allocate(std::size_t bytes) = 0;
  virtual void release(Block block) noexcept = 0;
};

std::shared_ptr<Memory> device_memory(Device device, Contents contents);

void fill_bytes(Device device, void* data, int byte, std::size_t bytes);
/// Within a device.
void copy_bytes(Device device, void* to, const void* from, std::size_t bytes);
/// `contents` uploaded: nobody has used this memory since it was allocated as such.
void copy_from_host(Device device, void* to, const void* host, std::size_t bytes, Contents contents);
void copy_to_host(Device device, void* host, const void* from, std::size_t bytes);

}  // namespace hardbit
