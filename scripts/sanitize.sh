#!/usr/bin/env bash
# Address and undefined-behaviour sanitizers over the C++ tests, and over the addon under Node.
set -euo pipefail
cd "$(dirname "$0")/.."

node scripts/build.mjs --sanitize

export UBSAN_OPTIONS=print_stacktrace=1
# Allocations too large for the machine must come back as null, as they do without the sanitizer.
export ASAN_OPTIONS=allocator_may_return_null=1

source scripts/side-by-side.sh
halves build/sanitize/Release/hardbit_tests --gtest_brief=1

# Node is not built for the sanitizer and keeps memory until it exits, so leaks are not looked for here: the tests
# of tensors and scopes count them. What takes long and touches no memory of ours is left to the other run: large networks, the
# installer, messages about files that do not load, and finite differences of all weight quantizers.
typescript() {
  local asan
  asan=$("${CXX:-c++}" -print-file-name=libasan.so)
  ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 LD_PRELOAD=$(realpath "$asan") \
    HARDBIT_ADDON=$PWD/build/sanitize/Release/hardbit.node \
    HARDBIT_PACKED_ADDON=$PWD/build/sanitize/Release/hardbit_packed.node \
    node node_modules/mocha/bin/mocha.js --timeout 240000 --invert --grep 'vgg-small|installation whole|does not load|has not been built|is the derivative where' \
    test/native.test.ts 'test/tensor/*.test.ts' 'test/ops/*.test.ts' 'test/nn/*.test.ts' 'test/packed/*.test.ts' test/data/idx.test.ts test/data/npy.test.ts
}
side_by_side half_1 half_2 typescript
