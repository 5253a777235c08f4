#!/bin/bash
# Put the series on your own kernel tree: "git am" in a git tree, patched files in a plain one. All of it
# or nothing: every patch is tried on copies of the files first, without fuzz.
# usage: [PARTS="1 2"] scripts/apply.sh DIR
. "$(dirname "$0")/lib.sh"

dir=${1-}
[[ -n $dir ]] || die "usage: ${0##*/} DIR (or: make apply LINUX=DIR)"
[[ -d $dir ]] || die "$dir is not a directory"
dir=$(readlink -f "$dir")
need git

# Is there a series for it?
[[ -f $dir/Kbuild && -f $dir/mm/filemap.c ]] || die "$dir is not a Linux source tree; nothing was changed"
version=$(kernel_version "$dir")
BASE=$(base_of "$dir") || die "$dir is Linux $version, there are series for ${BASES[*]/%/.y}; nothing was changed"
mapfile -t patches < <(series linux)
((${#patches[@]})) || die "there are no patches${PARTS:+ of parts $PARTS} in $TOP/patches/linux-$BASE; nothing was changed"
mapfile -t touched < <(touched "${patches[@]}")
mapfile -t created < <(created "${patches[@]}")

# Applied already?
present=()
for f in "${created[@]}"; do [[ ! -e $dir/$f ]] || present+=("$f"); done
if ((${#present[@]} && ${#present[@]} == ${#created[@]})); then
	die "$dir carries the series already (${present[0]} exists); nothing was changed"
elif ((${#present[@]})); then
	die "$dir has files that the series creates, perhaps from another version of it: ${present[*]}; nothing was changed"
fi

# A git tree of its own, or files that only happen to lie in somebody's repository?
git_tree=0
if [[ $(git -C "$dir" rev-parse --show-toplevel 2>/dev/null) == "$dir" ]]; then
	git_tree=1
	state=$(git -C "$dir" rev-parse --absolute-git-dir)
	[[ ! -e $state/rebase-apply && ! -e $state/rebase-merge && ! -e $state/MERGE_HEAD ]] ||
		die "$dir is in the middle of a rebase, am or merge; nothing was changed"
	[[ -z $(git -C "$dir" status --porcelain --untracked-files=no) ]] ||
		die "$dir has uncommitted changes: commit or stash them; nothing was changed"
	git -C "$dir" var GIT_COMMITTER_IDENT >/dev/null 2>&1 ||
		die "git does not know who you are (user.name, user.email); nothing was changed"
fi

# Dry run on copies.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/new" "$scratch/old"
existing=()
for f in "${touched[@]}"; do [[ ! -e $dir/$f ]] || existing+=("$f"); done
((${#existing[@]})) && tar -C "$dir" -cf - -- "${existing[@]}" | tar -C "$scratch/new" -xf -
for p in "${patches[@]}"; do
	(cd "$scratch/new" && GIT_CEILING_DIRECTORIES=$scratch git apply --whitespace=nowarn "$p") ||
		die "${p##*/} does not apply to $dir ($version, series made on $(cat "$TOP/patches/linux-$BASE/base")); nothing was changed"
done

if ((git_tree)); then
	if ! git -C "$dir" am -q --no-3way --keep-non-patch --keep-cr "${patches[@]}" >&2; then
		git -C "$dir" am --abort
		die "git am failed; $dir is as it was"
	fi
	say "$dir ($version): ${#patches[@]} commits added"
	exit
fi

# Plain tree: copy the results, and the originals back should that fail half way.
((${#existing[@]})) && tar -C "$dir" -cf - -- "${existing[@]}" | tar -C "$scratch/old" -xf -
restore() {
	tar -C "$scratch/old" -cf - . | tar -C "$dir" -xf - || true
	(cd "$dir" && rm -f -- "${created[@]}")
	die "could not write to $dir; it is as it was"
}
trap restore INT TERM
tar -C "$scratch/new" -cf - . | tar -C "$dir" --no-overwrite-dir -xf - || restore
for f in "${existing[@]}"; do [[ -e $scratch/new/$f ]] || rm -- "$dir/$f"; done
trap - INT TERM
say "$dir ($version): ${#patches[@]} patches applied"
