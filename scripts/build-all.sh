#!/bin/bash
# Build everything that running and testing need; TAP. What is in the cache already takes no time.
. "$(dirname "$0")/lib.sh"

n=0 failed=0 arch=s390
make_one() {
	local name=$1 start=$SECONDS rc
	shift
	n=$((n + 1))
	attempt env ARCH="$arch" "$TOP/scripts/$1" "${@:2}" >/dev/null
	if ((rc == 0)); then
		echo "ok $n - $name ($((SECONDS - start)) s)"
	else
		echo "not ok $n - $name"
		failed=1
	fi
}
base_tree
x86=0
if has_part 6; then x86=1; fi
echo 1..$((6 + 2 * x86))
make_one "QEMU" build-qemu.sh
make_one "QEMU without the series" build-qemu.sh --stock
make_one "kernel to run" build-kernel.sh run
make_one "kernel with all checkers" build-kernel.sh test
make_one "kernel for Hercules" build-kernel.sh hercules
make_one "guest's file system" build-guest.sh
if ((x86)); then
	arch=x86_64
	make_one "kernel to run, x86-64" build-kernel.sh run
	make_one "guest's file system, x86-64" build-guest.sh
fi
((!failed))
