#include <algorithm>
#include <array>
#include <numeric>

#include "cuda/byte_gradient.h"
#include "cuda/kernel.h"
#include "cuda/mma.h"
#include "ops/gradient_rounding.h"
#include "runtime/random.h"
#include "runtime/words.h"

// dy becomes bytes q in a pass over it for the largest magnitudes and one for the rounding. Both products of
// bytes go through one loop over tiles in shared memory (accumulate()):
//  - dx[place][c] = Σ q[place moved by the tap][m]·w[c][tap][m]. Both operands are contiguous along the sum.
//  - dw[tap, c][m] = Σ x[pixel moved by the tap][c]·q[pixel][m]. Neither is; the words of four pixels are
//    turned into words along the sum as they come from shared memory.
// Channels of a group are padded to `segment` bytes, the unit of copies, in all operands.

namespace hardbit::cuda {
namespace {

constexpr int segment = 16;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

struct Division {
  std::int64_t quotient, remainder;
};
/// Of a ≥ 0; 64-bit division is a function call of a hundred instructions.
__device__ inline Division divide(std::int64_t a, std::int64_t b) {
  if (((a | b) >> 32) == 0) {
    const auto x = static_cast<std::uint32_t>(a);
    const auto y = static_cast<std::uint32_t>(b);
    return {x / y, x % y};
  }
  return {a / b, a % b};
}

// -- the rounding

/// The bits of |x|, which order as the magnitudes do.
__device__ inline unsigned magnitude_bits(float x) { return __float_as_uint(x) & 0x7FFFFFFFU; }

constexpr std::int64_t magnitude_part = 2048;  // elements of a warp

/// most[sample] ← max of the bits of |fl(x·factors[i mod m])| over a sample's `count` elements; a warp a
/// part.
__global__ void __launch_bounds__(256)
    sample_magnitudes(const float* x, const float* factors, unsigned m, std::int64_t samples,
                      std::int64_t count, std::int64_t parts, unsigned* most) {
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * 8 + threadIdx.x / 32;
  if (item >= samples * parts) return;
  const auto [sample, part] = divide(item, parts);
  const float* const from = x + sample * count;
  const std::int64_t end = min(count, (part + 1) * magnitude_part);
  std::int64_t i = part * magnitude_part + threadIdx.x % 32;
  unsigned largest = 0;
  if (factors == nullptr) {
#pragma unroll 4
    for (; i < end; i += 32) largest = max(largest, magnitude_bits(from[i]));
  } else {
    auto channel = static_cast<unsigned>(divide(i, m).remainder);
    const unsigned step = 32 % m;
    for (; i < end; i += 32) {
      largest = max(largest, magnitude_bits(from[i] * factors[channel]));
      channel += step;
      if (channel >= m) channel -= m;
    }
  }
  for (int bits = 16; bits > 0; bits /= 2) largest = max(largest, __shfl_xor_sync(all_lanes, largest, bits));
  if (threadIdx.x % 32 == 0) atomicMax(most + sample, largest);
}

/// most[column] ← the same over columns of x [rows][columns]; a block takes up to 256 columns of some rows.
__global__ void __launch_bounds__(256)
    column_magnitudes(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t block_rows,
                      std::int64_t column_blocks, unsigned* most) {
  __shared__ unsigned largest[256];
  const auto [part, column_block] = divide(blockIdx.x, column_blocks);
  const std::int64_t first = column_block * 256;
  const auto width = static_cast<unsigned>(min(columns - first, std::int64_t{256}));
  largest[threadIdx.x] = 0;
  __syncthreads();
  const unsigned step = 256 / width;
  const unsigned column = threadIdx.x % width;
  if (threadIdx.x < step * width) {
    const std::int64_t end = min(rows, (part + 1) * block_rows);
    unsigned mine = 0;
#pragma unroll 4
    for (std::int64_t row = part * block_rows + threadIdx.x / width; row < end; row += step)
      mine = max(mine, magnitude_bits(x[row * columns + first + column]));
    atomicMax(largest + column, mine);
  }
  __syncthreads();
  if (threadIdx.x < width) atomicMax(most + first + threadIdx.x, largest[threadIdx.x]);
}

/// The largest magnitudes of `count` samples or channels.
class Magnitudes {
 public:
  explicit Magnitudes(std::int64_t count) : bits_(count) {
    fill(bits_.data(), 0, static_cast<std::size_t>(count) * sizeof(unsigned));
  }
  void of_samples(const float* x, const float* factors, std::int64_t m, std::int64_t count) const {
    const std::int64_t parts = ceil_div(count, magnitude_part);
    launch(sample_magnitudes, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(bits_.count() * parts, 8))),
           dim3(256), 0, x, factors, m, bits_.count(), count, parts, bits_.data());
  }
  void of_columns(const float* x, std::int64_t rows) const {
    constexpr std::int64_t block_elements = 1 << 14;
    const std::int64_t columns = bits_.count();
    const std::int64_t block_rows =
        std::max<std::int64_t>(block_elements / std::min<std::int64_t>(columns, 256), 1);
    const std::int64_t column_blocks = ceil_div<std::int64_t>(columns, 256);
    launch(column_magnitudes, dim3(static_cast<unsigned>(ceil_div(rows, block_rows) * column_blocks)),
           dim3(256), 0, x, rows, columns, block_rows, column_blocks, bits_.data());
  }
  std::int64_t count() const { return bits_.count(); }
  const unsigned* data() const { return bits_.data(); }

 private:
  Scratch<unsigned> bits_;
};

/// What magnitudes are rounded with, computed once for all elements: inverse in units of 2^-16.
using Roundings = Scratch<ops::Rounding>;

/// `scales` may be null.
void find_roundings(const Magnitudes& magnitudes, int levels, const Roundings& roundings, float* scales) {
  const unsigned* const most = magnitudes.data();
  ops::Rounding* const out = roundings.data();
  for_each(magnitudes.count(), [=] __device__(std::int64_t i) {
    ops::Rounding r = ops::rounding(most[i], levels);
    if (scales != nullptr) scales[i] = r.scale * r.drop;
    r.inverse *= 0x1p16F;
    out[i] = r;
  });
}

/// How elements are rounded, and where the bytes go.
struct Quantization {
  const float* x;              // [rows][length]
  std::int64_t blocks, total;  // of draws: of a row, of all
  std::int64_t length;
  std::uint32_t m;
  const ops::Rounding* roundings;
  std::uint32_t per;     // rows that share one; 0: one a channel
  const float* factors;  // of channels; may be null
  Draws draws;
  float most;
  unsigned flip;  // 0x80 for q, 0 for q + 128
  /// 0: bytes as elements. Else elements are pixels of groups of `outputs` channels, padded to `padded`
  /// bytes.
  std::uint32_t outputs, padded;
  std::int64_t pixel_bytes, row_bytes;
  bool pairs;  // elements 2i and 2i + 1 of a row lie side by side at even places
  std::uint8_t* bytes;
};

