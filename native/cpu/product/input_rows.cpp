#include "cpu/product/input_rows.h"

#include <cstring>

#include "cpu/product/bit_string.h"

namespace hardbit::cpu {

using Plan = ConvProduct::Plan;

InputRows::InputRows(const Plan& plan, const Images& x, Arena& arena) : plan_(plan), x_(x) {
  const bool patches = plan.path == Path::patches;
  const bool codes = plan.input == Input::codes;
  string_words_ = words(plan.string_bits) + 1;
  string_ = arena.take<std::uint64_t>(patches ? plan.planes * string_words_ + 1 : 0);
  codes_ = arena.take<std::uint8_t>(patches && codes ? plan.string_bits : 0);
  pixels_ = arena.take<std::uint64_t>(
      !patches && codes && !plan.bytes_operand() ? plan.conv.w * plan.planes * words(plan.conv.c) : 0);
}

void InputRows::make(std::int64_t image, std::int64_t y, std::uint8_t* row) const {
  const bool inside = y >= 0 && y < plan_.conv.h;
  const std::uint8_t* const x = inside ? x_.data + image * x_.image + y * x_.row : nullptr;
  if (plan_.path == Path::patches) {
    make_strings(x);
    cut(row);
    return;
  }
  if (inside) {
    copy_pixels(x, row);
    return;
  }
  for (int p = 0; p < plan_.planes; ++p) {
    pad_pixels(plan_.plane_bytes / plan_.pixel_bytes, row + p * plan_.plane_bytes);
  }
}

// -- direct

void InputRows::pad_pixels(std::int64_t count, std::uint8_t* pixels) const {
  const bool ones = plan_.padding == ops::PaddingValue::one;
  if (plan_.bytes_operand() || !ones) {
    const int value = ones ? (1 << plan_.bits) - 1 : 0;
    std::memset(pixels, value, static_cast<std::size_t>(count * plan_.pixel_bytes));
    return;
  }
  for (std::int64_t i = 0; i < count; ++i, pixels += plan_.pixel_bytes) {
    BitWriter writer(reinterpret_cast<std::uint64_t*>(pixels));
    writer.fill(~std::uint64_t{0}, plan_.conv.c);
    writer.finish();
  }
}

/// `count` runs of `bytes` bytes from one pitch to another.
static void copy_runs(const std::uint8_t* from, std::ptrdiff_t pitch, std::uint8_t* to,
                      std::ptrdiff_t to_pitch, std::int64_t bytes, std::int64_t count) {
  if (pitch == bytes && to_pitch == bytes) {
    std::memcpy(to, from, static_cast<std::size_t>(bytes * count));
    return;
  }
  for (; count > 0; --count, from += pitch, to += to_pitch) {
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
  }
}

void InputRows::copy_pixels(const std::uint8_t* x, std::uint8_t* row) const {
  const std::int64_t pixel = plan_.pixel_bytes;
  const std::int64_t w = plan_.conv.w;
  const bool split = plan_.input == Input::codes && !plan_.bytes_operand();
  std::ptrdiff_t pitch = x_.pixel;
  std::ptrdiff_t plane = x_.plane;
  if (split) {
    const std::int64_t c = plan_.conv.c;
    const std::int64_t together = x_.pixel == c ? w : 1;
    for (std::int64_t i = 0; i < w; i += together) {
      plan_.rows.elements.pack_planes(x + i * x_.pixel, together, c, plan_.planes,
                                      pixels_ + i * plan_.planes * words(c));
    }
    x = reinterpret_cast<const std::uint8_t*>(pixels_);
    plane = pixel;
    pitch = plan_.planes * pixel;
  }
  for (int p = 0; p < plan_.planes; ++p, x += plane, row += plan_.plane_bytes) {
    std::uint8_t* const first = row + plan_.needs[2] * pixel;
    pad_pixels(plan_.needs[2], row);
    copy_runs(x, pitch, first, pixel, pixel, w);
    pad_pixels(plan_.needs[3], first + w * pixel);
  }
}

// -- patches

void InputRows::make_strings(const std::uint8_t* x) const {
  const ops::Conv2d& conv = plan_.conv;
  const std::uint64_t pad = plan_.padding == ops::PaddingValue::one ? ~std::uint64_t{0} : 0;
  const std::int64_t left = plan_.needs[2] * conv.c;
  const std::int64_t right = plan_.needs[3] * conv.c;
  if (x != nullptr && plan_.input == Input::codes) {
    const auto code = static_cast<std::uint8_t>(pad & low_bits(plan_.bits));
    std::memset(codes_, code, static_cast<std::size_t>(left));
    copy_runs(x, x_.pixel, codes_ + left, conv.c, conv.c, conv.w);
    std::memset(codes_ + left + conv.w * conv.c, code, static_cast<std::size_t>(right));
    // Planes one word apart from each other: the kernel writes them side by side, from the last one they are
    // moved.
    plan_.rows.elements.pack_planes(codes_, 1, plan_.string_bits, plan_.planes, string_);
    const std::int64_t used = string_words_ - 1;
    for (int p = plan_.planes - 1; p > 0; --p) {
      std::memmove(string_ + p * string_words_, string_ + p * used, static_cast<std::size_t>(used) * 8);
    }
    return;
  }
  for (int p = 0; p < plan_.planes; ++p) {
    BitWriter writer(string_ + p * string_words_);
    writer.fill(pad, left);
    if (x == nullptr) {
      writer.fill(pad, conv.w * conv.c);
    } else {
      const std::uint8_t* pixel = x + p * x_.plane;
      for (std::int64_t i = 0; i < conv.w; ++i, pixel += x_.pixel) {
        const std::uint8_t* from = pixel;
        for (std::int64_t bits = conv.c; bits > 0; bits -= 64, from += 8) {
          std::uint64_t word;
          std::memcpy(&word, from, 8);
          writer.append(word, static_cast<int>(std::min<std::int64_t>(bits, 64)));
        }
      }
    }
    writer.fill(pad, right);
    writer.finish();
  }
}

namespace {

/// One word a window: the taps of `count` windows, `step` bits from one to the next.
template <class Word>
void cut_words(const std::uint64_t* string, std::int64_t at, std::int64_t step, std::int64_t bits,
               std::int64_t count, Word* windows) {
  const std::uint64_t mask = low_bits(bits);
  if (bits > 56) {
    for (; count > 0; --count, at += step) *windows++ = static_cast<Word>(read_word(string, at) & mask);
    return;
  }
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(string);
  for (; count > 0; --count, at += step) {
    std::uint64_t word;
    std::memcpy(&word, bytes + at / 8, 8);
    *windows++ = static_cast<Word>(word >> (at % 8) & mask);
  }
}

/// The windows of every output column and group from one plane of a string.
void cut_plane(const Plan& plan, const std::uint64_t* string, std::int64_t group, std::uint8_t* windows) {
  const ops::Conv2d& conv = plan.conv;
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  const std::int64_t channels = conv.group_channels();
  const std::int64_t step = stride[1] * conv.c;
  std::int64_t at = group * channels;
  if (plan.joined && plan.small == 32) {
    cut_words(string, at, step, plan.window_bits, conv.ow, reinterpret_cast<std::uint32_t*>(windows));
    return;
  }
  if (plan.joined && plan.small == 64) {
    cut_words(string, at, step, plan.window_bits, conv.ow, reinterpret_cast<std::uint64_t*>(windows));
    return;
  }
  const std::int64_t size = plan.small > 0 ? plan.small / 8 : words(plan.window_bits) * 8;
  if (!plan.joined) {
    for (std::int64_t j = 0; j < conv.ow; ++j, at += step, windows += size) {
      std::uint64_t word;
      BitWriter writer(plan.small > 0 ? &word : reinterpret_cast<std::uint64_t*>(windows));
      for (std::int64_t b = 0; b < conv.kw; ++b) writer.copy(string, at + b * dilation[1] * conv.c, channels);
      writer.finish();
      if (plan.small > 0) std::memcpy(windows, &word, static_cast<std::size_t>(size));
    }
    return;
  }
  const std::int64_t whole = words(plan.window_bits) - 1;
  const std::uint64_t last = low_bits(plan.window_bits - whole * 64);
  auto* out = reinterpret_cast<std::uint64_t*>(windows);
  for (std::int64_t j = 0; j < conv.ow; ++j, at += step) {
    for (std::int64_t i = 0; i < whole; ++i) *out++ = read_word(string, at + i * 64);
    *out++ = read_word(string, at + whole * 64) & last;
  }
}

}  // namespace

void InputRows::cut(std::uint8_t* windows) const {
  for (std::int64_t g = 0; g < plan_.conv.geometry.groups; ++g) {
    for (int p = 0; p < plan_.planes; ++p, windows += plan_.plane_bytes) {
      cut_plane(plan_, string_ + p * string_words_, g, windows);
    }
  }
}

namespace {

template <class Word>
void join_words(const Plan& plan, const std::uint8_t* windows, std::int64_t column, std::int64_t count,
                Word* patches) {
  const std::ptrdiff_t row = plan.conv.geometry.dilation[0] * plan.row_bytes;
  const auto* from = reinterpret_cast<const Word*>(windows) + column;
  std::memcpy(patches, from, static_cast<std::size_t>(count) * sizeof(Word));
  for (std::int64_t a = 1; a < plan.conv.kh; ++a) {
    from = reinterpret_cast<const Word*>(windows + a * row) + column;
    const auto shift = static_cast<int>(a * plan.window_bits);
    for (std::int64_t i = 0; i < count; ++i) patches[i] |= static_cast<Word>(from[i] << shift);
  }
}

/// Where a kernel row's window goes in the patches of a block.
struct Placement {
  int shift;            // the first bit, in the first word
  std::int64_t window;  // words
  bool spill;           // shifted, it takes one word more
  std::int64_t stride;  // from one patch to the next
};

/// Puts the windows of `count` output columns into their patches, of which earlier kernel rows wrote all bits
/// below; `fixed` is the window's words where they are known.
template <int fixed>
void place(const Placement& given, const std::uint64_t* from, std::int64_t count, std::uint64_t* to) {
  const Placement p = given;
  const std::int64_t window = fixed > 0 ? fixed : p.window;
  if (p.shift == 0) {
    for (; count > 0; --count, from += window, to += p.stride) {
      for (std::int64_t i = 0; i < window; ++i) to[i] = from[i];
    }
    return;
  }
  const int rest = 64 - p.shift;
  for (; count > 0; --count, from += window, to += p.stride) {
    to[0] |= from[0] << p.shift;
    for (std::int64_t i = 1; i < window; ++i) to[i] = from[i] << p.shift | from[i - 1] >> rest;
    if (p.spill) to[window] = from[window - 1] >> rest;
  }
}

void place(const Placement& p, const std::uint64_t* from, std::int64_t count, std::uint64_t* to) {
  switch (p.window) {
    case 1:
      return place<1>(p, from, count, to);
    case 2:
      return place<2>(p, from, count, to);
    case 3:
      return place<3>(p, from, count, to);
    default:
      return place<0>(p, from, count, to);
  }
}

}  // namespace

void make_patches(const Plan& plan, const std::uint8_t* windows, std::int64_t group, std::int64_t column,
                  std::int64_t count, std::int64_t first, std::uint8_t* patches) {
  windows += group * plan.planes * plan.plane_bytes;
  if (plan.small > 0) {  // [planes][block]
    const std::int64_t word = plan.small / 8;
    for (int p = 0; p < plan.planes; ++p, windows += plan.plane_bytes) {
      std::uint8_t* const to = patches + (p * plan.block + first) * word;
      plan.small == 32 ? join_words(plan, windows, column, count, reinterpret_cast<std::uint32_t*>(to))
                       : join_words(plan, windows, column, count, reinterpret_cast<std::uint64_t*>(to));
    }
    return;
  }
  // [block][planes][words]
  const std::int64_t patch = words(plan.conv.k());
  Placement placement{
      .shift = 0, .window = words(plan.window_bits), .spill = false, .stride = plan.planes * patch};
  for (std::int64_t a = 0; a < plan.conv.kh; ++a) {
    const std::int64_t bit = a * plan.window_bits;
    placement.shift = static_cast<int>(bit % 64);
    placement.spill = placement.shift + plan.window_bits > placement.window * 64;
    const std::uint8_t* from = windows + a * plan.conv.geometry.dilation[0] * plan.row_bytes;
    for (int p = 0; p < plan.planes; ++p, from += plan.plane_bytes) {
      place(placement, reinterpret_cast<const std::uint64_t*>(from) + column * placement.window, count,
            reinterpret_cast<std::uint64_t*>(patches) + (first * plan.planes + p) * patch + bit / 64);
    }
  }
}

}  // namespace hardbit::cpu
