#!/bin/bash
# All tests, in stages; ends with "N passed, N failed, N skipped". Logs: $CACHE/log/test
# usage: scripts/test.sh [STAGE]...      (default: all)
. "$(dirname "$0")/lib.sh"

logs=$CACHE/log/test
mkdir -p "$logs"
cd "$TOP"
only=("$@")
passed=0 failed=0 skipped=0 table=()
shopt -s extglob

# stage NAME SECONDS COMMAND...: the command prints TAP; what prints none counts as one test.
stage() {
	local name=$1 limit=$2 log=$logs/$1.log start=$SECONDS ok not skip plan rc took verdict
	shift 2
	((${#only[@]} == 0)) || [[ " ${only[*]} " == *" $name "* ]] || return 0
	printf '\n=== %s (at most %d min)\n' "$name" $((limit / 60))
	set +e
	timeout --kill-after=20 "$limit" "$@" </dev/null 2>&1 | tee "$log"
	rc=${PIPESTATUS[0]}
	set -e
	ok=$(grep -c '^ok ' "$log" || true)
	not=$(grep -c '^not ok ' "$log" || true)
	skip=$(grep -ci '^ok .*# *skip' "$log" || true)
	plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$log" | tail -n 1)
	if ((ok + not == 0 && rc == 0)); then
		ok=1
	elif ((rc == 124 || rc == 137)); then
		echo "not ok - $name: timed out after $limit seconds"
		not=$((not + 1))
	elif ((rc != 0 && not == 0)); then
		echo "not ok - $name: exit status $rc"
		not=1
	elif ((rc == 0 && not == 0)) && [[ -n $plan ]] && ((ok != plan)); then
		echo "not ok - $name: $plan tests planned, $ok run"
		not=1
	fi
	took=$((SECONDS - start))
	verdict=passed
	((not == 0)) || verdict=FAILED
	passed=$((passed + ok - skip)) failed=$((failed + not)) skipped=$((skipped + skip))
	table+=("$(printf '%-12s %-7s %4d passed %4d failed %4d skipped %5d s' "$name" $verdict $((ok - skip)) "$not" "$skip" $took)")
	echo "=== ${table[-1]}"
}

s=$TOP/scripts
stage packages   900 "$s/deps.sh"
stage repository 900 "$s/check.sh"
stage apply      300 "$s/test-apply.sh"
stage model      600 "$s/check-model.sh"
stage build     3000 "$s/build-all.sh"
stage patches   2700 "$s/check-builds.sh"
stage qemu       600 "$s/test-qemu.sh"
stage guests    2700 "$TOP/vm/test" --out "$logs/guests"
stage run       1500 "$TOP/vm/run" --out "$logs/run"

printf '\n'
printf '%s\n' "${table[@]}"
echo "logs: $logs; $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0 && passed > 0))
