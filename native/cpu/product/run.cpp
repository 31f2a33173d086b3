#include <cstring>
#include <vector>

#include "cpu/product/bit_string.h"
#include "cpu/product/input_rows.h"
#include "cpu/product/plan.h"

// The loops of a call. Output rows are taken in strips, for which rows of input are copied where images
// cannot be read in place; the pixels of a strip, across rows and images, in blocks; for each block all tiles
// of channels; for each of them all tiles of pixels, so that a tile of weights stays in the first-level
// cache. What a kernel's call needs of each pixel lies in arrays that are written once a block and moved on
// once a tile of channels. Where the padding is worth it, the pixels of a block are sorted by their border
// class: whole tiles of one class leave out the taps outside of the image, and all other pixels take whole
// windows.

namespace hardbit::cpu {
namespace {

using Plan = ConvProduct::Plan;

/// Most segments of a window: where taps are segments, each of them.
std::int64_t most_segments(const Plan& plan) {
  return plan.path == Path::direct ? plan.conv.kh * plan.conv.kw : 1;
}

/// The parts of a window in memory: where they begin, from the window's first byte.
struct Segments {
  std::ptrdiff_t* offsets;
  std::int64_t count;
  std::int64_t words;
};

void find_segments(const Plan& plan, std::ptrdiff_t pixel, std::ptrdiff_t row, Segments& segments) {
  const ops::Conv2d& conv = plan.conv;
  const auto& dilation = conv.geometry.dilation;
  segments.count = plan.segments;
  segments.words = plan.segment_words;
  if (plan.path == Path::patches) {
    segments.offsets[0] = 0;
    return;
  }
  const std::int64_t tap = plan.tap_bytes;
  bool rows = plan.joined;
  if (rows && !plan.bytes_operand() && conv.kw > 1 && pixel != tap) {  // pixels with gaps between them
    rows = false;
    segments.count = conv.kh * conv.kw;
    segments.words = tap / 4;
  }
  if (rows && plan.exact && conv.kh > 1 && row * dilation[0] == conv.kw * tap) {
    segments.count = 1;  // the kernel's rows follow each other too
    segments.words = plan.k_words;
  }
  for (std::int64_t s = 0; s < segments.count; ++s) {
    segments.offsets[s] =
        rows ? s * dilation[0] * row : s / conv.kw * dilation[0] * row + s % conv.kw * dilation[1] * pixel;
  }
}

/// The windows of a border class without the taps outside.
struct Skip {
  Segments segments;
  std::int64_t w_first;
  std::int64_t w_skip;
  std::int64_t w_rest;
  /// Pixels of a block: in whole tiles of this class, and all of them.
  std::int64_t whole;
  std::int64_t count;
  /// Where the next one goes.
  std::int64_t slot;
};

/// Columns side by side of one border class.
struct Stretch {
  std::int64_t border;
  /// The first column behind them.
  std::int64_t end;
};

/// An output row of the convolution.
struct Row {
  /// The first window, or the first kernel row of the windows cut for patches.
  const std::uint8_t* x;
  /// Its border class times the number of classes across.
  std::int64_t down;
  std::byte* out;
};

/// What the sums become: bits.
struct BitSink {
  using Element = std::uint8_t;
  static constexpr std::int64_t elements(std::int64_t channels) { return channels / 8; }
  const std::int32_t* table;
  void store(const ProductKernel& kernel, const ProductTile& tile, const std::int32_t* const* table,
             Element* const* out) const {
    kernel.store_bits(tile, {table, out});
  }
};

template <class Out>
struct SumSink {
  using Element = Out;
  static constexpr std::int64_t elements(std::int64_t channels) { return channels; }
  const std::int32_t* table;
  std::int32_t factor;
  void store(const ProductKernel& kernel, const ProductTile& tile, const std::int32_t* const* table,
             Element* const* out) const {
    const SumStore<Out> store{table, factor, out};
    if constexpr (sizeof(Out) == 2) {
      kernel.store_i16(tile, store);
    } else {
      kernel.store_i32(tile, store);
    }
  }
};

/// Multiplies strips of rows.
template <class Sink>
class Strips {
 public:
  using Element = typename Sink::Element;

