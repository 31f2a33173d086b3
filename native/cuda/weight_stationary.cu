#include <algorithm>

#include "cuda/band.h"
#include "cuda/phase_barrier.h"
#include "cuda/weight_stationary.h"
#include "runtime/words.h"

namespace hardbit::cuda {
namespace {

using band::Band;
using band::Item;
using band::side;
using band::SignBand;

/// Channels of a slice, which are the rows of a product.
constexpr int slice_channels = warpgroup_rows;
/// Warpgroups that load, every second item each, and that multiply: as many as registers allow.
constexpr int producers = 2;
constexpr int consumers_of(int steps) { return steps <= 5 ? 3 : 2; }
constexpr int threads_of(int steps) { return (producers + consumers_of(steps)) * warpgroup_threads; }
constexpr int producer_registers(int steps) { return steps <= 5 ? 48 : 64; }
constexpr int consumer_registers(int steps) { return steps <= 5 ? 128 : 192; }
/// Bands under way: four are loaded ahead, two are counted, one or two are read.
constexpr int stages = 8;

/// Rows that a thread of a producer sums at once: for large images few threads are enough.
constexpr int chunk_of(int tile_rows) { return tile_rows >= 14 ? 4 : 2; }

/// Columns of a product for tiles of so many rows.
constexpr int columns_of(int rows) { return rows == 7 ? 64 : rows * side; }

/// Where a block's shared memory has what.
struct Room {
  int barriers, items, constants, pairs, tiles, fours, sums, terms, results, buffers, total;
};

/// The ones of windows, a number a pixel, lie in fours: two rows of two columns, which a lane reads at once.
constexpr int fours_of(int rows) { return (rows + 1) / 2 * (side / 2); }

/// Sums of kh rows at each position: rows of an image, and their pitch.
constexpr int sum_rows(const Band& b) { return band::round_up(b.item_rows, 4); }
constexpr int sum_pitch(const Band& b) { return band::round_up(b.pitch, 2); }
constexpr int item_sums(const Band& b) { return b.group * sum_rows(b) * sum_pitch(b); }

/// The border classes of two columns side by side, from an even one on: all pairs inside share one, as
/// classes do (BorderClasses); of columns behind the image any does.
struct PairClasses {
  int first, last;
  constexpr explicit PairClasses(const Band& b)
      : first((b.columns.first + 1) / 2), last(b.columns.last / 2) {}
  constexpr int of(int pair) const {
    return pair < first ? pair : pair < last ? first : pair - last + first + 1;
  }
  constexpr int count(const Band& b) const { return of(b.tile_columns * side / 2 - 1) + 1; }
  /// A pair of that class.
  constexpr int representative(int pair_class) const {
    return pair_class <= first ? pair_class : pair_class - first - 1 + last;
  }
};
/// Border classes of rows: the first row where it sees the border, rows inside, and the last.
constexpr int row_classes = 3;

/// An item under way: how many images there are from its first one on, its row of the image, and its first
/// word of the output.
struct alignas(16) Place {
  int images, row;
  std::int64_t output;
};

/// Of an item.
struct alignas(8) Tile {
  /// Its first position in the band.
  int position;
  /// Its first word of the output, of the item's.
  int output;
  /// Its first pair of columns, and how many columns of the output there are from there on.
  int pair, columns;
  /// Its image and its row of the item.
  int image, row;
};

/// Behind the buffers: sums of rows that are filled up, and products of 7 rows, read further than a band.
constexpr int slack_pieces(const Band& b) { return (4 + (b.kh - 1) * b.dilation_h) * b.pitch + side; }

constexpr Room room_of(const Band& b) {
  const int consumers = consumers_of(b.steps);
  Room r{};
  int at = 0;
  const auto take = [&](int& place, int bytes) {
    place = at;
    at += band::round_up(bytes, 128);
  };
  take(r.barriers, (2 * stages + consumers) * static_cast<int>(sizeof(PhaseBarrier)));
  take(r.items, stages * static_cast<int>(sizeof(Place)));
  take(r.constants, row_classes * PairClasses(b).count(b) * slice_channels / 2 * 8);
  take(r.pairs, b.tile_columns * side / 2 * 4);
  take(r.tiles, b.tiles * static_cast<int>(sizeof(Tile)));
  take(r.fours, b.tiles * fours_of(b.tile_rows) * 4);
  take(r.sums, producers * item_sums(b) * 4);
  take(r.terms, stages * b.tiles * fours_of(b.tile_rows) * 16);
  // 64 channels of each pixel, twice for each consumer.
  take(r.results, consumers * 2 * b.tile_pixels() * 8);
  take(r.buffers, (stages * b.buffer_pieces + slack_pieces(b)) * 16);
  r.total = at;
  return r;
}

/// What becomes of the sums.
struct Bits {
  const std::int32_t* minimum;
  /// Channels whose pooled bit is the AND; null: none.
  const std::uint64_t* all;
  std::uint64_t* out;
  bool pooled;
  /// Of an image's bits.
  int height, width;
};

// The bit of a channel at a pixel is 2·P − Σ x + constant ≥ 0, the constant of the channel and the border
// class. Two channels share a register, 16 bits each, biased so that neither borrows from the other; their
// top bits are the answer.

constexpr int bias = 1 << 15;

__device__ inline unsigned constant_of(std::int32_t correction, std::int32_t minimum) {
  // n is twice that. Beyond what a sum can be it is the same anyway.
  const std::int64_t c = (std::int64_t{correction} - minimum) >> 1;
  const std::int64_t most = (1 << 14) - 1;
  return static_cast<unsigned>((c < -most ? -most : c > most ? most : c) + bias);
}

/// Bytes 1 and 3 of x and y, each all ones where its top bit is set.
__device__ inline std::uint32_t top_bits(std::uint32_t x, std::uint32_t y) {
#ifdef __CUDACC__
  std::uint32_t r;
  asm("prmt.b32 %0, %1, %2, 0xFDB9;" : "=r"(r) : "r"(x), "r"(y));
  return r;
#else
  return __byte_perm(x, y, 0xFDB9);
#endif
}

/// x·y + z as one instruction, which the compiler is not to take apart: multiplications have a unit of their
/// own.
__device__ inline std::uint32_t multiply_add(std::uint32_t x, std::uint32_t y, std::uint32_t z) {
#ifdef __CUDACC__
  std::uint32_t r;
  asm("mad.lo.u32 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z));
  return r;
#else
  return x * y + z;
#endif
}

/// Transposes the 8 × 8 bits that lanes 4·g + t, g = 0 … 7, hold in each byte: lane g then has bit g of all
/// of them, that of lane k as bit k.
class Transpose {
 public:
  __device__ explicit Transpose(int lane) {
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      constexpr std::uint32_t low[] = {0x55555555, 0x33333333, 0x0F0F0F0F};
      const bool high = (lane >> (2 + k) & 1) != 0;
      keep_[k] = high ? ~low[k] : low[k];
      turn_[k] = high ? 32 - (1 << k) : 1 << k;
#ifdef __CUDACC__
      // Or they are made anew for every tile.
      asm volatile("" : "+r"(keep_[k]), "+r"(turn_[k]));
#endif
    }
  }
  __device__ std::uint32_t operator()(std::uint32_t bits) const {
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      const std::uint32_t other = __shfl_xor_sync(all_lanes, bits, 4 << k);
      bits = (bits & keep_[k]) | (__funnelshift_l(other, other, turn_[k]) & ~keep_[k]);
    }
    return bits;
  }

