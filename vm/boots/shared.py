# SPDX-License-Identifier: GPL-2.0
"""The other host: page states shared with the balloon device, on x86-64 and arm64."""

import re
import time

from boot import HOSTS, Program, has_part, host
from leave import KPF_VOLATILE
from machines import ACCEL, PAGE
from vm import flatten

MODES = ("instant", "random")
# KVM does not make a compare-and-swap that traps, as those on the array do in the others, one operation.
KVM_MODES = ("sweep", "random")
# What takes long, and does not depend on the host
SLOW = ("huge_pages_race", "compaction")
QUICK = {"page_hinting_test": "", "page_hinting_stress": "random_operations with_compaction"}
# "contexts" is about faults on discarded pages, and here there are none.
OTHERS = {"page_hinting_policy": "", "page_hinting_account": "", "page_hinting_property": "", "page_hinting_io": "",
          "page_hinting_contexts": "flush_is_pending"}
ALL = {"page_hinting_test": "", "page_hinting_fuse": "", "page_hinting_stress": "", "page_hinting_fs": "random_reads_*",
       "page_hinting_swap": ""}
# The clock source's watchdog wakes each CPU every few seconds; a swap device that fails has its say on the console.
WITHOUT = {"page_hinting_policy": ("clock_needs_one_cpu",), "page_hinting_swap": ("bad_sectors",)}


def run(boot, guest, mode, lru, programs, without=()):
    """All these tests of all these programs, but for some."""
    for name, tests in programs.items():
        leave_out = (*without, *WITHOUT.get(name, ()))
        if not tests and leave_out:
            tests = " ".join(t for t in guest.out(f"/selftests/page_hinting/{name} -l").split() if t not in leave_out)
        Program(boot.tap, f"{boot.name} {mode} lru_gen={lru}").run(
            guest, name, args=tests, env=f"PAGE_HINTING_SEED={boot.seed + 1} PAGE_HINTING_SWAP=/dev/rawswap PAGE_HINTING_DISK=/dev/rawdisk")


def under(boot, guest, mode, lru, seed, programs, without=()):
    """The same while such a host takes pages."""
    with host(guest, mode, seed, lru) as discards:
        run(boot, guest, mode, lru, programs, without)
        n = discards()
        boot.tap.point(n >= 1000, f"{boot.name} {mode} lru_gen={lru}: {n} pages discarded (at least 1000)")


def waits(guest):
    """How long each of those has waited, in ns, who met a folio that was being taken."""
    return [int(ns) for ns in re.findall(r" page_hint_waited: .* ns=(\d+)", guest.out("cat /sys/kernel/tracing/trace"))]


def checks(boot, guest):
    """The same with the kernel's checkers, and its trace events."""
    guest.sh("echo 1 > /sys/kernel/tracing/events/page_hinting/page_hint_waited/enable")
    shared(boot, guest)
    found = waits(guest)
    boot.tap.point(found and min(found) > 0, f"{boot.name}: {len(found)} times somebody had to wait, for {max(found, default=0) / 1e6:.1f} ms at most")


def shared(boot, guest):
    """The protocol's own tests, under hosts that take what they like."""
    for i, mode in enumerate(KVM_MODES if ACCEL == "kvm" else MODES):
        under(boot, guest, mode, "yn"[i % 2], boot.cpus * 10 + i, QUICK, SLOW if i else ())


def everything(boot, guest):
    """What wants a host that takes what it is told to, and all else under each of the others."""
    run(boot, guest, "pager", "n", OTHERS)
    for i, mode in enumerate(KVM_MODES if ACCEL == "kvm" else HOSTS):
        for lru in "yn":
            under(boot, guest, mode, lru, boot.cpus * 100 + i, ALL)


def hole(boot, guest):
    """Memory that begins in the middle of a pageblock. The clock begins anywhere. Who switches off has to find what it has made volatile."""
    # more than there is memory: at first, what is behind holes is taken for what the kernel cannot move
    guest.sh("dd if=/dev/urandom of=/mnt/test/file bs=1M count=220 2>/dev/null; sync")
    guest.control("period_ms", 1000)
    found, end = 0, time.time() + 60
    while found < 1000 and time.time() < end:
        time.sleep(1)
        lines = guest.out(f"/selftests/page_hinting/page_hinting_free --pages {KPF_VOLATILE}").splitlines()
        runs = [[int(n) * PAGE for n in line.split()[:2]] for line in lines]
        found = sum(max(0, min(start + size, first + HOLE) - max(start, first)) for start, size in runs for first in AFTER) // PAGE
    boot.check(found >= 1000, f"{found} pages are volatile that are behind holes (at least 1000)")
    guest.control("mode", "off")
    guest.sh("echo 1 >/proc/sys/vm/stat_refresh")
    left = guest.vmstat()["nr_volatile"], flatten(guest.stats())["volatile"]
    boot.check(not any(left), "when it is off, nothing is volatile, neither for the guest nor for the host", left)
    guest.control("mode", "on")
    under(boot, guest, "random", "n", 1, {"page_hinting_test": "switch_off_and_on read_random mmap_read"})


