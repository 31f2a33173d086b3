#include "readers/npy.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "readers/check.h"
#include "runtime/error.h"

namespace hardbit::readers {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
/// As NumPy's own limit: a header is a line, not a document.
constexpr std::size_t kMaximumHeader = 10'000;

struct Type {
  const char* descriptor;
  const char* name;
  /// 0 for a type that is not read.
  std::uint64_t size;
};
constexpr std::array<Type, 14> kTypes{{
    {"f4", "float32", 4},
    {"u1", "uint8", 1},
    {"i4", "int32", 4},
    {"i8", "int64", 8},
    {"f2", "float16", 0},
    {"f8", "float64", 0},
    {"i1", "int8", 0},
    {"i2", "int16", 0},
    {"u2", "uint16", 0},
    {"u4", "uint32", 0},
    {"u8", "uint64", 0},
    {"b1", "bool", 0},
    {"c8", "complex64", 0},
    {"c16", "complex128", 0},
}};

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// The dict literal. Each function reads one thing, skips the spaces behind it, and answers with nothing
/// where another thing stands there.
class Dict {
 public:
  explicit Dict(std::string_view text) : rest_(text) {}

  std::optional<std::string_view> descriptor;
  std::optional<bool> fortran;
  std::optional<std::vector<std::uint64_t>> shape;

  /// Reads all of it; false where it is anything but such a dict.
  bool read() {
    if (!take("{")) return false;
    while (!take("}")) {
      const auto key = string();
      if (!key || !take(":") || !field(*key)) return false;
      if (!take(",") && !rest_.starts_with('}')) return false;
    }
    return rest_.empty() && descriptor && fortran && shape;
  }

 private:
  bool field(std::string_view key) {
    if (key == "descr" && !descriptor) {
      descriptor = rest_.starts_with('[') ? brackets() : string();
      return descriptor.has_value();
    }
    if (key == "fortran_order" && !fortran) {
      if (take("True")) {
        fortran = true;
      } else if (take("False")) {
        fortran = false;
      }
      return fortran.has_value();
    }
    if (key == "shape" && !shape) {
      shape = tuple();
      return shape.has_value();
    }
    return false;
  }

  void skip_spaces() {
    while (!rest_.empty() && is_space(rest_.front())) rest_.remove_prefix(1);
  }

  std::string_view advance(std::size_t count) {
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(taken.size());
    skip_spaces();
    return taken;
  }

  bool take(std::string_view token) {
    if (!rest_.starts_with(token)) return false;
    advance(token.size());
    return true;
  }

  /// 'text' or "text", without escapes.
  std::optional<std::string_view> string() {
    if (!rest_.starts_with('\'') && !rest_.starts_with('"')) return std::nullopt;
    const std::size_t end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view quoted = advance(end + 1);
    return quoted.substr(1, quoted.size() - 2);
  }

  /// A list, to its own closing bracket: the fields of structured records, which are not looked into.
  std::optional<std::string_view> brackets() {
    std::size_t depth = 0;
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == '\'' || c == '"') {
        i = rest_.find(c, i + 1);
        if (i == std::string_view::npos) return std::nullopt;
      } else if (c == '[') {
        ++depth;
      } else if (c == ']' && --depth == 0) {
        return advance(i + 1);
      }
    }
    return std::nullopt;
  }

  /// (), (3,), (3, 4) or (3, 4,). Python 2 wrote long integers as 3L.
  std::optional<std::vector<std::uint64_t>> tuple() {
    std::vector<std::uint64_t> sizes;
    if (!take("(")) return std::nullopt;
    if (take(")")) return sizes;
    for (;;) {
      const auto size = whole_number();
      if (!size) return std::nullopt;
      sizes.push_back(*size);
      const bool comma = take(",");
      // One dimension needs its comma.
      if (take(")")) return comma || sizes.size() > 1 ? std::optional(sizes) : std::nullopt;
      if (!comma) return std::nullopt;
    }
  }

  std::optional<std::uint64_t> whole_number() {
    std::uint64_t value = 0;
    std::size_t digits = 0;
    for (; digits < rest_.size() && is_digit(rest_[digits]); ++digits) {
      value = 10 * value + static_cast<std::uint64_t>(rest_[digits] - '0');
      if (value > kMaxSafeInteger) return std::nullopt;
    }
    if (digits == 0) return std::nullopt;
    advance(rest_.substr(digits).starts_with('L') ? digits + 1 : digits);
    return value;
  }

  std::string_view rest_;
};

