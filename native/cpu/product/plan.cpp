#include "cpu/product/plan.h"

#include <cstring>
#include <limits>
#include <new>

#include "cpu/product/bit_string.h"
#include "cpu/product/choice.h"

namespace hardbit::cpu {
namespace {

using ops::Conv2d;
using ops::PaddingValue;

constexpr std::size_t alignment = 64;

/// Input rows in scratch memory stay in the second-level cache beside the weights.
constexpr std::int64_t strip_bytes = 128 * 1024;
/// Patches stay in the first-level cache beside a tile of weights.
constexpr std::int64_t patches_bytes = 12 * 1024;
/// Enough that a tile of weights is read seldom from the second-level cache, and that the pointers stay in
/// the first. A multiple of all mr.
constexpr std::int64_t most_pixels = 192;

/// See skipping_pays().
constexpr double skip_cost = 4;

bool joins_taps(const Conv2d& conv) { return conv.geometry.dilation[1] == 1 && conv.geometry.groups == 1; }

/// Words of a segment of bytes: kernel kinds read whole words, and pairs of them where there are several
/// segments.
std::int64_t byte_segment_words(const Conv2d& conv) {
  const std::int64_t bytes = (joins_taps(conv) ? conv.kw : 1) * conv.group_channels();
  const bool one = joins_taps(conv) ? conv.kh == 1 : conv.kh * conv.kw == 1;
  return one ? (bytes + 3) / 4 : (bytes + 7) / 8 * 2;
}

Borders borders(const Conv2d& conv, int axis, bool corrected) {
  const auto i = static_cast<std::size_t>(axis);
  const std::int64_t outputs = axis == 0 ? conv.oh : conv.ow;
  const std::int64_t taps = axis == 0 ? conv.kh : conv.kw;
  if (!corrected) return {outputs, taps};
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  return {outputs, axis == 0 ? conv.h : conv.w, taps, stride[i], dilation[i], padding[2 * i]};
}

/// Padding in front of and behind an axis that windows read.
std::pair<std::int64_t, std::int64_t> needed(const Conv2d& conv, std::size_t axis) {
  const std::int64_t size = axis == 0 ? conv.h : conv.w;
  const std::int64_t outputs = axis == 0 ? conv.oh : conv.ow;
  const std::int64_t taps = axis == 0 ? conv.kh : conv.kw;
  const std::int64_t before = conv.geometry.padding[2 * axis];
  const std::int64_t last =
      (outputs - 1) * conv.geometry.stride[axis] + (taps - 1) * conv.geometry.dilation[axis] - before;
  return {before, std::max<std::int64_t>(last + 1 - size, 0)};
}

/// The popcount of each byte. Unlike std::popcount on a CPU that may lack the instruction, it costs no call.
std::uint64_t popcount_bytes(std::uint64_t v) {
  v -= v >> 1 & 0x5555555555555555;
  v = (v & 0x3333333333333333) + (v >> 2 & 0x3333333333333333);
  return (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0f;
}

int sum_bytes(std::uint64_t v) {
  v = (v & 0x00ff00ff00ff00ff) + (v >> 8 & 0x00ff00ff00ff00ff);
  return static_cast<int>(v * 0x0001000100010001 >> 48);
}

int count_bits(const std::uint64_t* bits, std::int64_t at, std::int64_t n) {
  int count = 0;
  if (at % 64 == 0) {
    const std::uint64_t* word = bits + at / 64;
    while (n >= 64) {
      const std::int64_t some = std::min<std::int64_t>(n / 64, 31);  // 31·8 fits a byte
      std::uint64_t bytes = 0;
      for (std::int64_t i = 0; i < some; ++i) bytes += popcount_bytes(word[i]);
      count += sum_bytes(bytes);
      word += some;
      n -= some * 64;
    }
    at = 0;
    bits = word;
  }
  for_words(bits, at, n, [&](std::uint64_t word, int) { count += sum_bytes(popcount_bytes(word)); });
  return count;
}

}  // namespace

// Reading windows in place costs the words that the channels do not fill, patches cost the making.
WindowWords window_words(const Conv2d& conv, const ProductRows& rows) {
  const std::int64_t channels = conv.group_channels();
  const std::int64_t taps = conv.kh * conv.kw;
  const std::int64_t bytes = (joins_taps(conv) ? conv.kh : taps) * byte_segment_words(conv);
  const std::int64_t tight = (conv.k() + 31) / 32;
  const bool one = taps == 1 && conv.geometry.groups == 1;
  const std::int64_t direct = one ? tight : taps * words(channels) * 2;
  if (conv.geometry.groups > 1) {
    const bool whole = channels % 64 == 0;
    return {whole ? direct : tight, !whole, bytes};
  }
  const std::int64_t outputs = round_up(conv.m, rows.bits.lanes);
  const bool patches = direct * outputs > tight * outputs + conv.kh * operand_costs(rows.bits.isa).patch_row;
  return {patches ? tight : direct, patches, bytes};
}

PlanMemory::PlanMemory(std::size_t bytes) : size_(bytes) {
  const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
  data_.reset(static_cast<std::byte*>(::operator new (whole + alignment, std::align_val_t{alignment})));
  std::memset(data_.get(), 0, whole + alignment);
}

void PlanMemory::Free::operator()(std::byte* memory) const {
  ::operator delete (memory, std::align_val_t{alignment});
}

Borders::Borders(std::int64_t outputs, std::int64_t size, std::int64_t taps, std::int64_t stride,
                 std::int64_t dilation, std::int64_t before) {
  of.reserve(static_cast<std::size_t>(outputs));
  for (std::int64_t o = 0; o < outputs; ++o) {
    const std::int64_t first = o * stride - before;  // the input position of tap 0
    const std::int64_t begin = std::min(first < 0 ? (-first + dilation - 1) / dilation : 0, taps);
    const std::int64_t end =
        std::clamp(size > first ? (size - first + dilation - 1) / dilation : 0, begin, taps);
    const Inside inside = begin < end ? Inside{begin, end} : Inside{0, 0};
    const auto found = std::find(classes.begin(), classes.end(), inside);
    of.push_back(static_cast<std::int32_t>(found - classes.begin()));
    if (found == classes.end()) classes.push_back(inside);
  }
}

Borders::Borders(std::int64_t outputs, std::int64_t taps)
    : classes{{0, taps}}, of(static_cast<std::size_t>(outputs), 0) {}

ConvProduct::Plan::Plan(const Conv2d& conv, PaddingValue padding, Input input, int bits,
                        const std::uint64_t* weights, const ProductRows& rows, Operand operand)
    : conv(conv),
      padding(padding),
      input(input),
      bits(input == Input::signs ? 1 : bits),
      rows(rows),
      kernel(operand == Operand::bits ? rows.bits : rows.bytes),
      planes(operand == Operand::bits ? this->bits : 1),
      group_outputs(conv.m / conv.geometry.groups),
      table_group(round_up(group_outputs, kernel.lanes)),
      table_row(table_group * conv.geometry.groups),
      group_tiles((group_outputs + kernel.nr - 1) / kernel.nr),
      down(borders(conv, 0, input == Input::signs && padding == PaddingValue::zero)),
      across(borders(conv, 1, input == Input::signs && padding == PaddingValue::zero)),
      factor(input == Input::signs ? 2 : 1) {
  lay_out_windows();
  pack_weights(weights);
  make_offsets(weights);
}

void ConvProduct::Plan::lay_out_windows() {
  const auto& [stride, dilation, pad, groups] = conv.geometry;
  const std::int64_t channels = conv.group_channels();
  std::tie(needs[0], needs[1]) = needed(conv, 0);
  std::tie(needs[2], needs[3]) = needed(conv, 1);
  const std::int64_t width = needs[2] + conv.w + needs[3];
  reach = dilation[0] * (conv.kh - 1) + 1;
  joined = joins_taps(conv);
  exact = true;
  string_bits = width * conv.c;
  window_bits = conv.kw * channels;
  small = 0;
  block = most_pixels / kernel.mr * kernel.mr;

  const WindowWords sizes = window_words(conv, rows);
  path = bytes_operand() || !sizes.patches ? Path::direct : Path::patches;
  if (path == Path::direct) {
    tap_bytes = bytes_operand() ? channels : words(channels) * 8;
    segments = joined ? conv.kh : conv.kh * conv.kw;
    const std::int64_t bytes = joined ? conv.kw * tap_bytes : tap_bytes;
    segment_words = bytes_operand() ? byte_segment_words(conv) : bytes / 4;
    // A product's last word may be half empty.
    if (!bytes_operand() && segments == 1 && conv.kw == 1 && groups == 1) segment_words = sizes.bits;
    exact = !bytes_operand() || segment_words * 4 == bytes;
    pixel_bytes = bytes_operand() ? conv.c : words(conv.c) * 8;
    plane_bytes = width * pixel_bytes;
    row_bytes = planes * plane_bytes;
  } else {
    segments = 1;
    segment_words = (conv.k() + 31) / 32;
    small = conv.k() <= 32 ? 32 : conv.k() <= 64 ? 64 : 0;
    const std::int64_t window = small > 0 ? small / 8 : words(window_bits) * 8;
    plane_bytes = conv.ow * window;
    row_bytes = groups * planes * plane_bytes;
    const std::int64_t patch = planes * words(conv.k()) * 8;
    block = std::min(block, round_up(std::max<std::int64_t>(patches_bytes / patch, 1), kernel.mr));
  }
  k_words = segments * segment_words;
  // Where a product's last word is half empty, a tap is no whole number of words.
  skips = path == Path::direct && joined && !bytes_operand() &&
          k_words == conv.kh * conv.kw * tap_bytes / 4 && skipping_pays();
  strip_rows = std::max(strip_bytes / row_bytes, reach + 3 * stride[0]);
}

/// Sorting the pixels by their border class costs about as much as skip_cost words of a vector's channels a
/// pixel.
bool ConvProduct::Plan::skipping_pays() const {
  if (classes() == 1) return false;
  std::int64_t rows_inside = 0;
  std::int64_t columns_inside = 0;
  for (const std::int32_t c : down.of) {
    rows_inside +=
        down.classes[static_cast<std::size_t>(c)].end - down.classes[static_cast<std::size_t>(c)].begin;
  }
  for (const std::int32_t c : across.of) {
    columns_inside +=
        across.classes[static_cast<std::size_t>(c)].end - across.classes[static_cast<std::size_t>(c)].begin;
  }
  const double taps = static_cast<double>(conv.oh * conv.kh) * static_cast<double>(conv.ow * conv.kw);
  const double outside = 1 - static_cast<double>(rows_inside) * static_cast<double>(columns_inside) / taps;
  const std::int64_t work = k_words * (table_group / kernel.lanes);
  return outside * static_cast<double>(work) > skip_cost;
}

namespace {

/// The low eight bits as bytes, the first one lowest: −1 where a bit is set, +1 where it is not.
std::uint64_t negated_signs(std::uint64_t bits) {
  constexpr std::uint64_t ones = 0x0101010101010101;
  // Bit i of each byte i alone, then whether there is one.
  const std::uint64_t apart = (bits & 0xFF) * ones & 0x8040201008040201;
  const std::uint64_t set = (apart + 0x7F * ones) >> 7 & ones;
  return ones + set * 0xFE;
}

}  // namespace

void ConvProduct::Plan::pack_weights(const std::uint64_t* weights) {
  const std::int64_t row = words(conv.k());
  const std::int64_t groups = conv.geometry.groups;
  packed_group = (kernel.packed_bytes(group_outputs, k_words) + alignment - 1) / alignment * alignment;
  packed = PlanMemory(packed_group * static_cast<std::size_t>(groups));
  const auto at = [&](std::int64_t group, std::int64_t channel) {
    return packed.data() + static_cast<std::size_t>(group) * packed_group +
           (channel == 0 ? 0 : kernel.packed_bytes(channel, k_words));
  };
  const bool tight = path == Path::patches || conv.group_channels() % 64 == 0 || conv.kh * conv.kw == 1;
  if (!bytes_operand() && tight && k_words == 2 * row) {  // they are in the kernel's order
    for (std::int64_t g = 0; g < groups; ++g) {
      kernel.pack(reinterpret_cast<const std::uint32_t*>(weights + g * group_outputs * row), group_outputs,
                  k_words, at(g, 0));
    }
    return;
  }
  const std::int64_t channels = conv.group_channels();
  std::vector<std::uint32_t> tile(static_cast<std::size_t>(kernel.nr * k_words + 1));
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t first = 0; first < group_outputs; first += kernel.nr) {
      const std::int64_t count = std::min<std::int64_t>(kernel.nr, group_outputs - first);
      std::fill(tile.begin(), tile.end(), 0);
      for (std::int64_t c = 0; c < count; ++c) {
        const std::uint64_t* const w = weights + (g * group_outputs + first + c) * row;
        auto* const out = reinterpret_cast<std::uint8_t*>(tile.data() + c * k_words);
        if (bytes_operand()) {  // negated, so that dot = −S as everywhere: +1 becomes −1
          const std::int64_t taps = conv.k() / segments;
          for (std::int64_t s = 0; s < segments; ++s) {
            for (std::int64_t tap = 0; tap < taps; tap += 8) {
              const std::int64_t n = std::min<std::int64_t>(8, taps - tap);
              const std::uint64_t values = negated_signs(read_bits(w, s * taps + tap, n));
              std::memcpy(out + s * segment_words * 4 + tap, &values, static_cast<std::size_t>(n));
            }
          }
        } else if (tight) {
          std::memcpy(out, w, static_cast<std::size_t>(k_words) * 4);
        } else {
          for (std::int64_t tap = 0; tap < conv.kh * conv.kw; ++tap) {
            BitWriter writer(reinterpret_cast<std::uint64_t*>(out + tap * tap_bytes));
            for_words(w, tap * channels, channels,
                      [&](std::uint64_t word, int n) { writer.append(word, n); });
            writer.finish();
          }
        }
      }
      kernel.pack(tile.data(), count, k_words, at(g, first));
    }
  }
}

