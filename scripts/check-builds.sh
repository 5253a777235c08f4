#!/bin/bash
# 1. With CONFIG_PAGE_HINTING off, the objects of mm/, fs/ and arch/s390/mm/ are those of the base kernel.
# 2. Each patch builds, feature off and on, without warnings: the objects whose sources the series touches.
# TAP. What passed is remembered by content hash, so only what changed is built again.
. "$(dirname "$0")/lib.sh"

need "${CROSS}gcc" "${CROSS}objdump" make git
mapfile -t patches < <(series linux)
((${#patches[@]})) || die "patches/linux is empty"
pristine=$("$TOP/scripts/fetch-linux.sh")
compiler=$("${CROSS}gcc" --version | head -n 1)
echo "1..$((${#patches[@]} + 1))"

# One at a time: the work directories are shared.
mkdir -p "$CACHE/locks"
exec {lock}>"$CACHE/locks/check-builds"
flock "$lock"

kmake() { make -s -C "$1" O="$2" ARCH=s390 CROSS_COMPILE="$CROSS" -j"$JOBS" "${@:3}"; }

# configure SOURCE OUT CONFIG: the part of the configuration that this tree knows
configure() {
	mkdir -p "$2"
	(cd "$2" && "$1/scripts/kconfig/merge_config.sh" -m -r "$1"/kernel/configs/tiny{-base,}.config \
		"$TOP/configs/common.config" "$TOP/configs/$3.config" >config.log 2>&1 && mv .config all.config)
	kmake "$1" "$2" KCONFIG_ALLCONFIG="$2/all.config" allnoconfig >>"$2/config.log" 2>&1
}

# prefix N: key of base, patches 1..N and what they are built with
prefix() { { echo "$compiler ${pristine##*/} $(hash_files "${patches[@]:0:$1}")"; cat "$TOP"/configs/{common,off,run}.config; } | hash_stdin; }

# --- 1: nothing changes ---------------------------------------------------------------------

objects() { (cd "$1" && find mm fs arch/s390/mm -name '*.o' ! -name 'built-in.a' | sort); }

# off_objects OUT SOURCE
off_objects() {
	say "building mm/ fs/ arch/s390/mm/ of ${2##*/} with the feature off"
	configure "$2" "$1" off
	quietly "$1/build.log" kmake "$2" "$1" mm/ fs/ arch/s390/mm/
}

# Contents of the sections, relocations and symbols as text. Names that kbuild makes of line numbers
# (initcalls) and of the preprocessor's counter may differ when a header grows; nothing else may.
as_text() {
	"${CROSS}objdump" -s -r -t "$1" | sed -E '/file format/d
		s/(__initcall__kmod_[a-z0-9_]+__)[0-9]+_[0-9]+_/\1N_/g
		s/(__UNIQUE_ID_[A-Za-z0-9_]*[A-Za-z_])[0-9]+/\1N/g'
}

series_off_objects() {
	sync_tree "$CACHE/work/linux" "$pristine" "${patches[@]}"
	off_objects "$b" "$CACHE/work/linux"
}

compare_off() {
	local a b=$CACHE/work/objects-off o same=0 text=0 differ=0
	a=$(cached "$CACHE/objects/$({ echo "$compiler ${pristine##*/}"; cat "$TOP"/configs/{common,off}.config; } | hash_stdin)" \
		off_objects "$pristine")
	# an object that another configuration has left behind would count
	if [[ $(cat "$b/base" 2>/dev/null) != "$a" ]]; then rm -rf "$b"; fi
	mkdir -p "$b"
	echo "$a" >"$b/base"
	with_lock linux-tree series_off_objects
	diff <(objects "$a") <(objects "$b") | sed 's/^/# only in one: /' || true
	while read -r o; do
		if [[ $o == fs/btrfs/super.o ]]; then
			echo "# $o: not compared, it hands line numbers to functions"
		elif cmp -s "$a/$o" "$b/$o"; then
			same=$((same + 1))
		elif cmp -s <(as_text "$a/$o") <(as_text "$b/$o"); then
			text=$((text + 1))
			echo "# $o: identical but for names made of line numbers"
		else
			differ=$((differ + 1))
			echo "# $o: differs"
			diff <(as_text "$a/$o") <(as_text "$b/$o") | head -n 10 | sed 's/^/#   /' || true
		fi
	done < <(objects "$a")
	echo "# objects compared: $((same + text + differ)); identical: $same; but for names made of line numbers: $text; different: $differ"
	((differ == 0 && same > 0)) && [[ $(objects "$a") == "$(objects "$b")" ]]
}

failed=0
verdicts=$CACHE/bisect
mkdir -p "$verdicts"
off_key=$verdicts/off-$(prefix ${#patches[@]})
if [[ ! -e $off_key ]]; then
	attempt compare_off >"$off_key.new"
	cat "$off_key.new"
	((rc)) || mv "$off_key.new" "$off_key"
else
	rc=0
	cat "$off_key"
fi
if ((rc == 0)); then
	echo "ok 1 - feature off: mm/*.o fs/*.o arch/s390/mm/*.o are the base's"
else
	echo "not ok 1 - feature off: mm/*.o fs/*.o arch/s390/mm/*.o are the base's"
	failed=1
fi

# --- 2: each patch builds -------------------------------------------------------------------

work=$CACHE/work/bisect
mkdir -p "$work"
mapfile -t sources < <(touched "${patches[@]}" | grep '\.[cS]$' | grep '^\(mm\|fs\|kernel\|lib\|arch/s390\|block\)/')
configs=(off run)

# The architecture offers the feature only late in the series; for building the patches before, pretend.
offer_feature() {
	local f=$work/src/arch/s390/Kconfig
	grep -q ARCH_HAS_PAGE_HINTING "$f" && return
	{ cat "$f"; printf '\nconfig ARCH_HAS_PAGE_HINTING\n\tdef_bool y\n'; } >"$work/Kconfig"
	mv "$work/Kconfig" "$f"		# not in place: it is a hard link
	echo arch/s390/Kconfig >>"$work/src.touched"	# so that sync_tree looks after it
}

# Build what the first N patches have; on failure or a warning: the messages.
build_at() {
	local config=$1 out=$work/$1 targets=() s
	configure "$work/src" "$out" "$config"
	if [[ $config == run ]] && ! grep -qx CONFIG_PAGE_HINTING=y "$out/.config"; then
		echo "CONFIG_PAGE_HINTING cannot be switched on"
		return 1
	fi
	quietly "$out/prepare.log" kmake "$work/src" "$out" prepare
	for s in "${sources[@]}"; do
		if [[ -e $work/src/$s ]] && is_built "$s" "$out"; then targets+=("${s%.*}.o"); fi
	done
	((${#targets[@]})) || return 0
	kmake "$work/src" "$out" "${targets[@]}" >"$out/build.log" 2>&1 || { cat "$out/build.log"; return 1; }
	if grep -i 'warning\|error' "$out/build.log"; then return 1; fi
}

# Is this source part of the configuration? Ask the Makefile beside it: "obj-y", or a symbol that is set.
is_built() {
	local o line symbol
	o=$(basename "${1%.*}").o
	line=$(grep -hE "(^|[[:space:]])$o([[:space:]]|\\\\|\$)" "$work/src/$(dirname "$1")/Makefile" | head -n 1) || return 1
	symbol=$(grep -o 'CONFIG_[A-Z0-9_]*' <<<"$line" | head -n 1) || return 0
	grep -q "^$symbol=y" "$2/.config"
}

for ((i = 1; i <= ${#patches[@]}; i++)); do
	ok=$verdicts/$(prefix $i)
	rc=0 cached=" (remembered)"
	if [[ ! -e $ok ]]; then
		cached=
		say "building after patch $i of ${#patches[@]}"
		sync_tree "$work/src" "$pristine" "${patches[@]:0:i}"
		offer_feature
		for c in "${configs[@]}"; do
			attempt build_at "$c" >"$work/messages" 2>&1
			((rc == 0)) || break
		done
		if ((rc == 0)); then touch "$ok"; else sed "s/^/# $c: /" "$work/messages"; fi
	fi
	name=$(basename "${patches[i - 1]}")
	if ((rc == 0)); then
		echo "ok $((i + 1)) - builds off and on: $name$cached"
	else
		echo "not ok $((i + 1)) - builds off and on: $name"
		failed=1
	fi
done
((!failed))