 private:
  std::uint32_t keep_[3];
  std::uint32_t turn_[3];
};

struct Job {
  Band band;
  Room room;
  const std::uint32_t* weights;  // [slice][piece of k][channel][4]
  const std::int32_t* corrections;
  std::int64_t correction_pitch;
  Bits bits;
  /// 1, 2 and 2^17, for multiply_add().
  std::uint32_t one, two, above;
};

/// The block's part of the work, and its shared memory.
struct Block {
  const Job& j;
  unsigned char* memory;
  int slice, first_item, item_step, count;

  __device__ explicit Block(const Job& job) : j(job), memory(dynamic_shared<unsigned char>()) {
    const auto slices = static_cast<unsigned>(j.band.slices);
    slice = static_cast<int>(blockIdx.x % slices);
    first_item = static_cast<int>(blockIdx.x / slices);
    item_step = static_cast<int>(gridDim.x / slices);
    count = first_item < j.band.items ? (j.band.items - first_item + item_step - 1) / item_step : 0;
  }
  __device__ PhaseBarrier* barriers() const {
    return reinterpret_cast<PhaseBarrier*>(memory + j.room.barriers);
  }
  /// Item k is there.
  __device__ PhaseBarrier& full(int k) const { return barriers()[k % stages]; }
  /// Item k is done with.
  __device__ PhaseBarrier& empty(int k) const { return barriers()[stages + k % stages]; }
  /// The consumer before has queued its products.
  __device__ PhaseBarrier& turn(int consumer) const { return barriers()[2 * stages + consumer]; }
  __device__ Place& place(int k) const { return reinterpret_cast<Place*>(memory + j.room.items)[k % stages]; }
  /// [row class][pair class][pair of channels] of two columns.
  __device__ uint2* constants() const { return reinterpret_cast<uint2*>(memory + j.room.constants); }
  /// Of a pair of columns the constants of its class, as an offset in constants().
  __device__ int* pairs() const { return reinterpret_cast<int*>(memory + j.room.pairs); }
  __device__ Tile* tiles() const { return reinterpret_cast<Tile*>(memory + j.room.tiles); }
  /// Of each four of an item the place of its first pixel's in sums().
  __device__ int* fours() const { return reinterpret_cast<int*>(memory + j.room.fours); }
  __device__ int* sums(int producer) const {
    return reinterpret_cast<int*>(memory + j.room.sums) + producer * item_sums(j.band);
  }
  /// −Σ x of each four's pixels, twice 16 bits.
  __device__ uint4* terms(int k) const {
    return reinterpret_cast<uint4*>(memory + j.room.terms) +
           k % stages * j.band.tiles * fours_of(j.band.tile_rows);
  }
  __device__ unsigned char* buffer(int k) const {
    return memory + j.room.buffers + k % stages * j.band.buffer_pieces * 16;
  }
  __device__ std::uint64_t* results(int which) const {
    return reinterpret_cast<std::uint64_t*>(memory + j.room.results) + which * j.band.tile_pixels();
  }

