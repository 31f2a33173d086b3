#include "runtime/tensor.h"

#include <atomic>
#include <cstring>
#include <limits>
#include <utility>

#include "runtime/allocator.h"
#include "runtime/device.h"
#include "runtime/error.h"

namespace hardbit {
namespace {

std::atomic<std::int64_t> storages{0};

/// Throws ERR_HARDBIT_SHAPE for a negative dimension, or where the elements of the shape with every 0 read as
/// 1 would not fit in an address space, so that no product of dimensions can overflow.
void check_shape(DType dtype, const Shape& shape) {
  std::int64_t room = std::numeric_limits<std::int64_t>::max() / 64 / (dtype == DType::bits ? 8 : 4);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 0) {
      throw Error("ERR_HARDBIT_SHAPE",
                  "The shape " + to_string(shape) + " has a negative dimension; expected 0 or more.");
    }
    const bool packed = dtype == DType::bits && i + 1 == shape.size();
    const std::int64_t n = packed ? shape[i] / 64 + (shape[i] % 64 != 0) : shape[i];
    if (n > 1) room /= n;
  }
  if (room == 0) {
    throw Error("ERR_HARDBIT_SHAPE",
                "The shape " + to_string(shape) + " has more elements than can be addressed.");
  }
}

}  // namespace

class Storage {
 public:
  Storage(std::size_t bytes, Device device, Contents contents)
      : memory_(device_memory(device, contents)), block_(memory_->allocate(bytes)) {
    ++storages;
  }
  ~Storage() {
    memory_->release(block_);
    --storages;
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(block_.data); }

 private:
  std::shared_ptr<Memory> memory_;
  Block block_;
};

std::int64_t live_storages() { return storages; }

std::size_t element_size(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::i16:
      return 2;
    case DType::u8:
      return 1;
    case DType::bits:
      return 0;
  }
  return 0;
}

const char* name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::i32:
      return "i32";
    case DType::i16:
      return "i16";
    case DType::u8:
      return "u8";
    case DType::bits:
      return "bits";
  }
  return "?";
}

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t n : shape) count *= n;
  return count;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

std::size_t byte_length(DType dtype, const Shape& shape) {
  check_shape(dtype, shape);
  if (dtype != DType::bits) return static_cast<std::size_t>(element_count(shape)) * element_size(dtype);
  const std::int64_t columns = shape.empty() ? 1 : shape.back();
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return static_cast<std::size_t>(rows * words(columns) * 8);
}

const char* name(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

Tensor Tensor::allocate(DType dtype, Shape shape, Device device, Contents contents) {
  check_shape(dtype, shape);
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.device_ = device;
  tensor.shape_ = std::move(shape);
  tensor.storage_ = std::make_shared<Storage>(tensor.byte_length(), device, contents);
  return tensor;
}

Tensor Tensor::empty(DType dtype, Shape shape, Device device) {
  Tensor tensor = allocate(dtype, std::move(shape), device, Contents::computed);
  if (dtype == DType::bits && tensor.columns() % 64 != 0) {
    if (device != Device::cpu) {
      fill_bytes(device, tensor.raw(), 0, tensor.byte_length());
      return tensor;
    }
    const std::int64_t row_words = tensor.row_words();
    auto* const data = tensor.data<std::uint64_t>();
    const std::int64_t rows = tensor.rows();
    for (std::int64_t i = 0; i < rows; ++i) data[(i + 1) * row_words - 1] = 0;
  }
  return tensor;
}

Tensor Tensor::zeros(DType dtype, Shape shape, Device device) {
  Tensor tensor = allocate(dtype, std::move(shape), device, Contents::computed);
  fill_bytes(device, tensor.raw(), 0, tensor.byte_length());
  return tensor;
}

Tensor Tensor::from_host(DType dtype, Shape shape, const void* data, Device device) {
  Tensor tensor = allocate(dtype, std::move(shape), device, Contents::uploaded);
  tensor.write_host(data, Contents::uploaded);
  return tensor;
}

void Tensor::write_host(const void* data, Contents contents) const {
  if (byte_length() == 0) return;
  const std::int64_t spare = dtype_ == DType::bits ? columns() % 64 : 0;
  if (spare == 0) {
    copy_from_host(device_, raw(), data, byte_length(), contents);
    return;
  }
  // Kernels rely on zero padding.
  std::vector<std::uint64_t> padded(byte_length() / 8);
  std::memcpy(padded.data(), data, byte_length());
  const std::uint64_t used = (std::uint64_t{1} << spare) - 1;
  const auto row = static_cast<std::size_t>(row_words());
  for (std::size_t last = row - 1; last < padded.size(); last += row) padded[last] &= used;
  copy_from_host(device_, raw(), padded.data(), byte_length(), contents);
}

void Tensor::read_host(void* data) const {
  if (byte_length() > 0) copy_to_host(device_, data, raw(), byte_length());
}

Tensor Tensor::to(Device device) const {
  if (device == device_) return *this;
  Tensor copy = allocate(dtype_, shape_, device, Contents::uploaded);
  if (byte_length() == 0) return copy;
  if (device == Device::cpu) {
    read_host(copy.raw());
  } else {
    copy.write_host(raw(), Contents::uploaded);
  }
  return copy;
}

std::int64_t Tensor::rows() const {
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape_.size(); ++i) rows *= shape_[i];
  return rows;
}

