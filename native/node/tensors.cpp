#include <optional>

#include "node/binding.h"
#include "ops/check.h"
#include "ops/dispatch.h"
#include "runtime/device.h"

namespace hardbit::node {
namespace {

const char* array_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "a Float32Array";
    case DType::i32:
      return "an Int32Array";
    case DType::i16:
      return "an Int16Array";
    case DType::u8:
      return "a Uint8Array";
    case DType::bits:
      return "a BigUint64Array";
  }
  return "";
}

Tensor tensor(DType dtype, const Shape& shape, const std::optional<TypedData>& data,
              std::optional<Device> device) {
  if (!data) return Tensor::zeros(dtype, shape, device.value_or(Device::cpu));
  check_contents("tensor", dtype, shape, *data);
  return Tensor::from_host(dtype, shape, data->bytes.data(), device.value_or(Device::cpu));
}

Tensor reshape(const Tensor& x, const Shape& shape) { return x.reshape(shape); }
Tensor slice(const Tensor& x, std::int64_t begin, std::int64_t end) { return x.slice(begin, end); }
Tensor clone(const Tensor& x) { return x.clone(); }
/// to ← from, of one dtype, shape and device.
void assign(const Tensor& to, const Tensor& from) {
  ops::check::dtype("assign", "from", from, to.dtype());
  ops::check::shape("assign", "from", from, to.shape());
  copy_bytes(ops::common_device(to, from), to.raw(), from.raw(), to.byte_length());
}
Tensor to_device(const Tensor& x, Device device) { return x.to(device); }

}  // namespace

void check_contents(const char* function, DType dtype, const Shape& shape, const TypedData& data) {
  if (data.dtype != dtype) {
    throw Error("ERR_HARDBIT_DTYPE", std::string(function) + ": the data is " + array_name(data.dtype) +
                                         "; a tensor of " + name(dtype) + " takes " + array_name(dtype) +
                                         ".");
  }
  const std::size_t bytes = byte_length(dtype, shape);
  if (data.bytes.size() != bytes) {
    const std::size_t size = dtype == DType::bits ? 8 : element_size(dtype);
    throw Error("ERR_HARDBIT_SHAPE", std::string(function) + ": the data has " +
                                         std::to_string(data.bytes.size() / size) + " elements; shape " +
                                         to_string(shape) + " of " + name(dtype) + " takes " +
                                         std::to_string(bytes / size) + ".");
  }
}

void add_tensors(Napi::Object exports) {
  add<tensor>(exports, "tensor");
  add<reshape>(exports, "reshape");
  add<slice>(exports, "slice");
  add<clone>(exports, "clone");
  add<to_device>(exports, "toDevice");
  add<assign>(exports, "assign");
}

}  // namespace hardbit::node
