#!/bin/bash
# Print a directory with the base kernel and the series, for experiments. It is set right again each time,
# and there is one only: who changes it holds the lock "experiments" while he does (vm/mutants).
. "$(dirname "$0")/lib.sh"

base_tree
mapfile -t patches < <(series linux)
sync_tree "$CACHE/work/experiments-$BASE" "$pristine" "${patches[@]}"
echo "$CACHE/work/experiments-$BASE"
