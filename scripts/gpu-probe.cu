// What this GPU can do at most, for choosing kernels by measurement: tensor cores on bits, bytes and bf16,
// popcount and FMA on the ordinary cores, memory, transfers and launches. One JSON document on standard
// output, progress on standard error. No arguments; a few seconds on device 0 (CUDA_VISIBLE_DEVICES picks
// another).
//
//   nvcc -O3 -std=c++17 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_86,code=sm_86
//     -gencode arch=compute_89,code=sm_89 -gencode arch=compute_90a,code=sm_90a
//     -o gpu-probe scripts/gpu-probe.cu
//
// builds it, on one line. Other targets (sm_90, sm_100, sm_120) compile too. wgmma exists in sm_90a code
// alone; from sm_100 on the compiler emulates b1 by int8, and that is what its rows then measure.
//
// Exit status: 0 the document is written; 1 it is, but a CUDA call failed in a row it calls "failed"; 2 there
// is none: wrong usage, no GPU or driver, or no code for this GPU in the build.
//
// The document:
//   probe, date  "gpu-probe 1", UTC
//   gpu          name, computeCapability, codeArchitecture (__CUDA_ARCH__ of the code that runs), sm90a (that
//                it is sm_90a code), multiprocessors, maxClockMHz, memoryBytes, l2Bytes, sharedBytesPerBlock
//   driver       version, the newest CUDA it supports; build, what the kernel module says of itself, or null
//   runtime      version of the CUDA runtime that is built in
//   arithmetic   rows: an instruction and where its operands are
//   memory       rows, B/s: copyKernel and copyDriver, on the device, bytes read plus bytes written;
//                readKernel; hostToDevice and deviceToHost, each Pinned and Pageable
//   launch       rows, s: kernel, an empty one, its share of 1000 back to back; kernelAndWait, one launched
//                and waited for; graph and graphAndWait, the same of a graph of 100 empty kernels, of 20
//   seconds      what all of it took
// A row has name, unit, and status: "measured"; "absent", with a reason, where the device or the build lacks
// it; "failed", with the error as reason. Measured ones have median, min and max over `rounds`; those of
// arithmetic also
//   verified          do all its kernels give exactly the scalar result on random operands, checked before
//                     timing (null for the ordinary cores); when not, `mismatch` says where, and the rate
//                     counts for little
//   opsPerSecond      of the median: two operations a multiply-accumulate (MAC); a bit-MAC is one bit wide
//   macPerClockPerSm  MACs a clock on one multiprocessor, by its own clock counter, in the median round
//   clockMHz          that counter over the time: the clock that the multiprocessor ran at
//   warpsPerSm, tile  the best configuration; a tile is what a warp does a step: fragments of A x of B
//   registers, localBytes  of a thread of that kernel; local bytes are spills
//   sweep             the median of three short rounds of each configuration
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

// Operands. Every tensor-core form here takes 32 bytes of k from a row of A and a column of B: 256 bits, 32
// int8 or 16 bf16. So one pool of 1024 rows of 32 random bytes serves as A and another as B, layouts differ
// only in where the two 16-byte halves of a row lie, and every result is a sum of entries of one 1024 x 1024
// table of dot products.
constexpr int kRows = 1024;
constexpr int kRowWords = 8;
constexpr int kPoolBytes = kRows * 32;

/// Steps of k that a kernel's loop unrolls.
constexpr int kSteps = 4;

// -- device helpers

/// The signature of all kernels: pools, all accumulators of all threads (so that no product is dead code),
/// and the clocks that the first block spends in its loop. One block a multiprocessor.
using Kernel = void (*)(const uint32_t* a, const uint32_t* b, uint32_t* out, long long* clocks, int times);

/// Runs body() so many times, all threads of the block together, and takes the clocks.
template <class Body>
__device__ void repeat(int times, long long* clocks, const Body& body) {
  __syncthreads();
  const long long start = clock64();
#pragma unroll 1
  for (int i = 0; i < times; ++i) body();
  __syncthreads();
  if (blockIdx.x == 0 && threadIdx.x == 0) *clocks = clock64() - start;
}

__device__ uint32_t as_word(int x) { return static_cast<uint32_t>(x); }
__device__ uint32_t as_word(float x) { return __float_as_uint(x); }