  Strips(const Plan& plan, const Images& x, const Part& part, const Sink& sink, std::ptrdiff_t out_pixel,
         Arena& arena)
      : plan_(plan),
        x_(x),
        sink_(sink),
        first_tile_(part.first_tile),
        last_tile_(part.last_tile < 0 ? plan.tiles() : part.last_tile),
        out_pixel_(out_pixel),
        in_place_(!arena.counts() && plan.reads_in_place(x)),
        rows_(plan, x, arena),
        most_rows_(2 * plan.block),
        windows_(arena.take<const std::uint8_t*>(plan.block)),
        tables_(arena.take<const std::int32_t*>(plan.block)),
        outs_(arena.take<Element*>(plan.block)),
        across_(arena.take<Stretch>(plan.conv.ow)),
        queue_(arena.take<Row>(most_rows_)) {
    segments_.offsets = arena.take<std::ptrdiff_t>(most_segments(plan));
    const std::int64_t classes = plan.skips ? plan.classes() : 0;
    skips_ = arena.take<Skip>(classes);
    skip_offsets_ = arena.take<std::ptrdiff_t>(classes * plan.conv.kh);
    kinds_ = arena.take<const Skip*>(plan.skips ? plan.block : 0);
    patches_ = arena.take<std::uint8_t>(
        plan.path == Path::patches ? plan.block * plan.planes * words(plan.conv.k()) * 8 : 0);
    merge_pitch_ = round_up(plan.group_outputs, 64) / 8 * plan.conv.geometry.groups;
    const bool merges = this->merges();
    merged_ = arena.take<std::uint8_t>(merges ? plan.block * merge_pitch_ : 0);
    finals_ = arena.take<Element*>(merges ? plan.block : 0);
    whole_ = arena.take<std::uint64_t>(merges ? words(plan.conv.m) : 0);
    // Whole words are read behind the last window.
    strip_ = arena.take<std::uint8_t>(plan.strip_rows * plan.row_bytes + 64);
    if (!arena.counts()) prepare();
  }

  /// Whether another row fits; a strip of none takes at least one.
  bool takes(std::int64_t image, std::int64_t y) const {
    if (queued_ == most_rows_) return false;
    return in_place_ || made_ + rows_for(image, y) <= plan_.strip_rows;
  }

  void add(std::int64_t image, std::int64_t y, Element* out) {
    const ops::Conv2d& conv = plan_.conv;
    const auto& [stride, dilation, padding, groups] = conv.geometry;
    const std::int64_t top = y * stride[0] - padding[0];
    const std::uint8_t* x = nullptr;
    if (in_place_) {
      x = x_.data + image * x_.image + top * x_.row - padding[2] * x_.pixel;
    } else {
      const std::int64_t count = rows_for(image, y);
      for (std::int64_t i = plan_.reach - count; i < plan_.reach; ++i, ++made_) {
        rows_.make(image, top + i, strip_ + made_ * plan_.row_bytes);
      }
      x = strip_ + (made_ - plan_.reach) * plan_.row_bytes;
      last_image_ = image;
      last_y_ = y;
    }
    queue_[queued_++] = {x, plan_.down.of[static_cast<std::size_t>(y)] * across_classes_,
                         reinterpret_cast<std::byte*>(out)};
  }

  /// Multiplies the rows added since the last call.
  void run() {
    const std::int64_t ow = plan_.conv.ow;
    const std::int64_t pixels = queued_ * ow;
    if (pixels > 0) {
      const std::int64_t blocks = (pixels + plan_.block - 1) / plan_.block;
      const std::int64_t size =
          std::min(round_up((pixels + blocks - 1) / blocks, plan_.kernel.mr), plan_.block);
      for (std::int64_t at = 0; at < pixels; at += size) block(at, std::min(size, pixels - at));
    }
    queued_ = 0;
    made_ = 0;
    last_image_ = -1;
  }

