# SPDX-License-Identifier: GPL-2.0
"""Huge pages in the page cache: made of pages that are gone, and gone themselves."""

from boot import Program, host

# A file system without large folios, which has them for read-only files, and one that has them anyway
DISKS = (("test", 256, "ext4"), ("xfs", 512, "xfs"))
MODES = [("instant", "y"), ("window", "n"), ("random", "n"), ("sweep", "y")]


def programs(boot, guest, name):
    for disk, _, fs in DISKS:
        Program(boot.tap, f"{boot.name} {fs} {name}").run(
            guest, "page_hinting_test", env=f"PAGE_HINTING_DIR=/mnt/{disk}", args="huge_pages*")


def huge(boot, guest):
    programs(boot, guest, "pager")
    # the only boots with huge pages of anonymous memory
    Program(boot.tap, boot.name).run(guest, "page_hinting_free", args="content_after_compaction")
    for i, (mode, lru) in enumerate(MODES if boot.full else MODES[:2]):
        name = f"{mode} lru_gen={lru}"
        with host(guest, mode, i + 1, lru) as discards:
            programs(boot, guest, name)
            n = discards()
            boot.tap.point(n > 0, f"{boot.name} {name}: {n} volatile pages discarded (at least 1)")
    made = guest.vmstat()["thp_collapse_alloc"]
    boot.tap.point(made >= 50, f"{boot.name}: {made} huge pages made (at least 50)")


MACHINE = {"cpus": 2, "memory": 256, "edat": True, "append": "page_hinting=force", "disks": DISKS,
           # there are huge pages now, but the memory is small
           "allow": [r"min_free_kbytes is not updated"]}
BOOTS = {
    "huge": (huge, {**MACHINE, "kernel": "run"}),
    "huge-checks": (huge, {**MACHINE, "default": False}),
}
