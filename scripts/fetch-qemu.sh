#!/bin/bash
# Print the directory of a pristine QEMU 10.0.y source tree: the orig tarball of Debian 13's source
# package. QEMU_TARBALL= names another 10.0.y tarball.
. "$(dirname "$0")/lib.sh"

tarball=${QEMU_TARBALL:-$(apt_orig qemu '^(1:)?10\.0\.')}
dir=$(unpacked qemu "$tarball")
version=$(<"$dir/VERSION")
[[ $version == 10.0.* ]] || die "this is QEMU $version, the series is for 10.0.y"
say "QEMU: $version"
echo "$dir"
