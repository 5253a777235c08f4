# SPDX-License-Identifier: GPL-2.0
"""File systems other than ext4, disks that go bad, images that are only read."""

import os
import random
import re
import subprocess
import tempfile

from boot import HOSTS, Program, adverse, host
from vm import built

SMALL = 192                     # MB of memory; with less of it the clock has less to visit
DISKS = ("rawbad", 400)         # the disk that the test makes fail

# What kernel and file systems say about bad sectors, forged trees and a shutdown that was asked for.
BAD_DISK = [r"Buffer I/O error on dev(ice)? dm-", r"I/O error, dev dm-", r"fs-verity \(dm-.*FILE CORRUPTED",
            r"EXT4-fs.*(shut down requested|forced shutdown)", r"Aborting journal on device dm-",
            r"EXT4-fs \(dm-.*error", r"EXT4-fs error \(device dm-.*Cannot read", r"EXT4-fs warning \(device dm-.*I/O error", r"dm-\d+: writeback error on inode",
            r"JBD2: .*dm-", r"XFS \(dm-", r"erofs: \(device vd.\): erofs_read_superblock: cannot find valid erofs superblock",
            r"EXT4-fs \(dm-.*Can't find ext4 filesystem", r"fscrypt: dm-.*still busy", r"fsverity_msg: .*suppressed"]


def tests(boot, guest, modes, programs, args=""):
    for i, (mode, lru) in enumerate(modes):
        with host(guest, mode, boot.cpus * 1000 + i, lru) as discards:
            for name in programs:
                Program(boot.tap, f"{boot.name} {mode} lru_gen={lru}").run(
                    guest, name, env=f"PAGE_HINTING_SEED={boot.seed + i + 1} PAGE_HINTING_DISK=/dev/rawbad", args=args)
            n = discards()
            boot.tap.point(n > 0, f"{boot.name} {mode} lru_gen={lru}: {n} volatile pages discarded (at least 1)")
            boot.tap.note(f"processor time so far {guest.cpu_seconds():.0f} s")


def share(boot, guest):
    """What fits into the default run."""
    tests(boot, guest, [("instant", "y")], ["page_hinting_fs"])
    tests(boot, guest, [("random", "n")], ["page_hinting_stress"], "random_operations with_compaction")


def short(boot, guest):
    """On one CPU, little, and with the other hosts."""
    tests(boot, guest, [("sweep", "n"), ("window", "y")], ["page_hinting_stress"], "random_operations")
    tests(boot, guest, [("random", "y")], ["page_hinting_fs"], "one_page_loses_the_folio split_of_volatile random_reads_by_read")


def everything(boot, guest):
    modes = [("instant", "n"), ("random", "y"), ("sweep", "n"), ("window", "y")]
    tests(boot, guest, modes, ["page_hinting_test", "page_hinting_fs", "page_hinting_stress"])