  /// By all threads.
  __device__ void prepare() const {
    const Band& b = j.band;
    const int thread = static_cast<int>(threadIdx.x);
    const auto threads = static_cast<int>(blockDim.x);
    const int consumers = consumers_of(b.steps);
    if (thread == 0) {
      for (int i = 0; i < stages; ++i) {
        make_phases(full(i), warpgroup_threads);
        make_phases(empty(i), consumers * 4);
      }
      for (int i = 0; i < consumers; ++i) make_phases(turn(i), 4);
    }
    // Borders stay as they are now.
    unsigned char* const buffers = buffer(0);
    for (int i = thread; i < stages * b.buffer_pieces + slack_pieces(b); i += threads) {
      *reinterpret_cast<uint4*>(buffers + i * 16) = make_uint4(0, 0, 0, 0);
    }
    for (int i = thread; i < producers * item_sums(b); i += threads) sums(0)[i] = 0;
    const int shrink = j.bits.pooled ? 2 : 1;
    for (int i = thread; i < b.tiles; i += threads) {
      const band::TilePlace place = band::tile_place(b, i);
      const int row = place.image() * j.bits.height + place.row() / shrink;
      const int column = place.column() / shrink;
      tiles()[i] = {.position = place.position,
                    .output = (row * j.bits.width + column) * static_cast<int>(words(b.m)),
                    .pair = place.column() / 2,
                    .columns = j.bits.width - column,
                    .image = place.image(),
                    .row = place.row()};
    }
    const int tile_fours = fours_of(b.tile_rows);
    for (int i = thread; i < b.tiles * tile_fours; i += threads) {
      const band::TilePlace place = band::tile_place(b, i / tile_fours);
      const int four = i % tile_fours;
      const int row = place.image() * sum_rows(b) + place.row() + four / (side / 2) * 2;
      fours()[i] = row * sum_pitch(b) + place.column() + four % (side / 2) * 2;
    }
    const PairClasses classes(b);
    constexpr int channel_pairs = slice_channels / 2;
    for (int i = thread; i < b.tile_columns * side / 2; i += threads)
      pairs()[i] = classes.of(i) * channel_pairs;
    for (int i = thread; i < row_classes * classes.count(b) * channel_pairs; i += threads) {
      // Where no row sees the border, none asks for that class.
      const int row_class = i / channel_pairs / classes.count(b);
      const int row = row_class == 0 ? 0 : row_class == 1 ? b.oh / 2 : b.oh - 1;
      const int column = 2 * classes.representative(i / channel_pairs % classes.count(b));
      // Channels g and g + 8 of a warp's sixteen.
      const int pair = i % channel_pairs;
      const int first = slice * slice_channels + pair / 8 * 16 + pair % 8;
      const auto both = [&](int x) {
        const int border_class = b.rows.of(row) * b.columns.count() + b.columns.of(min(x, b.ow - 1));
        const auto constant = [&](int channel) -> unsigned {
          if (channel >= b.m) return constant_of(0, 1 << 15);  // never
          const std::int32_t correction =
              j.corrections != nullptr ? j.corrections[border_class * j.correction_pitch + channel] : 0;
          return constant_of(correction, j.bits.minimum[channel]);
        };
        return constant(first) | constant(first + 8) << 16;
      };
      constants()[i] = make_uint2(both(column), both(column + 1));
    }
  }
};

/// Adds the ones of `n` pixels of a band, one below the other.
template <int n>
__device__ inline void add_ones(const Band& b, const unsigned char* first, int (&ones)[n]) {
  if (b.pixel_words == 1) {
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const uint2 v = *reinterpret_cast<const uint2*>(first + i * b.pitch * 16);
      ones[i] += __popc(v.x) + __popc(v.y);
    }
    return;
  }
#pragma unroll 1
  for (int piece = 0; piece < b.pieces; ++piece) {
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const uint4 v = *reinterpret_cast<const uint4*>(first + (piece * b.piece_stride + i * b.pitch) * 16);
      ones[i] += __popc(v.x) + __popc(v.y) + __popc(v.z) + __popc(v.w);
    }
  }
}

