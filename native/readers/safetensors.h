#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hardbit::readers {

/// One tensor: `length` bytes from `offset` of the file on, row-major, little-endian.
struct SafetensorsTensor {
  std::string name;
  /// "F32", "I32", "I16", "I8", "U8" or "U32", a string literal.
  const char* dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t offset;
  std::uint64_t length;
};

/// Both lists stand in the header's order; names and keys are distinct. All text is UTF-8.
struct SafetensorsHeader {
  std::vector<SafetensorsTensor> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;
};

/// The safetensors container (https://github.com/huggingface/safetensors, "Format"):
///
///     8 bytes    N, the header's length, unsigned little-endian, at most 100 MB
///     N bytes    JSON: { "__metadata__": { string: string }, NAME: { dtype, shape, data_offsets: [begin,
///     end] }, … } the rest   the tensors' bytes; offsets count from here
///
/// Of JSON exactly that form is read. Keys are distinct, whole numbers are written as digits and below 2^53,
/// text is UTF-8, and a surrogate stands in a pair. The tensors cover the data exactly once, without holes.
///
/// @param what the file's name, for the sentences
/// Throws ERR_HARDBIT_FORMAT where the bytes are not such a file; ERR_HARDBIT_UNSUPPORTED for an element type
/// of the format that is not read.
SafetensorsHeader read_safetensors(std::span<const std::uint8_t> file, const std::string& what);

}  // namespace hardbit::readers
