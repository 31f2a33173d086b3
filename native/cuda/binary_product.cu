#include <algorithm>
#include <string>

#include "cuda/binary_product.h"
#include "cuda/kernel.h"
#include "cuda/mma.h"
#include "runtime/error.h"
#include "runtime/words.h"

namespace hardbit::cuda {
namespace {

using ops::Conv2d;

/// Bytes of k that a row of a stage holds, and that one instruction takes.
constexpr int stage_bytes = 64;
constexpr int step_bytes = 32;
constexpr int stages = 3;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

/// n / d for n ≥ 0 and d > 0; 64-bit division is a hundred instructions.
__device__ inline std::int64_t quotient(std::int64_t n, std::int64_t d) {
  if (((n | d) >> 32) == 0) return static_cast<std::uint32_t>(n) / static_cast<std::uint32_t>(d);
  return n / d;
}

/// Where the windows of an output pixel lie in its image.
struct Windows {
  int h, w, oh, ow, kh, kw;
  int stride_h, stride_w, dilation_h, dilation_w, top, left;

  struct Output {
    std::int64_t image;
    int row, column;
  };
  static __device__ Output output(std::int64_t at, int rows, int columns) {
    const std::int64_t line = quotient(at, columns);
    const std::int64_t image = quotient(line, rows);
    return {image, static_cast<int>(line - image * rows), static_cast<int>(at - line * columns)};
  }
  /// The first tap's place, which may be outside, and its number as if it were not.
  struct Origin {
    std::int64_t pixel;
    int y, x;
  };
  __device__ Origin origin(const Output& o) const {
    const int y = o.row * stride_h - top;
    const int x = o.column * stride_w - left;
    return {(o.image * h + y) * w + x, y, x};
  }
  __device__ bool inside(const Origin& at, int dy, int dx) const {
    return static_cast<unsigned>(at.y + dy) < static_cast<unsigned>(h) &&
           static_cast<unsigned>(at.x + dx) < static_cast<unsigned>(w);
  }
};

Windows windows_of(const Conv2d& c) {
  const auto size = [](std::int64_t n) { return static_cast<int>(n); };
  return {size(c.h),
          size(c.w),
          size(c.oh),
          size(c.ow),
          size(c.kh),
          size(c.kw),
          size(c.geometry.stride[0]),
          size(c.geometry.stride[1]),
          size(c.geometry.dilation[0]),
          size(c.geometry.dilation[1]),
          size(c.geometry.padding[0]),
          size(c.geometry.padding[2])};
}

// -- weights

/// Bits [at, at + n) of a string, n ≤ 64.
__device__ inline std::uint64_t read_bits(const std::uint64_t* bits, std::int64_t at, int n) {
  if (n <= 0) return 0;
  const int shift = static_cast<int>(at % 64);
  std::uint64_t word = bits[at / 64] >> shift;
  if (shift + n > 64) word |= bits[at / 64 + 1] << (64 - shift);
  return n >= 64 ? word : word & ((std::uint64_t{1} << n) - 1);
}

struct WeightsJob {
  const std::uint64_t* w;
  std::int64_t w_words;
  bool bytes;
  int taps, tap_elements, tap_bytes;
  std::int64_t row_bytes;
  std::uint8_t* packed;

  bool corrects, signs;
  /// Of an operand outside of the image; 0 where it adds nothing.
  int outside;
  Windows windows;
  int group_channels, group_m;
  BorderClasses rows, columns;
  std::int64_t correction_pitch;
  std::int32_t* tap_sums;
  std::int32_t* corrections;
};

/// A block a channel: its row of weights, tap by tap, then the sums of its taps, then its corrections.
__global__ void __launch_bounds__(128) weights_kernel(WeightsJob j) {
  const std::int64_t channel = blockIdx.x;
  const std::uint64_t* const w = j.w + channel * j.w_words;
  std::uint8_t* const row = j.packed + channel * j.row_bytes;
  if (j.bytes) {
    for (std::int64_t i = threadIdx.x; i < j.row_bytes / 4; i += 128) {
      const std::int64_t tap = quotient(4 * i, j.tap_bytes);
      const std::int64_t first = 4 * i - tap * j.tap_bytes;
      std::uint32_t four = 0;
      if (tap < j.taps) {
        const auto n = static_cast<int>(min(std::int64_t{4}, j.tap_elements - first));
        const std::uint64_t bits = read_bits(w, tap * j.tap_elements + first, n);
        for (int b = 0; b < n; ++b) four |= ((bits >> b & 1) != 0 ? 0x01U : 0xFFU) << (8 * b);
      }
      reinterpret_cast<std::uint32_t*>(row)[i] = four;
    }
  } else {
    for (std::int64_t i = threadIdx.x; i < j.row_bytes / 8; i += 128) {
      const std::int64_t tap = quotient(8 * i, j.tap_bytes);
      const std::int64_t first = (8 * i - tap * j.tap_bytes) * 8;
      std::uint64_t word = 0;
      if (tap < j.taps) {
        const auto n = static_cast<int>(min(std::int64_t{64}, j.tap_elements - first));
        word = read_bits(w, tap * j.tap_elements + first, n);
      }
      reinterpret_cast<std::uint64_t*>(row)[i] = word;
    }
  }
  if (!j.corrects) return;

  const int taps = j.windows.kh * j.windows.kw;
  std::int32_t* const sums = j.tap_sums + channel * taps;
  for (int tap = static_cast<int>(threadIdx.x); tap < taps; tap += 128) {
    int ones = 0;
    for (int c = 0; c < j.group_channels; c += 64) {
      ones += __popcll(read_bits(w, std::int64_t{tap} * j.group_channels + c, min(64, j.group_channels - c)));
    }
    sums[tap] = 2 * ones - j.group_channels;
  }
  __syncthreads();
  const std::int64_t classes = std::int64_t{j.rows.count()} * j.columns.count();
  const std::int64_t group = channel / j.group_m;
  for (std::int64_t k = threadIdx.x; k < classes; k += 128) {
    const auto row_class = static_cast<int>(quotient(k, j.columns.count()));
    const auto column_class = static_cast<int>(k - std::int64_t{row_class} * j.columns.count());
    const Windows::Origin at =
        j.windows.origin({0, j.rows.representative(row_class), j.columns.representative(column_class)});
    std::uint32_t correction = 0;
    for (int a = 0; a < j.windows.kh; ++a) {
      for (int b = 0; b < j.windows.kw; ++b) {
        const int sum = sums[a * j.windows.kw + b];
        const int factor = j.windows.inside(at, a * j.windows.dilation_h, b * j.windows.dilation_w)
                               ? (j.signs ? -1 : 0)
                               : j.outside;
        correction += static_cast<std::uint32_t>(factor) * static_cast<std::uint32_t>(sum);
      }
    }
    j.corrections[(group * classes + k) * j.correction_pitch + channel - group * j.group_m] =
        static_cast<std::int32_t>(correction);
  }
}

// -- images

/// Elements of images: 0 and 1 for signs.
struct SignElements {
  const std::uint64_t* x;
  std::int64_t pixel_words;
  __device__ unsigned operator()(std::int64_t pixel, std::int64_t channel) const {
    return static_cast<unsigned>(x[pixel * pixel_words + channel / 64] >> (channel % 64)) & 1;
  }
};
struct CodeElements {
  const std::uint8_t* x;
  std::int64_t channels;
  __device__ unsigned operator()(std::int64_t pixel, std::int64_t channel) const {
    return x[pixel * channels + channel];
  }
};

/// The taps that become the product's operand: of the pixels of an image, or of its windows.
template <class Elements>
struct Source {
  Elements elements;
  Windows windows;
  bool patches;
  int group_channels, tap_elements, groups;