/// One block of draws a thread: its eight halves of words, for four pairs of elements
/// (ops/binary_gradient.h).
__global__ void __launch_bounds__(256) round_elements(Quantization to) {
  const std::int64_t block = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (block >= to.total) return;
  const auto [row, in_row] = divide(block, to.blocks);
  const auto lane = static_cast<int>(in_row % 16);
  const std::int64_t first = in_row / 16 * 128 + lane / 8 * 32 + lane % 8 * 2;
  if (first >= to.length) return;
  const Philox::Block words =
      Philox(to.draws.key).row_block(static_cast<std::uint32_t>(block), to.draws.step, to.draws.stream);
  ops::Rounding rounding{};
  if (to.per != 0) rounding = to.roundings[divide(row, to.per).quotient];
  const bool channels = to.per == 0 || to.factors != nullptr || to.outputs != 0;
  const auto [pixel, channel] = channels ? divide(first, to.m) : Division{0, 0};
  const float* const x = to.x + row * to.length;

  /// q + 128 of element i, which is of channel c.
  const auto rounded = [&](float value, std::uint32_t c, std::uint32_t draw) {
    if (to.per == 0) rounding = to.roundings[c];
    float factor = rounding.lift;
    if (to.factors != nullptr) factor *= to.factors[c];
    float t = value * factor * rounding.inverse;
    t = t < to.most ? t : to.most;
    t = t > -to.most ? t : -to.most;
    // 2^23 is 128 steps of 2^16; the sum is below 2^24, where floats are whole numbers and their halves.
    return ((static_cast<std::uint32_t>(__float2int_rz(t + 0x1p23F)) + draw) >> 16 & 0xFF) ^ to.flip;
  };

  /// Where the byte of element i goes, which is of channel c of pixel p of the row.
  const std::int64_t first_byte = row * (to.outputs == 0 ? to.length : to.row_bytes);
  const auto place = [&](std::int64_t p, std::uint32_t c, std::int64_t i) {
    return to.bytes + first_byte +
           (to.outputs == 0 ? i : p * to.pixel_bytes + c / to.outputs * to.padded + c % to.outputs);
  };

#pragma unroll
  for (unsigned pair = 0; pair < 4; ++pair) {
    const unsigned half = pair / 2;
    const unsigned r = pair % 2;
    const unsigned offset = 64 * half + 16 * r;
    const std::int64_t i = first + offset;
    if (i >= to.length) continue;
    const std::uint32_t even = words[2 * r] >> (16 * half) & 0xFFFF;
    const std::uint32_t odd = words[2 * r + 1] >> (16 * half) & 0xFFFF;
    std::uint32_t c = 0;
    std::int64_t at_pixel = pixel;
    if (channels) {
      const Division moved = divide(channel + offset, to.m);
      at_pixel += moved.quotient;
      c = static_cast<std::uint32_t>(moved.remainder);
    }
    if (to.pairs) {
      const float2 values = *reinterpret_cast<const float2*>(x + i);
      const std::uint32_t low = rounded(values.x, c, even);
      const std::uint32_t high = rounded(values.y, c + 1, odd);
      *reinterpret_cast<std::uint16_t*>(place(at_pixel, c, i)) = static_cast<std::uint16_t>(low | high << 8);
      continue;
    }
    *place(at_pixel, c, i) = static_cast<std::uint8_t>(rounded(x[i], c, even));
    if (i + 1 >= to.length) continue;
    if (channels && ++c == to.m) {
      c = 0;
      ++at_pixel;
    }
    *place(at_pixel, c, i + 1) = static_cast<std::uint8_t>(rounded(x[i + 1], c, odd));
  }
}

/// Starts it; the members for draws are set here.
void run(Quantization to, std::int64_t rows) {
  to.blocks = ops::draw_blocks(to.length);
  to.total = rows * to.blocks;
  const bool aligned = reinterpret_cast<std::uintptr_t>(to.x) % sizeof(float2) == 0 &&
                       reinterpret_cast<std::uintptr_t>(to.bytes) % 2 == 0;
  to.pairs = aligned && to.m % 2 == 0 && (to.outputs == 0 || to.outputs % 2 == 0);
  launch(round_elements, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(to.total, 256))), dim3(256), 0,
         to);
}

/// dy as bytes q [n·oh·ow][groups][padded].
class RoundedOutputs {
 public:
  RoundedOutputs(const ops::Conv2d& conv, const float* dy, const Roundings& roundings, std::int64_t per,
                 const float* factors, int levels, const Draws& draws)
      : outputs_(conv.m / conv.geometry.groups),
        padded_(round_up(outputs_, segment)),
        pixel_bytes_(padded_ * conv.geometry.groups),
        bytes_(conv.n * conv.oh * conv.ow * pixel_bytes_) {
    const bool same = padded_ == outputs_;
    if (!same) fill(bytes_.data(), 0, static_cast<std::size_t>(bytes_.count()));
    run({.x = dy,
         .blocks = 0,
         .total = 0,
         .length = conv.ow * conv.m,
         .m = static_cast<std::uint32_t>(conv.m),
         .roundings = roundings.data(),
         .per = static_cast<std::uint32_t>(per),
         .factors = factors,
         .draws = draws,
         .most = static_cast<float>(levels) * 0x1p16F,
         .flip = 0x80,
         .outputs = same ? 0 : static_cast<std::uint32_t>(outputs_),
         .padded = static_cast<std::uint32_t>(padded_),
         .pixel_bytes = pixel_bytes_,
         .row_bytes = conv.ow * pixel_bytes_,
         .pairs = false,
         .bytes = bytes_.data()},
        conv.n * conv.oh);
  }
  std::int64_t outputs() const { return outputs_; }
  std::int64_t padded() const { return padded_; }
  std::int64_t pixel_bytes() const { return pixel_bytes_; }
  const std::uint8_t* data() const { return bytes_.data(); }

 private:
  std::int64_t outputs_, padded_, pixel_bytes_;
  Scratch<std::uint8_t> bytes_;
};

// -- products of bytes

/// c += a·b over 32 bytes of k, both signed, with the layouts of mma.h.
__device__ inline void mma_s8(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
#ifdef __CUDACC__
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  emulation::mma("mma.s8.s8", c, a, b0, b1, [](std::uint32_t x, std::uint32_t y) {
    int sum = 0;
    for (int i = 0; i < 32; i += 8) {
      sum += static_cast<std::int8_t>(x >> i) * static_cast<std::int8_t>(y >> i);
    }
    return sum;
  });
#endif
}

