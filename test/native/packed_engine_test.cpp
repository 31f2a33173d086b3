#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "guarded.h"
#include "hbit_cases.h"
#include "packed/engine.h"
#include "packed/prediction.h"
#include "packed/reader.h"
#include "runtime/error.h"

namespace hardbit::packed {
namespace {

using test::hbit_file;
using test::HbitDraw;
using test::HbitNetwork;
using test::HbitReference;

/// The kernels of one instruction set; those of weaker ones where it has none of its own.
struct IsaRows {
  Isa isa;
  EngineRows rows;
};

template <class Row, class Fits>
const Row& row_of(std::span<const Row> rows, Isa isa, const Fits& fits) {
  const Row* found = nullptr;
  for (const Row& row : rows) {
    if (row.isa <= isa && fits(row) && (found == nullptr || row.isa >= found->isa)) found = &row;
  }
  return *found;
}

/// Every instruction set that this CPU has.
std::vector<IsaRows> all_rows() {
  std::vector<IsaRows> all;
  for (const Isa isa : available_isas()) {
    const auto any = [](const auto&) { return true; };
    const auto of = [](cpu::Operand operand) {
      return [operand](const cpu::ProductKernel& row) { return row.operand == operand; };
    };
    all.push_back({isa,
                   {.products = {.bits = row_of(cpu::product_kernels(), isa, of(cpu::Operand::bits)),
                                 .bytes = row_of(cpu::product_kernels(), isa, of(cpu::Operand::bytes)),
                                 .elements = row_of(cpu::bit_kernels(), isa, any)},
                    .real = row_of(cpu::float_kernels(), isa, any)}});
  }
  return all;
}

Network read(const std::vector<std::uint8_t>& file) {
  return read_network(std::span<const std::uint8_t>(file), "x");
}

std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits(values.size());
  if (!bits.empty()) std::memcpy(bits.data(), values.data(), 4 * values.size());
  return bits;
}

struct Results {
  std::vector<float> logits;
  std::vector<std::int32_t> classes;
};

/// All images in chunks of the engine's, with guard pages behind all it is given; the arena is poisoned, so
/// that nothing stands on what was there before.
Results run(const Engine& engine, const std::vector<std::uint8_t>& images, std::int64_t count,
            std::int64_t chunk) {
  const auto classes = static_cast<std::size_t>(engine.classes());
  const auto values = static_cast<std::size_t>(engine.image_values());
  Results results{std::vector<float>(static_cast<std::size_t>(count) * classes),
                  std::vector<std::int32_t>(static_cast<std::size_t>(count))};
  for (std::int64_t i = 0; i < count; i += chunk) {
    const auto n = static_cast<std::size_t>(std::min(chunk, count - i));
    const auto at = static_cast<std::size_t>(i);
    // Guarded memory ends at a page; rounded up, it begins at a multiple of 64.
    const test::Guarded<std::uint8_t> arena((engine.arena_bytes() + 63) / 64 * 64);
    const test::Guarded<std::uint8_t> in({images.begin() + static_cast<std::ptrdiff_t>(at * values),
                                          images.begin() + static_cast<std::ptrdiff_t>((at + n) * values)});
    const test::Guarded<float> logits(n * classes);
    const test::Guarded<std::int32_t> found(n);
    engine.run(in.data(), static_cast<std::int64_t>(n), logits.data(), found.data(),
               {arena.data(), arena.size()});
    EXPECT_TRUE(arena.intact() && logits.intact() && found.intact());
    std::copy_n(logits.data(), n * classes,
                results.logits.begin() + static_cast<std::ptrdiff_t>(at * classes));
    std::copy_n(found.data(), n, results.classes.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return results;
}

// Every feature of the format on every instruction set: logits, classes and all sums are those of loops over
// single elements.
TEST(PackedEngine, EqualsTheReferenceOnDrawnNetworks) {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    HbitDraw draw(seed);
    const HbitNetwork network = draw.network();
    const std::vector<std::uint8_t> file = hbit_file(network);
    const std::int64_t count = draw.between(1, 3);
    const std::vector<std::uint8_t> images = draw.images(network, count);
    HbitReference reference(network);
    for (const auto& [isa, rows] : all_rows()) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", " + name(isa));
      const Engine engine(read(file), rows);
      const Results results = run(engine, images, count, engine.chunk());
      std::vector<float> expected;
      for (std::int64_t i = 0; i < count; ++i) {
        const std::uint8_t* const image = images.data() + i * engine.image_values();
        const std::vector<float> logits = reference.run(image);
        expected.insert(expected.end(), logits.begin(), logits.end());
        EXPECT_EQ(results.classes[static_cast<std::size_t>(i)],
                  std::ranges::max_element(logits) - logits.begin());
        if (i > 0) continue;
        for (std::size_t l = 0; l < network.layers.size(); ++l) {
          const std::vector<double>& sums = reference.sums()[l];
          if (network.layers[l].binary) {
            const std::vector<std::int32_t> found = engine.integers(image, l);
            EXPECT_EQ(std::vector<double>(found.begin(), found.end()), sums) << "layer " << l;
          } else {
            const std::vector<float> found = engine.reals(image, l);
            EXPECT_EQ(std::vector<double>(found.begin(), found.end()), sums) << "layer " << l;
          }
        }
      }
      EXPECT_EQ(bits_of(results.logits), bits_of(expected));
      if (testing::Test::HasFailure()) return;
    }
  }
}

