#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Check the models of the page hinting protocol, exhaustively: the protocol as
# it is, in several combinations of processes; that what should happen in it
# does happen; and mutants of it, each of which must do damage. See README.md.
#
#   check.sh [--deep]	TAP on stdout; --deep adds large runs
#   check.sh --trace NAME	the shortest way to what a mutant or probe does

set -euo pipefail

here=$(realpath "$(dirname "$0")")

# What is expected, name, definitions for the model, what it is
#   holds	no error in any state
#   caught	the mutant violates an assertion, or gets stuck
#   survives	the mutant does no damage: it removes a second belt
#   reached, unreached	whether REACHED() in the model can be reached
table() {
	cat <<'END'
holds core -DSTRICT -DTAKERS=2 -DWRITEBACK | two takers, clock, writeback
holds free -DSTRICT -DTAKERS=2 -DRECLAIM -DOWNER | and reclaim, truncate, migration, the next owner
holds all -DSTRICT -DTAKERS=1 -DWRITEBACK -DRECLAIM -DOWNER | one taker and everybody
holds switch -DSTRICT -DTAKERS=1 -DWRITEBACK -DRECLAIM -DSWITCH | switching off and on
holds clocks -DSTRICT -DTAKERS=1 -DCLOCKS=2 -DRECLAIM -DSWITCH | two clocks at once
holds blocks -DSTRICT -DTAKERS=1 -DWRITEBACK -DRECLAIM -DBLOCKS | two blocks per folio, partial repair
holds array -DSTRICT -DTAKERS=2 -DWRITEBACK -DARRAY | a host that takes, then poisons
holds content-bits -DSTRICT -DTAKERS=2 -DCONTENT_BITS | a host that only tells "zero"
reached repaired -DPROBE=1 -DWRITEBACK | a lost folio is read in again
reached busy -DPROBE=2 -DWRITEBACK | a taker makes the freeze fail
reached disarm-race -DPROBE=3 -DWRITEBACK | two takers disarm at once
reached late-loser -DPROBE=4 -DWRITEBACK | a taker waits for the hash lock in vain
reached dirtied -DPROBE=5 -DWRITEBACK | dirty is seen only while frozen
reached used-and-put -DPROBE=6 -DWRITEBACK | disarmed and put between "still armed?" and the freeze
reached recovered -DPROBE=7 -DWRITEBACK | a taker evicts a lost folio
reached partial -DPROBE=8 -DBLOCKS | one block of a lost folio is written
reached freed-volatile -DPROBE=9 -DTAKERS=1 -DRECLAIM | a volatile folio is freed
reached evicted -DPROBE=10 -DWRITEBACK | the clock evicts a discarded folio
unreached disarm-volatile -DPROBE=11 -DWRITEBACK | it becomes volatile below a taker that disarms
caught no-hook -DM_NO_HOOK | a taker without the hook
caught test-before-get -DM_TEST_BEFORE_GET | a taker tests the flag, then takes its reference
caught no-slot-recheck -DM_NO_SLOT_RECHECK -DTAKERS=1 -DRECLAIM -DOWNER | a lookup does not look at the slot again
caught clear-only -DM_CLEAR_ONLY | a taker clears the flags without telling the host
caught no-freeze -DM_NO_FREEZE | the count is tested and not frozen
caught no-folio-lock -DM_NO_FOLIO_LOCK -DTAKERS=1 -DWRITEBACK | made volatile without the folio lock
caught no-dirty-recheck -DM_NO_DIRTY_RECHECK -DWRITEBACK | dirty not tested while frozen
caught essa-outside -DM_ESSA_OUTSIDE | "set volatile" after the hash lock
caught flag-after-essa -DM_FLAG_AFTER_ESSA | flags set after "set volatile"
caught flag-after-unfreeze -DM_FLAG_AFTER_UNFREEZE | flags set after the unfreeze
caught beware-late -DM_BEWARE_AFTER_UNFREEZE -DM_NO_ARMED_RECHECK | PG_discard, unfreeze, PG_hinted
caught volatile-only -DM_VOLATILE_ONLY -DM_NO_ARMED_RECHECK | PG_discard alone, "it was armed"
caught flag-before-uptodate -DM_FLAG_BEFORE_UPTODATE | PG_hinted cleared before PG_uptodate
caught no-clear-uptodate -DM_NO_CLEAR_UPTODATE | PG_uptodate kept
caught no-retest-content -DM_NO_RETEST -DCONTENT_BITS | no second test under the hash lock, host tells "zero"
caught evict-no-recheck -DM_EVICT_NO_RECHECK -DWRITEBACK | evicted for what was seen without lock
caught arm-blind -DM_ARM_BLIND -DTAKERS=1 -DRECLAIM -DOWNER | armed by a plain bit operation
caught keep-buffers -DM_KEEP_BUFFERS -DTAKERS=1 -DWRITEBACK -DBLOCKS | made volatile with buffers attached
caught arm-keeps-lost -DM_ARM_KEEPS_LOST -DTAKERS=1 -DSTRICT | armed without clearing "lost": wrong count
caught no-retest-count -DM_NO_RETEST -DSTRICT | no second test under the hash lock: wrong count
caught free-no-stable -DM_FREE_NO_STABLE -DTAKERS=1 -DRECLAIM -DOWNER | freed as it is, flags cleared
caught unused-late -DM_UNUSED_LATE -DTAKERS=1 -DRECLAIM -DOWNER | "set unused" after insertion in the free list
caught key-first -DM_KEY_FIRST -DTAKERS=1 -DSWITCH | key off before the walk
caught walk-once -DM_WALK_ONCE_FREE_TESTS_KEY -DTAKERS=1 -DRECLAIM -DOWNER -DSWITCH | frozen folios skipped, and free tests the key
caught maker-not-stopped -DM_MAKER_NOT_STOPPED -DTAKERS=1 -DSWITCH | the clock goes on
caught maker-not-waited -DM_MAKER_NOT_WAITED -DTAKERS=1 -DSWITCH | the clock is still at it
caught maker-before-key -DM_ON_MAKER_FIRST -DTAKERS=1 -DSWITCH | on: the clock starts before the key
caught array-no-wait -DM_ARRAY_NOWAIT -DARRAY | "set stable" does not wait for the host to poison
survives no-retest -DM_NO_RETEST -DWRITEBACK | no second test, host tells "volatile and zero"
survives no-armed-recheck -DM_NO_ARMED_RECHECK -DWRITEBACK | "armed" not tested while frozen
survives disarm-blind -DM_DISARM_BLIND -DWRITEBACK | disarmed without compare-and-swap
survives two-steps-frozen -DM_TWO_STEPS_FROZEN -DWRITEBACK | PG_discard before PG_hinted, both while frozen
survives walk-skips-frozen -DM_WALK_ONCE -DTAKERS=1 -DRECLAIM -DOWNER -DSWITCH | frozen folios skipped, free tests the flag
survives free-tests-key -DM_FREE_TESTS_KEY -DTAKERS=1 -DRECLAIM -DOWNER -DSWITCH | free tests the key, frozen folios looked at again
survives settle-blind -DM_SETTLE_BLIND -DTAKERS=1 -DRECLAIM -DSWITCH | the walk disarms without compare-and-swap
END
	[ -z "$deep" ] || cat <<'END'
holds core-3 -DSTRICT -DTAKERS=3 -DWRITEBACK | three takers
holds all-2 -DSTRICT -DTAKERS=2 -DWRITEBACK -DRECLAIM -DOWNER | two takers and everybody
holds switch-2 -DSTRICT -DTAKERS=2 -DWRITEBACK -DRECLAIM -DSWITCH | and switching off and on
holds blocks-2 -DSTRICT -DTAKERS=2 -DWRITEBACK -DBLOCKS | two takers, two blocks
holds array-free -DSTRICT -DTAKERS=2 -DRECLAIM -DOWNER -DARRAY | array host, frames change hands
END
	shared_table | sed 's/ / shared-/; s/|/-DSHARED |/'
}

