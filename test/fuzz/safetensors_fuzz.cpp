#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "fuzz.h"
#include "readers/safetensors.h"

namespace hardbit::fuzz {
namespace {

const std::map<std::string_view, std::uint64_t> kSizes{{"F32", 4}, {"I32", 4}, {"I16", 2},
                                                       {"I8", 1},  {"U8", 1},  {"U32", 4}};

std::string json(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\' || static_cast<std::uint8_t>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      quoted += escape;
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

/// The same tensors and metadata with a header of our own.
std::string write(const readers::SafetensorsHeader& header, std::span<const std::uint8_t> file) {
  std::uint64_t begin = file.size();
  for (const auto& tensor : header.tensors) begin = std::min(begin, tensor.offset);
  std::string text = "{\"__metadata__\":{";
  for (const auto& [key, value] : header.metadata) {
    text += (text.back() == '{' ? "" : ",") + json(key) + ":" + json(value);
  }
  text += "}";
  for (const auto& tensor : header.tensors) {
    text += "," + json(tensor.name) + ":{\"data_offsets\":[" + std::to_string(tensor.offset - begin) + "," +
            std::to_string(tensor.offset - begin + tensor.length) + "],\"shape\":[";
    for (const std::uint64_t size : tensor.shape) {
      text += (text.back() == '[' ? "" : ",") + std::to_string(size);
    }
    text += std::string("],\"dtype\":\"") + tensor.dtype + "\"}";
  }
  text += "}";
  std::string written;
  for (int shift = 0; shift < 64; shift += 8) written += static_cast<char>(text.size() >> shift & 0xFF);
  written += text;
  const auto data = file.subspan(begin);
  return written.append(data.begin(), data.end());
}

void require_text(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = readers::utf8_length(text);
    require(length > 0, "names and metadata are UTF-8");
    text.remove_prefix(length);
  }
}

void check(std::span<const std::uint8_t> file) {
  const auto header = read_or_refuse([&] { return readers::read_safetensors(file, "x"); },
                                     {"ERR_HARDBIT_FORMAT", "ERR_HARDBIT_UNSUPPORTED"});
  if (!header) return;

  std::set<std::string_view> names;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const auto& tensor : header->tensors) {
    require_text(tensor.name);
    require(names.insert(tensor.name).second, "names are distinct");
    require(kSizes.contains(tensor.dtype), "the type is one of six");
    require_placed(tensor, file.size(), kSizes.at(tensor.dtype));
    ranges.emplace_back(tensor.offset, tensor.offset + tensor.length);
  }
  require(!names.contains("__metadata__"), "metadata is no tensor");
  std::set<std::string_view> keys;
  for (const auto& [key, value] : header->metadata) {
    require_text(key);
    require_text(value);
    require(keys.insert(key).second, "keys are distinct");
  }

  std::uint64_t header_length = 0;
  for (std::size_t i = 8; i-- > 0;) header_length = header_length << 8 | file[i];
  std::uint64_t covered = 8 + header_length;
  std::ranges::sort(ranges);
  for (const auto& [begin, end] : ranges) {
    require(begin == covered, "the tensors lie side by side");
    covered = end;
  }
  require(covered == file.size(), "the tensors cover the data");

  const std::string written = write(*header, file);
  const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(written.data()),
                                            written.size());
  const auto again = readers::read_safetensors(bytes, "x");
  require(again.metadata == header->metadata && again.tensors.size() == header->tensors.size(),
          "what was read is read again once written");
  for (std::size_t i = 0; i < again.tensors.size(); ++i) {
    const auto& [a, b] = std::pair(again.tensors[i], header->tensors[i]);
    require(a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && a.length == b.length &&
                file.size() - b.offset == bytes.size() - a.offset,
            "what was read is read again once written");
  }
}

}  // namespace
}  // namespace hardbit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  hardbit::fuzz::check({data, size});
  return 0;
}
