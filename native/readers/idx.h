#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hardbit::readers {

/// What the header of an IDX file says. `length` bytes follow from `offset` on, row-major, one an element.
struct IdxHeader {
  std::vector<std::uint64_t> shape;
  std::uint64_t offset;
  std::uint64_t length;
};

/// The IDX format of the MNIST files (Y. LeCun, "The MNIST database", "File formats for the MNIST database"):
/// two zero bytes, the element type, the number of dimensions, each dimension as a big-endian 32-bit number,
/// then the elements. Only unsigned bytes are read.
///
/// @param dimensions the expected number of dimensions: 3 for images, 1 for labels
/// @param what the file's name, for the sentences
/// Throws ERR_HARDBIT_FORMAT where it is another kind of file, truncated, or has bytes to spare.
IdxHeader read_idx(std::span<const std::uint8_t> file, std::int64_t dimensions, const std::string& what);

}  // namespace hardbit::readers