 private:
  void prepare() {
    const ops::Conv2d& conv = plan_.conv;
    across_classes_ = static_cast<std::int64_t>(plan_.across.classes.size());
    const std::vector<std::int32_t>& across = plan_.across.of;
    for (std::int64_t j = conv.ow - 1; j >= 0; --j) {
      const std::int32_t border = across[static_cast<std::size_t>(j)];
      const bool goes_on = j + 1 < conv.ow && across_[j + 1].border == border;
      across_[j] = {.border = border, .end = goes_on ? across_[j + 1].end : j + 1};
    }
    const std::ptrdiff_t pixel = in_place_ ? x_.pixel : plan_.pixel_bytes;
    find_segments(plan_, pixel, in_place_ ? x_.row : plan_.row_bytes, segments_);
    skipping_ = plan_.skips && pixel == plan_.tap_bytes;
    if (skipping_) prepare_skips(in_place_ ? x_.row : plan_.row_bytes);
    step_ = conv.geometry.stride[1] * pixel;
    plane_ = in_place_ ? x_.plane : plan_.plane_bytes;
    if (plan_.path == Path::patches) {
      const std::int64_t word = plan_.small > 0 ? plan_.small / 8 : words(conv.k()) * 8;
      plane_ = plan_.small > 0 ? plan_.block * word : word;
      const std::int64_t pitch = plan_.small > 0 ? word : plan_.planes * word;
      for (std::int64_t i = 0; i < plan_.block; ++i) windows_[i] = patches_ + i * pitch;
    }
    if (merges()) {
      std::memset(merged_, 0, static_cast<std::size_t>(plan_.block * merge_pitch_));
    }
  }

  void prepare_skips(std::ptrdiff_t row) {
    const ops::Conv2d& conv = plan_.conv;
    const std::int64_t tap = plan_.tap_bytes;
    for (std::int64_t c = 0; c < plan_.classes(); ++c) {
      const auto [rows, columns] = plan_.inside(c);
      std::ptrdiff_t* const offsets = skip_offsets_ + c * conv.kh;
      for (std::int64_t a = rows.begin; a < rows.end; ++a) {
        offsets[a - rows.begin] = a * conv.geometry.dilation[0] * row + columns.begin * tap;
      }
      const std::int64_t count = rows.end - rows.begin;
      const std::int64_t words = (columns.end - columns.begin) * tap / 4;
      skips_[c] = {.segments = {offsets, count, words},
                   .w_first = (rows.begin * conv.kw + columns.begin) * tap / 4,
                   .w_skip = conv.kw * tap / 4 - words,
                   .w_rest = plan_.k_words - count * words,
                   .whole = 0,
                   .count = 0,
                   .slot = 0};
    }
  }

  /// Where the pixels of a block go: whole tiles of one class first, then all others.
  void sort(std::int64_t at, std::int64_t count) {
    const std::int64_t mr = plan_.kernel.mr;
    const std::int64_t classes = plan_.classes();
    for (std::int64_t c = 0; c < classes; ++c) skips_[c].count = 0;
    for_stretches(at, count, [&](const Row&, std::int64_t border, std::int64_t, std::int64_t run) {
      skips_[border].count += run;
    });
    std::int64_t slot = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      Skip& skip = skips_[c];
      // Whole windows need not keep to themselves.
      skip.whole = skip.w_rest == 0 ? 0 : skip.count / mr * mr;
      skip.slot = slot;
      for (const std::int64_t end = slot + skip.whole; slot < end; slot += mr) kinds_[slot / mr] = &skip;
    }
    sorted_ = slot;
  }

  /// Rows of input to make for an output row.
  std::int64_t rows_for(std::int64_t image, std::int64_t y) const {
    if (last_image_ != image) return plan_.reach;
    return std::min((y - last_y_) * plan_.conv.geometry.stride[0], plan_.reach);
  }

  /// Calls each(row, first column, columns, first pixel of the block) for runs of pixels of a row.
  template <class Each>
  void for_runs(std::int64_t at, std::int64_t count, const Each& each) const {
    const std::int64_t ow = plan_.conv.ow;
    std::int64_t row = at / ow;
    std::int64_t column = at % ow;
    for (std::int64_t i = 0; i < count;) {
      const std::int64_t run = std::min(ow - column, count - i);
      each(queue_[row], column, run, i);
      i += run;
      column = 0;
      ++row;
    }
  }

  /// Calls each(row, border class, first column, columns) for runs of pixels of a row and a class.
  template <class Each>
  void for_stretches(std::int64_t at, std::int64_t count, const Each& each) const {
    for_runs(at, count, [&](const Row& row, std::int64_t column, std::int64_t run, std::int64_t) {
      for (const std::int64_t end = column + run; column < end;) {
        const Stretch& stretch = across_[column];
        const std::int64_t part = std::min(stretch.end, end) - column;
        each(row, row.down + stretch.border, column, part);
        column += part;
      }
    });
  }

