# SPDX-License-Identifier: GPL-2.0
"""A host that is short of memory and, when there is nothing left to take, pages out what matters."""

import os
import time

from boot import Program
from machines import PAGE

LIMIT = 56 << 20
BALLOONED = 88 << 20           # most of what the guest then has is free
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


def released(boot, guest):
    """What a balloon takes has been paged out: the copies are dropped, and do not come back."""
    fill = "dd if=/dev/urandom of=/mnt/test/file bs=1M count=128 2>/dev/null; sync"
    guest.sh(fill)
    guest.set(resident_limit=LIMIT)
    meets(boot, guest, "a guest without hints")
    guest.set(resident_limit=0)
    guest.sh("echo 3 >/proc/sys/vm/drop_caches")
    before = guest.stats()["blocks"]["preserved"]
    guest.balloon(BALLOONED, 60)
    stats = guest.stats()
    left, dropped = stats["blocks"]["preserved"], stats["paging"]["dropped-released"]
    boot.tap.point(dropped > 32 << 8 and before - left >= dropped,
                   f"{boot.name}: {before} pages were in the file, {dropped} released (more than {32 << 8}), {left} are left")
    size = os.stat(os.path.join(boot.work, f"{boot.name}.pages")).st_blocks // (PAGE // 512)
    boot.tap.point(size <= left, f"{boot.name}: the file has {size} blocks")
    guest.balloon(boot.options["memory"] << 20)
    guest.sh(fill)
    sums = guest.out("md5sum /mnt/test/file")
    came = guest.stats()["paging"]["in"] - stats["paging"]["in"]
    boot.tap.point(came <= left, f"{boot.name}: {came} pages are paged in when the guest uses 128 MB again")
    boot.tap.point(guest.out("md5sum /mnt/test/file") == sums, f"{boot.name}: memory is what it was")


def options(name, **more):
    return {"kernel": "run", "cpus": 2, "memory": 192, "options": [f"page-file={{work}}/{name}.pages"], **more}


BOOTS = {
    "paging": (paging, options("paging", append="page_hinting=force")),
    "released": (released, options("released", append="cmma=off", devices=["virtio-balloon-ccw"])),
}