constexpr int chunk_bytes = 64;  // of the sum, in shared memory at a time
constexpr int stages = 4;        // chunks there, all but one on their way
constexpr int warp_rows = 64;
constexpr int warp_columns = 32;

/// A warp's sums: [16 rows][8 columns][as mma has them].
using Sums = int[4][4][4];
/// What is multiplied into them: four times 16 rows, four times 8 columns, 32 bytes each.
using RowWords = std::uint32_t[4][4];
using ColumnWords = std::uint32_t[4][2];

/// A chunk of an operand whose rows are contiguous along the sum, 64 bytes each. Segments of a row change
/// places so that eight rows' lie in different banks.
struct AlongRows {
  static constexpr std::int64_t bytes(int rows) { return std::int64_t{rows} * chunk_bytes; }
  __device__ static int offset(int row, int part) {
    return row * chunk_bytes + (part ^ (row >> 1 & 3)) * segment;
  }
  template <int rows>
  __device__ static void load_rows(RowWords& a, const unsigned char* tile, int first, int k) {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      load_matrices(a[i], tile + offset(first + 16 * i + lane % 16, 2 * k + lane / 16));
  }
  template <int columns>
  __device__ static void load_columns(ColumnWords& b, const unsigned char* tile, int first, int k) {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      std::uint32_t words[4];
      load_matrices(words, tile + offset(first + 8 * j + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
      b[j][0] = words[0];
      b[j][1] = words[1];
      b[j + 1][0] = words[2];
      b[j + 1][1] = words[3];
    }
  }
  /// Row r (below 8) of the upper (0) or lower half of 16 rows i; column c (below 8) of 8 columns j.
  __device__ static int row(int i, int half, int r) { return 16 * i + 8 * half + r; }
  __device__ static int column(int j, int c) { return 8 * j + c; }
};

/// Words of four places along the sum, four rows each, become four rows' words along the sum.
__device__ inline void turn(std::uint32_t (&w)[4]) {
  const std::uint32_t low01 = __byte_perm(w[0], w[1], 0x5140);
  const std::uint32_t high01 = __byte_perm(w[0], w[1], 0x7362);
  const std::uint32_t low23 = __byte_perm(w[2], w[3], 0x5140);
  const std::uint32_t high23 = __byte_perm(w[2], w[3], 0x7362);
  w[0] = __byte_perm(low01, low23, 0x5410);
  w[1] = __byte_perm(low01, low23, 0x7632);
  w[2] = __byte_perm(high01, high23, 0x5410);
  w[3] = __byte_perm(high01, high23, 0x7632);
}

/// A chunk of an operand that has `width` (64 or 128) rows side by side for each of its 64 places along the
/// sum. A lane turns words of rows 4g … 4g + 3, so these are its rows of four products. Segments change
/// places so that the places 4q + j of all q lie in different banks.
struct AcrossRows {
  static constexpr std::int64_t bytes(int width) { return std::int64_t{width} * chunk_bytes; }
  template <int width>
  __device__ static int offset(int place, int part) {
    static_assert(width == 64 || width == 128);
    if constexpr (width == 128) {
      return place * 128 + (part ^ (place >> 2 & 3) * 2) * segment;
    } else {
      return ((place >> 4) * 8 + (place & 7)) * 128 + (place >> 3 & 1) * 64 +
             (part ^ (place >> 2 & 1) * 2) * segment;
    }
  }
  /// Rows first + 4g … first + 4g + 3 at places 32·k + 16·half + 4q … along the sum.
  template <int width>
  __device__ static void load_words(std::uint32_t (&words)[4], const unsigned char* tile, int first, int k,
                                    int half) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int row = first + lane / 4 * 4;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int place = 32 * k + 16 * half + lane % 4 * 4 + j;
      words[j] =
          *reinterpret_cast<const std::uint32_t*>(tile + offset<width>(place, row / segment) + row % segment);
    }
    turn(words);
  }
  template <int width>
  __device__ static void load_rows(RowWords& a, const unsigned char* tile, int first, int k) {
#pragma unroll
    for (int block = 0; block < 2; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        std::uint32_t words[4];
        load_words<width>(words, tile, first + 32 * block, k, half);
        a[2 * block][2 * half] = words[0];
        a[2 * block][2 * half + 1] = words[1];
        a[2 * block + 1][2 * half] = words[2];
        a[2 * block + 1][2 * half + 1] = words[3];
      }
    }
  }
  template <int width>
  __device__ static void load_columns(ColumnWords& b, const unsigned char* tile, int first, int k) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      std::uint32_t words[4];
      load_words<width>(words, tile, first, k, half);
#pragma unroll
      for (int j = 0; j < 4; ++j) b[j][half] = words[j];
    }
  }
};

/// Threads of a block whose tile is `rows` by `columns`: a warp for each 64 by 32.
constexpr int threads_of(int rows, int columns) { return rows / warp_rows * (columns / warp_columns) * 32; }
constexpr std::size_t stage_bytes(int rows, int columns) {
  return static_cast<std::size_t>(rows + columns) * chunk_bytes;
}

/// The sums of a block's tile over `chunks` chunks. Source::load(chunk, a, b) queues the copies of a chunk of
/// both operands to shared memory, from the first chunk on; Source::prepare(chunk) is called a barrier before
/// it, in the same order, and may leave something in one of `stages` places. Source::Layout says how operands
/// lie.
template <class Source>
__device__ inline void accumulate(Source& source, int chunks, unsigned char* memory, Sums& sums) {
  using Layout = typename Source::Layout;
  constexpr int rows = Source::rows;
  constexpr int columns = Source::columns;
  constexpr int pitch = static_cast<int>(stage_bytes(rows, columns));
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int first_row = warp / (columns / warp_columns) * warp_rows;
  const int first_column = warp % (columns / warp_columns) * warp_columns;
  const auto load = [&](int chunk) {
    unsigned char* const stage = memory + chunk % stages * pitch;
    if (chunk < chunks) source.load(chunk, stage, stage + Layout::bytes(rows));
    copies_commit();
  };
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int l = 0; l < 4; ++l) sums[i][j][l] = 0;
    }
  }
  for (int chunk = 0; chunk < stages; ++chunk) source.prepare(chunk);
  __syncthreads();
#pragma unroll 1
  for (int chunk = 0; chunk < stages - 1; ++chunk) load(chunk);
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; ++chunk) {
    copies_wait<stages - 2>();
    __syncthreads();  // this chunk is there, and all are through with the one before
    load(chunk + stages - 1);
    source.prepare(chunk + stages);
    const unsigned char* const stage = memory + chunk % stages * pitch;
    // Not unrolled: operands of two rounds would not fit the registers.
#pragma unroll 1
    for (int k = 0; k < chunk_bytes / 32; ++k) {
      RowWords a;
      ColumnWords b;
      Layout::template load_rows<rows>(a, stage, first_row, k);
      Layout::template load_columns<columns>(b, stage + Layout::bytes(rows), first_column, k);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) Source::multiply(sums[i][j], a[i], b[j][0], b[j][1]);
      }
    }
  }
  copies_wait<0>();
}

