#!/bin/bash
# Page states shared with the balloon device under KVM, which no machine that this was made on has: the demonstration, all
# tests that there are of it under emulation, and a report to be sent to whoever looks after the series. An hour.
# usage: scripts/kvm-check.sh [DIR]	(default: results/kvm)
. "$(dirname "$0")/lib.sh"

out=${1:-$TOP/results/kvm}
[[ $(uname -m) == x86_64 ]] || die "this is for x86-64 machines"
[[ -r /dev/kvm && -w /dev/kvm ]] || die "no access to /dev/kvm: this takes a machine with KVM, and the right to use it"
mkdir -p "$out"
export ARCH=x86_64 ACCEL=kvm
{
	uname -a
	grep -m 1 '^model name' /proc/cpuinfo
	git -C "$TOP" rev-parse HEAD
	date -u
} >"$out/machine.txt"
failed=0
"$TOP/vm/run" --out "$out/run" | tee "$out/run.log" || failed=1
"$TOP/vm/test" --out "$out/guests" --timeout 7200 \
	shared shared-1cpu shared-lazy pressure pressure-unhinted shared-all shared-all-lazy | tee "$out/test.log" || failed=1
say "the report is $out"
exit $failed
