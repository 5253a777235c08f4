#!/bin/bash
# Checks of the repository itself; TAP.
# usage: scripts/check.sh [--builds]
#   --builds   also: each patch builds, and nothing changes with the feature off (scripts/check-builds.sh)
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/series.sh"

need git perl pyflakes3 shellcheck
cd "$TOP"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Each check is a function: what it prints on stdout are complaints, none means that it passed.
n=0 failed=0
run() {
	local name=$1 rc
	shift
	attempt "$@" >"$work/out" 2>"$work/err"
	n=$((n + 1))
	if ((rc == 0)) && [[ ! -s $work/out ]]; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		cat "$work/out" "$work/err" | head -n 100 | sed 's/^/#   /'
		failed=$((failed + 1))
	fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

# Files of the repository, also those that are not committed yet. Where git knows nothing of it: all.
files() {
	{
		git ls-files --cached --others --exclude-standard 2>/dev/null ||
			find . -path ./.git -prune -o -path ./results/last -prune -o -type f -printf '%P\n'
	} | sort -u | while read -r f; do [[ ! -f $f ]] || echo "$f"; done
}

headers() {
	local p i=0 f
	while read -r p; do
		i=$((i + 1)) f=${p#"$TOP"/}
		# of another series, and looked at there
		[[ $f == "patches/$1/"* ]] || { [[ -f $p ]] || echo "patches/$1/series: there is no $f"; continue; }
		[[ ${p##*/} == "$(printf %04d $i)"-* ]] || echo "$f: number $i expected"
		sed '/^---$/q' "$p" | sed -z 's/\n / /g' >"$work/head"	# long header lines are folded
		grep -q '^From: .* <.*@.*>$' "$work/head" || echo "$f: no From"
		grep -q '^Date: ' "$work/head" || echo "$f: no Date"
		grep -q '^Subject: \[PATCH\] [^ ].*: ' "$work/head" || echo "$f: no Subject, or none of the form 'area: what'"
		grep -q '^Signed-off-by: .* <.*@.*>$' "$work/head" || echo "$f: no Signed-off-by"
	done < <(series "$1")
	((i)) || echo "patches/$1: no patches"
	[[ -f patches/$1/base ]] || echo "patches/$1/base: missing"
	[[ -f patches/$1/0000-cover-letter.txt ]] || echo "patches/$1/0000-cover-letter.txt: missing"
}

# All patches belong to a part, and each part has its own cover letter.
parts() {
	local n
	[[ $(awk '{ n += $2 } END { print n + 0 }' "patches/$1/parts") == $(series "$1" | wc -l) ]] ||
		echo "patches/$1/parts: not as many patches as there are"
	# a backport is not mailed
	[[ $1 != linux-6.12 ]] || return 0
	while read -r n _; do
		[[ -f patches/$1/0000-cover-letter-$n.txt ]] || echo "patches/$1/0000-cover-letter-$n.txt: missing"
		! grep -Hn '@' "patches/$1/0000-cover-letter-$n.txt" || echo "patches/$1/0000-cover-letter-$n.txt: something is still to be filled in"
	done <"patches/$1/parts"
}

# How much is added to existing C files of the core: 400 lines at most in all, 200 in part 2.
core_lines() {
	local first second total part existing
	read -r first second _ < <(awk '{ printf "%d ", $2 } END { print "" }' "patches/$1/parts")
	total=$(git -C "$work/$1" rev-list --count base..HEAD)
	mapfile -t existing < <(git -C "$work/$1" diff --diff-filter=M --name-only base HEAD -- 'mm/*.[ch]' 'include/*.h' 'kernel/*.[ch]' 'fs/proc/*.c')
	added() { git -C "$work/$1" diff --numstat "$2" "$3" -- "${existing[@]}" | awk '{ n += $1 } END { print n + 0 }'; }
	part=$(added "$1" "HEAD~$((total - first))" "HEAD~$((total - first - second))")
	total=$(added "$1" base HEAD)
	((total <= 400 && part <= 200)) || echo "$total lines are added to existing C files of the core, $part of them in part 2"
}

orphans() {
	local f all
	all=$(for f in "${names[@]}"; do series "$f"; done)
	for f in patches/*; do [[ " ${names[*]} " == *" ${f#patches/} "* ]] || echo "$f: does not belong there"; done
	for f in patches/*/*; do
		case ${f##*/} in
		base|parts|0000-cover-letter*.txt|differences) ;;
		series) [[ $f == "patches/linux-${BASES[1]}/"* ]] || echo "$f: does not belong there" ;;
		[0-9][0-9][0-9][0-9]-*.patch) grep -qxF "$TOP/$f" <<<"$all" || echo "$f: not in the series" ;;
		*) echo "$f: does not belong there" ;;
		esac
	done
}

applies() { sparse_import "$1" "$work/$1"; }

# Each patch has somebody to decide on it; the cover letter tells the base and all files. The whole, if there are no parts.
mails() {
	local part number
	if [[ -f patches/$1/parts ]]; then cat "patches/$1/parts"; else echo "whole $(series "$1" | wc -l)"; fi | while read -r part number _; do
		IMPORTED=$work/$1 "$TOP/scripts/mail.sh" --part "${part/#whole/}" "$1" "$work/mail-$1-$part" >"$work/to" </dev/null
		awk '/^[0-9]/ { if (patch) print patch ": nobody decides on it"; patch = $1 } /^  To: .*@/ { patch = "" }
			END { if (patch) print patch ": nobody decides on it" }' "$work/to"
		[[ $(grep -c '^[0-9]' "$work/to") == "$number" ]] || echo "$part: not as many mails as patches"
		grep -q "^Base: .*$(<"patches/$1/base")" "$work/mail-$1-$part"/0000-* || echo "$part: no base in the cover letter"
		grep -q ' files changed, ' "$work/mail-$1-$part"/0000-* || echo "$part: no summary in the cover letter"
	done
}

# What is new in QMP is new in one version of QEMU.
since() { (($(grep -h '^+# Since: ' patches/qemu/*.patch | sort -u | wc -l) == 1)) || grep '^+# Since: ' patches/qemu/*.patch; }

# Vanilla 6.12.y, whose mm/ differs from the packaged kernel's. "git apply" takes no fuzz.
vanilla() {
	local f src dir=$work/vanilla
	src=$("$TOP/scripts/fetch-linux.sh" --vanilla)
	mkdir "$dir"
	mapfile -t patches < <(series linux-6.12)
	while read -r f; do
		[[ ! -e $src/$f ]] || (cd "$src" && cp -p --parents "$f" "$dir")
	done < <(touched "${patches[@]}")
	apply_patches "$dir" "${patches[@]}"
}

reexport() {
	local new=$work/$1-patches p other base
	mkdir "$new"
	export_patches "$work/$1" "$new"
	base=$(git -C "$work/$1" log -1 --format=%s base)
	if [[ -f patches/$1/series ]]; then
		share_patches "$new" "linux-${BASES[0]}"
		diff "patches/$1/series" "$new/series" || return 0
	fi
	diff <(cd "$new" && ls -- *.patch) <(cd "patches/$1" && ls -- *.patch) || return 0
	for p in "$new"/*.patch; do
		other=patches/$1/${p##*/}
		cmp -s "$p" "$other" && continue
		if [[ $base != *" $(<"patches/$1/base")" ]] && cmp -s <(normalise "$p") <(normalise "$other"); then
			continue
		fi
		diff "$other" "$p" | head -n 20 || true
	done
}

overlay() {
	local d
	mkdir "$work/overlay"
	export_overlay "$work/linux-${BASES[0]}" "$work/overlay"
	diff "$work/overlay/MAINTAINERS" MAINTAINERS || true
	for d in "${overlay_dirs[@]}"; do
		[[ -e $d || -e $work/overlay/$d ]] || continue
		diff -rN "$d" "$work/overlay/$d" | head -n 20 || true
	done
	# names, and who may execute them
	diff <(modes "$work/overlay" MAINTAINERS "${overlay_dirs[@]}") <(modes . MAINTAINERS "${overlay_dirs[@]}") || true
}
modes() {
	local d
	for d in "${@:2}"; do
		[[ ! -e $1/$d ]] || find "$1/$d" -type f \( -perm /100 -printf "x $d/%P\n" -o -printf "- $d/%P\n" \)
	done | sort
}

# checkpatch-allow.txt: "SERIES TYPE FILE # reason", FILE may be a pattern.
checkpatch() {
	local name=$1 src p out file number type line level text allow series_of type_of file_of
	src=$(base_source "$name")
	mkdir -p "$CACHE/checkpatch"
	case $name in
	linux-*) set -- --root=. --strict --show-types --terse --showfile --no-summary --no-tree --max-line-length=100 ;;
	qemu) set -- --terse --no-summary --no-tree ;;
	esac
	# What it has said of a patch is kept. Patches of another series are looked at there.
	series "$name" | grep "/$name/" | while read -r p; do
		echo "$p $CACHE/checkpatch/$({ echo "${src##*/} $*"; cat "$p"; } | hash_stdin)"
	done >"$work/checkpatch-$name"
	# It fails if it has something to say. PATH: codespell's dictionary belongs to the system's python3.
	(cd "$src" && while read -r p out; do [[ -e $out ]] || echo "$p $out"; done <"$work/checkpatch-$name" |
		PATH=/usr/bin:/bin xargs -r -P "$JOBS" -n 2 bash -c \
			"perl scripts/checkpatch.pl $* \"\$0\" >\"\$1.new\" 2>&1 || ((\$? == 1)) && mv \"\$1.new\" \"\$1\"")
	while read -r p out; do
		touch "$out"		# it was of use (clean-cache.sh)
		sed "s,^:,patches/$name/${p##*/}:," "$out"
	done <"$work/checkpatch-$name" >"$work/checkpatch"
	while IFS= read -r line; do
		[[ $line =~ ^([^:]*):([0-9]+:)?\ (ERROR|WARNING|CHECK)(:[A-Z0-9_]+)?:\ (.*) ]] || { [[ -z $line ]] || echo "$line"; continue; }
		file=${BASH_REMATCH[1]} number=${BASH_REMATCH[2]} level=${BASH_REMATCH[3]} type=${BASH_REMATCH[4]#:} text=${BASH_REMATCH[5]}
		# QEMU's checkpatch names the whole path, which may be that of another checkout, and no types
		file=${file/#*"/patches/$name/"/patches/$name/}
		type=${type:-$(tr -cs 'A-Za-z0-9\n' _ <<<"$text")}
		while read -r allow; do
			read -r series_of type_of file_of _ <<<"$allow"
			# shellcheck disable=SC2053	# the file is a pattern
			[[ $series_of == "${name%-*}" && $type == "$type_of" && $file == $file_of ]] || continue
			echo "$allow" >>"$work/used"
			continue 2
		done < <(grep -v '^ *\(#\|$\)' scripts/checkpatch-allow.txt)
		echo "$file:$number $level:$type: $text"
	done <"$work/checkpatch"
}
allowed() {
	grep -v '^#' scripts/checkpatch-allow.txt | while read -r allow; do
		[[ $allow == *' # '?* ]] || echo "checkpatch-allow.txt: no reason: $allow"
		grep -qxF -- "$allow" "$work/used" || echo "checkpatch-allow.txt: not needed: $allow"
	done
}

shell_scripts() {
	local f list=()
	while read -r f; do
		[[ $f == *.sh ]] || head -n 1 "$f" 2>/dev/null | grep -aq '^#!.*\b\(ba\|da\)\?sh\b' || continue
		list+=("$f")
	done < <(files | grep -v '^patches/\|\.\(png\|gz\|img\)$')
	((${#list[@]})) || echo "no files"
	# 123: it has found something, which is printed
	attempt xargs -0 -P "$JOBS" -n 8 shellcheck -f gcc < <(printf '%s\0' "${list[@]}")
	((rc == 0 || rc == 123)) || echo "exit status $rc"
}

python_files() {
	local f list=()
	while read -r f; do
		[[ $f == *.py ]] || head -n 1 "$f" 2>/dev/null | grep -aq '^#!.*python3' || continue
		list+=("$f")
	done < <(files | grep -v '^patches/\|\.\(png\|gz\|img\)$')
	((${#list[@]})) || echo "no files"
	attempt pyflakes3 "${list[@]}" 2>&1
	((rc <= 1)) || echo "exit status $rc"
}

# Own files only: patches have their own rules (and checkpatch).
whitespace() {
	[[ -n $(files) ]] || echo "no files"
	{ files | grep -v '^patches/.*\.patch$\|\.\(png\|svg\|gz\|img\)$' || true; } | while read -r f; do
		grep -HnI '[[:blank:]]$' "$f" || true
		if [[ -s $f && -n $(tail -c 1 "$f" | tr -d '\n\0') ]]; then echo "$f: no newline at the end"; fi
	done
}

# The kernel's own comments, by its own script.
kernel_doc() {
	local list
	mapfile -t list < <(files | grep '\.[ch]$' | grep -v '^\(tools\|vm\)/')
	((${#list[@]})) || echo "no files"
	(cd "$(base_source "linux-${bases[0]}")" && PATH=/usr/bin:/bin scripts/kernel-doc -none -Wall "${list[@]/#/$TOP/}" 2>&1) || true
}

# Where the archive has no package of the newest kernel, the other one is taken, unless somebody asked for that one.
fallback() {
	local f dir rc=0 newest=${BASES[0]}
	mkdir -p "$work/bin" "$work/cache/page-hinting"
	for f in "$CACHE"/*; do [[ $f == */downloads ]] || ln -s "$f" "$work/cache/page-hinting"; done
	for f in apt-cache dpkg-query; do
		printf '#!/bin/sh\ncase "$*" in *linux-source-%s*) exit;; esac\nexec %s "$@"\n' "$newest" "$(command -v $f)" >"$work/bin/$f"
		chmod +x "$work/bin/$f"
	done
	fetch() { env "$@" PATH="$work/bin:$PATH" XDG_CACHE_HOME="$work/cache" "$TOP/scripts/fetch-linux.sh"; }
	dir=$(fetch -u BASE -u LINUX -u LINUX_TARBALL)
	[[ $(base_of "$dir") == "${BASES[1]}" ]] || echo "$dir is taken"
	fetch -u LINUX -u LINUX_TARBALL BASE="$newest" || rc=$?
	((rc == 3)) || echo "BASE=$newest: exit status $rc"
}

# Where the packages come from, and where a checkout lies, differs between machines.
names() {
	local hosts
	hosts=$(apt_suites 2>/dev/null | sed -n 's,^[a-z+]*://\([^/ ]*\).*,\1,p' | sort -u | sed 's/\./\\./g' | paste -sd'|')
	files | tr '\n' '\0' | xargs -0 grep -nIE "${hosts:-^\$^}|(^|[^[:alnum:]_.\$}~/-])/(work|root)/" || true
}

names=("${BASES[@]/#/linux-}" qemu) bases=()
for b in "${BASES[@]}"; do if has_base "linux-$b"; then bases+=("$b"); fi; done
: >"$work/used"
for s in "${names[@]}"; do
	if [[ -z $(series "$s") ]]; then
		run "$s: there are patches" echo "patches/$s is empty"
		continue
	fi
	if [[ $s == linux-* && " ${bases[*]} " != *" ${s#linux-} "* ]]; then
		skip "$s" "there is no package of its base any more"
		continue
	fi
	run "$s: numbers, From, Subject, Signed-off-by, cover letter" headers "$s"
	run "$s: applies to its base in order, no fuzz" applies "$s"
	[[ ! -d $work/$s ]] || run "$s: export of the import is identical" reexport "$s"
	# a backport is not
	[[ $s == linux-6.12 ]] || run "$s: can be mailed" mails "$s"
	[[ ! -f patches/$s/parts ]] || run "$s: each patch belongs to a part, and each part has a cover letter" parts "$s"
	[[ ! -f patches/$s/parts ]] || run "$s: at most 400 lines are added to existing C files of the core, 200 in part 2" core_lines "$s"
	run "$s: checkpatch, but for what checkpatch-allow.txt gives reasons" checkpatch "$s"
done
run "qemu: QMP says the same version wherever it says since when" since
if ((${#bases[@]} == ${#BASES[@]})); then run "nothing in checkpatch-allow.txt that is not needed" allowed; fi
if ((${#BASES[@]} > 1)); then run "the series for ${BASES[*]} differ as they are meant to" "$TOP/scripts/compare-series.sh"; fi
if [[ -d $work/linux-${BASES[0]} ]]; then run "overlay equals the files that the series creates" overlay; fi
if "$TOP/scripts/fetch-linux.sh" --vanilla >/dev/null 2>&1; then
	run "linux-6.12: applies to vanilla 6.12.y, no fuzz" vanilla
else
	skip "linux-6.12: applies to vanilla 6.12.y, no fuzz" "the tarball cannot be had"
fi
run "kernel-doc" kernel_doc
run "without a package of linux-source-${BASES[0]}, linux-source-${BASES[1]} is taken" fallback
run "no orphans in patches" orphans
run "shellcheck" shell_scripts
run "pyflakes" python_files
run "whitespace" whitespace
run "no names of hosts or of this machine's directories" names
if [[ ${1-} == --builds ]]; then
	run "each patch builds, feature off and on; off is the base" "$TOP/scripts/check-builds.sh"
fi
echo "1..$n"
((failed == 0))
