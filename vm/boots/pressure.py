# SPDX-License-Identifier: GPL-2.0
"""The kernel of this machine runs short, and takes from a guest that makes its memory lazy, or swaps.

It takes root, a control group for memory, and a swap device, which is made and taken away again. So these run only when they
are asked for, or with --full.
"""

import array
import contextlib
import errno
import os
import subprocess
import time

import shared
from boot import Boot, has_part
from machines import PAGE
from vm import VmError

SWAP_MB = 512
FILE_MB = 96
ANONYMOUS_MB = 32
TAKE_MB = 64                    # less than what is lazy by then
SUMS = "md5sum /mnt/test/file /anonymous"
PRESENT, SWAPPED = 1 << 63, 1 << 62         # of an entry of pagemap


@contextlib.contextmanager
def swap(path, size):
    """A device of `size` MB to swap to, where there is none that is large enough."""
    with open("/proc/swaps", encoding="ascii") as f:
        free = sum(int(line.split()[-3]) - int(line.split()[-2]) for line in f.readlines()[1:])
    if free >= size << 10:
        yield
        return
    try:
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as f:
            os.posix_fallocate(f.fileno(), 0, size << 20)
        subprocess.run(["/sbin/mkswap", path], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["/sbin/swapon", path], check=True)
        try:
            yield
        finally:
            subprocess.run(["/sbin/swapoff", path], check=True)
    finally:
        os.unlink(path)


class Group:
    """A control group for memory, of whichever version there is."""

    def __init__(self, name):
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
            self.path = os.path.join(where, name)
            os.mkdir(self.path)
            return
        raise VmError("there is no control group for memory")

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
        os.rmdir(self.path)


class PressedBoot(Boot):
    """A guest whose QEMU is in a control group of its own."""

    def __call__(self, work):
        with contextlib.ExitStack() as stack:
            try:
                if os.geteuid():
                    raise VmError("this takes root")
                self.group = Group(f"page-hinting-{os.getpid()}-{self.name}")
                stack.callback(self.group.remove)
                stack.enter_context(swap(os.path.join(self.work, self.name + ".swap"), SWAP_MB))
            except (VmError, OSError, subprocess.CalledProcessError) as e:
                self.tap.point(True, f"{self.name}: control group and swap", skip=str(e))
                return
            self.options["cgroup"] = self.group.path
            super().__call__(work)


def swapped(guest):
    """Bytes that are no longer in memory, but in swap."""
    with open(f"/proc/{guest.process.pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmSwap:"))


def lazy_frames(guest, states=("lazy",)):
    """Of the frames in these states: how many are there, in swap, and dropped by the kernel; of those that were lazy, too."""
    count = {"there": 0, "swapped": 0, "dropped": guest.qmp("query-balloon-page-state")["dropped"] // PAGE}    # as far as QEMU knows
    step = 4096
    with open(f"/proc/{guest.process.pid}/pagemap", "rb", buffering=0) as pagemap:
        for start in range(0, guest.memory, step * PAGE):
            frames = []
            for run in guest.qmp("query-balloon-page-state-frames", address=start, count=step):
                frames += [run["state"] in states] * run["count"]
            pagemap.seek((guest.ram + start) // PAGE * 8)
            for lazy, entry in zip(frames, array.array("Q", pagemap.read(step * 8))):
                if lazy:
                    count["there" if entry & PRESENT else "swapped" if entry & SWAPPED else "dropped"] += 1
    return count


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
    return shared.machine("run", 2, machine=PressedBoot, default=False, **options)


BOOTS = {
    "pressure": (pressure, machine(options=["page-state-lazy=on"])),
    "pressure-unhinted": (swapping, machine(append="page_hinting=off", hinting=False)),
} if has_part(6) else {}
