#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/words.h"

namespace hardbit {

enum class DType : std::uint8_t { f32, i32, i16, u8, bits };
enum class Device : std::uint8_t { cpu, cuda };

/// Bytes of one element; 0 for `bits`, whose rows are counted in words.
std::size_t element_size(DType dtype);
const char* name(DType dtype);
const char* name(Device device);

/// What a tensor's memory is written by first: an operator, or a copy from the host, which may then run
/// beside whatever is being computed.
enum class Contents : std::uint8_t { computed, uploaded };

using Shape = std::vector<std::int64_t>;
std::int64_t element_count(const Shape& shape);
/// "[2, 3]"
std::string to_string(const Shape& shape);

/// Bytes of the contents, rows of bits padded to whole words. Throws ERR_HARDBIT_SHAPE for a negative
/// dimension, or where they could not be addressed.
std::size_t byte_length(DType dtype, const Shape& shape);

/// A block of its device's caching allocator; freed to the cache when the last tensor that shares it goes.
class Storage;
/// Storage objects alive in this process: what a leak test counts.
std::int64_t live_storages();

/// A dense row-major array: a value type that shares its storage. 64-byte aligned, but for slices.
///
/// `bits`: the last dimension is packed into 64-bit words, least significant bit first, each row padded with
/// zero bits; bit 1 is +1, bit 0 is −1.
class Tensor {
 public:
  Tensor() = default;
  /// Uninitialised contents; the padding bits of a `bits` tensor are zero all the same.
  static Tensor empty(DType dtype, Shape shape, Device device = Device::cpu);
  static Tensor zeros(DType dtype, Shape shape, Device device = Device::cpu);

  /// A copy of byte_length() bytes of the host's memory; the padding of rows of bits is cleared.
  static Tensor from_host(DType dtype, Shape shape, const void* data, Device device = Device::cpu);

  bool defined() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(std::size_t i) const { return shape_[i]; }
  std::size_t rank() const { return shape_.size(); }
  /// Logical elements (bits count as one each).
  std::int64_t count() const { return element_count(shape_); }
  /// Product of all dimensions but the last; 1 for rank 0.
  std::int64_t rows() const;
  /// The last dimension; 1 for rank 0.
  std::int64_t columns() const;
  /// Words a row of a `bits` tensor.
  std::int64_t row_words() const { return words(columns()); }
  std::size_t byte_length() const;

  /// An address of the tensor's device.
  void* raw() const;
  template <class T>
  T* data() const {
    return static_cast<T*>(raw());
  }
  /// The storage's elements as T; T must match the dtype (std::uint64_t for bits).
  template <class T>
  std::span<T> span() const {
    return {data<T>(), byte_length() / sizeof(T)};
  }

  /// Shares storage. Throws ERR_HARDBIT_SHAPE where the counts differ (bits: or the last dimension, unless
  /// old and new are multiples of 64).
  Tensor reshape(Shape shape) const;
  /// Rows [begin, end) of the first dimension; shares storage.
  Tensor slice(std::int64_t begin, std::int64_t end) const;
  Tensor clone() const;
  /// On that device: itself, or a copy.
  Tensor to(Device device) const;

  /// Overwrites the contents with byte_length() bytes of the host's memory, as from_host does.
  void write_host(const void* data, Contents contents = Contents::computed) const;
  /// Copies byte_length() bytes to the host's memory, once all work on them is done.
  void read_host(void* data) const;

 private:
  static Tensor allocate(DType dtype, Shape shape, Device device, Contents contents);

  DType dtype_ = DType::f32;
  Device device_ = Device::cpu;
  Shape shape_;
  std::size_t offset_ = 0;  // bytes into the storage
  std::shared_ptr<Storage> storage_;
};

}  // namespace hardbit
