# shellcheck shell=bash
# The patch series as git commits: functions of import, export and check. Source it after lib.sh.

# No configuration but ours, so that every machine produces the same bytes.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 GIT_ADVICE=0
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

# Directories of the kernel that may show up at the top of this repository, as overlay: files the
# series creates. (The kernel's scripts/ cannot, the repository has its own.)
# shellcheck disable=SC2034
overlay_dirs=(arch block Documentation drivers fs include init io_uring ipc kernel lib mm net
	rust samples security tools usr virt)

# base_repo SERIES: bare repository with the base tree as one commit, tagged "base" (cached).
base_repo() {
	local src
	src=$(base_source "$1")
	cached "$CACHE/git/${src##*/}" make_base_repo "$1" "$src"
}
base_source() {
	case $1 in
	linux-*) BASE=${1#linux-} "$TOP/scripts/fetch-linux.sh" ;;
	qemu) "$TOP/scripts/fetch-qemu.sh" ;;
	*) die "no series called '$1' (there are: ${BASES[*]/#/linux-} qemu)" ;;
	esac
}
# has_base SERIES: can its base be had? That of Debian 13's backports goes when there is a newer one.
has_base() {
	local rc=0
	base_source "$1" >/dev/null || rc=$?
	((rc == 0 || rc == 3)) || exit "$rc"
	((rc == 0))
}
make_base_repo() {
	local g=(git --git-dir="$1" --work-tree="$3" -c core.autocrlf=false -c core.safecrlf=false -c gc.auto=0)
	say "making a git repository of ${3##*/}"
	git init -q --bare "$1"
	"${g[@]}" add -A -f .		# -f: the tree's own .gitignore hides some of its files
	GIT_AUTHOR_DATE='2000-01-01 00:00:00 +0000' GIT_COMMITTER_DATE='2000-01-01 00:00:00 +0000' \
		"${g[@]}" -c user.name=base -c user.email=base@invalid commit -q -m "base: $2 $(base_version "$2" "$3")"
	"${g[@]}" tag base
}
base_version() {
	case $1 in
	linux-*) kernel_version "$2" ;;
	qemu) cat "$2/VERSION" ;;
	esac
}

# am DIR PATCH...: apply as commits, strictly (git am without -3 knows neither fuzz nor merging).
am() {
	local dir=$1
	shift
	(($#)) || return 0
	# The committer does not show in what export writes; any will do where none is set.
	git -C "$dir" var GIT_COMMITTER_IDENT >/dev/null 2>&1 || export GIT_COMMITTER_NAME=import GIT_COMMITTER_EMAIL=import@invalid
	git -C "$dir" -c core.autocrlf=false -c gc.auto=0 am -q --no-3way --keep-non-patch --keep-cr --no-scissors "$@" >&2
}

# sparse_import NAME DIR: like import, but with only the touched files checked out; takes seconds.
sparse_import() {
	local repo p
	repo=$(base_repo "$1")
	mapfile -t p < <(series "$1")
	git clone -q --shared --no-checkout "$repo" "$2"
	# with .gitattributes, which decides what stands behind the @@ of a hunk
	{ touched "${p[@]}" | sed 's,^,/,'; echo .gitattributes; } | git -C "$2" sparse-checkout set --no-cone --stdin
	git -C "$2" checkout -q -B "$1" base
	am "$2" "${p[@]}"
}

# export_patches DIR OUT: commits base..HEAD of DIR as OUT/NNNN-*.patch
export_patches() {
	git -C "$1" -c core.quotePath=true -c diff.algorithm=histogram -c diff.indentHeuristic=true \
		-c diff.context=3 -c diff.interHunkContext=0 -c diff.suppressBlankEmpty=false \
		-c format.pretty= -c format.headers= -c format.encodeEmailHeaders=true -c i18n.logOutputEncoding=UTF-8 \
		format-patch -q --zero-commit --no-signature --full-index --no-numbered -M50% --no-base --no-thread \
		--no-attach --no-signoff --no-notes --no-cover-letter --no-color --no-ext-diff --no-textconv \
		--subject-prefix=PATCH --src-prefix=a/ --dst-prefix=b/ -O/dev/null --stat=72 --summary \
		-o "$2" base..HEAD
}

# Without what depends on the exact base: line numbers and blob names.
normalise() { sed -E 's/^@@ -[0-9,]+ \+[0-9,]+ @@.*/@@/; /^index [0-9a-f]{40}\.\./d' "$1"; }

# subjects PATCH...: lines of subject, tab and patch.
subjects() {
	(($# == 0)) || awk 'FNR == 1 { head = 1; subject = "" }
		head && subject != "" && !/^ / { sub(/^\[PATCH\] /, "", subject); print subject "\t" FILENAME; head = 0 }
		head && /^Subject: / { subject = substr($0, 10) }
		head && /^ / && subject != "" { subject = subject $0 }' "$@"
}

# by_subject ARRAY SERIES: subject -> patch, in an associative array.
by_subject() {
	local -n table=$1
	local list subject patch
	mapfile -t list < <(series "$2")
	# shellcheck disable=SC2004,SC2034	# an associative array of the caller's
	while IFS=$'\t' read -r subject patch; do table[$subject]=$patch; done < <(subjects "${list[@]}")
}

# share_patches DIR SERIES: list the patches of DIR in DIR/series; those that SERIES has, too, are not kept twice.
share_patches() {
	local subject p other
	local -A there=()
	by_subject there "$2"
	while IFS=$'\t' read -r subject p; do
		other=${there[$subject]-}
		if [[ -n $other ]] && cmp -s <(normalise "$p") <(normalise "$other"); then
			rm "$p"
			echo "../$2/${other##*/}"
		else
			echo "${p##*/}"
		fi
	done < <(subjects "$1"/*.patch) >"$1/series"
}

# export_overlay DIR OUT: every file that base..HEAD creates, and what it adds to MAINTAINERS.
export_overlay() {
	local files
	mapfile -d '' files < <(git -C "$1" diff -z --no-renames --diff-filter=A --name-only base HEAD)
	((${#files[@]} == 0)) || git -C "$1" -c core.autocrlf=false archive HEAD -- "${files[@]}" | tar -C "$2" -xf -
	# paragraph mode: print the sections of the second file that the first one lacks
	awk -v RS= -v ORS='\n\n' 'NR == FNR { old[$0]; next } !($0 in old)' \
		<(git -C "$1" show base:MAINTAINERS) <(git -C "$1" show HEAD:MAINTAINERS) | sed '$d' >"$2/MAINTAINERS"
}
