#pragma once
#include <cstdint>
#include <optional>

#include "cuda/band_product.h"
#include "cuda/product_choice.h"
#include "cuda/runtime.h"
#include "cuda/weight_stationary.h"
#include "ops/geometry.h"

// Binary layers on the device: convolutions by ±1 weights, from bits or codes to integers or bits. A dense
// layer is a convolution of 1×1 images, whose batch is the rows; one behind a flattened image has that image
// as its kernel. Every result is exact, and the same on either operand and with every tile.
//
// How. All is one product of unsigned codes by ±1 weights, S = Σ x·w over the taps inside the image, in which
// signs are the codes 0 and 1. Outside of the image the operand is 0 and adds nothing. Then
//
//     codes: n = S + correction,   signs: n = 2·S + correction,
//
// where the correction, −Σ w over the taps inside for signs and + (2^bits − 1)·Σ w over those outside for
// PaddingValue::one, depends on the channel and on which taps are inside: a small table by border class. On
// bytes S is what the tensor cores sum. On bits they sum P = Σ_p 2^p popcount(x_p & w) over planes p, the
// most significant first with P ← 2·P between them, and S = 2·P − Σ x; Σ x, the sum of the window's codes, is
// a box sum of a number a pixel.
//
// A window is a list of taps, each a run of 16-byte pieces (8-byte where pixels have an odd number of words)
// that lies in the image as it is. Where a tap fills too little of its words (first layers), windows are cut
// out beforehand, and are images of one pixel from then on.

namespace hardbit::cuda {

/// Outputs along one side of an image by the taps they have inside: all of them for [first, last); every
/// other output is a class of its own.
struct BorderClasses {
  int first;
  int last;
  int outputs;

  static BorderClasses of_side(std::int64_t outputs, std::int64_t size, std::int64_t taps,
                               std::int64_t stride, std::int64_t dilation, std::int64_t before);
  constexpr int count() const { return first + 1 + (outputs - last); }
  constexpr int of(int output) const {
    return output < first ? output : output < last ? first : output - last + first + 1;
  }
  /// An output of that class.
  constexpr int representative(int border_class) const {
    return border_class <= first ? border_class : border_class - first - 1 + last;
  }
};

struct BinaryLayer {
  /// Checked (ops::check_conv2d); n does not matter, m and c are not 0.
  ops::Conv2d conv;
  ops::PaddingValue padding;
  /// Whether the elements of an image are codes of `bits` bits, 1 … 8, k·(2^bits − 1) < 2^31, or signs.
  bool codes;
  int bits;
};

/// How a layer's operands lie on the device: known from its sizes alone.
struct BinaryLayout {
  ProductOperand operand;
  /// Windows are cut out beforehand.
  bool patches;
  /// Passes over k: the planes of codes on bits, else 1.
  int planes;
  /// Elements, and bytes, of one tap of one group; with `patches` the window is one tap.
  std::int64_t tap_elements;
  std::int64_t tap_bytes;
  std::int64_t taps;
  /// Of a channel's weights: all taps, filled up with zeros to whole stages.
  std::int64_t row_bytes;
  BorderClasses rows;
  BorderClasses columns;
  std::int64_t classes() const { return std::int64_t{rows.count()} * columns.count(); }
  /// Of a group's channels in the table of corrections.
  std::int64_t correction_pitch;
  /// There is something to correct.
  bool corrects;
  std::int64_t steps() const;
};
BinaryLayout binary_layout(const BinaryLayer& layer, ProductOperand operand);
/// What choose_operand() says of this device.
ProductOperand choose_operand(const BinaryLayer& layer);

/// A layer's weights made ready, on the device: prepared once, used as often as wanted, by whatever thread.
class BinaryWeights {
 public:
  /// What they are made ready for: sums alone, as training does anew for every step, or binary_layer() too.
  enum class Use : std::uint8_t { sums, layers };
  /// w bits [m][words(k)] on the device, in the order kh, kw, c / groups, padding bits zero; not used
  /// afterwards. Queued, like everything.
  BinaryWeights(const BinaryLayer& layer, const std::uint64_t* w, ProductOperand operand,
                Use use = Use::layers);
  BinaryWeights(const BinaryLayer& layer, const std::uint64_t* w, Use use = Use::layers)
      : BinaryWeights(layer, w, choose_operand(layer), use) {}