/// out[block][warp][accumulator][lane].
template <int kCount, class T>
__device__ void store(uint32_t* out, const T (&d)[kCount]) {
  const size_t warp = (size_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
#pragma unroll
  for (int i = 0; i < kCount; ++i) out[(warp * kCount + i) * 32 + threadIdx.x % 32] = as_word(d[i]);
}

/// The block's dynamic shared memory from a multiple of 1024 bytes on, where 128-byte swizzle patterns start.
__device__ unsigned char* shared_memory() {
  extern __shared__ unsigned char memory[];
  return memory + (1024 - __cvta_generic_to_shared(memory) % 1024) % 1024;
}

/// Copies a pool into shared memory; at(row, half) is the byte offset of 16 bytes.
template <class At>
__device__ void fill(unsigned char* to, const uint32_t* pool, const At& at) {
  const uint4* from = reinterpret_cast<const uint4*>(pool);
  for (int i = threadIdx.x; i < 2 * kRows; i += blockDim.x) {
    *reinterpret_cast<uint4*>(to + at(i / 2, i % 2)) = from[i];
  }
}

// What the architecture lacks is left out of its code. The host asks by features() below.
#if __CUDA_ARCH__ >= 800
constexpr bool kMma = true;
#define MMA_ASM(...) asm volatile(__VA_ARGS__)
#else
constexpr bool kMma = false;
#define MMA_ASM(...)
#endif
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
constexpr bool kWgmma = true;
#define WGMMA_ASM(...) asm volatile(__VA_ARGS__)
#else
constexpr bool kWgmma = false;
#define WGMMA_ASM(...)
#endif

// -- mma.sync, a warp's

// Fragments (PTX ISA, "Matrix Fragments for mma.m16n8k256" and "... mma.m16n8k32"), with g = lane / 4 and t =
// lane % 4. In 32-bit words, of which k has 8 in a row of A or a column of B, both forms are alike:
//   A  a0: row g, word t; a1: row g + 8, word t; a2: row g, word t + 4; a3: row g + 8, word t + 4
//   B  b0: column g, word t; b1: column g, word t + 4
//   D  d0 d1: row g, columns 2t and 2t + 1; d2 d3: row g + 8, the same columns
#define MMA_FORM(Name, instruction)                                                \
  struct Name {                                                                    \
    static __device__ void mma(int* d, const uint32_t* a, const uint32_t* b) {     \
      MMA_ASM("mma.sync.aligned." instruction                                      \
              " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"   \
              : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                     \
              : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
    }                                                                              \
  }
MMA_FORM(MmaB1, "m16n8k256.row.col.s32.b1.b1.s32.and.popc");
MMA_FORM(MmaS8, "m16n8k32.row.col.s32.s8.s8.s32");

/// The lane's A fragment of the 16 pool rows from `row` on.
__device__ void load_a(uint32_t* a, const uint32_t* pool, int row) {
  const int lane = threadIdx.x % 32;
  const uint32_t* from = pool + (row + lane / 4) * kRowWords + lane % 4;
  a[0] = from[0], a[1] = from[8 * kRowWords], a[2] = from[4], a[3] = from[8 * kRowWords + 4];
}

/// d[i][j] += a[i] * b[j] for MT fragments of A and NT of B, those of B two after each other in four words.
template <class Form, int MT, int NT>
__device__ void multiply(int (&d)[MT * NT * 4], const uint32_t (&a)[MT][4], const uint32_t (&b)[NT / 2][4]) {
#pragma unroll
  for (int i = 0; i < MT; ++i) {
#pragma unroll
    for (int j = 0; j < NT; ++j) Form::mma(d + (i * NT + j) * 4, a[i], b[j / 2] + j % 2 * 2);
  }
}

/// Products of fragments that stay in registers. Warp w's fragment i of A is pool rows 16((w MT + i) mod 64)
/// on; its fragments 2j and 2j + 1 of B are the first and the last 8 of the pool rows 16((w NT / 2 + j) mod
/// 64) on.
template <class Form, int MT, int NT>
__global__ void mma_registers(const uint32_t* a, const uint32_t* b, uint32_t* out, long long* clocks,
                              int times) {
  if (!kMma) return;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  uint32_t fa[MT][4], fb[NT / 2][4];
#pragma unroll
  for (int i = 0; i < MT; ++i) load_a(fa[i], a, (warp * MT + i) % 64 * 16);
#pragma unroll
  for (int i = 0; i < NT * 2; ++i) {
    const int row = (warp * (NT / 2) + i / 4) % 64 * 16 + i % 4 / 2 * 8 + lane / 4;
    fb[i / 4][i % 4] = b[row * kRowWords + lane % 4 + i % 2 * 4];
  }
  int d[MT * NT * 4] = {};
  repeat(times, clocks, [&] {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) multiply<Form, MT, NT>(d, fa, fb);
  });
  store(out, d);
}

/// Four 8 x 16-byte matrices: lane l gives the address of row l % 8 of matrix l / 8, and gets of each matrix
/// word l % 4 of row l / 4.
__device__ void ldmatrix(uint32_t (&r)[4], uint32_t address) {
  MMA_ASM("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
          : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
          : "r"(address)
          : "memory");
}

/// Products of fragments from shared memory, MT + NT / 2 loads a step. It holds 64 tiles of 16 pool rows of
/// each operand. A tile is the four matrices of one ldmatrix after each other, 512 bytes in a row, so that no
/// two lanes meet in a bank; matrix by matrix, for A: the first half of rows 0 to 7, of rows 8 to 15, the
/// second half of rows 0 to 7, of rows 8 to 15, which gives a0 to a3; for B: both halves of rows 0 to 7, both
/// of rows 8 to 15, which gives b0 and b1 twice. In step s warp w takes the tiles from (w + s) MT of A and
/// from (w + s) NT / 2 of B on, modulo 64. The loads of a step come before the products of the one before it.
template <class Form, int MT, int NT>
__global__ void mma_shared(const uint32_t* a, const uint32_t* b, uint32_t* out, long long* clocks,
                           int times) {
  if (!kMma) return;
  unsigned char* memory = shared_memory();
  const auto tile = [](int row, int matrix) { return row / 16 * 512 + matrix * 128 + row % 8 * 16; };
  fill(memory, a, [&](int row, int half) { return tile(row, half * 2 + row / 8 % 2); });
  fill(memory + kPoolBytes, b, [&](int row, int half) { return tile(row, row / 8 % 2 * 2 + half); });
  const uint32_t warp = threadIdx.x / 32;
  const uint32_t from = static_cast<uint32_t>(__cvta_generic_to_shared(memory)) + threadIdx.x % 32 * 16;
  uint32_t at_a = warp * MT * 512 % kPoolBytes, at_b = warp * (NT / 2) * 512 % kPoolBytes;
  uint32_t fa[2][MT][4], fb[2][NT / 2][4];
  const auto load = [&](int buffer) {
#pragma unroll
    for (int i = 0; i < MT; ++i) ldmatrix(fa[buffer][i], from + at_a + i * 512);
#pragma unroll
    for (int j = 0; j < NT / 2; ++j) ldmatrix(fb[buffer][j], from + kPoolBytes + at_b + j * 512);
    at_a = (at_a + MT * 512) % kPoolBytes;
    at_b = (at_b + NT / 2 * 512) % kPoolBytes;
  };
  int d[MT * NT * 4] = {};
  __syncthreads();
  load(0);
  repeat(times, clocks, [&] {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      load((step + 1) % 2);
      multiply<Form, MT, NT>(d, fa[step % 2], fb[step % 2]);
    }
  });
  store(out, d);
}

