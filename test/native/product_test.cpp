#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <random>
#include <string>

#include "conv_cases.h"
#include "cpu/product/choice.h"
#include "cpu/product/plan_cache.h"
#include "guarded.h"
#include "ops/reference.h"
#include "product_rows.h"

// The driver of binary layers against the scalar reference, on every kernel this CPU runs: images with and
// without margins, any pitches, pooling, parts of the output.

namespace hardbit {
namespace {

using cpu::BitPool;
using cpu::ConvProduct;
using cpu::Input;
using cpu::Operand;
using cpu::Part;
using ops::PaddingValue;
using test::ConvCase;
using test::Guarded;

/// A layer, its operands, and the dots of the reference.
struct Layer {
  ConvCase shape;
  PaddingValue padding;
  Input input;
  int bits;
  ops::Conv2d conv;
  Tensor x;  // bits, or codes u8
  Tensor w;
  std::vector<std::int32_t> dots;  // [n][oh][ow][m]

  Layer(const ConvCase& shape, PaddingValue padding, Input input, int bits, std::uint32_t seed)
      : shape(shape), padding(padding), input(input), bits(bits), conv(shape.sizes()) {
    const Shape size{conv.n, conv.h, conv.w, conv.c};
    w = test::random_bits({conv.m, conv.k()}, seed);
    x = input == Input::signs ? test::random_bits(size, seed + 1) : test::random_codes(size, bits, seed + 1);
    // Every row of the tables meets the same layers.
    static std::map<std::string, std::vector<std::int32_t>> known;
    std::vector<std::int32_t>& found = known[text() + " " + std::to_string(seed)];
    if (found.empty()) found = reference();
    dots = found;
  }
  std::vector<std::int32_t> reference() const {
    const Tensor y = input == Input::signs
                         ? ops::reference::binary_conv2d(x, w, shape.kernel, shape.geometry, padding)
                         : ops::reference::codes_conv2d(x, bits, w, shape.kernel, shape.geometry, padding);
    std::vector<std::int32_t> values(static_cast<std::size_t>(y.count()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = y.dtype() == DType::i16 ? y.data<std::int16_t>()[i] : y.data<std::int32_t>()[i];
    }
    return values;
  }
  std::string text() const {
    constexpr const char* inputs[] = {"signs", "planes", "codes"};
    return shape.text() + " " + inputs[static_cast<int>(input)] + " " + std::to_string(bits) +
           (padding == PaddingValue::one ? " ones" : " zeros");
  }
  std::int32_t dot(std::int64_t image, std::int64_t i, std::int64_t j, std::int64_t m) const {
    return dots[static_cast<std::size_t>(((image * conv.oh + i) * conv.ow + j) * conv.m + m)];
  }
};

/// The layer's images in memory that ends at a guard page, with a margin of padding and gaps of poison.
struct Placed {
  std::unique_ptr<Guarded<std::uint8_t>> memory;
  cpu::Images images;