// -- the gradient of the input

/// One axis of an input. Its places i with (i + before) mod stride = r meet the taps a with a·dilation mod
/// stride = r, `tap_step` apart, at outputs `output_step` apart: a plain convolution of its own, the phase of
/// its smallest place.
struct Axis {
  std::uint32_t size, taps, stride, dilation, before, outputs;
  std::uint32_t tap_step, output_step;

  static Axis of(std::int64_t size, std::int64_t taps, std::int64_t stride, std::int64_t dilation,
                 std::int64_t before, std::int64_t outputs) {
    const std::int64_t common = std::gcd(stride, dilation);
    const auto word = [](std::int64_t n) { return static_cast<std::uint32_t>(n); };
    return {word(size),   word(taps),    word(stride),          word(dilation),
            word(before), word(outputs), word(stride / common), word(dilation / common)};
  }
  std::int64_t phases() const { return std::min(stride, size); }
  /// Places of the longest phase, which is the first.
  std::int64_t most_places() const { return (std::int64_t{size} + stride - 1) / stride; }
};

struct Phase {
  std::uint32_t places, first_tap, taps;
  /// What place 0 and its first tap read; as all outputs modulo 2^32, where those before the first are too
  /// large.
  std::uint32_t output;

  __device__ Phase(const Axis& axis, std::uint32_t first)
      : places((axis.size - 1 - first) / axis.stride + 1), first_tap(0), taps(0), output(0) {
    const std::uint32_t remainder = (first + axis.before) % axis.stride;
    const std::uint32_t end = min(axis.taps, axis.tap_step);
    while (first_tap < end && first_tap * axis.dilation % axis.stride != remainder) ++first_tap;
    if (first_tap >= end) return;
    taps = (axis.taps - 1 - first_tap) / axis.tap_step + 1;
    output = (first + axis.before) / axis.stride - first_tap * axis.dilation / axis.stride;
  }
};

struct InputGradient {
  const std::uint8_t* q;
  const std::uint8_t* w;  // [group][channel][tap][padded]
  Axis rows, columns;
  std::int64_t n;
  std::int64_t groups, channels;     // of a group
  std::int64_t padded, pixel_bytes;  // of dy
  std::uint32_t channel_tiles;       // of a group
  const ops::Rounding* roundings;    // of images
  float scale;
  bool pairs;  // channels 2i and 2i + 1 lie side by side at even places
  float* dx;
};

/// A row of the tile: a place of dx.
struct Place {
  std::int64_t image;         // its first pixel of dy; −1: no place
  std::uint32_t row, column;  // of dy, read by the first tap
  std::int64_t out;
  float scale, drop;
};

constexpr int place_rows = 128;

/// bytes [place][tap, m] and w [channel][tap, m].
template <int width>
struct InputSource {
  using Layout = AlongRows;
  static constexpr int rows = place_rows;
  static constexpr int columns = width;
  static constexpr int threads = threads_of(rows, columns);

  const InputGradient& job;
  const Place* places;
  const std::uint8_t* w;  // of the tile's first channel
  std::int64_t w_pitch;   // of a channel
  int width_used;
  std::uint32_t down_taps, across_taps, first_tap, first_column_tap;
  std::int64_t group;  // where it begins in a pixel
  // The next chunk's byte of this thread.
  std::uint32_t down = 0, across = 0;
  std::int64_t channel;

  __device__ static void multiply(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                  std::uint32_t b1) {
    mma_s8(c, a, b0, b1);
  }

  /// Steps on to the tap that `channel` leads to.
  __device__ void settle() {
    while (channel >= job.padded && down < down_taps) {
      channel -= job.padded;
      if (++across == across_taps) {
        across = 0;
        ++down;
      }
    }
  }

  __device__ void prepare(int) {}

  __device__ void load(int, unsigned char* a, unsigned char* b) {
    const int part = static_cast<int>(threadIdx.x % 4);
    const int first = static_cast<int>(threadIdx.x / 4);
    const bool inside = down < down_taps;
#pragma unroll
    for (int row = first; row < rows; row += threads / 4) {
      const Place& place = places[row];
      const std::uint32_t i = place.row - down * job.rows.output_step;
      const std::uint32_t j = place.column - across * job.columns.output_step;
      const bool there = inside && place.image >= 0 && i < job.rows.outputs && j < job.columns.outputs;
      const std::int64_t pixel = place.image + static_cast<std::int64_t>(i) * job.columns.outputs + j;
      copy_async<segment>(a + Layout::offset(row, part),
                          there ? job.q + pixel * job.pixel_bytes + group + channel : job.q, there);
    }
    const std::int64_t tap =
        static_cast<std::int64_t>(first_tap + down * job.rows.tap_step) * job.columns.taps +
        first_column_tap + across * job.columns.tap_step;
#pragma unroll
    for (int row = first; row < columns; row += threads / 4) {
      const bool there = inside && row < width_used;
      copy_async<segment>(b + Layout::offset(row, part),
                          there ? w + row * w_pitch + tap * job.padded + channel : job.w, there);
    }
    channel += chunk_bytes;
    settle();
  }
};

template <int width>
constexpr std::size_t input_shared = stages* stage_bytes(place_rows, width) + place_rows * sizeof(Place);

