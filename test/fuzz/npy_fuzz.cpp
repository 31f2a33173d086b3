#include <string>
#include <vector>

#include "fuzz.h"
#include "readers/npy.h"

namespace hardbit::fuzz {
namespace {

/// The file in the form that numpy.save would give it, but for padding.
std::vector<std::uint8_t> write(const readers::NpyHeader& header, std::span<const std::uint8_t> file) {
  std::string text = std::string("{'descr': '") + (header.descriptor == std::string_view("u1") ? "|" : "<") +
                     header.descriptor + "', 'fortran_order': False, 'shape': (";
  for (const std::uint64_t size : header.shape) text += std::to_string(size) + ",";
  text += "), }\n";
  std::vector<std::uint8_t> written{0x93, 'N', 'U', 'M', 'P', 'Y', 2, 0};
  for (int shift = 0; shift < 32; shift += 8)
    written.push_back(static_cast<std::uint8_t>(text.size() >> shift & 0xFF));
  written.insert(written.end(), text.begin(), text.end());
  const auto elements = file.subspan(header.offset, header.length);
  written.insert(written.end(), elements.begin(), elements.end());
  return written;
}

void check(std::span<const std::uint8_t> file) {
  const auto header = read_or_refuse([&] { return readers::read_npy(file, "x"); },
                                     {"ERR_HARDBIT_FORMAT", "ERR_HARDBIT_DTYPE"});
  if (!header) return;
  const std::string_view descriptor = header->descriptor;
  require(descriptor == "f4" || descriptor == "u1" || descriptor == "i4" || descriptor == "i8",
          "the type is one of four");
  require_placed(*header, file.size(), static_cast<std::uint64_t>(descriptor[1] - '0'));
  require(header->offset + header->length == file.size(), "the file ends with its elements");
  const auto again = readers::read_npy(write(*header, file), "x");
  require(again.descriptor == descriptor && again.shape == header->shape && again.length == header->length,
          "what was read is read again once written");
}

}  // namespace
}  // namespace hardbit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  hardbit::fuzz::check({data, size});
  return 0;
}