/// Copies of 16 bytes that a thread of a producer makes for every item: of one piece of a pixel, in every
/// fourth row. What does not depend on the item is known beforehand.
class Copies {
 public:
  /// Whether rows are short enough, and their pieces 16 bytes.
  static __device__ bool fit(const Band& b, const SignBand& source) {
    return b.pixel_words % 2 == 0 && b.w * b.pieces <= 32 &&
           reinterpret_cast<std::uintptr_t>(source.x) % 16 == 0;
  }
  __device__ Copies(const Band& b, const SignBand& source, int thread)
      : b_(b), whole_(b.bands == 1), row_bytes_(b.w * b.pixel_words * 8) {
    const int lane = thread % 32;
    const int warp = thread / 32;
    const int column = lane / b.pieces;
    mine_ = lane < b.w * b.pieces;
    // Whole images have the same border always, which is zero already.
    rows_ = ((whole_ ? b.h : b.band_rows) - warp + warps - 1) / warps;
    to_ = ((lane - column * b.pieces) * b.piece_stride + b.left + column +
           (warp + (whole_ ? b.top : 0)) * b.pitch) *
          16;
    row_ = warp - (whole_ ? 0 : b.top);
    from_ = reinterpret_cast<const unsigned char*>(source.x) + lane * 16 + std::int64_t{row_} * row_bytes_;
  }
  __device__ void operator()(const Item& item, unsigned char* buffer) const {
    if (!mine_) return;
    const unsigned char* image_from = from_ + (std::int64_t{item.image} * b_.h + item.row) * row_bytes_;
    unsigned char* image_to = buffer + to_;
    const int step = warps * b_.pitch * 16;
    const int images = min(b_.group, b_.images - item.image);
#pragma unroll 1
    for (int image = 0; image < images; ++image) {
      const unsigned char* from = image_from;
      unsigned char* to = image_to;
      if (whole_) {
#pragma unroll 4
        for (int i = 0; i < rows_; ++i) {
          copy_async<16>(to, from, true);
          from += warps * row_bytes_;
          to += step;
        }
      } else {
        int row = item.row + row_;
#pragma unroll 4
        for (int i = 0; i < rows_; ++i) {
          copy_async<16>(to, from, static_cast<unsigned>(row) < static_cast<unsigned>(b_.h));
          from += warps * row_bytes_;
          to += step;
          row += warps;
        }
      }
      image_from += b_.h * row_bytes_;
      image_to += b_.band_rows * b_.pitch * 16;
    }
  }

 private:
  static constexpr int warps = warpgroup_threads / 32;
  const Band& b_;
  bool whole_, mine_;
  int row_bytes_, rows_, to_, row_;
  const unsigned char* from_;
};

/// The ones of kh rows at each position of a band, by a producer's threads, so many rows a thread at once.
template <int chunk>
class RowSums {
 public:
  __device__ RowSums(const Band& b, int thread, int* sums)
      : b_(b),
        sums_(sums),
        lanes_(1 << b.row_lanes),
        column_(thread & (lanes_ - 1)),
        part_(thread >> b.row_lanes),
        first_(unit(column_, part_)) {}
  __device__ void operator()(const unsigned char* buffer) const {
    if (first_.exists) sum(buffer, first_);
    if (b_.w <= lanes_ && b_.group * chunks() <= warpgroup_threads >> b_.row_lanes) return;
#pragma unroll 1
    for (int column = column_; column < b_.w; column += lanes_) {
#pragma unroll 1
      for (int i = part_; i < b_.group * chunks(); i += warpgroup_threads >> b_.row_lanes) {
        if (column != column_ || i != part_) sum(buffer, unit(column, i));
      }
    }
  }