  Placed(const Layer& layer, const std::array<std::int64_t, 4>& margin, std::int64_t gap) {
    const auto& [above, below, left, right] = margin;
    const ops::Conv2d& v = layer.conv;
    const std::int64_t plane = layer.input == Input::codes ? v.c : words(v.c) * 8;
    const std::int64_t planes = layer.input == Input::planes ? layer.bits : 1;
    const std::int64_t pixel = planes * plane + gap * (layer.input == Input::codes ? 1 : 8);
    const std::int64_t row = (left + v.w + right) * pixel;
    const std::int64_t image = (above + v.h + below) * row;
    const std::int64_t total = v.n * image - (pixel - planes * plane);
    memory = std::make_unique<Guarded<std::uint8_t>>(static_cast<std::size_t>(total));
    std::uint8_t* const first = memory->data() + above * row + left * pixel;
    images = {.data = first, .pixel = pixel, .row = row, .image = image, .plane = plane, .margin = margin};
    for (std::int64_t n = 0; n < v.n; ++n) {
      for (std::int64_t i = -above; i < v.h + below; ++i) {
        for (std::int64_t j = -left; j < v.w + right; ++j) {
          std::uint8_t* const at = first + n * image + i * row + j * pixel;
          std::memset(at, 0, static_cast<std::size_t>(planes * plane));
          const bool inside = i >= 0 && i < v.h && j >= 0 && j < v.w;
          for (std::int64_t c = 0; c < v.c; ++c) {
            const std::int64_t element = ((n * v.h + i) * v.w + j) * v.c + c;
            int code = layer.padding == PaddingValue::one ? (1 << layer.bits) - 1 : 0;
            if (inside && layer.input == Input::signs) {
              code = ops::reference::bit(layer.x, element / v.c, c) ? 1 : 0;
            } else if (inside) {
              code = layer.x.data<std::uint8_t>()[element];
            }
            if (layer.input == Input::codes) {
              at[c] = static_cast<std::uint8_t>(code);
            } else {
              for (std::int64_t p = 0; p < planes; ++p) {
                at[p * plane + c / 8] |= static_cast<std::uint8_t>((code >> p & 1) << (c % 8));
              }
            }
          }
        }
      }
    }
  }
};

/// Scratch memory of exactly the promised size, which begins aligned and ends at a guard page.
struct Scratch {
  Guarded<std::byte> memory;
  explicit Scratch(std::size_t bytes) : memory((bytes + 63) / 64 * 64) {}
  std::byte* data() const { return memory.data(); }
};

/// Calls run(part) for parts that together are the whole.
using Split = std::function<void(std::int64_t rows, const ConvProduct&, const std::function<void(Part)>&)>;

void whole(std::int64_t rows, const ConvProduct&, const std::function<void(Part)>& run) { run({0, rows}); }

void in_pieces(std::int64_t rows, const ConvProduct& product, const std::function<void(Part)>& run) {
  const bool divisible = product.conv().geometry.groups == 1;
  const std::int64_t middle = divisible ? product.tiles() / 2 : 0;
  for (std::int64_t begin = 0, size = 1; begin < rows; begin += size++) {
    const std::int64_t end = std::min(begin + size, rows);
    if (middle == 0) {
      run({begin, end});
    } else {
      run({begin, end, middle, product.tiles()});
      run({begin, end, 0, middle});
    }
  }
}

/// Output images with gaps behind pixels, rows and images.
template <class T>
struct Output {
  std::int64_t n, h, w, elements, gap;
  Guarded<T> memory;
  cpu::Target<T> target;