  bool merges() const { return sizeof(Element) == 1 && plan_.merges_groups(); }

  /// Fills the arrays for a block at the first tile.
  void point(std::int64_t at, std::int64_t count, std::int64_t table_at, std::int64_t out_at) {
    const bool direct = plan_.path == Path::direct;
    if (skipping_) sort(at, count);
    std::int64_t slot = sorted_;
    for_stretches(at, count, [&](const Row& row, std::int64_t border, std::int64_t column, std::int64_t run) {
      const std::uint8_t* x = row.x + column * step_;
      auto* out = reinterpret_cast<Element*>(row.out) + column * out_pixel_ + out_at;
      const std::int32_t* const table = sink_.table + border * plan_.table_row + table_at;
      const auto put = [&](std::int64_t& to, std::int64_t n, const std::int32_t* of_class) {
        for (const std::int64_t end = to + n; to < end; ++to, x += step_, out += out_pixel_) {
          if (direct) windows_[to] = x;
          tables_[to] = of_class;
          outs_[to] = out;
        }
      };
      if (skipping_) {
        Skip& skip = skips_[border];
        const std::int64_t whole = std::min(run, skip.whole);
        put(skip.slot, whole, table + plan_.classes() * plan_.table_row);
        skip.whole -= whole;
        run -= whole;
      }
      put(slot, run, table);
    });
    clear_rest(at, count);
    if (merges()) {
      for (std::int64_t i = 0; i < count; ++i) {
        finals_[i] = outs_[i];
        outs_[i] = reinterpret_cast<Element*>(merged_ + i * merge_pitch_);
      }
    }
  }

  /// Writes the bits of words behind the last channel that no kernel does: 0.
  void clear_rest(std::int64_t at, std::int64_t count) {
    const std::int64_t used = (plan_.conv.m + 7) / 8;
    const std::int64_t rest = words(plan_.conv.m) * 8 - used;
    if (sizeof(Element) != 1 || rest == 0 || last_tile_ != plan_.tiles()) return;
    for_runs(at, count, [&](const Row& row, std::int64_t column, std::int64_t run, std::int64_t) {
      for (std::byte* out = row.out + column * out_pixel_ + used; run > 0; --run, out += out_pixel_) {
        std::memset(out, 0, static_cast<std::size_t>(rest));
      }
    });
  }

  /// The first channel of a group, in elements of `out`.
  std::int64_t group_at(std::int64_t group) const {
    return merges() ? group * merge_pitch_ / plan_.conv.geometry.groups
                    : Sink::elements(group * plan_.group_outputs);
  }

  void block(std::int64_t at, std::int64_t count) {
    const ProductKernel& kernel = plan_.kernel;
    std::int64_t group = first_tile_ / plan_.group_tiles;
    std::int64_t column = first_tile_ % plan_.group_tiles * kernel.nr;
    point(at, count, group * plan_.table_group + column, group_at(group) + Sink::elements(column));
    begin_group(at, count, group);
    for (std::int64_t tile = first_tile_; tile < last_tile_; ++tile) {
      const std::byte* const w = plan_.packed.data() + static_cast<std::size_t>(group) * plan_.packed_group +
                                 (column == 0 ? 0 : kernel.packed_bytes(column, plan_.k_words));
      multiply(count, w, static_cast<int>(std::min<std::int64_t>(kernel.nr, plan_.group_outputs - column)));
      if (tile + 1 == last_tile_) break;
      std::int64_t next = column + kernel.nr;
      std::int64_t table = kernel.nr;
      std::int64_t out = Sink::elements(kernel.nr);
      if (next >= plan_.group_outputs) {
        table = plan_.table_group - column;
        out = group_at(group + 1) - group_at(group) - Sink::elements(column);
        next = 0;
        end_group(group);
        begin_group(at, count, ++group);
      }
      column = next;
      for (std::int64_t i = 0; i < count; ++i) tables_[i] += table;
      for (std::int64_t i = 0; i < count; ++i) outs_[i] += out;
    }
    end_group(group);
    if (merges()) merge(count);
  }

