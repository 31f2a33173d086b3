# Test programs beside each other, for machines of several processors. Sourced by the scripts that run tests.

# Together they have more threads than there are processors: one that waits must not keep a processor busy.
export OMP_WAIT_POLICY=passive

# Runs its arguments, functions or commands of one word, side by side; prints what each has said once it has ended, one after the
# other; fails where one fails.
side_by_side() {
  local folder job name status=0 i=0 jobs=()
  folder=$(mktemp -d)
  for name in "$@"; do
    "$name" >"$folder/$i" 2>&1 &
    jobs+=($!)
    i=$((i + 1))
  done
  trap 'kill "${jobs[@]}" 2>/dev/null; exit 130' INT TERM
  i=0
  for job in "${jobs[@]}"; do
    wait "$job" || status=1
    cat "$folder/$i"
    i=$((i + 1))
  done
  trap - INT TERM
  rm -r "$folder"
  return $status
}

# A GoogleTest program in two halves, as the functions half_1 and half_2: halves program [argument …]
halves() {
  half_program=("$@")
}
half_1() { GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX=0 "${half_program[@]}"; }
half_2() { GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX=1 "${half_program[@]}"; }