/// A descriptor's byte order ('\0' where none is given) and type, e.g. '<' and "f4"; nothing where it has
/// another form.
std::optional<std::pair<char, std::string_view>> split(std::string_view descriptor) {
  char order = '\0';
  if (!descriptor.empty() && std::string_view("<>|=").find(descriptor.front()) != std::string_view::npos) {
    order = descriptor.front();
    descriptor.remove_prefix(1);
  }
  if (descriptor.empty() || !is_letter(descriptor.front()) ||
      !std::ranges::all_of(descriptor.substr(1), is_digit)) {
    return std::nullopt;
  }
  return std::pair(order, descriptor);
}

/// The element type, which must be one that is read.
Type read_type(std::string_view descriptor, const std::string& what) {
  const auto parts = split(descriptor);
  const auto* const type =
      std::ranges::find_if(kTypes, [&](const Type& t) { return parts && parts->second == t.descriptor; });
  if (type == kTypes.end() || type->size == 0) {
    const std::string found = descriptor.starts_with('[')     ? "structured records"
                              : parts && parts->second == "O" ? "Python objects"
                              : type != kTypes.end()          ? type->name
                                                              : "elements of type " + quote(descriptor);
    throw Error("ERR_HARDBIT_DTYPE",
                what + " holds " + found +
                    "; expected float32, uint8, int32 or int64: convert with "
                    "x.astype(numpy.float32), or numpy.int32 for labels, and save again.");
  }
  if (parts->first == '>' && type->size > 1) {
    throw Error("ERR_HARDBIT_DTYPE", what + " holds big-endian " + type->name +
                                         "; expected little-endian: save x.astype(numpy." + type->name +
                                         ").");
  }
  return *type;
}

}  // namespace

NpyHeader read_npy(std::span<const std::uint8_t> file, const std::string& what) {
  const auto fail = [&what](const std::string& problem) {
    return Error("ERR_HARDBIT_FORMAT",
                 what + " is not a complete .npy file: " + problem + "; save it anew with numpy.save.");
  };
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
  const std::string cut = "it ends after " + std::to_string(file.size()) + " bytes, inside its header";
  if (!bytes.starts_with(kMagic)) throw fail("it does not begin with \\x93NUMPY");
  if (file.size() < 10) throw fail(cut);
  const std::uint8_t major = file[6];
  const std::uint8_t minor = file[7];
  if (major < 1 || major > 3 || minor != 0) {
    throw fail("it has format version " + std::to_string(major) + "." + std::to_string(minor) +
               ", expected 1.0, 2.0 or 3.0");
  }
  const std::size_t begin = major == 1 ? 10 : 12;
  if (file.size() < begin) throw fail(cut);
  std::size_t length = 0;
  for (std::size_t i = begin; i-- > 8;) length = length << 8 | file[i];
  if (length > kMaximumHeader) {
    throw fail("its header would be " + std::to_string(length) + " bytes long, more than " +
               std::to_string(kMaximumHeader));
  }
  if (file.size() - begin < length) throw fail(cut);

  Dict dict(bytes.substr(begin, length));
  if (!dict.read()) throw fail("its header is not a dict of 'descr', 'fortran_order' and 'shape'");
  const Type type = read_type(*dict.descriptor, what);
  if (*dict.fortran && dict.shape->size() > 1) {
    throw Error("ERR_HARDBIT_FORMAT",
                what + " is stored in Fortran order; expected C order: save numpy.ascontiguousarray(x).");
  }
  NpyHeader header{type.descriptor, *dict.shape, begin + length, file.size() - begin - length};
  const auto expected = byte_length(header.shape, type.size);
  if (expected != header.length) {
    throw fail("its shape (" + list(header.shape) + ") needs " + bytes_in_words(expected) + " of data, but " +
               std::to_string(header.length) + " follow");
  }
  return header;
}

}  // namespace hardbit::readers