/// Block x: [tile of places][group][tile of channels]; y and z: the phases of rows and columns.
template <int width>
__global__ void __launch_bounds__(threads_of(place_rows, width), width == 128 ? 2 : 3)
    input_gradient(InputGradient job) {
  const Phase down(job.rows, blockIdx.y);
  const Phase across(job.columns, blockIdx.z);
  const Division tile = divide(blockIdx.x, job.channel_tiles);
  const Division of_group = divide(tile.quotient, job.groups);
  const std::int64_t group = of_group.remainder;
  const std::int64_t first_place = of_group.quotient * place_rows;
  const std::int64_t image_places = static_cast<std::int64_t>(down.places) * across.places;
  if (first_place >= job.n * image_places) return;

  auto* const memory = dynamic_shared<unsigned char>();
  auto* const places = reinterpret_cast<Place*>(memory + stages * stage_bytes(place_rows, width));
  const std::int64_t first_channel = tile.remainder * width;
  for (unsigned i = threadIdx.x; i < place_rows; i += threads_of(place_rows, width)) {
    Place place{.image = -1, .row = 0, .column = 0, .out = -1, .scale = 0, .drop = 0};
    const auto [image, in_image] = divide(first_place + i, image_places);
    if (image < job.n) {
      const auto [row, column] = divide(in_image, across.places);
      const ops::Rounding& rounding = job.roundings[image];
      place.image = image * job.rows.outputs * job.columns.outputs;
      place.row = static_cast<std::uint32_t>(row) + down.output;
      place.column = static_cast<std::uint32_t>(column) + across.output;
      place.out = ((image * job.rows.size + blockIdx.y + row * job.rows.stride) * job.columns.size +
                   blockIdx.z + column * job.columns.stride) *
                      job.groups * job.channels +
                  group * job.channels + first_channel;
      place.scale = rounding.scale * job.scale;
      place.drop = rounding.drop;
    }
    places[i] = place;  // seen by others behind accumulate()'s first barrier
  }

  const std::int64_t w_pitch = static_cast<std::int64_t>(job.rows.taps) * job.columns.taps * job.padded;
  const auto used = static_cast<int>(min(job.channels - first_channel, std::int64_t{width}));
  InputSource<width> source{.job = job,
                            .places = places,
                            .w = job.w + (group * job.channels + first_channel) * w_pitch,
                            .w_pitch = w_pitch,
                            .width_used = used,
                            .down_taps = across.taps == 0 ? 0 : down.taps,
                            .across_taps = across.taps,
                            .first_tap = down.first_tap,
                            .first_column_tap = across.first_tap,
                            .group = group * job.padded,
                            .channel = static_cast<std::int64_t>(threadIdx.x % 4) * segment};
  source.settle();
  const std::int64_t bytes = static_cast<std::int64_t>(down.taps) * across.taps * job.padded;
  Sums sums;
  accumulate(source, static_cast<int>(ceil_div<std::int64_t>(bytes, chunk_bytes)), memory, sums);

  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int first_row = warp / (width / warp_columns) * warp_rows;
  const int first_column = warp % (width / warp_columns) * warp_columns + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Place& place = places[first_row + AlongRows::row(i, half, lane / 4)];
      if (place.out < 0) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int column = first_column + AlongRows::column(j, 0);
        if (column >= used) continue;
        const float low = static_cast<float>(sums[i][j][2 * half]) * place.scale * place.drop;
        const float high = static_cast<float>(sums[i][j][2 * half + 1]) * place.scale * place.drop;
        float* const out = job.dx + place.out + column;
        if (job.pairs) {
          *reinterpret_cast<float2*>(out) = make_float2(low, high);
        } else {
          out[0] = low;
          if (column + 1 < used) out[1] = high;
        }
      }
    }
  }
}

/// Planes with a coefficient other than 0: at most 64, as their magnitudes add up to no more.
struct Planes {
  const std::uint64_t* bits;
  int count;
  std::int64_t first_row[64];
  std::int8_t coefficients[64];
};

/// w [group][channel][tap][padded], Σ_p c_p·s_p, zeros where padded. A warp takes 32 output channels, one a
/// lane, by 32 columns [tap][channel].
__global__ void __launch_bounds__(256)
    input_weights(Planes planes, std::int64_t groups, std::int64_t outputs, std::int64_t padded,
                  std::int64_t channels, std::int64_t taps, std::uint8_t* w) {
  const std::int64_t k = taps * channels;
  const std::int64_t column_blocks = ceil_div<std::int64_t>(k, 32);
  const std::int64_t output_blocks = ceil_div<std::int64_t>(padded, 32);
  const std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * 8 + threadIdx.x / 32;
  if (item >= groups * output_blocks * column_blocks) return;
  const Division columns = divide(item, column_blocks);
  const Division rows = divide(columns.quotient, output_blocks);
  const std::int64_t group = rows.quotient;
  const std::int64_t m = rows.remainder * 32 + threadIdx.x % 32;
  if (m >= padded) return;
  int sums[32] = {};
  if (m < outputs) {
    for (int p = 0; p < planes.count; ++p) {
      const auto* const row = reinterpret_cast<const std::uint32_t*>(
          planes.bits + (planes.first_row[p] + group * outputs + m) * words(k));
      const std::uint32_t bits = row[columns.remainder];
      const int c = planes.coefficients[p];
#pragma unroll
      for (int i = 0; i < 32; ++i) sums[i] += (bits >> i & 1) != 0 ? c : -c;
    }
  }
  const Division first = divide(columns.remainder * 32, channels);
  std::int64_t tap = first.quotient;
  std::int64_t channel = first.remainder;
#pragma unroll
  for (int i = 0; i < 32; ++i) {
    if (tap < taps) {
      w[((group * channels + channel) * taps + tap) * padded + m] = static_cast<std::uint8_t>(sums[i]);
    }
    if (++channel == channels) {
      channel = 0;
      ++tap;
    }
  }
}

// -- the gradient of the weights

/// Bits [pixels][channels of all groups] as bytes ±1 [pixels][group][padded]; a thread a segment.
void unpack_inputs(const std::uint64_t* bits, std::int64_t pixels, std::int64_t groups, std::int64_t channels,
                   std::int64_t padded, std::uint8_t* bytes) {
  const std::int64_t parts = padded / segment;
  const std::int64_t pixel_words = words(groups * channels);
  for_each(pixels * groups * parts, [=] __device__(std::int64_t i) {
    const Division part = divide(i, parts);
    const Division group = divide(part.quotient, groups);
    const std::int64_t first = group.remainder * channels + part.remainder * segment;
    const std::uint64_t* const from = bits + group.quotient * pixel_words;
    const std::int64_t word = first / 64;
    const auto shift = static_cast<unsigned>(first % 64);
    std::uint64_t signs = from[word] >> shift;
    if (shift > 64 - segment && word + 1 < pixel_words) signs |= from[word + 1] << (64 - shift);
    std::uint32_t out[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      // Bit b to the low bit of byte b, then 1 to 1 and 0 to −1; bits of four products do not meet.
      const std::uint32_t ones =
          (static_cast<std::uint32_t>(signs >> (4 * j) & 0xF) * 0x00204081U) & 0x01010101U;
      out[j] = ~(ones * 0xFE);
    }
    reinterpret_cast<uint4*>(bytes)[i] = make_uint4(out[0], out[1], out[2], out[3]);
  });
}

/// Codes [pixels][groups][channels], padded.
void pad_inputs(const std::uint8_t* codes, std::int64_t pixels, std::int64_t groups, std::int64_t channels,
                std::int64_t padded, std::uint8_t* bytes) {
  for_each(pixels * groups * padded, [=] __device__(std::int64_t i) {
    const Division place = divide(i, padded);
    bytes[i] = place.remainder < channels ? codes[place.quotient * channels + place.remainder] : 0;
  });
}

