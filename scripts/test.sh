#!/bin/bash
# All tests, in stages; ends with "N passed, N failed, N skipped". Logs: a directory for each run in
# $CACHE/log/test, the newest is "last" there; a few are kept.
# usage: scripts/test.sh [--full] [STAGE]...      (default: all stages)
#   --full   each patch is built, all boots with all their hosts, all of the other kernel: a day
. "$(dirname "$0")/lib.sh"

runs=$CACHE/log/test
mkdir -p "$runs" "$CACHE/locks"
logs=$(mktemp -d "$runs/$(date +%Y%m%d-%H%M%S)-XXXXXX")
exec {in_use}<"$logs"		# nobody removes it while this runs
flock "$in_use"
ln -s "${logs##*/}" "$logs.link"
mv -T "$logs.link" "$runs/last"
find "$runs" -mindepth 1 -maxdepth 1 -type d -name '*-*-*' | sort -r | tail -n +9 | while read -r old; do
	flock -n -o "$old" rm -rf -- "$old" || true
done
cd "$TOP"
full=()
if [[ ${1-} == --full ]]; then
	full=("$1")
	shift
fi
only=("$@")
passed=0 failed=0 skipped=0 table=()
shopt -s extglob

# alone NAME SECONDS COMMAND...: a stage that takes all of the machine. Its limit is for one that does nothing
# else, so two runs take turns, and the wait does not count.
alone() {
	local processors
	chosen "$1" || return 0
	exec {processors}>"$CACHE/locks/processors"
	flock -n "$processors" || { say "$1: waiting for another run's tests"; flock "$processors"; }
	stage "$@" {processors}>&-
	exec {processors}>&-
}
chosen() { ((${#only[@]} == 0)) || [[ " ${only[*]} " == *" $1 "* ]]; }

# stage NAME SECONDS COMMAND...: the command prints TAP; what prints none counts as one test.
stage() {
	local name=$1 limit=$2 log=$logs/$1.log start=$SECONDS ok not skip plan rc took verdict
	shift 2
	chosen "$name" || return 0
	printf '\n=== %s (at most %d min)\n' "$name" $((limit / 60))
	set +e
	timeout --kill-after=20 "$limit" "$@" </dev/null 2>&1 | tee "$log"
	rc=${PIPESTATUS[0]}
	set -e
	ok=$(grep -c '^ok ' "$log" || true)
	not=$(grep -c '^not ok ' "$log" || true)
	skip=$(grep -ci '^ok .*# *skip' "$log" || true)
	plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$log" | tail -n 1)
	if ((ok + not == 0 && rc == 0)) && [[ -z $plan ]]; then
		ok=1
	elif ((rc == 124 || rc == 137)); then
		echo "not ok - $name: timed out after $limit seconds"
		not=$((not + 1))
	elif ((rc != 0 && not == 0)); then
		echo "not ok - $name: exit status $rc"
		not=1
	elif ((rc == 0 && not == 0)) && [[ -n $plan ]] && ((ok != plan || plan == 0)); then
		echo "not ok - $name: $plan tests planned, $ok run"
		not=1
	fi
	took=$((SECONDS - start))
	verdict=passed
	((not == 0)) || verdict=FAILED
	passed=$((passed + ok - skip)) failed=$((failed + not)) skipped=$((skipped + skip))
	table+=("$(printf '%-13s %-7s %4d passed %4d failed %4d skipped %5d s' "$name" $verdict $((ok - skip)) "$not" "$skip" $took)")
	echo "=== ${table[-1]}"
}

# early NAME COMMAND...: begin it now, beside the stages that follow. Its own one has "late NAME" for its command.
early() {
	local name=$1
	shift
	chosen "$name" || return 0
	{
		set +e
		"$@" </dev/null >"$logs/$name.early" 2>&1
		echo $? >"$logs/$name.status"
	} &
}
late() {
	while [[ ! -s $logs/$1.status ]]; do sleep 0.2; done
	cat "$logs/$1.early"
	return "$(<"$logs/$1.status")"
}
export -f late
export logs

s=$TOP/scripts
long=$((${#full[@]} ? 40 : 1))		# limits are for what runs by default
parts=(--parts)
((!${#full[@]})) || parts=()
stage packages   900 "$s/deps.sh"
stage together   120 "$s/test-together.sh"
# each takes little more than one processor, as some of those before its stage do
early repository     "$s/check.sh"
early apply          "$s/test-apply.sh"
alone model      600 "$s/check-model.sh"
alone build     3000 "$s/build-all.sh"
alone patches   $((2700 * long)) "$s/check-builds.sh" "${parts[@]}"
stage qemu       600 "$s/test-qemu.sh"
stage apply      300 bash -c 'late apply'
stage repository 900 bash -c 'late repository'
alone guests    $((2700 * long)) "$TOP/vm/test" "${full[@]}" --out "$logs/guests"
alone run       1500 env -u ARCH "$TOP/vm/run" --only --out "$logs/run"
if ((${#full[@]})); then stage docs 3000 "$s/check-docs.sh"; fi
# The other kernel: builds, boots, and a part of the tests. BASE= in the environment: all of the above with that one.
if [[ -z ${BASE-} ]]; then
	export BASE=${BASES[1]}
	if ((${#full[@]})); then
		alone other-patches $((1800 * long)) "$s/check-builds.sh"
		alone other $((2700 * long)) "$TOP/vm/test" --full --out "$logs/other"
	else
		alone other 3000 "$TOP/vm/test" --out "$logs/other" stock off contexts swap-4cpus
	fi
fi

printf '\n'
printf '%s\n' "${table[@]}"
echo "logs: $logs; $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0 && passed > 0))
