#!/bin/bash
# Base and patches as a git tree: a commit tagged "base", then one commit a patch.
# usage: scripts/import.sh linux-VERSION|qemu DIR
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/series.sh"

(($# == 2)) || die "usage: ${0##*/} linux-VERSION|qemu DIR"
name=$1 dir=$2
[[ ! -e $dir ]] || die "$dir exists already"
need git
repo=$(base_repo "$name")
mapfile -t patches < <(series "$name")
say "checking out the base in $dir"
git clone -q --no-checkout "$repo" "$dir"
git -C "$dir" remote remove origin
git -C "$dir" checkout -q -B page-hinting base
if grep -qx '/\*' "$dir/.gitignore" 2>/dev/null; then
	# Debian's kernel tree ignores everything, so new files would be missed. Not here.
	git -C "$dir" update-index --skip-worktree .gitignore
	sed -i '/^\/\*$/d' "$dir/.gitignore"
fi
say "applying ${#patches[@]} patches"
am "$dir" "${patches[@]}"
say "done; edit and commit in $dir (git rebase -i base), then: scripts/export.sh $name $dir"