# The same for page_hinting_shared.pml: -DSHARED picks that file.
shared_table() {
	cat <<'END'
holds two -DSTRICT -DTAKERS=2 | two takers
holds orders -DSTRICT -DFREER -DOWNER -DORDERS | freed, split, folios of one page, the next owner
holds switch -DSTRICT -DSWITCH -DRESET -DFREER | switching off and on, reset, resume
holds liar -DLIAR | a guest that writes what it likes
reached dropped-in-probe -DPROBE=1 | a page is dropped between the two looks of the probe
reached drop-fails -DPROBE=2 | the host's kernel finds a page dirty, and keeps it
reached take-fails -DPROBE=3 | the VMM comes too late to take
reached unlazy -DPROBE=4 | the VMM makes a lazy folio volatile again
reached harvest -DPROBE=5 | the VMM finds a dropped page
reached late-loser -DPROBE=6 -DTAKERS=2 | a taker waits for the hash lock in vain
reached busy -DPROBE=7 | a taker waits for the VMM
reached free-busy -DPROBE=9 -DFREER | who frees waits for the VMM
reached in-vain -DPROBE=10 | taken again when the doorbell has returned
reached other-page-kept -DPROBE=11 | one page of a lost folio still has its content
unreached no-state -DPROBE=8 -DTAKERS=2 | hinted, but the state is S
caught take-by-store -DM_TAKE_BY_STORE | V -> T: a load and a store
caught take-other-order -DM_TAKE_OTHER_ORDER -DTAKERS=0 -DFREER -DOWNER -DORDERS | V -> T: the order is that of an earlier load
caught no-t-discard -DM_DISCARD_NO_T | V -> D: discarded, then compared
caught no-t-lazy -DM_LAZY_NO_T | V -> L: MADV_FREE, then compared
caught early-d -DM_EARLY_D | T -> D before the discard
caught early-l -DM_EARLY_L | T -> L before MADV_FREE
caught failed-gives-up -DM_FAILED_GIVES_UP | T -> V after a part has been discarded or freed lazily
caught harvest-gives-up -DM_HARVEST_GIVES_UP | L -> T -> V because nothing is missing
caught host-looks-first -DM_HOST_LOOKS_FIRST | the host's kernel looks for dirty, then unmaps
caught no-validation -DM_NO_VALIDATION -DLIAR | the VMM believes the guest
caught t-is-kept -DM_T_IS_KEPT | the guest takes T for kept
caught steal-t -DM_STEAL_T | T -> S by the guest, lost
caught stable-by-store -DM_STABLE_BY_STORE | V -> S: a load and a store
caught d-is-kept -DM_D_IS_KEPT | D -> S, kept
caught no-probe -DM_NO_PROBE | L -> S, kept
caught probe-head-only -DM_PROBE_HEAD_ONLY | L -> S, only the first page is probed
caught one-kept -DM_ONE_KEPT_IS_ENOUGH | L -> S, one page kept is enough
caught probe-loads -DM_PROBE_LOADS | probe: a load instead of the atomic add
caught probe-blind -DM_PROBE_BLIND | probe: nobody looks at what the atomic add returns
caught probe-trusts-zeros -DM_PROBE_TRUSTS_ZEROS | probe: a page of zeros counts as kept
caught probe-before -DM_PROBE_BEFORE | probe, then L -> S
caught probe-outside-lock -DM_PROBE_OUTSIDE_LOCK -DTAKERS=2 | probe without the hash lock
caught flag-before-probe -DM_FLAG_BEFORE_PROBE -DTAKERS=2 | flags cleared before the probe
caught state-outside-lock -DM_STATE_OUTSIDE_LOCK | S -> V without the hash lock
caught state-before-flag -DM_STATE_BEFORE_FLAG | S -> V before the flags
caught tail-bytes -DM_TAIL_BYTES | S -> V for each page
caught split-as-is -DM_SPLIT_AS_IS -DTAKERS=0 -DFREER -DOWNER -DORDERS | the order changes while volatile
caught free-as-is -DM_FREE_AS_IS -DFREER -DOWNER | freed as it is
caught free-by-store -DM_FREE_BY_STORE -DFREER -DOWNER | freed: a load and a store
caught free-no-wait -DM_FREE_NO_WAIT -DFREER -DOWNER | freed while in T
caught no-doorbell -DM_NO_DOORBELL | who waits does not exit
caught remove-no-wait -DM_REMOVE_NO_WAIT -DSWITCH | remove does not wait for the VMM
caught reset-leaves-t -DM_RESET_LEAVES_T -DSWITCH -DRESET | reset leaves T behind
caught array-first -DM_ARRAY_FREED_FIRST -DSWITCH | the array is freed before the walk
caught walk-skips-t -DM_WALK_SKIPS_T -DSWITCH | off: what is in T is left
caught maker-not-stopped -DM_MAKER_NOT_STOPPED -DSWITCH | off: the clock goes on
caught free-flag-first -DM_FREE_FLAG_FIRST -DTAKERS=0 -DFREER -DSWITCH | freed: flags, then the state
caught ring-no-rcu -DM_RING_NO_RCU -DSWITCH | off does not wait for who is about to ring
caught peek-no-rcu -DM_PEEK_NO_RCU -DSWITCH | off does not wait for who looks without the lock
survives no-retest -DM_NO_RETEST -DTAKERS=2 | no second test of the flags
survives discard-head-only -DM_DISCARD_HEAD_ONLY | T -> D, and only the first page is discarded
survives failed-is-lazy -DM_FAILED_IS_LAZY | T -> L after a part has been discarded or freed lazily
survives harvest-no-t -DM_HARVEST_NO_T | L -> D by cmpxchg
survives probe-adds-first -DM_PROBE_ADDS_FIRST | probe: add 0 to any word, then look for one that is not zero
survives wait-with-lock -DM_WAIT_WITH_LOCK -DTAKERS=2 | the hash lock is kept while waiting
END
	[ -z "$deep" ] || cat <<'END'
holds two-free -DSTRICT -DTAKERS=2 -DFREER -DOWNER -DORDERS | two takers, frames change hands
holds two-switch -DSTRICT -DTAKERS=2 -DFREER -DSWITCH -DRESET | two takers, switching, reset
holds all -DSTRICT -DFREER -DOWNER -DORDERS -DSWITCH -DRESET | one taker and everybody
END
}

