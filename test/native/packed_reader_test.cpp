#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "hbit_cases.h"
#include "packed/reader.h"
#include "runtime/error.h"

namespace hardbit::packed {
namespace {

using test::hbit_file;
using test::HbitLayer;
using test::HbitNetwork;
using Bytes = std::vector<std::uint8_t>;

/// A network that has every array and every kind of layer: codes → binary, pooled signs → binary, reals →
/// float logits.
HbitNetwork sample() {
  HbitNetwork network;
  network.height = 3;
  network.width = 4;
  network.channels = 2;
  network.bits = 2;
  network.classes = 3;
  network.pixels = test::pixel_table(2);

  HbitLayer first;
  first.name = "conv";
  first.height = 3;
  first.width = 4;
  first.channels = 2;
  first.outputs = 5;
  first.kernel = {2, 2};
  first.padding = {1, 0, 0, 1};
  first.ones = true;
  first.pool = {2, 1};
  first.pool_stride = {1, 1};
  first.weight_signs.assign(5 * 8, 1);
  first.minimum = {-3, 0, 7, std::numeric_limits<std::int32_t>::min(),
                   std::numeric_limits<std::int32_t>::max()};
  first.all = {true, false, true, false, true};

  HbitLayer second;
  second.name = "dense";
  second.signs = false;
  second.height = 2;
  second.width = 4;
  second.channels = 5;
  second.kernel = {2, 4};
  second.outputs = 4;
  second.weight_signs.assign(4 * 40, -1);
  second.scale = {0.5F, 1, 2, 0};
  second.batch_norm = true;
  second.relu = true;
  second.mean = {1, 2, 3, 4};
  second.factor = {1, -1, 0, 2};
  second.beta = {0, 1, 2, 3};

  HbitLayer third;
  third.name = "logits";
  third.binary = false;
  third.signs = false;
  third.channels = 4;
  third.outputs = 3;
  third.weights = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  third.bias = {0.5F, -0.5F, 0};

  network.layers = {first, second, third};
  return network;
}

std::string refusal(const Bytes& file) {
  try {
    read_network(std::span<const std::uint8_t>(file), "x");
  } catch (const Error& error) {
    EXPECT_STREQ(error.code(), "ERR_HARDBIT_FORMAT");
    const std::string text = error.what();
    EXPECT_TRUE(text.ends_with('.') && text.find('\n') == std::string::npos) << text;
    return text;
  }
  return "accepted";
}

/// What was read, as a description: two files mean the same where these are equal.
HbitNetwork described(const Network& network) {
  const auto u32 = [](std::int64_t value) { return static_cast<std::uint32_t>(value); };
  const auto pair = [&](const auto& values) { return std::array{u32(values[0]), u32(values[1])}; };
  const auto four = [&](const auto& v) { return std::array{u32(v[0]), u32(v[1]), u32(v[2]), u32(v[3])}; };
  HbitNetwork d;
  d.height = u32(network.image.height);
  d.width = u32(network.image.width);
  d.channels = u32(network.image.channels);
  d.bits = u32(network.bits);
  d.classes = u32(network.classes);
  d.pixels.assign(network.pixels, network.pixels + 256);
  d.model = network.model;
  d.recipe = network.recipe;
  for (const Layer& layer : network.layers) {
    HbitLayer l;
    const auto m = static_cast<std::size_t>(layer.out.channels);
    l.binary = layer.product == Layer::Product::binary;
    l.signs = layer.result == Layer::Result::signs;
    l.height = u32(layer.in.height);
    l.width = u32(layer.in.width);
    l.channels = u32(layer.in.channels);
    l.outputs = u32(layer.out.channels);
    l.kernel = pair(layer.window.kernel);
    l.stride = pair(layer.window.stride);
    l.dilation = pair(layer.window.dilation);
    l.padding = four(layer.window.padding);
    l.ones = layer.pads_with_one;
    l.groups = u32(layer.groups);
    l.pool = pair(layer.pool.kernel);
    l.pool_stride = pair(layer.pool.stride);
    l.pool_padding = four(layer.pool.padding);
    l.batch_norm = layer.batch_norm;
    l.relu = layer.relu;
    l.name = layer.name;
    for (std::int64_t i = 0; layer.signs != nullptr && i < layer.out.channels; ++i) {
      for (std::int64_t k = 0; k < layer.k; ++k) {
        l.weight_signs.push_back((layer.signs[i * layer.words() + k / 64] >> (k % 64) & 1) != 0 ? 1 : -1);
      }
    }
    const auto floats = [](const float* values, std::size_t count) {
      return values == nullptr ? std::vector<float>() : std::vector<float>(values, values + count);
    };
    l.weights = floats(layer.weights, m * static_cast<std::size_t>(layer.k));
    if (layer.minimum != nullptr) l.minimum.assign(layer.minimum, layer.minimum + m);
    for (std::size_t j = 0; layer.all != nullptr && j < m; ++j) {
      l.all.push_back((layer.all[j / 64] >> (j % 64) & 1) != 0);
    }
    l.scale = floats(layer.scale, m);
    l.bias = floats(layer.bias, m);
    l.mean = floats(layer.mean, m);
    l.factor = floats(layer.factor, m);
    l.beta = floats(layer.beta, m);
    d.layers.push_back(std::move(l));
  }
  return d;
}

TEST(PackedReader, ReadsWhatWasWritten) {
  const Bytes file = hbit_file(sample());
  const Network network = read_network(std::span<const std::uint8_t>(file), "x");
  EXPECT_EQ(hbit_file(described(network)), file);
  EXPECT_EQ(network.layers[0].convolved, (Image{3, 4, 5}));
  EXPECT_EQ(network.layers[0].out, (Image{2, 4, 5}));
  EXPECT_EQ(network.layers[0].input, Layer::Input::codes);
  EXPECT_EQ(network.layers[1].input, Layer::Input::signs);
  EXPECT_EQ(network.layers[2].input, Layer::Input::reals);
  EXPECT_EQ(network.layers[2].k, 4);
  EXPECT_EQ(network.hash, sha256(std::span(file).subspan(56)));
}

TEST(PackedReader, ReadsDrawnNetworks) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    const Bytes file = hbit_file(test::HbitDraw(seed).network());
    const Network network = read_network(std::span<const std::uint8_t>(file), "x");
    EXPECT_EQ(hbit_file(described(network)), file) << seed;
  }
}