  struct Unit {
    Windows::Origin origin;
    std::int64_t first_channel;
  };
  /// `row` counts groups of units.
  __device__ Unit unit(std::int64_t row) const {
    const std::int64_t number = quotient(row, groups);
    const std::int64_t first_channel = (row - number * groups) * group_channels;
    if (!patches) return {{number, 0, 0}, first_channel};
    return {windows.origin(Windows::output(number, windows.oh, windows.ow)), first_channel};
  }
  __device__ unsigned read(const Unit& at, int element) const {
    if (element >= tap_elements) return 0;
    if (!patches) return elements(at.origin.pixel, at.first_channel + element);
    const int tap = element / group_channels;
    const int dy = tap / windows.kw * windows.dilation_h;
    const int dx = tap % windows.kw * windows.dilation_w;
    if (!windows.inside(at.origin, dy, dx)) return 0;
    return elements(at.origin.pixel + std::int64_t{dy} * windows.w + dx,
                    at.first_channel + element - tap * group_channels);
  }
};

/// Planes [planes][rows][tap_words] of 32-bit words, the most significant first, and the rows' sums: a warp a
/// row.
template <class Elements>
__global__ void __launch_bounds__(256)
    planes_kernel(Source<Elements> source, std::int64_t rows, int tap_words, int planes, std::uint32_t* out,
                  std::int32_t* sums) {
  const std::int64_t row = (std::int64_t{blockIdx.x} * 256 + threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (row >= rows) return;
  const auto unit = source.unit(row);
  unsigned sum = 0;
  for (int word = 0; word < tap_words; ++word) {
    const unsigned code = source.read(unit, 32 * word + lane);
    sum += code;
    std::uint32_t mine = 0;
    for (int p = 0; p < planes; ++p) {
      const std::uint32_t bits = __ballot_sync(all_lanes, (code >> (planes - 1 - p) & 1) != 0);
      if (lane == p) mine = bits;
    }
    if (lane < planes) out[(lane * rows + row) * tap_words + word] = mine;
  }
  for (int half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(all_lanes, sum, half);
  if (lane == 0) sums[row] = static_cast<std::int32_t>(sum);
}

/// Bytes [rows][tap_bytes], four a thread.
template <class Elements>
__global__ void __launch_bounds__(256)
    bytes_kernel(Source<Elements> source, std::int64_t count, int tap_quads, std::uint32_t* out) {
  const std::int64_t i = std::int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (i >= count) return;
  const std::int64_t row = quotient(i, tap_quads);
  const auto first = 4 * static_cast<int>(i - row * tap_quads);
  const auto unit = source.unit(row);
  std::uint32_t four = 0;
  for (int b = 0; b < 4; ++b) four |= source.read(unit, first + b) << (8 * b);
  out[i] = four;
}

/// The ones of rows of words, 2^`lanes` lanes a row.
__global__ void __launch_bounds__(256)
    count_kernel(const std::uint64_t* x, std::int64_t rows, int row_words, int lanes, std::int32_t* sums) {
  const std::int64_t row = (std::int64_t{blockIdx.x} * 256 + threadIdx.x) >> lanes;
  const int lane = static_cast<int>(threadIdx.x) & ((1 << lanes) - 1);
  int sum = 0;
  if (row < rows) {
    for (int word = lane; word < row_words; word += 1 << lanes) sum += __popcll(x[row * row_words + word]);
  }
  for (int half = (1 << lanes) / 2; half > 0; half /= 2) sum += __shfl_xor_sync(all_lanes, sum, half);
  if (row < rows && lane == 0) sums[row] = sum;
}

unsigned blocks_for(std::int64_t threads) {
  return static_cast<unsigned>(ceil_div<std::int64_t>(threads, 256));
}

void check_codes(const std::uint8_t* codes, std::int64_t count, int bits) {
  if (bits == 8) return;
  std::uint32_t* const words = report_words();
  // Sixteen codes a thread where they lie so.
  const std::int64_t whole = reinterpret_cast<std::uintptr_t>(codes) % 16 == 0 ? count / 16 : 0;
  const std::uint32_t wrong = 0x01010101U * (0xFFU << bits & 0xFFU);
  for_each(whole, [=] __device__(std::int64_t i) {
    const uint4 v = reinterpret_cast<const uint4*>(codes)[i];
    if (((v.x | v.y | v.z | v.w) & wrong) != 0) report(words, Report::code);
  });
  for_each(count - 16 * whole, [=] __device__(std::int64_t i) {
    if ((codes[16 * whole + i] & wrong) != 0) report(words, Report::code);
  });
}

// -- the product

struct Product {
  const std::uint8_t* x;
  std::int64_t pixel_pitch, group_pitch, plane_pitch;
  /// Bytes copied at a time, and how many of these a tap has.
  int piece, tap_pieces;
  /// Of the operand's images; single pixels where windows were cut out beforehand.
  Windows windows;
  bool patches;
  /// [operand pixels][groups], or null.
  const std::int32_t* sums;
  const std::uint8_t* weights;
  std::int64_t row_bytes;
  const std::int32_t* corrections;
  std::int64_t correction_pitch;
  BorderClasses rows, columns;
  bool signs;
  int groups, group_m, channel_tiles;
  /// Rows of the product: output pixels, or the four pixels of each pooled one in turn.
  std::int64_t pixels;
  bool pooled;
  /// Stages a plane, steps of the last of them, and planes.
  int plane_stages, last_steps, planes;
};

/// pixels × channels, of which each warp has warp_pixels × warp_channels. `blocks` share a multiprocessor.
template <int pixels_, int channels_, int warp_pixels, int warp_channels, int blocks_>
struct Tile {
  static constexpr int pixels = pixels_;
  static constexpr int channels = channels_;
  static constexpr int rows = warp_pixels;
  static constexpr int columns = warp_channels;
  static constexpr int warps_across = channels / warp_channels;
  static constexpr int threads = 32 * (pixels / warp_pixels) * warps_across;
  static constexpr int blocks = blocks_;
  /// Fragments of a warp.
  static constexpr int high = warp_pixels / 16;
  static constexpr int wide = warp_channels / 8;
  static_assert(warp_channels % 32 == 0 && warp_pixels % 16 == 0);
};
// A warp of 64 × 64 feeds four instructions by each ldmatrix, one of 32 × 32 two.
using Tile128x128 = Tile<128, 128, 64, 64, 2>;
using Tile128x64 = Tile<128, 64, 64, 32, 3>;
using Tile64x64 = Tile<64, 64, 32, 32, 4>;
using Tile32x32 = Tile<32, 32, 16, 32, 8>;

/// A row of the product, found once by a block.
struct Place {
  /// Of the first tap, in bytes from x.
  std::int64_t offset;
  int y, x;
};

template <class T>
struct Shared {
  unsigned char stage[stages][(T::pixels + T::channels) * stage_bytes];
  Place places[T::pixels];
  int terms[T::pixels];
  int classes[T::pixels];
};

/// Where a byte of a stage's row is: 16-byte pieces change places so that the eight rows which ldmatrix reads
/// together lie in different banks.
__device__ inline int swizzled(int row, int byte) { return row * stage_bytes + (byte ^ (row >> 1 & 3) << 4); }

/// A thread's row of the product, where it has one.
struct Row {
  bool exists;
  Windows::Origin origin;
};

/// Writes the places and border classes of a tile's rows.
template <class T>
__device__ inline Row find_row(const Product& p, std::int64_t first, Shared<T>& shared) {
  static_assert(T::pixels <= T::threads);
  const auto row = static_cast<int>(threadIdx.x);
  if (row >= T::pixels) return {};
  const std::int64_t at = first + row;
  if (at >= p.pixels) {
    // No tap is inside.
    shared.places[row] = {0, INT32_MIN, 0};
    shared.classes[row] = 0;
    return {};
  }
  const Windows& v = p.windows;
  Windows::Output o{};
  if (p.pooled) {
    o = Windows::output(at / 4, v.oh / 2, v.ow / 2);
    o.row = 2 * o.row + static_cast<int>(at % 4 / 2);
    o.column = 2 * o.column + static_cast<int>(at % 2);
  } else {
    o = Windows::output(at, v.oh, v.ow);
  }
  const Windows::Origin origin =
      p.patches ? Windows::Origin{(o.image * v.oh + o.row) * v.ow + o.column, 0, 0} : v.origin(o);
  shared.places[row] = {origin.pixel * p.pixel_pitch, origin.y, origin.x};
  shared.classes[row] = p.rows.of(o.row) * p.columns.count() + p.columns.of(o.column);
  return {true, origin};
}

/// Writes the sums of the windows' codes, four loads at a time: their latency would otherwise be a good part
/// of a block's time.
template <class T>
__device__ inline void find_term(const Product& p, const Row& row, int group, Shared<T>& shared) {
  if (threadIdx.x >= T::pixels) return;
  unsigned term = 0;
  if (row.exists && p.sums != nullptr) {
    const Windows& v = p.windows;
    for (int a = 0; a < v.kh; ++a) {
      const int dy = a * v.dilation_h;
      for (int b = 0; b < v.kw; b += 4) {
        std::int32_t sums[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int dx = (b + e) * v.dilation_w;
          const std::int64_t pixel = row.origin.pixel + std::int64_t{dy} * v.w + dx;
          sums[e] = b + e < v.kw && v.inside(row.origin, dy, dx) ? p.sums[pixel * p.groups + group] : 0;
        }
        for (const std::int32_t sum : sums) term += static_cast<unsigned>(sum);
      }
    }
  }
  shared.terms[threadIdx.x] = static_cast<int>(term);
}

/// The tap and the piece of it that a thread copies next.
struct Cursor {
  int piece, row, column;
  std::int64_t plane;

  __device__ void normalize(const Product& p) {
    while (piece >= p.tap_pieces && row < p.windows.kh) {
      piece -= p.tap_pieces;
      if (++column == p.windows.kw) {
        column = 0;
        ++row;
      }
    }
  }
};

template <class T, int bytes>
__device__ inline void copy_pixels(const Product& p, const std::uint8_t* x, const Place* places,
                                   const Cursor& cursor, unsigned char* stage) {
  constexpr int pieces = stage_bytes / bytes;
  const int byte = static_cast<int>(threadIdx.x) % pieces * bytes;
  const int dy = cursor.row * p.windows.dilation_h;
  const int dx = cursor.column * p.windows.dilation_w;
  const bool exists = cursor.row < p.windows.kh;
  const std::uint8_t* const tap =
      x + cursor.plane + cursor.piece * bytes + (std::int64_t{dy} * p.windows.w + dx) * p.pixel_pitch;
#pragma unroll
  for (int i = 0; i < T::pixels * pieces / T::threads; ++i) {
    const int row = static_cast<int>(threadIdx.x) / pieces + i * (T::threads / pieces);
    const Place place = places[row];
    const bool there = exists && p.windows.inside({0, place.y, place.x}, dy, dx);
    // An address is given where nothing is read, too.
    copy_async<bytes>(stage + swizzled(row, byte), there ? tap + place.offset : p.weights, there);
  }
}

template <class T>
__device__ inline void copy_weights(const std::uint8_t* weights, std::int64_t row_bytes, int channels,
                                    unsigned char* stage) {
  constexpr int pieces = stage_bytes / 16;
  const int byte = static_cast<int>(threadIdx.x) % pieces * 16;
#pragma unroll
  for (int i = 0; i < T::channels * pieces / T::threads; ++i) {
    const int row = static_cast<int>(threadIdx.x) / pieces + i * (T::threads / pieces);
    const bool there = row < channels;
    copy_async<16>(stage + swizzled(row, byte), weights + (there ? row * row_bytes : 0) + byte, there);
  }
}

template <class T>
using Sums = int[T::high][T::wide][4];

/// Between two planes.
template <class T>
__device__ inline void double_sums(Sums<T>& sums) {
#pragma unroll
  for (int i = 0; i < T::high; ++i) {
#pragma unroll
    for (int j = 0; j < T::wide; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[i][j][e] = static_cast<int>(2 * static_cast<unsigned>(sums[i][j][e]));
    }
  }
}

template <ProductOperand operand, class T>
__device__ inline void multiply_stage(const unsigned char* pixels, const unsigned char* channels, int steps,
                                      Sums<T>& sums) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int step = 0; step < stage_bytes / step_bytes; ++step) {
    if (step >= steps) break;
    // The 8 × 16-byte matrices of a fragment of pixels: rows 0–7 and 8–15 of the step's first half, then of
    // the second; of two fragments of channels: the halves of the first, then of the second.
    const unsigned char* const x = pixels + swizzled(lane % 16, step * step_bytes + lane / 16 * 16);
    const unsigned char* const w =
        channels + swizzled(lane / 16 * 8 + lane % 8, step * step_bytes + lane / 8 % 2 * 16);
    std::uint32_t a[T::high][4];
#pragma unroll
    for (int i = 0; i < T::high; ++i) load_matrices(a[i], x + i * 16 * stage_bytes);
#pragma unroll
    for (int j = 0; j < T::wide; j += 2) {
      std::uint32_t b[4];
      load_matrices(b, w + j * 8 * stage_bytes);
#pragma unroll
      for (int i = 0; i < T::high; ++i) {
        if constexpr (operand == ProductOperand::bits) {
          mma_bits(sums[i][j], a[i], b[0], b[1]);
          mma_bits(sums[i][j + 1], a[i], b[2], b[3]);
        } else {
          mma_bytes(sums[i][j], a[i], b[0], b[1]);
          mma_bytes(sums[i][j + 1], a[i], b[2], b[3]);
        }
      }
    }
  }
}

/// n from what the tensor cores summed; modulo 2^32, in which n itself fits.
template <ProductOperand operand>
__device__ inline int finished(const Product& p, int sum, int term, int correction) {
  auto s = static_cast<std::uint32_t>(sum);
  if constexpr (operand == ProductOperand::bits) s = 2 * s - static_cast<std::uint32_t>(term);
  if (p.signs) s *= 2;
  return static_cast<int>(s + static_cast<std::uint32_t>(correction));
}

/// A warp's place in its tile and its tile's in the product.
struct Corner {
  std::int64_t first;  // row of the product
  int group;
  int row;      // of the tile
  int channel;  // of the group
};

/// The corrections of two neighbouring channels.
__device__ inline int2 corrections_of(const Product& p, const std::int32_t* corrections, int channel) {
  if (corrections == nullptr || channel >= p.group_m) return {0, 0};
  return *reinterpret_cast<const int2*>(corrections + channel);
}
__device__ inline const std::int32_t* corrections_of(const Product& p, int group, int border_class) {
  if (p.corrections == nullptr) return nullptr;
  const std::int64_t classes = std::int64_t{p.rows.count()} * p.columns.count();
  return p.corrections + (group * classes + border_class) * p.correction_pitch;
}

/// Writes n [pixels][m].
struct SumsTarget {
  void* out;
  bool narrow;
  /// Four narrow or two wide channels are one aligned piece.
  bool aligned;

