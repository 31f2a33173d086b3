#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "cpu/kernels/product.h"
#include "ops/geometry.h"

// What `hardbit bench` times natively. Each job owns its operands, made once from fixed random numbers, and
// runs on threads() threads as of its making.

namespace hardbit::bench {

class Job {
 public:
  Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  virtual ~Job() = default;
  /// Does its work `times` times over.
  virtual void run(std::int64_t times) = 0;
  /// The kernel or implementation that does it.
  const std::string& kernel() const { return kernel_; }

 protected:
  std::string kernel_;
};

/// A register-only loop, `limit.macs` multiply-accumulates a time on every thread.
std::unique_ptr<Job> limit_job(const cpu::Limit& limit);

/// One whole tile of mr rows and nr channels with operands that stay in the first cache, on every thread:
/// `k` is the inner dimension in bits, bytes or floats, a multiple of a 32-bit word. Sums are compared with
/// thresholds. ERR_HARDBIT_ARGUMENT for another k, and for planes outside 1 … 8 or other than 1 of bytes.
std::unique_ptr<Job> kernel_job(const cpu::ProductKernel& kernel, std::int64_t k, int planes);
std::unique_ptr<Job> kernel_job(const cpu::FloatKernel& kernel, std::int64_t k);

/// A layer: `batch` images, `inputs` to `outputs` channels, a square kernel, stride and padding alike on all
/// sides.
struct Layer {
  std::int64_t batch, height, width, inputs, outputs, kernel, stride, padding;
  /// Checked: ERR_HARDBIT_ARGUMENT or ERR_HARDBIT_SHAPE.
  ops::Conv2d conv() const;
};

/// A binary layer as the deployed network runs it, bits to bits: from ±1 in images that hold their margins
/// (bits 0), or from codes of 1 … 8 bits a byte each, through thresholds and, where asked for, 2×2
/// max-pooling to bits in images with margins of their own. Threads share the output rows.
std::unique_ptr<Job> binary_layer_job(const Layer& layer, int bits, bool pool);

/// The same on the GPU: bits to bits, weights made ready beforehand; run() waits for the last of its
/// launches. ERR_HARDBIT_NO_CUDA.
std::unique_ptr<Job> cuda_layer_job(const Layer& layer, int bits, bool pool);

/// oneDNN's forward convolution in the layouts it chooses, weights in its own order beforehand: f32, or u8 by
/// s8 to u8. ERR_HARDBIT_UNSUPPORTED in a build without oneDNN.
enum class PeerType : std::uint8_t { f32, int8 };
std::unique_ptr<Job> onednn_job(const Layer& layer, PeerType type);

/// Seconds that run(times) took.
double seconds(Job& job, std::int64_t times);

}  // namespace hardbit::bench
