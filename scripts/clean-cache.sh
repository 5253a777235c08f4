#!/bin/bash
# Remove from the cache what was not used for two weeks; --all: everything.
. "$(dirname "$0")/lib.sh"

if [[ ${1-} == --all ]]; then
	rm -rf -- "$CACHE"
	exit
fi
[[ -d $CACHE ]] || exit 0
find "$CACHE" -mindepth 2 -maxdepth 2 -name '*.ok' -mtime +14 -print | while read -r ok; do
	rm -rf -- "${ok%.ok}" "$ok"
done
# fillings that were cut short, and are not at work now
find "$CACHE"/{src,git,kernel,qemu,guest,objects} -mindepth 1 -maxdepth 1 -type d -mtime +1 2>/dev/null | while read -r d; do
	[[ -e $d.ok ]] || rm -rf -- "$d"
done
