#include <algorithm>

#include "cuda/band.h"
#include "cuda/band_product.h"
#include "runtime/words.h"

namespace hardbit::cuda {
namespace {

using band::Band;
using band::ChannelOrder;
using band::CodeBand;
using band::Item;
using band::round_up;
using band::side;
using band::SignBand;
using band::TilePlace;

constexpr int warpgroups = 4;
constexpr int threads = warpgroups * warpgroup_threads;
/// Where a block's shared memory has what.
struct Room {
  int weights, constants, tiles, terms, counts, buffers, total;
};

/// Ints of a class's constants: those of four lanes lie in different banks.
template <int columns>
constexpr int lane_pitch = columns / 4 + 4;

template <int columns>
constexpr Room room_of(const Band& b) {
  Room r{};
  int at = 0;
  const auto take = [&](int& place, int bytes) {
    place = at;
    at += round_up(bytes, 128);
  };
  take(r.weights, 2 * b.steps * columns * 16);
  take(r.constants, 2 * b.classes() * 4 * lane_pitch<columns> * 4);
  take(r.tiles, b.tiles * static_cast<int>(sizeof(TilePlace)));
  take(r.terms, 2 * b.tiles * warpgroup_rows * 4);
  take(r.counts, 2 * b.group * b.band_rows * b.pitch * 4);
  take(r.buffers, b.buffers * b.buffer_pieces * 16);
  r.total = at;
  return r;
}

// With P' = P − ⌊Σ x / 2⌋, n = (2·P' − Σ x mod 2) << doubled and a constant: of the channel, the border
// class, and whether Σ x is odd.

/// A channel of the slice: of which lane, and the number of its sum there.
struct Owner {
  int lane, number;
};
template <int columns>
__device__ constexpr Owner owner_of(ChannelOrder order, int channel) {
  if (order == ChannelOrder::words) return {channel / (columns / 4), channel % (columns / 4)};
  return {channel / 8 % 4, channel / 32 * 8 + channel % 8};
}

/// A lane's sums of a tile: two output pixels, one above the other, of columns / 4 channels each.
struct Tile {
  int image, row, column;  // of the upper one
  int slice;
  const int* constants[2];
  int halves[2];  // −⌊Σ x / 2⌋
};

/// P of channel `i` of a lane's.
template <int columns>
__device__ inline int sum_of(const int (&sums)[columns / 2], int half, int i) {
  return sums[i / 2 * 4 + 2 * half + i % 2];
}

/// Eight sums side by side, of which so many exist; `aligned` if all do and 16 bytes may go at once.
template <class Out>
__device__ inline void write_eight(Out* to, const int (&n)[8], bool aligned, int exist) {
  if (aligned) {
    if constexpr (sizeof(Out) == 2) {
      const auto pair = [&](int k) {
        return __byte_perm(static_cast<unsigned>(n[k]), static_cast<unsigned>(n[k + 1]), 0x5410);
      };
      *reinterpret_cast<uint4*>(to) = make_uint4(pair(0), pair(2), pair(4), pair(6));
    } else {
      const auto word = [&](int k) { return static_cast<unsigned>(n[k]); };
      *reinterpret_cast<uint4*>(to) = make_uint4(word(0), word(1), word(2), word(3));
      *reinterpret_cast<uint4*>(to + 4) = make_uint4(word(4), word(5), word(6), word(7));
    }
    return;
  }
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    if (k < exist) to[k] = static_cast<Out>(n[k]);
  }
}

/// Writes n [pixels][m].
template <class Out>
struct BandSums {
  static constexpr ChannelOrder order = ChannelOrder::eights;
  Out* out;
  bool aligned;

  template <int doubled>
  __device__ int constant(int /*channel*/, int correction, int odd) const {
    return correction - (odd << doubled);
  }
  __device__ int beyond() const { return 0; }