def files(directory):
    """Files that every kind of image has a way of its own to store: small, sparse, compressible or not."""
    rng = random.Random(6)
    for i, size in enumerate([1, 100, 4096, 5000, 70000, 131072, 300001, 1 << 20, (3 << 20) + 77]):
        words = [rng.randbytes(64) for _ in range(16)]
        with open(os.path.join(directory, f"random{i}"), "wb") as f:
            f.write(rng.randbytes(size))
        with open(os.path.join(directory, f"text{i}"), "wb") as f:
            f.write(b"".join(rng.choices(words, k=size // 64 + 1))[:size])
        with open(os.path.join(directory, f"sparse{i}"), "wb") as f:
            f.write(rng.randbytes(min(size, 5000)))
            f.truncate(size)


def image(*command):
    """A function that makes an image; in the command, DIR is what is to be in it and IMAGE the result."""
    def make(path):
        with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as directory:
            files(directory)
            os.unlink(path)
            subprocess.run([{"DIR": directory, "IMAGE": path}.get(word, word) for word in command],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return make


IMAGES = {
    "erofs": image("mkfs.erofs", "IMAGE", "DIR"),
    "erofslz4": image("mkfs.erofs", "-zlz4hc", "-C65536", "IMAGE", "DIR"),
    "erofstail": image("mkfs.erofs", "-zlz4", "-Eztailpacking", "IMAGE", "DIR"),
    "squashfs": image("mksquashfs", "DIR", "IMAGE", "-noappend", "-comp", "gzip", "-quiet"),
    "squash1m": image("mksquashfs", "DIR", "IMAGE", "-noappend", "-comp", "gzip", "-b", "1M", "-quiet"),
    "iso": image("genisoimage", "-R", "-o", "IMAGE", "DIR"),
    "ext2": image("/sbin/mke2fs", "-q", "-F", "-t", "ext2", "-b", "4096", "-d", "DIR", "IMAGE", "100M"),
}


def digests(text):
    """Of what `tree digest` says, the lines about our files."""
    return sorted(line for line in text.splitlines() if re.search(r" (random|text|sparse)\d+$", line))


def images(boot, guest):
    tree = os.path.join(built("build-guest.sh"), "tree")
    with tempfile.TemporaryDirectory() as directory:
        files(directory)
        expected = digests(subprocess.run([tree, "digest", directory], check=True, stdout=subprocess.PIPE, text=True).stdout)
        size = sum(os.path.getsize(os.path.join(directory, f)) for f in os.listdir(directory))
    boot.tap.point(len(expected) == 27, f"{boot.name}: {len(expected)} files")
    for control in (("period_ms", 0), ("mapped_every", 1), ("max_order", 8), ("mode", "on")):
        guest.control(*control)
    clock = "echo 1 >/sys/kernel/debug/page_hinting/pass"
    for name in IMAGES:
        before = guest.vmstat()
        wrong = []
        for mode in HOSTS:
            adverse(guest, mode, 7)
            guest.sh("echo 1 >/proc/sys/vm/drop_caches")
            for turn in range(3):
                text = guest.out(f"tree digest /mnt/{name}")
                if digests(text) != expected:
                    wrong += [f"{mode}, turn {turn}"] + [str(d) for d in digests(text) if d not in expected][:5]
                # with the clock in between, in part of it and at the same time
                guest.sh(f"{clock}; {clock}; {clock}" if turn else f"(for i in 1 2 3 4 5 6; do {clock}; done) & "
                         f"cat /mnt/{name}/* >/dev/null; wait")
                if turn == 1:
                    guest.discard()
                    guest.sh(clock)
        after = guest.vmstat()
        used = {k: after[k] - before[k] for k in after if k.startswith("page_hint") and after[k] != before[k]}
        boot.tap.point(not wrong, f"{boot.name}: {name}: content is right", wrong)
        n = used.get("page_hint_volatile", 0) * 4096 // size
        boot.tap.point(n >= 4 and used.get("page_hint_lost", 0) > 0, f"{boot.name}: {name}: became volatile, and was lost", [str(used)])
    guest.set(mode="pager", resident_limit=0)


def machine(fs, cpus, kernel="test", size=1024):
    return {"kernel": kernel, "cpus": cpus, "memory": SMALL, "append": "page_hinting=force", "allow": BAD_DISK,
            "disks": (("test", size, fs), (*DISKS, "xfs" if fs == "btrfs" else "ext4+"))}


BOOTS = {
    "fs-xfs": (share, machine("xfs", 4, "run")),
    "fs-xfs-1cpu": (short, machine("xfs", 1, "run", 512)),
    "fs-xfs-all": (everything, {**machine("xfs", 4), "default": False}),
    "fs-xfs-all1": (everything, {**machine("xfs", 1), "default": False}),
    "fs-btrfs-all": (everything, {**machine("btrfs", 4), "default": False}),
    "fs-btrfs-all1": (everything, {**machine("btrfs", 1), "default": False}),
    "fs-images": (images, {"cpus": 4, "memory": SMALL, "append": "page_hinting=force", "default": False,
                           "disks": [(name, 1, make) for name, make in IMAGES.items()]}),
}
