#include <gtest/gtest.h>

#include <random>
#include <stdexcept>
#include <vector>

#include "cuda/mma.h"

// The emulated instructions of the tensor cores against loops over single elements: what a kernel may rely
// on.

namespace hardbit::cuda {
namespace {

/// 16 rows and 8 columns of 32 bytes of k.
struct Matrices {
  std::uint8_t x[16][32];
  std::uint8_t w[8][32];
  explicit Matrices(std::uint32_t seed) {
    std::mt19937 random(seed);
    for (auto& row : x) {
      for (auto& byte : row) byte = static_cast<std::uint8_t>(random());
    }
    for (auto& row : w) {
      for (auto& byte : row) byte = static_cast<std::uint8_t>(random());
    }
  }
};

/// The fragments of `m` by the layouts in mma.h, through `multiply`, into sums [16][8] that begin at 7.
template <class F>
std::vector<int> product(const Matrices& m, const F& multiply) {
  std::vector<int> sums(16 * 8);
  launch(
      +[](const Matrices* in, int* out, F f) {
        const unsigned g = threadIdx.x / 4;
        const unsigned t = threadIdx.x % 4;
        const auto word = [&](const std::uint8_t* bytes) {
          std::uint32_t value = 0;
          std::memcpy(&value, bytes, 4);
          return value;
        };
        const std::uint32_t a[4] = {word(in->x[g] + 4 * t), word(in->x[g + 8] + 4 * t),
                                    word(in->x[g] + 16 + 4 * t), word(in->x[g + 8] + 16 + 4 * t)};
        int c[4] = {7, 7, 7, 7};
        f(c, a, word(in->w[g] + 4 * t), word(in->w[g] + 16 + 4 * t));
        for (unsigned i = 0; i < 4; ++i) out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = c[i];
      },
      dim3(1), dim3(32), 0, &m, sums.data(), multiply);
  return sums;
}

TEST(CudaMma, MultipliesBits) {
  const Matrices m(1);
  const auto sums = product(m, [](int(&c)[4], const std::uint32_t(&a)[4], std::uint32_t b0,
                                  std::uint32_t b1) { mma_bits(c, a, b0, b1); });
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      int expected = 7;
      for (int k = 0; k < 256; ++k) {
        expected += (m.x[row][k / 8] >> (k % 8) & 1) * (m.w[column][k / 8] >> (k % 8) & 1);
      }
      EXPECT_EQ(sums[row * 8 + column], expected) << row << " " << column;
    }
  }
}

TEST(CudaMma, MultipliesUnsignedBytesBySigned) {
  const Matrices m(2);
  const auto sums = product(m, [](int(&c)[4], const std::uint32_t(&a)[4], std::uint32_t b0,
                                  std::uint32_t b1) { mma_bytes(c, a, b0, b1); });
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      int expected = 7;
      for (int k = 0; k < 32; ++k) expected += m.x[row][k] * static_cast<std::int8_t>(m.w[column][k]);
      EXPECT_EQ(sums[row * 8 + column], expected) << row << " " << column;
    }
  }
}

TEST(CudaMma, LoadsFourMatricesFromTheRowsThatLanesName) {
  // Row r of matrix i is row 8 i + (r ^ i) of memory, so that neither may be taken for the other.
  std::vector<std::uint32_t> found(32 * 4);
  launch(
      +[](std::uint32_t* out) {
        alignas(16) static thread_local std::uint32_t memory[32][4];
        const unsigned lane = threadIdx.x;
        for (unsigned word = 0; word < 4; ++word) memory[lane][word] = 4 * lane + word;
        __syncwarp();
        const unsigned matrix = lane / 8;
        std::uint32_t r[4];
        load_matrices(r, memory[8 * matrix + (lane % 8 ^ matrix)]);
        for (unsigned i = 0; i < 4; ++i) out[lane * 4 + i] = r[i];
      },
      dim3(1), dim3(32), 0, found.data());
  for (std::uint32_t lane = 0; lane < 32; ++lane) {
    for (std::uint32_t i = 0; i < 4; ++i) {
      EXPECT_EQ(found[lane * 4 + i], 4 * (8 * i + (lane / 4 ^ i)) + lane % 4);
    }
  }
}

TEST(CudaMma, RefusesMisalignedAddresses) {
  alignas(16) static unsigned char memory[64];
  EXPECT_THROW(launch(
                   +[](int) {
                     std::uint32_t r[4];
                     load_matrices(r, memory + 8);
                   },
                   dim3(1), dim3(32), 0, 0),
               std::logic_error);
  EXPECT_THROW(launch(
                   +[](int) { copy_async<16>(memory, memory + 24, true); }, dim3(1), dim3(1), 0, 0),
               std::logic_error);
}

TEST(CudaMma, CopiesArriveByTheWaitAndSometimesNotBefore) {
  struct Seen {
    std::uint64_t early, first, second, zero;
  };
  int late = 0;
  for (int i = 0; i < 64; ++i) {
    Seen seen{};
    launch(
        +[](Seen* out) {
          alignas(16) static thread_local std::uint64_t to[4];
          alignas(16) static const std::uint64_t from[4] = {11, 22, 33, 44};
          for (auto& word : to) word = 99;
          copy_async<8>(to, from, true);
          copy_async<8>(to + 2, from, false);
          copies_commit();
          out->early = to[0];
          copy_async<8>(to + 1, from + 1, true);
          copies_commit();
          copies_wait<1>();
          out->first = to[0];
          out->zero = to[2];
          copies_wait<0>();
          out->second = to[1];
        },
        dim3(1), dim3(1), 0, &seen);
    late += seen.early == 99 ? 1 : 0;
    EXPECT_EQ(seen.first, 11);
    EXPECT_EQ(seen.zero, 0);
    EXPECT_EQ(seen.second, 22);
  }
  EXPECT_GT(late, 0);
  EXPECT_LT(late, 64);
}

}  // namespace
}  // namespace hardbit::cuda
