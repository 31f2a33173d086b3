#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hardbit::readers {

/// What the header of a `.npy` file says. `length` bytes follow from `offset` on, row-major, little-endian.
struct NpyHeader {
  /// "f4", "u1", "i4" or "i8", a string literal: NumPy's kind and the bytes of an element.
  const char* descriptor;
  std::vector<std::uint64_t> shape;
  std::uint64_t offset;
  std::uint64_t length;
};

/// NumPy's `.npy` format (numpy.lib.format, versions 1.0 to 3.0): the magic \x93NUMPY, two version bytes, the
/// header's length (2 bytes in 1.0, else 4, little-endian), the header as a Python dict literal padded with
/// spaces, then the elements. Of the literals exactly what a header needs is read: the keys descr,
/// fortran_order and shape, each once, in any order.
///
/// @param what the file's name, for the sentences
/// Throws ERR_HARDBIT_FORMAT where the bytes are not such a file or are in Fortran order; ERR_HARDBIT_DTYPE
/// for another element type than float32, uint8, int32 and int64, or for big-endian numbers.
NpyHeader read_npy(std::span<const std::uint8_t> file, const std::string& what);

}  // namespace hardbit::readers