// -- wgmma, a warpgroup's, in sm_90a code

// The 128 accumulators of an n256 product, as inline assembly wants them.
#define ACC_NAMES                                                                                \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                      \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "             \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "             \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "             \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "             \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "             \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
#define ACC_4(c, i) c(d[i]), c(d[(i) + 1]), c(d[(i) + 2]), c(d[(i) + 3])
#define ACC_16(c, i) ACC_4(c, i), ACC_4(c, (i) + 4), ACC_4(c, (i) + 8), ACC_4(c, (i) + 12)
#define ACC_128(c)                                                                                        \
  ACC_16(c, 0), ACC_16(c, 16), ACC_16(c, 32), ACC_16(c, 48), ACC_16(c, 64), ACC_16(c, 80), ACC_16(c, 96), \
      ACC_16(c, 112)

// A form of wgmma: d += A B, A by descriptor (ss) or as a fragment (rs), B by descriptor. The suffixes are
// the immediates after scale-d (true: accumulate): for bf16, 1 each for no negation, 0 for no transposition.
#define WGMMA_FORM(Name, T, constraint, instruction, ss_suffix, rs_suffix)                       \
  struct Name {                                                                                  \
    using Acc = T;                                                                               \
    static __device__ void ss(T (&d)[128], uint64_t a, uint64_t b) {                             \
      WGMMA_ASM("{ .reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned." instruction \
                " " ACC_NAMES "%128, %129, p" ss_suffix "; }"                                    \
                : ACC_128(constraint)                                                            \
                : "l"(a), "l"(b)                                                                 \
                : "memory");                                                                     \
    }                                                                                            \
    static __device__ void rs(T (&d)[128], const uint32_t* a, uint64_t b) {                      \
      WGMMA_ASM("{ .reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned." instruction \
                " " ACC_NAMES "{%128, %129, %130, %131}, %132, p" rs_suffix "; }"                \
                : ACC_128(constraint)                                                            \
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)                             \
                : "memory");                                                                     \
    }                                                                                            \
  }
WGMMA_FORM(WgmmaB1, int, "+r", "m64n256k256.s32.b1.b1.and.popc", "", "");
WGMMA_FORM(WgmmaS8, int, "+r", "m64n256k32.s32.s8.s8", "", "");
WGMMA_FORM(WgmmaBf16, float, "+f", "m64n256k16.f32.bf16.bf16", ", 1, 1, 0, 0", ", 1, 1, 0");

