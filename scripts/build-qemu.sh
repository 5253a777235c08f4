#!/bin/bash
# Build qemu-system-s390x and print its path. It runs from where it is, firmware beside it, and beside
# that the test of its QMP commands.
# usage: scripts/build-qemu.sh [--stock] [--dir]
#        scripts/build-qemu.sh --tree DIR [--dir]
#   --stock     without the series
#   --tree DIR  build the QEMU tree DIR as it is, incrementally (for work on the series)
#   --dir       print the build directory instead of the program
. "$(dirname "$0")/lib.sh"

stock=0 tree='' print=binary
while (($#)); do
	case $1 in
	--stock) stock=1 ;;
	--tree) tree=$(readlink -f "$2"); shift ;;
	--dir) print=dir ;;
	*) die "unknown argument $1" ;;
	esac
	shift
done

# The system's python3: only that one has Debian's meson. Nothing is downloaded during the build.
configure=(--python=/usr/bin/python3 --target-list=s390x-softmmu --without-default-features
	--enable-tcg --enable-system --disable-install-blobs --disable-docs --disable-download
	--disable-werror)
binary=qemu-system-s390x
qtest=s390-page-hinting-test

# The firmware is needed even with -kernel. QEMU finds it under qemu-bundle beside the program.
build_in() {
	local firmware=pc-bios/s390-ccw
	cd "$1"
	[[ -f build.ninja ]] || quietly configure.log "$src/configure" "${configure[@]}"
	say "building QEMU (log: $1/build.log)"
	quietly build.log ninja -j"$JOBS" $binary
	if [[ -f $src/tests/qtest/$qtest.c ]]; then
		quietly qtest.log ninja -j"$JOBS" tests/qtest/$qtest
		cp tests/qtest/$qtest .
	fi
	quietly firmware.log make -C $firmware GIT_SUBMODULES_ACTION=ignore s390-ccw.img
	cp $firmware/s390-ccw.img qemu-bundle/usr/local/share/qemu/
}

# build_kept DIR: build in a directory that stays, for the next revision, and keep the results
build_kept() {
	local out=$CACHE/work/qemu-build
	if ((stock)); then
		out=$1/build
	else
		sync_tree "$src" "$pristine" "${patches[@]}"
		# another configure line or another base: start afresh
		if [[ $(cat "$out/key" 2>/dev/null) != "$pristine ${configure[*]}" ]]; then rm -rf "$out"; fi
	fi
	mkdir -p "$out"
	echo "$pristine ${configure[*]}" >"$out/key"
	(build_in "$out")
	cp -a "$out"/{$binary,qemu-bundle,build.log} "$1"
	if [[ -f $out/$qtest ]]; then cp "$out/$qtest" "$1"; fi
	if ((stock)); then rm -rf "$out"; fi
}
build_locked() { with_lock qemu-tree build_kept "$1"; }

need ninja pkg-config meson "${CROSS}gcc"
if [[ -n $tree ]]; then
	src=$tree dir=$CACHE/work/qemu-$(hash_stdin <<<"$tree")
	mkdir -p "$dir"
	with_lock "${dir##*/}" build_in "$dir" >&2
else
	pristine=$("$TOP/scripts/fetch-qemu.sh")
	src=$pristine key=${pristine##*/} patches=()
	if ((!stock)); then
		mapfile -t patches < <(series qemu)
		((${#patches[@]})) || die "patches/qemu is empty (did you mean --stock?)"
		src=$CACHE/work/qemu key+=-$(hash_files "${patches[@]}")
	fi
	dir=$(cached "$CACHE/qemu/$({ echo "$key ${configure[*]}"; gcc --version; } | hash_stdin)" \
		build_locked)
fi
if [[ $print == dir ]]; then echo "$dir"; else echo "$dir/$binary"; fi
