#!/bin/bash
# Build a guest kernel and print the directory that holds bzImage, vmlinux and .config.
# usage: scripts/build-kernel.sh [--base] [--add FRAGMENT]... CONFIG
#        scripts/build-kernel.sh --tree DIR [--add FRAGMENT]... CONFIG
#   CONFIG        configs/CONFIG.config, on top of tinyconfig and configs/common.config
#   --add FILE    one more fragment on top
#   --base        the base kernel, without the series
#   --tree DIR    build the kernel tree DIR as it is, incrementally (for work on the series)
#   --source      print the source directory instead, build nothing
. "$(dirname "$0")/lib.sh"

base=0 tree='' source_only=0 add=()
while (($#)); do
	case $1 in
	--base) base=1 ;;
	--tree) tree=$(readlink -f "$2"); shift ;;
	--add) add+=("$(readlink -f "$2")"); shift ;;
	--source) source_only=1 ;;
	-*) die "unknown option $1" ;;
	*) break ;;
	esac
	shift
done
config=${1-}

patched() {
	say "applying patches/linux"
	cp -al -- "$pristine/." "$1"	# hard links; git apply replaces what it changes
	apply_series linux "$1"
}

if [[ -n $tree ]]; then
	src=$tree
else
	pristine=$("$TOP/scripts/fetch-linux.sh")
	src=$pristine key=${pristine##*/}
	if ((!base)); then
		hash=$(series_hash linux)
		[[ $hash != none ]] || die "patches/linux is empty (did you mean --base?)"
		key+=-$hash
		src=$(cached "$CACHE/src/$key" patched)
	fi
fi
((!source_only)) || { echo "$src"; exit; }

[[ -n $config ]] || die "usage: ${0##*/} [--base] CONFIG; CONFIG is one of: $(cd "$TOP/configs" && echo *.config | sed 's/\.config//g')"
[[ -f $TOP/configs/$config.config ]] || die "no configs/$config.config"
need "${CROSS}gcc" flex bison bc make
fragments=("$TOP/configs/common.config" "$TOP/configs/$config.config" "${add[@]}")

kmake() { make -C "$src" O="$out" ARCH=s390 CROSS_COMPILE="$CROSS" -j"$JOBS" "$@"; }

# Merge the fragments and insist that each line took effect.
configure() {
	local f=() i
	for i in "${!fragments[@]}"; do
		f[i]=$out/fragment.$i
		# a base kernel does not know the symbol
		grep -v "^${without:-$}" "${fragments[i]}" >"${f[i]}" || true
	done
	# allnoconfig, not olddefconfig: what nobody asked for stays out
	cd "$out"
	"$src/scripts/kconfig/merge_config.sh" -m -r "$src"/kernel/configs/tiny{-base,}.config "${f[@]}" \
		>"$out/config.log" 2>&1 || die "merge_config.sh failed, see $out/config.log"
	mv .config all.config
	quietly "$out/config.log" kmake KCONFIG_ALLCONFIG="$out/all.config" allnoconfig
	"$TOP/scripts/check-config.sh" "$out/.config" "${f[@]}"
}

build() {
	out=$1 without=''
	((!base)) || without='\(# \)\?CONFIG_PAGE_HINTING'
	say "configuring $config"
	configure
	say "building kernel $config (log: $out/build.log)"
	quietly "$out/build.log" kmake bzImage
	cp "$out/arch/s390/boot/bzImage" "$out/bzImage"
}

# Objects are not needed any more once the kernel is linked.
build_and_trim() {
	# shellcheck disable=SC2030	# "out" is meant to stay in here
	build "$1"
	mkdir "$1/keep"
	mv "$1"/{bzImage,vmlinux,System.map,.config,build.log} "$1/keep"
	find "$1" -mindepth 1 -maxdepth 1 ! -name keep -exec rm -rf {} +
	mv "$1"/keep/* "$1"/keep/.config "$1"
	rmdir "$1/keep"
}

if [[ -n $tree ]]; then
	out=$CACHE/work/kernel-$config-$(hash_stdin <<<"$tree")
	mkdir -p "$out"
	with_lock "${out##*/}" build "$out" >&2
	echo "$out"
else
	compiler=$("${CROSS}gcc" --version | head -n 1)
	cached "$CACHE/kernel/$config-$({ echo "$key $base $compiler"; cat "${fragments[@]}"; } | hash_stdin)" build_and_trim
fi
