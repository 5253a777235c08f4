#!/bin/bash
# Check the model of the protocol (model/check.sh), TAP. It is exhaustive, so what has passed is remembered by
# content hash, as check-builds.sh does.
. "$(dirname "$0")/lib.sh"
need spin gcc

key=$({ hash_files "$TOP"/model/{*.pml,check.sh}; spin -V; gcc --version; } | hash_stdin)
verdict=$CACHE/model/$key
mkdir -p "$CACHE/model"

check() {
	if [[ ! -e $verdict ]]; then
		"$TOP/model/check.sh" | tee "$verdict.new"
		mv "$verdict.new" "$verdict"
	else
		cat "$verdict"
		echo "# remembered: this model has passed before"
	fi
}
with_lock "model-$key" check
