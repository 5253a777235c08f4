#!/bin/bash
# Compare the series for the kernels, patch by patch: a fix in one of them alone is noticed. How they differ on purpose is
# recorded by hash in patches/linux-VERSION/differences.
# usage: scripts/compare-series.sh [--show] [--record]
#   --show      the differences themselves: what is in one patch and not in the other, context and place aside
#   --record    they are meant
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/series.sh"

main=linux-${BASES[0]} show=0 record=0
for a; do
	case $a in
	--show) show=1 ;;
	--record) record=1 ;;
	*) die "usage: ${0##*/} [--show] [--record]" ;;
	esac
done

# What a patch says and does: its message, the names of files and the lines that come and go.
essence() {
	awk '/^diff --git / { part = "diff" } /^---$/ && !part { part = "stat" }
		!part && !/^(From |From:|Date:)/ || part == "diff" && /^([-+]|diff)/' "$1"
}
difference() { diff -U0 --label "$main" --label "$name" <(essence "$1") <(essence "$2") | sed '/^@@/d' || true; }

unexpected=0
for base in "${BASES[@]:1}"; do
	name=linux-$base recorded=$TOP/patches/linux-$base/differences
	new=$(mktemp)
	declare -A here=() there=()
	by_subject here "$name"
	by_subject there "$main"
	mapfile -t mine < <(series "$name")
	while IFS=$'\t' read -r subject p; do
		other=${there[$subject]-}
		[[ $other != "$p" ]] || continue
		if [[ -n $other ]]; then d=$(difference "$other" "$p"); else d=only; fi
		[[ -n $d ]] || continue		# nothing but context
		echo "$subject	$(hash_stdin <<<"$d")" >>"$new"
		((!show)) || printf '%s\n%s\n\n' "$subject" "$d"
	done < <(subjects "${mine[@]}")
	mapfile -t theirs < <(series "$main")
	while IFS=$'\t' read -r subject p; do
		[[ -n ${here[$subject]-} ]] || echo "$subject	only in $main" >>"$new"
	done < <(subjects "${theirs[@]}")
	if ((record)); then
		cp "$new" "$recorded"
	elif ! changed=$(diff "$recorded" "$new"); then
		sed -n 's/^[<>] \(.*\)\t.*/\1/p' <<<"$changed" | sort -u | sed "s/^/$main and $name differ in another way than recorded: /"
		unexpected=1
	fi
	rm -f "$new"
done
((!unexpected))
