#!/bin/bash
# Build a guest kernel and print the directory that holds bzImage, vmlinux and .config.
# usage: scripts/build-kernel.sh [--base] [--add FRAGMENT]... CONFIG
#        scripts/build-kernel.sh --tree DIR [--add FRAGMENT]... CONFIG
#   CONFIG        configs/CONFIG.config, on top of tinyconfig, configs/common.config, and what only this architecture
#                 and version have, configs/{arch-ARCH,VERSION,CONFIG-ARCH}.config; on top of tinyconfig alone, with
#                 configs/CONFIG-VERSION.config, when its first line is "# alone"
#   --add FILE    one more fragment on top
#   --base        the base kernel, without the series
#   --tree DIR    build the kernel tree DIR as it is, incrementally (for work on the series)
. "$(dirname "$0")/lib.sh"

base=0 tree='' add=()
while (($#)); do
	case $1 in
	--base) base=1 ;;
	--tree) tree=$(readlink -f "$2"); shift ;;
	--add) add+=("$(readlink -f "$2")"); shift ;;
	-*) die "unknown option $1" ;;
	*) break ;;
	esac
	shift
done
config=${1-}

if [[ -n $tree ]]; then
	src=$tree
	BASE=$(base_of "$tree") || die "there is no series for Linux $(kernel_version "$tree")"
else
	base_tree
	src=$pristine key=${pristine##*/} patches=()
	if ((!base)); then
		mapfile -t patches < <(series linux)
		((${#patches[@]})) || die "patches/linux-$BASE is empty (did you mean --base?)"
		src=$CACHE/work/linux-$BASE key+=-$(hash_code "${patches[@]}")
	fi
fi

[[ -n $config ]] || die "usage: ${0##*/} [--base] CONFIG; CONFIG is one of: $(cd "$TOP/configs" && echo [a-z]*.config | sed 's/\.config//g')"
[[ -f $TOP/configs/$config.config ]] || die "no configs/$config.config"
need "${CROSS}gcc" flex bison bc make
fragments=("$TOP"/configs/{common,"arch-$ARCH","$BASE","$config"}.config)
[[ ! -f $TOP/configs/$config-$ARCH.config ]] || fragments+=("$TOP/configs/$config-$ARCH.config")
fragments+=("${add[@]}")
if [[ $(head -n 1 "$TOP/configs/$config.config") == "# alone" ]]; then
	fragments=("$TOP/configs/$config.config" "$TOP/configs/$config-$BASE.config" "${add[@]}")
fi

kernel=$config
[[ $ARCH == s390 ]] || kernel+=-$ARCH

image=arch/${ARCH%_64}/boot/$IMAGE	# called bzImage in the end, whatever it is here

kmake() { make -C "$src" O="$out" ARCH="$ARCH" CROSS_COMPILE="$CROSS" -j"$JOBS" "$@"; }

# Merge the fragments and insist that each line took effect.
configure() {
	local f=() i symbol without=(-e '^$')
	# the base kernel, and one with the first parts, do not have all of the symbols
	if ((base)) || [[ -n ${PARTS-} ]]; then
		while read -r symbol; do
			grep -qx "config $symbol" "$src/mm/Kconfig" || without+=(-e "CONFIG_$symbol")
		done < <(sed -n 's/.*CONFIG_\(PAGE_HINTING[A-Z_]*\).*/\1/p' "${fragments[@]}" | sort -u)
	fi
	for i in "${!fragments[@]}"; do
		f[i]=$out/fragment.$i
		grep -vw "${without[@]}" "${fragments[i]}" >"${f[i]}" || true
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
	mkdir -p "$out"
	say "configuring $kernel"
	configure
	say "building kernel $kernel (log: $out/build.log)"
	quietly "$out/build.log" kmake "$IMAGE"
}

# build_kept DIR: build in a work directory that stays, for the next revision, and keep the results
build_kept() {
	out=$CACHE/work/kernel-$BASE-$kernel
	# more of a configuration than the name says would have all of it built again each time
	if ((${#add[@]})); then out+=-$(cat "${add[@]}" | hash_stdin); fi
	if ((base)); then
		out=$1/build
	else
		sync_tree "$src" "$pristine" "${patches[@]}"
	fi
	build
	cp "$out"/{vmlinux,System.map,.config,build.log} "$1"
	cp "$out/$image" "$1/bzImage"
	if ((base)); then rm -rf "$out"; fi
}

build_locked() { with_lock "linux-tree-$BASE" build_kept "$1"; }

if [[ -n $tree ]]; then
	out=$CACHE/work/kernel-$BASE-$kernel-$(hash_stdin <<<"$tree")
	build_tree() {
		build
		cp "$out/$image" "$out/bzImage.new"
		mv "$out/bzImage.new" "$out/bzImage"	# somebody may be about to start it
	}
	with_lock "${out##*/}" build_tree >&2
	echo "$out"
else
	compiler=$("${CROSS}gcc" --version | head -n 1)
	cached "$CACHE/kernel/$kernel-$({ echo "$key $base $compiler"; cat "${fragments[@]}"; } | hash_stdin)" \
		build_locked
fi
