#include <algorithm>
#include <vector>

#include "fuzz.h"
#include "readers/idx.h"

namespace hardbit::fuzz {
namespace {

void check(std::span<const std::uint8_t> file, std::int64_t dimensions) {
  const auto header =
      read_or_refuse([&] { return readers::read_idx(file, dimensions, "x"); }, {"ERR_HARDBIT_FORMAT"});
  if (!header) return;
  require(static_cast<std::int64_t>(header->shape.size()) == dimensions, "it has the dimensions asked for");
  require_placed(*header, file.size(), 1);
  // Nothing but the header and the elements is in the file, and the header is the one that was read.
  std::vector<std::uint8_t> written{0, 0, 8, static_cast<std::uint8_t>(header->shape.size())};
  for (const std::uint64_t size : header->shape) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      written.push_back(static_cast<std::uint8_t>(size >> shift & 0xFF));
    }
  }
  require(header->offset == written.size() && header->offset + header->length == file.size(),
          "the file ends with its elements");
  require(std::equal(written.begin(), written.end(), file.begin()), "the header says what was read");
}

}  // namespace
}  // namespace hardbit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> file(data, size);
  for (const std::int64_t dimensions : {1, 3}) hardbit::fuzz::check(file, dimensions);
  if (size > 3) hardbit::fuzz::check(file, data[3]);
  return 0;
}
