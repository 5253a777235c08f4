#!/bin/bash
# Write the commits base..HEAD of a git tree as patches, and for the first of the kernels the overlay: the files
# that the series creates, as of its last patch, and the section it adds to MAINTAINERS.
# usage: scripts/export.sh linux-VERSION|qemu DIR
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/series.sh"

(($# == 2)) || die "usage: ${0##*/} linux-VERSION|qemu DIR"
name=$1 dir=$2 out=$TOP/patches/$1
case $name in
linux-*) version=$(git -C "$dir" show base:Makefile | sed -n 's/^\(VERSION\|PATCHLEVEL\|SUBLEVEL\) = //p' | paste -sd.) ;;
qemu) version=$(git -C "$dir" show base:VERSION) ;;
*) die "no series called '$name'" ;;
esac
[[ -z $(git -C "$dir" status --porcelain --untracked-files=no) ]] || die "$dir has uncommitted changes"
[[ $(git -C "$dir" rev-list --count --merges base..HEAD) == 0 ]] || die "there are merges between base and HEAD"

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
mkdir "$new/patches" "$new/overlay"
export_patches "$dir" "$new/patches"
if [[ $name == linux-* && $name != "linux-${BASES[0]}" ]]; then
	share_patches "$new/patches" "linux-${BASES[0]}"
elif [[ $name == linux-* ]]; then
	export_overlay "$dir" "$new/overlay"
	for f in "$new"/overlay/*; do
		[[ -f $f || " ${overlay_dirs[*]} " == *" ${f##*/} "* ]] || die "no room for the series' ${f##*/}/ in the overlay"
	done
	(cd "$TOP" && rm -rf -- "${overlay_dirs[@]}" MAINTAINERS)
	cp -a "$new/overlay/." "$TOP/"
fi
mkdir -p "$out"
find "$out" -maxdepth 1 \( -name '[0-9]*.patch' -o -name series \) -delete
cp "$new"/patches/* "$out/"
echo "$version" >"$out/base"
say "$name: $(series "$name" | wc -l) patches on $version"