TEST(PackedReader, KeepsItsOwnCopy) {
  Bytes file = hbit_file(sample());
  const Bytes before = file;
  const Network network = read_network(std::span<const std::uint8_t>(file), "x");
  std::fill(file.begin(), file.end(), std::uint8_t{0xFF});
  EXPECT_EQ(hbit_file(described(network)), before);
}

TEST(PackedReader, RefusesEveryTruncation) {
  const Bytes file = hbit_file(sample());
  for (std::size_t size = 0; size < file.size(); ++size) {
    Bytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_NE(refusal(cut), "accepted") << size;
    // The size and the checksum are those of the shorter file.
    if (size < 64) continue;
    const std::uint64_t stated = size;
    std::memcpy(cut.data() + 16, &stated, 8);
    repair_checksum(cut);
    EXPECT_NE(refusal(cut), "accepted") << size;
  }
}

TEST(PackedReader, RefusesBytesToSpare) {
  for (const std::size_t more : {1U, 63U, 64U, 128U}) {
    Bytes file = hbit_file(sample());
    file.resize(file.size() + more);
    EXPECT_NE(refusal(file), "accepted");
    const std::uint64_t stated = file.size();
    std::memcpy(file.data() + 16, &stated, 8);
    repair_checksum(file);
    EXPECT_NE(refusal(file), "accepted") << more;
  }
}

TEST(PackedReader, RefusesEveryChangedByte) {
  const Bytes file = hbit_file(sample());
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (const int change : {0x01, 0x80, 0xFF}) {
      Bytes changed = file;
      changed[at] = static_cast<std::uint8_t>(changed[at] ^ change);
      EXPECT_NE(refusal(changed), "accepted") << at;
    }
  }
}

