#!/bin/bash
# The tests of the QEMU series that need no Linux, freestanding ones and those of QMP: one verdict a line, TAP.
# usage: scripts/test-qemu.sh [--tree DIR] [QEMU] [NAME...]
#   --tree DIR  the tests of a tree, for work on the series
#   QEMU        the qemu-system-s390x to test, otherwise the one that build-qemu.sh makes
#   NAME        only these runs
. "$(dirname "$0")/lib.sh"

tree=()
if [[ ${1-} = --tree ]]; then
	tree=(--tree "$(readlink -f "$2")")
	shift 2
fi
need git python3 "${CROSS}gcc"
qemu=${1:-$(scripts/build-qemu.sh "${tree[@]}")}
names=" ${*:2} "
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Only the tests are needed of the sources, and the parts of the firmware they are linked with.
dirs=(tests/tcg/s390x tests/tcg/minilib pc-bios/s390-ccw include/hw/s390x/ipl roms/SLOF/lib/libc)
if ((${#tree[@]})); then
	(cd "${tree[1]}" && cp -a --parents "${dirs[@]}" "$tmp")
else
	pristine=$(scripts/fetch-qemu.sh)
	(cd "$pristine" && cp -a --parents "${dirs[@]}" "$tmp")
	for patch in patches/qemu/*.patch; do
		(cd "$tmp" && GIT_CEILING_DIRECTORIES=/ git apply --include='tests/tcg/s390x/*' "$TOP/$patch")
	done
fi

src=$tmp/tests/tcg
flags=(-O0 -g -march=z13 -m64 -fno-pie -no-pie -ffreestanding -fno-stack-protector "-Wa,--noexecstack"
	-I"$src/minilib" -I"$tmp/include/hw/s390x/ipl" -I"$tmp/roms/SLOF/lib/libc/include")
common=("$src/s390x/head64.S" "$src/s390x/console.c" "$src/minilib/printf.c")

shopt -s extglob
tests=0 failed=0
# renumber NAME: the lines of one run
renumber() {
	local line status
	while read -r line; do
		case $line in
		ok*) status='ok' ;;
		'not ok'*) status='not ok' failed=$((failed + 1)) ;;
		'#'*) echo "$line"; continue ;;
		*) continue ;;
		esac
		tests=$((tests + 1))
		line=${line##"$status "*([0-9])}
		echo "$status $tests - ${line##*( |-)}"
	done
}

chosen() { [[ $names = '  ' || $names = *" $1 "* ]]; }

# try NAME TEST [ARGUMENTS OF QEMU]
try() {
	local name=$1 test=$2 before=$tests
	shift 2
	chosen "$name" || return 0
	[[ -x $tmp/$test ]] ||
		"${CROSS}gcc" "${flags[@]}" "$src/s390x/$test.c" "${common[@]}" -nostdlib -static -o "$tmp/$test"
	renumber < <(python3 "$src/s390x/page-hinting.py" --qemu "$qemu" --name "$name" "$tmp/$test" -- "$@" 2>"$tmp/stderr" ||
		echo "not ok 0 - $name: exit status $?")
	if [[ -s $tmp/stderr ]]; then sed 's/^/# /' "$tmp/stderr"; fi
	if ((tests == before)); then renumber <<<"not ok 0 - $name: no test was run"; fi
}

# try_qtest NAME TEST PROGRAM: QMP commands and devices, as "make check" of QEMU tests them
try_qtest() {
	local before=$tests dir
	dir=$(dirname "$qemu")
	if ! chosen "$1"; then return; fi
	renumber < <(QTEST_QEMU_BINARY=$dir/$3 "$dir/$2" --tap -k 2>&1 || echo "not ok 0 - $1: $2 failed")
	if ((tests == before)); then renumber <<<"not ok 0 - $1: no test was run"; fi
}

g='-global s390-storage_attributes-tcg'
# shellcheck disable=SC2086 # these are several arguments
{
	try virt-mem-rw virt-mem-rw
	try sigp-smp sigp-smp -smp 2
	try skeys skeys
	try skeys-smp skeys-smp -smp 2
	try tlb-purge tlb-purge
	try tlb-asce tlb-asce
	try smc-smp smc-smp -smp 2
	try edat edat
	try edat-smp edat-smp -smp 2
	try bear bear
	try monitor page-hinting-monitor
	try frames page-hinting-edat $g.mode=instant
	try resident page-hinting
	try instant page-hinting $g.mode=instant
	try host page-hinting-host
	try dma page-hinting-dma $g.mode=instant -object rng-builtin,id=rng -device virtio-rng-ccw,rng=rng,ioeventfd=off
	try random page-hinting-smp -smp 2 $g.mode=random $g.interval=1 $g.probability=50
	try sweep page-hinting-smp -smp 2 $g.mode=sweep $g.interval=1
	try forget page-hinting-forget $g.mode=instant $g.forget=on
	try errors page-hinting-errors $g.essa-errors=50
	try strict page-hinting-strict $g.unused-access=strict
	try live page-hinting-live $g.mode=random $g.interval=1
	m='-machine memory-backend=m -object memory-backend'
	try memfd page-hinting-host $m-memfd,id=m,size=128M
	try prealloc page-hinting-host $m-ram,id=m,size=128M,prealloc=on
	truncate -s 128M "$tmp/ram"
	file=$m-file,id=m,size=128M,mem-path=$tmp/ram
	try shared page-hinting-host $file,share=on
	k="$g.mode=random $g.interval=1"
	try private page-hinting-kept $k $file
	try readonly page-hinting-kept $k $file,readonly=on,rom=off
	try locked page-hinting-kept $k -overcommit mem-lock=on
	try paging page-hinting-paging $g.page-file=TMP
	try_qtest qmp s390-page-hinting-test qemu-system-s390x
	try_qtest balloon virtio-balloon-page-state-test qemu-system-x86_64
	try window page-hinting-smp -smp 2 $g.mode=window $g.probability=50
	try window-kept page-hinting-kept $g.mode=window $g.probability=100 -overcommit mem-lock=on
}
echo "1..$tests"
((failed == 0 && tests > 0))
