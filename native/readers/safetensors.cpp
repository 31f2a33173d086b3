#include "readers/safetensors.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <string_view>

#include "readers/check.h"
#include "runtime/error.h"

namespace hardbit::readers {
namespace {

constexpr std::string_view kMetadata = "__metadata__";
constexpr std::uint64_t kMaximumHeader = 100'000'000;

struct DType {
  const char* name;
  /// 0 for one that this library has no use for: named, so that the sentence can be precise.
  std::uint64_t size;
};
constexpr std::array<DType, 16> kDTypes{{
    {"F32", 4},
    {"I32", 4},
    {"I16", 2},
    {"I8", 1},
    {"U8", 1},
    {"U32", 4},
    {"F64", 0},
    {"F16", 0},
    {"BF16", 0},
    {"I64", 0},
    {"U64", 0},
    {"U16", 0},
    {"BOOL", 0},
    {"F8_E4M3", 0},
    {"F8_E5M2", 0},
    {"C64", 0},
}};

/// One tensor as the header describes it, nothing checked but its form.
struct Entry {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin;
  std::uint64_t end;
};

struct Document {
  std::vector<Entry> entries;
  std::vector<std::pair<std::string, std::string>> metadata;
};

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::string& text, std::uint32_t code) {
  const auto put = [&text](std::uint32_t value) { text += static_cast<char>(value); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

/// The header's JSON, read in one pass without recursion: its form has three levels. Each function skips the
/// spaces before what it reads.
class Parser {
 public:
  Parser(std::string_view text, const std::string& what) : rest_(text), what_(what) {}

  Document document() {
    // The format wants no space before the header.
    if (!rest_.starts_with('{')) refuse("its header is not a JSON object");
    Document document;
    bool has_metadata = false;
    members([&](std::string key) {
      if (key != kMetadata) {
        document.entries.push_back(entry(std::move(key)));
        return;
      }
      if (has_metadata) twice(key);
      has_metadata = true;
      if (!at('{')) refuse("its __metadata__ is not an object of strings");
      members([&](std::string name) {
        if (!at('"')) refuse("its __metadata__ is not an object of strings");
        document.metadata.emplace_back(std::move(name), string());
      });
    });
    skip_spaces();
    if (!rest_.empty()) not_json();
    return document;
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw Error("ERR_HARDBIT_FORMAT",
                what_ + " is not a complete safetensors file: " + problem + "; get it anew.");
  }

  [[noreturn]] void twice(std::string_view key) const {
    fail("its header has the key " + quote(key) + " twice");
  }

 private:
  Entry entry(std::string name) {
    const std::string tensor = "tensor " + quote(name);
    if (!at('{')) refuse(tensor + " is not described by an object");
    std::optional<std::string> dtype;
    std::optional<std::vector<std::uint64_t>> shape;
    std::optional<std::vector<std::uint64_t>> offsets;
    members([&](const std::string& key) {
      if (key == "dtype") {
        if (dtype) twice(key);
        if (!at('"')) refuse(tensor + " has the unknown dtype " + scalar());
        dtype = string();
      } else if (key == "shape") {
        if (shape) twice(key);
        shape = whole_numbers("the shape of " + tensor + " is not a list of whole numbers");
      } else if (key == "data_offsets") {
        if (offsets) twice(key);
        const std::string wrong = "the data_offsets of " + tensor + " are not two whole numbers";
        offsets = whole_numbers(wrong);
        if (offsets->size() != 2) fail(wrong);
      } else {
        fail(tensor + " has a field " + quote(key) + ", which the format does not know");
      }
    });
    if (!dtype || !shape || !offsets) {
      fail(tensor + " has no " + (!dtype ? "dtype" : !shape ? "shape" : "data_offsets"));
    }
    return {std::move(name), std::move(*dtype), std::move(*shape), (*offsets)[0], (*offsets)[1]};
  }

  /// An object; `member` reads the value of each key.
  template <class Member>
  void members(const Member& member) {
    expect('{');
    if (take('}')) return;
    do {
      std::string key = string();
      expect(':');
      member(std::move(key));
    } while (take(','));
    expect('}');
  }

  /// A list of whole numbers, each below 2^53. `wrong` says what is the matter where it is another value.
  std::vector<std::uint64_t> whole_numbers(const std::string& wrong) {
    std::vector<std::uint64_t> numbers;
    if (!at('[')) refuse(wrong);
    expect('[');
    if (take(']')) return numbers;
    do {
      const auto number = whole_number();
      if (!number) refuse(wrong);
      numbers.push_back(*number);
    } while (take(','));
    expect(']');
    return numbers;
  }

  std::optional<std::uint64_t> whole_number() {
    skip_spaces();
    std::uint64_t value = 0;
    std::size_t digits = 0;
    for (; digits < rest_.size() && is_digit(rest_[digits]); ++digits) {
      value = 10 * value + static_cast<std::uint64_t>(rest_[digits] - '0');
      if (value > kMaxSafeInteger) return std::nullopt;
    }
    if (digits == 0 || (digits > 1 && rest_.front() == '0')) return std::nullopt;
    const char next = digits < rest_.size() ? rest_[digits] : '\0';
    if (next == '.' || next == 'e' || next == 'E') return std::nullopt;
    rest_.remove_prefix(digits);
    return value;
  }

  std::string string() {
    expect('"');
    std::string text;
    while (!rest_.starts_with('"')) {
      if (rest_.starts_with('\\')) {
        rest_.remove_prefix(1);
        append_utf8(text, escape());
        continue;
      }
      const std::size_t length = utf8_length(rest_);
      if (length == 0 || static_cast<std::uint8_t>(rest_.front()) < 0x20) not_json();
      text += rest_.substr(0, length);
      rest_.remove_prefix(length);
    }
    rest_.remove_prefix(1);
    return text;
  }

  /// The character that is written behind a backslash.
  std::uint32_t escape() {
    constexpr std::string_view kNames = "\"\\/bfnrt";
    constexpr std::string_view kCharacters = "\"\\/\b\f\n\r\t";
    if (rest_.empty()) not_json();
    const char name = rest_.front();
    rest_.remove_prefix(1);
    if (const std::size_t i = kNames.find(name); i != std::string_view::npos) {
      return static_cast<std::uint8_t>(kCharacters[i]);
    }
    if (name != 'u') not_json();
    const std::uint32_t first = four_digits();
    if (first < 0xD800 || first > 0xDFFF) return first;
    // Half of a character: the lower half must follow at once.
    if (first > 0xDBFF || !rest_.starts_with("\\u")) not_json();
    rest_.remove_prefix(2);
    const std::uint32_t second = four_digits();
    if (second < 0xDC00 || second > 0xDFFF) not_json();
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  std::uint32_t four_digits() {
    if (rest_.size() < 4) not_json();
    std::uint32_t value = 0;
    for (const char c : rest_.substr(0, 4)) {
      const char lower = static_cast<char>(c | 0x20);
      if (is_digit(c)) {
        value = value << 4 | static_cast<std::uint32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value << 4 | static_cast<std::uint32_t>(lower - 'a' + 10);
      } else {
        not_json();
      }
    }
    rest_.remove_prefix(4);
    return value;
  }

  void skip_spaces() {
    while (!rest_.empty() && is_space(rest_.front())) rest_.remove_prefix(1);
  }

  bool at(char c) {
    skip_spaces();
    return rest_.starts_with(c);
  }

  bool take(char c) {
    if (!at(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  void expect(char c) {
    if (!take(c)) not_json();
  }

  /// The value that begins here, for a sentence: a number or literal as it stands.
  std::string scalar() const {
    if (rest_.starts_with('{')) return "{…}";
    if (rest_.starts_with('[')) return "[…]";
    constexpr std::string_view kOfScalars = "abcdefghijklmnopqrstuvwxyzE0123456789+-.";
    constexpr std::size_t kLongest = 24;
    return std::string(rest_.substr(0, std::min(rest_.find_first_not_of(kOfScalars), kLongest)));
  }

  /// Another value stands here than should, or none.
  [[noreturn]] void refuse(const std::string& problem) {
    skip_spaces();
    constexpr std::string_view kBegins = "{[\"-0123456789tfn";
    if (rest_.empty() || kBegins.find(rest_.front()) == std::string_view::npos) not_json();
    fail(problem);
  }

  [[noreturn]] void not_json() const { fail("its header is not JSON"); }

  std::string_view rest_;
  const std::string& what_;
};

/// The first of `names` that another one equals. Sorting, not hashing: no choice of names makes it slow.
template <class NameOf>
std::optional<std::string_view> find_twice(std::size_t count, const NameOf& name_of) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, name_of);
  const auto same = std::ranges::adjacent_find(order, {}, name_of);
  return same == order.end() ? std::nullopt : std::optional<std::string_view>(name_of(*same));
}

}  // namespace

SafetensorsHeader read_safetensors(std::span<const std::uint8_t> file, const std::string& what) {
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
  const std::size_t follow = file.size() < 8 ? 0 : file.size() - 8;
  std::uint64_t length = 0;
  for (std::size_t i = std::min<std::size_t>(file.size(), 8); i-- > 0;) length = length << 8 | file[i];
  // A file that is too short has no header; the parser words the refusals.
  const std::size_t header_length = length > follow ? 0 : static_cast<std::size_t>(length);
  Parser parser(bytes.substr(std::min<std::size_t>(file.size(), 8), header_length), what);
  if (file.size() < 8) {
    parser.fail("it has " + std::to_string(file.size()) + " bytes, less than the 8 of the header's length");
  }
  if (length > kMaximumHeader) {
    parser.fail("its header would be " + std::to_string(length) +
                " bytes long, more than the format's 100 MB");
  }
  if (length > follow) {
    parser.fail("its header should be " + std::to_string(length) + " bytes long, but only " +
                std::to_string(follow) + " follow");
  }

  Document document = parser.document();
  std::vector<Entry>& entries = document.entries;
  const auto name_of = [&](std::size_t i) -> std::string_view { return entries[i].name; };
  const auto key_of = [&](std::size_t i) -> std::string_view { return document.metadata[i].first; };
  if (const auto name = find_twice(entries.size(), name_of)) parser.twice(*name);
  if (const auto key = find_twice(document.metadata.size(), key_of)) parser.twice(*key);

  const std::uint64_t data_begin = 8 + length;
  const std::uint64_t data_length = file.size() - data_begin;
  std::vector<SafetensorsTensor> tensors;
  tensors.reserve(entries.size());
  for (Entry& entry : entries) {
    const auto* const dtype =
        std::ranges::find_if(kDTypes, [&](const DType& known) { return entry.dtype == known.name; });
    const std::string tensor = "tensor " + quote(entry.name);
    if (dtype == kDTypes.end()) {
      const std::string found = quote(entry.dtype);
      parser.fail(tensor + " has the unknown dtype \"" + found.substr(1, found.size() - 2) + "\"");
    }
    if (dtype->size == 0) {
      throw Error("ERR_HARDBIT_UNSUPPORTED", "Tensor " + quote(entry.name) + " in " + what + " is " +
                                                 dtype->name +
                                                 "; expected F32, I32, I16, I8, U8, U32: convert it first.");
    }
    if (entry.begin > entry.end || entry.end > data_length) {
      parser.fail(tensor + " should lie at bytes " + std::to_string(entry.begin) + " to " +
                  std::to_string(entry.end) + " of " + std::to_string(data_length) + " bytes of data");
    }
    if (byte_length(entry.shape, dtype->size) != entry.end - entry.begin) {
      parser.fail(tensor + " of shape [" + list(entry.shape) + "] and dtype " + dtype->name +
                  " cannot have " + std::to_string(entry.end - entry.begin) + " bytes");
    }
    tensors.push_back({std::move(entry.name), dtype->name, std::move(entry.shape), data_begin + entry.begin,
                       entry.end - entry.begin});
  }

  // By the place in the data; an empty tensor comes before the one that begins at the same byte.
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {},
                           [&](std::size_t i) { return std::pair(tensors[i].offset, tensors[i].length); });
  std::uint64_t covered = data_begin;
  for (const std::size_t i : order) {
    const SafetensorsTensor& tensor = tensors[i];
    if (tensor.offset != covered) {
      parser.fail("tensor " + quote(tensor.name) + " begins at byte " +
                  std::to_string(tensor.offset - data_begin) + " of the data, " +
                  (tensor.offset < covered ? "inside" : "not right behind") + " the tensor before it");
    }
    covered += tensor.length;
  }
  if (covered != file.size()) {
    parser.fail(std::to_string(file.size() - covered) + " bytes of data belong to no tensor");
  }
  return {std::move(tensors), std::move(document.metadata)};
}

}  // namespace hardbit::readers
