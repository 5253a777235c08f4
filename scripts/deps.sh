#!/bin/bash
# Install the Debian packages of packages.txt that are missing (as root), or name them and stop.
# usage: scripts/deps.sh [--check]
. "$(dirname "$0")/lib.sh"

check=0
[[ ${1-} != --check ]] || check=1

command -v dpkg-query >/dev/null ||
	die "this is not Debian: please install what scripts/packages.txt names by its Debian names"

installed_version() {
	# shellcheck disable=SC2016	# dpkg's own ${...}
	{ dpkg-query -W -f '${db:Status-Abbrev} ${Version}\n' "$1" 2>/dev/null || true; } | sed -n 's/^ii *//p'
}

missing=() backports=()
while read -r name suite; do
	version=$(installed_version "$name")
	if [[ $suite == backports ]]; then
		case $name in
		meson) dpkg --compare-versions "${version:-0}" ge 1.5 || backports+=("$name") ;;
		*) [[ -n $version ]] || backports+=("$name") ;;
		esac
	elif [[ -z $version ]]; then
		missing+=("$name")
	fi
done < <(sed 's/#.*//' "$TOP/scripts/packages.txt" | grep '[a-z]')

((${#missing[@]} + ${#backports[@]})) || { say "all packages are installed"; exit 0; }
say "missing packages: ${missing[*]} ${backports[*]/%//bookworm-backports}"
((check)) && exit 1
((EUID == 0)) || die "not root: please install the packages named above"

if ((${#missing[@]})); then
	apt_system update || say "some lists could not be read, going on"
	apt_system install "${missing[@]}"
fi
if ((${#backports[@]})); then
	# On Debian 13 the machine's own suites have them; on 12 the private list reaches backports.
	if apt_suites | grep -q ' trixie$'; then
		apt_system install "${backports[@]}"
	else
		apt_private_update
		apt_private apt_system install "${backports[@]/%//bookworm-backports}"
	fi
fi
