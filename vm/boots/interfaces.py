# SPDX-License-Identifier: GPL-2.0
"""io_uring, aio, core dumps and other ways to cached files, on file systems of every format."""

import re

from boot import HOSTS, Program, has_part, host

# A small file system that the tests copy to a file, and mount
RAW = ("rawdisk", 16, "ext4-1k")
KINDS = (("ext4", 256, "ext4"), *((("xfs", 320, "xfs"), ("btrfs", 512, "btrfs")) if has_part(4) else ()), RAW)
FORMATS = (("e1k", 256, "ext4-1k"), ("journal", 256, "ext4-journal"), ("inline", 256, "ext4-inline"), ("bigalloc", 256, "ext4-bigalloc"),
           ("x1k", 320, "xfs-1k"), ("x16k", 512, "xfs-16k"), RAW)
# Of the default run: what is not the same on each file system, and on each size of block
FILES = ("uring_reads uring_writes nowait_preadv2 nowait_writes aio_reads seek_* copy_range clone_range deduplication "
         "tmpfile_without_name tiny_files core_dump")
BLOCKS = {"page_hinting_io": "nowait_preadv2 seek_* copy_range tiny_files",
          "page_hinting_test": "write_part_of_block truncation hole_punch"}
MORE = {"page_hinting_io": "", "page_hinting_test": BLOCKS["page_hinting_test"] + " mmap_shared_write direct_io",
        "page_hinting_fs": "random_reads_* order_cap large_again truncate_in_large", "page_hinting_stress": "random_operations"}


SLOW = 10                       # reads a second: none of them is sooner than 100 ms
WAITS = 4                       # one for each round of a test: then it waits, and readahead brings the rest


def run(boot, guest, programs):
    """On each file system, with a host that takes at once or one that is told to; the next one has the other."""
    for i, (disk, _, fs, _) in enumerate(boot.disks):
        for mode in ["pager", *HOSTS] if boot.full else [("instant", "pager")[i % 2]]:
            if disk == RAW[0]:
                continue
            with host(guest, mode) as discards:
                for name, args in programs(fs).items():
                    Program(boot.tap, f"{boot.name} {disk} {mode}").run(
                        guest, name, env=f"PAGE_HINTING_DIR=/mnt/{disk} PAGE_HINTING_DISK=/dev/{RAW[0]}", args=args)
                n = discards()
                boot.tap.point(n > 0, f"{boot.name} {disk} {mode}: {n} volatile pages discarded (at least 1)")
                boot.tap.note(f"processor time so far {guest.cpu_seconds():.0f} s")


def kinds(boot, guest):
    tests = {"ext4": {"page_hinting_io": ""},
             "xfs": {"page_hinting_io": FILES + " loop_mount"},
             "btrfs": {"page_hinting_io": FILES, "page_hinting_btrfs": ""}}
    run(boot, guest, lambda fs: {**tests[fs], **({"page_hinting_io": ""} if boot.full else {})})


def formats(boot, guest):
    run(boot, guest, lambda fs: MORE if boot.full else BLOCKS)


class NoWait(Program):
    """Counts reads that would have had to wait, and were not done."""

    waits = 0

    def line(self, text):
        m = re.match(r"# would have waited: (\d+)$", text)
        self.waits += int(m[1]) if m else 0
        super().line(text)


def slow(boot, guest):
    """A disk that takes its time: a read that must not wait then has nothing for now, where a page is gone and nobody else has read it."""
    guest.qmp("block_set_io_throttle", device="test", bps=0, bps_rd=0, bps_wr=0, iops=0, iops_rd=SLOW, iops_wr=0)
    for mode in "instant", "pager":
        for test in "nowait_preadv2", "nowait_aio", "nowait_uring":
            program = NoWait(boot.tap, f"{boot.name} {mode}")
            with host(guest, mode):
                program.run(guest, "page_hinting_io", args=test)
            boot.tap.point(program.waits >= WAITS, f"{boot.name} {mode}: {test}: {program.waits} reads would have waited (at least {WAITS})")


def machine(disks, kernel, **options):
    return {"kernel": kernel, "cpus": 2, "memory": 192, "append": "page_hinting=force", "disks": disks,
            "allow": [r"erofs.*\(device vd.\): .*cannot find valid erofs superblock",
                      r"EXT4-fs: .*data=journal", r"XFS \(vd.\): EXPERIMENTAL"], **options}


BOOTS = {
    "io": (kinds, machine(KINDS, "run")),
    "io-checks": (kinds, machine(KINDS, "test", default=False)),
    "io-slow": (slow, machine((("test", 256, "ext4"),), "run")),
    "formats": (formats, machine(FORMATS, "run")),
    "formats-checks": (formats, machine(FORMATS, "test", default=False)),
}