// What stands in the arena, and who shares a chunk, does not matter.
TEST(PackedEngine, ImagesAreIndependent) {
  for (std::uint32_t seed = 1000; seed < 1030; ++seed) {
    HbitDraw draw(seed);
    const HbitNetwork network = draw.network();
    const Engine engine(read(hbit_file(network)));
    const std::int64_t count = engine.chunk() * 2 + 1;
    const std::vector<std::uint8_t> images = draw.images(network, count);
    const Results all = run(engine, images, count, engine.chunk());
    const Results single = run(engine, images, count, 1);
    EXPECT_EQ(bits_of(all.logits), bits_of(single.logits)) << seed;
    EXPECT_EQ(all.classes, single.classes) << seed;
  }
}

TEST(PackedEngine, TakesSeveralImagesAtATime) {
  const HbitNetwork network = HbitDraw(0).network();
  EXPECT_GT(Engine(read(hbit_file(network))).chunk(), 1);
}

/// One float layer of given logits on a network of one pixel.
HbitNetwork constant_logits(const std::vector<float>& bias) {
  HbitNetwork network;
  network.pixels = test::pixel_table(1);
  network.classes = static_cast<std::uint32_t>(bias.size());
  test::HbitLayer l;
  l.binary = l.signs = false;
  l.outputs = network.classes;
  l.weights.assign(bias.size(), 0);
  l.bias = bias;
  network.layers = {l};
  return network;
}

TEST(PackedEngine, TheFirstOfEqualLogitsWins) {
  const Engine engine(read(hbit_file(constant_logits({1, 3, 3, 2, 3}))));
  EXPECT_EQ(run(engine, {0}, 1, 1).classes[0], 1);
}

TEST(PackedEngine, ANanNeverWins) {
  // inf − inf in the second logit, by weights that overflow.
  HbitNetwork network = constant_logits({0, 0, -1});
  test::HbitLayer wide = network.layers[0];
  wide.outputs = 2;
  wide.weights = {3e38F, -3e38F};
  wide.bias = {3e38F, -3e38F};
  test::HbitLayer last = network.layers[0];
  last.channels = 2;
  last.weights = {0, 0, 3e38F, 3e38F, 0, 0};
  last.bias = {-2, 0, -1};
  network.layers = {wide, last};
  const Engine engine(read(hbit_file(network)));
  // The pixel's code is 1: inf and −inf, whose sum is a NaN; inf·0 are NaN too.
  const Results results = run(engine, {255}, 1, 1);
  EXPECT_TRUE(std::isnan(results.logits[1]));
  EXPECT_EQ(results.classes[0], 0);
  const Engine sound(read(hbit_file(constant_logits({-2, -1, -3}))));
  EXPECT_EQ(run(sound, {0}, 1, 1).classes[0], 1);
}

TEST(PackedEngine, SaysWhichLayerItHasNot) {
  const Engine engine(read(hbit_file(constant_logits({1, 2}))));
  const std::uint8_t image = 0;
  for (const std::size_t layer : {std::size_t{1}, ~std::size_t{0}}) {
    try {
      engine.reals(&image, layer);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_STREQ(error.code(), "ERR_HARDBIT_ARGUMENT");
    }
  }
  EXPECT_THROW(engine.integers(&image, 0), Error);
}

TEST(PackedEngine, LoadsOfEqualFilesShareOne) {
  HbitDraw draw(5);
  const std::vector<std::uint8_t> file = hbit_file(draw.network());
  const std::vector<std::uint8_t> other = hbit_file(draw.network());
  std::vector<std::shared_ptr<const Engine>> engines(8);
  std::vector<std::thread> threads;
  for (auto& engine : engines) threads.emplace_back([&] { engine = shared_engine(read(file)); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& engine : engines) EXPECT_EQ(engine, engines[0]);
  EXPECT_NE(shared_engine(read(other)), engines[0]);
  // Nothing holds an engine but who loaded it.
  const std::weak_ptr<const Engine> weak = engines[0];
  engines.clear();
  EXPECT_TRUE(weak.expired());
  EXPECT_NE(shared_engine(read(file)), nullptr);
}

}  // namespace
}  // namespace hardbit::packed