  template <ProductOperand operand, class T>
  __device__ void write(const Product& p, const Corner& at, Sums<T>& sums, const Shared<T>& shared) const {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int t = lane % 4;
    const std::int64_t m = std::int64_t{p.groups} * p.group_m;
#pragma unroll
    for (int i = 0; i < T::high; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = at.row + 16 * i + 8 * half + lane / 4;
        const bool there = at.first + row < p.pixels;
        const int term = shared.terms[row];
        const std::int32_t* const corrections = corrections_of(p, at.group, shared.classes[row]);
        const std::int64_t element = (at.first + row) * m + std::int64_t{at.group} * p.group_m;
#pragma unroll
        for (int j = 0; j < T::wide; j += 2) {
          int n[2][2];
#pragma unroll
          for (int f = 0; f < 2; ++f) {
            const int2 c = corrections_of(p, corrections, at.channel + 8 * (j + f) + 2 * t);
            n[f][0] = finished<operand>(p, sums[i][j + f][2 * half], term, c.x);
            n[f][1] = finished<operand>(p, sums[i][j + f][2 * half + 1], term, c.y);
          }
          if (narrow) {
            write_narrow(p, element, at.channel + 8 * j, n, there);
          } else if (there) {
            write_wide(p, element, at.channel + 8 * j + 2 * t, n[0]);
            write_wide(p, element, at.channel + 8 * (j + 1) + 2 * t, n[1]);
          }
        }
      }
    }
  }

