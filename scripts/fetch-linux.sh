#!/bin/bash
# Print the directory of a pristine, unpacked base kernel tree.
# usage: scripts/fetch-linux.sh [--vanilla]
#   default        the distribution's linux-source-6.12 package, newest version offered
#   --vanilla      another, unpatched 6.12.y, to see that the series applies there, too: the orig tarball
#                  of a Debian 13 kernel, 6.12.107 where it is still to be had
#   LINUX_TARBALL= any other 6.12.y tarball;  LINUX= any unpacked 6.12.y tree
. "$(dirname "$0")/lib.sh"

package=linux-source-6.12
tarball=/usr/src/$package.tar.xz

# Newest version of the package, or what is installed when there is no network.
package_tarball() {
	local candidate current
	need apt-cache dpkg-query
	# shellcheck disable=SC2016
	current=$(dpkg-query -W -f '${Version}' $package 2>/dev/null || true)
	candidate=$(apt-cache policy $package | sed -n 's/^ *Candidate: //p')
	if [[ ${candidate:-(none)} == '(none)' && -z $current ]]; then
		die "no package $package among the machine's apt sources; use LINUX_TARBALL= or LINUX="
	fi
	if [[ -f $tarball && $current == "$candidate" ]]; then
		echo "$tarball"
	elif ((EUID == 0)); then
		say "installing $package $candidate"
		apt_system install $package ||
			[[ -f $tarball ]] || die "cannot install $package"
		echo "$tarball"
	else
		cached "$CACHE/downloads/$package-$candidate" download_package >/dev/null
		echo "$CACHE/downloads/$package-$candidate$tarball"
	fi
}
download_package() {
	say "downloading $package"
	cd "$1"
	apt-get -q download $package
	dpkg -x ./*.deb .
	rm ./*.deb
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
else
	tarball=${LINUX_TARBALL:-$(package_tarball)}
	dir=$(unpacked linux "$tarball")
fi
version=$(make -s -C "$dir" kernelversion)
[[ $version == 6.12.* ]] || die "the base is $version, this series is for 6.12.y"
say "base kernel: $version"
echo "$dir"
