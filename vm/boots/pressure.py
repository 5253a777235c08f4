# SPDX-License-Identifier: GPL-2.0
"""The kernel of this machine runs short: it takes from a guest that makes its memory lazy, or swaps, or QEMU is told and takes.

It takes root, a control group for memory, and a swap device, which is made and taken away again. So these run only when they
are asked for, or with --full.
"""

import array
import contextlib
import errno
import functools
import os
import signal
import subprocess
import sys
import time

import shared
from boot import Boot, has_part
from machines import PAGE
from vm import VmError, in_child

SWAP_MB = 512
FILE_MB = 96
ANONYMOUS_MB = 32
TAKE_MB = 64                    # less than what is lazy by then
SUMS = "md5sum /mnt/test/file /anonymous"
STEP_MB, STEP_MOST = 16, 18     # what QEMU takes at once of so small a guest, when it is told: the last folio may be large
# Wants a bit more memory again and again, and all of it, so that it has to wait for what there is not
NEIGHBOUR = """
import mmap, sys
held = []
while True:
    if len(held) << 3 < int(sys.argv[1]):
        held.append(mmap.mmap(-1, 8 << 20))
    for memory in held:
        for i in range(0, len(memory), 4096):
            memory[i] = 1
"""
PRESENT, SWAPPED = 1 << 63, 1 << 62         # of an entry of pagemap


@contextlib.contextmanager
def swap(path, size, own=False):
    """A device of `size` MB to swap to, where there is none that is large enough, or before all others."""
    with open("/proc/swaps", encoding="ascii") as f:
        free = sum(int(line.split()[-3]) - int(line.split()[-2]) for line in f.readlines()[1:])
    if free >= size << 10 and not own:
        yield
        return
    try:
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as f:
            os.posix_fallocate(f.fileno(), 0, size << 20)
        subprocess.run(["/sbin/mkswap", path], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["/sbin/swapon", *(["-p", "32767"] if own else []), path], check=True)
        try:
            yield
        finally:
            subprocess.run(["/sbin/swapoff", path], check=True)
    finally:
        os.unlink(path)


class Group:
    """A control group for memory, of whichever version there is; and where that is the first, also one of the second if there
    are such, as these say who has to wait for memory."""

    def __init__(self, name):
        self.paths = []
        with open("/proc/self/mounts", encoding="ascii", errors="replace") as f:
            mounts = [line.split()[1:4] for line in f]
        for where, kind, options in mounts:
            controllers = os.path.join(where, "cgroup.subtree_control")
            if kind == "cgroup" and "memory" in options.split(","):
                self.usage, self.limit, self.cache = "memory.usage_in_bytes", "memory.limit_in_bytes", "cache"
                self.events = "memory.oom_control"
            elif kind == "cgroup2" and os.path.exists(controllers) and "memory" in self._read(controllers).split():
                self.usage, self.limit, self.cache = "memory.current", "memory.max", "file"
                self.events = "memory.events"
            else:
                continue
            self.path = self._make(where, name)
            break
        else:
            raise VmError("there is no control group for memory")
        if kind == "cgroup":
            for where in [where for where, kind, _ in mounts if kind == "cgroup2"][:1]:
                with contextlib.suppress(OSError):
                    self._make(where, name)

    def tells(self):
        """Does it say when one of its processes waits for memory?"""
        return any(os.path.exists(os.path.join(self.paths[-1], "memory." + file)) for file in ("pressure", "events"))

    def _make(self, where, name):
        path = os.path.join(where, name)
        os.mkdir(path)
        self.paths.append(path)
        return path

    @staticmethod
    def _read(path):
        with open(path, encoding="ascii") as f:
            return f.read()

    def used(self):
        return int(self._read(os.path.join(self.path, self.usage)))

    def _count(self, file, name):
        return int(dict(line.split() for line in self._read(os.path.join(self.path, file)).splitlines())[name])

    def cached(self):
        """What of that is page cache of this machine's."""
        return self._count("memory.stat", self.cache)

    def killed(self):
        """How many processes the kernel has killed for want of memory."""
        return self._count(self.events, "oom_kill")

    def set_limit(self, size, seconds=0):
        """The kernel may need more than one try to get there; give it that long."""
        end = time.time() + seconds
        while True:
            try:
                with open(os.path.join(self.path, self.limit), "w", encoding="ascii") as f:
                    f.write(str(size))
                return
            except OSError as e:
                if e.errno != errno.EBUSY or time.time() >= end:
                    raise

    def reclaim(self, size):
        """Lower the limit, so that the kernel has to take that much, beside its cache of the guest's disks."""
        os.sync()
        self.set_limit(self.used() - self.cached() - size)

    def remove(self):
        for path in self.paths:
            os.rmdir(path)