  Output(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t elements, std::int64_t gap)
      : n(n),
        h(h),
        w(w),
        elements(elements),
        gap(gap),
        memory(static_cast<std::size_t>(n * (h * (w * (elements + gap) + gap) + gap))) {
    const std::int64_t pixel = elements + gap;
    target = {memory.data(), pixel, w * pixel + gap, h * (w * pixel + gap) + gap};
  }
  /// Expects element(image, row, column, e) at its place, and poison everywhere else.
  template <class Element>
  void check(const Element& element) const {
    ASSERT_TRUE(memory.intact());
    T poison;
    std::memset(&poison, Guarded<T>::poison, sizeof(T));
    std::vector<T> expected(memory.size(), poison);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t y = 0; y < h; ++y) {
        for (std::int64_t x = 0; x < w; ++x) {
          for (std::int64_t e = 0; e < elements; ++e) {
            expected[static_cast<std::size_t>(i * target.image + y * target.row + x * target.pixel + e)] =
                static_cast<T>(element(i, y, x, e));
          }
        }
      }
    }
    ASSERT_EQ(memory.values(), expected);
  }
};

template <class Out>
void check_sums(const ConvProduct& product, const Layer& layer, const cpu::Images& images, const Split& split,
                std::int64_t gap) {
  const ops::Conv2d& v = layer.conv;
  const Output<Out> out(v.n, v.oh, v.ow, v.m, gap);
  const Scratch scratch(product.scratch_bytes());
  split(v.n * v.oh, product,
        [&](const Part& part) { product.run(images, part, out.target, scratch.data()); });
  out.check(
      [&](std::int64_t i, std::int64_t y, std::int64_t x, std::int64_t m) { return layer.dot(i, y, x, m); });
}

void check_bits(const ConvProduct& product, const Layer& layer, const cpu::Images& images, const Split& split,
                std::int64_t gap, const ops::Pool2dGeometry& geometry, std::mt19937& random) {
  const ops::Conv2d& v = layer.conv;
  std::vector<std::int32_t> minimum;
  for (std::int64_t m = 0; m < v.m; ++m) {
    const std::int32_t some =
        layer.dot(static_cast<std::int64_t>(random()) % v.n, static_cast<std::int64_t>(random()) % v.oh,
                  static_cast<std::int64_t>(random()) % v.ow, m);
    const std::int32_t values[] = {some,
                                   some,
                                   some + 1,
                                   some - 1,
                                   0,
                                   std::numeric_limits<std::int32_t>::min(),
                                   std::numeric_limits<std::int32_t>::max(),
                                   std::numeric_limits<std::int32_t>::max() - 1,
                                   std::numeric_limits<std::int32_t>::min() + 1};
    minimum.push_back(values[random() % std::size(values)]);
  }
  const Tensor all = test::random_bits({1, v.m}, static_cast<std::uint32_t>(random()));
  const BitPool pool{.geometry = geometry, .all = random() % 3 == 0 ? nullptr : all.data<std::uint64_t>()};
  const ConvProduct::Thresholds thresholds(product, minimum);
  const auto [rows, columns] = product.pooled(pool);
  const Output<std::uint8_t> out(v.n, rows, columns, words(v.m) * 8, gap * 8);
  const Scratch scratch(product.scratch_bytes(pool));
  split(v.n * rows, product,
        [&](const Part& part) { product.run(images, part, thresholds, pool, out.target, scratch.data()); });
  const auto bit = [&](std::int64_t image, std::int64_t y, std::int64_t x, std::int64_t m) {
    const auto least = minimum[static_cast<std::size_t>(m)];
    const bool every = pool.all != nullptr && ops::reference::bit(all, 0, m);
    bool any_set = false;
    bool all_set = true;
    for (std::int64_t a = 0; a < geometry.kernel[0]; ++a) {
      for (std::int64_t b = 0; b < geometry.kernel[1]; ++b) {
        const std::int64_t i = y * geometry.stride[0] + a - geometry.padding[0];
        const std::int64_t j = x * geometry.stride[1] + b - geometry.padding[2];
        if (i < 0 || i >= v.oh || j < 0 || j >= v.ow) continue;
        const bool set = layer.dot(image, i, j, m) >= least;
        any_set = any_set || set;
        all_set = all_set && set;
      }
    }
    return every ? all_set : any_set;
  };
  out.check([&](std::int64_t image, std::int64_t y, std::int64_t x, std::int64_t byte) {
    int value = 0;
    for (std::int64_t m = byte * 8; m < std::min(byte * 8 + 8, v.m); ++m) {
      value |= static_cast<int>(bit(image, y, x, m)) << (m % 8);
    }
    return value;
  });
}

ops::Pool2dGeometry random_pool(const ops::Conv2d& v, std::mt19937& random) {
  const auto below = [&](std::int64_t n) { return static_cast<std::int64_t>(random()) % n; };
  for (;;) {
    ops::Pool2dGeometry g{.kernel = {1 + below(3), 1 + below(3)}, .stride = {1 + below(3), 1 + below(3)}};
    for (std::size_t i = 0; i < 4; ++i) g.padding[i] = below(g.kernel[i / 2]);
    if (g.kernel[0] <= v.oh + g.padding[0] + g.padding[1] &&
        g.kernel[1] <= v.ow + g.padding[2] + g.padding[3]) {
      return g;
    }
  }
}

class ProductTest : public testing::TestWithParam<test::NamedProductRows> {
 protected:
  /// All the ways to run a layer, where the kernel takes its operands.
  void check(const Layer& layer, std::mt19937& random) {
    SCOPED_TRACE(layer.text());
    const auto& [name, operand, rows] = GetParam();
    if (operand == Operand::bytes && layer.input != Input::codes) return;
    const ConvProduct product(layer.conv, layer.padding, layer.input, layer.bits,
                              layer.w.data<std::uint64_t>(), rows, operand);
    const auto& v = layer.conv;
    const auto& stride = v.geometry.stride;
    const auto& dilation = v.geometry.dilation;
    const auto& padding = v.geometry.padding;
    // What windows reach beyond the last row and column, which may be less than the padding there.
    const auto behind = [&](std::int64_t outputs, std::int64_t taps, std::int64_t size, std::size_t axis) {
      const std::int64_t last = (outputs - 1) * stride[axis] + (taps - 1) * dilation[axis];
      return std::max<std::int64_t>(last + 1 - padding[2 * axis] - size, 0);
    };
    const std::array<std::int64_t, 4> needs = {padding[0], behind(v.oh, v.kh, v.h, 0), padding[2],
                                               behind(v.ow, v.kw, v.w, 1)};
    std::array<std::int64_t, 4> scant = needs;  // one short on one side
    std::int64_t& side = scant[random() % 4];
    side = std::max<std::int64_t>(side - 1, 0);
    const std::array<std::int64_t, 4> ample = {needs[0] + 1, needs[1], needs[2], needs[3] + 2};
    const std::array<std::int64_t, 4> margins[] = {{}, needs, scant, ample};
    const std::size_t first = random() % 4;
    for (const std::size_t which : {first, (first + 1 + random() % 3) % 4}) {
      check(product, layer, margins[which], random);
      if (HasFatalFailure()) return;
    }
  }

