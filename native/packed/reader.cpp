#include "packed/reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

#include "readers/check.h"
#include "runtime/error.h"

static_assert(std::endian::native == std::endian::little, "arrays are read where they lie");

namespace hardbit::packed {
namespace {

constexpr std::array<std::uint8_t, 8> magic = {0x89, 'H', 'B', 'T', '\r', '\n', 0x1A, '\n'};
constexpr std::size_t hash_at = 24;
constexpr std::size_t hashed_from = 56;
constexpr std::size_t network_at = 64;
constexpr std::size_t layers_at = 256;
constexpr std::size_t layer_bytes = 256;
constexpr std::size_t text_bytes = 32;
constexpr std::size_t pixel_values = 256;

constexpr std::uint32_t most_layers = 256;
constexpr std::int64_t most_size = 1 << 20;
constexpr std::int64_t most_padding = 1 << 12;
constexpr std::int64_t most_values = 1 << 22;
constexpr std::int64_t most_sum = 1 << 30;
constexpr std::int64_t most_places = 256;
constexpr std::int64_t most_borders = 4096;

std::string text(std::int64_t value) { return std::to_string(value); }
std::string text(const Image& image) {
  const std::array<std::uint64_t, 3> sizes = {static_cast<std::uint64_t>(image.height),
                                              static_cast<std::uint64_t>(image.width),
                                              static_cast<std::uint64_t>(image.channels)};
  return std::string("[").append(readers::list(sizes)).append("]");
}

/// What is wrong, told by the file's name and, inside a layer, by the layer's.
class Complaint {
 public:
  explicit Complaint(const std::string& file) : file_(file) {}

  void enter(std::size_t layer) { where_ = "layer " + std::to_string(layer + 1); }
  void leave() { where_ = "it"; }

  [[noreturn]] void operator()(const std::string& problem) const {
    throw Error("ERR_HARDBIT_FORMAT", file_ + " is not a sound .hbit file: " + where_ + " " + problem +
                                          "; get it anew, or compile the network again.");
  }

 private:
  const std::string& file_;
  std::string where_ = "it";
};

/// A part of the file's header whose fields lie at fixed places.
class Record {
 public:
  Record(const std::uint8_t* data, const Complaint& fail) : data_(data), fail_(fail) {}

  std::uint32_t u32(std::size_t at) const { return load<std::uint32_t>(at); }
  std::uint64_t u64(std::size_t at) const { return load<std::uint64_t>(at); }

  std::int64_t between(std::size_t at, const char* what, std::int64_t least, std::int64_t most) const {
    const std::int64_t value = u32(at);
    if (value < least || value > most) {
      fail_("has " + std::string(what) + " " + text(value) + ", expected " + text(least) + " to " +
            text(most));
    }
    return value;
  }
  std::int64_t size(std::size_t at, const char* what) const { return between(at, what, 1, most_size); }
  template <std::size_t N>
  std::array<std::int64_t, N> all_between(std::size_t at, const char* what, std::int64_t least,
                                          std::int64_t most) const {
    std::array<std::int64_t, N> values;
    for (std::size_t i = 0; i < N; ++i) values[i] = between(at + 4 * i, what, least, most);
    return values;
  }
  Image image(std::size_t at) const {
    return {size(at, "the height"), size(at + 4, "the width"), size(at + 8, "the channels")};
  }

  std::string label(std::size_t at, const char* what) const {
    const std::string_view field(reinterpret_cast<const char*>(data_ + at), text_bytes);
    const std::size_t length = std::min(field.find('\0'), text_bytes);
    const auto printable = [](char c) { return c >= 0x20 && c <= 0x7E; };
    if (length == 0 || length == text_bytes || !std::ranges::all_of(field.substr(0, length), printable)) {
      fail_("has " + std::string(what) + " that is not 1 to 31 printable ASCII characters");
    }
    zeros(at + length, at + text_bytes, what);
    return std::string(field.substr(0, length));
  }

  void zeros(std::size_t begin, std::size_t end, const char* what) const {
    if (!std::all_of(data_ + begin, data_ + end, [](std::uint8_t byte) { return byte == 0; })) {
      fail_("has bytes other than 0 behind or in " + std::string(what));
    }
  }

 private:
  template <class T>
  T load(std::size_t at) const {
    T value;
    std::memcpy(&value, data_ + at, sizeof value);
    return value;
  }

  const std::uint8_t* data_;
  const Complaint& fail_;
};

/// Hands out the file's arrays in their one order.
class Arrays {
 public:
  Arrays(const Buffer& file, std::size_t begin, const Complaint& fail)
      : file_(file), at_(begin), fail_(fail) {}