/// Descriptor of an operand in shared memory, k contiguous, 128-byte swizzle (PTX ISA, "Matrix Descriptor
/// Format"), all in units of 16 bytes: bits 0-13 the address; 16-29 the leading byte offset, not used with a
/// swizzle, 1; 32-45 the stride byte offset, from 8 rows to the next 8, 1024 bytes; 49-51 the base offset, 0
/// as patterns start at multiples of 1024 bytes; 62-63 the swizzle, 1 for 128 bytes.
__device__ uint64_t descriptor(const void* operand) {
  const uint64_t address = __cvta_generic_to_shared(operand) & 0x3ffff;
  return address >> 4 | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

/// 64 x 256 accumulators a warpgroup, 4 kSteps products a time. Shared memory holds four operands A of 64
/// rows and one B of 256 (its columns), each row 128 bytes: four steps q of 32 bytes of k, a descriptor's
/// address apart by 2q. Step q of row r is pool row (4 tile + q) 64 + r of A and 256 q + r of B. Rows follow
/// each other; the swizzle puts 16-byte chunk c of row r at c ^ (r % 8). From registers, A's fragments are
/// those of mma.sync of the 16 rows of each warp, of operand (warpgroup % 4) alone. Accumulator 4j + e is row
/// g + 8 (e / 2) of the warp's 16 and column 8j + 2t + e % 2.
template <class Form, bool kFromRegisters>
__global__ void __launch_bounds__(kFromRegisters ? 256 : 384, 1)
    wgmma(const uint32_t* a, const uint32_t* b, uint32_t* out, long long* clocks, int times) {
  if (!kWgmma) return;
  constexpr int kTileBytes = 64 * 128;
  unsigned char* memory = shared_memory();
  const auto swizzle = [](int row, int chunk) { return row * 128 + (chunk ^ row % 8) * 16; };
  fill(memory, a, [&](int row, int half) {
    return row / 256 * kTileBytes + swizzle(row % 64, row / 64 % 4 * 2 + half);
  });
  fill(memory + kPoolBytes, b, [&](int row, int half) { return swizzle(row % 256, row / 256 * 2 + half); });
  // The tensor cores read shared memory through the asynchronous proxy.
  WGMMA_ASM("fence.proxy.async.shared::cta;" ::: "memory");
  const uint64_t desc_a = descriptor(memory), desc_b = descriptor(memory + kPoolBytes);
  uint32_t fa[4][4];
  if constexpr (kFromRegisters) {
    const int warp = threadIdx.x / 32;
#pragma unroll
    for (int q = 0; q < 4; ++q) load_a(fa[q], a, (warp / 4 % 4 * 4 + q) * 64 + warp % 4 * 16);
  }
  typename Form::Acc d[128] = {};
  repeat(times, clocks, [&] {
    WGMMA_ASM("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int tile = 0; tile < kSteps; ++tile) {
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        if constexpr (kFromRegisters) {
          Form::rs(d, fa[q], desc_b + q * 2);
        } else {
          Form::ss(d, desc_a + tile * (kTileBytes >> 4) + q * 2, desc_b + q * 2);
        }
      }
    }
    WGMMA_ASM("wgmma.commit_group.sync.aligned;" ::: "memory");
    WGMMA_ASM("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  });
  store(out, d);
}

// -- ordinary cores, 32 accumulators a thread

/// 4 words of one pool and 8 of the other, each thread's its own.
template <class T>
__device__ void load_words(const uint32_t* a, const uint32_t* b, T (&x)[4], T (&w)[8]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = static_cast<T>(a[(threadIdx.x * 4 + i) % (kRows * kRowWords)]);
#pragma unroll
  for (int j = 0; j < 8; ++j) w[j] = static_cast<T>(b[(threadIdx.x * 8 + j) % (kRows * kRowWords)]);
}

/// popcount(x & w): LOP3, POPC and, for every two, IADD3. LOP3's third input changes w every step, so that no
/// product can leave the loop.
__global__ void popcount(const uint32_t* a, const uint32_t* b, uint32_t* out, long long* clocks, int times) {
  uint32_t x[4], w[8], salt = 0;
  load_words(a, b, x, w);
  int d[32] = {};
  repeat(times, clocks, [&] {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      salt += 0x9e3779b9u;
#pragma unroll
      for (int i = 0; i < 32; ++i) d[i] += __popc(x[i / 8] & (w[i % 8] ^ salt));
    }
  });
  store(out, d);
}

__global__ void dp4a(const uint32_t* a, const uint32_t* b, uint32_t* out, long long* clocks, int times) {
  int x[4], w[8], d[32] = {};
  load_words(a, b, x, w);
  repeat(times, clocks, [&] {
#pragma unroll
    for (int i = 0; i < 32 * kSteps; ++i) d[i % 32] = __dp4a(x[i % 32 / 8], w[i % 8], d[i % 32]);
  });
  store(out, d);
}

/// d = d x + w with x just below 1: bounded, and different every time.
__global__ void fma32(const uint32_t* a, const uint32_t* b, uint32_t* out, long long* clocks, int times) {
  const float x = 1 - 1e-3f * static_cast<float>(a[threadIdx.x] % 64 + 1);
  const float w = static_cast<float>(b[threadIdx.x] % 1024);
  float d[32] = {};
#pragma unroll
  for (int i = 0; i < 32; ++i) d[i] = static_cast<float>(i);
  repeat(times, clocks, [&] {
#pragma unroll
    for (int i = 0; i < 32 * kSteps; ++i) d[i % 32] = fmaf(d[i % 32], x, w);
  });
  store(out, d);
}

// -- memory and others

__global__ void fill_random(uint32_t* to, size_t words) {
  const size_t threads = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < words; i += threads) {
    uint32_t x = static_cast<uint32_t>(i) * 0x9e3779b9u;
    x = (x ^ x >> 16) * 0x85ebca6bu;
    to[i] = x ^ x >> 13;
  }
}

constexpr int kThreads = 256;
constexpr int kInFlight = 4;
constexpr size_t kChunkBytes = kThreads * kInFlight * sizeof(uint4);

/// A chunk a block, all loads of a thread before its first store.
__global__ void copy_bytes(const uint4* from, uint4* to) {
  const size_t at = size_t{blockIdx.x} * kThreads * kInFlight + threadIdx.x;
  uint4 x[kInFlight];
#pragma unroll
  for (int i = 0; i < kInFlight; ++i) x[i] = from[at + i * kThreads];
#pragma unroll
  for (int i = 0; i < kInFlight; ++i) to[at + i * kThreads] = x[i];
}

/// Stores a word a thread.
__global__ void read_bytes(const uint4* from, size_t chunks, uint32_t* out) {
  uint32_t sum = 0;
#pragma unroll 2
  for (size_t chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
#pragma unroll
    for (int i = 0; i < kInFlight; ++i) {
      const uint4 x = from[(chunk * kInFlight + i) * kThreads + threadIdx.x];
      sum ^= x.x ^ x.y ^ x.z ^ x.w;
    }
  }
  out[blockIdx.x * kThreads + threadIdx.x] = sum;
}

__global__ void nothing() {}

/// {__CUDA_ARCH__, is it sm_90a code}, of the code that the device runs.
__global__ void features(int* out) {
#ifdef __CUDA_ARCH__
  out[0] = __CUDA_ARCH__;
  out[1] = kWgmma ? 1 : 0;
#endif
}

// -- host helpers

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // Forgotten, where it can be.
  throw std::runtime_error(cudaGetErrorString(status));
}

struct Free {
  void operator()(void* p) const { cudaFree(p); }
};
template <class T>
using DeviceArray = std::unique_ptr<T[], Free>;

template <class T>
DeviceArray<T> device_array(size_t count) {
  void* p = nullptr;
  check(cudaMalloc(&p, count * sizeof(T)));
  return DeviceArray<T>(static_cast<T*>(p));
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds that the device spends on what `launch` puts into the default stream.
template <class Launch>
double device_seconds(const Launch& launch) {
  static cudaEvent_t start = nullptr, stop = nullptr;
  if (!start) check(cudaEventCreate(&start));
  if (!stop) check(cudaEventCreate(&stop));
  check(cudaEventRecord(start));
  launch();
  check(cudaGetLastError());
  check(cudaEventRecord(stop));
  check(cudaEventSynchronize(stop));
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start, stop));
  return milliseconds * 1e-3;
}

/// Seconds on the host's clock until the device has done it.
template <class Launch>
double host_seconds(const Launch& launch) {
  check(cudaDeviceSynchronize());
  const double start = now();
  launch();
  check(cudaGetLastError());
  check(cudaDeviceSynchronize());
  return now() - start;
}

