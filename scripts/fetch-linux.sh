#!/bin/bash
# Print the directory of a pristine, unpacked base kernel tree.
# usage: scripts/fetch-linux.sh [--vanilla]
#   default        the distribution's linux-source-$BASE package, newest version offered. BASE is 6.12 (Debian 12 and 13) or
#                  7.3 (Debian 13's backports); when it is not given, and the archive has no linux-source-X of
#                  the first of them any more, the other one.
#   --vanilla      another, unpatched 6.12.y, to see that the series applies there, too: the orig tarball
#                  of a Debian 13 kernel, 6.12.107 where it is still to be had
#   LINUX_TARBALL= any other tarball of a kernel that there is a series for;  LINUX= any unpacked tree
# Exit status 3: there is no such package, neither here nor in the archive.
. "$(dirname "$0")/lib.sh"

[[ -z ${BASE-} || " ${BASES[*]} " == *" $BASE "* ]] || die "BASE=$BASE: there are series for ${BASES[*]}"

# package_tarball VERSION: newest version of the package, or what is installed when there is no network. Nothing if there is none.
package_tarball() {
	local package=linux-source-$1 tarball=/usr/src/linux-source-$1.tar.xz candidate current
	need apt-cache dpkg-query
	# shellcheck disable=SC2016
	current=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null || true)
	candidate=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
	if [[ ${candidate:-(none)} == '(none)' && -z $current ]]; then
		backport "$1"
	elif [[ -f $tarball && $current == "$candidate" ]]; then
		echo "$tarball"
	elif ((EUID == 0)); then
		say "installing $package $candidate"
		apt_system install "$package" ||
			[[ -f $tarball ]] || die "cannot install $package"
		echo "$tarball"
	else
		cached "$CACHE/downloads/$package-$candidate" download_package apt-get "$package" >/dev/null
		echo "$CACHE/downloads/$package-$candidate$tarball"
	fi
}
# download_package DIR APT-GET PACKAGE
download_package() {
	say "downloading $3"
	cd "$1"
	$2 -q download "$3" >download.log 2>&1 || { cat download.log; return 1; }
	dpkg -x ./*.deb .
	rm ./*.deb
}

# backport VERSION: the package from Debian 13's backports, which the machine need not know. It is not installed.
backport() {
	local package=linux-source-$1 tarball=usr/src/linux-source-$1.tar.xz candidate dir
	apt_dir=$CACHE/apt-backports
	apt_private_update
	candidate=$(apt_private apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
	if [[ ${candidate:-(none)} != '(none)' ]]; then
		dir=$(cached "$CACHE/downloads/$package-$candidate" download_package "apt_private apt-get" "$package")
	else
		# gone from the archive, but an earlier run may have kept it
		dir=$({ find "$CACHE/downloads" -maxdepth 1 -name "$package-*.ok" 2>/dev/null || true; } | sort -V | tail -n 1)
		dir=${dir%.ok}
	fi
	[[ -z $dir ]] || echo "$dir/$tarball"
}
apt_write_sources() {
	apt_suites | sed -nE 's,^(\S+) (bookworm|trixie)$,\1,p' | sort -u | while read -r uri; do
		echo "deb [signed-by=$apt_keyring] $uri trixie-backports main"
	done
}

# Pristine copy of a user's tree: a git tree's HEAD, or a plain tree that was never built in.
user_tree() {
	local key
	[[ -f $LINUX/Kbuild && -f $LINUX/Makefile ]] || die "LINUX=$LINUX is not a kernel tree"
	if git -C "$LINUX" rev-parse HEAD >/dev/null 2>&1 && [[ -e $LINUX/.git ]]; then
		[[ -z $(git -C "$LINUX" status --porcelain) ]] || die "LINUX=$LINUX has uncommitted changes"
		key=$(git -C "$LINUX" rev-parse 'HEAD^{tree}')
		cached "$CACHE/src/linux-git-${key:0:16}" copy_git_tree
	else
		[[ ! -e $LINUX/.config ]] || die "LINUX=$LINUX was built in; run 'make mrproper' there first"
		key=$(cd "$LINUX" && find . -type f -print0 | sort -z | xargs -0 sha256sum | hash_stdin)
		cached "$CACHE/src/linux-tree-$key" copy_plain_tree
	fi
}
copy_git_tree() { git -C "$LINUX" archive HEAD | tar -C "$1" -xf -; }
copy_plain_tree() { cp -a -- "$LINUX/." "$1"; }

if [[ ${1-} == --vanilla ]]; then
	tarball=$(apt_orig linux '^6\.12\.107-') || tarball=$(apt_orig linux '^6\.12\.')
	dir=$(unpacked linux "$tarball")
elif [[ -n ${LINUX-} ]]; then
	dir=$(user_tree)
elif [[ -n ${LINUX_TARBALL-} ]]; then
	dir=$(unpacked linux "$LINUX_TARBALL")
else
	for base in ${BASE:-${BASES[@]}}; do
		tarball=$(package_tarball "$base")
		[[ -z $tarball ]] || break
		say "no package linux-source-$base among the machine's apt sources and in Debian 13's backports"
	done
	[[ -n $tarball ]] || { say "no kernel to start from; use LINUX_TARBALL= or LINUX="; exit 3; }
	dir=$(unpacked linux "$tarball")
fi
base=$(base_of "$dir") || die "the base is $(kernel_version "$dir"), there are series for ${BASES[*]}"
[[ ${1-} == --vanilla || $base == "${BASE:-$base}" ]] || die "the base is $(kernel_version "$dir"), not BASE=$BASE"
say "base kernel: $(kernel_version "$dir")"
echo "$dir"