// Behind the checksum: what is accepted means exactly what its bytes say, so that nothing was overlooked.
TEST(PackedReader, AcceptsNoByteWithoutItsMeaning) {
  const Bytes file = hbit_file(sample());
  int accepted = 0;
  for (std::size_t at = 0; at < file.size(); ++at) {
    for (const int change : {0x01, 0x02, 0x10, 0x40, 0x80, 0xFF}) {
      Bytes changed = file;
      changed[at] = static_cast<std::uint8_t>(changed[at] ^ change);
      repair_checksum(changed);
      if (refusal(changed) != "accepted") continue;
      ++accepted;
      const Network network = read_network(std::span<const std::uint8_t>(changed), "x");
      EXPECT_EQ(hbit_file(described(network)), changed) << at;
    }
  }
  EXPECT_GT(accepted, 100);
}

// -- every check has a case

struct Case {
  const char* problem;
  std::function<void(HbitNetwork&)> change;
};

/// Changes of the description, whose file is consistent otherwise.
const Case described_cases[] = {
    {"has the height 0, expected 1 to 1048576", [](auto& n) { n.height = 0; }},
    {"has the width 1048577", [](auto& n) { n.width = 1048577; }},
    {"values in an image, more than 4194304", [](auto& n) { n.height = n.width = 2048; }},
    {"has input bits 9, expected 1 to 8", [](auto& n) { n.bits = 9; }},
    {"has input bits 0", [](auto& n) { n.bits = 0; }},
    {"has classes 0", [](auto& n) { n.classes = 0; }},
    {"gives [1, 1, 3], expected [1, 1, 4]", [](auto& n) { n.classes = 4; }},
    {"has a model name that is not 1 to 31 printable", [](auto& n) { n.model = ""; }},
    {"has a recipe name that is not 1 to 31 printable", [](auto& n) { n.recipe = "a\nb"; }},
    {"has a pixel table that falls", [](auto& n) { n.pixels[100] = 3; }},
    {"has codes above 3 in its pixel table", [](auto& n) { n.pixels[255] = 4; }},
    {"layer 1 has a name that is not", [](auto& n) { n.layers[0].name = "\x7F"; }},
    {"layer 1 takes [4, 4, 2], but [3, 4, 2] comes in", [](auto& n) { n.layers[0].height = 4; }},
    {"layer 2 takes [2, 4, 6], but [2, 4, 5] comes in", [](auto& n) { n.layers[1].channels = 6; }},
    {"layer 1 has output channels 0", [](auto& n) { n.layers[0].outputs = 0; }},
    {"layer 1 has a kernel of 0", [](auto& n) { n.layers[0].kernel[0] = 0; }},
    {"layer 1 has a stride of 0", [](auto& n) { n.layers[0].stride[1] = 0; }},
    {"layer 1 has a dilation of 0", [](auto& n) { n.layers[0].dilation[0] = 0; }},
    {"layer 1 has a padding of 4097", [](auto& n) { n.layers[0].padding[3] = 4097; }},
    {"layer 2 has padding of ones", [](auto& n) { n.layers[1].ones = true; }},
    {"layer 3 has padding of ones",
     [](auto& n) {
       n.layers[2].padding[0] = 1;
       n.layers[2].ones = true;
     }},
    {"layer 1 has groups 0", [](auto& n) { n.layers[0].groups = 0; }},
    {"layer 1 has 3 groups, which do not divide 2 and 5", [](auto& n) { n.layers[0].groups = 3; }},
    {"layer 1 has 2 groups, which do not divide 2 and 5", [](auto& n) { n.layers[0].groups = 2; }},
    {"layer 1 has a kernel of 5 rows over 4", [](auto& n) { n.layers[0].kernel[0] = 5; }},
    {"layer 1 has a kernel of 6 columns over 5", [](auto& n) { n.layers[0].dilation[1] = 5; }},
    {"layer 1 has a pool's kernel of 0", [](auto& n) { n.layers[0].pool[0] = 0; }},
    {"layer 1 has a pool's kernel of 257", [](auto& n) { n.layers[0].pool[0] = 257; }},
    {"layer 1 has a pool of 289 places",
     [](auto& n) {
       n.layers[0].pool = {17, 17};
     }},
    {"layer 1 has a pool of 4 rows over 3", [](auto& n) { n.layers[0].pool[0] = 4; }},
    {"layer 2 has a stride of a pool, but no pool",
     [](auto& n) {
       n.layers[1].pool_stride = {2, 1};
     }},
    {"layer 1 has a pool whose padding is not less", [](auto& n) { n.layers[0].pool_padding[1] = 2; }},
    {"layer 1 has a pool's padding of 256", [](auto& n) { n.layers[0].pool_padding[0] = 256; }},
    {"layer 1 has batch norm beside thresholds", [](auto& n) { n.layers[0].batch_norm = true; }},
    {"layer 1 has a relu of signs", [](auto& n) { n.layers[0].relu = true; }},
    {"layer 3 is the last one and gives signs", [](auto& n) { n.layers[2].signs = true; }},
    {"layer 2 is a float product of signs", [](auto& n) { n.layers[1].binary = false; }},
    {"layer 3 is a binary product of reals", [](auto& n) { n.layers[2].binary = true; }},
    {"layer 3 has a value in its weights that is not finite",
     [](auto& n) { n.layers[2].weights[11] = std::numeric_limits<float>::quiet_NaN(); }},
    {"layer 3 has a value in its bias that is not finite",
     [](auto& n) { n.layers[2].bias[0] = std::numeric_limits<float>::infinity(); }},
    {"layer 2 has a value in its scale that is not finite",
     [](auto& n) { n.layers[1].scale[3] = std::numeric_limits<float>::quiet_NaN(); }},
    {"layer 2 has a negative scale", [](auto& n) { n.layers[1].scale[0] = -1; }},
    {"layer 2 has a value in its mean that is not finite",
     [](auto& n) { n.layers[1].mean[0] = -std::numeric_limits<float>::infinity(); }},
    {"layer 2 has a value in its factor that is not finite",
     [](auto& n) { n.layers[1].factor[1] = std::numeric_limits<float>::quiet_NaN(); }},
    {"layer 2 has a value in its beta that is not finite",
     [](auto& n) { n.layers[1].beta[2] = std::numeric_limits<float>::quiet_NaN(); }},
};

