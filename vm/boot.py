# SPDX-License-Identifier: GPL-2.0
"""What the boots of vm/test are made of: test points, kselftest programs, a guest that is judged."""

import contextlib
import functools
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time

from vm import TOP, Guest, VmError, built, command_line, flatten, fsck

SECONDS = 4                     # of each stress test


@functools.cache
def parts():
    """The parts of the series that the kernel has: all that there are for this one, or those of PARTS"""
    with open(os.path.join(TOP, "patches", "linux-" + built("base.sh"), "parts"), encoding="ascii") as f:
        there = [line.split()[0] for line in f]
    return [number for number in there if number in os.environ.get("PARTS", number).split()]


def has_part(number):
    """Is this part of the series in the kernel?"""
    return str(number) in parts()


# What may be skipped, and where: boot and test. Anything else is a test that does not run any more.
SKIPS = [re.compile(text) for text in (
    r"^account.*: tracepoints$",                      # the kernel "run" has none
    r"^(?!huge).*: huge_pages(_race)?$",                        # no EDAT
    r"^account(?!-xfs).*: mlocked_in_part$",                    # no large folios
    r"^fs-.*: (compressed_(zstd|lzo)|verity_in_place)$",        # not on this file system, or not on others
    r"^fs-btrfs.*: (order_cap|one_page_loses_the_folio|large_again|split_of_volatile|truncate_in_large|verity_\w+|encrypted)$",
    r"^swap-1cpu .*: (synchronous_device|freed_while_held)$",   # the kernel "run" has neither zram nor the test's files
    r"^(?!huge).*: content_after_compaction$",                  # other boots have no huge pages
    r"^formats.* (e1k|journal|inline|bigalloc) \w+: (order_cap|large_again|truncate_in_large)$",      # no large folios
    r"^(io|formats).* (ext4|e1k|journal|inline|bigalloc) \w+: (clone_range|deduplication|nowait_writes)$",     # ext4 does none of these
    r"^contexts.*: flush_is_pending$",                          # s390 does not defer the flush of a TLB
    r"^shared.*: (clone_range|deduplication|nowait_writes|reflinks|compressed_\w+|verity_\w+|encrypted)$",      # ext4, as above
    r"^shared-simulated.*: read_end_of_batch$",                 # wants a host that takes what it is told to
    r"^hercules: IPL$",                                         # not installed
    r"^(shared-)?pressure.*: control group and swap$",          # not root, or no control groups
    r"^shared-(postcopy|background).*: (postcopy|snapshot in the background)$",   # no userfaultfd, or one that cannot do that
    r"1cpu.*: (all_cpus_on_one_frame|clock_needs_one_cpu)$",
    *([] if has_part(2) else [r"^free: (content_switching|off_stops_it)$"]))]       # nothing to switch yet


class Tap:
    """Test points, in the order in which they become known."""

    def __init__(self):
        self.lock = threading.Lock()
        self.count = self.failed = self.skipped = 0

    def point(self, ok, name, notes=(), skip=None):
        if skip is not None and not any(pattern.search(name) for pattern in SKIPS):
            ok, notes, skip = False, [f"was skipped, but never should be: {skip}", *notes], None
        with self.lock:
            self.count += 1
            self.failed += not ok
            self.skipped += skip is not None
            print(f"{'ok' if ok else 'not ok'} {self.count} - {name}" + (f" # SKIP {skip}" if skip is not None else ""))
            for line in notes:
                print("#   " + line)
            sys.stdout.flush()

    def note(self, text):
        with self.lock:
            print("# " + text, flush=True)


class Program:
    """One kselftest program: run it, turn its TAP into ours."""

    def __init__(self, tap, name, verbose=False):
        self.tap, self.name, self.verbose = tap, name, verbose
        self.notes = []
        self.points = self.failed = 0
        self.plan = None
        self.guest = self.mark = None

    def _clock(self):
        """Since it was last asked: on an overloaded machine, who hangs and who starves look the same."""
        if not self.guest:
            return []
        now, before = (time.time(), self.guest.cpu_seconds()), self.mark
        self.mark = now
        return [f"{now[0] - before[0]:.0f} s, in which the guest got {now[1] - before[1]:.1f} s of processor time"] if before else []

    def line(self, text):
        m = re.match(r"(not )?ok \d+ (?:- )?(.*?)(?: # SKIP ?(.*))?$", text)
        if m:
            self.points += 1
            self.failed += bool(m[1])
            clock = self._clock()
            self.tap.point(not m[1], f"{self.name}: {m[2]}", skip=m[3],
                           notes=self.notes + clock if m[1] else self.notes if self.verbose else ())
            self.notes = []
        elif re.match(r"1\.\.\d+", text):
            self.plan = int(text[3:].split()[0])
        elif text.strip() and not text.startswith(("TAP version", "# Totals")):
            self.notes = self.notes[-40:] + [text.removeprefix("# ")]

    def run(self, guest, program, env="", args=""):
        self.guest = guest
        self._clock()
        status, _ = guest.sh(
            f"cd /selftests/page_hinting && PAGE_HINTING_DIR=/mnt/test PAGE_HINTING_CTL=/dev/host "
            f"PAGE_HINTING_SECONDS={SECONDS} PAGE_HINTING_TIMEOUT=240 {env} ./{program} {args}",
            check=False, each=self.line)
        if not self.failed and (status or self.plan != self.points or not self.points):
            self.failed = 1
            self.tap.point(False, f"{self.name}: {program} ends well",
                           [f"exit status {status}, {self.points} of {self.plan} tests"] + self.notes)


