# SPDX-License-Identifier: GPL-2.0
"""The driver goes, the machine sleeps, memory goes, another kernel comes, while the host has taken part of the cache and takes more.

In all of these nothing may remain volatile; then content has to be right, and hinting goes on. The clock's period is so
long that nothing becomes volatile again before it is told to.
"""

import time
from itertools import dropwhile

from boot import adverse, has_part
from leave import HINTING, PAGES, freeze, judge, same, write_file
from machines import ACCEL, PAGE, X86
from vm import VmError, command_line, flatten

# It takes half of what it is about to lose, in the moment before, and is not done at once with all of that.
TAKES = "sweep" if ACCEL == "kvm" else "window"
BALLOON = "/sys/bus/virtio/drivers/virtio_balloon"
BLOCKS = "/sys/devices/system/memory"
DIMM = 256                      # MB
CMA = 64                        # MB of page cache for the crash kernel
DEBUG_CMA = "/sys/kernel/debug/cma/crashkernel"
# What may be said on the way to another kernel, and by it; the timer of the kernel before may still tick
STARTED = (*X86.expected, r"reboot: Restarting system", r"kexec_core: Starting new kernel", r"Spurious LAPIC timer interrupt")
ENDS = ("stable", "lost", "evicted", "freed")           # of what was volatile, as /proc/vmstat has it


def host_has(guest):
    """Pages that the host knows the states of, how many of them are not stable, and how many are gone."""
    stats = flatten(guest.stats())
    return stats["stable"] + stats["volatile"], stats["volatile"], stats["volatile_dropped"]


def takes(guest):
    """Can the host take anything?"""
    try:
        return guest.discard() > 0
    except VmError as e:
        if "does not share page states" not in str(e):
            raise
        return False