die() {
	echo "$0: $*" >&2
	exit 1
}

model_for() {
	case " $* " in
	*" -DSHARED "*)	echo "$here/page_hinting_shared.pml" ;;
	*)		echo "$here/page_hinting.pml" ;;
	esac
}

# A verifier for these definitions, and its verdict. $1: directory, rest: -D
# of the model. Many mutants fail within thousands of states, so to compile
# takes longer than to run: optimise what is run to the end only.
build() {
	local dir=$1 model
	shift
	model=$(model_for "$@")
	mkdir -p "$dir"
	cd "$dir"
	spin -a "$@" "$model" >spin.log 2>&1 || { cat spin.log >&2; return 1; }
	# shellcheck disable=SC2086 # a list of options
	gcc -w -DSAFETY $cflags -o pan pan.c
}

run() {
	local dir=$1 expect=$2 cflags="-O2 -DCOLLAPSE -DMEMLIM=1900" verdict rc=0
	shift 2
	case $expect in
	caught|reached)	cflags="-O0 -DCOLLAPSE -DMEMLIM=1900" ;;
	esac
	if [ -n "$deep" ]; then
		cflags="${cflags/1900/14000}"
	elif [[ " $* " == *" -DSHARED "* ]]; then
		# not so many states that compression is worth its time
		cflags="${cflags/-DCOLLAPSE /}"
	fi
	(build "$dir" "$@") || { echo "broken: cannot build" >"$dir/verdict"; return; }
	(cd "$dir" && ./pan -m"$depth" -w"$hash" >out 2>&1) || rc=$?

	if (( rc > 128 )); then
		verdict="broken: killed by signal $((rc - 128))"
	elif ! grep -q 'errors:' "$dir/out" ||
	   grep -Eq 'max search depth too small|memory bound|MEMLIM' "$dir/out"; then
		verdict="broken: search not completed"
	elif grep -q 'errors: 0' "$dir/out"; then
		verdict="clean: $(awk '/states, stored/ { print $1 }' "$dir/out") states"
	else
		verdict=$(grep -Eo '(assertion violated|invalid end state).*' "$dir/out" | head -n 1)
	fi
	rm -f "$dir/pan" "$dir"/pan.?
	echo "$verdict" >"$dir/verdict"
}