  void check(const ConvProduct& product, const Layer& layer, const std::array<std::int64_t, 4>& margin,
             std::mt19937& random) {
    const std::int64_t gap = random() % 3 == 0 ? 1 : 0;
    SCOPED_TRACE("margin " + to_string({margin[0], margin[1], margin[2], margin[3]}) + " gap " +
                 std::to_string(gap));
    const Placed x(layer, margin, gap);
    const Split split = random() % 2 == 0 ? whole : in_pieces;
    if (random() % 2 == 0) {
      check_sums<std::int32_t>(product, layer, x.images, split, gap);
    } else {
      check_sums<std::int16_t>(product, layer, x.images, split, gap);
    }
    check_bits(product, layer, x.images, split, gap, {}, random);
    check_bits(product, layer, x.images, split, gap, random_pool(layer.conv, random), random);
  }

  void check_all(const ConvCase& shape, PaddingValue padding, int bits, std::uint32_t seed,
                 std::mt19937& random) {
    check(Layer(shape, padding, Input::signs, 1, seed), random);
    if (HasFatalFailure()) return;
    check(Layer(shape, padding, Input::planes, bits, seed + 1), random);
    if (HasFatalFailure()) return;
    check(Layer(shape, padding, Input::codes, bits, seed + 2), random);
  }
};

TEST_P(ProductTest, EqualsTheReferenceOnRandomGeometries) {
  std::mt19937 random(1);
  constexpr std::int64_t channels[] = {1, 2, 3, 7, 20, 32, 63, 64, 65, 128, 200};
  constexpr int bits[] = {1, 2, 4, 8, 3};
  for (std::uint32_t i = 0; i < 88; ++i) {
    ConvCase shape = test::random_conv(random, channels[i % 11]);
    if (i % 3 == 0) shape.m *= 8;  // groups whose bits fill bytes
    if (i % 7 == 0) shape.m *= 3;
    check_all(shape, i % 2 == 0 ? PaddingValue::zero : PaddingValue::one, bits[i % 5], 3 * i, random);
    if (HasFatalFailure()) return;
  }
}

TEST_P(ProductTest, EqualsTheReferenceOnOddOnes) {
  std::mt19937 random(2);
  for (const auto padding : {PaddingValue::zero, PaddingValue::one}) {
    for (const ConvCase& shape : test::odd_convs) {
      if (shape.sizes().empty()) continue;
      check_all(shape, padding, 2, 1, random);
      if (HasFatalFailure()) return;
    }
  }
}

// So many channels that every plan leaves out the taps outside, with few pixels of each border class, and
// with all kinds of padding, some of it wider than the kernel.
TEST_P(ProductTest, EqualsTheReferenceWithoutTapsOutside) {
  if (GetParam().operand == Operand::bytes) return;  // signs are bits
  std::mt19937 random(6);
  const auto from = [&](std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(random()) % (most - least + 1);
  };
  constexpr std::int64_t channels[] = {32, 64, 96, 128, 200};
  for (std::uint32_t i = 0; i < 15; ++i) {
    const ops::Pair kernel = {from(1, 4), from(1, 4)};
    ops::Conv2dGeometry geometry{.stride = {from(1, 2), from(1, 2)}, .dilation = {from(1, 2), 1}};
    for (std::size_t side = 0; side < 4; ++side) geometry.padding[side] = from(0, kernel[side / 2] + 1);
    const ConvCase shape{from(1, 4),       from(7, 9), from(4, 9), channels[i % 5],
                         8 * from(33, 45), kernel,     geometry};
    check(Layer(shape, PaddingValue::zero, Input::signs, 1, i), random);
    if (HasFatalFailure()) return;
  }
  // Half a word a pixel, and pixels that see nothing of the image.
  const ConvCase half{2, 5, 2, 32, 600, {1, 1}, {.stride = {1, 2}, .padding = {0, 2, 1, 0}}};
  check(Layer(half, PaddingValue::zero, Input::signs, 1, 30), random);
}

TEST_P(ProductTest, EqualsTheReferenceBeyondBlocks) {
  std::mt19937 random(3);
  const ConvCase shapes[] = {
      {2, 20, 21, 64, 130, {3, 3}, {.padding = {1, 1, 1, 1}}},  // several blocks and tiles
      {7, 4, 4, 64, 65, {3, 3}, {.padding = {1, 1, 1, 1}}},     // tiles across images
      {203, 1, 1, 100, 70, {1, 1}, {}},                         // a dense layer
      {5, 4, 4, 50, 77, {4, 4}, {}},                            // dense behind a flattened image
      {5, 4, 4, 64, 77, {4, 4}, {}},
      {1, 600, 3, 200, 3, {2, 2}, {}},                        // more rows than a strip holds
      {2, 15, 15, 3, 66, {3, 3}, {.padding = {1, 1, 1, 1}}},  // a first layer
      {1, 12, 12, 128, 48, {3, 3}, {.padding = {1, 1, 1, 1}, .groups = 2}},
  };
  for (const ConvCase& shape : shapes) {
    check_all(shape, PaddingValue::zero, 2, 5, random);
    if (HasFatalFailure()) return;
  }
}

TEST(PlanCache, FindsPlansByTheContentsOfTheirWeights) {
  cpu::forget_plans();
  const ops::Conv2d conv = ConvCase{2, 6, 6, 20, 9, {3, 3}, {}}.sizes();
  const auto plan = [&](const ops::Conv2d& v, const Tensor& w, Input input = Input::signs) {
    return cpu::cached_plan(cpu::selected_product_rows(), v, PaddingValue::zero, input, 1,
                            w.data<std::uint64_t>());
  };
  const Tensor w = test::random_bits({9, 180}, 1);
  const auto first = plan(conv, w);
  EXPECT_EQ(plan(conv, w), first);
  EXPECT_EQ(plan(conv, w.clone()), first);
  ops::Conv2d more = conv;
  more.n = 7;
  EXPECT_EQ(plan(more, w), first);
  EXPECT_NE(plan(conv, w, Input::codes), first);
  EXPECT_NE(plan(ConvCase{2, 6, 7, 20, 9, {3, 3}, {}}.sizes(), w), first);
  w.data<std::uint64_t>()[26] ^= 1;  // the last word of the last channel
  EXPECT_NE(plan(conv, w), first);
  w.data<std::uint64_t>()[26] ^= 1;
  EXPECT_EQ(plan(conv, w), first);
  cpu::forget_plans();
  EXPECT_EQ(cpu::cached_plan_bytes(), 0);
  EXPECT_NE(plan(conv, w), first);
}

TEST(PlanCache, IsBounded) {
  cpu::forget_plans();
  const ops::Conv2d conv = ConvCase{1, 3, 3, 64, 64, {3, 3}, {}}.sizes();
  std::size_t most = 0;
  for (std::uint32_t i = 0; i < 40; ++i) {
    const Tensor w = test::random_bits({64, 576}, i);
    cpu::cached_plan(cpu::selected_product_rows(), conv, PaddingValue::zero, Input::signs, 1,
                     w.data<std::uint64_t>());
    most = std::max(most, cpu::cached_plan_bytes());
  }
  EXPECT_LT(most, 9 * 64 * 576 / 8 * 3);
  EXPECT_GT(most, 7 * 64 * 576 / 8 * 2);
  cpu::forget_plans();
}

TEST(OperandChoice, TakesPlanesForFewBitsAndBytesForManyOnEveryKernel) {
  for (const auto& [name, operand, rows] : test::product_rows()) {
    SCOPED_TRACE(name);
    int last = 0;
    for (const cpu::ChoiceExample& example : cpu::choice_examples(rows)) {
      const bool bytes = example.operand == Operand::bytes;
      const bool dense = std::string(example.layer).starts_with("dense");
      if (example.bits == 1 && dense) {
        EXPECT_FALSE(bytes);
      }
      if (example.bits == 8 && rows.bits.isa != Isa::neon) {  // by its instructions a tie, and not measured
        EXPECT_TRUE(bytes) << example.layer;
      }
      if (example.bits > 1) {
        EXPECT_GE(static_cast<int>(bytes), last) << example.layer;
      }
      last = static_cast<int>(bytes);
    }
  }
}

TEST_P(ProductTest, TakesNoMarginForGrantedThatIsNotThere) {
  std::mt19937 random(4);
  const auto& [name, operand, rows] = GetParam();
  for (std::size_t side = 0; side < 4; ++side) {
    ConvCase shape{2, 6, 6, 64, 8, {3, 3}, {}};
    shape.geometry.padding[side] = 1;
    for (const Input input : {Input::signs, Input::codes}) {
      if (operand == Operand::bytes && input != Input::codes) continue;
      const Layer layer(shape, PaddingValue::zero, input, 1, 9);
      SCOPED_TRACE(layer.text());
      const ConvProduct product(layer.conv, layer.padding, input, 1, layer.w.data<std::uint64_t>(), rows,
                                operand);
      check(product, layer, {}, random);
      check(product, layer, shape.geometry.padding, random);
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, ProductTest, testing::ValuesIn(test::product_rows()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace hardbit
