#!/bin/bash
# Make a series ready to be mailed, and say to whom. Nothing is sent.
# usage: scripts/mail.sh [--part N] [--version N] [--since REV] linux-VERSION|qemu DIR
#   DIR          new directory for the mails: patches, and the cover letter with what it needs (base, range-diff)
#   --part N     this part only, which has a cover letter of its own
#   --version N  [PATCH vN ...]
#   --since REV  a revision of this repository, from which the last version was mailed: adds the range-diff
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/series.sh"

part='' version=1 since=''
while [[ ${1-} == --* ]]; do
	case $1 in
	--part) part=$2; shift ;;
	--version) version=$2; shift ;;
	--since) since=$2; shift ;;
	*) die "unknown option $1" ;;
	esac
	shift
done
(($# == 2)) || die "usage: ${0##*/} [--part N] [--version N] [--since REV] linux-VERSION|qemu DIR"
name=$1 out=$2
[[ ! -e $out ]] || die "$out exists already"
out=$(readlink -f "$out")
[[ $version == [1-9]* && $version != *[!0-9]* ]] || die "--version $version is no number"
need git perl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
src=$(base_source "$name")
# IMPORTED= in the environment: the series as a git tree, for who has it already and wants several parts.
dir=${IMPORTED:-$work/new}
[[ -n ${IMPORTED-} ]] || sparse_import "$name" "$dir"

# From where to where it goes, and what comes before.
range=base..$name letter=$TOP/patches/$name/0000-cover-letter${part:+-$part}.txt needs=''
if [[ -n $part ]]; then
	partlist=$TOP/patches/$name/parts
	grep -qs "^$part " "$partlist" || die "$name has no part $part"
	read -r before number < <(awk -v part="$part" '$1 == part { print n + 0, $2; exit } { n += $2 }' "$partlist")
	mapfile -t commits < <(git -C "$dir" rev-list --reverse base.."$name")
	range=base..${commits[before + number - 1]}
	if ((before)); then
		range=${commits[before - 1]}..${range#*..}
		needs="the parts before it, $before patches"
	fi
fi

# The series as it was then, as a branch beside the new one. It may have been made on another base, so without context.
if [[ -n $since ]]; then
	git -C "$TOP" rev-parse -q --verify "$since^{commit}" >/dev/null || die "no revision $since here"
	mkdir "$work/then"
	git -C "$TOP" archive "$since" patches | tar -C "$work/then" -xf -
	mapfile -t old < <(TOP=$work/then series "$name")
	((${#old[@]})) || die "there is no series $name in $since"
	git -C "$dir" checkout -q -b last base
	{ touched "${old[@]}" | sed 's,^,/,'; echo .gitattributes; } | git -C "$dir" sparse-checkout add --stdin
	am "$dir" "${old[@]}"
	git -C "$dir" checkout -q "$name"
fi

prefix=PATCH
((version == 1)) || prefix+=" v$version"
GIT_COMMITTER_NAME=$(git -C "$dir" log -1 --format=%an) GIT_COMMITTER_EMAIL=$(git -C "$dir" log -1 --format=%ae) \
	git -C "$dir" format-patch -q --no-signature --numbered --cover-letter --subject-prefix="$prefix" --stat=72 -M50% \
	-o "$work/mails" "$range"
cover=("$work"/mails/0000-*)
{
	sed '/^Subject: /,$d' "${cover[0]}"
	echo "Subject: [$prefix 00/$(git -C "$dir" rev-list --count "$range")] $(sed -n '1s/^Subject: \(\[[^]]*\] \)\?//p' "$letter")"
	sed -n '/^MIME-Version: /,/^$/p' "${cover[0]}" | sed '/^$/d'
	sed 1d "$letter"
	printf '\n---\nBase: %s %s%s\n' "${name%-*}" "$(<"$TOP/patches/$name/base")" "${needs:+, and $needs}"
	if [[ -n $since ]]; then
		printf '\nRange-diff to the last version:\n'
		git -C "$dir" range-diff --no-color ${part:+--right-only} base..last "$range"
	fi
	printf '\n'
	git -C "$dir" shortlog "$range"
	git -C "$dir" diff --stat=72 --summary "$range"
} >"$work/mails/cover"
mv "$work/mails/cover" "${cover[0]}"

# Kernel and QEMU have the same script. Who decides on a patch is asked (To), who reads along is told (Cc).
mkdir -p "$out"
cp "$work"/mails/* "$out"
patches=("$out"/0*.patch)
# It reads MAINTAINERS of the tree that it is in; the series may add to that.
mkdir "$work/src"
ln -s "$src"/* "$work/src"
[[ ! -e $dir/MAINTAINERS ]] || ln -sf "$dir/MAINTAINERS" "$work/src"
# shellcheck disable=SC2016	# it is the inner shell that expands them
printf '%s\0' "${patches[@]:1}" | (cd "$work/src" && xargs -0 -P "$JOBS" -n 1 sh -c \
	'perl scripts/get_maintainer.pl --no-git --no-git-fallback "$2" >"$1/${2##*/}.to"' - "$work")
for p in "${patches[@]:1}"; do
	echo "${p##*/}"
	sed -E '/ \((maintainer|supporter)/!s/^/  Cc: /; /^  Cc/!s/^/  To: /; s/ \([^()]*(\([^()]*\)[^()]*)*\)$//' "$work/${p##*/}.to"
done
echo "The cover letter goes to all of them. Look at $out/${cover[0]##*/}, then for each: git send-email --to=... --cc=... FILE"