  void begin_group(std::int64_t at, std::int64_t count, std::int64_t group) {
    if (plan_.path == Path::direct) {
      for (std::int64_t s = 0; s < segments_.count; ++s) segments_.offsets[s] += group * plan_.tap_bytes;
      return;
    }
    for_runs(at, count, [&](const Row& row, std::int64_t column, std::int64_t run, std::int64_t first) {
      make_patches(plan_, row.x, group, column, run, first, patches_);
    });
  }

  void end_group(std::int64_t group) {
    if (plan_.path == Path::patches || group == 0) return;
    for (std::int64_t s = 0; s < segments_.count; ++s) segments_.offsets[s] -= group * plan_.tap_bytes;
  }

  void multiply(std::int64_t count, const void* w, int columns) const {
    const int mr = plan_.kernel.mr;
    // One for all calls, changed word by word: a kernel that reads what was just copied in wider pieces
    // waits.
    ProductTile tile{.windows = {nullptr, segments_.offsets, segments_.count, segments_.words},
                     .planes = plan_.planes,
                     .plane_pitch = plane_,
                     .w = w,
                     .rows = mr,
                     .columns = columns};
    std::int64_t i = sorted_;
    for (; i + mr <= count; i += mr) multiply(tile, i);
    if (i < count) {
      tile.rows = static_cast<int>(count - i);
      multiply(tile, i);
      tile.rows = mr;
    }
    for (i = 0; i < sorted_; i += mr) {
      const Skip& skip = *kinds_[i / mr];
      tile.windows.offsets = skip.segments.offsets;
      tile.windows.segments = skip.segments.count;
      tile.windows.segment_words = skip.segments.words;
      tile.w_first = skip.w_first;
      tile.w_skip = skip.w_skip;
      tile.w_rest = skip.w_rest;
      multiply(tile, i);
    }
  }

  /// A tile from pixel i of the block on.
  void multiply(ProductTile& tile, std::int64_t i) const {
    tile.windows.x = windows_ + i;
    sink_.store(plan_.kernel, tile, tables_ + i, outs_ + i);
  }

  /// Puts the groups' bits of each pixel together.
  void merge(std::int64_t count) const {
    const std::int64_t groups = plan_.conv.geometry.groups;
    const std::int64_t row = round_up(plan_.group_outputs, 64) / 64;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto* from = reinterpret_cast<const std::uint64_t*>(merged_ + i * merge_pitch_);
      BitWriter writer(whole_);
      for (std::int64_t g = 0; g < groups; ++g, from += row) {
        for_words(from, 0, plan_.group_outputs, [&](std::uint64_t word, int n) { writer.append(word, n); });
      }
      writer.finish();
      std::memcpy(finals_[i], whole_, static_cast<std::size_t>(words(plan_.conv.m)) * 8);
    }
  }

  const Plan& plan_;
  const Images& x_;
  const Sink sink_;
  const std::int64_t first_tile_;
  const std::int64_t last_tile_;
  const std::ptrdiff_t out_pixel_;
  const bool in_place_;
  InputRows rows_;
  const std::int64_t most_rows_;

  // Of a block's pixels.
  const std::uint8_t** windows_;
  const std::int32_t** tables_;
  Element** outs_;

  Stretch* across_;  // of each output column
  Row* queue_;
  Segments segments_{};
  Skip* skips_;  // of each border class
  std::ptrdiff_t* skip_offsets_;
  const Skip** kinds_;  // of each tile of one class
  std::uint8_t* patches_;
  std::int64_t merge_pitch_;
  std::uint8_t* merged_;
  Element** finals_;
  std::uint64_t* whole_;  // a pixel's bits, all groups
  std::uint8_t* strip_;

  bool skipping_ = false;
  std::int64_t sorted_ = 0;  // pixels in tiles of one class
  std::int64_t across_classes_ = 1;
  std::ptrdiff_t step_ = 0;   // from one window to the next
  std::ptrdiff_t plane_ = 0;  // from one plane to the next
  std::int64_t queued_ = 0;
  std::int64_t made_ = 0;  // rows of the strip
  std::int64_t last_image_ = -1;
  std::int64_t last_y_ = 0;
};

