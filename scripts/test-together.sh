#!/bin/bash
# TAP tests of what goes on at the same time: two copies of this repository, one cache, stages that take a second.
. "$(dirname "$0")/lib.sh"

need spin gcc python3
# vm/test asks for it before it looks at anything else; in an empty cache that would take a minute
linux=$("$TOP/scripts/fetch-linux.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/home
CACHE=$XDG_CACHE_HOME/page-hinting apt_dir=$CACHE/apt

# copy NAME TESTS: in which the tests of "make apply" and the model take a second, and are as many; and the
# demonstration tells when it runs
copy() {
	mkdir -p "$work/$1/model" "$work/$1/vm"
	cp -r "$TOP/scripts" "$work/$1"
	echo "$2" >"$work/$1/model/page_hinting.pml"
	tee "$work/$1/model/check.sh" >"$work/$1/scripts/test-apply.sh" <<'END'
#!/bin/bash
echo made >>"$XDG_CACHE_HOME/made"
n=$(cat "$(dirname "$0")/../model/page_hinting.pml")
for ((i = 1; i <= n; i++)); do
	echo "ok $i - test"
	sleep "$(echo "scale=2; 1 / $n" | bc)"
done
echo "1..$n"
END
	cat >"$work/$1/vm/run" <<'END'
#!/bin/bash
echo begin >>"$XDG_CACHE_HOME/turns"
sleep 0.5
echo end >>"$XDG_CACHE_HOME/turns"
END
	chmod +x "$work/$1"/{model/check.sh,vm/run}
}

# both COMMAND...: in both copies; what they say is in one.out and two.out
both() {
	local rc=0 other
	(cd "$work/one" && "$@" >"$work/one.out" 2>&1) &
	other=$!
	(cd "$work/two" && "$@" >"$work/two.out" 2>&1) || rc=1
	wait $other || rc=1
	return $rc
}
# says ONE TWO: their last lines
says() { [[ $(tail -qn 1 "$work"/{one,two}.out) == "$1"$'\n'"$2" ]]; }

n=0 failed=0
verdict() {
	point "$@"
	(($1 == 0)) || tail -n 20 "$work"/*.out 2>/dev/null | sed 's/^/# /'
}
# check NAME COMMAND...
check() {
	local rc=0
	"${@:2}" || rc=1
	verdict $rc "$1"
}

counted() { both scripts/test.sh apply && says "$1 passed, 0 failed, 0 skipped" "$2 passed, 0 failed, 0 skipped"; }
logs() { grep -h '^logs:' "$work"/{one,two}.out | sed 's/^logs: \(.*\);.*/\1/'; }
apart() { [[ $(logs | sort -u | wc -l) == 2 ]]; }
newest() { logs | grep -qx "$(readlink -f "$CACHE/log/test/last")"; }
model() {
	: >"$XDG_CACHE_HOME/made"
	both scripts/check-model.sh && [[ $(grep -hc '^ok' "$work"/{one,two}.out | paste -sd' ') == "4 4" ]]
}
made_once() { [[ $(wc -l <"$XDG_CACHE_HOME/made") == 1 ]]; }
turns() { both scripts/test.sh run && [[ $(paste -sd' ' "$XDG_CACHE_HOME/turns") == "begin end begin end" ]]; }

mkdir "$XDG_CACHE_HOME"
echo 1..11
copy one 5
copy two 8
check "two runs: each counts its own tests" counted 5 8
check "their logs are in different places" apart
check "\"last\" is one of them" newest
copy one 4
copy two 4
check "two checks of the same model: both pass" model
check "and one of them has made it" made_once
check "stages that take all of the machine take turns" turns

# Logs of old runs, one of them in use
old=$CACHE/log/test/20000101-000000-abcdef
mkdir "$old" "$CACHE/log/test/2000010"{2..9}-000000-abcdef
exec {used}<"$old"
flock "$used"
old_go() { both scripts/test.sh none; [[ -d $old && $(find "$CACHE/log/test" -name '*-*-*' | wc -l) == 9 ]] && newest; }
check "logs of old runs go, but for eight and what is in use" old_go
# refused TEXT COMMAND...: it fails and says so
refused() { ! "${@:2}" >"$work/one.out" 2>&1 && grep -q "$1" "$work/one.out" && [[ -d $old ]]; }
check "the cache is not removed when any of it is in use" refused "is in use; nothing was removed" "$TOP/scripts/clean-cache.sh" --all
check "a directory for results that is in use is refused" refused "is in use by another run" env LINUX="$linux" "$TOP/vm/test" --out "$old" none
exec {used}>&-

# Downloads that take until they may go on, of packages that do not exist
apt_private_update() { :; }
apt_private() {
	case $* in
	*showsrc*) echo "Version: 1.0-1" ;;
	*)
		echo half >package_1.0.orig.tar.xz
		until [[ -e $work/go ]]; do sleep 0.05; done
		echo all >package_1.0.orig.tar.xz
		;;
	esac
}
download() { cat "$(apt_orig package .)" 2>/dev/null; }
half() { until find "$CACHE/downloads/$1" -name '*.orig.tar.*' 2>/dev/null | grep -q .; do sleep 0.05; done; }
download_both() {
	download >"$work/one.out" &
	half package
	{ sleep 0.5; touch "$work/go"; } &
	download >"$work/two.out"
	wait
	rm "$work/go"
	says all all
}
check "nobody gets half of a download" download_both
cut_short() {
	local child
	apt_orig another . >"$work/one.out" 2>&1 &
	child=$!
	half another
	kill $child
	wait $child || true
	[[ -z $(find "$CACHE/downloads/another" -maxdepth 1 -name '*.orig.tar.*') ]]
}
check "nor is half of one kept that was cut short" cut_short
((!failed))