 private:
  __device__ void write_wide(const Product& p, std::int64_t element, int channel, const int (&n)[2]) const {
    auto* const to = static_cast<std::int32_t*>(out) + element + channel;
    if (aligned && channel < p.group_m) {
      *reinterpret_cast<int2*>(to) = {n[0], n[1]};
      return;
    }
    for (int e = 0; e < 2; ++e) {
      if (channel + e < p.group_m) to[e] = n[e];
    }
  }
  /// Neighbouring lanes exchange a pair, after which each has four channels in a row, and the four lanes of a
  /// row 32 bytes of it.
  __device__ void write_narrow(const Product& p, std::int64_t element, int channel, const int (&n)[2][2],
                               bool there) const {
    const int t = static_cast<int>(threadIdx.x % 4);
    const bool odd = t % 2 != 0;
    const auto pair = [&](int f) {
      return (static_cast<std::uint32_t>(n[f][0]) & 0xFFFF) | static_cast<std::uint32_t>(n[f][1]) << 16;
    };
    const std::uint32_t first = pair(0);
    const std::uint32_t second = pair(1);
    const std::uint32_t other = __shfl_xor_sync(all_lanes, odd ? first : second, 1);
    const uint2 four = odd ? make_uint2(other, second) : make_uint2(first, other);
    channel += (odd ? 8 : 0) + t / 2 * 4;
    if (!there) return;
    auto* const to = static_cast<std::int16_t*>(out) + element + channel;
    if (aligned && channel < p.group_m) {
      *reinterpret_cast<uint2*>(to) = four;
      return;
    }
    for (int e = 0; e < 4; ++e) {
      if (channel + e < p.group_m) {
        to[e] = static_cast<std::int16_t>((e < 2 ? four.x : four.y) >> (16 * (e % 2)));
      }
    }
  }
};

/// Writes bits [pixels, or pooled ones][words of 32 channels].
struct BitsTarget {
  std::uint32_t* out;
  const std::int32_t* minimum;
  const std::uint32_t* all;
  /// 32-bit words of a pixel, and those of a group that it writes.
  int pixel_words, group_words;

