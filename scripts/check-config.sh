#!/bin/bash
# Fail when a line of the given fragments did not take effect in a kernel configuration.
# usage: scripts/check-config.sh .CONFIG FRAGMENT...
# When two fragments disagree, the last one counts.
. "$(dirname "$0")/lib.sh"

config=$1
shift
declare -A want
while read -r line; do
	if [[ $line =~ ^(CONFIG_[A-Za-z0-9_]+)=(.*) ]]; then
		want[${BASH_REMATCH[1]}]=$line
	elif [[ $line =~ ^'# '(CONFIG_[A-Za-z0-9_]+)' is not set'$ ]]; then
		want[${BASH_REMATCH[1]}]=
	fi
done < <(cat "$@")

bad=0
for symbol in "${!want[@]}"; do
	have=$(grep "^$symbol=" "$config" || true)
	[[ $have == "${want[$symbol]}" ]] && continue
	say "asked for ${want[$symbol]:-$symbol not set}, got ${have:-nothing}"
	bad=1
done
((!bad)) || die "the kernel configuration did not come out as asked for"