class PressedBoot(Boot):
    """A guest whose QEMU is in a control group of its own."""

    def __call__(self, work):
        with contextlib.ExitStack() as stack:
            try:
                if os.geteuid():
                    raise VmError("this takes root")
                self.group = Group(f"page-hinting-{os.getpid()}-{self.name}")
                stack.callback(self.group.remove)
                self.join()
                stack.enter_context(swap(os.path.join(self.work, self.name + ".swap"), SWAP_MB))
            except (VmError, OSError, subprocess.CalledProcessError) as e:
                self.tap.point(True, f"{self.name}: control group and swap", skip=str(e))
                return
            super().__call__(work)

    def join(self):
        self.options["cgroups"] = self.group.paths


class ToldBoot(PressedBoot):
    """QEMU watches its control group."""

    watched = "on"

    def is_told(self):
        return self.group.tells()

    def join(self):
        super().join()
        if not self.is_told():
            raise VmError("nobody says who waits for memory")
        self.options["options"].append("page-state-pressure=" + self.watched)


class SwappedBoot(ToldBoot):
    """QEMU watches whatever there is, and how much of it is in swap."""

    def is_told(self):
        return super().is_told() or os.path.exists("/proc/pressure/memory")


class WatchedBoot(ToldBoot):
    """QEMU watches a control group that it is not in."""

    def join(self):
        self.watched = self.group.paths[-1]
        super().join()
        self.options["cgroups"] = ()


@contextlib.contextmanager
def neighbour(group, size):
    """Another process in the group, which wants so many MB."""
    with subprocess.Popen([sys.executable, "-c", NEIGHBOUR, str(size)], preexec_fn=functools.partial(in_child, group.paths)) as process:
        try:
            yield process
        finally:
            process.kill()


def swapped(guest):
    """Bytes that are no longer in memory, but in swap."""
    with open(f"/proc/{guest.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmSwap:"))