struct WeightGradient {
  const std::uint8_t* x;    // [n][h][w][group][padded]
  const std::uint8_t* pad;  // a segment of what padding stands for
  const std::uint8_t* q;    // [pixel of dy][group][padded]
  std::int64_t n, h, w, oh, ow;
  std::int64_t stride[2], dilation[2], before[2];
  std::int64_t groups, taps, column_taps;
  std::int64_t x_padded, x_pixel_bytes, q_padded, q_pixel_bytes;
  std::int64_t row_tiles, column_tiles;  // of a group
  std::int64_t first_pixel, end_pixel;   // of dy
  std::int64_t part;                     // pixels of a block: whole chunks
  std::int64_t image_step;               // what a chunk's pixels are,
  std::int32_t row_step, column_step;    // in images, rows and columns of dy
  bool add;                              // several blocks share a tile
  int* sums;                             // [group][tile of rows][tile of columns][warp][64][lane]
};

/// A pixel of dy.
struct Pixel {
  std::int64_t image;  // the first pixel of its x; −1: beyond the last
  std::int32_t row, column;
};

/// x [pixel moved by the tap][tap, channel] and q [pixel][m].
template <bool codes, int height, int width>
struct WeightSource {
  using Layout = AcrossRows;
  static constexpr int rows = height;
  static constexpr int columns = width;
  static constexpr int threads = threads_of(rows, columns);
  static constexpr int row_parts = rows / segment;
  static constexpr int column_parts = columns / segment;
  static_assert(threads >= chunk_bytes);

  const WeightGradient& job;
  Pixel* pixels;                         // of `stages` chunks
  const std::uint8_t* x;                 // the channels that this thread copies, in pixel 0; null: none
  std::int64_t row_shift, column_shift;  // of their tap
  const std::uint8_t* q;                 // the outputs that it copies, in its first pixel of the next chunk
  int left;                              // pixels from the next chunk's first on; 0 without outputs
  // What this thread prepares next, one pixel a chunk.
  std::int64_t image;
  std::int32_t row, column;

  __device__ WeightSource(const WeightGradient& job_, Pixel* pixels_, std::int64_t group,
                          std::int64_t row_tile, std::int64_t column_tile, std::int64_t begin,
                          std::int64_t end)
      : job(job_), pixels(pixels_), x(nullptr), row_shift(0), column_shift(0), q(job_.q), left(0) {
    const Division tap = divide(row_tile * rows + threadIdx.x % row_parts * segment, job.x_padded);
    if (tap.quotient < job.taps) {
      const Division place = divide(tap.quotient, job.column_taps);
      x = job.x + group * job.x_padded + tap.remainder;
      row_shift = place.quotient * job.dilation[0] - job.before[0];
      column_shift = place.remainder * job.dilation[1] - job.before[1];
    }
    const std::int64_t output = column_tile * columns + threadIdx.x % column_parts * segment;
    if (output < job.q_padded) {
      q = job.q + (begin + threadIdx.x / column_parts) * job.q_pixel_bytes + group * job.q_padded + output;
      left = static_cast<int>(end - begin);
    }
    const Division line = divide(begin + threadIdx.x, job.ow);
    const Division of_image = divide(line.quotient, job.oh);
    image = of_image.quotient;
    row = static_cast<std::int32_t>(of_image.remainder);
    column = static_cast<std::int32_t>(line.remainder);
  }

  __device__ static void multiply(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                  std::uint32_t b1) {
    if constexpr (codes) {
      mma_bytes(c, a, b0, b1);
    } else {
      mma_s8(c, a, b0, b1);
    }
  }

  __device__ void prepare(int chunk) {
    if (threadIdx.x >= chunk_bytes) return;
    pixels[chunk % stages * chunk_bytes + static_cast<int>(threadIdx.x)] = {
        image < job.n ? image * job.h * job.w : -1, row, column};
    column += job.column_step;
    const bool next_row = column >= job.ow;
    if (next_row) column -= static_cast<std::int32_t>(job.ow);
    row += job.row_step + (next_row ? 1 : 0);
    const bool next_image = row >= job.oh;
    if (next_image) row -= static_cast<std::int32_t>(job.oh);
    image += job.image_step + (next_image ? 1 : 0);
  }

  __device__ void load(int chunk, unsigned char* a, unsigned char* b) {
    const Pixel* const of_chunk = pixels + chunk % stages * chunk_bytes;
#pragma unroll
    for (int i = 0; i < chunk_bytes * row_parts / threads; ++i) {
      const int place = static_cast<int>(threadIdx.x / row_parts) + i * (threads / row_parts);
      const Pixel pixel = of_chunk[place];
      const std::int64_t y = pixel.row * job.stride[0] + row_shift;
      const std::int64_t z = pixel.column * job.stride[1] + column_shift;
      const bool inside = x != nullptr && pixel.image >= 0 && y >= 0 && y < job.h && z >= 0 && z < job.w;
      copy_async<segment>(a + Layout::template offset<rows>(place, threadIdx.x % row_parts),
                          inside ? x + (pixel.image + y * job.w + z) * job.x_pixel_bytes : job.pad, true);
    }
#pragma unroll
    for (int i = 0; i < chunk_bytes * column_parts / threads; ++i) {
      const int place = static_cast<int>(threadIdx.x / column_parts) + i * (threads / column_parts);
      const bool there = place < left;
      copy_async<segment>(b + Layout::template offset<columns>(place, threadIdx.x % column_parts),
                          there ? q + i * (threads / column_parts) * job.q_pixel_bytes : job.q, there);
    }
    q += chunk_bytes * job.q_pixel_bytes;
    left -= chunk_bytes;
  }
};

/// Block: [part of the pixels][group][tile of rows][tile of columns].
template <bool codes, int height, int width>
__global__ void __launch_bounds__(threads_of(height, width), 768 / (threads_of(height, width) + 128))
    weight_gradient(WeightGradient job) {
  const Division columns = divide(blockIdx.x, job.column_tiles);
  const Division rows = divide(columns.quotient, job.row_tiles);
  const Division of_group = divide(rows.quotient, job.groups);
  const std::int64_t begin = job.first_pixel + of_group.quotient * job.part;
  const std::int64_t end = min(begin + job.part, job.end_pixel);
  auto* const memory = dynamic_shared<unsigned char>();
  WeightSource<codes, height, width> source(
      job, reinterpret_cast<Pixel*>(memory + stages * stage_bytes(height, width)), of_group.remainder,
      rows.remainder, columns.remainder, begin, end);
  Sums sums;
  accumulate(source, static_cast<int>(ceil_div<std::int64_t>(end - begin, chunk_bytes)), memory, sums);

  const std::int64_t tile =
      (of_group.remainder * job.row_tiles + rows.remainder) * job.column_tiles + columns.remainder;
  int* const out =
      job.sums + tile * height * width + threadIdx.x / 32 * (warp_rows * warp_columns) + threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    const int sum = sums[i / 16][i / 4 % 4][i % 4];
    if (job.add) {
      atomicAdd(out + i * 32, sum);
    } else {
      out[i * 32] = sum;
    }
  }
}

