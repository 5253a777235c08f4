#!/bin/bash
# Print a directory with initrd.img, the guest's initramfs (busybox, our tools, the kselftest), and
# `tree`, the tool built for this machine, too.
. "$(dirname "$0")/lib.sh"
need cpio dpkg-deb gcc "${CROSS}gcc"

tests=tools/testing/selftests/page_hinting
xxhash=${XXHASH:-/usr/include/xxhash.h}
[[ -f $xxhash ]] || die "missing: xxhash.h (try: scripts/deps.sh)"

# A private apt configuration for packages of the guest's architecture, from the machine's suites.
apt_dir=$CACHE/apt-$MACHINE
apt_write_sources() {
	local uri suite
	while read -r uri suite; do
		case $suite in
		bookworm*|trixie*) echo "deb [arch=$DEB signed-by=$apt_keyring] $uri $suite main" ;;
		esac
	done < <(apt_suites) | sort -u
}

# guest_package NAME: directory of the unpacked package of that architecture, newest version within reach.
guest_package() {
	local version
	apt_private_update
	version=$(guest_apt apt-cache policy "$1:$DEB" | sed -n 's/^ *Candidate: //p')
	if [[ ${version:-(none)} == '(none)' ]]; then
		# Offline: what an earlier run has fetched.
		version=$(find "$CACHE/guest" -maxdepth 1 -name "$1-*-$DEB" 2>/dev/null | sort -V | tail -n 1)
		version=${version##*/"$1"-}
		version=${version%"-$DEB"}
	fi
	[[ -n $version ]] || die "no package $1 for $DEB among the machine's apt sources"
	cached "$CACHE/guest/$1-$version-$DEB" fetch_package "$1"
}
guest_apt() {
	local cmd=$1
	shift
	apt_private "$cmd" -o APT::Architecture="$DEB" -o APT::Architectures="$DEB" \
		-o Dir::State::status="$apt_dir/status" "$@"
}
fetch_package() {
	say "downloading $2 for $DEB"
	cd "$1"
	: >"$apt_dir/status"
	guest_apt apt-get download "$2:$DEB"
	dpkg-deb -x ./*.deb .
	rm ./*.deb
}

build_guest() {
	local out=$1 root=$1/root work=$1/work f
	mkdir -p "$root"/{bin,dev,proc,sys,tmp,mnt,etc,selftests} "$work"
	cp "$xxhash" "$work/xxhash.h"

	say "building the guest's programs"
	gcc -O2 -Wall -Wextra -I"$work" -o "$out/tree" "$TOP/vm/tools/tree.c"
	for f in "$TOP"/vm/tools/*.c; do
		"${CROSS}gcc" -O2 -Wall -Wextra -static -I"$work" -o "$root/bin/$(basename "$f" .c)" "$f"
	done

	cp "$busybox" "$root/bin/busybox"
	chmod 755 "$root/bin/busybox"
	for f in $(<"$TOP/vm/guest/applets"); do
		ln -s busybox "$root/bin/$f"
	done
	install -m 755 "$TOP/vm/guest/init" "$root/init"
	install -m 755 "$TOP/vm/guest/inert" "$root/bin/inert"
	install -m 644 "$TOP/vm/guest/motd" "$root/etc/motd"
	[[ ! -f $tests_dir/Makefile ]] || build_selftests "$work" "$root/selftests"

	say "packing the initramfs"
	(cd "$root" && find . -print0 | sort -z | cpio --null --quiet -o -H newc -R 0:0) >"$out/initrd.img"
	rm -r "$work" "$root"
}

# selftests_of DIR PATCH...: the files of the tests that these patches create
selftests_of() {
	local p
	cd "$1"
	for p in "${@:2}"; do
		! touched "$p" | grep "^$tests/" >/dev/null || git apply --whitespace=nowarn --include="$tests/*" "$p"
	done
}

# The kernel's own make rules, on the few files of the tree that they need.
build_selftests() {
	local tree=$1/linux f
	mkdir -p "$tree/tools/testing/selftests" "$tree/scripts"
	cp "$linux/scripts/subarch.include" "$tree/scripts/"
	for f in lib.mk kselftest.h kselftest_harness.h kselftest kselftest_deps.sh; do
		[[ ! -e $linux/tools/testing/selftests/$f ]] ||
			cp -r "$linux/tools/testing/selftests/$f" "$tree/tools/testing/selftests/"
	done
	cp -r "$tests_dir" "$tree/$tests"
	make -s -C "$tree/$tests" ARCH="$ARCH" CROSS_COMPILE="$CROSS" LDFLAGS=-static \
		INSTALL_PATH="$2/page_hinting" install
}

main() {
	local sources key patches
	base_tree
	mapfile -t patches < <(series linux)
	# In this repository are those for the first kernel. SELFTESTS= for work on them.
	if [[ -n ${SELFTESTS-} ]]; then
		tests_dir=$SELFTESTS
	elif [[ $BASE == "${BASES[0]}" && -z ${PARTS-} ]]; then
		tests_dir=$TOP/$tests
	else
		tests_dir=$(cached "$CACHE/guest/selftests-$(hash_files "${patches[@]}")" selftests_of "${patches[@]}")/$tests
	fi
	busybox=$(guest_package busybox-static)/bin/busybox
	linux=
	mapfile -t sources < <(find "$TOP/vm/tools" "$TOP/vm/guest" "$tests_dir" -type f 2>/dev/null | sort)
	if [[ -f $tests_dir/Makefile ]]; then
		linux=$pristine
		mapfile -t -O ${#sources[@]} sources < <(find "$linux"/tools/testing/selftests/{lib.mk,kselftest.h,kselftest_harness.h} 2>/dev/null)
	fi
	key=$({
		printf '%s\n' "${sources[@]#"$TOP"/}" | grep -v "^${linux:-none}" || true
		hash_files "${sources[@]}" "$busybox" "$xxhash" "$TOP/scripts/build-guest.sh"
		"${CROSS}gcc" --version
	} | hash_stdin)
	cached "$CACHE/guest/initrd-$key" build_guest
}
main
