#pragma once
// Sums of products of f32, group by group: C [rows, cols] = A [rows, k] · B [k, cols] + bias. One loop over
// tiles of shared memory serves them all; what a matrix, an image's patches or their transpose are is up to
// the operand that fills the tiles.
//
// A block has one tile of T × T sums and 2·T threads. It takes k in steps of 8, so that every thread brings
// one quad, four values that lie side by side, of either operand: 2·T quads of a tile of T × 8. An operand
// says along which side its quads lie. A thread keeps up to 8 × 8 sums, as four by four quads of rows and
// columns that lie T / 2 apart, which it reads from shared memory without bank conflicts.
//
// Where the sums are too few for a GPU, k is cut into parts, whose sums are added in order afterwards. How is
// up to the shapes alone, so that every GPU adds alike.

#include "cuda/float_plan.h"
#include "cuda/kernel.h"
#include "runtime/error.h"

namespace hardbit::cuda::product {

/// Of k, in a step.
inline constexpr int depth = 8;

// -- arithmetics

/// Products are added without being rounded.
struct Fused {
  static __device__ float operand(float x) { return x; }
  static __device__ float add(float sum, float a, float b) { return __fmaf_rn(a, b, sum); }
};
/// Every product and every sum is rounded.
struct Rounded {
  static __device__ float operand(float x) { return x; }
  static __device__ float add(float sum, float a, float b) { return __fadd_rn(sum, __fmul_rn(a, b)); }
};

/// To bf16, nearest and ties to even, as its bits; a NaN stays one.
__device__ inline std::uint32_t bf16_bits(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return bits >> 16 | 0x40;
  return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}
/// Operands are rounded to bf16, whose products are exact in f32.
struct Bf16 {
  static __device__ float operand(float x) { return __uint_as_float(bf16_bits(x) << 16); }
  static __device__ float add(float sum, float a, float b) { return __fmaf_rn(a, b, sum); }
};

// -- operands. Cursor: where a thread is; load(cursor, k, length, quad) is called for k in steps of `depth`,
// counted from the part's begin, of which there are `length`. What is outside counts as 0. `vector`: quads
// are aligned and wholly inside or outside.

struct Quad {
  float v[4];
};

__device__ inline Quad load_quad(const float* p) {
  const float4 q = *reinterpret_cast<const float4*>(p);
  return {{q.x, q.y, q.z, q.w}};
}
/// Those of the four that are among `count`.
__device__ inline Quad load_values(const float* p, std::int64_t count) {
  Quad q;
#pragma unroll
  for (int i = 0; i < 4; ++i) q.v[i] = i < count ? p[i] : 0.0F;
  return q;
}

inline bool aligned(const float* data, std::int64_t pitch, std::int64_t length) {
  return pitch % 4 == 0 && length % 4 == 0 && reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

/// Values of one k sum lie side by side: data[row·pitch + k].
struct Rows {
  static constexpr bool along_k = true;
  const float* data;
  std::int64_t rows, pitch, group_pitch;
  bool vector;

  struct Cursor {
    const float* p;  // null outside
  };
  __device__ Cursor start(unsigned group, std::int64_t row, std::int64_t k, int) const {
    return {row < rows ? data + group * group_pitch + row * pitch + k : nullptr};
  }
  __device__ Quad load(Cursor& at, int k, int length) const {
    if (at.p == nullptr || k >= length) return {};
    return vector ? load_quad(at.p + k) : load_values(at.p + k, length - k);
  }
};

/// Values of one k lie side by side: data[k·pitch + row].
struct Columns {
  static constexpr bool along_k = false;
  const float* data;
  std::int64_t rows, pitch, group_pitch;
  bool vector;

  struct Cursor {
    const float* p;
    int inside;
  };
  __device__ Cursor start(unsigned group, std::int64_t row, std::int64_t k, int own_k) const {
    return {data + group * group_pitch + (k + own_k) * pitch + row,
            static_cast<int>(rows - row < 4 ? rows - row : 4)};
  }
  __device__ Quad load(Cursor& at, int k, int length) const {
    const float* const p = at.p;
    at.p += depth * pitch;
    if (at.inside <= 0 || k >= length) return {};
    return vector ? load_quad(p) : load_values(p, at.inside);
  }
};

// -- results: row(group, r) is where its sums begin

struct Matrix {
  float* data;
  std::int64_t pitch, group_pitch;
  __device__ float* row(unsigned group, std::int64_t r) const {
    return data + group * group_pitch + r * pitch;
  }
};

// -- the loop

struct Grid {
  unsigned row_tiles, col_tiles, parts;
  /// Of k, in a part; of results, from one part to the next.
  std::int64_t part_k, part_pitch;
};

template <int T, class Arithmetic, class A, class B, class Out>
__global__ void __launch_bounds__(2 * T, 256 / T)
    tile_kernel(Sizes sizes, Grid grid, A a, B b, Out out, const float* bias, bool vector) {
  constexpr int pitch = T + 4;  // quads along k are stored without bank conflicts
  constexpr int row_quads = T == 128 ? 2 : 1;
  constexpr int col_quads = T >= 64 ? 2 : 1;
  constexpr int across = T / (4 * col_quads);  // threads
  __align__(16) __shared__ float as[2][depth][pitch];
  __align__(16) __shared__ float bs[2][depth][pitch];
  const int t = static_cast<int>(threadIdx.x);

  unsigned place = blockIdx.x;
  const unsigned col_tile = place % grid.col_tiles;
  place /= grid.col_tiles;
  const unsigned row_tile = place % grid.row_tiles;
  place /= grid.row_tiles;
  const unsigned part = place % grid.parts;
  const unsigned group = place / grid.parts;
  const std::int64_t first_k = part * grid.part_k;
  const std::int64_t rest = sizes.k - first_k;
  const int length = static_cast<int>(rest < grid.part_k ? rest : grid.part_k);

  // The quad that this thread brings.
  const int a_row = A::along_k ? t / 2 : t % (T / 4) * 4;
  const int a_k = A::along_k ? t % 2 * 4 : t / (T / 4);
  const int b_col = B::along_k ? t / 2 : t % (T / 4) * 4;
  const int b_k = B::along_k ? t % 2 * 4 : t / (T / 4);
  const int row = t / across * 4;
  const int col = t % across * 4;

  float sums[row_quads * 4][col_quads * 4] = {};
  if (length > 0) {
    typename A::Cursor a_at = a.start(group, std::int64_t{row_tile} * T + a_row, first_k, a_k);
    typename B::Cursor b_at = b.start(group, std::int64_t{col_tile} * T + b_col, first_k, b_k);
    Quad a_next = a.load(a_at, a_k, length);
    Quad b_next = b.load(b_at, b_k, length);
    int buffer = 0;
    for (int k = 0;; k += depth) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        as[buffer][A::along_k ? a_k + i : a_k][A::along_k ? a_row : a_row + i] =
            Arithmetic::operand(a_next.v[i]);
        bs[buffer][B::along_k ? b_k + i : b_k][B::along_k ? b_col : b_col + i] =
            Arithmetic::operand(b_next.v[i]);
      }
      // The one barrier of a step: whoever fills a buffer knows that all have left it, since they are here.
      __syncthreads();
      const bool more = k + depth < length;
      if (more) {
        a_next = a.load(a_at, k + depth + a_k, length);
        b_next = b.load(b_at, k + depth + b_k, length);
      }
#pragma unroll
      for (int i = 0; i < depth; ++i) {
        Quad a_values[row_quads];
        Quad b_values[col_quads];
#pragma unroll
        for (int q = 0; q < row_quads; ++q)
          a_values[q] = load_quad(&as[buffer][i][q * (T / row_quads) + row]);
#pragma unroll
        for (int q = 0; q < col_quads; ++q)
          b_values[q] = load_quad(&bs[buffer][i][q * (T / col_quads) + col]);
#pragma unroll
        for (int r = 0; r < row_quads * 4; ++r) {
#pragma unroll
          for (int c = 0; c < col_quads * 4; ++c) {
            sums[r][c] = Arithmetic::add(sums[r][c], a_values[r / 4].v[r % 4], b_values[c / 4].v[c % 4]);
          }
        }
      }
      if (!more) break;
      buffer ^= 1;
    }
  }

#pragma unroll
  for (int r = 0; r < row_quads * 4; ++r) {
    const std::int64_t to_row = std::int64_t{row_tile} * T + r / 4 * (T / row_quads) + row + r % 4;
    if (to_row >= sizes.rows) continue;
    float* const to = out.row(group, to_row) + part * grid.part_pitch;
#pragma unroll
    for (int q = 0; q < col_quads; ++q) {
      const std::int64_t to_col = std::int64_t{col_tile} * T + q * (T / col_quads) + col;
      float* const sum = &sums[r][q * 4];
      if (bias != nullptr) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          if (to_col + c < sizes.cols) sum[c] = __fadd_rn(sum[c], bias[group * sizes.cols + to_col + c]);
        }
      }
      if (vector) {
        if (to_col < sizes.cols) {
          *reinterpret_cast<float4*>(to + to_col) = make_float4(sum[0], sum[1], sum[2], sum[3]);
        }
      } else {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          if (to_col + c < sizes.cols) to[to_col + c] = sum[c];
        }
      }
    }
  }
}