std::int64_t Tensor::columns() const { return shape_.empty() ? 1 : shape_.back(); }

std::size_t Tensor::byte_length() const {
  if (dtype_ == DType::bits) return static_cast<std::size_t>(rows() * row_words() * 8);
  return static_cast<std::size_t>(count()) * element_size(dtype_);
}

void* Tensor::raw() const { return storage_ ? storage_->data() + offset_ : nullptr; }

Tensor Tensor::reshape(Shape shape) const {
  check_shape(dtype_, shape);
  if (element_count(shape) != count()) {
    throw Error("ERR_HARDBIT_SHAPE", "A tensor of shape " + to_string(shape_) + " cannot be reshaped to " +
                                         to_string(shape) + "; expected a shape with " +
                                         std::to_string(count()) + " elements.");
  }
  Tensor view = *this;
  view.shape_ = std::move(shape);
  const bool whole_words = columns() % 64 == 0 && view.columns() % 64 == 0;
  if (dtype_ == DType::bits && view.columns() != columns() && !whole_words) {
    throw Error("ERR_HARDBIT_SHAPE", "A bits tensor of shape " + to_string(shape_) +
                                         " cannot be reshaped to " + to_string(view.shape_) +
                                         "; expected the same last dimension, " + std::to_string(columns()) +
                                         ", or multiples of 64, because rows are packed.");
  }
  return view;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  const std::size_t least = dtype_ == DType::bits ? 2 : 1;
  if (rank() < least) {
    throw Error("ERR_HARDBIT_SHAPE", std::string("A slice takes rows of a ") + name(dtype_) +
                                         " tensor of rank " + std::to_string(least) + " or more; got shape " +
                                         to_string(shape_) + ".");
  }
  if (begin < 0 || begin > end || end > shape_[0]) {
    throw Error("ERR_HARDBIT_ARGUMENT", "The slice [" + std::to_string(begin) + ", " + std::to_string(end) +
                                            ") is not within the rows [0, " + std::to_string(shape_[0]) +
                                            "); expected 0 <= begin <= end <= rows.");
  }
  Tensor view = *this;
  if (shape_[0] > 0)
    view.offset_ += byte_length() / static_cast<std::size_t>(shape_[0]) * static_cast<std::size_t>(begin);
  view.shape_[0] = end - begin;
  return view;
}

Tensor Tensor::clone() const {
  Tensor copy = allocate(dtype_, shape_, device_, Contents::computed);
  copy_bytes(device_, copy.raw(), raw(), byte_length());
  return copy;
}

}  // namespace hardbit