/// Where weight_gradient() leaves row `row` of column `column` of a tile `columns` wide.
__device__ inline int place_of_sum(int row, int column, int columns) {
  const int warp = row / warp_rows * (columns / warp_columns) + column / warp_columns;
  const int i = row % warp_rows / 32 * 2 + row % 4 / 2;
  const int j = column % 4;
  const int group = row % 32 / 4;
  const int c = column % warp_columns / 4;
  const int in_lane = i * 16 + j * 4 + row % 2 * 2 + c % 2;
  return (warp * 64 + in_lane) * 32 + group * 4 + c / 2;
}

/// dw [m][k] ← the sums, scaled, or dw + them.
void scale_sums(const WeightGradient& job, int height, int width, std::int64_t m, std::int64_t outputs,
                std::int64_t channels, float unit, const Roundings& roundings, bool add, float* dw) {
  const std::int64_t k = job.taps * channels;
  const int* const sums = job.sums;
  const std::int64_t row_tiles = job.row_tiles;
  const std::int64_t column_tiles = job.column_tiles;
  const std::int64_t padded = job.x_padded;
  const ops::Rounding* const rounding = roundings.data();
  for_each(m * k, [=] __device__(std::int64_t i) {
    const Division weight = divide(i, k);
    const Division output = divide(weight.quotient, outputs);
    const Division tap = divide(weight.remainder, channels);
    const std::int64_t row = tap.quotient * padded + tap.remainder;
    const std::int64_t tile =
        (output.quotient * row_tiles + row / height) * column_tiles + output.remainder / width;
    const int sum =
        sums[tile * height * width +
             place_of_sum(static_cast<int>(row % height), static_cast<int>(output.remainder % width), width)];
    const ops::Rounding& r = rounding[weight.quotient];
    const float scaled = static_cast<float>(sum) * (r.scale * unit) * r.drop;
    dw[i] = add ? dw[i] + scaled : scaled;
  });
}

template <int height, int width>
void multiply_weights(const WeightGradient& job, bool codes, std::int64_t blocks) {
  constexpr std::size_t shared = stages * (stage_bytes(height, width) + chunk_bytes * sizeof(Pixel));
  const dim3 grid(static_cast<unsigned>(blocks));
  const dim3 block(threads_of(height, width));
  if (codes) {
    launch(weight_gradient<true, height, width>, grid, block, shared, job);
  } else {
    launch(weight_gradient<false, height, width>, grid, block, shared, job);
  }
}

}  // namespace

void quantize_gradient(const float* x, std::int64_t rows, std::int64_t length, std::int64_t channels,
                       std::int64_t per, int levels, const Draws& draws, std::uint8_t* codes, float* scales) {
  const bool by_sample = per > 0;
  const Magnitudes magnitudes(by_sample ? rows / per : channels);
  if (by_sample) {
    magnitudes.of_samples(x, nullptr, channels, per * length);
  } else {
    magnitudes.of_columns(x, rows * length / channels);
  }
  const Roundings roundings(magnitudes.count());
  find_roundings(magnitudes, levels, roundings, scales);
  run({.x = x,
       .blocks = 0,
       .total = 0,
       .length = length,
       .m = static_cast<std::uint32_t>(channels),
       .roundings = roundings.data(),
       .per = static_cast<std::uint32_t>(per),
       .factors = nullptr,
       .draws = draws,
       .most = static_cast<float>(levels) * 0x1p16F,
       .flip = 0,
       .outputs = 0,
       .padded = 0,
       .pixel_bytes = 0,
       .row_bytes = 0,
       .pairs = false,
       .bytes = codes},
      rows);
}

void byte_backward_input(const ops::Conv2d& conv, const float* dy, const float* channel_scales,
                         const std::uint64_t* planes, std::span<const int> coefficients, float scale,
                         const Draws& draws, float* dx) {
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  const std::int64_t channels = conv.group_channels();
  constexpr int levels = 127;

  const Magnitudes magnitudes(conv.n);
  magnitudes.of_samples(dy, channel_scales, conv.m, conv.oh * conv.ow * conv.m);
  const Roundings roundings(conv.n);
  find_roundings(magnitudes, levels, roundings, nullptr);
  const RoundedOutputs q(conv, dy, roundings, conv.oh, channel_scales, levels, draws);

  Planes with{.bits = planes, .count = 0, .first_row = {}, .coefficients = {}};
  for (std::size_t p = 0; p < coefficients.size(); ++p) {
    if (coefficients[p] == 0) continue;
    with.first_row[with.count] = static_cast<std::int64_t>(p) * conv.m;
    with.coefficients[with.count++] = static_cast<std::int8_t>(coefficients[p]);
  }
  const std::int64_t taps = conv.kh * conv.kw;
  const Scratch<std::uint8_t> w(conv.c * taps * q.padded());
  const std::int64_t items =
      groups * ceil_div<std::int64_t>(q.padded(), 32) * ceil_div<std::int64_t>(conv.k(), 32);
  launch(input_weights, dim3(static_cast<unsigned>(ceil_div<std::int64_t>(items, 8))), dim3(256), 0, with,
         groups, q.outputs(), q.padded(), channels, taps, w.data());

  InputGradient job{.q = q.data(),
                    .w = w.data(),
                    .rows = Axis::of(conv.h, conv.kh, stride[0], dilation[0], padding[0], conv.oh),
                    .columns = Axis::of(conv.w, conv.kw, stride[1], dilation[1], padding[2], conv.ow),
                    .n = conv.n,
                    .groups = groups,
                    .channels = channels,
                    .padded = q.padded(),
                    .pixel_bytes = q.pixel_bytes(),
                    .channel_tiles = 0,
                    .roundings = roundings.data(),
                    .scale = scale,
                    .pairs = channels % 2 == 0 && reinterpret_cast<std::uintptr_t>(dx) % sizeof(float2) == 0,
                    .dx = dx};
  const std::int64_t place_tiles =
      ceil_div<std::int64_t>(conv.n * job.rows.most_places() * job.columns.most_places(), place_rows);
  const std::int64_t phases = job.rows.phases() * job.columns.phases();
  const auto start = [&](auto kernel, std::int64_t width, std::size_t shared) {
    job.channel_tiles = static_cast<std::uint32_t>(ceil_div(channels, width));
    launch(kernel,
           dim3(static_cast<unsigned>(place_tiles * groups * job.channel_tiles),
                static_cast<unsigned>(job.rows.phases()), static_cast<unsigned>(job.columns.phases())),
           dim3(static_cast<unsigned>(threads_of(place_rows, static_cast<int>(width)))), shared, job);
  };
  // Wide tiles read less; narrow ones are more of them.
  const std::int64_t wide = place_tiles * phases * groups * ceil_div<std::int64_t>(channels, 128);
  if (channels > 64 && wide >= driver::device().multiprocessors) {
    start(input_gradient<128>, 128, input_shared<128>);
  } else {
    start(input_gradient<64>, 64, input_shared<64>);
  }
}