// JSON is put together from the inside out: a member is a name and finished JSON.
using Members = std::vector<std::pair<std::string, std::string>>;
using std::to_string;

std::string number(double x) {
  if (!std::isfinite(x)) return "null";
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", x);
  return text;
}

std::string quote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out + '"';
}

std::string object(const Members& members) {
  std::string out;
  for (const auto& [name, value] : members) out += (out.empty() ? "{" : ", ") + quote(name) + ": " + value;
  return out + "}";
}

std::string array(const std::vector<std::string>& items, const char* separator = ", ") {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : separator) + item;
  return "[" + out + "]";
}

Members statistics(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {{"median", number(values[values.size() / 2])},
          {"min", number(values.front())},
          {"max", number(values.back())},
          {"rounds", to_string(values.size())}};
}

constexpr int kRounds = 9;

/// Of value(), which runs once unmeasured first.
template <class Value>
Members rounds_of(const Value& value) {
  value();
  std::vector<double> values;
  for (int round = 0; round < kRounds; ++round) values.push_back(value());
  return statistics(values);
}

/// Rows of the document; one that throws is "failed" and the others go on.
class Section {
 public:
  void add(const std::string& name, const std::string& unit, const std::function<Members()>& measure) {
    std::fprintf(stderr, "gpu-probe: %s\n", name.c_str());
    try {
      add(name, unit, "measured", measure());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "gpu-probe: %s failed: %s\n", name.c_str(), error.what());
      add(name, unit, "failed", {{"reason", quote(error.what())}});
      failed_ = true;
    }
  }
  void add_absent(const std::string& name, const std::string& unit, const std::string& reason) {
    add(name, unit, "absent", {{"reason", quote(reason)}});
  }
  std::string json() const { return array(rows_, ",\n  "); }
  bool failed() const { return failed_; }

 private:
  void add(const std::string& name, const std::string& unit, const char* status, const Members& more) {
    Members row = {{"name", quote(name)}, {"unit", quote(unit)}, {"status", quote(status)}};
    row.insert(row.end(), more.begin(), more.end());
    rows_.push_back(object(row));
  }

  std::vector<std::string> rows_;
  bool failed_ = false;
};

// -- arithmetic

enum class Type { kB1, kS8, kBf16, kF32 };

float as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

int bf16_value(const uint8_t* p) {
  return static_cast<int>(as_float(uint32_t{p[0]} << 16 | uint32_t{p[1]} << 24));
}

/// The scalar reference: a row of 32 bytes times a column.
int dot(Type type, const uint8_t* a, const uint8_t* b) {
  int sum = 0;
  for (int i = 0; i < 32; ++i) {
    if (type == Type::kB1) sum += __builtin_popcount(a[i] & b[i]);
    if (type == Type::kS8) sum += static_cast<int8_t>(a[i]) * static_cast<int8_t>(b[i]);
    if (type == Type::kBf16 && i % 2 == 0) sum += bf16_value(a + i) * bf16_value(b + i);
  }
  return sum;
}

/// Random bytes for a pool. bf16 values are whole numbers, -127 to 127, so that all sums that a verification
/// makes of them stay below 2^24 and exact.
std::vector<uint8_t> random_pool(Type type, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(kPoolBytes);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  if (type != Type::kBf16) return bytes;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    const float value = static_cast<float>(bytes[i] % 255 - 127);
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bytes[i] = static_cast<uint8_t>(bits >> 16);
    bytes[i + 1] = static_cast<uint8_t>(bits >> 24);
  }
  return bytes;
}

/// Pools of one type on the device and the table of all dot products.
class Operands {
 public:
  explicit Operands(Type kind)
      : type(kind),
        a(device_array<uint32_t>(kRows * kRowWords)),
        b(device_array<uint32_t>(kRows * kRowWords)),
        table_(kRows * kRows) {
    const std::vector<uint8_t> rows = random_pool(type, 1), columns = random_pool(type, 2);
    check(cudaMemcpy(a.get(), rows.data(), kPoolBytes, cudaMemcpyHostToDevice));
    check(cudaMemcpy(b.get(), columns.data(), kPoolBytes, cudaMemcpyHostToDevice));
    for (int i = 0; i < kRows * kRows; ++i) {
      table_[i] = dot(type, &rows[i / kRows * 32], &columns[i % kRows * 32]);
    }
  }
  int64_t product(int row, int column) const { return table_[row * kRows + column]; }

  const Type type;
  const DeviceArray<uint32_t> a, b;

 private:
  std::vector<int32_t> table_;
};

/// A kernel, and what its accumulator `i` must hold after so many times.
struct Variant {
  std::string tile;
  Kernel kernel;
  int accumulators;  // A thread.
  double macs;       // A warp and time.
  std::function<int64_t(const Operands&, int warp, int lane, int i, int times)> expected = nullptr;
};

struct Instruction {
  std::string name;
  Type type;
  std::vector<Variant> variants;
  const char* unit() const { return type == Type::kB1 ? "bit-MAC/s" : "MAC/s"; }
};

/// The product that accumulator i of mma.sync's tile at these tiles of 16 pool rows adds up.
int64_t mma_product(const Operands& of, int tile_a, int tile_b, int nt, int lane, int i) {
  const int row = (tile_a + i / 4 / nt) % 64 * 16 + lane / 4 + i % 4 / 2 * 8;
  const int n = i / 4 % nt, column = (tile_b + n / 2) % 64 * 16 + n % 2 * 8 + lane % 4 * 2 + i % 2;
  return of.product(row, column);
}