/// Rows of a convolution straight to their place.
template <class Sink>
void run_rows(const Plan& plan, const Images& x, const Part& part, const Sink& sink,
              const Target<typename Sink::Element>& out, std::byte* scratch) {
  Arena arena(scratch);
  Strips<Sink> strips(plan, x, part, sink, out.pixel, arena);
  const std::int64_t oh = plan.conv.oh;
  std::int64_t image = part.begin / oh;
  std::int64_t y = part.begin % oh;
  for (std::int64_t r = part.begin; r < part.end; ++r) {
    if (!strips.takes(image, y)) strips.run();
    strips.add(image, y, out.data + image * out.image + y * out.row);
    if (++y == oh) {
      y = 0;
      ++image;
    }
  }
  strips.run();
}

/// Rows of bits before they are pooled, and the pooled rows they make.
class Pooling {
 public:
  struct Row {
    const std::uint8_t* from;  // the first row of the window that is inside
    std::int64_t rows;
    std::uint8_t* out;
  };

  Pooling(const ConvProduct& product, const Plan& plan, const BitPool& pool, const Part& part,
          std::ptrdiff_t out_pixel, Arena& arena)
      : plan_(plan), pool_(pool), size_(product.pooled(pool)), out_pixel_(out_pixel) {
    // A strip has enough pixels for blocks, and at least a window.
    const std::int64_t rows = 2 * plan.block / plan.conv.ow + 1;
    const std::int64_t window = std::min(pool.geometry.kernel[0], plan.conv.oh);
    slots_ = std::max(rows, window);
    row_bytes_ = plan.pool_row_bytes();
    bits_ = arena.take<std::uint8_t>(slots_ * row_bytes_);
    queue_ = arena.take<Row>(slots_ + 1);
    const bool whole = part.last_tile < 0 || part.last_tile == plan.tiles();
    first_byte_ = part.first_tile * plan.kernel.nr / 8;
    end_byte_ = whole ? words(plan.conv.m) * 8 : part.last_tile * plan.kernel.nr / 8;
    if (plan.conv.geometry.groups > 1) {
      first_byte_ = 0;
      end_byte_ = words(plan.conv.m) * 8;
    }
  }

  /// The rows [begin, end) of a pooled row's windows.
  std::pair<std::int64_t, std::int64_t> window(std::int64_t y, std::size_t axis) const {
    const auto& [kernel, stride, padding] = pool_.geometry;
    const std::int64_t first = y * stride[axis] - padding[2 * axis];
    const std::int64_t size = axis == 0 ? plan_.conv.oh : plan_.conv.ow;
    return {std::max<std::int64_t>(first, 0), std::min(first + kernel[axis], size)};
  }

  /// Adds a pooled row; false where it does not fit. `strips` gets the rows it needs that it has not.
  bool add(std::int64_t image, std::int64_t y, std::uint8_t* out, Strips<BitSink>& strips) {
    const auto [begin, end] = window(y, 0);
    const bool follows = image == image_ && begin >= first_;  // rows from first_ on are there, up to end_
    const std::int64_t from = follows ? std::max(end_, begin) : begin;
    const std::int64_t count = std::max<std::int64_t>(end - from, 0);
    if (used_ > 0 && used_ + count > slots_) return false;
    if (queued_ > slots_) return false;
    for (std::int64_t r = from; r < end; ++r) {
      if (!strips.takes(image, r)) strips.run();
      strips.add(image, r, bits_ + used_++ * row_bytes_);
    }
    image_ = image;
    first_ = begin;
    end_ = end;
    queue_[queued_++] = {bits_ + (used_ - (end_ - begin)) * row_bytes_, end - begin, out};
    return true;
  }

  void run() {
    for (std::int64_t i = 0; i < queued_; ++i) pool(queue_[i]);
    queued_ = 0;
    used_ = 0;
    image_ = -1;
  }

  const ops::Pair& size() const { return size_; }
  std::ptrdiff_t pixel() const { return words(plan_.conv.m) * 8; }

 private:
  void pool(const Row& row) const {
    const std::int64_t pixel = words(plan_.conv.m) * 8;
    std::uint8_t* out = row.out;
    for (std::int64_t j = 0; j < size_[1]; ++j, out += out_pixel_) {
      const auto [begin, end] = window(j, 1);
      const std::uint8_t* const from = row.from + begin * pixel;
      std::int64_t byte = first_byte_;
      for (; byte + 8 <= end_byte_; byte += 8) combine<std::uint64_t>(from, row.rows, end - begin, byte, out);
      for (; byte < end_byte_; ++byte) combine<std::uint8_t>(from, row.rows, end - begin, byte, out);
    }
  }