  template <int columns, int doubled>
  __device__ void write(const Band& b, const Tile& tile, const int (&sums)[columns / 2]) const {
    const int first = tile.slice * columns + static_cast<int>(threadIdx.x % 4) * 8;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (tile.image >= b.images || tile.row + half >= b.oh || tile.column >= b.ow) continue;
      const int less = tile.halves[half] * (2 << doubled);
      Out* const to =
          out + ((std::int64_t{tile.image} * b.oh + tile.row + half) * b.ow + tile.column) * b.m + first;
#pragma unroll
      for (int i = 0; i < columns / 4; i += 8) {
        int n[8];
#pragma unroll
        for (int k = 0; k < 8; k += 4) {
          const int4 c = *reinterpret_cast<const int4*>(tile.constants[half] + i + k);
          const int constants[4] = {c.x, c.y, c.z, c.w};
#pragma unroll
          for (int l = 0; l < 4; ++l) {
            const auto sum = static_cast<std::uint32_t>(sum_of<columns>(sums, half, i + k + l));
            n[k + l] =
                static_cast<int>((sum << (1 + doubled)) + static_cast<std::uint32_t>(constants[l])) + less;
          }
        }
        write_eight(to + 4 * i, n, aligned && first + 4 * i + 8 <= b.m, b.m - first - 4 * i);
      }
    }
  }
};

/// Writes the largest n of 2 × 2 pixels, [pooled pixels][m], and which of them held it first, row by row.
template <class Out>
struct BandMaxima {
  static constexpr ChannelOrder order = ChannelOrder::eights;
  Out* out;
  std::uint8_t* index;  // or null
  bool aligned;

  /// In fours: below, two bits say which pixel it is.
  template <int doubled>
  __device__ int constant(int /*channel*/, int correction, int odd) const {
    return 4 * (correction - (odd << doubled));
  }
  __device__ int beyond() const { return 0; }

  template <int columns, int doubled>
  __device__ void write(const Band& b, const Tile& tile, const int (&sums)[columns / 2]) const {
    constexpr int count = columns / 4;
    constexpr int mine = count / 2;
    const int right = tile.column % 2;
    // 4·n + 3 − place: the largest has the largest n, and of those the first place. The lane of the left
    // column goes on with the first half of the channels, that of the right one with the second.
    int best[mine];
#pragma unroll
    for (int i = 0; i < mine; i += 4) {
      int keys[2][4];
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        int rows[2][4];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int4 c = *reinterpret_cast<const int4*>(tile.constants[half] + part * mine + i);
          const int constants[4] = {c.x, c.y, c.z, c.w};
          const int place = 3 - 2 * half - right + tile.halves[half] * (8 << doubled);
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            const auto sum = static_cast<std::uint32_t>(sum_of<columns>(sums, half, part * mine + i + k));
            rows[half][k] =
                static_cast<int>((sum << (3 + doubled)) + static_cast<std::uint32_t>(constants[k])) + place;
          }
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) keys[part][k] = max(rows[0][k], rows[1][k]);
      }
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int other = __shfl_xor_sync(all_lanes, right != 0 ? keys[0][k] : keys[1][k], 4);
        best[i + k] = max(right != 0 ? keys[1][k] : keys[0][k], other);
      }
    }
    const int row = tile.row / 2;
    const int column = tile.column / 2;
    if (tile.image >= b.images || row >= b.oh / 2 || column >= b.ow / 2) return;
    const int first = tile.slice * columns + right * columns / 2 + static_cast<int>(threadIdx.x % 4) * 8;
    const std::int64_t at =
        ((std::int64_t{tile.image} * (b.oh / 2) + row) * (b.ow / 2) + column) * b.m + first;
#pragma unroll
    for (int i = 0; i < mine; i += 8) {
      const int exist = b.m - first - 4 * i;
      const bool whole = aligned && exist >= 8;
      int n[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) n[k] = best[i + k] >> 2;
      write_eight(out + at + 4 * i, n, whole, exist);
      if (index == nullptr) continue;
      unsigned places[2] = {};
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        places[k / 4] |= (static_cast<unsigned>(~best[i + k]) & 3) << (8 * (k % 4));
      }
      if (whole) {
        *reinterpret_cast<uint2*>(index + at + 4 * i) = make_uint2(places[0], places[1]);
        continue;
      }
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        if (k < exist) index[at + 4 * i + k] = static_cast<std::uint8_t>(places[k / 4] >> (8 * (k % 4)));
      }
    }
  }
};

/// Writes bits [pixels, or pooled ones][words of 32 channels].
struct BandBits {
  static constexpr ChannelOrder order = ChannelOrder::words;
  std::uint32_t* out;
  const std::int32_t* minimum;
  const std::uint32_t* all;
  int pixel_words;
  bool pooled;