template <class Form, bool kShared, int MT, int NT>
Variant mma_variant(int k) {
  const auto expected = [](const Operands& of, int warp, int lane, int i, int times) {
    int64_t sum = 0;
    for (int step = 0; step < kSteps * times; ++step) {
      const int at = kShared ? warp + step : warp;
      sum += mma_product(of, at * MT, at * (NT / 2), NT, lane, i);
    }
    return sum;
  };
  return {to_string(MT) + "x" + to_string(NT),
          kShared ? mma_shared<Form, MT, NT> : mma_registers<Form, MT, NT>, MT * NT * 4,
          1.0 * kSteps * MT * NT * 16 * 8 * k, expected};
}

template <class Form, bool kFromRegisters>
Variant wgmma_variant(int k) {
  const auto expected = [](const Operands& of, int warp, int lane, int i, int times) {
    const int row = warp % 4 * 16 + lane / 4 + i % 4 / 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    int64_t sum = 0;
    for (int step = 0; step < kSteps * 4; ++step) {
      const int tile = kFromRegisters ? warp / 4 % 4 : step / 4, q = step % 4;
      sum += of.product((tile * 4 + q) * 64 + row, q * 256 + column);
    }
    return sum * times;
  };
  return {"1x1", wgmma<Form, kFromRegisters>, 128, 1.0 * kSteps * 4 * 16 * 256 * k, expected};
}

template <class Form, bool kShared>
std::vector<Variant> mma_variants(int k) {
  return {mma_variant<Form, kShared, 1, 4>(k), mma_variant<Form, kShared, 2, 4>(k),
          mma_variant<Form, kShared, 4, 4>(k), mma_variant<Form, kShared, 4, 8>(k)};
}

std::vector<Instruction> core_instructions() {
  const double words = 1.0 * kSteps * 32 * 32;
  return {{"popcount, registers", Type::kB1, {{"4x8", popcount, 32, words * 32}}},
          {"dp4a, registers", Type::kS8, {{"4x8", dp4a, 32, words * 4}}},
          {"fma.f32, registers", Type::kF32, {{"32", fma32, 32, words}}}};
}

std::vector<Instruction> mma_instructions() {
  return {{"mma.m16n8k256.b1.and.popc, registers", Type::kB1, mma_variants<MmaB1, false>(256)},
          {"mma.m16n8k256.b1.and.popc, shared", Type::kB1, mma_variants<MmaB1, true>(256)},
          {"mma.m16n8k32.s8, registers", Type::kS8, mma_variants<MmaS8, false>(32)},
          {"mma.m16n8k32.s8, shared", Type::kS8, mma_variants<MmaS8, true>(32)}};
}

std::vector<Instruction> wgmma_instructions() {
  return {{"wgmma.m64n256k16.bf16, shared", Type::kBf16, {wgmma_variant<WgmmaBf16, false>(16)}},
          {"wgmma.m64n256k16.bf16, A registers", Type::kBf16, {wgmma_variant<WgmmaBf16, true>(16)}},
          {"wgmma.m64n256k32.s8, shared", Type::kS8, {wgmma_variant<WgmmaS8, false>(32)}},
          {"wgmma.m64n256k32.s8, A registers", Type::kS8, {wgmma_variant<WgmmaS8, true>(32)}},
          {"wgmma.m64n256k256.b1.and.popc, shared", Type::kB1, {wgmma_variant<WgmmaB1, false>(256)}},
          {"wgmma.m64n256k256.b1.and.popc, A registers", Type::kB1, {wgmma_variant<WgmmaB1, true>(256)}}};
}

/// Measures instructions, one block a multiprocessor.
class Arithmetic {
 public:
  explicit Arithmetic(const cudaDeviceProp& gpu)
      : gpu_(gpu),
        // Accumulators are registers, so they are no more than these.
        out_words_(static_cast<size_t>(gpu.multiProcessorCount) * gpu.regsPerMultiprocessor),
        out_(device_array<uint32_t>(out_words_)),
        clocks_(device_array<long long>(1)) {}

  Members measure(const Instruction& of) {
    const Operands operands(of.type);
    std::vector<std::string> sweep;
    std::string mismatch;
    const Variant* best = nullptr;
    int best_warps = 0;
    double best_rate = 0;
    for (const Variant& variant : of.variants) {
      const std::vector<int> possible = prepare(variant);
      if (possible.empty()) continue;
      if (variant.expected && mismatch.empty()) mismatch = verify(variant, possible.back(), operands);
      for (const int warps : possible) {
        const double rate = time(variant, warps, operands, 3, 5e-3)[1].rate;
        sweep.push_back(object(
            {{"warpsPerSm", to_string(warps)}, {"tile", quote(variant.tile)}, {"median", number(rate)}}));
        if (rate > best_rate) best = &variant, best_warps = warps, best_rate = rate;
      }
    }
    if (!best) throw std::runtime_error("no configuration fits a multiprocessor");
    if (!mismatch.empty()) std::fprintf(stderr, "gpu-probe: wrong: %s\n", mismatch.c_str());

    const std::vector<Round> rounds = time(*best, best_warps, operands, kRounds, 20e-3);
    const Round& median = rounds[rounds.size() / 2];
    std::vector<double> rates;
    for (const Round& round : rounds) rates.push_back(round.rate);
    Members row = statistics(rates);
    row.emplace_back("verified", !best->expected ? "null" : mismatch.empty() ? "true" : "false");
    if (!mismatch.empty()) row.emplace_back("mismatch", quote(mismatch));
    const cudaFuncAttributes attributes = attributes_of(*best);
    row.insert(row.end(), {{"opsPerSecond", number(2 * median.rate)},
                           {"macPerClockPerSm", number(median.macs_per_clock)},
                           {"clockMHz", number(median.clock_mhz)},
                           {"warpsPerSm", to_string(best_warps)},
                           {"tile", quote(best->tile)},
                           {"registers", to_string(attributes.numRegs)},
                           {"localBytes", to_string(attributes.localSizeBytes)},
                           {"sweep", array(sweep)}});
    return row;
  }