TEST(PackedReader, NamesWhatADescriptionGetsWrong) {
  for (const Case& each : described_cases) {
    HbitNetwork network = sample();
    each.change(network);
    EXPECT_NE(refusal(hbit_file(network)).find(each.problem), std::string::npos)
        << each.problem << "\n"
        << refusal(hbit_file(network));
  }
}

/// Changes of single fields of the file, the checksum repaired.
struct FieldCase {
  const char* problem;
  std::size_t at;
  std::size_t bytes;
  std::uint64_t value;
};

const FieldCase field_cases[] = {
    {"is another kind of file", 1, 1, 'P'},
    {"has changed first bytes, as after a transfer as text", 0, 1, 0x09},
    {"has changed first bytes, as after a transfer as text", 4, 1, '\n'},
    {"has version 2, but this library reads 1", 8, 4, 2},
    {"has 0 layers, expected 1 to 256", 12, 4, 0},
    {"has 257 layers, expected 1 to 256", 12, 4, 257},
    {"less than its header of", 12, 4, 100},
    {"bytes, expected 1", 16, 8, 1},
    {"has bytes other than 0 behind or in its checksum", 63, 1, 1},
    {"has bytes other than 0 behind or in its classes", 64 + 20, 4, 1},
    {"has bytes other than 0 behind or in its reserved fields", 64 + 96, 1, 1},
    {"has bytes other than 0 behind or in its reserved fields", 255, 1, 1},
    {"has bytes other than 0 behind or in a model name", 64 + 32 + 31, 1, 1},
    {"has a model name that is not", 64 + 32, 8, ~std::uint64_t{0}},
    {"layer 2 has bytes other than 0 behind or in a name", 768 - 256 + 176 + 20, 1, 'x'},
    {"layer 1 has bytes other than 0 behind or in its reserved fields", 256 + 208, 1, 1},
    {"layer 1 has bytes other than 0 behind or in its reserved fields", 511, 1, 1},
    {"layer 1 has a product 0", 256, 4, 0},
    {"layer 1 has a product 3", 256, 4, 3},
    {"layer 1 has a result 3", 260, 4, 3},
    {"layer 1 has a padding value 2", 256 + 64, 4, 2},
    {"layer 2 has batch norm 2", 512 + 104, 4, 2},
    {"layer 2 has relu 2", 512 + 108, 4, 2},
    {"has pixel table at 1", 64 + 24, 8, 1},
    {"layer 1 has weights at 0", 256 + 112, 8, 0},
    {"layer 1 has weights at 18446744073709551552", 256 + 112, 8, ~std::uint64_t{63}},
    {"layer 1 has minimum at 64", 256 + 120, 8, 64},
    {"layer 1 has all at 0", 256 + 128, 8, 0},
    {"layer 1 has an offset of scale, which it does not have", 256 + 136, 8, 64},
    {"layer 1 has an offset of bias", 256 + 144, 8, 64},
    {"layer 1 has an offset of mean", 256 + 152, 8, 64},
    {"layer 1 has an offset of factor", 256 + 160, 8, 64},
    {"layer 1 has an offset of beta", 256 + 168, 8, 64},
    {"layer 2 has an offset of minimum", 512 + 120, 8, 64},
    {"layer 2 has an offset of all", 512 + 128, 8, 64},
    {"layer 2 has scale at 64", 512 + 136, 8, 64},
    {"layer 3 has bias at 64", 768 + 144, 8, 64},
};