 private:
  /// A chunk of rows of a column: where it is read, in bytes of the buffer, and written.
  struct Unit {
    bool exists;
    int from;
    int* to;
  };
  __device__ int chunks() const { return sum_rows(b_) / chunk; }
  __device__ Unit unit(int column, int i) const {
    const int image = i / chunks();
    const int row = (i - image * chunks()) * chunk;
    return {column < b_.w && i < b_.group * chunks(),
            ((image * b_.band_rows + row) * b_.pitch + b_.left + column) * 16,
            sums_ + (image * sum_rows(b_) + row) * sum_pitch(b_) + b_.left + column};
  }
  __device__ void sum(const unsigned char* buffer, const Unit& unit) const {
    const unsigned char* const from = buffer + unit.from;
    if (b_.kh == 3 && b_.dilation_h == 1) {
      int ones[chunk + 2] = {};
      add_ones(b_, from, ones);
#pragma unroll
      for (int r = 0; r < chunk; ++r) unit.to[r * sum_pitch(b_)] = ones[r] + ones[r + 1] + ones[r + 2];
      return;
    }
    int ones[chunk] = {};
#pragma unroll 1
    for (int tap = 0; tap < b_.kh; ++tap) add_ones(b_, from + tap * b_.dilation_h * b_.pitch * 16, ones);
#pragma unroll
    for (int r = 0; r < chunk; ++r) unit.to[r * sum_pitch(b_)] = ones[r];
  }

  const Band& b_;
  int* sums_;
  int lanes_, column_, part_;
  Unit first_;
};

/// −Σ x of the windows of two rows of two columns, each twice 16 bits; `sums` those of the first.
__device__ inline uint4 window_terms(const Band& b, const int* sums) {
  constexpr std::uint32_t twice = 0U - 0x10001U;
  std::uint32_t ones[2][2] = {};
  if (b.kw == 3 && b.dilation_w == 1) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const uint2* const from = reinterpret_cast<const uint2*>(sums + r * sum_pitch(b));
      const uint2 left = from[0];
      const uint2 right = from[1];
      const std::uint32_t common = left.y + right.x;
      ones[r][0] = (left.x + common) * twice;
      ones[r][1] = (common + right.y) * twice;
    }
  } else {
#pragma unroll 1
    for (int tap = 0; tap < b.kw; ++tap) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        ones[i / 2][i % 2] +=
            static_cast<std::uint32_t>(sums[i / 2 * sum_pitch(b) + i % 2 + tap * b.dilation_w]) * twice;
      }
    }
  }
  return make_uint4(ones[0][0], ones[0][1], ones[1][0], ones[1][1]);
}

/// Loads every second band, two ahead, and sums the ones of every window.
template <int chunk>
__device__ void produce(const Block& block, const SignBand& source) {
  const Band& b = block.j.band;
  const int thread = static_cast<int>(threadIdx.x) % warpgroup_threads;
  const int producer = __shfl_sync(all_lanes, static_cast<int>(threadIdx.x) / warpgroup_threads, 0);
  const bool fit = Copies::fit(b, source);
  const Copies copies(b, source, thread);
  int* const sums = block.sums(producer);
  const RowSums<chunk> sum_rows_of(b, thread, sums);
  const int fours = b.tiles * fours_of(b.tile_rows);
  const int* const first_four = sums + (thread < fours ? block.fours()[thread] : 0);
  // The next item to load.
  const int first = block.first_item + producer * block.item_step;
  Item item = band::item_of(b, first);
  int part = first % b.bands;
  const int step_images = producers * block.item_step / b.bands * b.group;
  const int step_bands = producers * block.item_step % b.bands;
#pragma unroll 1
  for (int k = producer - 2 * producers; k < block.count; k += producers) {
    if (k >= 0) {
      copies_wait<1>();
      sync_part(1 + producer, warpgroup_threads);
      sum_rows_of(block.buffer(k));
      sync_part(1 + producer, warpgroup_threads);
      uint4* const terms = block.terms(k);
      if (thread < fours) terms[thread] = window_terms(b, first_four);
#pragma unroll 1
      for (int i = thread + warpgroup_threads; i < fours; i += warpgroup_threads) {
        terms[i] = window_terms(b, sums + block.fours()[i]);
      }
      warpgroup::publish();
      arrive(block.full(k));
    }
    // Behind publish(), which waits for copies under way.
    const int next = k + 2 * producers;
    if (next < block.count) {
      if (next >= stages) wait(block.empty(next), (next / stages - 1) & 1);
      if (thread == warpgroup_threads - 1) {
        const Bits& bits = block.j.bits;
        const std::int64_t row =
            std::int64_t{item.image} * bits.height + (bits.pooled ? item.row / 2 : item.row);
        block.place(next) = {b.images - item.image, item.row, row * bits.width * words(b.m) + block.slice};
      }
      if (fit) {
        copies(item, block.buffer(next));
      } else {
        source.load<warpgroup_threads>(b, thread, item, block.buffer(next));
      }
      item.image += step_images;
      part += step_bands;
      if (part >= b.bands) {
        part -= b.bands;
        ++item.image;
      }
      item.row = part * b.item_rows;
    }
    copies_commit();
  }
  copies_wait<0>();
}