/// Queues the tiles of one product; `vector`: results take quads. `part_pitch`: from one part's results to
/// the next's.
template <class Arithmetic, class A, class B, class Out>
void queue(const Sizes& sizes, const Plan& plan, const A& a, const B& b, const Out& out, const float* bias,
           bool vector, std::int64_t part_pitch) {
  if (sizes.rows == 0 || sizes.cols == 0 || sizes.groups == 0) return;
  const std::int64_t row_tiles = ceil_div<std::int64_t>(sizes.rows, plan.tile);
  const std::int64_t col_tiles = ceil_div<std::int64_t>(sizes.cols, plan.tile);
  constexpr std::int64_t most = 0x7FFFFFFF;  // blocks of a grid
  if (row_tiles > most || col_tiles > most || row_tiles * col_tiles > most / plan.parts / sizes.groups) {
    throw Error(
        "ERR_HARDBIT_UNSUPPORTED",
        "A float product of this size needs more blocks than a GPU counts; cut it into smaller batches.");
  }
  const std::int64_t part_k =
      ceil_div<std::int64_t>(ceil_div<std::int64_t>(sizes.k, plan.parts), depth) * depth;
  const Grid grid{.row_tiles = static_cast<unsigned>(row_tiles),
                  .col_tiles = static_cast<unsigned>(col_tiles),
                  .parts = plan.parts,
                  .part_k = part_k,
                  .part_pitch = part_pitch};
  const dim3 blocks(grid.row_tiles * grid.col_tiles * grid.parts * sizes.groups);
  const auto start = [&](auto kernel) {
    launch(kernel, blocks, dim3(2 * static_cast<unsigned>(plan.tile)), 0, sizes, grid, a, b, out, bias,
           vector);
  };
  if (plan.tile == 128) {
    start(tile_kernel<128, Arithmetic, A, B, Out>);
  } else if (plan.tile == 64) {
    start(tile_kernel<64, Arithmetic, A, B, Out>);
  } else {
    start(tile_kernel<32, Arithmetic, A, B, Out>);
  }
}

