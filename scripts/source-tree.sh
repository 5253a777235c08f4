#!/bin/bash
# Print a directory with the base kernel and the series, for experiments. It is set right again each time,
# and there is one only: who changes it holds the lock "experiments" while he does (vm/mutants).
. "$(dirname "$0")/lib.sh"

pristine=$("$TOP/scripts/fetch-linux.sh")
mapfile -t patches < <(series linux)
sync_tree "$CACHE/work/experiments" "$pristine" "${patches[@]}"
echo "$CACHE/work/experiments"
