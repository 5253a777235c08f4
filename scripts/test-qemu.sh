#!/bin/bash
# The freestanding tests of the QEMU series (no Linux): one verdict a line, TAP.
# usage: scripts/test-qemu.sh [QEMU]
#   QEMU  the qemu-system-s390x to test, otherwise the one that build-qemu.sh makes
. "$(dirname "$0")/lib.sh"

need git python3 "${CROSS}gcc"
qemu=${1:-$(scripts/build-qemu.sh)}
pristine=$(scripts/fetch-qemu.sh)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Only the tests are needed of the sources, and the parts of the firmware they are linked with.
dirs=(tests/tcg/s390x tests/tcg/minilib pc-bios/s390-ccw include/hw/s390x/ipl roms/SLOF/lib/libc)
(cd "$pristine" && cp -a --parents "${dirs[@]}" "$tmp")
for patch in patches/qemu/*.patch; do
	(cd "$tmp" && GIT_CEILING_DIRECTORIES=/ git apply --include='tests/tcg/s390x/*' "$TOP/$patch")
done

src=$tmp/tests/tcg
flags=(-O0 -g -march=z13 -m64 -fno-pie -no-pie -ffreestanding -fno-stack-protector "-Wa,--noexecstack"
	-I"$src/minilib" -I"$tmp/include/hw/s390x/ipl" -I"$tmp/roms/SLOF/lib/libc/include")
common=("$src/s390x/head64.S" "$src/s390x/console.c" "$src/minilib/printf.c")

tests=0 failed=0
# try NAME TEST [ARGUMENTS OF QEMU]: the lines of one run, numbered anew
try() {
	local name=$1 test=$2 line status
	shift 2
	[[ -x $tmp/$test ]] ||
		"${CROSS}gcc" "${flags[@]}" "$src/s390x/$test.c" "${common[@]}" -nostdlib -static -o "$tmp/$test"
	while read -r line; do
		case $line in
		ok*) status='ok' ;;
		'not ok'*) status='not ok' failed=$((failed + 1)) ;;
		'#'*) echo "$line"; continue ;;
		*) continue ;;
		esac
		tests=$((tests + 1))
		echo "$status $tests - ${line#* - }"
	done < <(python3 "$src/s390x/page-hinting.py" --qemu "$qemu" --name "$name" "$tmp/$test" -- "$@" 2>&1)
}

g='-global s390-storage_attributes-tcg'
# shellcheck disable=SC2086 # these are several arguments
{
	try virt-mem-rw virt-mem-rw
	try skeys skeys
	try skeys-smp skeys-smp -smp 2
	try tlb-purge tlb-purge
	try smc-smp smc-smp -smp 2
	try edat edat
	try edat-smp edat-smp -smp 2
	try resident page-hinting
	try instant page-hinting $g.mode=instant
	try host page-hinting-host
	try monitor page-hinting-monitor
	try frames page-hinting-edat $g.mode=instant
	try dma page-hinting-dma $g.mode=instant -object rng-builtin,id=rng -device virtio-rng-ccw,rng=rng,ioeventfd=off
	try random page-hinting-smp -smp 2 $g.mode=random $g.interval=1 $g.probability=50
	try sweep page-hinting-smp -smp 2 $g.mode=sweep $g.interval=1
	try window page-hinting-smp -smp 2 $g.mode=window $g.probability=50
}
echo "1..$tests"
((failed == 0 && tests > 0))