 private:
  struct Round {
    double rate, macs_per_clock, clock_mhz;
  };

  static cudaFuncAttributes attributes_of(const Variant& variant) {
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, variant.kernel));
    return attributes;
  }

  /// Gives the kernel all the shared memory that a block can have, so that each multiprocessor gets one
  /// block. The numbers of warps in a block that its registers allow, all whole warpgroups.
  std::vector<int> prepare(const Variant& variant) const {
    check(cudaFuncSetAttribute(variant.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes()));
    const int most = attributes_of(variant).maxThreadsPerBlock / 32;
    std::vector<int> possible;
    for (const int warps : {4, 8, 12, 16, 32}) {
      if (warps <= most) possible.push_back(warps);
    }
    return possible;
  }

  int shared_bytes() const { return static_cast<int>(gpu_.sharedMemPerBlockOptin); }

  void launch(const Variant& variant, int warps, const Operands& of, int times) {
    variant.kernel<<<gpu_.multiProcessorCount, warps * 32, shared_bytes()>>>(
        of.a.get(), of.b.get(), out_.get(), clocks_.get(), times);
    check(cudaGetLastError());
  }

  /// Compares all accumulators of the first and the last block; says what is wrong, or nothing.
  std::string verify(const Variant& variant, int warps, const Operands& of) {
    constexpr int kTimes = 5;
    const int count = warps * variant.accumulators * 32;
    check(cudaMemset(out_.get(), 0xa5, out_words_ * sizeof(uint32_t)));
    launch(variant, warps, of, kTimes);
    check(cudaDeviceSynchronize());
    for (const int block : {0, gpu_.multiProcessorCount - 1}) {
      std::vector<uint32_t> got(count);
      check(cudaMemcpy(got.data(), out_.get() + static_cast<size_t>(block) * count, count * sizeof(uint32_t),
                       cudaMemcpyDeviceToHost));
      int wrong = 0;
      std::string first;
      for (int at = 0; at < count; ++at) {
        const int lane = at % 32, i = at / 32 % variant.accumulators, warp = at / 32 / variant.accumulators;
        const double want = static_cast<double>(variant.expected(of, warp, lane, i, kTimes));
        const double have = of.type == Type::kBf16 ? as_float(got[at]) : static_cast<int32_t>(got[at]);
        if (have == want || wrong++ > 0) continue;
        first = "warp " + to_string(warp) + " lane " + to_string(lane) + " accumulator " + to_string(i) +
                ": " + number(have) + " for " + number(want);
      }
      if (wrong == 0) continue;
      return "tile " + variant.tile + " block " + to_string(block) + ": " + to_string(wrong) + " of " +
             to_string(count) + " wrong, the first at " + first;
    }
    return "";
  }

  /// `rounds` rounds of about `seconds`, slowest first.
  std::vector<Round> time(const Variant& variant, int warps, const Operands& of, int rounds, double seconds) {
    const auto run = [&](int times) { return device_seconds([&] { launch(variant, warps, of, times); }); };
    int times = 16;
    double took = run(times);
    while (took < seconds / 8 && times < 1 << 24) took = run(times *= 4);
    times = std::max(1, static_cast<int>(std::min(times * seconds / took, 0x1p27)));

    const double macs = variant.macs * warps * times;
    std::vector<Round> out;
    for (int round = 0; round < rounds; ++round) {
      const double elapsed = run(times);
      long long clocks = 0;
      check(cudaMemcpy(&clocks, clocks_.get(), sizeof clocks, cudaMemcpyDeviceToHost));
      const double spent = static_cast<double>(clocks);
      out.push_back({macs * gpu_.multiProcessorCount / elapsed, macs / spent, spent / elapsed * 1e-6});
    }
    std::sort(out.begin(), out.end(), [](const Round& a, const Round& b) { return a.rate < b.rate; });
    return out;
  }

  const cudaDeviceProp& gpu_;
  size_t out_words_;
  DeviceArray<uint32_t> out_;
  DeviceArray<long long> clocks_;
};

// -- memory and launches

void measure_memory(Section& section, const cudaDeviceProp& gpu) {
  size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total));
  const size_t chunks = std::min(available / 8, size_t{4} << 30) / kChunkBytes, bytes = chunks * kChunkBytes;
  const DeviceArray<uint4> first = device_array<uint4>(bytes / sizeof(uint4));
  const DeviceArray<uint4> second = device_array<uint4>(bytes / sizeof(uint4));
  uint4 *from = first.get(), *to = second.get();
  const int blocks = gpu.multiProcessorCount * gpu.maxThreadsPerMultiProcessor / kThreads;
  // Long enough for an idle device to raise its clocks.
  for (const double start = now(); now() - start < 0.5;) {
    host_seconds([&] {
      fill_random<<<blocks, kThreads>>>(reinterpret_cast<uint32_t*>(from), bytes / sizeof(uint32_t));
    });
  }

  const auto on_device = [&](const char* name, int passes, const std::function<void()>& launch) {
    section.add(name, "B/s",
                [&] { return rounds_of([&] { return 1.0 * passes * bytes / device_seconds(launch); }); });
  };
  on_device("copyKernel", 2, [&] { copy_bytes<<<static_cast<unsigned>(chunks), kThreads>>>(from, to); });
  on_device("copyDriver", 2, [&] { check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice)); });
  on_device("readKernel", 1,
            [&] { read_bytes<<<blocks, kThreads>>>(from, chunks, reinterpret_cast<uint32_t*>(to)); });

  const size_t host_bytes = std::min(bytes, size_t{256} << 20);
  const auto transfer = [&](const char* name, void* target, const void* source, cudaMemcpyKind kind) {
    section.add(name, "B/s", [&] {
      return rounds_of([&] {
        return host_bytes / host_seconds([&] { check(cudaMemcpy(target, source, host_bytes, kind)); });
      });
    });
  };
  void* pinned = nullptr;
  if (cudaMallocHost(&pinned, host_bytes) == cudaSuccess) {
    std::memset(pinned, 0x5a, host_bytes);
    transfer("hostToDevicePinned", to, pinned, cudaMemcpyHostToDevice);
    transfer("deviceToHostPinned", pinned, from, cudaMemcpyDeviceToHost);
    cudaFreeHost(pinned);
  } else {
    cudaGetLastError();
    section.add_absent("hostToDevicePinned", "B/s", "The host gives no pinned memory.");
    section.add_absent("deviceToHostPinned", "B/s", "The host gives no pinned memory.");
  }
  std::vector<uint8_t> pageable(host_bytes, 0x5a);
  transfer("hostToDevicePageable", to, pageable.data(), cudaMemcpyHostToDevice);
  transfer("deviceToHostPageable", pageable.data(), from, cudaMemcpyDeviceToHost);
}