template <int rows, int steps>
__device__ void consume(const Block& block) {
  constexpr int columns = columns_of(rows);
  constexpr int consumers = consumers_of(steps);
  const Job& j = block.j;
  const Band& b = j.band;
  // Warps by themselves read this: it has to be the same for the four of a group.
  const int consumer =
      __shfl_sync(all_lanes, static_cast<int>(threadIdx.x) / warpgroup_threads, 0) - producers;
  const int thread = static_cast<int>(threadIdx.x) % warpgroup_threads;
  const int warp = thread / 32;
  const int lane = thread % 32;
  const int g = lane / 4;
  const int t = lane % 4;
  const Transpose transpose(lane);

  std::uint32_t weights[steps][4];
  {
    const std::uint32_t* const from =
        j.weights + (std::int64_t{block.slice} * 2 * steps * slice_channels + 16 * warp + g) * 4 + t;
#pragma unroll
    for (int s = 0; s < steps; ++s) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        weights[s][i] = from[((2 * s + i / 2) * slice_channels + i % 2 * 8) * 4];
      }
    }
  }
  const int class_constants = PairClasses(b).count(b) * (slice_channels / 2);
  const uint2* const constants = block.constants() + 8 * warp + g;
  std::uint32_t flips = 0;
  if (j.bits.pooled && j.bits.all != nullptr) {
    const std::uint64_t all = j.bits.all[block.slice] >> (16 * warp + g);
    flips = ((all & 1) != 0 ? 0xFFU : 0U) | ((all >> 8 & 1) != 0 ? 0xFF00U : 0U);
  }
  // A thread's part of writing a tile's bits.
  const bool pooled = j.bits.pooled;
  const int across = pooled ? side / 2 : side;
  const int output_column = thread % across;
  const auto slice_words = static_cast<int>(words(b.m));
  const int output = (thread / across * j.bits.width + output_column) * slice_words;
  const bool writes = thread < (pooled ? rows / 2 : rows) * across;

  // Bits of the tile before, which are written while the tensor cores work on the next one. Bytes: of the
  // left pixel channels g and g + 8, of the right one the same; a byte's bits are rows.
  std::uint32_t bits[2] = {};
  std::uint64_t* to = nullptr;
  bool exists = false;
  int turns = 0;
  const auto write = [&] {
    std::uint64_t* const results = block.results(2 * consumer + turns % 2);
    auto* const halves = reinterpret_cast<std::uint16_t*>(results) + warp;
    if (pooled) {
      // Even bits are rows 0 … 3, odd ones rows 4 … 7.
      std::uint32_t word = 0;
#pragma unroll
      for (int half = 0; half < (rows + 7) / 8; ++half) {
        const std::uint32_t flipped = bits[half] ^ (flips | flips << 16);
        const std::uint32_t both = flipped | flipped >> 16;
        word |= ((both | both >> 1) & 0x5555U) << half;
      }
      const std::uint32_t mine = transpose(word ^ flips);
      halves[((g % 2 * 4 + g / 2) * (side / 2) + t) * 4] = static_cast<std::uint16_t>(mine);
    } else {
#pragma unroll
      for (int half = 0; half < (rows + 7) / 8; ++half) {
        const std::uint32_t mine = transpose(bits[half]);
        if (8 * half + g < rows) {
          std::uint16_t* const pixel = halves + ((8 * half + g) * side + 2 * t) * 4;
          pixel[0] = static_cast<std::uint16_t>(mine);
          pixel[4] = static_cast<std::uint16_t>(mine >> 16);
        }
      }
    }
    sync_part(1 + producers + consumer, warpgroup_threads);
    if (exists) *to = results[thread];
  };

  const Tile* const tiles = block.tiles();
  const int* const pairs = block.pairs() + t;
  int tile = consumer;
  int position = tiles[tile % b.tiles].position;