  /// `count` elements, at most 2^50, which the file says to be at `offset`.
  template <class T>
  const T* next(std::uint64_t offset, const char* what, std::int64_t count) {
    skip_padding();
    const std::uint64_t bytes = static_cast<std::uint64_t>(count) * sizeof(T);
    if (offset != at_) {
      fail_("has " + std::string(what) + " at " + std::to_string(offset) + ", expected at " +
            std::to_string(at_));
    }
    if (bytes > file_.size() - at_) {
      fail_("needs " + std::to_string(bytes) + " bytes of " + what + ", but " +
            std::to_string(file_.size() - at_) + " follow");
    }
    const T* const array = reinterpret_cast<const T*>(file_.data() + at_);
    at_ += static_cast<std::size_t>(bytes);
    return array;
  }

  /// The array, or null where the layer has none.
  template <class T>
  const T* next_if(bool present, std::uint64_t offset, const char* what, std::int64_t count) {
    if (present) return next<T>(offset, what, count);
    if (offset != 0) fail_("has an offset of " + std::string(what) + ", which it does not have");
    return nullptr;
  }

  void finish() {
    skip_padding();
    if (at_ != file_.size()) fail_("has bytes to spare behind its arrays");
  }

 private:
  /// To the next multiple of the alignment, over zeros.
  void skip_padding() {
    const std::size_t aligned = (at_ + Buffer::alignment - 1) / Buffer::alignment * Buffer::alignment;
    if (aligned > file_.size()) fail_("ends within the padding of an array");
    for (; at_ < aligned; ++at_) {
      if (file_.data()[at_] != 0) fail_("has bytes other than 0 between arrays");
    }
  }

