# shellcheck shell=bash
# Functions shared by the scripts of this directory. Source it, do not run it.
# Convention: progress goes to stderr; stdout carries the result (a path) and nothing else.

set -euo pipefail
shopt -s inherit_errexit	# errexit also inside $(...)
export LC_ALL=C

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/page-hinting
JOBS=${JOBS:-$(nproc)}
# The guest's architecture, as the kernel calls it. Others call it $MACHINE, and Debian its packages $DEB. A kernel to boot is $IMAGE.
ARCH=${ARCH:-s390}
case $ARCH in
s390) MACHINE=s390x DEB=s390x IMAGE=bzImage ;;
x86_64) MACHINE=x86_64 DEB=amd64 IMAGE=bzImage ;;
arm64) MACHINE=aarch64 DEB=arm64 IMAGE=Image ;;
*) printf '%s: error: no guests of ARCH=%s, but s390, x86_64 and arm64\n' "${0##*/}" "$ARCH" >&2; exit 1 ;;
esac
# its tool chain; kbuild appends gcc, ld, ...
CROSS=${CROSS_COMPILE:-$MACHINE-linux-gnu-}
export TOP CACHE JOBS CROSS ARCH MACHINE DEB IMAGE
# The kernels that there is a series for, patches/linux-$BASE; the first one is taken where nobody says which.
BASES=(7.3 6.12)