  template <ProductOperand operand, class T>
  __device__ void write(const Product& p, const Corner& at, Sums<T>& sums, const Shared<T>& shared) const {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int t = lane % 4;
#pragma unroll
    for (int word = 0; word < T::wide / 4; ++word) {
      const int channel = at.channel + 32 * word + 2 * t;
      int least[4][2];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        for (int e = 0; e < 2; ++e) {
          const int c = channel + 8 * j + e;
          least[j][e] = c < p.group_m ? minimum[std::int64_t{at.group} * p.group_m + c] : INT32_MAX;
        }
      }
      const int group_word = at.channel / 32 + word;
      const bool writes = group_word < group_words && t == 0;
      const std::int64_t to = std::int64_t{at.group} * (p.group_m / 32) + group_word;
      std::uint32_t every = 0;
      if (p.pooled && all != nullptr && group_word < group_words) every = all[to];
#pragma unroll
      for (int i = 0; i < T::high; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = at.row + 16 * i + 8 * half + lane / 4;
          const int term = shared.terms[row];
          const std::int32_t* const corrections = corrections_of(p, at.group, shared.classes[row]);
          std::uint32_t bits = 0;
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const int2 c = corrections_of(p, corrections, channel + 8 * j);
            const int(&s)[4] = sums[i][4 * word + j];
            const bool first = finished<operand>(p, s[2 * half], term, c.x) >= least[j][0];
            const bool second = finished<operand>(p, s[2 * half + 1], term, c.y) >= least[j][1];
            bits |= (first ? 1U : 0U) << (8 * j + 2 * t) | (second ? 2U : 0U) << (8 * j + 2 * t);
          }
          bits |= __shfl_xor_sync(all_lanes, bits, 1);
          bits |= __shfl_xor_sync(all_lanes, bits, 2);
          std::int64_t pixel = at.first + row;
          if (p.pooled) {
            // The four pixels of a window are neighbouring rows.
            std::uint32_t any = bits;
            any |= __shfl_xor_sync(all_lanes, any, 4);
            any |= __shfl_xor_sync(all_lanes, any, 8);
            bits &= __shfl_xor_sync(all_lanes, bits, 4);
            bits &= __shfl_xor_sync(all_lanes, bits, 8);
            bits = (any & ~every) | (bits & every);
            pixel /= 4;
          }
          if (writes && (!p.pooled || row % 4 == 0) && at.first + row < p.pixels)
            out[pixel * pixel_words + to] = bits;
        }
      }
    }
  }
};

template <ProductOperand operand, class T, class Target>
__global__ void __launch_bounds__(T::threads, T::blocks) product_kernel(Product p, Target target) {
  Shared<T>& shared = *dynamic_shared<Shared<T>>();
  const auto tile = static_cast<int>(blockIdx.x % static_cast<unsigned>(p.channel_tiles));
  const unsigned rest = blockIdx.x / static_cast<unsigned>(p.channel_tiles);
  const auto group = static_cast<int>(rest % static_cast<unsigned>(p.groups));
  const std::int64_t first = std::int64_t{rest / static_cast<unsigned>(p.groups)} * T::pixels;
  const int first_channel = tile * T::channels;
  const Row row = find_row<T>(p, first, shared);
  __syncthreads();

  const std::uint8_t* const x = p.x + group * p.group_pitch;
  const std::uint8_t* const weights =
      p.weights + (std::int64_t{group} * p.group_m + first_channel) * p.row_bytes;
  const int channels = p.group_m - first_channel;
  const int first_piece = static_cast<int>(threadIdx.x) % (stage_bytes / p.piece);
  Cursor cursor{first_piece, 0, 0, 0};
  cursor.normalize(p);
  int copied_stage = 0;  // of its plane
  int copied_slot = 0;
  const auto copy_stage = [&] {
    unsigned char* const stage = shared.stage[copied_slot];
    if (p.piece == 16) {
      copy_pixels<T, 16>(p, x, shared.places, cursor, stage);
    } else {
      copy_pixels<T, 8>(p, x, shared.places, cursor, stage);
    }
    copy_weights<T>(weights + copied_stage * stage_bytes, p.row_bytes, channels,
                    stage + T::pixels * stage_bytes);
    cursor.piece += stage_bytes / p.piece;
    if (++copied_stage == p.plane_stages) {
      copied_stage = 0;
      cursor = {first_piece, 0, 0, cursor.plane + p.plane_pitch};
    }
    cursor.normalize(p);
    copied_slot = copied_slot + 1 == stages ? 0 : copied_slot + 1;
  };

  const int total = p.plane_stages * p.planes;
#pragma unroll
  for (int s = 0; s < stages - 1; ++s) {
    if (s < total) copy_stage();
    copies_commit();
  }
  find_term<T>(p, row, group, shared);  // read behind the barriers of the stages
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int warp_row = warp / T::warps_across * T::rows;
  const int warp_column = warp % T::warps_across * T::columns;
  Sums<T> sums{};
  int stage = 0;  // of its plane
  int slot = 0;
  for (int s = 0; s < total; ++s) {
    copies_wait<stages - 2>();
    // Behind it every warp has its stage, and none reads the slot that is filled next.
    __syncthreads();
    if (s + stages - 1 < total) copy_stage();
    copies_commit();
    if (stage == 0 && s > 0) {
      double_sums<T>(sums);
    }
    const unsigned char* const here = shared.stage[slot];
    multiply_stage<operand, T>(here + warp_row * stage_bytes, here + (T::pixels + warp_column) * stage_bytes,
                               stage + 1 == p.plane_stages ? p.last_steps : stage_bytes / step_bytes, sums);
    stage = stage + 1 == p.plane_stages ? 0 : stage + 1;
    slot = slot + 1 == stages ? 0 : slot + 1;
  }
  target.template write<operand, T>(p, {first, group, warp_row, first_channel + warp_column}, sums, shared);
}

