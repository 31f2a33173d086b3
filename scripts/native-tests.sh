#!/usr/bin/env bash
# The C++ tests, on the CPU.
set -euo pipefail
cd "$(dirname "$0")/.."

node scripts/build.mjs --tests

source scripts/side-by-side.sh
halves build/cmake/Release/hardbit_tests --gtest_brief=1
side_by_side half_1 half_2