  /// The bit of a channel is P' + constant ≥ 0.
  template <int doubled>
  __device__ int constant(int channel, int correction, int odd) const {
    // Beyond what a sum can be it is the same anyway.
    const std::int64_t c = std::int64_t{correction} - (odd << doubled) - minimum[channel];
    const std::int64_t most = 1 << 29;
    return static_cast<int>(c < -most ? -most : c > most ? most : c) >> (1 + doubled);
  }
  __device__ int beyond() const { return -(1 << 29); }

  template <int columns, int /*doubled*/>
  __device__ void write(const Band& b, const Tile& tile, const int (&sums)[columns / 2]) const {
    constexpr int count = columns / 4;
    const int t = static_cast<int>(threadIdx.x % 4);
    // Sign bits: of channels whose bit is not set.
    std::uint32_t signs[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // In two parts, which do not wait for each other.
      std::uint32_t parts[2] = {};
#pragma unroll
      for (int i = count / 2 - 4; i >= 0; i -= 4) {
#pragma unroll
        for (int part = 0; part < 2; ++part) {
          const int first = part * count / 2 + i;
          const int4 c = *reinterpret_cast<const int4*>(tile.constants[half] + first);
          const int constants[4] = {c.x, c.y, c.z, c.w};
#pragma unroll
          for (int k = 3; k >= 0; --k) {
            const int value = sum_of<columns>(sums, half, first + k) + constants[k] + tile.halves[half];
            parts[part] = __funnelshift_l(static_cast<unsigned>(value), parts[part], 1);
          }
        }
      }
      std::uint32_t word = parts[0] | parts[1] << count / 2;
      if constexpr (count == 16) {
        const std::uint32_t other = __shfl_xor_sync(all_lanes, word, 1);
        word = t % 2 == 0 ? word | other << 16 : other | word << 16;
      }
      signs[half] = word;
    }
    const int at = columns == 128 ? tile.slice * 4 + t : tile.slice * 2 + t / 2;
    const bool writes = at < pixel_words && (columns == 128 || t % 2 == 0) && tile.image < b.images;
    if (!pooled) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (!writes || tile.row + half >= b.oh || tile.column >= b.ow) continue;
        out[((std::int64_t{tile.image} * b.oh + tile.row + half) * b.ow + tile.column) * pixel_words + at] =
            ~signs[half];
      }
      return;
    }
    std::uint32_t none = signs[0] & signs[1];
    std::uint32_t some = signs[0] | signs[1];
    none &= __shfl_xor_sync(all_lanes, none, 4);
    some |= __shfl_xor_sync(all_lanes, some, 4);
    const int row = tile.row / 2;
    const int column = tile.column / 2;
    if (!writes || tile.column % 2 != 0 || row >= b.oh / 2 || column >= b.ow / 2) return;
    const std::uint32_t every = all == nullptr ? 0 : all[at];
    out[((std::int64_t{tile.image} * (b.oh / 2) + row) * (b.ow / 2) + column) * pixel_words + at] =
        (~none & ~every) | (~some & every);
  }
};