void ConvProduct::Plan::make_offsets(const std::uint64_t* weights) {
  offsets = PlanMemory(static_cast<std::size_t>(tables() * table_row) * 4);
  auto* const table = reinterpret_cast<std::int32_t*>(offsets.data());
  if (bytes_operand()) return;
  const std::int64_t row = words(conv.k());
  const std::int64_t channels = conv.group_channels();
  const auto k = static_cast<std::int32_t>(conv.k());
  std::vector<std::int32_t> taps(static_cast<std::size_t>(conv.kh * conv.kw));
  std::vector<std::int32_t> columns(static_cast<std::size_t>(conv.kw));
  for (std::int64_t m = 0; m < conv.m; ++m) {
    std::int32_t* const out = table + m / group_outputs * table_group + m % group_outputs;
    const std::uint64_t* const w = weights + m * row;
    if (input != Input::signs) {
      *out = ((1 << bits) - 1) * count_bits(w, 0, conv.k());
      continue;
    }
    if (classes() == 1 && down.classes[0] == Borders::Inside{0, conv.kh} &&
        across.classes[0] == Borders::Inside{0, conv.kw}) {
      *out = k;
      continue;
    }
    // A tap outside meets zero bits and adds popcount(w) to S: dot = K inside − 2·(S − popcount(w) outside).
    std::int32_t all = 0;
    for (std::size_t t = 0; t < taps.size(); ++t) {
      taps[t] = count_bits(w, static_cast<std::int64_t>(t) * channels, channels);
      all += taps[t];
    }
    std::int32_t* to = out;
    for (const auto& rows_inside : down.classes) {
      std::fill(columns.begin(), columns.end(), 0);
      for (std::int64_t a = rows_inside.begin; a < rows_inside.end; ++a) {
        for (std::int64_t b = 0; b < conv.kw; ++b) {
          columns[static_cast<std::size_t>(b)] += taps[static_cast<std::size_t>(a * conv.kw + b)];
        }
      }
      for (const auto& columns_inside : across.classes) {
        std::int32_t inside = 0;
        for (std::int64_t b = columns_inside.begin; b < columns_inside.end; ++b) {
          inside += columns[static_cast<std::size_t>(b)];
        }
        const std::int64_t taken =
            (rows_inside.end - rows_inside.begin) * (columns_inside.end - columns_inside.begin) * channels;
        *to = static_cast<std::int32_t>(taken + 2 * std::int64_t{all - inside});
        if (skips) to[classes() * table_row] = static_cast<std::int32_t>(taken);
        to += table_row;
      }
    }
  }
}

