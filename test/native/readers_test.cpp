#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "readers/check.h"
#include "readers/idx.h"
#include "readers/npy.h"
#include "readers/safetensors.h"
#include "support.h"

// The files are kept in blocks of exactly their size, so that the sanitizers see a byte read beyond the end.

namespace hardbit {
namespace {

using readers::read_idx;
using readers::read_npy;
using readers::read_safetensors;
using test::expect_error;
using std::string_literals::operator""s;

using Sizes = std::vector<std::uint64_t>;

class File {
 public:
  explicit File(std::string_view bytes)
      : size_(bytes.size()), data_(std::make_unique<std::uint8_t[]>(bytes.size())) {
    std::copy(bytes.begin(), bytes.end(), data_.get());
  }
  operator std::span<const std::uint8_t>() const { return {data_.get(), size_}; }

 private:
  std::size_t size_;
  std::unique_ptr<std::uint8_t[]> data_;
};

std::string little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i & 0xFF);
  return text;
}

std::string idx(const Sizes& shape, const std::string& data) {
  std::string file = {0, 0, 8, static_cast<char>(shape.size())};
  for (const std::uint64_t size : shape) {
    const std::string bytes = little(size, 4);
    file.append(bytes.rbegin(), bytes.rend());
  }
  return file + data;
}

std::string npy(const std::string& header, const std::string& data, char major = 1) {
  return "\x93NUMPY"s + major + '\0' + little(header.size(), major == 1 ? 2 : 4) + header + data;
}

std::string dict(const std::string& descriptor, const std::string& shape,
                 const std::string& fortran = "False") {
  return "{'descr': " + descriptor + ", 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
}

std::string safetensors(const std::string& header, const std::string& data = "") {
  return little(header.size(), 8) + header + data;
}

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

std::string x_of(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"x\":" + tensor(dtype, shape, offsets) + "}";
}

template <class Read>
void expect_format_error(const Read& read, const std::string& file, const std::string& problem) {
  SCOPED_TRACE(problem);
  expect_error(
      "ERR_HARDBIT_FORMAT", [&] { read(File(file), "the-file"); }, problem);
  expect_error(
      "ERR_HARDBIT_FORMAT", [&] { read(File(file), "the-file"); }, "the-file");
}

/// Cut anywhere, or with bytes to spare, the file is refused; with any one byte changed to any value it is
/// read or refused by one of the reader's codes.
template <class Read>
void expect_robust(const Read& read, const std::string& file, std::initializer_list<std::string_view> codes) {
  EXPECT_NO_THROW(read(File(file), "f"));
  for (std::size_t length = 0; length < file.size(); ++length) {
    expect_error("ERR_HARDBIT_FORMAT", [&] { read(File(file.substr(0, length)), "f"); });
  }
  expect_error("ERR_HARDBIT_FORMAT", [&] { read(File(file + '\0'), "f"); });
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = file;
      changed[at] = static_cast<char>(value);
      try {
        read(File(changed), "f");
      } catch (const Error& error) {
        const std::string_view message = error.what();
        ASSERT_NE(std::find(codes.begin(), codes.end(), error.code()), codes.end()) << error.code();
        ASSERT_TRUE(message.ends_with('.')) << message;
        ASSERT_EQ(message.find('\n'), std::string::npos) << message;
      }
    }
  }
}

const auto read_images = [](const File& file, const std::string& what) { return read_idx(file, 3, what); };
const auto read_numpy = [](const File& file, const std::string& what) { return read_npy(file, what); };
const auto read_tensors = [](const File& file, const std::string& what) {
  return read_safetensors(file, what);
};