/// Block x: every blocks / slices-th item of the channels of a slice.
template <int columns, class Source, class Target>
__global__ void __launch_bounds__(threads, 1)
    band_kernel(Band b, Room room, Source source, const unsigned char* weights,
                const std::int32_t* corrections, std::int64_t correction_pitch, Target target) {
  unsigned char* const memory = dynamic_shared<unsigned char>();
  unsigned char* const w = memory + room.weights;
  int* const constants = reinterpret_cast<int*>(memory + room.constants);
  TilePlace* const tiles = reinterpret_cast<TilePlace*>(memory + room.tiles);
  int* const all_terms = reinterpret_cast<int*>(memory + room.terms);
  int* const all_counts = reinterpret_cast<int*>(memory + room.counts);
  unsigned char* const all_buffers = memory + room.buffers;
  const auto terms_of = [&](int item) { return all_terms + (item & 1) * b.tiles * warpgroup_rows; };
  const auto counts_of = [&](int item) { return all_counts + (item & 1) * b.positions(); };
  const auto buffer_of = [&](int item) {
    return all_buffers + (item & (b.buffers - 1)) * b.buffer_pieces * 16;
  };

  const int thread = static_cast<int>(threadIdx.x);
  const auto slices = static_cast<unsigned>(b.slices);
  const auto slice = static_cast<int>(blockIdx.x % slices);
  const auto first_item = static_cast<int>(blockIdx.x / slices);
  const auto item_step = static_cast<int>(gridDim.x / slices);

  for (int i = thread; i < 2 * b.steps * columns; i += threads) {
    copy_async<16>(w + i * 16, weights + (std::int64_t{slice} * 2 * b.steps * columns + i) * 16, true);
  }
  // Borders stay as they are now.
  for (int i = thread; i < b.buffers * b.buffer_pieces; i += threads) {
    *reinterpret_cast<uint4*>(all_buffers + i * 16) = make_uint4(0, 0, 0, 0);
  }
  for (int i = thread; i < 2 * b.positions(); i += threads) all_counts[i] = 0;
  for (int i = thread; i < 2 * b.classes() * columns; i += threads) {
    const int row = i / columns;
    const int border_class = row / 2;
    const int channel = slice * columns + i % columns;
    const int correction =
        corrections != nullptr && channel < b.m ? corrections[border_class * correction_pitch + channel] : 0;
    const Owner owner = owner_of<columns>(Target::order, i % columns);
    constants[(row * 4 + owner.lane) * lane_pitch<columns> + owner.number] =
        channel < b.m ? target.template constant<Source::doubled>(channel, correction, row % 2)
                      : target.beyond();
  }
  for (int i = thread; i < b.tiles; i += threads) tiles[i] = band::tile_place(b, i);
  __syncthreads();

  const auto item_at = [&](int k) { return item_of(b, first_item + k * item_step); };
  const int count = (b.items - first_item + item_step - 1) / item_step;
  const auto load = [&](int k) {
    if (k < count) source.template load<threads>(b, thread, item_at(k), buffer_of(k));
    copies_commit();
  };
  const auto count_pixels = [&](int k) {
    if (k < count) source.template count<threads>(b, item_at(k), buffer_of(k), counts_of(k));
  };
  const auto finish_rows = [&](int k) {
    if (k >= count) return;
    const int* const counts = counts_of(k);
    int* const terms = terms_of(k);
    for (int i = thread; i < b.tiles * warpgroup_rows; i += threads) {
      const int at = band::window_of(b, tiles[i / warpgroup_rows], i % warpgroup_rows);
      terms[i] = source.finish(b, at, i, counts, buffer_of(k));
    }
  };

  if (count <= 0) return;  // of the whole block
#pragma unroll 1
  for (int k = 0; k < 3; ++k) load(k);
  copies_wait<0>();
  __syncthreads();
  count_pixels(0);
  count_pixels(1);
  __syncthreads();
  finish_rows(0);

  // Warps by themselves read this: it has to be the same for the four of a group.
  const int group = __shfl_sync(all_lanes, thread / warpgroup_threads, 0);
  const int lane = thread % 32;
  const int warp = thread / 32 % 4;
  const BitOperand all_channels = bit_operand(w, side, columns);
#pragma unroll 1
  for (int k = 0; k < count; ++k) {
    // Behind it items k to k + 2 have arrived, k + 1 is counted, and k is ready; what k − 1 used is free.
    copies_wait<0>();
    warpgroup::publish();
    __syncthreads();
    load(k + 3);
    const Item item = item_at(k);
    const unsigned char* const buffer = buffer_of(k);
    const int* const terms = terms_of(k);
    bool prepared = false;
    const auto prepare = [&] {
      count_pixels(k + 2);
      finish_rows(k + 1);
      prepared = true;
    };
#pragma unroll 1
    for (int t = group; t < b.tiles; t += warpgroups) {
      const TilePlace place = tiles[t];
      int sums[columns / 2];
      const BitOperand a = bit_operand(buffer + (Source::is_signs ? place.position : t * warpgroup_rows) * 16,
                                       Source::is_signs ? b.pitch : side, 0);
      BitOperand channels = all_channels;
      warpgroup::start();
#pragma unroll 1
      for (int s = 0; s < b.steps; ++s) {
        multiply_bits<columns>(sums, a.moved(b.offset[s]), channels, s);
        channels = channels.moved(bit_offset(2 * columns, 0));
      }
      warpgroup::commit();
      // While the tensor cores work.
      if (!prepared) prepare();
      warpgroup::finish<0>();

      Tile tile{item.image + place.image(),
                item.row + place.row() + 2 * warp,
                place.column() + lane / 4,
                slice,
                {}};
      const int column_class = b.columns.of(min(tile.column, b.ow - 1));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int border_class = b.rows.of(min(tile.row + half, b.oh - 1)) * b.columns.count() + column_class;
        const int term = terms[t * warpgroup_rows + (2 * warp + half) * side + lane / 4];
        tile.halves[half] = -(term >> 1);
        tile.constants[half] =
            constants + ((2 * border_class + (term & 1)) * 4 + lane % 4) * lane_pitch<columns>;
      }
      target.template write<columns, Source::doubled>(b, tile, sums);
    }
    if (!prepared) prepare();
  }
  copies_wait<0>();
}

}  // namespace