def simulated(boot, guest):
    """No device, but a thread of the kernel that plays the hypervisor."""
    for mode, name, tests in (("sweep", "page_hinting_test", ""), ("sweep", "page_hinting_stress", ""),
                              ("random", "page_hinting_stress", "random_operations with_compaction with_switching")):
        guest.sh(f"echo {mode} > /sys/kernel/debug/page_hinting_sim/mode")
        Program(boot.tap, f"{boot.name} {mode}").run(guest, name, env="PAGE_HINTING_CTL=", args=tests)


def kunit(boot, guest):
    """The tests have run when the kernel booted."""
    lines = guest.out("cat /sys/kernel/debug/kunit/page_hinting/results").splitlines()
    found = [m for line in lines if (m := re.match(r" {4}(not )?ok \d+ (\S+)( # SKIP)?", line))]
    for m in found:
        boot.tap.point(not m[1] and not m[3], f"{boot.name}: {m[2]}")
    plans = [int(m[1]) for line in lines if (m := re.match(r" {4}1\.\.(\d+)$", line))]
    boot.check(found and plans == [len(found)] and lines[-1].startswith("ok "), f"{len(found)} tests were run, and the suite is fine", plans, lines[-1:])


def machine(kernel, cpus, **options):
    return {"arch": "x86_64", "kernel": kernel, "cpus": cpus, "memory": 256, "append": "page_hinting=on", **options}


# Every 8 MB from 64 on, the first half of a pageblock is missing.
HOLE = 2 << 20
AFTER = [(start << 20) + HOLE for start in range(64, 256, 8)]
HOLES = "memmap=" + ",".join(f"{HOLE >> 20}M${hex(first - HOLE)}" for first in AFTER)
SIMULATED = "page_hinting=on page_hinting_sim=off"
KUNIT = "kunit.enable=1 kunit.autorun=1"
FAILED = r"Memory failure: 0x[0-9a-f]+: recovery action for clean LRU page: Recovered"      # as it should
DISKS = (("test", 1024, "ext4"), ("rawswap", 64, "raw"), ("rawdisk", 16, "ext4-1k"))
BOOTS = {
    "shared": (shared, machine("run", 4)),
    "shared-1cpu": (shared, machine("run", 1, default=False)),
    "shared-hole": (hole, machine("hole", 2, default=False, append="page_hinting=on " + HOLES, disks=DISKS)),
    "shared-lazy": (shared, machine("run", 4, default=False, options=["page-state-lazy=on"])),
    "shared-checks": (checks, machine("test", 4, default=False)),
    "shared-all": (everything, machine("test", 4, default=False, disks=DISKS)),
    "shared-all-lazy": (everything, machine("test", 4, default=False, disks=DISKS, options=["page-state-lazy=on"])),
    "shared-simulated": (simulated, machine("test", 4, default=False, hinting=False, append=SIMULATED)),
    "shared-kunit": (kunit, machine("test", 4, default=False, hinting=False, append=KUNIT, allow=[FAILED])),
    # These need no device, so any architecture will do, and where there is another host, it must not be used.
    "shared-simulated-s390": (simulated, machine("kunit", 4, arch="s390", default=False, hinting=False, append="cmma=off " + SIMULATED)),
    "shared-kunit-s390": (kunit, machine("kunit", 4, arch="s390", default=False, hinting=False, append="cmma=off " + KUNIT)),
    "shared-all-1cpu": (everything, machine("test", 1, default=False, disks=DISKS)),
    "shared-all-arm64": (everything, machine("test", 4, arch="arm64", default=False, disks=DISKS)),
    "shared-arm64": (shared, machine("test", 4, arch="arm64", default=False, disks=DISKS)),
    "shared-arm64-64k": (shared, machine("64k", 4, arch="arm64", default=False, memory=512, disks=DISKS)),
} if has_part(6) else {}