def ext4(*more, block=4096):
    """The command that makes an ext4."""
    return ["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-b", str(block), "-m", "0",
            "-E", "lazy_itable_init=0,lazy_journal_init=0", *more]


EXT4, XFS = ext4(), ["/sbin/mkfs.xfs", "-q", "-f"]
EXT2 = ["/sbin/mke2fs", "-q", "-F", "-t", "ext2", "-b", "4096", "-m", "0"]
# How to make a file system on an image, and what finds its faults later.
MKFS = {
    "ext4": EXT4,
    "ext4+": ext4("-O", "verity,encrypt"),
    "ext4-1k": ext4(block=1024),
    "ext4-journal": EXT4,
    "ext4-inline": ext4("-O", "inline_data", "-I", "256"),
    "ext4-bigalloc": ext4("-O", "bigalloc", "-C", "65536"),
    "xfs": XFS,
    "xfs-1k": XFS + ["-b", "size=1k"],
    "xfs-16k": XFS + ["-b", "size=16k"],
    "btrfs": ["/sbin/mkfs.btrfs", "-q", "-f"],
}
# What is done to some of them then
TUNE = {"ext4-journal": ["/sbin/tune2fs", "-o", "journal_data"]}
CHECKERS = {
    "ext4": ["/sbin/e2fsck", "-fn"],
    "xfs": ["/sbin/xfs_repair", "-n"],
    "btrfs": ["/bin/btrfs", "check", "--readonly"],
}
FSCK = {fs: CHECKERS[re.match(r"\w+", fs)[0]] for fs in MKFS}


def kernel_image(kernel, initrd_at, initrd_size, parameters):
    """A kernel that has its parameters, and where its initrd is, at fixed places (arch/s390/include/asm/setup.h)."""
    with open(kernel, "rb") as f:
        image = bytearray(f.read())
    struct.pack_into(">QQ", image, 0x10408, initrd_at, initrd_size)
    struct.pack_into(f">{len(parameters) + 1}s", image, 0x10480, parameters.encode())
    return image


def ipl_disk(path, kernel, initrd, parameters):
    """Make a disk that can be IPLed, as zipl does for a SCSI disk, but for its menu and its second loader.

    Block 0 points to the table of programs, that to the list of what the only program consists of, and
    each entry there to a list of the blocks to be loaded.
    """
    block, start, initrd_at = 512, 0x10000, 0x2000000
    with open(initrd, "rb") as f:
        ramdisk = f.read()
    image = kernel_image(kernel, initrd_at, len(ramdisk), parameters)

    def pointer(number, blocks=1):
        return struct.pack(">QHH4x", number, block, blocks - 1)

    entries, lists, data = [], [], b""
    first = 8                           # the blocks before are for what is packed below
    for address, content in ((start, bytes(image[start:])), (initrd_at, ramdisk)):
        content += bytes(-len(content) % block)
        entries.append(pointer(3 + len(lists)) + struct.pack(">7xBQ", 2, address))
        pieces, left = b"", len(content) // block
        while left:
            now = min(left, 1 << 16)
            pieces += pointer(first, now)
            first, left = first + now, left - now
        lists.append(pieces)
        data += content
    entries.append(bytes(16) + struct.pack(">7xBQ", 1, 0x0008000080000000 | start))
    blocks = [b"zIPL" + struct.pack(">I8x", 1) + pointer(1), b"zIPL" + bytes(12) + pointer(2),
              b"zIPL" + bytes(28) + b"".join(entries), *lists]
    with open(path, "r+b") as f:
        for number, content in enumerate(blocks):
            f.seek(number * block)
            f.write(content)
        f.seek(8 * block)
        f.write(data)


def mkfs(fs, disk, content=None):
    """Make a file system on an image; "raw" leaves it to the guest, a function makes it itself, "boot" is
    an ext4 with `content`."""
    if callable(fs):
        fs(disk)
    elif fs == "boot":
        subprocess.run([*EXT4, "-d", content, disk], check=True)
    elif fs != "raw":
        subprocess.run(MKFS[fs] + [disk], check=True)
        if fs in TUNE:
            subprocess.run(TUNE[fs] + [disk], check=True, stdout=subprocess.DEVNULL)


