# SPDX-License-Identifier: GPL-2.0
"""A guest of x86-64 goes elsewhere, or back in time, while pages of its cache are gone.

Meanwhile, nothing may be taken: states are memory of the guest, and must arrive together with what they are about.
"""

import os
import socket
import threading
import time

import shared
from boot import adverse, has_part
from machines import PAGE, runs
from vm import VmError, copy_image, fsck

# MB: of files that nobody uses, and of those that are read all the time; what is taken, and which of the two that is the host does not know
COLD, HOT, TAKE = 80, 16, 64
TAKEN = TAKE - HOT << 20        # bytes that remain discarded at least, and those that remain volatile
LEFT = (COLD - TAKE) << 19
RATE, SLOW = 16 << 20, 1 << 20  # bytes a second: that cannot be all before the guest has got something done
MIGRATED = "it is being migrated"
# Reads all of the hot files, writes and reads another one, and remembers what was wrong
WORK = ("cd /mnt/test; n=0; while [ ! -e /tmp/stop ]; do md5sum -c /tmp/hot >/tmp/last 2>&1 || cat /tmp/last >>/tmp/bad; "
        f"f=hot/$((n % {HOT})); cp $f written; sync; cmp $f written >>/tmp/bad 2>&1; "
        "n=$((n + 1)); echo $n >/tmp/n; mv /tmp/n /tmp/rounds; done; touch /tmp/stopped")


def fill(guest):
    """Files of a megabyte each, and their digests from before the host takes anything. The clock comes when it is told to."""
    guest.control("period_ms", 3600000)
    for name, count in (("cold", COLD), ("hot", HOT)):
        guest.sh(f"cd /mnt/test; mkdir {name}; for i in $(seq 0 {count - 1}); do "
                 f"dd if=/dev/urandom of={name}/$i bs=1M count=1 2>/dev/null; done; md5sum {name}/* >/tmp/{name}; sync")


def right(boot, guest, what):
    lines = guest.sh("cd /mnt/test; cat /tmp/cold /tmp/hot | md5sum -c 2>&1", check=False)[1].splitlines()
    wrong = [line for line in lines if not line.endswith(": OK")]
    boot.check(len(lines) == COLD + HOT and not wrong, f"{what}: all {len(lines)} files are right", *wrong[:20])


def rounds(guest):
    return int(guest.out("cat /tmp/rounds"))


def start_work(guest):
    guest.sh(f"rm -f /tmp/stop /tmp/stopped /tmp/bad; echo 0 >/tmp/rounds; ({WORK}) >/dev/null 2>&1 </dev/null 3>&- &")


def gets_on(boot, guest, what, before):
    """The guest has done more than this many rounds of its work, or soon has, and all that it read was right."""
    end = time.time() + 60
    while (n := rounds(guest)) <= before and time.time() < end:
        time.sleep(0.1)
    bad = guest.out("cat /tmp/bad 2>/dev/null; true").splitlines()
    boot.check(n > before and not bad, f"{what}: it works on, and reads what it should ({n} rounds, {before} before)", *bad[:20])
    return n


def suffers(boot, guest, what, before):
    """The same, until it has lost some of what it works with."""
    taken, lost, end = info(guest)["taken"], 0, time.time() + 60
    while lost < HOT << 18 and time.time() < end:
        guest.passes(3)
        lost = info(guest)["taken"] - taken
    boot.check(lost >= HOT << 18, f"{what}: {lost >> 10} KB were taken (at least {HOT << 8})")
    return gets_on(boot, guest, what, before)


def stop_work(guest):
    guest.sh("touch /tmp/stop; while [ ! -e /tmp/stopped ]; do sleep 0.1; done")


def info(guest):
    return guest.qmp("query-balloon-page-state")