template <ProductOperand operand, class T, class Target>
void run_tile(Product p, const Target& target, int group_channels) {
  p.channel_tiles = ceil_div(group_channels, T::channels);
  const std::int64_t blocks = ceil_div<std::int64_t>(p.pixels, T::pixels) * p.groups * p.channel_tiles;
  launch(product_kernel<operand, T, Target>, dim3(static_cast<unsigned>(blocks)), dim3(T::threads),
         sizeof(Shared<T>), p, target);
}

template <ProductOperand operand, class Target>
void run_operand(const Product& p, const Target& target, int group_channels, ProductTile tile) {
  switch (tile) {
    case ProductTile::p128c128:
      return run_tile<operand, Tile128x128>(p, target, group_channels);
    case ProductTile::p128c64:
      return run_tile<operand, Tile128x64>(p, target, group_channels);
    case ProductTile::p64c64:
      return run_tile<operand, Tile64x64>(p, target, group_channels);
    case ProductTile::p32c32:
      return run_tile<operand, Tile32x32>(p, target, group_channels);
    case ProductTile::band:
      break;  // taken before
  }
}

/// `group_channels`: of a group's outputs those that are computed, whole words of bits.
template <class Target>
void run_product(const Product& p, ProductOperand operand, const Target& target, int group_channels,
                 std::optional<ProductTile> tile) {
  const ProductTile chosen =
      tile ? *tile : choose_tile(p.pixels, p.groups, group_channels, driver::device().multiprocessors);
  if (operand == ProductOperand::bits) {
    run_operand<ProductOperand::bits>(p, target, group_channels, chosen);
  } else {
    run_operand<ProductOperand::bytes>(p, target, group_channels, chosen);
  }
}

/// The product's left operand, with the memory it is made in.
struct Images {
  std::optional<Scratch<std::uint8_t>> memory;
  std::optional<Scratch<std::int32_t>> sums;

  template <class Elements>
  void make(const BinaryWeights& weights, std::int64_t rows, const Elements& elements, Product& p) {
    const BinaryLayer& layer = weights.layer();
    const BinaryLayout& layout = weights.layout();
    const Source<Elements> source{elements,
                                  windows_of(layer.conv),
                                  layout.patches,
                                  static_cast<int>(layer.conv.group_channels()),
                                  static_cast<int>(layout.tap_elements),
                                  p.groups};
    memory.emplace(layout.planes * rows * layout.tap_bytes);
    p.x = memory->data();
    p.pixel_pitch = p.groups * layout.tap_bytes;
    p.plane_pitch = rows * layout.tap_bytes;
    auto* const out = reinterpret_cast<std::uint32_t*>(memory->data());
    const auto tap_words = static_cast<int>(layout.tap_bytes / 4);
    if (layout.operand == ProductOperand::bits) {
      launch(planes_kernel<Elements>, dim3(blocks_for(rows * 32)), dim3(256), 0, source, rows, tap_words,
             layout.planes, out, sums->data());
    } else {
      launch(bytes_kernel<Elements>, dim3(blocks_for(rows * tap_words)), dim3(256), 0, source,
             rows * tap_words, tap_words, out);
    }
  }
};

Product prepare(const BinaryWeights& weights, std::int64_t images, const void* x, Images& memory) {
  const BinaryLayer& layer = weights.layer();
  const BinaryLayout& layout = weights.layout();
  const Conv2d& conv = layer.conv;
  const std::int64_t pixels = images * conv.h * conv.w;
  Product p{};
  p.pixels = images * conv.oh * conv.ow;
  p.groups = static_cast<int>(conv.geometry.groups);
  p.group_m = static_cast<int>(conv.m / conv.geometry.groups);
  p.group_pitch = layout.tap_bytes;
  p.patches = layout.patches;
  p.windows = windows_of(conv);
  if (p.patches) {
    // A window is a pixel of its own; where outputs lie stays as it is.
    p.windows.h = p.windows.w = p.windows.kh = p.windows.kw = 1;
  }
  p.weights = weights.packed();
  p.row_bytes = layout.row_bytes;
  p.corrections = weights.corrections();
  p.correction_pitch = layout.correction_pitch;
  p.rows = layout.rows;
  p.columns = layout.columns;
  p.signs = !layer.codes;
  const std::int64_t bytes = layout.taps * layout.tap_bytes;
  p.plane_stages = static_cast<int>(ceil_div<std::int64_t>(bytes, stage_bytes));
  p.last_steps = static_cast<int>(
      ceil_div<std::int64_t>(bytes - (p.plane_stages - 1) * std::int64_t{stage_bytes}, step_bytes));
  p.planes = layout.planes;
  if (p.pixels == 0) return p;

  const std::int64_t rows = (layout.patches ? p.pixels : pixels) * p.groups;
  if (layout.operand == ProductOperand::bits) memory.sums.emplace(rows);
  p.sums = memory.sums ? memory.sums->data() : nullptr;
  if (layer.codes) {
    const auto* const codes = static_cast<const std::uint8_t*>(x);
    check_codes(codes, pixels * conv.c, layer.bits);
    if (layout.operand == ProductOperand::bytes && !layout.patches && layout.tap_elements % 16 == 0 &&
        reinterpret_cast<std::uintptr_t>(codes) % 16 == 0) {
      p.x = codes;
      p.pixel_pitch = conv.c;
    } else {
      memory.make(weights, rows, CodeElements{codes, conv.c}, p);
    }
  } else {
    const auto* const signs = static_cast<const std::uint64_t*>(x);
    if (layout.operand == ProductOperand::bits && !layout.patches &&
        (p.groups == 1 || layout.tap_elements % 64 == 0)) {
      p.x = reinterpret_cast<const std::uint8_t*>(signs);
      p.pixel_pitch = words(conv.c) * 8;
      const auto row_words = static_cast<int>(layout.tap_bytes / 8);
      int lanes = 0;
      while (lanes < 5 && 1 << lanes < row_words) ++lanes;
      launch(count_kernel, dim3(blocks_for(rows << lanes)), dim3(256), 0, signs, rows, row_words, lanes,
             memory.sums->data());
    } else {
      memory.make(weights, rows, SignElements{signs, words(conv.c)}, p);
    }
  }
  p.piece = layout.tap_bytes % 16 == 0 && reinterpret_cast<std::uintptr_t>(p.x) % 16 == 0 ? 16 : 8;
  p.tap_pieces = static_cast<int>(layout.tap_bytes / p.piece);
  return p;
}

