#!/bin/bash
# Remove from the cache what was not used for two weeks; --all: everything.
. "$(dirname "$0")/lib.sh"

[[ -d $CACHE ]] || exit 0
if [[ ${1-} == --all ]]; then
	for used in "$CACHE"/locks/* "$CACHE"/scratch/* "$CACHE"/log/test/*; do
		[[ ! -e $used ]] || flock -n "$used" true || die "${used#"$CACHE"/} is in use; nothing was removed"
	done
	rm -rf -- "$CACHE"
	exit
fi
mkdir -p "$CACHE/locks"
# unless somebody fills or uses it right now
remove() {
	local dir
	for dir; do		# in this order: what has its .ok is whole
		flock -n -o "$CACHE/locks/${dir##*/}" rm -rf -- "$dir.ok" "$dir" || say "$dir is in use"
	done
}
mapfile -t old < <(find "$CACHE" -mindepth 2 -maxdepth 2 -name '*.ok' -mtime +14 | sed 's/\.ok$//')
remove "${old[@]}"
# fillings that were cut short
find "$CACHE"/{src,git,kernel,qemu,guest,image,objects} -mindepth 1 -maxdepth 1 -type d -mtime +1 2>/dev/null | while read -r d; do
	[[ -e $d.ok ]] || remove "$d"
done
# what checkpatch has said of single patches
find "$CACHE/checkpatch" -type f -mtime +14 -delete 2>/dev/null || true
# disks of guests that were killed
find "$CACHE/scratch" -mindepth 1 -maxdepth 1 -mmin +60 2>/dev/null | while read -r d; do
	flock -n -o "$d" rm -rf -- "$d" || say "$d is in use"
done