def frames_in(guest, states):
    """Runs of frames in these states: the first one of each, and how many."""
    step = 4096
    for start in range(0, guest.memory // PAGE, step):
        first = start
        for run in guest.qmp("query-balloon-page-state-frames", address=start * PAGE, count=step):
            if run["state"] in states:
                yield first, run["count"]
            first += run["count"]


def where(guest, runs):
    """Of these frames: how many are there, in swap, and neither."""
    count = {"there": 0, "swapped": 0, "gone": 0}
    with open(f"/proc/{guest.process.pid}/pagemap", "rb") as pagemap:
        for first, number in runs:
            pagemap.seek((guest.ram // PAGE + first) * 8)
            for entry in array.array("Q", pagemap.read(number * 8)):
                count["there" if entry & PRESENT else "swapped" if entry & SWAPPED else "gone"] += 1
    return count


def lazy_frames(guest):
    """Of the lazy frames: how many are there, in swap, and dropped by the kernel; of those that were lazy, too."""
    count = where(guest, frames_in(guest, ("lazy",)))
    return {**count, "dropped": count["gone"] + guest.qmp("query-balloon-page-state")["dropped"] // PAGE}       # as far as QEMU knows


def fill(guest):
    guest.sh(f"dd if=/dev/urandom of=/mnt/test/file bs=1M count={FILE_MB} 2>/dev/null; sync")
    guest.sh(f"dd if=/dev/urandom of=/anonymous bs=1M count={ANONYMOUS_MB} 2>/dev/null")
    return guest.out(SUMS)


def pressure(boot, guest):
    sums = fill(guest)
    guest.control("period_ms", 1000)
    end = time.time() + 60
    while (lazy := guest.stats()["lazy"] * PAGE) < FILE_MB * 9 // 10 << 20 and time.time() < end:
        time.sleep(0.5)
    boot.tap.point(lazy > TAKE_MB << 20, f"{boot.name}: {lazy >> 20} MB of a file of {FILE_MB} MB are lazy")
    guest.qmp("stop")
    before, resident = lazy_frames(guest), guest.resident()
    boot.group.reclaim(TAKE_MB << 20)
    frames, resident = lazy_frames(guest), resident - guest.resident()
    boot.tap.point(resident >= TAKE_MB << 19, f"{boot.name}: with the vCPUs stopped, the kernel takes {resident >> 10} KB of guest memory, "
                   f"and of that {(frames['dropped'] - before['dropped']) * PAGE >> 10} KB were lazy")
    boot.tap.point(frames["swapped"] == 0 and swapped(guest) == 0,
                   f"{boot.name}: {frames['swapped'] * PAGE >> 10} KB of what is lazy are swapped out, and {swapped(guest) >> 10} KB of all QEMU has")
    guest.qmp("cont")
    before = guest.vmstat()
    boot.tap.point(guest.out(SUMS) == sums, f"{boot.name}: file and memory are what they were")
    after = guest.vmstat()
    boot.tap.note(f"{boot.name}: " + ", ".join(f"{after[name] - before[name]} {name}" for name in ("page_hint_lost", "page_hint_evicted", "pgpgin")))


def told(guest, taken, seconds=120):
    """Wait until QEMU has taken so many bytes, by itself, and tell what it knows."""
    end = time.time() + seconds
    while (info := guest.qmp("query-balloon-page-state"))["taken"] < taken and time.time() < end:
        time.sleep(0.1)
    return info


def own(boot, guest):
    """QEMU is told that processes of its control group wait for memory, and takes some each time, while no vCPU runs."""
    sums = fill(guest)
    guest.passes(3)
    guest.qmp("stop")
    registers = guest.hmp("info registers -a")
    before = guest.qmp("query-balloon-page-state")
    boot.check(before["volatile"] > TAKE_MB << 20 and not before["taken"] + before["pressure-events"],
               f"{before['volatile'] >> 20} MB of a file of {FILE_MB} MB are volatile, none is taken, and QEMU watches {os.path.basename(before['pressure'])}", before)
    resident = guest.resident()
    limit = boot.group.used() - boot.group.cached()
    boot.group.set_limit(limit)
    with neighbour(boot.group, (limit >> 20) + TAKE_MB):        # it will wait, whatever is swapped
        info = told(guest, TAKE_MB << 20)
    boot.group.set_limit(1 << 40)
    boot.check(TAKE_MB << 20 <= info["taken"] <= info["pressure-events"] * STEP_MOST << 20 and not boot.group.killed(),
               f"with the vCPUs stopped, QEMU takes {info['taken'] >> 20} MB, and was told {info['pressure-events']} times", info)
    boot.tap.note(f"{boot.name}: {resident - guest.resident() >> 20} MB less are resident, {swapped(guest) >> 20} MB in swap")
    boot.check(guest.hmp("info registers -a") == registers, "no vCPU has run")
    guest.qmp("cont")
    boot.check(guest.out(SUMS) == sums, "file and memory are what they were")


def read_by(guest, command):
    """What it prints, and KB that the guest reads from its disks for that."""
    before = guest.vmstat()["pgpgin"]
    text = guest.out(command)
    return text, guest.vmstat()["pgpgin"] - before


def oldest(boot, guest):
    """Of two files that lie side by side in memory, one was used just now. QEMU takes from the other one."""
    guest.control("period_ms", 3600000)
    guest.sh("cd /mnt/test; for i in $(seq 32); do for f in idle idle used; do dd if=/dev/urandom bs=1M count=1 2>/dev/null >>$f; done; done; sync")
    idle, used = (guest.out(f"md5sum /mnt/test/{name}") for name in ("idle", "used"))
    guest.passes(3)
    boot.group.set_limit(32 << 20)
    young, read, info = [], 0, {"taken": 0}
    with neighbour(boot.group, 64) as process:
        for _ in range(2):
            process.send_signal(signal.SIGSTOP)
            read += read_by(guest, "md5sum /mnt/test/used")[1]
            time.sleep(2.5)             # QEMU looks each second, and sees that this one is not volatile any more
            guest.passes(5)             # it is again, but QEMU will not have seen it often when it is told
            info = guest.qmp("query-balloon-page-state")
            young.append((info["volatile"] + info["taken"] >> 20) - 64)
            process.send_signal(signal.SIGCONT)
            info = told(guest, info["taken"] + (STEP_MB << 20), 10)
    again, more = read_by(guest, "md5sum /mnt/test/used")
    last, lost = read_by(guest, "md5sum /mnt/test/idle")
    info = told(guest, 0)               # what has been read is stable, so nothing of it can be taken again
    taken, read = info["taken"] >> 10, read + more
    boot.check(2 * STEP_MB << 10 <= taken <= info["pressure-events"] * STEP_MOST << 10,
               f"QEMU takes {taken} KB, and was told {info['pressure-events']} times by a control group that it is not in", info)
    boot.check(min(young) >= STEP_MB, f"of the file in use, it might have taken {young} MB")
    boot.check(read < 1 << 10 and taken <= lost <= taken + 1024,
               f"the guest has read {read} KB again of the file that it uses, and {lost} KB of the idle one")
    boot.check([last, again] == [idle, used], "both files are what they were")


def unswapped(boot, guest):
    """QEMU sees that it is being swapped, takes what is volatile, and leaves nothing of that in swap, while no vCPU runs."""
    sums = fill(guest)
    guest.control("max_order", 0)   # of a large folio, less than half may remain in swap
    guest.passes(5)                 # large ones are split first
    guest.qmp("stop")
    before = guest.qmp("query-balloon-page-state")
    boot.group.reclaim(TAKE_MB << 20)
    info = told(guest, STEP_MB << 20)
    end = time.time() + 30          # until it has looked at all of them
    while (frames := where(guest, frames_in(guest, ("volatile",))))["swapped"] and time.time() < end:
        time.sleep(0.1)
    info = told(guest, info["taken"])
    boot.check(before["volatile"] > TAKE_MB << 20 and not before["taken"] and info["pressure-events"] and STEP_MB << 20 <= info["taken"],
               f"of {before['volatile'] >> 20} MB that were volatile, QEMU takes {info['taken'] >> 10} KB while it is swapped", info)
    boot.check(not frames["swapped"] and info["taken-swapped"],
               f"{info['taken-swapped'] >> 10} KB of that were in swap, as {frames['swapped'] * PAGE >> 10} KB of what is still volatile are", info)
    boot.tap.note(f"{boot.name}: {swapped(guest) >> 10} KB of QEMU are in swap, and it was told {info['pressure-events']} times")
    boot.group.set_limit(1 << 40)
    guest.qmp("cont")
    boot.check(guest.out(SUMS) == sums, "file and memory are what they were")


def swapping(boot, guest):
    """The same guest without hints, for comparison."""
    sums = fill(guest)
    guest.qmp("stop")
    before = guest.resident()
    boot.group.reclaim(TAKE_MB << 20)
    boot.tap.point(swapped(guest) >= TAKE_MB << 19,
                   f"{boot.name}: the kernel takes {before - guest.resident() >> 10} KB; {swapped(guest) >> 10} KB are swapped out")
    guest.qmp("cont")
    boot.tap.point(guest.out(SUMS) == sums, f"{boot.name}: file and memory are what they were")


def machine(**options):
    return shared.machine("run", 2, **{"machine": PressedBoot, "default": False, **options})


BOOTS = {
    "pressure": (pressure, machine(options=["page-state-lazy=on"])),
    "shared-pressure": (own, machine(machine=ToldBoot)),
    "shared-pressure-oldest": (oldest, machine(machine=WatchedBoot)),
    "pressure-swapped": (unswapped, machine(machine=SwappedBoot)),
    "pressure-unhinted": (swapping, machine(append="page_hinting=off", hinting=False)),
} if has_part(6) else {}