/// bits [pooled][words of 32] from n [pixels][m], a warp a word: what the product itself does not fuse.
template <class Bits>
__global__ void __launch_bounds__(256)
    threshold_kernel(const std::int32_t* n, Bits bits, std::int64_t count, int pixel_words) {
  const std::int64_t i = (std::int64_t{blockIdx.x} * 256 + threadIdx.x) / 32;
  if (i >= count) return;
  const std::int64_t pixel = quotient(i, pixel_words);
  const std::int64_t channel = (i - pixel * pixel_words) * 32 + threadIdx.x % 32;
  const std::uint32_t word = __ballot_sync(all_lanes, bits(n, pixel, channel));
  if (threadIdx.x % 32 == 0) bits.out[i] = word;
}

struct PooledBits {
  std::uint32_t* out;
  const std::int32_t* minimum;
  const std::uint64_t* all;
  std::int64_t m;
  int oh, ow, pooled_h, pooled_w, kernel_h, kernel_w, stride_h, stride_w, top, left;

  __device__ bool operator()(const std::int32_t* n, std::int64_t pixel, std::int64_t channel) const {
    if (channel >= m) return false;
    const Windows::Output o = Windows::output(pixel, pooled_h, pooled_w);
    const bool every = all != nullptr && (all[channel / 64] >> (channel % 64) & 1) != 0;
    const int y = o.row * stride_h - top;
    const int x = o.column * stride_w - left;
    for (int a = max(y, 0); a < min(y + kernel_h, oh); ++a) {
      for (int b = max(x, 0); b < min(x + kernel_w, ow); ++b) {
        const std::int32_t value = n[((o.image * oh + a) * ow + b) * m + channel];
        if ((value >= minimum[channel]) != every) return !every;
      }
    }
    return every;
  }
};

}  // namespace

BorderClasses BorderClasses::of_side(std::int64_t outputs, std::int64_t size, std::int64_t taps,
                                     std::int64_t stride, std::int64_t dilation, std::int64_t before) {
  const std::int64_t last_start = size - 1 - dilation * (taps - 1) + before;
  const std::int64_t first = std::min(outputs, ceil_div(before, stride));
  const std::int64_t last = last_start < 0 ? 0 : std::min(outputs, last_start / stride + 1);
  if (first >= last) return {static_cast<int>(outputs), static_cast<int>(outputs), static_cast<int>(outputs)};
  return {static_cast<int>(first), static_cast<int>(last), static_cast<int>(outputs)};
}

std::int64_t BinaryLayout::steps() const {
  return planes * ceil_div<std::int64_t>(taps * tap_bytes, step_bytes);
}

BinaryLayout binary_layout(const BinaryLayer& layer, ProductOperand operand) {
  const Conv2d& conv = layer.conv;
  if (std::max({conv.h, conv.w, conv.oh, conv.ow, conv.m}) > (std::int64_t{1} << 30)) {
    throw Error("ERR_HARDBIT_SHAPE",
                "A binary layer on the cuda device has at most 2^30 rows, columns and channels; split it.");
  }
  const bool bits = operand == ProductOperand::bits;
  const std::int64_t channels = conv.group_channels();
  const std::int64_t taps = conv.kh * conv.kw;
  const auto filled = [&](std::int64_t elements) {
    return bits ? words(elements) * 8 : round_up(elements, 16);
  };
  // What a tap's bytes hold, half of which makes copying windows worth it.
  const std::int64_t capacity = filled(channels) * (bits ? 8 : 1);
  const bool patches = taps > 1 && 2 * channels <= capacity;
  BinaryLayout layout{};
  layout.operand = operand;
  layout.patches = patches;
  layout.planes = bits && layer.codes ? layer.bits : 1;
  layout.taps = patches ? 1 : taps;
  layout.tap_elements = patches ? conv.k() : channels;
  layout.tap_bytes = filled(layout.tap_elements);
  layout.row_bytes = round_up(layout.taps * layout.tap_bytes, stage_bytes);
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  layout.rows = BorderClasses::of_side(conv.oh, conv.h, conv.kh, stride[0], dilation[0], padding[0]);
  layout.columns = BorderClasses::of_side(conv.ow, conv.w, conv.kw, stride[1], dilation[1], padding[2]);
  layout.correction_pitch = round_up(conv.m / groups, 2);
  layout.corrects = !layer.codes || layer.padding == ops::PaddingValue::one;
  return layout;
}

ProductOperand choose_operand(const BinaryLayer& layer) {
  const driver::DeviceInfo& device = driver::device();
  const BinaryLayout bits = binary_layout(layer, ProductOperand::bits);
  // A band takes all planes of codes in one step.
  return choose_operand(device.major, device.minor,
                        {.bits = BandProduct::fits(layer, bits) ? 1 : bits.steps(),
                         .bytes = binary_layout(layer, ProductOperand::bytes).steps()});
}

BinaryWeights::BinaryWeights(const BinaryLayer& layer, const std::uint64_t* w, ProductOperand operand,
                             Use use)
    : layer_(layer),
      layout_(binary_layout(layer, operand)),
      packed_(layer.conv.m * layout_.row_bytes),
      corrections_(
          layout_.corrects ? layer.conv.geometry.groups * layout_.classes() * layout_.correction_pitch : 0) {
  const Conv2d& conv = layer.conv;
  const bool one = layer.padding == ops::PaddingValue::one;
  const Scratch<std::int32_t> tap_sums(layout_.corrects ? conv.m * conv.kh * conv.kw : 0);
  const WeightsJob job{.w = w,
                       .w_words = words(conv.k()),
                       .bytes = operand == ProductOperand::bytes,
                       .taps = static_cast<int>(layout_.taps),
                       .tap_elements = static_cast<int>(layout_.tap_elements),
                       .tap_bytes = static_cast<int>(layout_.tap_bytes),
                       .row_bytes = layout_.row_bytes,
                       .packed = packed_.data(),
                       .corrects = layout_.corrects,
                       .signs = !layer.codes,
                       .outside = one ? (layer.codes ? (1 << layer.bits) - 1 : 1) : 0,
                       .windows = windows_of(conv),
                       .group_channels = static_cast<int>(conv.group_channels()),
                       .group_m = static_cast<int>(conv.m / conv.geometry.groups),
                       .rows = layout_.rows,
                       .columns = layout_.columns,
                       .correction_pitch = layout_.correction_pitch,
                       .tap_sums = tap_sums.data(),
                       .corrections = corrections_.data()};
  launch(weights_kernel, dim3(static_cast<unsigned>(conv.m)), dim3(128), 0, job);
  if (operand == ProductOperand::bits) {
    bands_ = BandProduct::of(layer, layout_, w, corrections());
    if (use == Use::layers) stationary_ = WeightStationaryLayer::of(layer, layout_, w, corrections());
  }
}

