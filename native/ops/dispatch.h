#pragma once
#include <string>
#include <utility>

#include "runtime/cuda_build.h"
#include "runtime/error.h"
#include "runtime/tensor.h"

namespace hardbit::ops {

/// The device all operands are on; ERR_HARDBIT_ARGUMENT where they differ.
template <class... Rest>
Device common_device(const Tensor& first, const Rest&... rest) {
  if (((rest.device() != first.device()) || ...)) {
    throw Error("ERR_HARDBIT_ARGUMENT", "The operands are on different devices; copy them to one.");
  }
  return first.device();
}

/// The one place where an operator chooses its back end. A build without CUDA never names what `cuda` calls.
template <class Cpu, class Cuda>
decltype(auto) dispatch(Device device, Cpu&& cpu, Cuda&& cuda) {
  if (device == Device::cpu) return cpu();
  if constexpr (cuda_built) {
    return cuda();
  } else {
    static_cast<void>(cuda);
    throw Error("ERR_HARDBIT_NO_CUDA", "This build of hardbit has no CUDA support; use the cpu device.");
  }
}

/// The same where both back ends have a function of the same arguments:
/// dispatch<cpu::relu, cuda::relu>(device, x, y, n).
template <auto Cpu, auto Cuda, class... Arguments>
decltype(auto) dispatch(Device device, Arguments&&... arguments) {
  if (device == Device::cpu) return Cpu(std::forward<Arguments>(arguments)...);
  if constexpr (cuda_built) {
    return Cuda(std::forward<Arguments>(arguments)...);
  } else {
    throw Error("ERR_HARDBIT_NO_CUDA", "This build of hardbit has no CUDA support; use the cpu device.");
  }
}

/// Of an operator that works on a few numbers of a model, on the cpu alone.
inline void require_cpu(const char* op, Device device) {
  if (device == Device::cpu) return;
  throw Error("ERR_HARDBIT_UNSUPPORTED",
              std::string(op) + ": runs on the cpu alone; copy its operands there first.");
}

}  // namespace hardbit::ops