TEST(ReaderChecks, ByteLengthsAreExactOrNothing) {
  constexpr std::uint64_t most = readers::kMaxSafeInteger;
  const auto length = [](const Sizes& shape, std::uint64_t size) {
    return readers::byte_length(shape, size);
  };
  EXPECT_EQ(length({}, 4), 4U);
  EXPECT_EQ(length({3, 5}, 2), 30U);
  EXPECT_EQ(length({most}, 1), most);
  EXPECT_EQ(length({most / 4}, 4), most / 4 * 4);
  EXPECT_EQ(length({most / 4 + 1}, 4), std::nullopt);
  EXPECT_EQ(length({std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 1), std::nullopt);
  EXPECT_EQ(length({most, most, most, 0}, 8), 0U);
}

TEST(ReaderChecks, Utf8IsTold) {
  for (const std::string good : {"a", "\x7F", "é", "\u07FF", "\u0800", "\uD7FF", "\uE000", "€", "😀"}) {
    EXPECT_EQ(readers::utf8_length(good + "x"), good.size()) << good;
    if (good.size() > 1) {
      EXPECT_EQ(readers::utf8_length(good.substr(0, good.size() - 1)), 0U) << good;
    }
  }
  EXPECT_EQ(readers::utf8_length("\U0010FFFF"), 4U);
  for (const std::string_view bad :
       {"", "\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3(", "\xE2\x82(", "\xF0\x9F\x98("}) {
    EXPECT_EQ(readers::utf8_length(bad), 0U);
  }
}

TEST(ReaderChecks, QuotationsAreOneShortLine) {
  EXPECT_EQ(readers::quote("layers.2.γ"), "'layers.2.γ'");
  EXPECT_EQ(readers::quote("a\nb\x1B[31m\x7F"), "'a\\x0ab\\x1b[31m\\x7f'");
  EXPECT_EQ(readers::quote("\xC2\x85\u2028\u2029\xFF"), "'\\x85\\u2028\\u2029\\xff'");
  EXPECT_LT(readers::quote(std::string(10'000, 'a')).size(), 120U);
  EXPECT_EQ(readers::utf8_length(readers::quote("😀")), 1U);
}

TEST(IdxReader, SaysWhereTheElementsLie) {
  const auto images = read_idx(File(idx({2, 3, 2}, std::string(12, 'x'))), 3, "f");
  EXPECT_EQ(images.shape, (Sizes{2, 3, 2}));
  EXPECT_EQ(images.offset, 16U);
  EXPECT_EQ(images.length, 12U);
  EXPECT_EQ(read_idx(File(idx({}, "x")), 0, "f").offset, 4U);
  EXPECT_EQ(read_idx(File(idx({0, 0xFFFFFFFF, 0xFFFFFFFF}, "")), 3, "f").length, 0U);
  EXPECT_EQ(read_idx(File(idx(Sizes(255, 1), "x")), 255, "f").shape, Sizes(255, 1));
}

TEST(IdxReader, RefusesWhatIsNoSuchFile) {
  const auto type = [](char code) {
    std::string file = idx({1, 1, 1}, "x");
    file[2] = code;
    return file;
  };
  for (const auto& [file, problem] : std::vector<std::pair<std::string, std::string>>{
           {"", "it has 0 bytes, less than its header"},
           {"\x1F\x8B", "it is still compressed: run gunzip on it"},
           {"\x1F\x8B\x08\x00"s, "still compressed"},
           {"\x1F", "it has 1 bytes"},
           {"\0\1\x08\3"s, "it does not begin with two zero bytes"},
           {"\1\0\x08\3"s, "it does not begin with two zero bytes"},
           {type(0x09), "it holds signed bytes, expected unsigned bytes"},
           {type(0x0B), "16-bit integers"},
           {type(0x0C), "32-bit integers"},
           {type(0x0D), "32-bit floats"},
           {type(0x0E), "64-bit floats"},
           {type(0x63), "elements of unknown type 99"},
           {idx({2}, "xx"), "it has 1 dimensions, expected 3"},
           {idx({2, 2, 2}, "").substr(0, 15), "it has 15 bytes, less than its header of 16"},
           {idx({2, 2, 2}, "1234567"), "its shape [2, 2, 2] needs 8 bytes of data, but 7 follow"},
           {idx({2, 2, 2}, "123456789"), "needs 8 bytes of data, but 9 follow"},
           {idx({0x80000000, 2, 1}, ""), "needs 4294967296 bytes of data, but 0 follow"},
           {idx({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, "x"),
            "needs more than 2^53 bytes of data, but 1 follow"},
       }) {
    expect_format_error(read_images, file, problem);
  }
  expect_error(
      "ERR_HARDBIT_FORMAT", [] { read_idx(File(idx({1}, "x")), -1, "f"); }, "expected -1");
}

TEST(IdxReader, MeetsAnyDamage) {
  expect_robust(read_images, idx({2, 3, 2}, std::string(12, 'x')), {"ERR_HARDBIT_FORMAT"});
  expect_robust([](const File& file, const std::string& what) { return read_idx(file, 1, what); },
                idx({3}, "abc"), {"ERR_HARDBIT_FORMAT"});
}

TEST(NpyReader, SaysWhereTheElementsLie) {
  struct Case {
    std::string header;
    std::string descriptor;
    Sizes shape;
    std::size_t length;
  };
  for (const auto& [header, descriptor, shape, length] : std::vector<Case>{
           {dict("'<f4'", "(2, 3)"), "f4", {2, 3}, 24},
           {dict("'|u1'", "(4,)") + "   \n", "u1", {4}, 4},
           {dict("'>u1'", "(4,)"), "u1", {4}, 4},
           {dict("'=i4'", "( 2 , 1 , )"), "i4", {2, 1}, 8},
           {dict("\"<i8\"", "(1L,)"), "i8", {1}, 8},
           {dict("'i8'", "()"), "i8", {}, 8},
           {dict("'<f4'", "(0, 9007199254740991, 9007199254740991)"),
            "f4",
            {0, 9007199254740991, 9007199254740991},
            0},
           {"{\"shape\":(2,),\"fortran_order\":True,\"descr\":\"<i4\"}\n", "i4", {2}, 8},
           {"{\t'shape'\n:\r()\f,\v'fortran_order':False,'descr':'<f4'}", "f4", {}, 4},
       }) {
    for (const char major : {1, 2, 3}) {
      const auto read = read_npy(File(npy(header, std::string(length, 'x'), major)), "f");
      EXPECT_EQ(read.descriptor, descriptor);
      EXPECT_EQ(read.shape, shape);
      EXPECT_EQ(read.offset, (major == 1 ? 10 : 12) + header.size());
      EXPECT_EQ(read.length, length);
    }
  }
}

TEST(NpyReader, RefusesWhatIsNoSuchFile) {
  const std::string good = dict("'<f4'", "(1,)");
  for (const auto& [file, problem] : std::vector<std::pair<std::string, std::string>>{
           {"", "it does not begin with \\x93NUMPY"},
           {"PK\3\4", "it does not begin with \\x93NUMPY"},
           {"\x93NUMPY", "it ends after 6 bytes, inside its header"},
           {npy(good, "1234", 0), "it has format version 0.0, expected 1.0, 2.0 or 3.0"},
           {npy(good, "1234", 4), "format version 4.0"},
           {"\x93NUMPY\1\1"s + "\0\0"s, "format version 1.1"},
           {"\x93NUMPY\2\0\0\0\0"s, "it ends after 11 bytes, inside its header"},
           {"\x93NUMPY\2\0\xFF\xFF\xFF\xFF"s, "its header would be 4294967295 bytes long, more than 10000"},
           {npy(good + std::string(10'001 - good.size(), ' '), "1234"), "10001 bytes long"},
           {npy(good, "123"), "its shape (1) needs 4 bytes of data, but 3 follow"},
           {npy(good, "12345"), "needs 4 bytes of data, but 5 follow"},
           {npy(dict("'<f4'", "(9007199254740991, 2)"), ""),
            "needs more than 2^53 bytes of data, but 0 follow"},
       }) {
    expect_format_error(read_numpy, file, problem);
  }
  EXPECT_NO_THROW(read_npy(File(npy(good + std::string(10'000 - good.size(), ' '), "1234")), "f"));
  expect_format_error(read_numpy, npy(dict("'<f4'", "(1, 1)", "True"), "1234"), "is stored in Fortran order");
}

TEST(NpyReader, RefusesAnyOtherHeader) {
  for (const std::string& header : {
           ""s,
           " "s,
           "{"s,
           "{}"s,
           " " + dict("'<f4'", "(1,)"),
           dict("'<f4'", "(1,)") + "x",
           dict("'<f4'", "(1,)") + "\0"s,
           dict("'<f4'", "(1)"),
           dict("'<f4'", "(,)"),
           dict("'<f4'", "(1,,1)"),
           dict("'<f4'", "(1 1)"),
           dict("'<f4'", "(-1,)"),
           dict("'<f4'", "(1.0,)"),
           dict("'<f4'", "(1LL,)"),
           dict("'<f4'", "(L,)"),
           dict("'<f4'", "(1,"),
           dict("'<f4'", "[1]"),
           dict("'<f4'", "(9007199254740992, 0)"),
           dict("'<f4'", "(18446744073709551617,)"),
           dict("'<f4", "(1,)"),
           dict("\"<f4'", "(1,)"),
           dict("<f4", "(1,)"),
           dict("[('a', '<f4'", "(1,)"),
           dict("['", "(1,)"),
           dict("'<f4'", "(1,)", "true"),
           dict("'<f4'", "(1,)", "0"),
           "{'descr': '<f4', 'fortran_order': False}"s,
           "{'descr': '<f4', 'shape': (1,)}"s,
           "{'fortran_order': False, 'shape': (1,)}"s,
           "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}"s,
           "{'descr': '<f4', 'fortran_order': False, 'fortran_order': False, 'shape': (1,)}"s,
           "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'shape': (1,)}"s,
           "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}"s,
           "{'descr' '<f4', 'fortran_order': False, 'shape': (1,)}"s,
           "{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}"s,
           "{descr: '<f4', 'fortran_order': False, 'shape': (1,)}"s,
       }) {
    SCOPED_TRACE(header);
    expect_format_error(read_numpy, npy(header, "1234"),
                        "its header is not a dict of 'descr', 'fortran_order' and 'shape'");
  }
}

TEST(NpyReader, NamesTheTypesItDoesNotRead) {
  for (const auto& [descriptor, found] : std::vector<std::pair<std::string, std::string>>{
           {"'<f2'", "float16"},
           {"'<f8'", "float64"},
           {"'|i1'", "int8"},
           {"'<i2'", "int16"},
           {"'<u2'", "uint16"},
           {"'<u4'", "uint32"},
           {"'<u8'", "uint64"},
           {"'|b1'", "bool"},
           {"'<c8'", "complex64"},
           {"'<c16'", "complex128"},
           {"'|O'", "Python objects"},
           {"'<U5'", "elements of type '<U5'"},
           {"''", "elements of type ''"},
           {"'<'", "elements of type '<'"},
           {"'<f4x'", "elements of type '<f4x'"},
           {"'\xFF\n'", "elements of type '\\xff\\x0a'"},
           {"[]", "structured records"},
           {"[('a', '<f4'), (\"]\", [('c', '<i4')])]", "structured records"},
       }) {
    SCOPED_TRACE(descriptor);
    expect_error(
        "ERR_HARDBIT_DTYPE",
        [&, descriptor = descriptor] { read_npy(File(npy(dict(descriptor, "(1,)"), "12345678")), "f.npy"); },
        "f.npy holds " + found + "; expected float32, uint8, int32 or int64");
  }
  expect_error(
      "ERR_HARDBIT_DTYPE", [] { read_npy(File(npy(dict("'>i8'", "(1,)"), "12345678")), "f.npy"); },
      "f.npy holds big-endian int64; expected little-endian: save x.astype(numpy.int64).");
}

TEST(NpyReader, MeetsAnyDamage) {
  for (const char major : {1, 2, 3}) {
    expect_robust(read_numpy, npy(dict("'<i4'", "(2, 1)") + "  \n", "12345678", major),
                  {"ERR_HARDBIT_FORMAT", "ERR_HARDBIT_DTYPE"});
  }
}

TEST(SafetensorsReader, SaysWhereTheTensorsLie) {
  const std::string header =
      "{\"b\":" + tensor("\"I8\"", "[3]", "[10,13]") +
      ",\n\t\"__metadata__\" : {\"k\":\"v\",\"__proto__\":\"\"} , \"a\":" +
      tensor("\"F32\"", "[2]", "[0,8]") + ",\"c\":" + tensor("\"I16\"", "[ ]", "[ 8 , 10 ]") +
      ",\"e\":{\"data_offsets\":[13,13],\"shape\":[0,9007199254740991],\"dtype\":\"U32\"}}  \r\n";
  const auto read = read_safetensors(File(safetensors(header, std::string(13, 'x'))), "f");
  const std::uint64_t data = 8 + header.size();
  ASSERT_EQ(read.tensors.size(), 4U);
  const auto expect = [&](std::size_t i, const std::string& name, const std::string& dtype,
                          const Sizes& shape, std::uint64_t begin, std::uint64_t length) {
    EXPECT_EQ(read.tensors[i].name, name);
    EXPECT_EQ(read.tensors[i].dtype, dtype);
    EXPECT_EQ(read.tensors[i].shape, shape);
    EXPECT_EQ(read.tensors[i].offset, data + begin);
    EXPECT_EQ(read.tensors[i].length, length);
  };
  expect(0, "b", "I8", {3}, 10, 3);
  expect(1, "a", "F32", {2}, 0, 8);
  expect(2, "c", "I16", {}, 8, 2);
  expect(3, "e", "U32", {0, 9007199254740991}, 13, 0);
  EXPECT_EQ(read.metadata, (std::vector<std::pair<std::string, std::string>>{{"k", "v"}, {"__proto__", ""}}));

  const auto none = read_safetensors(File(safetensors("{}")), "f");
  EXPECT_TRUE(none.tensors.empty() && none.metadata.empty());
}

TEST(SafetensorsReader, EmptyTensorsMayShareTheirPlace) {
  const std::string empty = tensor("\"U8\"", "[0]", "[1,1]");
  const std::string header = "{\"a\":" + empty + ",\"b\":" + tensor("\"U8\"", "[2]", "[1,3]") +
                             ",\"c\":" + empty + ",\"d\":" + tensor("\"U8\"", "[1]", "[0,1]") + "}";
  EXPECT_EQ(read_safetensors(File(safetensors(header, "123")), "f").tensors.size(), 4U);
}

TEST(SafetensorsReader, TextIsThatOfJson) {
  const auto text = [](const std::string& json) {
    const std::string header = "{\"__metadata__\":{\"k\":\"" + json + "\"}}";
    return read_safetensors(File(safetensors(header)), "f").metadata.at(0).second;
  };
  EXPECT_EQ(text(R"(\"\\\/\b\f\n\r\t)"), "\"\\/\b\f\n\r\t");
  EXPECT_EQ(text(R"(\u0041\u00e9\u20AC\uD83d\uDe00\uFFFF)"), "Aé€😀\uFFFF");
  EXPECT_EQ(text(R"(\u0000)"), "\0"s);
  EXPECT_EQ(text("é€😀\x7F{[]}:,"), "é€😀\x7F{[]}:,");
  for (const std::string& wrong :
       {"\\x41"s, "\\u12"s, "\\u12g4"s, "\\u+123"s, "\\"s, "\\ud800"s, "\\ud800x"s, "\\ud800\\n"s,
        "\\ud800\\u0041"s, "\\ud800\\ud800"s, "\\udc00"s, "\n"s, "\x1F"s, "\0"s, "\xFF"s, "\xC0\x80"s,
        "\xED\xA0\x80"s, "\xF4\x90\x80\x80"s, "\xE2\x82"s}) {
    expect_error(
        "ERR_HARDBIT_FORMAT", [&] { text(wrong); }, "its header is not JSON");
  }
}

TEST(SafetensorsReader, RefusesEachWayToBreakTheFormat) {
  const std::string four = "1234";
  const std::string one = tensor("\"U8\"", "[1]", "[0,1]");
  for (const auto& [file, problem] : std::vector<std::pair<std::string, std::string>>{
           {"", "it has 0 bytes, less than the 8 of the header's length"},
           {"1234567", "it has 7 bytes"},
           {little(0, 8), "its header is not JSON"},
           {little(1, 8), "its header should be 1 bytes long, but only 0 follow"},
           {little(100'000'000, 8), "but only 0 follow"},
           {little(100'000'001, 8),
            "its header would be 100000001 bytes long, more than the format's 100 MB"},
           {little(~std::uint64_t{0}, 8) + "{}", "its header would be 18446744073709551615 bytes long"},
           {safetensors(" {}"), "its header is not a JSON object"},
           {safetensors("[]"), "its header is not a JSON object"},
           {safetensors("\xEF\xBB\xBF{}"), "its header is not JSON"},
           {safetensors("{"), "not JSON"},
           {safetensors("{}}"), "not JSON"},
           {safetensors("{,}"), "not JSON"},
           {safetensors("{\"x\"}"), "not JSON"},
           {safetensors("{\"x\":}"), "not JSON"},
           {safetensors("{\"x\":" + one + ",}", "1"), "not JSON"},
           {safetensors("{\"x\":" + one, "1"), "not JSON"},
           {safetensors("{x:" + one + "}", "1"), "not JSON"},
           {safetensors("{}\v"), "not JSON"},
           {safetensors("{}\0"s), "not JSON"},
           {safetensors("{\"__metadata__\":[]}"), "its __metadata__ is not an object of strings"},
           {safetensors("{\"__metadata__\":null}"), "its __metadata__ is not an object of strings"},
           {safetensors("{\"__metadata__\":{\"a\":1}}"), "its __metadata__ is not an object of strings"},
           {safetensors("{\"__metadata__\":{},\"__metadata__\":{}}"), "the key '__metadata__' twice"},
           {safetensors("{\"__metadata__\":{\"k\":\"1\",\"\\u006b\":\"2\"}}"), "the key 'k' twice"},
           {safetensors("{\"x\":" + one + ",\"\\u0078\":" + one + "}", "1"), "the key 'x' twice"},
           {safetensors("{\"x\":7}"), "tensor 'x' is not described by an object"},
           {safetensors("{\"a\\u000ab\":7}"), "tensor 'a\\x0ab' is not described by an object"},
           {safetensors("{\"x\":{}}"), "tensor 'x' has no dtype"},
           {safetensors("{\"x\":{\"dtype\":\"U8\"}}"), "tensor 'x' has no shape"},
           {safetensors("{\"x\":{\"dtype\":\"U8\",\"shape\":[]}}"), "tensor 'x' has no data_offsets"},
           {safetensors("{\"x\":{\"strides\":[1]}}"), "tensor 'x' has a field 'strides'"},
           {safetensors("{\"x\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}"), "the key 'dtype' twice"},
           {safetensors("{\"x\":{\"shape\":[],\"shape\":[]}}"), "the key 'shape' twice"},
           {safetensors("{\"x\":{\"data_offsets\":[0,0],\"data_offsets\":[0,0]}}"),
            "the key 'data_offsets' twice"},
           {safetensors(x_of("\"F31\"", "[1]", "[0,4]"), four), "unknown dtype \"F31\""},
           {safetensors(x_of("\"f32\"", "[1]", "[0,4]"), four), "unknown dtype \"f32\""},
           {safetensors(x_of("null", "[1]", "[0,4]"), four), "unknown dtype null"},
           {safetensors(x_of("-1.5e3", "[1]", "[0,4]"), four), "unknown dtype -1.5e3"},
           {safetensors(x_of("[[[[]]]]", "[1]", "[0,4]"), four), "unknown dtype […]"},
           {safetensors(x_of("{}", "[1]", "[0,4]"), four), "unknown dtype {…}"},
           {safetensors(x_of("\"F32\"", "1", "[0,4]"), four), "the shape of tensor 'x' is not a list"},
           {safetensors(x_of("\"F32\"", "[1.0]", "[0,4]"), four), "the shape of tensor 'x' is not a list"},
           {safetensors(x_of("\"F32\"", "[1e0]", "[0,4]"), four), "the shape of tensor 'x' is not a list"},
           {safetensors(x_of("\"F32\"", "[-1]", "[0,4]"), four), "the shape of tensor 'x' is not a list"},
           {safetensors(x_of("\"F32\"", "[01]", "[0,4]"), four), "the shape of tensor 'x' is not a list"},
           {safetensors(x_of("\"F32\"", "[[1]]", "[0,4]"), four), "the shape of tensor 'x' is not a list"},
           {safetensors(x_of("\"F32\"", "[9007199254740992]", "[0,4]"), four), "the shape of tensor 'x'"},
           {safetensors(x_of("\"F32\"", "[18446744073709551617]", "[0,4]"), four), "the shape of tensor 'x'"},
           {safetensors(x_of("\"F32\"", "[1,]", "[0,4]"), four), "not JSON"},
           {safetensors(x_of("\"F32\"", "[1 1]", "[0,4]"), four), "not JSON"},
           {safetensors(x_of("\"F32\"", "[1]", "[0]"), four), "the data_offsets of tensor 'x' are not two"},
           {safetensors(x_of("\"F32\"", "[1]", "[0,4,4]"), four), "the data_offsets of tensor 'x'"},
           {safetensors(x_of("\"F32\"", "[1]", "[0,\"4\"]"), four), "the data_offsets of tensor 'x'"},
           {safetensors(x_of("\"F32\"", "[1]", "{}"), four), "the data_offsets of tensor 'x'"},
           {safetensors(x_of("\"F32\"", "[1]", "[4,0]"), four), "should lie at bytes 4 to 0 of 4"},
           {safetensors(x_of("\"F32\"", "[1]", "[0,8]"), four), "should lie at bytes 0 to 8 of 4"},
           {safetensors(x_of("\"F32\"", "[1]", "[9007199254740987,9007199254740991]"), four),
            "should lie at"},
           {safetensors(x_of("\"F32\"", "[2]", "[0,4]"), four),
            "tensor 'x' of shape [2] and dtype F32 cannot have 4 bytes"},
           {safetensors(x_of("\"F32\"", "[0]", "[0,4]"), four), "cannot have 4 bytes"},
           // 2^32 · 2^30 elements of 4 bytes are 2^64 bytes, which is 0 in 64 bits.
           {safetensors(x_of("\"F32\"", "[4294967296,1073741824]", "[0,0]")), "cannot have 0 bytes"},
           {safetensors(x_of("\"U8\"", "[2]", "[1,3]"), four),
            "begins at byte 1 of the data, not right behind"},
           {safetensors(x_of("\"U8\"", "[2]", "[0,2]"), four), "2 bytes of data belong to no tensor"},
           {safetensors("{}", four), "4 bytes of data belong to no tensor"},
           {safetensors("{\"a\":" + tensor("\"U8\"", "[3]", "[0,3]") +
                            ",\"b\":" + tensor("\"U8\"", "[2]", "[2,4]") + "}",
                        four),
            "tensor 'b' begins at byte 2 of the data, inside the tensor before it"},
           {safetensors("{\"a\":" + tensor("\"U8\"", "[4]", "[0,4]") +
                            ",\"b\":" + tensor("\"U8\"", "[4]", "[0,4]") + "}",
                        four),
            "inside the tensor before it"},
           {safetensors("{\"a\":" + tensor("\"U8\"", "[4]", "[0,4]") +
                            ",\"b\":" + tensor("\"U8\"", "[0]", "[2,2]") + "}",
                        four),
            "tensor 'b' begins at byte 2 of the data, inside the tensor before it"},
       }) {
    expect_format_error(read_tensors, file, problem);
  }
}

TEST(SafetensorsReader, NamesTheTypesItDoesNotRead) {
  for (const std::string dtype :
       {"F64", "F16", "BF16", "I64", "U64", "U16", "BOOL", "F8_E4M3", "F8_E5M2", "C64"}) {
    expect_error(
        "ERR_HARDBIT_UNSUPPORTED",
        [&] { read_safetensors(File(safetensors(x_of('"' + dtype + '"', "[0]", "[0,0]"))), "f"); },
        "Tensor 'x' in f is " + dtype + "; expected F32, I32, I16, I8, U8, U32: convert it first.");
  }
}

TEST(SafetensorsReader, NestingAndNumbersOfNamesCostNoMoreThanTheirLength) {
  expect_format_error(read_tensors, safetensors("{\"x\":" + std::string(1'000'000, '[')), "is not described");
  expect_format_error(read_tensors, safetensors(x_of(std::string(1'000'000, '['), "[1]", "[0,4]")),
                      "unknown dtype […]");
  std::string header = "{\"__metadata__\":{";
  for (int i = 0; i < 20'000; ++i) header += "\"" + std::to_string(i) + "\":\"\",";
  header += "\"0\":\"\"}}";
  expect_format_error(read_tensors, safetensors(header), "the key '0' twice");
}

TEST(SafetensorsReader, MeetsAnyDamage) {
  const std::string header =
      "{\"__metadata__\":{\"k\":\"\\u00e9\\ud83d\\ude00é\"},\"a\":" + tensor("\"I16\"", "[1,2]", "[0,4]") +
      ",\"b\":" + tensor("\"U8\"", "[]", "[4,5]") + "} ";
  expect_robust(read_tensors, safetensors(header, "12345"),
                {"ERR_HARDBIT_FORMAT", "ERR_HARDBIT_UNSUPPORTED"});
}

}  // namespace
}  // namespace hardbit
