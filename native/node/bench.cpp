#include <array>
#include <memory>
#include <string>

#include "bench/job.h"
#include "cpu/kernels/product.h"
#include "node/binding.h"
#include "runtime/cpu_features.h"

namespace hardbit::node {
namespace {

struct Tables {};

Tables bench_tables() { return {}; }

/// The row of that name, of either table.
template <class Row>
const Row* find(std::span<const Row> rows, const std::string& name) {
  for (const Row& row : rows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

void require_isa(Isa isa) {
  for (const Isa available : available_isas()) {
    if (available == isa) return;
  }
  throw Error("ERR_HARDBIT_ISA", std::string("This CPU lacks the instruction set '") + name(isa) + "'.");
}

std::shared_ptr<bench::Job> bench_limit(const std::string& limit, const std::string& isa) {
  for (const cpu::Limit& row : cpu::limits()) {
    if (row.name != limit || name(row.isa) != isa) continue;
    require_isa(row.isa);
    return bench::limit_job(row);
  }
  throw Error("ERR_HARDBIT_UNKNOWN_NAME",
              "There is no limit '" + limit + "' of the instruction set '" + isa + "'.");
}

std::shared_ptr<bench::Job> bench_kernel(const std::string& kernel, std::int64_t k, int planes) {
  if (const auto* const row = find(cpu::product_kernels(), kernel)) {
    require_isa(row->isa);
    return bench::kernel_job(*row, k, planes);
  }
  if (const auto* const row = find(cpu::float_kernels(), kernel)) {
    require_isa(row->isa);
    return bench::kernel_job(*row, k);
  }
  throw Error("ERR_HARDBIT_UNKNOWN_NAME", "There is no product kernel '" + kernel + "'.");
}

using LayerSizes = std::array<std::int64_t, 8>;

bench::Layer layer_of(const LayerSizes& s) {
  return {.batch = s[0],
          .height = s[1],
          .width = s[2],
          .inputs = s[3],
          .outputs = s[4],
          .kernel = s[5],
          .stride = s[6],
          .padding = s[7]};
}

std::shared_ptr<bench::Job> bench_binary_layer(const LayerSizes& sizes, int bits, bool pool) {
  return bench::binary_layer_job(layer_of(sizes), bits, pool);
}

std::shared_ptr<bench::Job> bench_cuda_layer(const LayerSizes& sizes, int bits, bool pool) {
  return bench::cuda_layer_job(layer_of(sizes), bits, pool);
}

std::shared_ptr<bench::Job> bench_onednn_layer(const LayerSizes& sizes, bool int8) {
  return bench::onednn_job(layer_of(sizes), int8 ? bench::PeerType::int8 : bench::PeerType::f32);
}

}  // namespace

/// { kernel, run(times) → seconds }; the job lives as long as the function.
template <>
struct ToJs<std::shared_ptr<bench::Job>> {
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<bench::Job> job) {
    const auto object = Napi::Object::New(env);
    object.Set("kernel", job->kernel());
    object.Set("run", Napi::Function::New(
                          env,
                          [job = std::move(job)](const Napi::CallbackInfo& info) -> Napi::Value {
                            return guarded(info.Env(), [&]() -> Napi::Value {
                              const auto times = FromJs<std::int64_t>::read(Arguments(info, "run"), 0);
                              return Napi::Number::New(info.Env(), bench::seconds(*job, times));
                            });
                          },
                          "run"));
    return object;
  }
};

template <>
struct ToJs<Tables> {
  template <class Row>
  static void append(Napi::Array kernels, const Row& row, const char* operand, const char* selected) {
    const auto kernel = Napi::Object::New(kernels.Env());
    kernel.Set("name", row.name);
    kernel.Set("isa", name(row.isa));
    kernel.Set("operand", operand);
    kernel.Set("mr", row.mr);
    kernel.Set("nr", row.nr);
    kernel.Set("selected", std::string(row.name) == selected);
    kernels.Set(kernels.Length(), kernel);
  }

  static Napi::Value wrap(Napi::Env env, Tables) {
    const auto kernels = Napi::Array::New(env);
    for (const cpu::ProductKernel& row : cpu::product_kernels()) {
      append(kernels, row, row.operand == cpu::Operand::bits ? "bits" : "bytes",
             cpu::selected_product(row.operand).name);
    }
    for (const cpu::FloatKernel& row : cpu::float_kernels()) {
      append(kernels, row, "float", cpu::selected_float().name);
    }
    const auto limits = Napi::Array::New(env);
    for (const cpu::Limit& row : cpu::limits()) {
      const auto limit = Napi::Object::New(env);
      limit.Set("name", row.name);
      limit.Set("isa", name(row.isa));
      limit.Set("macs", static_cast<double>(row.macs));
      limits.Set(limits.Length(), limit);
    }
    const auto object = Napi::Object::New(env);
    object.Set("kernels", kernels);
    object.Set("limits", limits);
    return object;
  }
};

void add_bench(Napi::Object exports) {
  add<bench_tables>(exports, "benchTables");
  add<bench_limit>(exports, "benchLimit");
  add<bench_kernel>(exports, "benchKernel");
  add<bench_binary_layer>(exports, "benchBinaryLayer");
  add<bench_cuda_layer>(exports, "benchCudaLayer");
  add<bench_onednn_layer>(exports, "benchOneDnnLayer");
}

}  // namespace hardbit::node
