#!/bin/bash
# Print a directory with the base kernel and the series, for experiments. It is set right again each time.
. "$(dirname "$0")/lib.sh"

pristine=$("$TOP/scripts/fetch-linux.sh")
mapfile -t patches < <(series linux)
with_lock experiments sync_tree "$CACHE/work/experiments" "$pristine" "${patches[@]}"
echo "$CACHE/work/experiments"