def states(guest):
    """Of all frames, in runs"""
    return [(run["state"], run["count"]) for run in runs(guest, "query-balloon-page-state-frames", 0, guest.memory // PAGE)]


def count(found, *wanted):
    return sum(n for state, n in found if state in wanted) * PAGE


def lazy(boot):
    return "page-state-lazy=on" in boot.options["options"]


def discard_cold(boot, guest, what):
    """Some of what is idle, as the cold files must be. It stays so until the clock comes by."""
    guest.sh("cat /mnt/test/cold/* >/dev/null")
    guest.passes(3)
    end = time.time() + 30
    while lazy(boot) and info(guest)["lazy"] < COLD * 9 // 10 << 20 and time.time() < end:
        time.sleep(0.2)
    before = guest.resident()
    guest.discard(count=(TAKE << 20) // PAGE)
    found, freed = info(guest), before - guest.resident()
    gone, left = found["discarded"], found["lazy" if lazy(boot) else "volatile"]
    boot.check(min(gone, freed) >= TAKEN and left >= LEFT,
               f"{what}: {gone >> 10} KB are discarded (at least {TAKEN >> 10}), and {freed >> 10} KB free; {left >> 10} KB remain (at least {LEFT >> 10})", found)


def settled(boot, guest, what):
    """The kernel of this machine must not drop what is being read."""
    if lazy(boot):
        found = info(guest)
        boot.check(found["settled"] >= LEFT, f"{what}: {found['settled'] >> 10} KB were lazy, and were made volatile (at least {LEFT >> 10})", found)


def refuses(boot, guest, what):
    """Nobody gets memory of this guest now."""
    before = info(guest)
    try:
        answer = f"takes {guest.qmp('balloon-page-state-take', bytes=guest.memory)['taken']} bytes"
    except VmError as e:
        answer = str(e)
    after = info(guest)
    boot.check(answer.endswith(MIGRATED) and before.get("inhibited") == MIGRATED and after["taken"] == before["taken"],
               f"{what}: nothing can be taken", answer, before, after)


def sane(boot, guest, what, regions):
    found = info(guest)
    ok = found["enabled"] and found["regions"] == regions and "inhibited" not in found and not found["bad-states"] + found["bad-requests"]
    boot.check(ok, f"{what}: {regions} regions, nothing forbids to take memory, and all that the guest says makes sense", found)


def hints(boot, guest, what, regions):
    """Page hinting is what it was: cache becomes volatile, goes, and is read again."""
    sane(boot, guest, what, regions)
    discard_cold(boot, guest, what)
    right(boot, guest, what)


def goes_on(boot, guest, what, how, before, regions):
    """Where or as what it is now: it works, and loses pages, and page hinting is what it was."""
    suffers(boot, guest, f"{what}, {how}", before)
    stop_work(guest)
    guest.set(mode="pager")
    right(boot, guest, what)
    hints(boot, guest, what, regions)


# --- migration ---


def capabilities(guests, *names):
    for guest in guests:
        guest.qmp("migrate-set-capabilities", capabilities=[{"capability": name, "state": True} for name in names])


def migration(guest, *wanted):
    """Wait for such a status of the migration."""
    while True:
        found = guest.qmp("query-migrate")
        status = found.get("status")
        if status in wanted:
            return found
        if status in ("failed", "cancelled", "completed"):
            raise VmError(f"{guest.name}: the migration is {status}: {found.get('error-desc')}")
        time.sleep(0.05)


def runstate(guest, wanted):
    while guest.qmp("query-status")["status"] != wanted:
        time.sleep(0.05)


def blind(guest):
    """Another adversary, which does not look who accesses memory: userfaultfd has one user at a time."""
    guest.qmp("object-del", id="adversary")
    guest.qmp("object-add", **{"qom-type": "balloon-adversary", "id": "adversary"})


def bandwidth(source, before, postcopy):
    source.qmp("migrate-set-parameters", **{"max-bandwidth": before, "max-postcopy-bandwidth": postcopy, "downtime-limit": 3000})


def open_target(boot, source, rate):
    """Where the guest goes, and how to get there. Its vCPUs are stopped on arrival."""
    bandwidth(source, rate, SLOW)
    return boot.start(".target", incoming=True), "unix:" + os.path.join(boot.work, boot.name)


def arrived(boot, target, before, what):
    """On the destination, before its vCPUs run: the states are those of the source."""
    found = states(target)
    differ = sum(a != b for a, b in zip(found, before)) + abs(len(found) - len(before))
    boot.check(not differ, f"{what}: all states are those that the source had", f"{differ} of {len(before)} runs differ")
    gone, left, odd = count(found, "discarded"), count(found, "volatile"), count(found, "lazy", "taking")
    boot.check(gone >= TAKEN and left >= LEFT and not odd,
               f"{what}: {gone >> 10} KB are discarded (at least {TAKEN >> 10}), {left >> 10} volatile (at least {LEFT >> 10}), {odd >> 10} lazy or being taken")


def cancelled(boot, source, regions):
    """A migration that comes to nothing."""
    source.qmp("migrate", uri="exec:cat >/dev/null")
    migration(source, "active")
    refuses(boot, source, "a migration")
    source.qmp("migrate_cancel")
    migration(source, "cancelled")
    sane(boot, source, "and when it is cancelled", regions)


def migrate(boot, source):
    """Precopy, while the guest works; both hosts take what they can before and afterwards."""
    fill(source)
    regions = info(source)["regions"]
    target, uri = open_target(boot, source, SLOW)
    cancelled(boot, source, regions)
    adverse(target, "instant")          # but for now it must not
    target.qmp("migrate-incoming", uri=uri)
    start_work(source)
    adverse(source)
    n = suffers(boot, source, "source, under a host that takes at random", 2)
    source.set(mode="pager")
    discard_cold(boot, source, "source")
    source.qmp("migrate", uri=uri)
    adverse(source)
    taken = info(source)["taken"]
    migration(source, "active")
    refuses(boot, source, "source, meanwhile")
    n = gets_on(boot, source, "meanwhile", n)
    boot.check(migration(source, "active", "completed")["status"] == "active", "the guest works while it is migrated")
    bandwidth(source, RATE, SLOW)
    ram = migration(source, "completed")["ram"]
    boot.tap.note(f"{boot.name}: {ram['transferred'] >> 10} KB in {ram['dirty-sync-count']} rounds, {ram['duplicate']} pages without content")
    runstate(target, "paused")
    refuses(boot, source, "source, when all is done")
    arrived(boot, target, states(source), "destination")
    after = info(source)
    boot.check(after["taken"] == taken, "source: nothing was taken since the migration began", f"{after['taken'] - taken} bytes")
    settled(boot, source, "source")
    source.leave()
    target.qmp("cont")
    goes_on(boot, target, "destination", "under a host that takes at once", n, regions)
    return target


def postcopy(boot, source):
    """The guest runs at its destination before its memory is there."""
    fill(source)
    regions = info(source)["regions"]
    target, uri = open_target(boot, source, RATE)
    blind(source)
    blind(target)
    try:
        capabilities((target, source), "postcopy-ram")
    except VmError as e:
        boot.tap.point(True, f"{boot.name}: postcopy", skip=str(e))
        target.kill()
        boot.guests.remove(target)
        return None
    adverse(target)
    target.qmp("migrate-incoming", uri=uri)
    start_work(source)
    n = gets_on(boot, source, "source", 1)
    discard_cold(boot, source, "source")
    source.qmp("migrate", uri=uri)
    while migration(source, "active")["ram"]["transferred"] < RATE:
        time.sleep(0.05)
    source.qmp("migrate-start-postcopy")
    runstate(target, "paused")
    target.qmp("cont")
    found = info(target)
    boot.check(target.qmp("query-migrate")["status"] == "postcopy-active" and not found["volatile"] + found["discarded"],
               "destination: it runs before all memory is there, and no state is believed", found)
    refuses(boot, target, "destination, meanwhile")
    refuses(boot, source, "source, meanwhile")
    n = gets_on(boot, target, "destination, meanwhile", n)
    boot.check(target.qmp("query-migrate")["status"] == "postcopy-active" and not info(target)["taken"],
               "destination: all of that while memory was arriving, and nothing was taken")
    bandwidth(source, RATE, RATE)
    migration(source, "completed")
    migration(target, "completed")
    settled(boot, source, "source")
    source.leave()
    goes_on(boot, target, "destination", "when all is there", n, regions)
    return target


# --- snapshots ---


def monitor(guest, line):
    """A command for people, which has nothing to say if all is well."""
    answer = guest.hmp(line).strip()
    if answer:
        raise VmError(f"{line}: {answer}")


def not_later(boot, guest, what):
    boot.check(guest.sh("[ -e /mnt/test/later ]", check=False)[0] == 1, f"{what}: what was written later is not there")


def back(boot, guest, name, what, regions, before=None):
    """All of it is as it was when this snapshot was taken, however often it goes back there."""
    guest.qmp("stop")
    monitor(guest, "loadvm " + name)
    if before:
        found = states(guest)
        boot.check(found == before, f"{what}: all states are as they were, {count(found, 'discarded') >> 10} KB discarded")
    guest.qmp("cont")
    if before:
        right(boot, guest, what)
        not_later(boot, guest, what)
    sane(boot, guest, what, regions)


def savevm(boot, guest):
    """Snapshots within the disk, of a guest that stands still, and of one that works."""
    fill(guest)
    regions = info(guest)["regions"]
    discard_cold(boot, guest, "before it is saved")
    guest.qmp("stop")
    before = states(guest)
    monitor(guest, "savevm still")
    after = states(guest)
    kinds = [[count(found, *names) >> 10 for names in (("discarded",), ("volatile", "lazy"), ("lazy", "taking"))] for found in (before, after)]
    boot.check(kinds[0][:2] == kinds[1][:2] and not kinds[1][2],
               f"to save it leaves {kinds[1][0]} KB discarded and {kinds[1][1]} KB volatile", kinds)
    settled(boot, guest, "saved")
    guest.qmp("cont")
    right(boot, guest, "after it was saved")
    guest.sh("cd /mnt/test; for f in cold/* later; do cp hot/0 $f; done; sync")
    guest.passes(3)
    guest.discard()
    back(boot, guest, "still", "back", regions, after)
    start_work(guest)
    adverse(guest)
    n = suffers(boot, guest, "under a host that takes at random", 2)
    monitor(guest, "savevm working")
    suffers(boot, guest, "after it was saved", n + 2)
    back(boot, guest, "working", "back at work", regions)
    again = rounds(guest)
    boot.check(n <= again <= n + 2, f"back at work: it is after {again} rounds again, as it was after {n}")
    suffers(boot, guest, "back at work", again + 2)
    stop_work(guest)
    guest.set(mode="pager")
    right(boot, guest, "after that")
    back(boot, guest, "still", "back once more", regions, after)
    discard_cold(boot, guest, "back once more")
    right(boot, guest, "back once more, when that was read again")
    for name in ("still", "working"):
        monitor(guest, "delvm " + name)
    guest.sh("umount /mnt/test")
    monitor(guest, "commit all")        # what is judged is the image beneath


class Sink(threading.Thread):
    """Puts a migration into a file, so slowly that the guest gets something done."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.server = path, socket.socket(socket.AF_UNIX)
        self.uri = f"unix:{path}.socket"
        self.server.bind(path + ".socket")
        self.server.listen()
        self.start()

    def run(self):
        with self.server, self.server.accept()[0] as sock, open(self.path, "wb") as f:
            while data := sock.recv(RATE // 64):
                f.write(data)
                time.sleep(len(data) / RATE)


def background(boot, guest):
    """A snapshot that is made while the guest works, and another QEMU that starts from it."""
    fill(guest)
    regions = info(guest)["regions"]
    blind(guest)
    try:
        capabilities((guest,), "background-snapshot")
    except VmError as e:
        boot.tap.point(True, f"{boot.name}: snapshot in the background", skip=str(e))
        return
    discard_cold(boot, guest, "before the snapshot")
    guest.qmp("stop")                   # so that states and disk are known
    copies = [(disk, path + ".copy") for disk, _, _, path in boot.disks]
    for (_, copy), (*_, path) in zip(copies, boot.disks):
        copy_image(path, copy)
    sink = Sink(os.path.join(boot.work, boot.name + ".state"))
    guest.qmp("migrate", uri=sink.uri)
    while migration(guest, "active")["ram"]["transferred"] < RATE // 16:
        time.sleep(0.05)
    before = states(guest)
    guest.qmp("cont")
    adverse(guest)
    refuses(boot, guest, "meanwhile")
    guest.sh("echo later >/mnt/test/later")
    start_work(guest)
    n = gets_on(boot, guest, "meanwhile", 0)
    boot.check(guest.qmp("query-migrate")["status"] == "active", "all of that while the snapshot was made")
    migration(guest, "completed")
    settled(boot, guest, "afterwards")
    sink.join()
    goes_on(boot, guest, "afterwards", "under a host that takes at random", n, regions)
    restored(boot, sink.path, copies, before, regions)


def restored(boot, path, copies, before, regions):
    """The guest of the snapshot, beside the one that went on."""
    try:
        guest = boot.start(".restored", disks=copies, incoming=True)
        guest.qmp("migrate-incoming", uri="file:" + path)
        migration(guest, "completed")
        runstate(guest, "paused")
        arrived(boot, guest, before, "restored")
        guest.qmp("cont")
        right(boot, guest, "restored")
        not_later(boot, guest, "restored")
        hints(boot, guest, "restored", regions)
        guest.poweroff()
        faults = list(filter(None, (fsck(copy) for _, copy in copies)))
        boot.check(not faults, "restored: clean file system", *faults)
    finally:
        for _, copy in copies:
            os.unlink(copy)
        os.unlink(path)


def machine(**options):
    return shared.machine("run", 2, default=False, **options)


LAZY = {"options": ["page-state-lazy=on"]}
# What is written goes to an image of the kind that can hold snapshots, on top of the disk. The emulated TSC does not go back with
# the rest of the guest, so there is a moment that seems to take a minute.
SNAPSHOTS = {"cache": "unsafe,snapshot=on", "append": "page_hinting=on rcupdate.rcu_cpu_stall_suppress=1"}
BOOTS = {
    "shared-migrate": (migrate, machine()),
    "shared-migrate-lazy": (migrate, machine(**LAZY)),
    "shared-postcopy": (postcopy, machine()),
    "shared-postcopy-lazy": (postcopy, machine(**LAZY)),
    "shared-savevm": (savevm, machine(**SNAPSHOTS)),
    "shared-savevm-lazy": (savevm, machine(**SNAPSHOTS, **LAZY)),
    "shared-background": (background, machine()),
    "shared-background-lazy": (background, machine(**LAZY)),
} if has_part(6) else {}