bool ConvProduct::Plan::reads_in_place(const Images& x) const {
  if (path != Path::direct || !exact) return false;
  if (bytes_operand() ? joined && x.pixel != conv.c : input == Input::codes) return false;
  for (std::size_t i = 0; i < 4; ++i) {
    if (x.margin[i] < needs[i]) return false;
  }
  return true;
}

// -- what users see

ProductRows selected_product_rows() {
  return {selected_product(Operand::bits), selected_product(Operand::bytes), selected_bit_kernels()};
}

ConvProduct::ConvProduct(const Conv2d& conv, PaddingValue padding, Input input, int bits,
                         const std::uint64_t* weights, const ProductRows& rows)
    : ConvProduct(conv, padding, input, bits, weights, rows,
                  input == Input::codes ? choose_operand(conv, bits, rows) : Operand::bits) {}

ConvProduct::ConvProduct(const Conv2d& conv, PaddingValue padding, Input input, int bits,
                         const std::uint64_t* weights, const ProductRows& rows, Operand operand)
    : plan_(std::make_unique<Plan>(conv, padding, input, bits, weights, rows, operand)) {}

ConvProduct::ConvProduct(ConvProduct&&) noexcept = default;
ConvProduct& ConvProduct::operator=(ConvProduct&&) noexcept = default;
ConvProduct::~ConvProduct() = default;