class Boot:
    """One guest: boot it, do something with it, judge it.

    `disks` are (name, MB, file system); the guest mounts each on /mnt/NAME, but for
    names that begin with "raw", which are left alone as /dev/NAME. The
    file system "boot" is an ext4 with the kernel and the initramfs in it, and "ipl" is none, but the
    guest is loaded from there.
    `options` are for vm.Guest; in those of its host, "{work}" is a directory for files.
    """

    def __init__(self, tap, parts, out, work, name, *, kernel="test", qemu="qemu",
                 disks=(("test", 1024, "ext4"),), full=False, seed=0, **options):
        self.tap, self.parts, self.out, self.work, self.name = tap, parts, out, work, name
        self.kernel, self.qemu, self.full, self.options = kernel, qemu, full, options
        self.seed = seed * 10000        # to be added to those of hosts and programs
        self.cpus = options.get("cpus")
        self.hinting = options.pop("hinting", qemu == "qemu")
        options["options"] = [option.replace("{work}", work) for option in options.get("options", ())]
        self.disks = [(disk, size, fs, os.path.join(work, f"{name}-{disk}.img")) for disk, size, fs in disks]
        self.guests = []

    def _boot_files(self):
        """A directory with the kernel and the initramfs, for a guest that starts them itself."""
        content = os.path.join(self.work, f"{self.name}-boot")
        os.makedirs(content, exist_ok=True)
        for part, name in ((self.kernel, "bzImage"), ("initrd", "initrd")):
            shutil.copy(self.parts[part], os.path.join(content, name))
        return content

    def check(self, ok, name, *notes):
        """A test point of this boot. The notes are for who wants to know why it failed."""
        self.tap.point(ok, f"{self.name}: {name}", [] if ok else [str(note) for note in notes])

    def start(self, suffix="", disks=None, **options):
        """A guest, with the disks of this boot or other images of them, which is judged with all others in the end."""
        guest = Guest(self.parts[self.qemu], self.parts[self.kernel], self.parts["initrd"], name=self.name + suffix,
                      disks=disks or [(disk, path) for disk, _, _, path in self.disks], logdir=self.out, hinting=self.hinting,
                      ipl=next((disk for disk, _, fs, _ in self.disks if fs == "ipl"), None), **self.options, **options)
        guest.seed = self.seed
        self.guests.append(guest)
        return guest

    def problems(self):
        return [problem for guest in self.guests for problem in guest.problems()]

    def end(self):
        for guest in self.guests:
            guest.kill()

    def __call__(self, work):
        """`work` may return another guest, which the first one has become."""
        start = time.time()
        cpu = 0
        problems = []
        try:
            for _, size, fs, path in self.disks:
                with open(path, "wb") as f:
                    f.truncate(size << 20)
                if fs == "ipl":
                    ipl_disk(path, self.parts[self.kernel], self.parts["initrd"], command_line(self.options.get("append", "")))
                else:
                    mkfs(fs, path, self._boot_files() if fs == "boot" else None)
            with contextlib.ExitStack() as stack:
                stack.callback(self.end)
                guest = self.start()
                guest.wait_ready()
                guest = work(self, guest) or guest
                cpu = guest.cpu_seconds()
                guest.poweroff()
            problems = self.problems()
            problems += filter(None, (fsck(path, FSCK[fs]) for _, _, fs, path in self.disks if fs in FSCK))
        except (VmError, OSError, subprocess.CalledProcessError) as e:
            problems = [str(e)] + self.problems()
        finally:
            for *_, path in self.disks:
                if os.path.exists(path):
                    os.unlink(path)
        self.tap.point(not problems, f"{self.name}: no warning, no violation, clean end and file system",
                       list(dict.fromkeys(problems)))
        self.tap.note(f"{self.name}: {time.time() - start:.0f} s, {cpu:.0f} s of processor time")


def set_lru(guest, lru):
    guest.sh(f"echo {lru} > /sys/kernel/mm/lru_gen/enabled")


# How each host that takes pages by itself is set up
HOSTS = {"instant": {}, "sweep": {"interval": 20}, "random": {"probability": 25, "interval": 20},
         "window": {"probability": 50}}


def adverse(guest, mode="random", seed=1):
    """Have such a host from now on."""
    guest.set(mode=mode, seed=guest.seed + seed, **HOSTS.get(mode, {}))


@contextlib.contextmanager
def host(guest, mode, seed=1, lru=None):
    """Have such a host for a while, or a "pager", which takes what it is told to.

    Gives a function: volatile pages that it has taken so far.
    """
    if lru:
        set_lru(guest, lru)
    adverse(guest, mode, seed)
    before = flatten(guest.stats())["discards_volatile"]
    yield lambda: flatten(guest.stats())["discards_volatile"] - before
    guest.set(mode="pager", resident_limit=0)
