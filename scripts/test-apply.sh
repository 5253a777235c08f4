#!/bin/bash
# TAP tests of apply.sh with each series, on small trees that hold only the files the series touches.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/series.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@invalid GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@invalid

# tree NAME: fresh tree in $t
tree() {
	local f
	t=$work/$BASE/$1
	mkdir "$t"
	for f in Makefile Kbuild mm/filemap.c $(touched "${patches[@]}"); do
		[[ ! -e $src/$f ]] || (cd "$src" && cp -p --parents "$f" "$t")
	done
}
git_tree() {
	tree "$1"
	git -C "$t" init -q
	git -C "$t" add -A
	git -C "$t" commit -q -m base
}
state() { (cd "$t" && find . -name .git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | hash_stdin); }
n=0
verdict() {
	n=$((n + 1))
	if (($1 == 0)); then echo "ok $n - $BASE: $2"; else echo "not ok $n - $BASE: $2"; sed 's/^/# /' "$work/log"; fi
}
apply() { "$TOP/scripts/apply.sh" "$t" >"$work/log" 2>&1; }
succeeds() { local rc=0; apply && "${@:2}" || rc=1; verdict $rc "$1"; }
# refuses TEXT MESSAGE: fails, says so, changes nothing
refuses() {
	local rc=1 before head
	before=$(state) head=$(git -C "$t" rev-parse HEAD 2>/dev/null || true)
	if ! apply && grep -q "$2" "$work/log" && [[ $(state) == "$before" ]] &&
	   [[ $(git -C "$t" rev-parse HEAD 2>/dev/null || true) == "$head" ]]; then
		rc=0
	fi
	verdict $rc "$1"
}

test_base() {
	local patches src victim want f
	base_tree
	mapfile -t patches < <(series linux)
	((${#patches[@]})) || die "patches/linux-$BASE is empty"
	src=$pristine
	# A file that the series changes: the last one, so that everything before it has applied when it fails.
	victim=$(sed -n 's,^--- a/,,p' "${patches[@]}" | grep -vxF "$(created "${patches[@]}")" | tail -n 1)

	# what the tree must look like afterwards, by way of git am
	git_tree reference
	am "$t" "${patches[@]}"
	want=$(state)
	is_right() { [[ $(state) == "$want" ]]; }
	is_right_git() { is_right && [[ $(git -C "$t" rev-list --count HEAD) == $((${#patches[@]} + 1)) ]]; }

	git_tree git
	succeeds "git tree: applied as commits" is_right_git
	refuses "git tree: refused the second time" "carries the series already"
	tree plain
	succeeds "plain tree: applied" is_right
	refuses "plain tree: refused the second time" "carries the series already"

	git_tree dirty
	echo >>"$t/Makefile"
	refuses "git tree with uncommitted changes: refused" "uncommitted changes"

	git_tree middle
	mkdir "$t/.git/rebase-apply"
	refuses "git tree in the middle of a rebase: refused" "in the middle"

	tree other
	sed -i 's/^VERSION = .*/VERSION = 5/' "$t/Makefile"
	refuses "another version: refused" "there are series for"

	t=$work/$BASE/empty
	mkdir "$t"
	refuses "not a kernel tree: refused" "not a Linux source tree"

	tree partly
	f=$(created "${patches[@]}" | head -n 1)
	mkdir -p "$t/${f%/*}"
	echo >"$t/$f"
	refuses "tree with one of the new files: refused" "files that the series creates"

	tree conflict
	sed -i 's/$/ /' "$t/$victim"
	refuses "plain tree, a patch does not apply: nothing changed" "does not apply"

	git_tree conflict-git
	sed -i 's/$/ /' "$t/$victim"
	git -C "$t" commit -q -a -m conflict
	refuses "git tree, a patch does not apply: nothing changed" "does not apply"

	# a hook of the user's that says no, half way through
	git_tree hook
	# shellcheck disable=SC2016	# expanded by the hook
	printf '#!/bin/sh\n[ $(git rev-list --count HEAD) -lt 2 ]\n' >"$t/.git/hooks/pre-applypatch"
	chmod +x "$t/.git/hooks/pre-applypatch"
	if ((${#patches[@]} > 1)); then
		refuses "git am stopped half way: nothing changed" "is as it was"
	else
		echo "ok $((n += 1)) # SKIP one patch only"
	fi

	# A plain tree inside somebody else's repository is a plain tree.
	git_tree outer
	tree outer/inner
	succeeds "plain tree inside another repository: applied" is_right

	test_parts
}

# Some of the parts, and then the others.
test_parts() {
	local all
	if [[ ! -f $TOP/patches/linux-$BASE/parts ]]; then
		for _ in 1 2 3 4; do echo "ok $((n += 1)) # SKIP this series has no parts"; done
		return
	fi
	all=$(cut -d' ' -f1 "$TOP/patches/linux-$BASE/parts" | paste -sd' ')
	git_tree parts
	PARTS=9 refuses "a part that there is not: refused" "there are no patches of parts 9"
	PARTS=2 refuses "a part without those before it: refused" "does not apply"
	is_first() { [[ $(git -C "$t" rev-list --count HEAD) == $((1 + $(PARTS=1 series linux | wc -l))) ]]; }
	PARTS=1 succeeds "the first part: applied" is_first
	PARTS=${all#1 } succeeds "the others after it: applied" is_right_git
}

echo "1..$((17 * ${#BASES[@]}))"
for b in "${BASES[@]}"; do
	mkdir "$work/$b"
	if has_base "linux-$b"; then
		BASE=$b test_base
	else
		for _ in {1..17}; do echo "ok $((n += 1)) # SKIP there is no linux-source-$b any more"; done
	fi
done