  const Buffer& file_;
  std::size_t at_;
  const Complaint& fail_;
};

/// Windows of one axis: ⌊(size + padding − dilation·(kernel − 1) − 1) / stride⌋ + 1.
std::int64_t extent(const Window& window, std::size_t axis, std::int64_t size, const char* what,
                    const Complaint& fail) {
  const std::int64_t padded = size + window.padding[2 * axis] + window.padding[2 * axis + 1];
  const std::int64_t reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1;
  if (reach > padded) {
    fail("has " + std::string(what) + " of " + text(reach) + (axis == 0 ? " rows" : " columns") + " over " +
         text(padded) + ", padding included");
  }
  return (padded - reach) / window.stride[axis] + 1;
}

/// Windows of one axis that reach into the padding.
std::int64_t border_windows(const Window& window, std::size_t axis, std::int64_t size, std::int64_t windows) {
  const std::int64_t stride = window.stride[axis];
  const std::int64_t reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1;
  const std::int64_t before = window.padding[2 * axis];
  // Window i takes the places from i·stride − before on; those of [first, end) lie inside.
  const std::int64_t first = std::min((before + stride - 1) / stride, windows);
  const std::int64_t room = size + before - reach;
  const std::int64_t end = std::clamp(room < 0 ? 0 : room / stride + 1, first, windows);
  return windows - (end - first);
}

Image windows(const Window& window, const Image& in, std::int64_t channels, const char* what,
              const Complaint& fail) {
  return {extent(window, 0, in.height, what, fail), extent(window, 1, in.width, what, fail), channels};
}

void limit_values(std::int64_t values, const char* what, const Complaint& fail) {
  if (values > most_values) {
    fail("has " + text(values) + " values in " + what + ", more than " + text(most_values));
  }
}

void require_finite(const float* values, std::int64_t count, const char* what, bool negative,
                    const Complaint& fail) {
  for (std::int64_t i = 0; values != nullptr && i < count; ++i) {
    if (!std::isfinite(values[i])) fail("has a value in its " + std::string(what) + " that is not finite");
    if (!negative && std::signbit(values[i])) fail("has a negative " + std::string(what));
  }
}

void require_clear_padding(const std::uint64_t* bits, std::int64_t rows, std::int64_t columns,
                           const char* what, const Complaint& fail) {
  const std::int64_t words = (columns + 63) / 64;
  if (bits == nullptr || columns % 64 == 0) return;
  for (std::int64_t r = 0; r < rows; ++r) {
    if (bits[r * words + words - 1] >> (columns % 64) != 0) {
      fail("has " + std::string(what) + " with bits behind the last one");
    }
  }
}

Layer read_layer(const Record& record, Layer::Input input, const Image& in, int levels, bool last,
                 Arrays& arrays, const Complaint& fail) {
  Layer layer{};
  layer.name = record.label(176, "a name");
  record.zeros(208, layer_bytes, "its reserved fields");
  layer.product = static_cast<Layer::Product>(record.between(0, "a product", 1, 2));
  layer.result = static_cast<Layer::Result>(record.between(4, "a result", 1, 2));
  layer.input = input;
  const bool binary = layer.product == Layer::Product::binary;
  const bool signs = layer.result == Layer::Result::signs;
  if (binary ? input == Layer::Input::reals : input == Layer::Input::signs) {
    fail(binary ? "is a binary product of reals" : "is a float product of signs");
  }
  if (last && signs) fail("is the last one and gives signs, expected reals");

  layer.in = record.image(8);
  if (layer.in != in) fail("takes " + text(layer.in) + ", but " + text(in) + " comes in");
  const std::int64_t m = record.size(20, "output channels");
  layer.window = {record.all_between<2>(24, "a kernel of", 1, most_size),
                  record.all_between<2>(32, "a stride of", 1, most_size),
                  record.all_between<2>(40, "a dilation of", 1, most_size),
                  record.all_between<4>(48, "a padding of", 0, most_padding)};
  layer.pads_with_one = record.between(64, "a padding value", 0, 1) == 1;
  if (layer.pads_with_one && !(binary && layer.window.pads())) {
    fail("has padding of ones, which a binary product with padding alone has");
  }
  layer.groups = record.size(68, "groups");
  if (in.channels % layer.groups != 0 || m % layer.groups != 0) {
    fail("has " + text(layer.groups) + " groups, which do not divide " + text(in.channels) + " and " +
         text(m) + " channels");
  }
  layer.pool = {.kernel = record.all_between<2>(72, "a pool's kernel of", 1, most_places),
                .stride = record.all_between<2>(80, "a pool's stride of", 1, most_size),
                .padding = record.all_between<4>(88, "a pool's padding of", 0, most_places - 1)};
  const auto& [rows, columns] = layer.pool.kernel;
  if (rows * columns > most_places) {
    fail("has a pool of " + text(rows * columns) + " places, more than " + text(most_places));
  }
  if (!layer.pools() && layer.pool.stride != std::array<std::int64_t, 2>{1, 1}) {
    fail("has a stride of a pool, but no pool");
  }
  for (std::size_t side = 0; side < 4; ++side) {
    if (layer.pool.padding[side] >= layer.pool.kernel[side / 2]) {
      fail("has a pool whose padding is not less than its kernel");
    }
  }
  layer.batch_norm = record.between(104, "batch norm", 0, 1) == 1;
  layer.relu = record.between(108, "relu", 0, 1) == 1;
  if (layer.batch_norm && binary && signs) fail("has batch norm beside thresholds");
  if (layer.relu && signs) fail("has a relu of signs");

  layer.k = layer.window.kernel[0] * layer.window.kernel[1] * (in.channels / layer.groups);
  const std::int64_t most_k = input == Layer::Input::codes ? most_sum / levels : most_sum;
  if (layer.k > most_k) fail("sums " + text(layer.k) + " products, more than " + text(most_k));
  const auto& padding = layer.window.padding;
  limit_values((in.height + padding[0] + padding[1]) * (in.width + padding[2] + padding[3]) * in.channels,
               "its padded input", fail);
  layer.convolved = windows(layer.window, in, m, "a kernel", fail);
  limit_values(layer.convolved.values(), "its product", fail);
  const std::int64_t borders = (border_windows(layer.window, 0, in.height, layer.convolved.height) + 1) *
                               (border_windows(layer.window, 1, in.width, layer.convolved.width) + 1);
  if (binary && borders > most_borders) {
    fail("has " + text(borders) + " kinds of borders, more than " + text(most_borders));
  }
  layer.out = windows(layer.pool, layer.convolved, m, "a pool", fail);
  limit_values(layer.out.values(), "its result", fail);

  if (binary) {
    layer.signs = arrays.next<std::uint64_t>(record.u64(112), "weights", m * layer.words());
  } else {
    layer.weights = arrays.next<float>(record.u64(112), "weights", m * layer.k);
  }
  layer.minimum = arrays.next_if<std::int32_t>(binary && signs, record.u64(120), "minimum", m);
  layer.all =
      arrays.next_if<std::uint64_t>(binary && signs && layer.pools(), record.u64(128), "all", (m + 63) / 64);
  layer.scale = arrays.next_if<float>(binary && !signs, record.u64(136), "scale", m);
  layer.bias = arrays.next_if<float>(!binary && record.u64(144) != 0, record.u64(144), "bias", m);
  layer.mean = arrays.next_if<float>(layer.batch_norm, record.u64(152), "mean", m);
  layer.factor = arrays.next_if<float>(layer.batch_norm, record.u64(160), "factor", m);
  layer.beta = arrays.next_if<float>(layer.batch_norm, record.u64(168), "beta", m);

  require_clear_padding(layer.signs, m, layer.k, "weights", fail);
  require_clear_padding(layer.all, 1, m, "all", fail);
  require_finite(layer.weights, binary ? 0 : m * layer.k, "weights", true, fail);
  require_finite(layer.scale, m, "scale", false, fail);
  require_finite(layer.bias, m, "bias", true, fail);
  require_finite(layer.mean, m, "mean", true, fail);
  require_finite(layer.factor, m, "factor", true, fail);
  require_finite(layer.beta, m, "beta", true, fail);
  return layer;
}

/// Closes a file.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int operator*() const { return value_; }

