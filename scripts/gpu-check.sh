#!/usr/bin/env bash
# Everything that needs a GPU, in one go: what the chip can do, the build for it, every operator's tests on it, those of
# TypeScript, the sanitizer of its memory and shared memory, the quick MNIST study on both devices, and the benchmarks.
#
#   OUT=folder bash scripts/gpu-check.sh [probe] [build] [tests] [mocha] [sanitizer] [study] [bench]     default: all
#
# Writes OUT/gpu-check.json (which steps passed, in how many seconds, how many tests, on which GPU), OUT/gpu-probe.json,
# OUT/tests-*.log, OUT/mocha.log, OUT/memcheck-*.log, OUT/racecheck-*.log, OUT/study.json and OUT/gpu-bench.json. Needs nvcc, CMake
# 3.25, a driver and the built dist/ (npm run build:ts); HARDBIT_GPU_PREBUILT=folder with hardbit.node, hardbit_packed.node, hardbit_tests and
# gpu-probe takes the place of nvcc and CMake. Node is taken from NODE, else from PATH, PyTorch from PYTHON; without oneDNN the CPU's
# float products are plain loops. GoogleTest is the installed one, or HARDBIT_GTEST_SOURCE's. Ends with a status other than 0 where a step
# failed, after all of them ran.
set -uo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-build/gpu-check}
NODE=${NODE:-node}
steps=${*:-probe build tests mocha sanitizer study bench}
prebuilt=${HARDBIT_GPU_PREBUILT:-}
folder=$(realpath -m "${prebuilt:-build/gpu}")
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
# What a step has counted, for its entry in the JSON.
counts=
step() {
  local name=$1
  shift
  counts=
  case " $steps " in *" $name "*) ;; *) return 0 ;; esac
  echo "=== $name"
  local begin=$SECONDS status=0
  "$@" || status=$?
  [ "$status" = 0 ] || failed=1
  results+=("{ \"step\": \"$name\", \"passed\": $([ "$status" = 0 ] && echo true || echo false), \"seconds\": $((SECONDS - begin))$counts }")
  echo "=== $name: $([ "$status" = 0 ] && echo ok || echo "FAILED ($status)"), $((SECONDS - begin)) s"
}

probe() {
  if [ -z "$prebuilt" ]; then
    nvcc -O3 -std=c++17 -gencode "arch=compute_$architecture,code=sm_$architecture" -o "$folder/gpu-probe" scripts/gpu-probe.cu || return
  fi
  "$folder/gpu-probe" >"$OUT/gpu-probe.json"
}

build() {
  if [ -n "$prebuilt" ]; then
    echo "taken as built: $folder"
    counts=', "prebuilt": true'
    return 0
  fi
  local onednn=OFF
  echo '#include <oneapi/dnnl/dnnl.hpp>' | c++ -E -x c++ - >/dev/null 2>&1 && onednn=ON
  cmake -S . -B "$folder" -DCMAKE_BUILD_TYPE=Release -DHARDBIT_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$architecture-real" \
    -DHARDBIT_TESTS=ON -DHARDBIT_ONEDNN=$onednn -DHARDBIT_GTEST_SOURCE="${HARDBIT_GTEST_SOURCE:-}" >"$OUT/cmake.log" 2>&1 &&
    cmake --build "$folder" --parallel "$(nproc)" --target hardbit hardbit_packed hardbit_tests >"$OUT/build.log" 2>&1 ||
    { tail -n 30 "$OUT/cmake.log" "$OUT/build.log"; return 1; }
}

source scripts/cuda-tests.sh

# Sums what GoogleTest says in these logs. A test that is neither through nor skipped has failed, also where a crash or the
# time limit kept it from running.
count_tests() {
  local planned passed skipped
  planned=$(cat "$@" | sed -n 's/^\[==========\] Running \([0-9]*\) tests\? .*/\1/p' | awk '{ n += $1 } END { print n + 0 }')
  passed=$(cat "$@" | grep -c '^\[       OK \]')
  skipped=$(cat "$@" | grep -c '^\[  SKIPPED \] .* ms)$')
  counts=", \"testsPassed\": $passed, \"testsFailed\": $((planned - passed - skipped)), \"testsSkipped\": $skipped"
  echo "$passed passed, $((planned - passed - skipped)) failed, $skipped skipped"
  [ "$passed" -gt 0 ] && [ "$planned" = $((passed + skipped)) ]
}

