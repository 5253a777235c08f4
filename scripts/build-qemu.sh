#!/bin/bash
# Build QEMU for s390x and x86-64, or for arm64 alone, and print the path of the one for ARCH. It runs from where
# it is, firmware beside it, and beside that the tests of its QMP commands and devices.
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

machines=(s390x)
((stock)) || machines+=(x86_64)	# without the series, only s390x is of interest
qtests=(s390-page-hinting-test virtio-balloon-page-state-test)
# a build of its own, as few want that one
[[ $ARCH != arm64 ]] || machines=(aarch64) qtests=()
targets=${machines[*]/%/-softmmu}
binaries=("${machines[@]/#/qemu-system-}")
# The system's python3: only that one has Debian's meson. Nothing is downloaded during the build.
configure=(--python=/usr/bin/python3 --target-list="${targets// /,}" --without-default-features
	--enable-tcg --enable-system --disable-install-blobs --disable-docs --disable-download
	--disable-werror)
# for scripts/kvm-check.sh, which alone needs it
[[ ${ACCEL-} != kvm ]] || configure+=(--enable-kvm)
[[ $ARCH != arm64 ]] || configure+=(--enable-fdt=system)

# The firmware is needed even with -kernel, but on arm64. QEMU finds it under qemu-bundle beside the program.
build_in() {
	local s390=pc-bios/s390-ccw x86=pc-bios/optionrom share=qemu-bundle/usr/local/share/qemu test file
	cd "$1"
	# Debian's sources come without UEFI firmware, which QEMU would like to unpack, and nobody uses here.
	((stock)) || sed -n "s/^ *'\(edk2-.*\.fd\)',$/\1/p" "$src/pc-bios/meson.build" | while read -r file; do
		[[ -e $src/pc-bios/$file.bz2 ]] || bzip2 </dev/null >"$src/pc-bios/$file.bz2"
	done
	[[ -f build.ninja ]] || quietly configure.log "$src/configure" "${configure[@]}"
	say "building QEMU (log: $1/build.log)"
	quietly build.log ninja -j"$JOBS" "${binaries[@]}"
	for test in "${qtests[@]}"; do
		[[ -f $src/tests/qtest/$test.c ]] || continue
		quietly qtest.log ninja -j"$JOBS" "tests/qtest/$test"
		cp "tests/qtest/$test" .
	done
	[[ $ARCH != arm64 ]] || return 0
	quietly firmware.log make -C $s390 GIT_SUBMODULES_ACTION=ignore s390-ccw.img
	cp $s390/s390-ccw.img "$share"
	if ((!stock)); then
		# configure does that only where gcc can link programs of 32 bits, which these are not
		[[ -e $x86/config.mak ]] || printf '%s\n' "TOPSRC_DIR=$src" "CC=gcc -m32" OBJCOPY=objcopy >$x86/config.mak
		quietly roms.log make -C $x86
		# the sources have no BIOS, a package has
		cp $x86/{linuxboot_dma,kvmvapic}.bin /usr/share/seabios/bios-256k.bin "$share"
	fi
}

# build_kept DIR: build in a directory that stays, for the next revision, and keep the results
build_kept() {
	local out=$CACHE/work/qemu-build${ACCEL:+-$ACCEL}
	[[ $ARCH != arm64 ]] || out+=-arm64
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
	cp -a "${binaries[@]/#/$out/}" "$out"/{qemu-bundle,build.log} "$1"
	((stock)) || for test in "${qtests[@]}"; do cp "$out/$test" "$1"; done
	if ((stock)); then rm -rf "$out"; fi
}
build_locked() { with_lock qemu-tree build_kept "$1"; }

need ninja pkg-config meson bzip2 s390x-linux-gnu-gcc
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
if [[ $print == dir ]]; then echo "$dir"; else echo "$dir/qemu-system-$MACHINE"; fi