TEST(PackedReader, NamesWhatAFieldGetsWrong) {
  for (const FieldCase& each : field_cases) {
    Bytes file = hbit_file(sample());
    std::memcpy(file.data() + each.at, &each.value, each.bytes);
    if (each.at >= 56 || each.at == 12) repair_checksum(file);
    EXPECT_NE(refusal(file).find(each.problem), std::string::npos) << each.problem << "\n" << refusal(file);
  }
}

TEST(PackedReader, RefusesAWrongChecksum) {
  Bytes file = hbit_file(sample());
  file[24] ^= 1;
  EXPECT_NE(refusal(file).find("has another SHA-256 than it states"), std::string::npos);
}

TEST(PackedReader, RefusesBitsBehindTheLastAndBytesBetweenArrays) {
  const Bytes file = hbit_file(sample());
  const Network network = read_network(std::span<const std::uint8_t>(file), "x");
  const auto offset = [&](const void* array) {
    return static_cast<std::size_t>(static_cast<const std::uint8_t*>(array) - network.file.data());
  };
  const auto with = [&](std::size_t at) {
    Bytes changed = file;
    changed[at] = 0x80;
    repair_checksum(changed);
    return refusal(changed);
  };
  // 8 weights a row, 5 channels.
  EXPECT_NE(
      with(offset(network.layers[0].signs) + 7).find("layer 1 has weights with bits behind the last one"),
      std::string::npos);
  EXPECT_NE(with(offset(network.layers[0].all)).find("layer 1 has all with bits behind the last one"),
            std::string::npos);
  EXPECT_NE(with(offset(network.layers[0].minimum) + 20).find("has bytes other than 0 between arrays"),
            std::string::npos);
  EXPECT_NE(with(file.size() - 1).find("has bytes other than 0 between arrays"), std::string::npos);
}