const Conv2d& ConvProduct::conv() const { return plan_->conv; }
const ProductKernel& ConvProduct::kernel() const { return plan_->kernel; }
std::size_t ConvProduct::bytes() const { return plan_->packed.size() + plan_->offsets.size(); }
std::int64_t ConvProduct::tiles() const { return plan_->tiles(); }

ops::Pair ConvProduct::pooled(const BitPool& pool) const {
  const auto& [kernel, stride, padding] = pool.geometry;
  return {(plan_->conv.oh + padding[0] + padding[1] - kernel[0]) / stride[0] + 1,
          (plan_->conv.ow + padding[2] + padding[3] - kernel[1]) / stride[1] + 1};
}

ConvProduct::Thresholds::Thresholds(const ConvProduct& product, std::span<const std::int32_t> minimum) {
  using Limits = std::numeric_limits<std::int32_t>;
  const Plan& plan = *product.plan_;
  table_ = PlanMemory(plan.offsets.size());
  const auto* offset = reinterpret_cast<const std::int32_t*>(plan.offsets.data());
  auto* const table = reinterpret_cast<std::int32_t*>(table_.data());
  for (std::int64_t c = 0; c < plan.tables(); ++c) {
    for (std::int64_t m = 0; m < plan.conv.m; ++m) {
      const std::int64_t at =
          c * plan.table_row + m / plan.group_outputs * plan.table_group + m % plan.group_outputs;
      const std::int32_t least = minimum[static_cast<std::size_t>(m)];
      std::int32_t most = least == Limits::min() ? Limits::max() : Limits::min();
      if (least != Limits::min() && least != Limits::max()) {
        // factor·S ≤ offset − minimum, rounded down; S never reaches the ends of the range.
        const std::int64_t room = std::int64_t{offset[at]} - least;
        const std::int64_t whole = plan.factor == 2 ? room >> 1 : room;
        most = static_cast<std::int32_t>(std::clamp<std::int64_t>(whole, Limits::min(), Limits::max()));
      }
      table[at] = most;
    }
  }
}

}  // namespace hardbit::cpu