  /// One word of a window: the OR, or for channels of `all` the AND, which is the OR of what is not.
  template <class Word>
  void combine(const std::uint8_t* from, std::int64_t rows, std::int64_t columns, std::int64_t byte,
               std::uint8_t* out) const {
    const std::int64_t pixel = words(plan_.conv.m) * 8;
    Word turned{0};
    if (pool_.all != nullptr) {
      std::memcpy(&turned, reinterpret_cast<const std::uint8_t*>(pool_.all) + byte, sizeof(Word));
    }
    Word any{0};
    for (std::int64_t a = 0; a < rows; ++a, from += row_bytes_) {
      const std::uint8_t* at = from + byte;
      for (std::int64_t b = 0; b < columns; ++b, at += pixel) {
        Word word;
        std::memcpy(&word, at, sizeof(Word));
        any = static_cast<Word>(any | (word ^ turned));
      }
    }
    any = static_cast<Word>(any ^ turned);
    std::memcpy(out + byte, &any, sizeof(Word));
  }

  const Plan& plan_;
  const BitPool& pool_;
  const ops::Pair size_;
  const std::ptrdiff_t out_pixel_;
  std::int64_t slots_;
  std::int64_t row_bytes_;
  std::uint8_t* bits_;
  Row* queue_;
  std::int64_t first_byte_;
  std::int64_t end_byte_;
  std::int64_t used_ = 0;
  std::int64_t queued_ = 0;
  std::int64_t image_ = -1;
  std::int64_t first_ = 0;
  std::int64_t end_ = 0;
};

void run_pooled(const ConvProduct& product, const Plan& plan, const Images& x, const Part& part,
                const BitSink& sink, const BitPool& pool, const Target<std::uint8_t>& out,
                std::byte* scratch) {
  Arena arena(scratch);
  Strips<BitSink> strips(plan, x, part, sink, words(plan.conv.m) * 8, arena);
  Pooling pooling(product, plan, pool, part, out.pixel, arena);
  const std::int64_t rows = pooling.size()[0];
  for (std::int64_t r = part.begin; r < part.end; ++r) {
    const std::int64_t image = r / rows;
    const std::int64_t y = r % rows;
    std::uint8_t* const to = out.data + image * out.image + y * out.row;
    if (!pooling.add(image, y, to, strips)) {
      strips.run();
      pooling.run();
      pooling.add(image, y, to, strips);
    }
  }
  strips.run();
  pooling.run();
}

}  // namespace

std::size_t ConvProduct::scratch_bytes(const BitPool& pool) const {
  const Images none{};
  Arena arena(nullptr);
  Strips<BitSink> strips(*plan_, none, Part{}, BitSink{}, 0, arena);
  if (!pool.trivial()) Pooling pooling(*this, *plan_, pool, Part{}, 0, arena);
  return arena.taken();
}

void ConvProduct::run(const Images& x, const Part& part, const Thresholds& thresholds, const BitPool& pool,
                      const Target<std::uint8_t>& out, std::byte* scratch) const {
  const BitSink sink{reinterpret_cast<const std::int32_t*>(thresholds.table_.data())};
  if (pool.trivial()) {
    run_rows(*plan_, x, part, sink, out, scratch);
  } else {
    run_pooled(*this, *plan_, x, part, sink, pool, out, scratch);
  }
}

void ConvProduct::run(const Images& x, const Part& part, const Target<std::int16_t>& out,
                      std::byte* scratch) const {
  const auto* const table = reinterpret_cast<const std::int32_t*>(plan_->offsets.data());
  run_rows(*plan_, x, part, SumSink<std::int16_t>{table, plan_->factor}, out, scratch);
}

void ConvProduct::run(const Images& x, const Part& part, const Target<std::int32_t>& out,
                      std::byte* scratch) const {
  const auto* const table = reinterpret_cast<const std::int32_t*>(plan_->offsets.data());
  run_rows(*plan_, x, part, SumSink<std::int32_t>{table, plan_->factor}, out, scratch);
}

}  // namespace hardbit::cpu