 private:
  int value_;
};

}  // namespace

Network read_network(Buffer file, const std::string& what) {
  Complaint fail(what);
  const Record prelude(file.data(), fail);
  const std::string size = "has " + std::to_string(file.size()) + " bytes";
  if (file.size() < layers_at) fail(size + ", less than its header");
  if (!std::equal(magic.begin(), magic.end(), file.data())) {
    const bool begins = std::equal(magic.begin() + 1, magic.begin() + 4, file.data() + 1);
    fail(begins ? "has changed first bytes, as after a transfer as text" : "is another kind of file");
  }
  if (const std::uint32_t version = prelude.u32(8); version != format_version) {
    fail("has version " + std::to_string(version) + ", but this library reads " +
         std::to_string(format_version));
  }
  if (prelude.u64(16) != file.size()) {
    fail(size + ", expected " + std::to_string(prelude.u64(16)));
  }
  const std::uint32_t layers = prelude.u32(12);
  if (layers < 1 || layers > most_layers) {
    fail("has " + std::to_string(layers) + " layers, expected 1 to " + std::to_string(most_layers));
  }
  const std::size_t arrays_at = layers_at + layer_bytes * layers;
  if (arrays_at > file.size()) fail(size + ", less than its header of " + std::to_string(arrays_at));

  Network network{};
  network.hash = sha256({file.data() + hashed_from, file.size() - hashed_from});
  if (!std::equal(network.hash.begin(), network.hash.end(), file.data() + hash_at)) {
    fail("has another SHA-256 than it states");
  }
  prelude.zeros(hashed_from, network_at, "its checksum");

  const Record header(file.data() + network_at, fail);
  network.image = header.image(0);
  limit_values(network.image.values(), "an image", fail);
  network.bits = static_cast<int>(header.between(12, "input bits", 1, 8));
  network.classes = header.size(16, "classes");
  header.zeros(20, 24, "its classes");
  network.model = header.label(32, "a model name");
  network.recipe = header.label(64, "a recipe name");
  header.zeros(96, layers_at - network_at, "its reserved fields");

  Arrays arrays(file, arrays_at, fail);
  network.pixels = arrays.next<std::uint8_t>(header.u64(24), "pixel table", pixel_values);
  if (!std::is_sorted(network.pixels, network.pixels + pixel_values)) fail("has a pixel table that falls");
  if (network.pixels[pixel_values - 1] > network.levels()) {
    fail("has codes above " + text(network.levels()) + " in its pixel table");
  }

  Layer::Input input = Layer::Input::codes;
  Image shape = network.image;
  for (std::size_t i = 0; i < layers; ++i) {
    fail.enter(i);
    const Record record(file.data() + layers_at + layer_bytes * i, fail);
    network.layers.push_back(
        read_layer(record, input, shape, network.levels(), i + 1 == layers, arrays, fail));
    const Layer& layer = network.layers.back();
    shape = layer.out;
    input = layer.result == Layer::Result::signs ? Layer::Input::signs : Layer::Input::reals;
  }
  fail.leave();
  if (shape != Image{1, 1, network.classes}) {
    fail("gives " + text(shape) + ", expected " + text(Image{1, 1, network.classes}));
  }
  arrays.finish();
  network.file = std::move(file);
  return network;
}

Network read_network(std::span<const std::uint8_t> file, const std::string& what) {
  Buffer copy(file.size());
  if (!file.empty()) std::memcpy(copy.data(), file.data(), file.size());
  return read_network(std::move(copy), what);
}

Network read_network_file(const std::string& path) {
  const auto unreadable = [&path](const char* reason) {
    return Error("ERR_HARDBIT_READ", readers::quote(path) + " cannot be read: " + reason + ".");
  };
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a FIFO must not wait
  if (*file < 0) throw unreadable(std::strerror(errno));
  struct stat status {};
  if (::fstat(*file, &status) != 0) throw unreadable(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) throw unreadable("it is not a file");
  Buffer bytes(static_cast<std::size_t>(status.st_size));
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t got = ::read(*file, bytes.data() + at, bytes.size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw unreadable(std::strerror(errno));
    if (got == 0) throw unreadable("it became shorter meanwhile");
    at += static_cast<std::size_t>(got);
  }
  return read_network(std::move(bytes), readers::quote(path));
}

void repair_checksum(std::span<std::uint8_t> file) {
  if (file.size() < network_at) return;
  const Digest digest = sha256(file.subspan(hashed_from));
  std::copy(digest.begin(), digest.end(), file.data() + hash_at);
}

}  // namespace hardbit::packed
