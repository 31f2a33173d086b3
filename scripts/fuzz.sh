#!/usr/bin/env bash
# Fuzzes the readers of untrusted files (native/readers, native/packed) with libFuzzer under address and undefined-behaviour
# sanitizers:
#
#   bash scripts/fuzz.sh [--runs N | --seconds S] [idx] [npy] [safetensors] [hbit]
#
# Without a limit each reader gets a million inputs; without names all readers run, one a processor at a time. An input that a
# reader fails on is left in build/fuzz/, and what was reached stays in build/fuzz/corpus/ for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."

readers=(idx npy safetensors hbit)

fail() {
  echo "hardbit: $1 [$2]" >&2
  exit "${3:-2}"
}

limit=-runs=1000000
chosen=()
while [ $# -gt 0 ]; do
  case $1 in
    --runs | --seconds)
      [[ ${2:-} =~ ^[1-9][0-9]{0,8}$ ]] || fail "$1 needs a whole number of 1 or more, not '${2:-}'." ERR_HARDBIT_ARGUMENT
      [ "$1" = --runs ] && limit=-runs=$2 || limit=-max_total_time=$2
      shift 2
      ;;
    -*) fail "There is no option $1; known: --runs N, --seconds S." ERR_HARDBIT_ARGUMENT ;;
    *)
      [[ " ${readers[*]} " == *" $1 "* ]] || fail "There is no reader '$1'; known: ${readers[*]}." ERR_HARDBIT_UNKNOWN_NAME
      chosen+=("$1")
      shift
      ;;
  esac
done
[ ${#chosen[@]} -gt 0 ] || chosen=("${readers[@]}")

# Debian's numbered compilers stand beside, or in place of, the plain name.
clang=''
for name in clang++ $(compgen -c clang++- | grep -E '^clang\+\+-[0-9]+$' | sort -t- -k2 -rnu); do
  if command -v "$name" >/dev/null; then
    clang=$name
    break
  fi
done
packages='Debian 12 and 13: apt-get install clang libclang-rt-dev'
[ -n "$clang" ] || fail "clang is missing, without which there is no fuzzing; install it with its runtime ($packages)." ERR_HARDBIT_UNSUPPORTED 1

folder=build/fuzz
mkdir -p "$folder"
if ! echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
  "$clang" -x c++ - -fsanitize=fuzzer,address -o "$folder/probe" 2>"$folder/probe.log"; then
  fail "$clang has no fuzzer or sanitizer runtime; install it ($packages)." ERR_HARDBIT_UNSUPPORTED 1
fi

cmake -S . -B "$folder/cmake" -DHARDBIT_FUZZ=ON -DCMAKE_CXX_COMPILER="$clang" >"$folder/build.log" 2>&1 &&
  cmake --build "$folder/cmake" --parallel "$(nproc)" >>"$folder/build.log" 2>&1 || {
  cat "$folder/build.log" >&2
  fail "The fuzzers do not build; the reason stands above." ERR_HARDBIT_NOT_BUILT 1
}
node test/fuzz/make-seeds.mjs "$folder/seeds"

export UBSAN_OPTIONS=print_stacktrace=1
# The plain C++ kernels are the instrumented ones.
export HARDBIT_ISA=generic
# Runs one reader's fuzzer, and leaves in $folder/READER.result what there is to say.
fuzz() {
  local reader=$1 log=$folder/$1.log options begin child status=0 seconds executions reached input
  mkdir -p "$folder/corpus/$reader"
  options=(-print_final_stats=1 -timeout=10 -max_len=4096 -malloc_limit_mb=64 "-artifact_prefix=$folder/$reader-" "$limit")
  [ -f "test/fuzz/$reader.dict" ] && options+=("-dict=test/fuzz/$reader.dict")
  begin=$EPOCHREALTIME
  "$folder/cmake/${reader}_fuzz" "${options[@]}" "$folder/corpus/$reader" "$folder/seeds/$reader" >"$log" 2>&1 &
  child=$!
  trap 'kill "$child" 2>/dev/null; exit 130' TERM
  wait "$child" || status=$?
  seconds=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  reached=$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -n 1 | awk '{ print $2 " edges, " $4 " features" }') || true
  if [ $status = 0 ] && [ -n "$executions" ]; then
    echo "$reader: $executions executions, $reached, $seconds s" >"$folder/$reader.result"
    return 0
  fi
  tail -n 60 "$log" >&2
  input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
  echo "$reader: FAILED after $seconds s; ${input:+the input is in $input, and }the log in $log" >"$folder/$reader.result"
  return 1
}

jobs=()
trap 'kill "${jobs[@]}" 2>/dev/null; exit 130' INT TERM
for reader in "${chosen[@]}"; do
  rm -f "$folder/$reader.result"
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
  fuzz "$reader" &
  jobs+=($!)
done
passed=0 failed=0
for i in "${!jobs[@]}"; do
  if wait "${jobs[$i]}"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  cat "$folder/${chosen[$i]}.result"
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
