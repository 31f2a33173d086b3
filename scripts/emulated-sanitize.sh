#!/usr/bin/env bash
# Address and undefined-behaviour sanitizers over the CUDA back end's kernels, which the CPU runs: each block's shared memory is
# its own allocation, exactly as large as asked for, and so is device memory. Runs the C++ tests of a filter:
#
#   bash scripts/emulated-sanitize.sh ['ByteGradient.*']     default: small shapes that reach every kernel
set -euo pipefail
cd "$(dirname "$0")/.."

node scripts/build.mjs --emulate --sanitize
source scripts/cuda-tests.sh

export UBSAN_OPTIONS=print_stacktrace=1
# Allocations too large for the machine must come back as null, as they do without the sanitizer.
export ASAN_OPTIONS=allocator_may_return_null=1
HARDBIT_TEST_DEVICE=cuda build/emulate-sanitize/Release/hardbit_tests --gtest_brief=1 --gtest_filter="${1:-$small_shapes}"