struct BandProduct::Plan {
  band::Layer layer;  // not cut yet
  int wide;           // channels of a slice
  const std::int32_t* corrections;
  std::int64_t correction_pitch;
  std::int64_t image_tiles;

  Room room(const Band& b) const { return wide == 64 ? room_of<64>(b) : room_of<128>(b); }
  /// Cut into items of about so many tiles; nothing where they do not fit into shared memory.
  std::optional<Band> cut(std::int64_t images, int tiles) const;
  std::optional<Band> cut(std::int64_t images) const;
};

std::optional<Band> BandProduct::Plan::cut(std::int64_t images, int tiles) const {
  band::Layer result = layer;
  const bool fits = band::cut(result, images, side, tiles, layer.signs ? 4 : 2) &&
                    static_cast<std::size_t>(room(result.band).total) <= driver::device().shared_memory;
  return fits ? std::optional(result.band) : std::nullopt;
}

std::optional<Band> BandProduct::Plan::cut(std::int64_t images) const {
  const std::int64_t blocks = driver::device().multiprocessors;
  // Large items read fewer rows twice and wait less for each other; small ones give every multiprocessor
  // some.
  for (int tiles = 16; tiles >= 1; tiles /= 2) {
    if (tiles > warpgroups && images * image_tiles * layer.band.slices < 4 * blocks * tiles) continue;
    if (const std::optional<Band> b = cut(images, tiles)) return b;
  }
  return {};
}

BandProduct::BandProduct(std::unique_ptr<Plan> plan, std::int64_t bytes)
    : plan_(std::move(plan)), packed_(bytes) {}
BandProduct::~BandProduct() = default;

std::unique_ptr<BandProduct::Plan> BandProduct::plan_of(const BinaryLayer& layer,
                                                        const BinaryLayout& layout) {
  const std::optional<band::Layer> found = band::layer_of(layer, layout);
  if (!found) return nullptr;
  auto plan = std::make_unique<Plan>();
  plan->layer = *found;
  Band& b = plan->layer.band;
  plan->wide = b.m <= 64 ? 64 : 128;
  b.slices = ceil_div(b.m, plan->wide);
  plan->image_tiles = std::int64_t{ceil_div(b.oh, side)} * b.tile_columns;
  plan->correction_pitch = layout.correction_pitch;
  if (!plan->cut(1, 1)) return nullptr;
  return plan;
}

bool BandProduct::fits(const BinaryLayer& layer, const BinaryLayout& layout) {
  return plan_of(layer, layout) != nullptr;
}

std::unique_ptr<BandProduct> BandProduct::of(const BinaryLayer& layer, const BinaryLayout& layout,
                                             const std::uint64_t* w, const std::int32_t* corrections) {
  std::unique_ptr<Plan> plan = plan_of(layer, layout);
  if (plan == nullptr) return nullptr;
  plan->corrections = corrections;
  const Band& b = plan->layer.band;
  const int wide = plan->wide;
  const std::int64_t bytes = b.slices * band::weight_pieces(b, wide) * 16;
  std::unique_ptr<BandProduct> product(new BandProduct(std::move(plan), 2 * bytes));
  const band::Layer& taken = product->plan_->layer;
  band::pack_weights(taken, w, wide, ChannelOrder::words, product->packed_.data());
  band::pack_weights(taken, w, wide, ChannelOrder::eights, product->packed_.data() + bytes);
  return product;
}

