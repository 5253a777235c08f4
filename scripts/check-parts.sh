#!/bin/bash
# Each part of the series on top of those before it, without those after it: it builds, boots, and passes the tests that it
# brings. TAP. Six kernels and as many runs of tests: an hour.
# usage: scripts/check-parts.sh [--out DIR] [PART]...
. "$(dirname "$0")/lib.sh"

# The boots of vm/test for what each part brings.
boots=([1]="free" [2]="policy io 4cpus" [3]="account contexts oops" [4]="fs-xfs formats io fs-images" [5]="swap-4cpus swap-1cpu"
	[6]="shared shared-simulated shared-kunit shared-leave shared-crash shared-hotplug")

if [[ ${1-} == --out ]]; then
	out=$2
	shift 2
else
	out=$(mktemp -d)
fi
base_tree
failed=0 PARTS=
while read -r part number title; do
	PARTS+="${PARTS:+ }$part"
	(($# == 0)) || [[ " $* " == *" $part "* ]] || continue
	say "part $part, $title: $number patches"
	# shellcheck disable=SC2086	# names, not text
	PARTS=$PARTS "$TOP/vm/test" --out "$out/$part" ${boots[part]} </dev/null || failed=1
done <"$TOP/patches/linux-$BASE/parts"
((!failed))
