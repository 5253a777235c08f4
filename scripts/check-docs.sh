#!/bin/bash
# The kernel's "make htmldocs" has nothing to say of the pages that the series brings, and makes them. TAP.
# It wants sphinx-build (Debian: python3-sphinx); without it, the test is skipped.
. "$(dirname "$0")/lib.sh"

base_tree
mapfile -t patches < <(series linux)
mapfile -t pages < <(created "${patches[@]}" | grep '^Documentation/.*\.rst$')
((${#pages[@]})) || die "the series has no pages"
echo "1..${#pages[@]}"
n=0 failed=0
tree=$CACHE/work/docs-tree-$BASE out=$CACHE/work/docs-$BASE
mkdir -p "$out" "$CACHE/locks"
exec {lock}>"$CACHE/locks/docs-$BASE"
flock "$lock"
sync_tree "$tree" "$pristine" "${patches[@]}"
for page in "${pages[@]}"; do
	if ! command -v sphinx-build >/dev/null; then
		echo "ok $((n += 1)) - $page # SKIP there is no sphinx-build"
		continue
	fi
	dir=${page%/*} html=$out/Documentation/output/${page#Documentation/}
	rm -f "${html%.rst}.html"
	say "making HTML of ${dir#Documentation/}"
	quietly "$out/log" make -s -C "$tree" O="$out" SPHINXDIRS="${dir#Documentation/}" htmldocs
	rc=0
	[[ -e ${html%.rst}.html ]] && ! grep 'page_hinting' "$out/log" | sed 's/^/# /' | grep . || rc=1
	point $rc "$page"
done
((!failed))