bool BandProduct::pays(std::int64_t images) const {
  const Plan& plan = *plan_;
  // Items are counted in an int.
  return images <= band::most_tiles / plan.image_tiles &&
         images * plan.image_tiles * plan.layer.band.slices >=
             std::int64_t{warpgroups} * driver::device().multiprocessors;
}

namespace {

bool pools_by_two(const ops::Pool2dGeometry& pool, const ops::Pair& pooled, const Band& b) {
  return pool.side_by_side() && pool.kernel == ops::Pair{2, 2} && pooled == ops::Pair{b.oh / 2, b.ow / 2};
}

}  // namespace

bool BandProduct::fuses(const BinaryThresholds& thresholds) const {
  const Band& b = plan_->layer.band;
  return thresholds.pools_nothing() || thresholds.pools_by_two(b.oh, b.ow);
}

bool BandProduct::pools(const ops::Pooling& pooling) const {
  return pools_by_two(pooling.geometry, {pooling.out_height, pooling.out_width}, plan_->layer.band);
}

template <class Target>
void BandProduct::run(std::int64_t images, const void* x, const Target& target) const {
  const Plan& plan = *plan_;
  const Band b = *plan.cut(images);
  const Room room = plan.room(b);
  const int per_slice = std::min(b.items, std::max(1, driver::device().multiprocessors / b.slices));
  const dim3 grid(static_cast<unsigned>(per_slice * b.slices));
  const auto start = [&](auto kernel, const auto& source) {
    const std::uint8_t* const weights =
        packed_.data() + (Target::order == ChannelOrder::words ? 0 : packed_.count() / 2);
    launch(kernel, grid, dim3(threads), static_cast<std::size_t>(room.total), b, room, source, weights,
           plan.corrections, plan.correction_pitch, target);
  };
  if (plan.layer.signs) {
    const SignBand source{static_cast<const std::uint64_t*>(x)};
    if (plan.wide == 64) {
      start(band_kernel<64, SignBand, Target>, source);
    } else {
      start(band_kernel<128, SignBand, Target>, source);
    }
  } else {
    const CodeBand source{static_cast<const std::uint8_t*>(x), report_words()};
    if (plan.wide == 64) {
      start(band_kernel<64, CodeBand, Target>, source);
    } else {
      start(band_kernel<128, CodeBand, Target>, source);
    }
  }
}

template <class Out>
void BandProduct::sums(std::int64_t images, const void* x, Out* out) const {
  const bool aligned = plan_->layer.band.m % static_cast<int>(16 / sizeof(Out)) == 0 &&
                       reinterpret_cast<std::uintptr_t>(out) % 16 == 0;
  run(images, x, BandSums<Out>{out, aligned});
}
template void BandProduct::sums(std::int64_t, const void*, std::int16_t*) const;
template void BandProduct::sums(std::int64_t, const void*, std::int32_t*) const;

template <class Out>
void BandProduct::maxima(std::int64_t images, const void* x, Out* out, std::uint8_t* index) const {
  const bool aligned = plan_->layer.band.m % 8 == 0 && reinterpret_cast<std::uintptr_t>(out) % 16 == 0 &&
                       reinterpret_cast<std::uintptr_t>(index) % 8 == 0;
  run(images, x, BandMaxima<Out>{out, index, aligned});
}
template void BandProduct::maxima(std::int64_t, const void*, std::int16_t*, std::uint8_t*) const;
template void BandProduct::maxima(std::int64_t, const void*, std::int32_t*, std::uint8_t*) const;

void BandProduct::layer(std::int64_t images, const void* x, const BinaryThresholds& thresholds,
                        std::uint64_t* out) const {
  const bool pooled = thresholds.pool.stride != ops::Pair{1, 1};
  run(images, x,
      BandBits{reinterpret_cast<std::uint32_t*>(out), thresholds.minimum,
               reinterpret_cast<const std::uint32_t*>(thresholds.all),
               static_cast<int>(2 * words(plan_->layer.band.m)), pooled});
}

}  // namespace hardbit::cuda