#pragma unroll 1
  for (int k = 0; k < block.count; ++k) {
    wait(block.full(k), (k / stages) & 1);
    const Place item = block.place(k);
    std::uint64_t* const out = j.bits.out + item.output;
    const unsigned char* const buffer = block.buffer(k);
#pragma unroll 1
    for (; tile < b.tiles; tile += consumers) {
      int sums[columns / 2];
      const BitOperand pixels = bit_operand(buffer + position * 16, b.pitch, 0);
      // In turn: products of one, then of the next.
      if (consumer > 0 || turns > 0) wait(block.turn(consumer), (consumer > 0 ? turns : turns - 1) & 1);
      warpgroup::start();
#pragma unroll
      for (int s = 0; s < steps; ++s) {
        multiply_bits<columns>(sums, weights[s], pixels.moved(b.offset[s]), s);
      }
      warpgroup::commit();
      if (lane == 0) arrive(block.turn(consumer == consumers - 1 ? 0 : consumer + 1));

      // While the tensor cores work. Of the rows only the first and the last may see the border.
      const Tile place = tiles[tile];
      const uint2* const inner = constants + pairs[place.pair] + class_constants;
      const int row = item.row + place.row;
      const uint2 by_row[3] = {inner[row == 0 ? -class_constants : 0], inner[0],
                               inner[row + rows == b.oh ? class_constants : 0]};
      const std::uint32_t constant[3][2] = {
          {by_row[0].x, by_row[0].y}, {by_row[1].x, by_row[1].y}, {by_row[2].x, by_row[2].y}};
      const uint4* const terms = block.terms(k) + tile * fours_of(rows) + t;
      uint4 four = terms[0];
      int next = tile + consumers;
      while (next >= b.tiles) next -= b.tiles;
      position = tiles[next].position;
      if (turns > 0) write();
      exists = writes && place.image < item.images && output_column < place.columns;
      // An item's words are fewer than 2^31.
      to = out + static_cast<unsigned>(place.output + output);
      warpgroup::finish<0>();
      settle_sums(sums);

      bits[0] = 0;
      bits[1] = 0;
#pragma unroll
      for (int pair = 0; pair < rows; pair += 2) {
        const std::uint32_t by_pixel[2][2] = {{four.x, four.y}, {four.z, four.w}};
        if (pair + 2 < rows) four = terms[(pair / 2 + 1) * (side / 2)];
#pragma unroll
        for (int i = pair; i < pair + 2 && i < rows; ++i) {
          const int border = i == 0 ? 0 : i == rows - 1 ? 2 : 1;
          const auto of = [&](int e) {
            const auto low = static_cast<std::uint32_t>(sums[4 * i + e]);
            const auto high = static_cast<std::uint32_t>(sums[4 * i + 2 + e]);
            const std::uint32_t term = multiply_add(by_pixel[i % 2][e], j.one, constant[border][e]);
            return multiply_add(low, j.two, multiply_add(high, j.above, term));
          };
          bits[i / 8] |= top_bits(of(0), of(1)) & (0x01010101U << (i % 8));
        }
      }
      ++turns;
    }
    tile -= b.tiles;
    __syncwarp();
    if (lane == 0) arrive(block.empty(k));
  }
  if (turns > 0) write();
}

#if defined(__CUDACC__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL) && defined(__CUDA_ARCH__)
#define HARDBIT_HAS_WGMMA 0
#else
#define HARDBIT_HAS_WGMMA 1
#endif

/// Block x: every blocks / slices-th item of the channels of a slice.
template <int rows, int steps>
__global__ void __launch_bounds__(threads_of(steps), 1) weight_stationary_kernel(Job job, SignBand source) {
#if HARDBIT_HAS_WGMMA
  const Block block(job);
  block.prepare();
  __syncthreads();
  if (threadIdx.x < producers * warpgroup_threads) {
    shrink_registers<producer_registers(steps)>();
    produce<chunk_of(rows)>(block, source);
  } else {
    grow_registers<consumer_registers(steps)>();
    consume<rows, steps>(block);
  }
#endif
}

// -- on the host

/// A kernel for tiles of so many rows and windows of so many steps.
struct Kernel {
  int rows, steps;
  void (*run)(Job, SignBand);
};

template <int rows, int steps>
constexpr Kernel kernel_for{rows, steps, weight_stationary_kernel<rows, steps>};

// 64, 128, 256 and 512 channels of 3 × 3 windows take 3, 5, 9 and 18 steps. Rows: the first that divides a
// layer's is taken.
constexpr Kernel kernels[] = {
    kernel_for<16, 3>, kernel_for<16, 5>, kernel_for<16, 9>, kernel_for<14, 3>,
    kernel_for<14, 5>, kernel_for<14, 9>, kernel_for<8, 3>,  kernel_for<8, 5>,
    kernel_for<8, 9>,  kernel_for<8, 18>, kernel_for<7, 9>,  kernel_for<7, 18>,
};

const Kernel* kernel_of(const band::Layer& layer) {
  const Band& b = layer.band;
  if (!layer.signs) return nullptr;
  // Only a tile's first and last rows may see the border.
  if (b.rows.first > 1 || b.rows.outputs - b.rows.last > 1) return nullptr;
  for (const Kernel& kernel : kernels) {
    if (kernel.steps != b.steps) continue;
    if (kernel.rows == 7 ? b.oh == 7 : b.oh % kernel.rows == 0) return &kernel;
  }
  return nullptr;
}

}  // namespace

