#pragma once
// The gradient of an image of up to four channels: dx[place][c] = Σ dy[pixel][m]·w[m][tap][c] over the pixels
// and taps that reach a place. As a product of c columns it would read every pixel of dy once a tap. Here a
// block multiplies a pixel by all taps at once, P[pixel][tap, c] = Σ_m dy[pixel][m]·w[m][tap, c], for the
// pixels that reach a tile of places, and then gathers the places' sums from P, in the order of the taps.
//
// A thread has three pixels and 28 columns of P, so that a value read from shared memory meets 28 others, and
// the weights, which a warp reads together, three.

#include <algorithm>

#include "cuda/float_product.h"
#include "cuda/mma.h"
#include "ops/geometry.h"

namespace hardbit::cuda::few_channels {

inline constexpr std::int64_t most_channels = 4;
inline constexpr int threads = 192;
inline constexpr int thread_pixels = 3;
inline constexpr int pixels = threads * thread_pixels;  // of dy, for a tile
inline constexpr int depth = 16;                        // of m, in a step
inline constexpr int pitch = depth + 4;                 // of a pixel, so that quads of eight pixels lie apart

/// One side of the images.
struct Side {
  int size, outputs, taps, stride, dilation, before;

  /// The outputs that reach places [first, first + count).
  struct Range {
    int first, count;
  };
  __host__ __device__ constexpr Range reach(int place, int count) const {
    const int low = place + before - (taps - 1) * dilation;
    const int high = (place + count - 1 + before) / stride;
    const int from = low <= 0 ? 0 : (low + stride - 1) / stride;
    const int to = high < outputs - 1 ? high : outputs - 1;
    return {from, to >= from ? to - from + 1 : 0};
  }
  /// The most that reach one of the tiles of `tile` places.
  int most_reach(int tile) const {
    int most = 0;
    for (int first = 0; first < size; first += tile)
      most = std::max(most, reach(first, std::min(tile, size - first)).count);
    return most;
  }
};

/// How places are cut into tiles; none where `tiles` is 0.
struct Tiles {
  Side y, x;
  int height, width;        // of a tile
  int down, across, tiles;  // of an image
};

/// Up to the shapes alone.
inline Tiles tiles_of(const ops::Conv2d& conv) {
  const auto& [stride, dilation, padding, groups] = conv.geometry;
  constexpr std::int64_t most = 1 << 20;  // so that sums of places stay within 31 bits
  Tiles best{};
  if (groups != 1 || conv.c > most_channels || conv.empty()) return best;
  if (std::max({conv.h, conv.w, conv.oh, conv.ow, padding[0], padding[2], stride[0], stride[1],
                (conv.kh - 1) * dilation[0], (conv.kw - 1) * dilation[1]}) > most) {
    return best;
  }
  const auto side = [](std::int64_t size, std::int64_t outputs, std::int64_t taps, std::int64_t step,
                       std::int64_t apart, std::int64_t before) {
    return Side{static_cast<int>(size), static_cast<int>(outputs), static_cast<int>(taps),
                static_cast<int>(step), static_cast<int>(apart),   static_cast<int>(before)};
  };
  best.y = side(conv.h, conv.oh, conv.kh, stride[0], dilation[0], padding[0]);
  best.x = side(conv.w, conv.ow, conv.kw, stride[1], dilation[1], padding[2]);
  for (int across = 1; across <= std::min(best.x.size, 64); ++across) {
    const int width = ceil_div(best.x.size, across);
    const int columns = best.x.most_reach(width);
    for (int down = 1; down <= std::min(best.y.size, 64); ++down) {
      const int height = ceil_div(best.y.size, down);
      if (best.tiles != 0 && down * across >= best.tiles) break;
      if (best.y.most_reach(height) * std::int64_t{columns} > pixels) continue;
      best.height = height;
      best.width = width;
      best.down = ceil_div(best.y.size, height);
      best.across = ceil_div(best.x.size, width);
      best.tiles = best.down * best.across;
      break;
    }
  }
  // Blocks that are mostly empty are no better than a product, where they are many.
  constexpr std::int64_t few_blocks = 264;
  const bool full = std::int64_t{best.tiles} * pixels <= 4 * conv.oh * conv.ow;
  if (!full && best.tiles * conv.n > few_blocks) best.tiles = 0;
  return best;
}

struct Job {
  const float* dy;
  const float* w;  // [m][columns]
  float* dx;
  Tiles cut;
  int channels, outputs, columns;
  bool vector;  // quads of dy are aligned and wholly there
};

template <int width>
constexpr std::size_t stage_floats = pixels* pitch + depth* width;
template <int width>
constexpr std::size_t shared_bytes = (2 * stage_floats<width> + pixels) * sizeof(float);

/// A block a tile of places; P has `width` columns at a time.
template <class Arithmetic, int width>
__global__ void __launch_bounds__(threads, 2) gradient(Job job) {
  static_assert(width % 4 == 0 && pixels * width <= 2 * stage_floats<width>);
  auto* const memory = dynamic_shared<float>();
  auto* const offsets = reinterpret_cast<int*>(memory + 2 * stage_floats<width>);
  const int t = static_cast<int>(threadIdx.x);
  const Tiles& cut = job.cut;
  const unsigned image = blockIdx.x / static_cast<unsigned>(cut.tiles);
  const int in_image = static_cast<int>(blockIdx.x - image * static_cast<unsigned>(cut.tiles));
  const int first_row = in_image / cut.across * cut.height;
  const int first_column = in_image % cut.across * cut.width;
  const int rows = min(cut.height, cut.y.size - first_row);
  const int columns = min(cut.width, cut.x.size - first_column);
  const Side::Range down = cut.y.reach(first_row, rows);
  const Side::Range across = cut.x.reach(first_column, columns);
  const float* const dy =
      job.dy + static_cast<std::int64_t>(image) * cut.y.outputs * cut.x.outputs * job.outputs;

#pragma unroll
  for (int i = 0; i < thread_pixels; ++i) {
    const int pixel = t + i * threads;
    int offset = -1;
    if (pixel < down.count * across.count) {
      const int row = pixel / across.count;
      offset = ((down.first + row) * cut.x.outputs + across.first + pixel - row * across.count) * job.outputs;
    }
    offsets[pixel] = offset;
  }
  __syncthreads();

  for (int first = 0; first < job.columns; first += width) {
    const auto load = [&](int k, float* stage) {
      const int quad = t % 4 * 4;
#pragma unroll 4
      for (int pixel = t / 4; pixel < pixels; pixel += threads / 4) {
        const int offset = offsets[pixel];
        float* const to = stage + pixel * pitch + quad;
        const float* const from = dy + offset + k + quad;
        if (job.vector) {
          const bool there = offset >= 0 && k + quad < job.outputs;
          copy_async<16>(to, there ? from : job.dy, there);
          continue;
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const bool there = offset >= 0 && k + quad + j < job.outputs;
          copy_async<4>(to + j, there ? from + j : job.dy, there);
        }
      }
      for (int i = t; i < depth * width; i += threads) {
        const int row = k + i / width;
        const int column = first + i % width;
        const bool there = row < job.outputs && column < job.columns;
        copy_async<4>(stage + pixels * pitch + i, there ? job.w + row * job.columns + column : job.w, there);
      }
      copies_commit();
    };

    float sums[thread_pixels][width] = {};
    load(0, memory);
    int buffer = 0;
#pragma unroll 1
    for (int k = 0; k < job.outputs; k += depth) {
      copies_wait<0>();
      __syncthreads();  // this step is there, and all are through with the one before
      const float* const stage = memory + buffer * stage_floats<width>;
      buffer ^= 1;
      if (k + depth < job.outputs) load(k + depth, memory + buffer * stage_floats<width>);
#pragma unroll 1
      for (int quad = 0; quad < depth; quad += 4) {
        product::Quad values[thread_pixels];
#pragma unroll
        for (int i = 0; i < thread_pixels; ++i) {
          values[i] = product::load_quad(stage + (t + i * threads) * pitch + quad);
#pragma unroll
          for (float& v : values[i].v) v = Arithmetic::operand(v);
        }
        const float* const weights = stage + pixels * pitch + quad * width;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
          for (int c = 0; c < width; c += 4) {
            const product::Quad w = product::load_quad(weights + j * width + c);
#pragma unroll
            for (int i = 0; i < thread_pixels; ++i) {
#pragma unroll
              for (int v = 0; v < 4; ++v)
                sums[i][c + v] = Arithmetic::add(sums[i][c + v], values[i].v[j], w.v[v]);
            }
          }
        }
      }
    }

    __syncthreads();
#pragma unroll
    for (int i = 0; i < thread_pixels; ++i) {
#pragma unroll
      for (int c = 0; c < width; c += 4) {
        *reinterpret_cast<float4*>(memory + (t + i * threads) * width + c) =
            make_float4(sums[i][c], sums[i][c + 1], sums[i][c + 2], sums[i][c + 3]);
      }
    }
    __syncthreads();

    const int last = min(first + width, job.columns);
    for (int i = t; i < rows * columns * job.channels; i += threads) {
      const int place = i / job.channels;
      const int channel = i - place * job.channels;
      const int row = first_row + place / columns;
      const int column = first_column + place % columns;
      float* const out =
          job.dx +
          ((static_cast<std::int64_t>(image) * cut.y.size + row) * cut.x.size + column) * job.channels +
          channel;
      float sum = first == 0 ? 0.0F : *out;
      int at = channel;
      for (int a = 0; a < cut.y.taps; ++a) {
        const int y = row + cut.y.before - a * cut.y.dilation;
        const int down_at = cut.y.stride == 1 ? y : y / cut.y.stride;
        const int i_down = down_at - down.first;
        const bool down_there = y >= 0 && down_at * cut.y.stride == y && i_down >= 0 && i_down < down.count;
        for (int b = 0; b < cut.x.taps; ++b, at += job.channels) {
          if (!down_there || at < first || at >= last) continue;
          const int x = column + cut.x.before - b * cut.x.dilation;
          const int across_at = cut.x.stride == 1 ? x : x / cut.x.stride;
          const int j = across_at - across.first;
          if (x < 0 || across_at * cut.x.stride != x || j < 0 || j >= across.count) continue;
          sum = __fadd_rn(sum, memory[(i_down * across.count + j) * width + at - first]);
        }
      }
      *out = sum;
    }
    __syncthreads();
  }
}

/// dx of `conv`, whose tiles_of() are `cut`; `w` [m][kh·kw·c] are Arithmetic's operands already.
template <class Arithmetic>
void backward_input(const ops::Conv2d& conv, const Tiles& cut, const float* dy, const float* w, float* dx) {
  const Job job{.dy = dy,
                .w = w,
                .dx = dx,
                .cut = cut,
                .channels = static_cast<int>(conv.c),
                .outputs = static_cast<int>(conv.m),
                .columns = static_cast<int>(conv.k()),
                .vector = product::aligned(dy, conv.m, conv.m)};
  const auto start = [&](auto kernel, std::size_t shared) {
    launch(kernel, dim3(static_cast<unsigned>(conv.n * cut.tiles)), dim3(threads), shared, job);
  };
  if (job.columns <= 12) {
    start(gradient<Arithmetic, 12>, shared_bytes<12>);
  } else {
    start(gradient<Arithmetic, 28>, shared_bytes<28>);
  }
}

}  // namespace hardbit::cuda::few_channels
