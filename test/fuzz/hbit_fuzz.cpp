#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "fuzz.h"
#include "packed/engine.h"
#include "packed/reader.h"

namespace hardbit::fuzz {
namespace {

using packed::Engine;
using packed::Image;
using packed::Layer;
using packed::Network;

/// Products and values of a network that is run, so that inputs stay quick.
constexpr std::int64_t most_work = 1 << 17;

void require_inside(const Network& network, const void* array, std::int64_t count, std::size_t size) {
  if (array == nullptr) return;
  const auto* const begin = static_cast<const std::uint8_t*>(array);
  require(begin >= network.file.data() && begin <= network.file.data() + network.file.size(),
          "an array begins in the file");
  const auto room = static_cast<std::size_t>(network.file.data() + network.file.size() - begin);
  require(static_cast<std::size_t>(count) <= room / size, "an array lies in the file");
  require((begin - network.file.data()) % 64 == 0, "an array is aligned");
}

/// What the engine relies on.
void require_sound(const Network& network) {
  Image shape = network.image;
  auto input = Layer::Input::codes;
  require(network.bits >= 1 && network.bits <= 8, "codes have 1 to 8 bits");
  require_inside(network, network.pixels, 256, 1);
  require(std::is_sorted(network.pixels, network.pixels + 256) && network.pixels[255] <= network.levels(),
          "the pixel table is monotonic");
  for (const Layer& layer : network.layers) {
    const std::int64_t m = layer.out.channels;
    const bool binary = layer.product == Layer::Product::binary;
    const bool signs = layer.result == Layer::Result::signs;
    require(layer.in == shape && layer.input == input, "layers fit together");
    require(input != (binary ? Layer::Input::reals : Layer::Input::signs), "a product takes what comes in");
    require(layer.k == layer.window.kernel[0] * layer.window.kernel[1] * (layer.in.channels / layer.groups),
            "K is the taps of a sum");
    require((layer.signs != nullptr) == binary && (layer.weights != nullptr) == !binary,
            "weights are of the product's kind");
    require((layer.minimum != nullptr) == (binary && signs), "signs of binary products have thresholds");
    require((layer.all != nullptr) == (binary && signs && layer.pools()), "pooled signs have a mask");
    require((layer.scale != nullptr) == (binary && !signs), "reals of binary products have scales");
    require_inside(network, layer.signs, binary ? m * layer.words() : 0, 8);
    require_inside(network, layer.weights, binary ? 0 : m * layer.k, 4);
    require_inside(network, layer.minimum, m, 4);
    require_inside(network, layer.all, (m + 63) / 64, 8);
    for (const float* const array : {layer.scale, layer.bias, layer.mean, layer.factor, layer.beta}) {
      require_inside(network, array, m, 4);
      for (std::int64_t j = 0; array != nullptr && j < m; ++j) {
        require(std::isfinite(array[j]), "floats are finite");
      }
    }
    for (const Image& image : {layer.in, layer.convolved, layer.out}) {
      require(image.height > 0 && image.width > 0 && image.channels > 0, "no activation is empty");
      require(image.values() <= 1 << 22, "activations are within the limits");
    }
    shape = layer.out;
    input = signs ? Layer::Input::signs : Layer::Input::reals;
  }
  require(input == Layer::Input::reals && shape == Image{1, 1, network.classes}, "logits come out");
}

std::int64_t work(const Network& network) {
  std::int64_t sum = network.image.values();
  for (const Layer& layer : network.layers) {
    const auto& padding = layer.window.padding;
    // Below 2^22 and 2^30 each.
    sum += layer.convolved.values() * layer.k;
    sum += (layer.in.height + padding[0] + padding[1]) * (layer.in.width + padding[2] + padding[3]) *
           layer.in.channels;
  }
  return sum;
}

/// One image through the network, and twice at once: the same.
void classify(Network network) {
  const Engine engine(std::move(network));
  const packed::Buffer arena(engine.arena_bytes());
  std::vector<std::uint8_t> images(static_cast<std::size_t>(2 * engine.image_values()));
  for (std::size_t i = 0; i < images.size(); ++i) {
    images[i] = static_cast<std::uint8_t>(41 * (i % static_cast<std::size_t>(engine.image_values())));
  }
  const auto classes = static_cast<std::size_t>(engine.classes());
  std::vector<float> one(classes), two(2 * classes);
  std::array<std::int32_t, 1> first{};
  std::array<std::int32_t, 2> both{};
  std::memset(arena.data(), 0xA5, arena.size());
  engine.run(images.data(), 1, one.data(), first.data(), {arena.data(), arena.size()});
  require(first[0] >= 0 && first[0] < engine.classes(), "a class is one of the network's");
  if (engine.chunk() < 2) return;
  engine.run(images.data(), 2, two.data(), both.data(), {arena.data(), arena.size()});
  require(both[0] == first[0] && both[1] == first[0], "a class depends on its image alone");
  require(std::memcmp(one.data(), two.data(), 4 * classes) == 0 &&
              std::memcmp(one.data(), two.data() + classes, 4 * classes) == 0,
          "logits depend on their image alone");
}

void check(std::span<const std::uint8_t> file) {
  auto network = read_or_refuse([&] { return packed::read_network(file, "x"); }, {"ERR_HARDBIT_FORMAT"});
  if (!network) return;
  require_sound(*network);
  if (work(*network) <= most_work) classify(std::move(*network));
}

}  // namespace
}  // namespace hardbit::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  hardbit::fuzz::check({data, size});
  // Behind the checksum and the stated size, which no mutation gets right.
  std::vector<std::uint8_t> repaired(data, data + size);
  if (size >= 64) {
    const std::uint64_t stated = size;
    std::memcpy(repaired.data() + 16, &stated, sizeof stated);
    hardbit::packed::repair_checksum(repaired);
    hardbit::fuzz::check(repaired);
  }
  return 0;
}
