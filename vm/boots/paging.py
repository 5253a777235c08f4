# SPDX-License-Identifier: GPL-2.0
"""A host that is short of memory and, when there is nothing left to take, pages out what matters."""

import time

from boot import Program

LIMIT = 56 << 20
SUMS = "md5sum /mnt/test/file /anonymous"
# of page_hinting_test, what reads and writes files and takes little time
TESTS = "read_random mmap_read truncation"


def meets(boot, guest, what):
    """The limit is met soon, without the guest's help."""
    end = time.time() + 30
    while (resident := guest.stats()["resident"]) > LIMIT and time.time() < end:
        time.sleep(0.1)
    boot.tap.point(resident <= LIMIT, f"{boot.name}: {what}: {resident >> 20} of {LIMIT >> 20} MB are resident")


def paging(boot, guest):
    for name in ("/mnt/test/file", "/anonymous"):
        guest.sh(f"dd if=/dev/urandom of={name} bs=1M count=48 2>/dev/null")
    guest.sh("sync")
    sums = guest.out(SUMS)
    guest.set(resident_limit=LIMIT)
    meets(boot, guest, "a guest that does little")
    boot.tap.point(guest.out(SUMS) == sums, f"{boot.name}: file and memory are what they were")
    Program(boot.tap, boot.name, verbose=True).run(guest, "page_hinting_test", args=TESTS)
    meets(boot, guest, "a guest that has worked")
    boot.tap.point(guest.out(SUMS) == sums, f"{boot.name}: file and memory are what they still were")
    stats = guest.stats()
    paged = stats["paging"]
    boot.tap.point(paged["out"] and paged["in"], f"{boot.name}: {paged['out']} pages out, {paged['in']} in")
    boot.tap.note(f"{boot.name}: of {stats['essa'][3]} pages that were made volatile, {paged['dropped-volatile']} had "
                  f"been paged out; of {stats['essa'][2]} unused ones, {paged['dropped-unused']}")
    guest.set(resident_limit=0)


BOOTS = {"paging": (paging, {"kernel": "run", "cpus": 2, "memory": 192, "append": "page_hinting=force",
                             "options": ["page-file={work}/pages"]})}
