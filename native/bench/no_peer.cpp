#include "bench/job.h"
#include "runtime/error.h"

// In a build without oneDNN.

namespace hardbit::bench {

std::unique_ptr<Job> onednn_job(const Layer&, PeerType) {
  throw Error("ERR_HARDBIT_UNSUPPORTED",
              "This build of hardbit has no oneDNN to compare with; build it with HARDBIT_ONEDNN=ON.");
}

}  // namespace hardbit::bench