/// y [size] = the sums of `parts` arrays in order, + bias by column where there is one.
void add_parts(const float* parts, unsigned count, const float* bias, std::int64_t columns, float* y,
               std::int64_t size);

/// y [size] by run(to, part_pitch, bias): all of the plan's parts, or the result itself where there is one.
template <class Run>
void in_parts(const Plan& plan, const float* bias, std::int64_t columns, float* y, std::int64_t size,
              const Run& run) {
  if (plan.parts == 1) {
    run(y, 0, bias);
    return;
  }
  const Scratch<float> parts(plan.parts * size);
  run(parts.data(), size, nullptr);
  add_parts(parts.data(), plan.parts, bias, columns, y, size);
}

/// C [m, n], see matmul().
template <class Arithmetic>
void multiply(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
              const float* a, const float* b, const float* bias, float* c) {
  const Sizes sizes{.rows = m, .cols = n, .k = k, .groups = 1};
  const Plan cut = plan(sizes, true);
  in_parts(cut, bias, n, c, m * n, [&](float* to, std::int64_t part_pitch, const float* add) {
    const Matrix out{.data = to, .pitch = n, .group_pitch = 0};
    const bool vector = aligned(to, n, part_pitch);
    const auto with = [&](const auto& left) {
      if (transpose_b) {
        queue<Arithmetic>(sizes, cut, left, Rows{b, n, k, 0, aligned(b, k, k)}, out, add, vector, part_pitch);
      } else {
        queue<Arithmetic>(sizes, cut, left, Columns{b, n, n, 0, aligned(b, n, n)}, out, add, vector,
                          part_pitch);
      }
    };
    transpose_a ? with(Columns{a, m, m, 0, aligned(a, m, m)}) : with(Rows{a, m, k, 0, aligned(a, k, k)});
  });
}

// -- single steps

/// y [rows, columns] ← bias, or 0.
void fill_rows(const float* bias, std::int64_t columns, float* y, std::int64_t size);
/// y [rows, columns] += bias; nothing where that is null.
void add_bias(const float* bias, std::int64_t columns, float* y, std::int64_t size);
/// To bf16, as bits or as the f32 of the same value.
void round_to_bf16(const float* x, std::uint16_t* y, std::int64_t size);
void round_to_bf16(const float* x, float* y, std::int64_t size);

}  // namespace hardbit::cuda::product
