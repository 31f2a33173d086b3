#include <memory>

#include "node/binding.h"
#include "ops/check.h"
#include "runtime/cuda_build.h"
#if HARDBIT_CUDA
#include "cuda/recording.h"
#endif

namespace hardbit::node {

#if HARDBIT_CUDA

namespace {

/// Of this JavaScript thread: operators are recorded for the thread that calls them.
thread_local std::unique_ptr<cuda::Recording> recording;

void begin_recording() { recording = std::make_unique<cuda::Recording>(); }

/// Forgets what was recorded.
void abandon_recording() { recording.reset(); }

using Recorded = std::shared_ptr<cuda::RecordedGraph>;

Recorded finish_recording() {
  if (!recording) {
    throw Error("ERR_HARDBIT_ARGUMENT",
                "finishRecording: nothing is being recorded; begin a recording first.");
  }
  const std::unique_ptr<cuda::Recording> ended = std::move(recording);
  return std::make_shared<cuda::RecordedGraph>(ended->finish());
}

}  // namespace

/// { run(steps, rateFactor), dispose() }
template <>
struct ToJs<Recorded> {
  static Napi::Value wrap(Napi::Env env, Recorded graph) {
    // Both functions share what dispose() empties.
    const auto held = std::make_shared<Recorded>(std::move(graph));
    const auto object = Napi::Object::New(env);
    object.Set("run", Napi::Function::New(env, [held](const Napi::CallbackInfo& info) {
                 guarded(info.Env(), [&] {
                   if (!*held) throw Error("ERR_HARDBIT_DISPOSED", "run: the recording is disposed.");
                   const Arguments arguments(info, "run");
                   const cuda::Run run{.steps = FromJs<std::int64_t>::read(arguments, 0),
                                       .rate_factor = FromJs<double>::read(arguments, 1)};
                   ops::check::not_negative("run", "rateFactor", run.rate_factor);
                   (*held)->run(run);
                 });
               }));
    object.Set("dispose", Napi::Function::New(env, [held](const Napi::CallbackInfo&) { held->reset(); }));
    return object;
  }
};

#else

namespace {

[[noreturn]] void no_cuda() {
  throw Error("ERR_HARDBIT_NO_CUDA", "This build of hardbit has no CUDA support; use the cpu device.");
}
void begin_recording() { no_cuda(); }
void abandon_recording() { no_cuda(); }
void finish_recording() { no_cuda(); }

}  // namespace

#endif

void add_recording(Napi::Object exports) {
  add<begin_recording>(exports, "beginRecording");
  add<abandon_recording>(exports, "abandonRecording");
  add<finish_recording>(exports, "finishRecording");
}

}  // namespace hardbit::node
