#!/bin/bash
# Build qemu-system-s390x and print its path. It runs from where it is, firmware beside it.
# usage: scripts/build-qemu.sh [--stock] [--dir | --source]
#        scripts/build-qemu.sh --tree DIR [--dir]
#   --stock     without the series
#   --tree DIR  build the QEMU tree DIR as it is, incrementally (for work on the series)
#   --dir       print the build directory instead of the program
#   --source    print the source directory instead, build nothing
. "$(dirname "$0")/lib.sh"

stock=0 tree='' print=binary
while (($#)); do
	case $1 in
	--stock) stock=1 ;;
	--tree) tree=$(readlink -f "$2"); shift ;;
	--dir) print=dir ;;
	--source) print=source ;;
	*) die "unknown argument $1" ;;
	esac
	shift
done

# The system's python3: only that one has Debian's meson. Nothing is downloaded during the build.
configure=(--python=/usr/bin/python3 --target-list=s390x-softmmu --without-default-features
	--enable-tcg --enable-system --disable-install-blobs --disable-docs --disable-download
	--disable-werror)
binary=qemu-system-s390x

patched() {
	say "applying patches/qemu"
	cp -al -- "$pristine/." "$1"	# hard links; git apply replaces what it changes
	apply_series qemu "$1"
}

# The firmware is needed even with -kernel. QEMU finds it under qemu-bundle beside the program.
build_in() {
	local firmware=pc-bios/s390-ccw
	cd "$1"
	[[ -f build.ninja ]] || quietly configure.log "$src/configure" "${configure[@]}"
	say "building QEMU (log: $1/build.log)"
	quietly build.log ninja -j"$JOBS" $binary
	quietly firmware.log make -C $firmware GIT_SUBMODULES_ACTION=ignore s390-ccw.img
	cp $firmware/s390-ccw.img qemu-bundle/usr/local/share/qemu/
}

if [[ -n $tree ]]; then
	src=$tree
else
	pristine=$("$TOP/scripts/fetch-qemu.sh")
	src=$pristine key=${pristine##*/}
	if ((!stock)); then
		hash=$(series_hash qemu)
		[[ $hash != none ]] || die "patches/qemu is empty (did you mean --stock?)"
		key+=-$hash
		src=$(cached "$CACHE/src/$key" patched)
	fi
fi
[[ $print != source ]] || { echo "$src"; exit; }

need ninja pkg-config meson "${CROSS}gcc"

if [[ -n $tree ]]; then
	dir=$CACHE/work/qemu-$(hash_stdin <<<"$tree")
	mkdir -p "$dir"
	with_lock "${dir##*/}" build_in "$dir" >&2
else
	dir=$(cached "$CACHE/qemu/$({ echo "$key ${configure[*]}"; gcc --version; } | hash_stdin)" build_in)
fi
if [[ $print == dir ]]; then echo "$dir"; else echo "$dir/$binary"; fi
