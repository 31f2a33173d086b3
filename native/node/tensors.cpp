#include <cstring>

#include "node/binding.h"

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

Tensor tensor(DType dtype, const Shape& shape, const std::optional<TypedData>& data) {
  if (!data) return Tensor::zeros(dtype, shape);
  Tensor result = Tensor::empty(dtype, shape);
  write_contents("tensor", result, *data);
  return result;
}

Tensor reshape(const Tensor& x, const Shape& shape) { return x.reshape(shape); }
Tensor slice(const Tensor& x, std::int64_t begin, std::int64_t end) { return x.slice(begin, end); }
Tensor clone(const Tensor& x) { return x.clone(); }

}  // namespace

void write_contents(const char* function, const Tensor& tensor, const TypedData& data) {
  if (data.dtype != tensor.dtype()) {
    throw Error("ERR_HARDBIT_DTYPE", std::string(function) + ": the data is " + array_name(data.dtype) +
                                         "; a tensor of " + name(tensor.dtype()) + " takes " +
                                         array_name(tensor.dtype()) + ".");
  }
  if (data.bytes.size() != tensor.byte_length()) {
    const std::size_t size = tensor.dtype() == DType::bits ? 8 : element_size(tensor.dtype());
    throw Error("ERR_HARDBIT_SHAPE", std::string(function) + ": the data has " +
                                         std::to_string(data.bytes.size() / size) + " elements; shape " +
                                         to_string(tensor.shape()) + " of " + name(tensor.dtype()) +
                                         " takes " + std::to_string(tensor.byte_length() / size) + ".");
  }
  if (data.bytes.empty()) return;
  std::memcpy(tensor.raw(), data.bytes.data(), data.bytes.size());
  if (tensor.dtype() == DType::bits && tensor.columns() % 64 != 0) {
    // Kernels rely on zero padding.
    const std::uint64_t used = (std::uint64_t{1} << (tensor.columns() % 64)) - 1;
    const std::int64_t words = tensor.row_words();
    auto* bits = tensor.data<std::uint64_t>();
    for (std::int64_t row = 0; row < tensor.rows(); ++row) bits[(row + 1) * words - 1] &= used;
  }
}

void add_tensors(Napi::Object exports) {
  add<tensor>(exports, "tensor");
  add<reshape>(exports, "reshape");
  add<slice>(exports, "slice");
  add<clone>(exports, "clone");
}

}  // namespace hardbit::node