say() { printf '%s\n' "$*" >&2; }
die() { printf '%s: error: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# point RC TEXT: the next line of TAP. Counted in $n, and a failure is remembered in $failed, both of the caller's.
point() {
	n=$((n + 1))
	if (($1 == 0)); then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		# shellcheck disable=SC2034	# the caller's
		failed=1
	fi
}

# need COMMAND...: stop with one message that names everything missing.
need() {
	local c missing=()
	for c; do command -v "$c" >/dev/null || missing+=("$c"); done
	((${#missing[@]} == 0)) || die "missing: ${missing[*]} (try: scripts/deps.sh)"
}

# quietly LOG COMMAND...: output to LOG; on failure show the end of it.
quietly() {
	local log=$1
	shift
	"$@" >"$log" 2>&1 && return
	tail -n 30 "$log" >&2
	die "failed: $* (log: $log)"
}

# attempt COMMAND...: run it in a subshell; its status goes to $rc. The first failure in COMMAND ends it,
# unlike in "if" and "||", where bash ignores errexit all the way down (this function can't help there).
attempt() {
	set +e
	(set -e; "$@")
	rc=$?
	set -e
}

# The first 16 digits of a SHA-256 are plenty for a cache key.
hash_stdin() { sha256sum | cut -c1-16; }

# hash_files FILE...: hash of the contents, in the order given (no names, so a moved checkout hits).
hash_files() {
	(($# == 0)) && { echo none; return; }
	sha256sum -- "$@" | cut -d' ' -f1 | hash_stdin
}

# hash_code PATCH...: hash of what they do to that which a kernel is built of. Messages, documentation and tests are not.
hash_code() {
	(($# == 0)) && { echo none; return; }
	awk '/^From [0-9a-f]+ Mon Sep 17 00:00:00 2001$/ { code = 0 }
		/^diff --git / { code = $3 !~ "^a/(Documentation|tools)/" && $3 != "a/MAINTAINERS" }
		code' "$@" | hash_stdin
}

# with_lock NAME COMMAND...: one process at a time fills a cache entry.
with_lock() {
	local name=$1 fd
	shift
	mkdir -p "$CACHE/locks"
	exec {fd}>"$CACHE/locks/$name"
	flock -n "$fd" || { say "waiting for another process that makes $name"; flock "$fd"; }
	"$@" {fd}>&-		# no "||" here: it would switch errexit off in COMMAND
	exec {fd}>&-
}

# cached DIR FUNCTION ARG...: print DIR, filled by FUNCTION DIR ARG... unless that was done before.
# DIR.ok marks success, so a half-filled directory is never taken for a result. Not for use in "if" or
# "||": see attempt.
cached() {
	local dir=$1
	touch -c -- "$dir.ok"		# first, so that clean-cache, which goes by age, leaves it alone
	[[ -e $dir.ok ]] || with_lock "${dir##*/}" fill_cache "$@"
	printf '%s\n' "$dir"
}

fill_cache() {
	local dir=$1 fn=$2 rc
	shift 2
	[[ ! -e $dir.ok ]] || return 0	# the process we waited for has made it
	rm -rf -- "$dir"
	mkdir -p -- "$dir"
	attempt "$fn" "$dir" "$@" >&2
	((rc == 0)) || exit "$rc"
	touch -- "$dir.ok"
}

# series NAME: the patches of patches/NAME in order, one path a line. "linux" is the one for the base that base_tree has
# found. A file "series" names those that are in another directory, too, as they are the same there. With PARTS="1 2" in
# the environment, those of some parts only.
series() {
	local dir=$TOP/patches/${1/%linux/linux-${BASE-}} part
	if [[ -f $dir/series ]]; then
		sed "s,^\.\./,$TOP/patches/,; t; s,^,$dir/," "$dir/series"
	else
		find "$dir" -maxdepth 1 -name '[0-9]*.patch' ! -name '0000-*' 2>/dev/null | sort
	fi | if [[ -n ${PARTS-} && -f $dir/parts ]]; then
		for part in $PARTS; do
			grep -q "^$part " "$dir/parts" || say "there is no part $part, but: $(sed 's/ .*//' "$dir/parts" | paste -sd' ')"
		done
		in_parts "$dir/parts" "$PARTS"
	else
		cat
	fi
}

# in_parts FILE PARTS: those lines of stdin that belong to them. FILE has a line for each part: its number, the number of its
# patches, its title.
in_parts() {
	awk -v parts=" $2 " 'NR == FNR { for (i = 0; i < $2; i++) part[n++] = $1; next }
		index(parts, " " part[FNR - 1] " ")' "$1" -
}

# has_part NUMBER: is this part of the series there, for the base that base_tree has found, and not left out by PARTS?
has_part() { grep -q "^$1 " "$TOP/patches/linux-$BASE/parts" && [[ " ${PARTS:-$1} " == *" $1 "* ]]; }

# base_tree: set $pristine to the base kernel's tree, and $BASE to what series there is for it.
base_tree() {
	pristine=$("$TOP/scripts/fetch-linux.sh")
	BASE=$(base_of "$pristine") || die "there is no series for Linux $(kernel_version "$pristine")"
	export BASE
}

# kernel_version DIR: 6.12.117
kernel_version() { sed -n 's/^\(VERSION\|PATCHLEVEL\|SUBLEVEL\) = //p' "$1/Makefile" 2>/dev/null | head -n 3 | paste -sd.; }

# base_of DIR: the base whose series may fit this tree: the same version, or for the newest one anything later, too.
base_of() {
	local version newest
	version=$(kernel_version "$1")
	[[ $version == [0-9]*.*.* ]] || return 1
	version=${version%.*}
	newest=$(printf '%s\n' "${BASES[@]}" | sort -V | tail -n 1)
	if [[ " ${BASES[*]} " == *" $version "* ]]; then
		echo "$version"
	elif printf '%s\n' "$newest" "$version" | sort -VC; then
		echo "$newest"
	else
		return 1
	fi
}

# touched PATCH...: the files they name.
touched() { (($# == 0)) || sed -n 's,^\(---\|+++\) [ab]/,,p' "$@" | sort -u; }
# created PATCH...: files that do not exist before.
created() { (($# == 0)) || awk '/^--- \/dev\/null$/ { getline; sub(/^\+\+\+ b\//, ""); print }' "$@" | sort -u; }

# apply_patches DIR PATCH...: in order, without fuzz; git apply knows none.
# (The ceiling keeps git from taking an enclosing repository's work tree for its own.)
apply_patches() {
	local dir=$1 p
	shift
	for p; do
		(cd "$dir" && GIT_CEILING_DIRECTORIES=$(dirname "$dir") git apply --whitespace=nowarn "$p") ||
			die "${p#"$TOP"/} does not apply to its base"
	done
}

# sync_tree DIR PRISTINE PATCH...: make DIR the pristine tree plus patches, changing no file that is right
# already. What is built from DIR is thus built incrementally, whatever revision of a series comes next.
sync_tree() {
	local dir=$1 pristine=$2 scratch f files
	shift 2
	if [[ $(cat "$dir.base" 2>/dev/null) != "$pristine" ]]; then
		rm -rf -- "$dir" "$dir.base" "$dir.touched"
		mkdir -p -- "$dir"
		cp -al -- "$pristine/." "$dir"		# hard links: files are replaced below, never written to
		: >"$dir.touched"
		echo "$pristine" >"$dir.base"
	fi
	touched "$@" >>"$dir.touched"
	mapfile -t files < <(sort -u "$dir.touched")
	scratch=$(mktemp -d)
	for f in "${files[@]}"; do
		[[ ! -e $pristine/$f ]] || (cd "$pristine" && cp -p --parents -- "$f" "$scratch")
	done
	apply_patches "$scratch" "$@"
	for f in "${files[@]}"; do
		if [[ ! -e $scratch/$f ]]; then
			rm -f -- "$dir/$f"
		elif ! cmp -s "$scratch/$f" "$dir/$f" || [[ $(stat -c %a "$scratch/$f") != $(stat -c %a "$dir/$f") ]]; then
			mkdir -p -- "$(dirname "$dir/$f")"
			cp --remove-destination -- "$scratch/$f" "$dir/$f"
		fi
	done
	rm -rf -- "$scratch"
}

# --- apt ------------------------------------------------------------------------------------
# Some sources come from suites that the machine does not have in its configuration: Debian 13's
# source packages, and Debian 12's backports. A private configuration, made from the
# addresses the machine uses already, reaches them; nothing under /etc changes.

apt_dir=$CACHE/apt
apt_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

apt_private() {
	local cmd=$1
	shift
	"$cmd" -q -o Dir::Etc::SourceList="$apt_dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$apt_dir/lists" -o Dir::Cache="$apt_dir/cache" \
		-o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none "$@"
}

# The machine's own suites, as "address suite" lines.
apt_suites() {
	# shellcheck disable=SC2016	# apt's own $(...)
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		sed -n 's/ main$//p' | sort -u
}

apt_write_sources() {
	local uri suite
	while read -r uri suite; do
		case $suite in
		*-security) ;;	# its mirrors list versions that they no longer have
		bookworm*|trixie*)
			echo "deb-src [signed-by=$apt_keyring] $uri ${suite/#bookworm/trixie} main" ;;
		esac
		echo "deb [signed-by=$apt_keyring] $uri $suite main"	# for what backports depend on
		[[ $suite != bookworm ]] || echo "deb [signed-by=$apt_keyring] $uri bookworm-backports main"
	done < <(apt_suites) | sort -u
}

# apt_system ARGUMENT...: apt-get as root, once whoever else is installing something has ended.
apt_system() {
	mkdir -p "$CACHE/locks"
	flock -o "$CACHE/locks/apt-system" env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=600 "$@" >&2
}

# Fetch the lists, at most twice a day. Offline, older lists will do.
apt_private_update() {
	need apt-get
	[[ -f $apt_keyring ]] || die "missing: $apt_keyring (package debian-archive-keyring)"
	with_lock "${apt_dir##*/}" apt_update_lists
}
apt_update_lists() {
	mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
	apt_write_sources >"$apt_dir/sources.new"
	[[ -s $apt_dir/sources.new ]] ||
		die "found no Debian 12 or 13 among the machine's apt sources (see 'apt-get indextargets')"
	if cmp -s "$apt_dir/sources.new" "$apt_dir/sources.list" &&
	   [[ -n $(find "$apt_dir/updated" -mmin -720 2>/dev/null) ]]; then
		return
	fi
	mv "$apt_dir/sources.new" "$apt_dir/sources.list"
	say "reading package lists (private apt configuration in $apt_dir)"
	if apt_private apt-get update >"$apt_dir/update.log" 2>&1; then
		touch "$apt_dir/updated"
	else
		say "some lists could not be read, going on with what is there (see $apt_dir/update.log)"
	fi
}

# apt_source_versions PACKAGE REGEX: the versions that match, newest first.
apt_source_versions() {
	{ apt_private apt-cache showsrc --only-source "$1" 2>/dev/null || true; } |
		sed -n 's/^Version: //p' | { grep -E "$2" || true; } | sort -uVr
}

# apt_orig PACKAGE REGEX: path of the newest matching version's orig tarball, downloaded when needed.
# apt checks it against the hashes of the signed lists. Lists can name what a mirror does not have,
# so the next one is tried, too.
apt_orig() {
	mkdir -p "$CACHE/downloads/$1"
	apt_private_update
	with_lock "download-$1" apt_download_orig "$@"
}
apt_download_orig() {
	local pkg=$1 version v dir=$CACHE/downloads/$1 new tar
	for version in $(apt_source_versions "$pkg" "$2" | head -n 2); do
		v=${version#*:}
		for tar in "$dir/${pkg}_${v%-*}".orig.tar.*z; do
			[[ -f $tar ]] && { echo "$tar"; return; }
		done
		say "downloading $pkg $version"
		# aside, as half of it must not be taken for all of it when this is cut short
		new=$(mktemp -d "$dir/new.XXXXXX")
		if (cd "$new" && apt_private apt-get source --download-only --only-source "$pkg=$version") \
			>"$dir/log" 2>&1; then
			mv -- "$new"/* "$dir"
			rm -r -- "$new"
			echo "$dir/${pkg}_${v%-*}".orig.tar.*z
			return
		fi
		rm -r -- "$new"
		say "no success (see $dir/log)"
	done
	# offline: what an earlier run has fetched
	tar=$(find "$dir" -maxdepth 1 -name '*.orig.tar.*z' | sort -V | tail -n 1)
	[[ -n $tar ]] || die "no source package $pkg with a version like $2 within reach"
	echo "$tar"
}

# unpacked KIND TARBALL: directory of the unpacked tarball, in the cache by content.
unpacked() {
	local memo
	[[ -f $2 ]] || die "no such file: $2"
	# hashing 150 MB each time would be felt: remembered as long as the file stays what it is
	memo=$CACHE/src/.$(stat -c '%n %s %Y %i' "$2" | hash_stdin)
	mkdir -p "$CACHE/src"
	if [[ ! -s $memo ]]; then
		hash_files "$2" >"$memo.$BASHPID"
		mv -- "$memo.$BASHPID" "$memo"
	fi
	cached "$CACHE/src/$1-$(<"$memo")" unpack "$2"
}
unpack() {
	say "unpacking ${2##*/}"
	tar -C "$1" --strip-components=1 -xf "$2"
}
