#pragma once
#include <string>

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

/// The one place where an operator chooses its back end: calls `cpu` for tensors in host memory.
template <class Cpu>
decltype(auto) dispatch(Device device, Cpu&& cpu) {
  if (device != Device::cpu) {
    throw Error("ERR_HARDBIT_NO_CUDA", "This build of hardbit has no CUDA support; use the cpu device.");
  }
  return cpu();
}

}  // namespace hardbit::ops
