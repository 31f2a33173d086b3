#include "readers/idx.h"

#include "readers/check.h"
#include "runtime/error.h"

namespace hardbit::readers {
namespace {

constexpr std::uint8_t kUnsignedBytes = 0x08;

std::string elements(std::uint8_t type) {
  switch (type) {
    case 0x09:
      return "signed bytes";
    case 0x0B:
      return "16-bit integers";
    case 0x0C:
      return "32-bit integers";
    case 0x0D:
      return "32-bit floats";
    case 0x0E:
      return "64-bit floats";
    default:
      return "elements of unknown type " + std::to_string(type);
  }
}

}  // namespace

IdxHeader read_idx(std::span<const std::uint8_t> file, std::int64_t dimensions, const std::string& what) {
  const auto fail = [&what](const std::string& problem) {
    return Error("ERR_HARDBIT_FORMAT", what + " is not a complete IDX file: " + problem + "; get it anew.");
  };
  if (file.size() >= 2 && file[0] == 0x1F && file[1] == 0x8B) {
    throw fail("it is still compressed: run gunzip on it");
  }
  const std::string size = "it has " + std::to_string(file.size()) + " bytes";
  if (file.size() < 4) throw fail(size + ", less than its header");
  if (file[0] != 0 || file[1] != 0) throw fail("it does not begin with two zero bytes");
  if (file[2] != kUnsignedBytes) {
    throw fail("it holds " + elements(file[2]) + ", expected unsigned bytes");
  }
  const std::size_t rank = file[3];
  if (static_cast<std::int64_t>(rank) != dimensions) {
    throw fail("it has " + std::to_string(rank) + " dimensions, expected " + std::to_string(dimensions));
  }
  const std::size_t header = 4 + 4 * rank;
  if (file.size() < header) throw fail(size + ", less than its header of " + std::to_string(header));

  IdxHeader result{{}, header, file.size() - header};
  for (std::size_t at = 4; at < header; at += 4) {
    result.shape.push_back(static_cast<std::uint64_t>(file[at]) << 24 |
                           static_cast<std::uint64_t>(file[at + 1]) << 16 |
                           static_cast<std::uint64_t>(file[at + 2]) << 8 | file[at + 3]);
  }
  const auto expected = byte_length(result.shape, 1);
  if (expected != result.length) {
    throw fail("its shape [" + list(result.shape) + "] needs " + bytes_in_words(expected) + " of data, but " +
               std::to_string(result.length) + " follow");
  }
  return result;
}

}  // namespace hardbit::readers