void byte_backward_weight(const ops::Conv2d& conv, ops::PaddingValue padding, const float* dy,
                          const std::uint64_t* signs, const std::uint8_t* codes, int bits, const Draws& draws,
                          float* dw) {
  const auto& [stride, dilation, before, groups] = conv.geometry;
  const std::int64_t channels = conv.group_channels();
  const bool is_codes = signs == nullptr;
  const int levels = ops::weight_gradient_levels(!is_codes, bits);
  const int most = is_codes ? (1 << bits) - 1 : 1;
  const float unit = is_codes ? 1.0F / static_cast<float>(most) : 1.0F;

  const Magnitudes magnitudes(conv.m);
  magnitudes.of_columns(dy, conv.n * conv.oh * conv.ow);
  const Roundings roundings(conv.m);
  find_roundings(magnitudes, levels, roundings, nullptr);
  const RoundedOutputs q(conv, dy, roundings, 0, nullptr, levels, draws);

  const std::int64_t x_padded = round_up(channels, segment);
  const std::int64_t x_pixels = conv.n * conv.h * conv.w;
  const bool direct =
      is_codes && x_padded == channels && reinterpret_cast<std::uintptr_t>(codes) % segment == 0;
  const Scratch<std::uint8_t> x(direct ? 1 : x_pixels * groups * x_padded);
  if (!is_codes) {
    unpack_inputs(signs, x_pixels, groups, channels, x_padded, x.data());
  } else if (!direct) {
    pad_inputs(codes, x_pixels, groups, channels, x_padded, x.data());
  }
  const Scratch<std::uint8_t> pad(segment);
  fill(pad.data(), padding == ops::PaddingValue::one ? most : 0, segment);

  // Tiles: rows are [tap][channel], columns output channels.
  const std::int64_t taps = conv.kh * conv.kw;
  const int height = taps * x_padded > 64 ? 128 : 64;
  const int width = q.outputs() > 64 ? 128 : 64;
  WeightGradient job{.x = direct ? codes : x.data(),
                     .pad = pad.data(),
                     .q = q.data(),
                     .n = conv.n,
                     .h = conv.h,
                     .w = conv.w,
                     .oh = conv.oh,
                     .ow = conv.ow,
                     .stride = {stride[0], stride[1]},
                     .dilation = {dilation[0], dilation[1]},
                     .before = {before[0], before[2]},
                     .groups = groups,
                     .taps = taps,
                     .column_taps = conv.kw,
                     .x_padded = x_padded,
                     .x_pixel_bytes = groups * x_padded,
                     .q_padded = q.padded(),
                     .q_pixel_bytes = q.pixel_bytes(),
                     .row_tiles = ceil_div<std::int64_t>(taps * x_padded, height),
                     .column_tiles = ceil_div<std::int64_t>(q.outputs(), width),
                     .first_pixel = 0,
                     .end_pixel = 0,
                     .part = 0,
                     .image_step = chunk_bytes / conv.ow / conv.oh,
                     .row_step = static_cast<std::int32_t>(chunk_bytes / conv.ow % conv.oh),
                     .column_step = static_cast<std::int32_t>(chunk_bytes % conv.ow),
                     .add = false,
                     .sums = nullptr};
  const std::int64_t tiles = groups * job.row_tiles * job.column_tiles;
  const Scratch<int> sums(tiles * height * width);
  job.sums = sums.data();

  const ops::PixelChunks chunks(conv, std::int64_t{levels} * most);
  for (std::int64_t begin = 0; begin < conv.n * conv.oh;) {
    constexpr std::int64_t least_chunks = 8;  // of a block
    const std::int64_t end = chunks.end_of_sums(conv, begin);
    job.first_pixel = begin * conv.ow;
    job.end_pixel = end * conv.ow;
    const std::int64_t all = ceil_div<std::int64_t>(job.end_pixel - job.first_pixel, chunk_bytes);
    const std::int64_t wanted = ceil_div<std::int64_t>(2 * driver::device().multiprocessors, tiles);
    const std::int64_t part = ceil_div(all, std::clamp<std::int64_t>(wanted, 1, ceil_div(all, least_chunks)));
    const std::int64_t parts = ceil_div(all, part);
    job.part = part * chunk_bytes;
    job.add = parts > 1;
    if (job.add) fill(sums.data(), 0, static_cast<std::size_t>(sums.count()) * sizeof(int));
    const std::int64_t blocks = parts * tiles;
    if (height == 128 && width == 128) {
      multiply_weights<128, 128>(job, is_codes, blocks);
    } else if (height == 128) {
      multiply_weights<128, 64>(job, is_codes, blocks);
    } else if (width == 128) {
      multiply_weights<64, 128>(job, is_codes, blocks);
    } else {
      multiply_weights<64, 64>(job, is_codes, blocks);
    }
    scale_sums(job, height, width, conv.m, q.outputs(), channels, unit, roundings, begin > 0, dw);
    begin = end;
  }
}

void check_codes(const std::uint8_t* codes, std::int64_t n, int bits) {
  if (bits >= 8) return;
  std::uint32_t* const reports = report_words();
  const std::uint32_t above = 0x01010101U * (0xFFU << bits & 0xFF);
  const std::int64_t vectors = reinterpret_cast<std::uintptr_t>(codes) % sizeof(uint4) == 0 ? n / 16 : 0;
  for_each(vectors + (n - vectors * 16), [=] __device__(std::int64_t i) {
    std::uint32_t all = 0;
    if (i < vectors) {
      const uint4 words = reinterpret_cast<const uint4*>(codes)[i];
      all = words.x | words.y | words.z | words.w;
    } else {
      all = codes[vectors * 16 + i - vectors];
    }
    if ((all & above) != 0) report(reports, Report::code);
  });
}

void fill_floats(float* x, float value, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { x[i] = value; });
}

void subtract_one(float* x, std::int64_t n) {
  for_each(n, [=] __device__(std::int64_t i) { x[i] -= 1.0F; });
}

void add_to_rows(const float* sums, float* dw, std::int64_t m, std::int64_t k) {
  for_each(m * k, [=] __device__(std::int64_t i) { dw[i] += sums[divide(i, k).quotient]; });
}

}  // namespace hardbit::cuda