def ready(boot, guest, what):
    """Hinting works: of a file that was read half is discarded. Of the other half, the host takes some soon."""
    guest.set(mode="pager")
    guest.passes(3)
    guest.discard(count=PAGES // 2)
    _, volatile, gone = host_has(guest)
    boot.check(min(gone, volatile - gone) >= PAGES * 2 // 5,
               f"{gone} discarded pages and {volatile - gone} volatile ones before {what} (at least {PAGES * 2 // 5} each)")
    adverse(guest, TAKES)


def settled(boot, guest, what):
    """Neither side has any page that is volatile, and all that ever was has an end."""
    _, volatile, _ = host_has(guest)
    guest.sh("echo 1 >/proc/sys/vm/stat_refresh")
    now = guest.vmstat()
    ends = {end: now[f"page_hint_{end}"] for end in ENDS}
    made, left = now["page_hint_volatile"], now["nr_volatile"]
    gone = ends["lost"] + ends["evicted"]
    boot.check(not volatile and not left and gone and made == sum(ends.values()), f"{what}: no page is volatile, {gone} of {made} were gone",
               f"{volatile} are volatile for the host, {left} for the guest; {made} made volatile, {ends}")


def back(boot, guest, what, digest):
    """After something that the host has come back from."""
    mode = guest.out(f"cat {HINTING}/mode")
    boot.check(mode == "on", f"the mode after {what} is what it was", mode)
    same(boot, guest, digest, what)


def unbind(boot, guest, digest):
    """The driver goes and comes back, as a module would."""
    ready(boot, guest, "the driver went")
    device = guest.out(f"cd {BALLOON}; echo virtio*")
    guest.sh(f"echo {device} >{BALLOON}/unbind")
    known, *_ = host_has(guest)
    there = guest.sh(f"[ -e {HINTING} ]", check=False)[0] == 0
    boot.check(not known and not there and not takes(guest),
          "without its driver the host knows of no page, and takes none, and there are no controls", known, there)
    settled(boot, guest, "the driver has gone")
    same(boot, guest, digest, "the driver went")
    guest.sh(f"echo {device} >{BALLOON}/bind")
    back(boot, guest, "the driver came back", digest)


# What is to be tested, and whether the device is told to sleep, too
LEVELS = {"freezer": False, "devices": True, "core": True}


def tested(boot, guest, digest):
    """The kernel pretends to suspend, down to a level. The notifier has made all stable before the device is asked to."""
    for level, device in LEVELS.items():
        what = f"suspend down to '{level}'"
        ready(boot, guest, what)
        seen = []
        guest.watch(f"echo {level} >/sys/power/pm_test; echo mem >/sys/power/state; r=$?; echo none >/sys/power/pm_test; exit $r",
                    lambda: seen.append(host_has(guest)))
        looks = [volatile for known, volatile, _ in seen if bool(known) != device]
        boot.check(0 in looks, f"{what}: nothing is volatile while the device is {'asleep' if device else 'still awake'}", seen[-20:])
        settled(boot, guest, what)
        back(boot, guest, what, digest)


def suspend(boot, guest, digest):
    """To memory, really: what the host has taken then is lost for good."""
    ready(boot, guest, "suspend")
    seen = []

    def look():
        if guest.qmp("query-status")["status"] == "suspended":
            seen.append((*host_has(guest), takes(guest)))
            guest.qmp("system_wakeup")
    guest.watch("echo mem >/sys/power/state", look)
    boot.check(seen == [(0, 0, 0, False)], "while the machine is suspended, the host knows of no page, and takes none", seen)
    settled(boot, guest, "suspend")
    back(boot, guest, "suspend", digest)


def hibernate(boot, guest, digest):
    """To disk, really. Devices are awake while the image is written, but what became volatile then would be wrong in it.

    Then a reset, as QEMU's q35 does not obey an order to power off once it has been suspended, whatever devices it has.
    """
    guest.sh("mkswap /dev/rawswap; swapon /dev/rawswap; echo reboot >/sys/power/disk")
    ready(boot, guest, "hibernation")
    seen, images = [], []

    def look():
        seen.append((*host_has(guest), flatten(guest.stats())["discards_volatile"]))
        if guest.qmp("query-status")["status"] == "shutdown":
            images.append(list(dropwhile(lambda look: look[0], seen)))
            guest.reset()
    guest.watch("echo disk >/sys/power/state", look)
    boot.check(len(images) == 1, "the machine was reset once, and went on with what it did", len(images))
    image = images[0] if images else []
    boot.check(len(set(image)) == 1, f"in {len(image)} looks while the image is made and written, the host knows of no page, and takes none", image)
    settled(boot, guest, "hibernation")
    back(boot, guest, "hibernation", digest)
    judge(boot, guest, guest.forget_console(), "hibernation", STARTED)
    guest.sh("swapoff /dev/rawswap")


def kexec(boot, guest, digest):
    """The next kernel knows nothing of what the host has taken from this one, and is about to take."""
    for command in ("page_hinting=off", "page_hinting=on", "page_hinting=on"):
        what = f"kexec with '{command}'"
        guest.sh(f"kexec load /mnt/boot/bzImage /mnt/boot/initrd '{X86.parameters} {command_line(command)}'")
        if guest.out(f"cat {HINTING}/mode") == "on":
            ready(boot, guest, what)
            guest.set(mode="random", interval=100, probability=5)
        judge(boot, guest, guest.restart("kexec exec"), what, STARTED)
        known, volatile, _ = host_has(guest)
        boot.check(not volatile and bool(known) == command.endswith("on"), f"{what}: the host knows of {known} pages, and none is volatile", volatile)
        same(boot, guest, digest, what)
    ready(boot, guest, "the end")


def leave(boot, guest):
    digest = write_file(guest)
    for way in (unbind, tested, suspend, hibernate, kexec):
        way(boot, guest, digest)


def held(boot, guest):
    """Somebody switches off, and waits for a folio that nobody can get. A machine that is to suspend does not wait for ever."""
    digest = write_file(guest)
    ready(boot, guest, "nobody can get one of them")
    freeze(boot, guest, range(0))
    guest.sh(f"(echo off >{HINTING}/mode) >/dev/null 2>&1 & sleep 1; echo freezer >/sys/power/pm_test")
    start = time.time()
    status, text = guest.sh("echo mem 2>&1 >/sys/power/state", check=False)
    took = time.time() - start
    boot.check(status and "busy" in text and took < 120, f"what cannot be made stable keeps a machine from being suspended, and it says so after {took:.0f} s", text)
    guest.sh(f"echo none >/sys/power/pm_test; killall sleep; for i in $(seq 60); do [ $(cat {HINTING}/mode) = off ] && break; sleep 1; done")
    settled(boot, guest, "all is off")
    guest.sh(f"echo on >{HINTING}/mode")
    back(boot, guest, "who waited has got it", digest)


def crash(boot, guest):
    """A crash kernel gets memory that was page cache (crashkernel=...,cma). Nothing resets the device before it is used."""
    digest = write_file(guest)
    guest.sh(f"dd if=/dev/zero of=/mnt/test/more bs=1M count={CMA} 2>/dev/null; sync")
    first, count = (int(guest.out(f"cat {DEBUG_CMA}/{file}")) for file in ("base_pfn", "count"))

    def volatile():
        """In the memory that the crash kernel gets, and in all"""
        return sum(run["count"] for run in guest.blocks(first * PAGE, count) if run["usage"] == "volatile"), host_has(guest)[1]
    guest.sh(f"kexec crash /mnt/boot/bzImage /mnt/boot/initrd '{X86.parameters} nr_cpus=1 {command_line('page_hinting=off')}'")
    guest.passes(3)
    guest.discard(count=PAGES // 2)
    there, of_all = volatile()
    boot.check(min(there, of_all - there) >= 1000,
               f"{there} of {of_all} volatile pages are in the {count} that a crash kernel gets (at least 1000, and 1000 others)")
    seen = []

    def watch():
        seen.append(volatile())
        return not seen[-1][0]
    text = guest.restart("echo c >/proc/sysrq-trigger", may_panic=True, watch=watch)
    # what comes after the trace of the crash itself
    judge(boot, guest, text.rpartition("</TASK>")[2], "the way of the crash kernel", (*STARTED, r"CPU topo: "))
    boot.check(seen[-1][0] == 0 and seen[-1][1] >= (of_all - there) // 2, f"none of them when it is loaded, and {seen[-1][1]} others still are", seen[-20:])
    status, text = guest.sh("[ -s /proc/vmcore ] && grep -o page_hinting=off /proc/cmdline", check=False)
    boot.check(status == 0, "the crash kernel is there, with a dump", text)
    guest.qmp("set-action", reboot="reset")
    guest.restart("reboot -f")
    same(boot, guest, digest, "a crash")


def plug(guest):
    """Have a DIMM, all of it for what can be moved. Where it is, and its memory blocks."""
    guest.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "mem", "size": DIMM << 20})
    guest.qmp("device_add", driver="pc-dimm", id="dimm", memdev="mem")
    blocks = guest.out(f"for i in $(seq 60); do grep -l offline {BLOCKS}/memory*/state && exit; sleep 1; done").split()
    for block in blocks:
        guest.sh(f"echo online_movable >{block}")
    return guest.qmp("query-memory-devices")[0]["data"]["addr"], blocks


def unplug(guest):
    """Ask for the DIMM back, which takes its memory offline if need be. Is it gone in the end?"""
    guest.qmp("device_del", id="dimm")
    end = time.time() + 60
    while guest.qmp("query-memory-devices"):
        if time.time() > end:
            return False
        time.sleep(0.2)
    guest.qmp("object-del", id="mem")
    return True


def hotplug(boot, guest):
    """Once somebody takes the memory offline before, and once the one who wants the DIMM back has it done."""
    before, *_ = host_has(guest)
    for by in ("hand", "request"):
        address, blocks = plug(guest)
        known, *_ = host_has(guest)
        boot.check(known - before == DIMM << 8, f"the host knows of {known - before} pages that have come (all {DIMM << 8})", before, blocks)
        digest = write_file(guest)
        what = f"memory went by {by}"
        ready(boot, guest, what)
        runs = guest.blocks(address, DIMM << 8)
        n = {content: sum(run["count"] for run in runs if run["usage"] == "volatile" and run["content"] == content) for content in ("zero", "resident")}
        boot.check(min(n.values()) >= PAGES // 5, f"{n['zero']} of them discarded and {n['resident']} volatile in this memory (at least {PAGES // 5} each)")
        for block in blocks if by == "hand" else ():
            guest.sh(f"echo offline >{block}")
        if by == "hand":
            known, *_ = host_has(guest)
            boot.check(known == before, "the host knows of no page that is offline", before, known)
        boot.check(unplug(guest), f"the DIMM goes, memory offline by {by}")
        known, *_ = host_has(guest)
        boot.check(known == before, "the host knows of no page of what has gone", before, known)
        same(boot, guest, digest, what)
        bad = [guest.stats()[key] for key in ("bad-states", "bad-requests")]
        boot.check(not any(bad), "the host has not been told anything wrong", bad)
    ready(boot, guest, "the end")


def machine(**options):
    return {"arch": "x86_64", "kernel": "run", "cpus": 2, "memory": 256, "default": False, **options}


ON = "page_hinting=on suspend.pm_test_delay=1 resume=/dev/vdc"
DISKS = (("test", 512, "ext4"), ("boot", 96, "boot"), ("rawswap", 256, "raw"))
BOOTS = {
    "shared-leave": (leave, machine(append=ON, disks=DISKS, sleeps=True)),
    "shared-leave-lazy": (leave, machine(append=ON, disks=DISKS, sleeps=True, options=["page-state-lazy=on"])),
    "shared-held": (held, machine(kernel="test", append=ON, disks=DISKS, sleeps=True)),
    "shared-crash": (crash, machine(memory=512, append=f"page_hinting=on crashkernel=160M crashkernel={CMA}M,cma", disks=DISKS)),
    "shared-hotplug": (hotplug, machine(append="page_hinting=on", dimms=DIMM, allow=[r"min_free_kbytes is not updated"])),
} if has_part(6) else {}