void measure_launches(Section& section) {
  constexpr int kNodes = 100;
  cudaStream_t stream = nullptr;
  check(cudaStreamCreate(&stream));
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < kNodes; ++i) nothing<<<1, 32, 0, stream>>>();
  check(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t ready = nullptr;
  check(cudaGraphInstantiate(&ready, graph, 0));

  const auto measure = [&](const char* name, int count, bool wait, const std::function<void()>& launch) {
    section.add(name, "s", [&] {
      return rounds_of([&] {
        return host_seconds([&] {
                 for (int i = 0; i < count; ++i) {
                   launch();
                   if (wait) check(cudaStreamSynchronize(stream));
                 }
               }) /
               count;
      });
    });
  };
  const auto kernel = [&] { nothing<<<1, 32, 0, stream>>>(); };
  measure("kernel", 1000, false, kernel);
  measure("kernelAndWait", 100, true, kernel);
  measure("graph", 20, false, [&] { check(cudaGraphLaunch(ready, stream)); });
  measure("graphAndWait", 20, true, [&] { check(cudaGraphLaunch(ready, stream)); });
  cudaGraphExecDestroy(ready);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

// -- the document

std::string dotted(int major, int minor) { return quote(to_string(major) + "." + to_string(minor)); }

std::string version_of(cudaError_t (*get)(int*)) {
  int version = 0;
  check(get(&version));
  return dotted(version / 1000, version % 1000 / 10);
}

std::string utc_date() {
  const std::time_t time = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&time));
  return quote(text);
}

int run() {
  const double start = now();
  cudaDeviceProp gpu;
  check(cudaSetDevice(0));
  check(cudaGetDeviceProperties(&gpu, 0));
  int clock_khz = 0, code[2] = {};
  check(cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, 0));
  {
    const DeviceArray<int> out = device_array<int>(2);
    features<<<1, 1>>>(out.get());
    check(cudaGetLastError());  // Where the build has no code for the device.
    check(cudaMemcpy(code, out.get(), sizeof code, cudaMemcpyDeviceToHost));
  }

  Section memory, launches, arithmetic;
  measure_memory(memory, gpu);
  measure_launches(launches);
  Arithmetic runner(gpu);
  const auto measure = [&](const std::vector<Instruction>& instructions, const char* absent) {
    for (const Instruction& of : instructions) {
      if (absent) {
        arithmetic.add_absent(of.name, of.unit(), absent);
      } else {
        arithmetic.add(of.name, of.unit(), [&] { return runner.measure(of); });
      }
    }
  };
  measure(core_instructions(), nullptr);
  measure(mma_instructions(),
          code[0] >= 800 ? nullptr : "It takes a device of compute capability 8.0 and code for it.");
  measure(wgmma_instructions(),
          code[1] ? nullptr : "It takes a device of compute capability 9.0 and sm_90a code.");

  std::ifstream module("/proc/driver/nvidia/version");
  std::string build;
  std::getline(module, build);
  const Members device = {{"name", quote(gpu.name)},
                          {"computeCapability", dotted(gpu.major, gpu.minor)},
                          {"codeArchitecture", to_string(code[0])},
                          {"sm90a", code[1] ? "true" : "false"},
                          {"multiprocessors", to_string(gpu.multiProcessorCount)},
                          {"maxClockMHz", number(clock_khz * 1e-3)},
                          {"memoryBytes", to_string(gpu.totalGlobalMem)},
                          {"l2Bytes", to_string(gpu.l2CacheSize)},
                          {"sharedBytesPerBlock", to_string(gpu.sharedMemPerBlockOptin)}};
  const Members driver = {{"version", version_of(cudaDriverGetVersion)},
                          {"build", build.empty() ? "null" : quote(build)}};
  const Members document = {{"probe", quote("gpu-probe 1")},
                            {"date", utc_date()},
                            {"gpu", object(device)},
                            {"driver", object(driver)},
                            {"runtime", version_of(cudaRuntimeGetVersion)},
                            {"arithmetic", arithmetic.json()},
                            {"memory", memory.json()},
                            {"launch", launches.json()},
                            {"seconds", number(now() - start)}};
  std::puts(object(document).c_str());
  return memory.failed() || launches.failed() || arithmetic.failed() ? 1 : 0;
}

}  // namespace

int main(int argc, char**) {
  if (argc > 1) {
    std::fprintf(stderr, "gpu-probe: It takes no arguments; it writes JSON to standard output.\n");
    return 2;
  }
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess || devices == 0) {
    const char* reason = status == cudaSuccess ? "there is none" : cudaGetErrorString(status);
    std::fprintf(stderr, "gpu-probe: There is no CUDA GPU to measure (%s).\n", reason);
    return 2;
  }
  try {
    return run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gpu-probe: Device 0 cannot be measured (%s).\n", error.what());
    return 2;
  }
}
