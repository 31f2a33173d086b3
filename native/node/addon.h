#pragma once
#include <napi.h>

#include "node/external_memory.h"
#include "runtime/tensor.h"

namespace hardbit::node {

/// State of one environment: the main thread and every worker thread have their own.
class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports);

  static Addon& of(Napi::Env env) { return *env.GetInstanceData<Addon>(); }

  Napi::FunctionReference tensor_constructor;
  /// The tensor that the handle being constructed takes over; null where JavaScript calls the constructor
  /// itself.
  Tensor* pending = nullptr;
  ExternalMemory external_memory;
};

}  // namespace hardbit::node