good() {
	case $1:$2 in
	holds:clean*|survives:clean*|unreached:clean*)	return 0 ;;
	caught:assertion*|caught:invalid*)		return 0 ;;
	reached:assertion*)				return 0 ;;
	esac
	return 1
}

check() {
	local i=0 failed=0 next=0 dir
	local -a name expect text

	echo "TAP version 13"
	while read -r what id rest; do
		name[i]=$id
		expect[i]=$what
		text[i]=${rest#*| }
		while (( $(jobs -rp | wc -l) >= jobs )); do
			wait -n || true
		done
		# shellcheck disable=SC2086 # a list of options
		run "$tmp/$i" "$what" ${rest%%|*} &
		: $((i++))
		for (( ; next < i; next++ )); do
			report || break
		done
	done < <(table)
	wait
	for (( ; next < i; next++ )); do
		report || die "no verdict on ${name[next]}"
	done
	echo "1..$i"
	echo "# $((i - failed)) of $i as expected"
	(( failed == 0 ))
}

# Uses the variables of check(). Return: false if the job is not done yet.
report() {
	local verdict result="ok"

	dir=$tmp/$next
	[ -s "$dir/verdict" ] || return 1
	verdict=$(<"$dir/verdict")
	if ! good "${expect[next]}" "$verdict"; then
		result="not ok"
		: $((failed++))
	fi
	echo "$result $((next + 1)) - ${expect[next]} ${name[next]}: ${text[next]} ($verdict)"
}

# A breadth-first search finds the shortest way.
trace() {
	local what id rest model cflags="-O1 -DBFS -DMEMLIM=4000"

	while read -r what id rest; do
		[ "$id" = "$1" ] || continue
		# shellcheck disable=SC2086 # a list of options
		model=$(model_for ${rest%%|*})
		# shellcheck disable=SC2086 # a list of options
		(build "$tmp/trace" ${rest%%|*})
		cd "$tmp/trace"
		./pan -m100000 -w22 >out 2>&1 || true
		[ -f "${model##*/}.trail" ] ||
			die "$1 does no damage, so there is nothing to show"
		echo "$what $id: ${rest#*| }"
		# shellcheck disable=SC2086
		spin -t -p -g ${rest%%|*} -k "${model##*/}.trail" "$model"
		return
	done < <(table)
	die "no run is called $1; see $0 for the names"
}

for tool in spin gcc awk realpath; do
	command -v "$tool" >/dev/null ||
		die "$tool is missing (Debian packages: spin, gcc, gawk, coreutils)"
done

deep=
jobs=2
depth=1000000	# of the search; each takes 50 bytes
hash=22
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT

case ${1-} in
--deep)		deep=1; jobs=1; depth=20000000; hash=26; check ;;
--trace)	deep=1; trace "${2:?name of a run}" ;;
"")		check ;;
*)		die "usage: check.sh [--deep | --trace NAME]" ;;
esac
