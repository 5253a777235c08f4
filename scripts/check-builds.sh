#!/bin/bash
# 1. With CONFIG_PAGE_HINTING off, the objects of mm/, fs/ and arch/s390/mm/ are those of the base kernel.
# 2. So are those of mm/ and of the hypervisor calls on powerpc, the other architecture with a hook for free pages, and
#    those of mm/, drivers/virtio/ and, without --parts, fs/ on x86-64, the other one that has the feature.
# 3. Each patch builds, feature off and on, without warnings: the objects whose sources the series touches.
# 4. All of them build in other configurations, configs/variants/, and our own files with W=1. So does each part on top of those
#    before it.
# TAP. What passed is remembered by content hash, so only what changed is built again.
# usage: scripts/check-builds.sh [--parts]
#   --parts   of 2., only x86-64, of 3., the last patch of each part, and of 4., the last part; the others are skipped unless they are remembered
. "$(dirname "$0")/lib.sh"

all=1
case ${1-} in
"") ;;
--parts) all=0 ;;
*) die "usage: scripts/check-builds.sh [--parts]" ;;
esac

POWERPC=powerpc64le-linux-gnu-
need {"$CROSS","$POWERPC",x86_64-linux-gnu-}{gcc,objdump} make git
base_tree
mapfile -t patches < <(series linux)
((${#patches[@]})) || die "patches/linux-$BASE is empty"
x86=0
if has_part 6; then x86=1; fi
compiler=$("${CROSS}gcc" --version | head -n 1)
variants=("$TOP"/configs/variants/*.config)
((x86)) || mapfile -t variants < <(printf '%s\n' "${variants[@]}" | grep -v /x86_64-)
# after which patches a part ends
ends=" $(awk -v parts="${PARTS-}" 'parts == "" || index(" " parts " ", " " $1 " ") { printf "%d ", n += $2 }' "$TOP/patches/linux-$BASE/parts")"
echo "1..$((${#patches[@]} + 2 + x86 + ${#variants[@]} * $(wc -w <<<"$ends")))"
# What is built, until compare_off says otherwise.
arch=s390 cross=$CROSS

# One at a time: the work directories are shared.
mkdir -p "$CACHE/locks"
exec {lock}>"$CACHE/locks/check-builds"
flock "$lock"

kmake() { make -s -C "$1" O="$2" ARCH="$arch" CROSS_COMPILE="$cross" -j"$JOBS" "${@:3}"; }

# configure SOURCE OUT FRAGMENT...: the part of the configuration that this tree knows
configure() {
	mkdir -p "$2"
	(cd "$2" && "$1/scripts/kconfig/merge_config.sh" -m -r "$1"/kernel/configs/tiny{-base,}.config \
		"${@:3}" >config.log 2>&1 && mv .config all.config)
	kmake "$1" "$2" KCONFIG_ALLCONFIG="$2/all.config" allnoconfig >>"$2/config.log" 2>&1
}

# prefix N: key of base, patches 1..N and what they are built with
prefix() { { echo "$compiler ${pristine##*/} $(hash_code "${patches[@]:0:$1}")"; cat "$TOP"/configs/{common,"arch-$ARCH","$BASE",off,run,shared}.config; } | hash_stdin; }

# --- 1: nothing changes ---------------------------------------------------------------------

objects() { (cd "$1" && find "${targets[@]%/}" -name '*.o' ! -name 'built-in.a' | sort); }

# off_objects OUT SOURCE
off_objects() {
	say "building ${targets[*]} of ${2##*/} for $arch with the feature off"
	configure "$2" "$1" "${fragments[@]}"
	quietly "$1/build.log" kmake "$2" "$1" "${targets[@]}"
}

# Contents of the sections, relocations and symbols as text. Names that kbuild makes of line numbers
# (initcalls), of the preprocessor's counter and of the compiler's (tables of a switch) may differ when a header grows;
# nothing else may.
as_text() {
	"${cross}objdump" -s -r -t "$1" | sed -E '/file format/d
		s/(__initcall__kmod_[a-z0-9_]+__)[0-9]+_[0-9]+_/\1N_/g
		s/(__UNIQUE_ID_[A-Za-z0-9_]*[A-Za-z_])[0-9]+/\1N/g
		s/(CSWTCH\.)[0-9]+/\1N/g'
}

series_off_objects() {
	sync_tree "$CACHE/work/linux-$BASE" "$pristine" "${patches[@]}"
	off_objects "$b" "$CACHE/work/linux-$BASE"
}

# off_key [N]: of the base, or of base and patches 1..N, and what its objects are built with
off_key() {
	{
		"${cross}gcc" --version | head -n 1
		echo "${pristine##*/} $(hash_code "${patches[@]:0:${1-0}}") ${targets[*]}"
		cat "${fragments[@]}"
	} | hash_stdin
}

compare_off() {
	local a b=$CACHE/work/objects-off-$BASE-$arch o same=0 text=0 differ=0
	a=$(cached "$CACHE/objects/$(off_key)" off_objects "$pristine")
	# an object that another configuration has left behind would count
	if [[ $(cat "$b/base" 2>/dev/null) != "$a" ]]; then rm -rf "$b"; fi
	mkdir -p "$b"
	echo "$a" >"$b/base"
	with_lock "linux-tree-$BASE" series_off_objects
	diff <(objects "$a") <(objects "$b") | sed 's/^/# only in one: /' || true
	while read -r o; do
		if [[ $o == fs/btrfs/super.o ]]; then
			echo "# $o: not compared, it hands line numbers to functions"
		elif cmp -s "$a/$o" "$b/$o"; then
			same=$((same + 1))
		elif cmp -s <(as_text "$a/$o") <(as_text "$b/$o"); then
			text=$((text + 1))
			echo "# $o: identical but for names made of line numbers and counters"
		else
			differ=$((differ + 1))
			echo "# $o: differs"
			diff <(as_text "$a/$o") <(as_text "$b/$o") | head -n 10 | sed 's/^/#   /' || true
		fi
	done < <(objects "$a")
	echo "# objects compared: $((same + text + differ)); identical: $same; but for names made of line numbers and counters: $text; different: $differ"
	((differ == 0 && same > 0)) && [[ $(objects "$a") == "$(objects "$b")" ]]
}

failed=0 n=0
verdicts=$CACHE/bisect
mkdir -p "$verdicts"

# check_off ARCH CROSS CONFIGS TARGETS: the last two are lists of words
check_off() {
	local arch=$1 cross=$2 fragments targets verdict rc=0 skipped=
	read -ra fragments <<<"$3"
	fragments=("${fragments[@]/#/$TOP/configs/}")
	fragments=("${fragments[@]/%/.config}")
	read -ra targets <<<"$4"
	verdict=$verdicts/off-$(off_key ${#patches[@]})
	if [[ ! -e $verdict && $arch == powerpc ]] && ((!all)); then
		skipped=" # skip by default: make check-builds"
	elif [[ ! -e $verdict ]]; then
		attempt compare_off >"$verdict.new"
		cat "$verdict.new"
		((rc)) || mv "$verdict.new" "$verdict"
	else
		cat "$verdict"
	fi
	point $rc "$arch, feature off: the objects of $4 are the base's$skipped"
}
check_off s390 "$CROSS" "common arch-s390 $BASE off" "mm/ fs/ arch/s390/mm/"
check_off powerpc "$POWERPC" powerpc "mm/ arch/powerpc/mm/ arch/powerpc/platforms/pseries/"
((!x86)) || check_off x86_64 x86_64-linux-gnu- "common arch-x86_64 $BASE off" "mm/$( ((!all)) || echo ' fs/') drivers/virtio/"

# --- 2: each patch builds -------------------------------------------------------------------

work=$CACHE/work/bisect-$BASE
mkdir -p "$work"
mapfile -t sources < <(touched "${patches[@]}" | grep '\.[cS]$' | grep '^\(mm\|fs\|kernel\|lib\|arch/s390\|block\|drivers/virtio\)/')
# the last one where there is such a host
configs=(off run shared)

# The architecture may offer the feature only late in the series; for building the patches before, pretend. That is not possible
# before it has the header that the feature needs.
offer_feature() {
	local f=$work/src/arch/s390/Kconfig header=arch/s390/include/asm/page-hinting.h
	offered=1
	if grep -q ARCH_HAS_PAGE_HINTING "$f"; then return; fi
	if [[ ! -e $work/src/$header ]] && created "${patches[@]}" | grep -x "$header" >/dev/null; then
		offered=0
		return
	fi
	pretend '\nconfig ARCH_HAS_PAGE_HINTING\n\tdef_bool y\n'
}
# pretend FORMAT: add it to the architecture's Kconfig
pretend() {
	local f=$work/src/arch/s390/Kconfig
	# shellcheck disable=SC2059
	{ cat "$f"; printf "$1"; } >"$work/Kconfig"
	mv "$work/Kconfig" "$f"		# not in place: it is a hard link
	echo arch/s390/Kconfig >>"$work/src.touched"	# so that sync_tree looks after it
}

# build_at CONFIG [MAKE-ARGUMENT]...: build what the first N patches have; on failure or a warning: the messages.
build_at() {
	local config=$1 out=$work/${1##*/} targets=() s fragments=("$TOP"/configs/{common,"arch-$arch","$BASE"}.config)
	shift
	# a variant is one of the configuration to run
	[[ $config != */* ]] || fragments+=("$TOP/configs/run.config")
	fragments+=("$TOP/configs/$config.config")
	configure "$work/src" "$out" "${fragments[@]}"
	[[ $config != */* ]] || "$TOP/scripts/check-config.sh" "$out/.config" "${fragments[-1]}" || return 1
	# fixes come first, before there is a feature
	if [[ $config == run ]] && ((offered)) && grep -qx 'config PAGE_HINTING' "$work/src/mm/Kconfig" && ! grep -qx CONFIG_PAGE_HINTING=y "$out/.config"; then
		echo "CONFIG_PAGE_HINTING cannot be switched on"
		return 1
	fi
	quietly "$out/prepare.log" kmake "$work/src" "$out" prepare
	for s in "${sources[@]}"; do
		if [[ -e $work/src/$s && ($s != arch/* || $s == arch/$arch/*) ]] && is_built "$s" "$out"; then targets+=("${s%.*}.o"); fi
	done
	((${#targets[@]})) || return 0
	kmake "$work/src" "$out" "${targets[@]}" "$@" >"$out/build.log" 2>&1 || { cat "$out/build.log"; return 1; }
	if grep -i 'warning\|error' "$out/build.log" | if (($#)); then grep 'page[_-]hinting'; else cat; fi; then return 1; fi
}

# is_built SOURCE OUT: is it part of the configuration? Ask the Makefile beside it: "obj-y", or symbols that are set,
# those of the ifdefs around it too.
is_built() {
	local object symbol
	object=$(basename "${1%.*}").o
	while read -r symbol; do
		[[ $symbol == found ]] || grep -q "^$symbol=y" "$2/.config" || return 1
	done < <(awk -v object="$object" '
		{ symbol = match($0, /CONFIG_[A-Z0-9_]*/) ? substr($0, RSTART, RLENGTH) : "found" }
		/^ifn?def|^ifn?eq/ { around[++depth] = symbol }
		/^endif/ { depth-- }
		!/^if/ { for (i = 1; i <= NF; i++) if ($i == object) { print symbol; while (depth) print around[depth--]; exit } }' \
		"$work/src/$(dirname "$1")/Makefile" | grep . || echo none)
}

for ((i = 1; i <= ${#patches[@]}; i++)); do
	ok=$verdicts/$(prefix $i)
	rc=0 cached=" (remembered)"
	if [[ ! -e $ok ]] && ((!all)) && [[ $ends != *" $i "* ]]; then
		cached=" # skip within a part: make check-builds"
	elif [[ ! -e $ok ]]; then
		cached=
		say "building after patch $i of ${#patches[@]}"
		sync_tree "$work/src" "$pristine" "${patches[@]:0:i}"
		offer_feature
		for c in "${configs[@]}"; do
			[[ $c != shared ]] || grep -qx 'config PAGE_HINTING_SHARED' "$work/src/mm/Kconfig" || continue
			attempt build_at "$c" >"$work/messages" 2>&1
			((rc == 0)) || break
		done
		if ((rc == 0)); then touch "$ok"; else sed "s/^/# $c: /" "$work/messages"; fi
	fi
	point $rc "builds off and on: ${patches[i - 1]##*/}$cached"
done

# --- 3: other configurations ----------------------------------------------------------------

# variant NAME N: it builds with patches 1..N. The last part has x86-64.
variant() {
	local v=variants/$1 i=$2 arch=s390 cross=$CROSS rc=0 ok cached=" (remembered)"
	if [[ $1 == x86_64-* ]]; then arch=x86_64 cross=x86_64-linux-gnu-; fi
	ok=$verdicts/$1-$({ prefix "$i"; cat "$TOP"/configs/{"$v","arch-$arch"}.config; } | hash_stdin)
	if [[ -e $ok ]]; then
		:
	elif [[ $arch == x86_64 && $i != "${#patches[@]}" ]]; then
		cached=" # skip $arch comes with the last part"
	elif ((!all)) && [[ $i != "${#patches[@]}" ]]; then
		cached=" # skip before the last part: make check-builds"
	else
		cached=
		say "building $v after patch $i"
		sync_tree "$work/src" "$pristine" "${patches[@]:0:i}"
		if [[ $arch == s390 ]]; then offer_feature; fi
		if [[ $v == */rt ]]; then pretend '\nconfig RT_PRETENDED\n\tdef_bool y\n\tselect ARCH_SUPPORTS_RT\n'; fi
		attempt build_at "$v" W=1 >"$work/messages" 2>&1
		if ((rc == 0)); then touch "$ok"; else sed "s|^|# $v: |" "$work/messages"; fi
	fi
	point $rc "builds with $v.config after patch $i$cached"
}
for v in "${variants[@]}"; do
	for i in $ends; do variant "$(basename "$v" .config)" "$i"; done
done
((!failed))
