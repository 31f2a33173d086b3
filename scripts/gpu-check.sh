#!/usr/bin/env bash
# Everything that needs a GPU, in one go: what the chip can do, the build for it, every operator's tests on it, the
# sanitizer of its memory and shared memory, the quick MNIST study on both devices, and the benchmarks.
#
#   OUT=folder bash scripts/gpu-check.sh [probe] [build] [tests] [sanitizer] [study] [bench]     default: all
#
# Writes OUT/gpu-check.json (which steps passed, in how many seconds, on which GPU), OUT/gpu-probe.json,
# OUT/tests.xml, OUT/sanitizer.log, OUT/study.json and OUT/gpu-bench.json. Needs nvcc, CMake 3.25, a driver and the built dist/
# (npm run build:ts). Node is taken from NODE, else from PATH, PyTorch from PYTHON; without oneDNN the CPU's float products are plain loops. GoogleTest is the installed one,
# or HARDBIT_GTEST_SOURCE's. Ends with a status other than 0 where a step failed, after all of them ran.
set -uo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-build/gpu-check}
NODE=${NODE:-node}
steps=${*:-probe build tests sanitizer study bench}
folder=build/gpu
mkdir -p "$OUT" "$folder"

if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L >/dev/null 2>&1; then
  echo "gpu-check: this machine shows no NVIDIA GPU (nvidia-smi -L fails)." >&2
  exit 2
fi
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1)
architecture=${capability/./}
# Hopper's own instructions are a target of their own.
[ "$architecture" = 90 ] && architecture=90a
echo "gpu-check: $gpu, compute capability $capability, driver $driver"

results=()
failed=0
step() {
  local name=$1
  shift
  case " $steps " in *" $name "*) ;; *) return 0 ;; esac
  echo "=== $name"
  local begin=$SECONDS status=0
  "$@" || status=$?
  [ "$status" = 0 ] || failed=1
  results+=("{ \"step\": \"$name\", \"passed\": $([ "$status" = 0 ] && echo true || echo false), \"seconds\": $((SECONDS - begin)) }")
  echo "=== $name: $([ "$status" = 0 ] && echo ok || echo "FAILED ($status)"), $((SECONDS - begin)) s"
}

probe() {
  nvcc -O3 -std=c++17 -gencode "arch=compute_$architecture,code=sm_$architecture" -o "$folder/gpu-probe" scripts/gpu-probe.cu &&
    "$folder/gpu-probe" >"$OUT/gpu-probe.json"
}

build() {
  local onednn=OFF
  echo '#include <oneapi/dnnl/dnnl.hpp>' | c++ -E -x c++ - >/dev/null 2>&1 && onednn=ON
  cmake -S . -B "$folder" -DCMAKE_BUILD_TYPE=Release -DHARDBIT_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$architecture-real" \
    -DHARDBIT_TESTS=ON -DHARDBIT_ONEDNN=$onednn -DHARDBIT_GTEST_SOURCE="${HARDBIT_GTEST_SOURCE:-}" >"$OUT/cmake.log" 2>&1 &&
    cmake --build "$folder" --parallel "$(nproc)" --target hardbit hardbit_packed hardbit_tests >"$OUT/build.log" 2>&1 ||
    { tail -n 30 "$OUT/cmake.log" "$OUT/build.log"; return 1; }
}

# What runs on the CPU alone is tested elsewhere.
cpu_only='PackedPool*:PackedEngine*:PackedReader*:PackedPrediction*:Sha256*:*Reader*:Allocator*:PlanCache*:ProductTable*:KernelTable*'
cpu_only+=':Limits*:Rows/*:FloatProduct*:CpuFeatures*:Threads*:OperandChoice*:ByteGradient*:ByteWeightsCache*:GradientKernels*:Fold*'

tests() {
  # Managed memory: tests read results where they lie.
  HARDBIT_TEST_DEVICE=cuda HARDBIT_CUDA_MANAGED=1 "$folder/hardbit_tests" --gtest_brief=1 \
    --gtest_filter="*-$cpu_only" --gtest_output="xml:$OUT/tests.xml"
}

sanitizer() {
  local tool status=0
  for tool in memcheck racecheck; do
    HARDBIT_TEST_DEVICE=cuda HARDBIT_CUDA_MANAGED=1 timeout 150 compute-sanitizer --tool $tool --error-exitcode 9 \
      "$folder/hardbit_tests" --gtest_brief=1 \
      --gtest_filter='CudaProduct*:CudaDeployed*:BinaryGradient*:Conv2d*:Dense*:BatchNorm*:SignForward*:Argmax*:SoftmaxCrossEntropy*:AttackStepL2*:Rows.*' \
      >>"$OUT/sanitizer.log" 2>&1 || status=$?
    echo "$tool: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$OUT/sanitizer.log" | tail -n 1)"
  done
  return $status
}

export HARDBIT_ADDON=$PWD/$folder/hardbit.node HARDBIT_PACKED_ADDON=$PWD/$folder/hardbit_packed.node

study() {
  "$NODE" scripts/studies/devices.mjs --out "$OUT/study.json"
}

bench() {
  "$NODE" scripts/gpu-bench.mjs --out "$OUT/gpu-bench.json" --python "${PYTHON:-python3}"
}

step probe probe
step build build
step tests tests
step sanitizer sanitizer
step study study
step bench bench

{
  echo "{ \"gpu\": \"$gpu\", \"computeCapability\": \"$capability\", \"driver\": \"$driver\","
  echo "  \"nvcc\": \"$(nvcc --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')\", \"date\": \"$(date -u +%FT%TZ)\","
  echo "  \"steps\": ["
  for i in "${!results[@]}"; do
    echo "    ${results[$i]}$([ $((i + 1)) -lt ${#results[@]} ] && echo ,)"
  done
  echo " ] }"
} >"$OUT/gpu-check.json"
cat "$OUT/gpu-check.json"
exit $failed