# Shards share the GPU; most of the time goes into what the CPU computes to compare with. In managed memory, where the host waits
# for every launch, only what needs it.
tests() {
  local shards i
  shards=$(nproc)
  [ "$shards" -le 8 ] || shards=8
  rm -f "$OUT"/tests-*.log
  for ((i = 0; i < shards; ++i)); do
    (
      export HARDBIT_TEST_DEVICE=cuda GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$i
      timeout 150 "$folder/hardbit_tests" --gtest_filter="*-$cpu_only:$in_place" >"$OUT/tests-$i.log" 2>&1
      HARDBIT_CUDA_MANAGED=1 timeout 150 "$folder/hardbit_tests" --gtest_filter="$in_place" >"$OUT/tests-managed-$i.log" 2>&1
    ) &
  done
  wait
  grep -h -A 12 ': Failure$' "$OUT"/tests-*.log | head -n 200
  grep -hE '^\[  (FAILED|SKIPPED)  ?\] .* ms\)$' "$OUT"/tests-*.log
  count_tests "$OUT"/tests-*.log
}

mocha() {
  if [ ! -e node_modules/mocha ]; then
    echo 'node_modules/mocha is missing here: not run.'
    counts=', "skipped": true'
    return 0
  fi
  local status=0
  timeout 400 "$NODE" node_modules/mocha/bin/mocha.js --timeout 120000 'test/cuda/*.test.ts' >"$OUT/mocha.log" 2>&1 || status=$?
  counts=", \"testsPassed\": $(sed -n 's/^ *\([0-9]*\) passing.*/\1/p' "$OUT/mocha.log" | grep . || echo 0)"
  counts+=", \"testsFailed\": $(sed -n 's/^ *\([0-9]*\) failing.*/\1/p' "$OUT/mocha.log" | grep . || echo 0)"
  sed -n '/^ *[0-9]* passing/,$p' "$OUT/mocha.log" | head -n 100
  return $status
}

sanitize() {
  HARDBIT_TEST_DEVICE=cuda HARDBIT_CUDA_LIBRARIES=off GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX=$2 timeout 75 \
    compute-sanitizer --tool "$1" --error-exitcode 9 "$folder/hardbit_tests" --gtest_filter="$small_shapes" >"$OUT/$1-$2.log" 2>&1
}

sanitizer() {
  local tool job errors all='' status=0 jobs=()
  if ! command -v compute-sanitizer >/dev/null; then
    echo 'compute-sanitizer is missing here: not run.'
    counts=', "skipped": true'
    return 0
  fi
  for tool in memcheck racecheck; do
    sanitize $tool 0 &
    jobs+=($!)
    sanitize $tool 1 &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || status=1; done
  for tool in memcheck racecheck; do
    # A shard without a summary did not end.
    errors=$(cat "$OUT/$tool"-?.log | sed -nE 's/.*(ERROR SUMMARY|RACECHECK SUMMARY): ([0-9]+) .*/\2/p' |
      awk '{ n += $1; ended += 1 } END { print ended == 2 ? n : "null" }')
    echo -n "$tool: $errors errors, "
    count_tests "$OUT/$tool"-?.log || status=1
    all+=", \"$tool\": { \"errors\": $errors$counts }"
  done
  counts=$all
  return $status
}

export HARDBIT_ADDON=$folder/hardbit.node HARDBIT_PACKED_ADDON=$folder/hardbit_packed.node

study() {
  "$NODE" scripts/studies/devices.mjs --out "$OUT/study.json"
}

bench() {
  "$NODE" scripts/gpu-bench.mjs --out "$OUT/gpu-bench.json" --python "${PYTHON:-python3}"
}

step probe probe
step build build
step tests tests
step mocha mocha
step sanitizer sanitizer
step study study
step bench bench

{
  echo "{ \"gpu\": \"$gpu\", \"computeCapability\": \"$capability\", \"driver\": \"$driver\","
  echo "  \"nvcc\": \"$(nvcc --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')\", \"date\": \"$(date -u +%FT%TZ)\","
  echo "  \"steps\": ["
  for i in "${!results[@]}"; do
    echo "    ${results[$i]}$([ $((i + 1)) -lt ${#results[@]} ] && echo ,)"
  done
  echo " ] }"
} >"$OUT/gpu-check.json"
cat "$OUT/gpu-check.json"
exit $failed