// A few hundred bytes that claim layers of gigabytes are refused by their claims, before anything is
// allocated.
TEST(PackedReader, RefusesClaimsBeyondTheLimits) {
  const auto one_layer = [](const std::function<void(HbitNetwork&, HbitLayer&)>& change) {
    HbitNetwork network;
    network.pixels = test::pixel_table(1);
    HbitLayer l;
    l.signs = false;
    l.weight_signs = {1};
    l.scale = {1};
    change(network, l);
    network.layers = {l};
    return refusal(hbit_file(network));
  };
  EXPECT_EQ(one_layer([](auto&, auto&) {}), "accepted");
  EXPECT_NE(one_layer([](auto& n, auto& l) {
              n.channels = l.channels = 1 << 20;
              l.padding = {4096, 4096, 4096, 4096};
            }).find("values in its padded input, more than 4194304"),
            std::string::npos);
  EXPECT_NE(one_layer([](auto& n, auto& l) {
              n.height = n.width = l.height = l.width = 1024;
              l.outputs = 1024;
              l.weight_signs.assign(1024, 1);
            }).find("values in its product, more than 4194304"),
            std::string::npos);
  EXPECT_NE(one_layer([](auto& n, auto& l) {
              n.height = l.height = 200;
              n.width = l.width = 200;
              l.kernel = {200, 200};
              l.padding = {199, 199, 199, 199};
              l.weight_signs.assign(40000, 1);
            }).find("kinds of borders, more than 4096"),
            std::string::npos);
}

// Every limit of the border count against a count window by window.
TEST(PackedReader, CountsBordersAsWindowsDo) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    test::HbitDraw draw(seed);
    HbitNetwork network;
    network.pixels = test::pixel_table(1);
    HbitLayer l;
    l.signs = false;
    l.height = network.height = draw.between(60, 70);
    l.width = network.width = 1;
    l.kernel[0] = draw.between(50, 66);
    l.padding[0] = draw.between(0, 4096);
    l.padding[1] = draw.between(0, 4096);
    l.stride[0] = draw.between(1, 3);
    if (l.height + l.padding[0] + l.padding[1] < l.kernel[0]) continue;
    l.weight_signs.assign(l.k(), 1);
    l.scale = {1};
    std::uint32_t reach = 0;
    for (std::uint32_t r = 0; r < l.rows(); ++r) {
      const std::int64_t top = std::int64_t{r} * l.stride[0] - l.padding[0];
      reach += top < 0 || top + l.kernel[0] > l.height ? 1 : 0;
    }
    network.layers = {l};
    const std::string text = refusal(hbit_file(network));
    if (reach + 1 > 4096) {
      EXPECT_NE(text.find("has " + std::to_string(reach + 1) + " kinds of borders"), std::string::npos)
          << text;
    } else {
      EXPECT_EQ(text.find("kinds of borders"), std::string::npos) << text;
    }
  }
}

// -- files

class PackedReaderFile : public testing::Test {
 protected:
  PackedReaderFile() : path_(testing::TempDir() + "packed_reader_" + std::to_string(getpid()) + ".hbit") {}
  ~PackedReaderFile() override { std::remove(path_.c_str()); }

  std::string refusal_of(const std::string& path, const char* code) {
    try {
      read_network_file(path);
    } catch (const Error& error) {
      EXPECT_STREQ(error.code(), code);
      return error.what();
    }
    return "accepted";
  }

  std::string path_;
};

TEST_F(PackedReaderFile, ReadsAFile) {
  const Bytes file = hbit_file(sample());
  std::ofstream(path_, std::ios::binary)
      .write(reinterpret_cast<const char*>(file.data()), static_cast<std::streamsize>(file.size()));
  EXPECT_EQ(hbit_file(described(read_network_file(path_))), file);
}

TEST_F(PackedReaderFile, SaysWhyItCannotBeRead) {
  EXPECT_EQ(refusal_of("/nonexistent/net.hbit", "ERR_HARDBIT_READ"),
            "'/nonexistent/net.hbit' cannot be read: No such file or directory.");
  EXPECT_EQ(refusal_of("/", "ERR_HARDBIT_READ"), "'/' cannot be read: it is not a file.");
  std::ofstream(path_, std::ios::binary) << "";
  EXPECT_NE(refusal_of(path_, "ERR_HARDBIT_FORMAT").find("has 0 bytes, less than its header"),
            std::string::npos);
}

}  // namespace
}  // namespace hardbit::packed