struct WeightStationaryLayer::Plan {
  band::Layer layer;  // not cut yet
  const Kernel* kernel;
  const std::int32_t* corrections;
  std::int64_t correction_pitch;
  std::int64_t image_tiles;

  /// Cut into items of about so many tiles; nothing where they do not fit into shared memory.
  std::optional<Band> cut(std::int64_t images, int tiles) const {
    band::Layer result = layer;
    const bool fits = band::cut(result, images, kernel->rows, tiles, stages) &&
                      static_cast<std::size_t>(room_of(result.band).total) <= driver::device().shared_memory;
    return fits ? std::optional(result.band) : std::nullopt;
  }
  std::optional<Band> cut(std::int64_t images) const {
    // Large items wait less for each other; small ones give every multiprocessor several.
    const std::int64_t all = images * image_tiles * layer.band.slices;
    for (int tiles = 4; tiles > 1; tiles /= 2) {
      if (all < 6 * std::int64_t{driver::device().multiprocessors} * tiles) continue;
      if (const std::optional<Band> b = cut(images, tiles)) return b;
    }
    return cut(images, 1);
  }
};

WeightStationaryLayer::WeightStationaryLayer(std::unique_ptr<Plan> plan, std::int64_t bytes)
    : plan_(std::move(plan)), packed_(bytes) {}
WeightStationaryLayer::~WeightStationaryLayer() = default;

std::unique_ptr<WeightStationaryLayer::Plan> WeightStationaryLayer::plan_of(const BinaryLayer& layer,
                                                                            const BinaryLayout& layout) {
  if (!driver::device().wgmma) return nullptr;
  const std::optional<band::Layer> found = band::layer_of(layer, layout);
  if (!found) return nullptr;
  const Kernel* const kernel = kernel_of(*found);
  if (kernel == nullptr) return nullptr;
  auto plan = std::make_unique<Plan>(Plan{.layer = *found,
                                          .kernel = kernel,
                                          .corrections = nullptr,
                                          .correction_pitch = layout.correction_pitch,
                                          .image_tiles = 0});
  Band& b = plan->layer.band;
  b.slices = ceil_div(b.m, slice_channels);
  plan->image_tiles = std::int64_t{b.oh / kernel->rows} * b.tile_columns;
  if (!plan->cut(1, 1)) return nullptr;
  return plan;
}

std::unique_ptr<WeightStationaryLayer> WeightStationaryLayer::of(const BinaryLayer& layer,
                                                                 const BinaryLayout& layout,
                                                                 const std::uint64_t* w,
                                                                 const std::int32_t* corrections) {
  std::unique_ptr<Plan> plan = plan_of(layer, layout);
  if (plan == nullptr) return nullptr;
  plan->corrections = corrections;
  const Band& b = plan->layer.band;
  const std::int64_t bytes = b.slices * band::weight_pieces(b, slice_channels) * 16;
  std::unique_ptr<WeightStationaryLayer> result(new WeightStationaryLayer(std::move(plan), bytes));
  band::pack_weights(result->plan_->layer, w, slice_channels, band::ChannelOrder::plain,
                     result->packed_.data());
  return result;
}

bool WeightStationaryLayer::pays(std::int64_t images) const {
  // Items are counted in an int.
  return images <= band::most_tiles / plan_->image_tiles &&
         images * plan_->image_tiles * plan_->layer.band.slices >= driver::device().multiprocessors;
}

bool WeightStationaryLayer::fuses(const BinaryThresholds& thresholds) const {
  return thresholds.pools_nothing() || thresholds.pools_by_two(plan_->layer.band.oh, plan_->layer.band.ow);
}

void WeightStationaryLayer::run(std::int64_t images, const void* x, const BinaryThresholds& thresholds,
                                std::uint64_t* out) const {
  const Band b = *plan_->cut(images);
  const bool pooled = !thresholds.pools_nothing();
  const int per_slice = std::min(b.items, std::max(1, driver::device().multiprocessors / b.slices));
  const Job job{.band = b,
                .room = room_of(b),
                .weights = reinterpret_cast<const std::uint32_t*>(packed_.data()),
                .corrections = plan_->corrections,
                .correction_pitch = plan_->correction_pitch,
                .bits = {.minimum = thresholds.minimum,
                         .all = thresholds.all,
                         .out = out,
                         .pooled = pooled,
                         .height = pooled ? b.oh / 2 : b.oh,
                         .width = pooled ? b.ow / 2 : b.ow},
                .one = 1,
                .two = 2,
                .above = 2U << 16};
  launch(plan_->kernel->run, dim3(static_cast<unsigned>(per_slice * b.slices)), dim3(threads_of(b.steps)),
         static_cast<std::size_t>(job.room.total), job, SignBand{static_cast<const std::uint64_t*>(x)});
}

}  // namespace hardbit::cuda