std::size_t BinaryWeights::bytes() const {
  return static_cast<std::size_t>(packed_.count() + corrections_.count() * 4) +
         (bands_ ? bands_->bytes() : 0) + (stationary_ ? stationary_->bytes() : 0);
}

namespace {

/// The layer by bands, where that is asked for or the faster way.
const BandProduct* bands_of(const BinaryWeights& weights, std::int64_t images,
                            std::optional<ProductTile> tile) {
  const BandProduct* const bands = weights.bands();
  if (images == 0) return nullptr;
  if (bands == nullptr) {
    if (tile == ProductTile::band) {
      throw Error("ERR_HARDBIT_UNSUPPORTED", "This layer does not fit bands of images; choose a tile.");
    }
    return nullptr;
  }
  return (tile ? *tile == ProductTile::band : bands->pays(images)) ? bands : nullptr;
}

/// The layer with its weights in registers, likewise.
const WeightStationaryLayer* stationary_of(const BinaryWeights& weights, std::int64_t images,
                                           const BinaryThresholds& thresholds,
                                           std::optional<ProductTile> tile) {
  const WeightStationaryLayer* const layer = weights.stationary();
  const bool fits = layer != nullptr && layer->fuses(thresholds);
  if (images == 0 || (tile && *tile != ProductTile::weight_stationary)) return nullptr;
  if (tile && !fits) {
    throw Error("ERR_HARDBIT_UNSUPPORTED", "This layer's weights do not fit into registers; choose a tile.");
  }
  return fits && (tile || layer->pays(images)) ? layer : nullptr;
}

}  // namespace

template <class Out>
void binary_sums(const BinaryWeights& weights, std::int64_t images, const void* x, Out* out,
                 std::optional<ProductTile> tile) {
  if (const BandProduct* const bands = bands_of(weights, images, tile)) return bands->sums(images, x, out);
  Images memory;
  const Product p = prepare(weights, images, x, memory);
  if (p.pixels == 0) return;
  constexpr bool narrow = sizeof(Out) == 2;
  const int together = narrow ? 4 : 2;
  const bool aligned = p.group_m % together == 0 && reinterpret_cast<std::uintptr_t>(out) % 8 == 0;
  run_product(p, weights.layout().operand, SumsTarget{out, narrow, aligned}, p.group_m, tile);
}
template void binary_sums(const BinaryWeights&, std::int64_t, const void*, std::int16_t*,
                          std::optional<ProductTile>);
template void binary_sums(const BinaryWeights&, std::int64_t, const void*, std::int32_t*,
                          std::optional<ProductTile>);

void binary_layer(const BinaryWeights& weights, std::int64_t images, const void* x,
                  const BinaryThresholds& thresholds, std::uint64_t* out, std::optional<ProductTile> tile) {
  const Conv2d& conv = weights.layer().conv;
  const WeightStationaryLayer* const stationary = stationary_of(weights, images, thresholds, tile);
  if (stationary != nullptr) return stationary->run(images, x, thresholds, out);
  const BandProduct* const bands = bands_of(weights, images, tile);
  if (bands != nullptr && bands->fuses(thresholds)) return bands->layer(images, x, thresholds, out);
  const auto& [kernel, stride, padding] = thresholds.pool;
  const bool pools = kernel != ops::Pair{1, 1} || stride != ops::Pair{1, 1};
  const bool fused_pool = kernel == ops::Pair{2, 2} && stride == ops::Pair{2, 2} &&
                          padding == std::array<std::int64_t, 4>{} &&
                          thresholds.pooled == ops::Pair{conv.oh / 2, conv.ow / 2};
  const auto pixel_words = static_cast<int>(2 * words(conv.m));
  auto* const out_words = reinterpret_cast<std::uint32_t*>(out);
  const std::int64_t groups = conv.geometry.groups;
  const bool whole_words = groups == 1 || (conv.m / groups % 32 == 0 && conv.m % 64 == 0);
  if (whole_words && (!pools || fused_pool)) {
    Images memory;
    Product p = prepare(weights, images, x, memory);
    if (pools) {
      p.pooled = true;
      p.pixels = images * thresholds.pooled[0] * thresholds.pooled[1] * 4;
    }
    if (p.pixels == 0) return;
    const int group_words = groups == 1 ? pixel_words : p.group_m / 32;
    run_product(p, weights.layout().operand,
                BitsTarget{out_words, thresholds.minimum,
                           reinterpret_cast<const std::uint32_t*>(thresholds.all), pixel_words, group_words},
                32 * group_words, tile);
    return;
  }
  const Scratch<std::int32_t> sums(images * conv.oh * conv.ow * conv.m);
  binary_sums(weights, images, x, sums.data(), tile);
  const ops::Pair pooled = pools ? thresholds.pooled : ops::Pair{conv.oh, conv.ow};
  const auto size = [](std::int64_t n) { return static_cast<int>(n); };
  const PooledBits bits{out_words,        thresholds.minimum, thresholds.all,  conv.m,
                        size(conv.oh),    size(conv.ow),      size(pooled[0]), size(pooled[1]),
                        size(kernel[0]),  size(kernel[1]),    size(stride[0]), size(stride[1]),
                        size(padding[0]), size(padding[2])};
  const std::int64_t count = images * pooled[0] * pooled[1] * pixel_words;
  launch(threshold_kernel<PooledBits>, dim3(blocks_for(count * 32)), dim3(256), 0,
         static_cast<const std::int32_t*>(sums.data()), bits, count, pixel_words);
}

}  // namespace hardbit::cuda