  const BinaryLayer& layer() const { return layer_; }
  const BinaryLayout& layout() const { return layout_; }
  /// [m][row_bytes]: bits, or ±1 as bytes; 0 behind a tap's elements.
  const std::uint8_t* packed() const { return packed_.data(); }
  /// [groups][classes][correction_pitch]; null where nothing is corrected.
  const std::int32_t* corrections() const { return layout_.corrects ? corrections_.data() : nullptr; }
  /// The layer by bands of images; null where it does not fit.
  const BandProduct* bands() const { return bands_.get(); }
  /// The whole layer with its weights in registers; null where it does not fit, and for sums alone.
  const WeightStationaryLayer* stationary() const { return stationary_.get(); }
  std::size_t bytes() const;

 private:
  BinaryLayer layer_;
  BinaryLayout layout_;
  Scratch<std::uint8_t> packed_;
  Scratch<std::int32_t> corrections_;
  std::unique_ptr<BandProduct> bands_;
  std::unique_ptr<WeightStationaryLayer> stationary_;
};

/// The sums n of `images` images: x is bits [images][h][w][words(c)] of signs, or u8 [images][h][w][c] of
/// codes; out [images][oh][ow][m], Out std::int16_t or std::int32_t, wide enough for every sum. A code that
/// does not fit into the layer's bits is reported (Report::code). `tile`: what choose_tile() says where it is
/// empty.
template <class Out>
void binary_sums(const BinaryWeights& weights, std::int64_t images, const void* x, Out* out,
                 std::optional<ProductTile> tile = {});

/// What follows the sums of a layer that gives signs, on the device.
struct BinaryThresholds {
  /// i32 [m]: the bit of channel j is n ≥ minimum[j]; −2^31: always, 2^31 − 1, which no
  /// sum is to reach: never.
  const std::int32_t* minimum;
  /// Max-pooling of the bits; the default pools nothing. Padding takes no part, every window has a pixel
  /// inside, and there are pooled[0] × pooled[1] of them an image.
  ops::Pool2dGeometry pool{};
  ops::Pair pooled{};
  /// bits [words(m)]: channels whose pooled bit is the AND of the window's, in place of the OR, because the
  /// sign of batch norm's factor turned the comparison round. Null: none.
  const std::uint64_t* all = nullptr;

  bool pools_nothing() const { return pool.kernel == ops::Pair{1, 1} && pool.stride == ops::Pair{1, 1}; }
  /// 2 × 2 pixels of an image of oh × ow, side by side.
  bool pools_by_two(std::int64_t oh, std::int64_t ow) const {
    return pool.side_by_side() && pool.kernel == ops::Pair{2, 2} && pooled == ops::Pair{oh / 2, ow / 2};
  }
};

/// A whole layer: convolution, thresholds and pooling. x as in binary_sums(); out bits
/// [images][oh][ow][words(m)], or [images][pooled][words(m)] behind a pool, padding bits zero: what the next
/// layer reads. One launch keeps the sums in registers where there is no pool or one of 2×2, stride 2,
/// without padding, and where groups, if there are several, have whole 32-bit words of channels; else the
/// sums go through memory. Queued; allocates from the pool of the thread for the time of the call.
void binary_layer(const BinaryWeights& weights, std::int64_t images, const void* x,
                  const BinaryThresholds& thresholds, std::uint64_t* out,
                  std::optional<ProductTile> tile = {});

}  // namespace hardbit::cuda
