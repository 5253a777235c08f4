# SPDX-License-Identifier: GPL-2.0
"""Free pages: what they cost, that the host knows all of them, and that it knows of no others.

In these guests an access to an unused page that the host has taken is an addressing exception.
"""

import time

from boot import Program, host
from machines import PAGE
from vm import flatten

KPF_LRU, KPF_BUDDY, KPF_ANON, KPF_PGTABLE = 5, 10, 12, 26
NODAT = 0x40                    # in what "info cmma" prints
PROGRAM = "/selftests/page_hinting/page_hinting_free"
# of page_hinting_test, what takes little time even so
KASAN = "read_random mmap_read write_part_of_block mmap_shared_write truncation fork_with_mappings compaction"
# and of page_hinting_free. Not content_switching, which leaves pages that were freed while it was off, unless
# off_stops_it follows.
FEW = "content_anonymous content_within_cpu_lists content_large_order content_compaction"
# ESSAs per page where every allocation and every free is one, and the goal
LOOPS = [("touch", 128 << 10, 1000), ("munmap", 128 << 10, 500), ("file", 128 << 10, 200),
         ("touch", 1 << 20, 64), ("touch", 16 << 20, 6), ("touch", 100 << 20, 1),
         ("munmap", 1 << 20, 64), ("munmap", 16 << 20, 6), ("munmap", 100 << 20, 1), ("file", 64 << 20, 1)]


def pages(runs):
    return {pfn for start, count in runs for pfn in range(start, start + count)}


def flagged(guest, flag):
    """The pages with this flag in /proc/kpageflags."""
    return pages(map(int, line.split()) for line in guest.out(f"{PROGRAM} --pages {flag}").splitlines())


def buddy(guest):
    return flagged(guest, KPF_BUDDY)


def blocks(guest, usage):
    """What the host has in one state."""
    found, pfn = [], 0
    for run in guest.blocks(0, guest.memory // PAGE):
        if run["usage"] == usage:
            found.append((pfn, run["count"]))
        pfn += run["count"]
    return pages(found)


def census(boot, guest, when, hinted=True):
    """Page by page: no page in use is unused, and with `hinted` those that are free are."""
    for _ in range(5):
        before = buddy(guest)
        unused = blocks(guest, "unused")
        after = buddy(guest)
        wrong = unused - (before | after)
        missed = (before & after) - unused
        if not wrong and (not hinted or len(missed) * 100 < len(after)):
            break
        time.sleep(0.5)
    boot.tap.point(not wrong, f"{boot.name}, {when}: no page in use is unused",
                   [f"{len(wrong)}: " + " ".join(map(hex, sorted(wrong)[:8]))] if wrong else [])
    text = f"{len(after)} pages free, {len(unused)} unused, {len(missed)} free and not unused"
    if hinted:
        boot.tap.point(unused and len(missed) * 100 < len(after), f"{boot.name}, {when}: what is free is unused", [text])
    else:
        boot.tap.point(not unused, f"{boot.name}, {when}: nothing is unused", [text])


def tests(boot, guest, args="", env=""):
    Program(boot.tap, boot.name).run(guest, "page_hinting_free", args=args, env=env)


def contents(boot, guest):
    """Content alone, while the host takes what is unused in several ways."""
    for mode in ("random", "sweep"):
        with host(guest, mode, seed=7):
            Program(boot.tap, f"{boot.name} {mode}").run(guest, "page_hinting_free", args="content_*")


def cma(boot, guest):
    """alloc_contig_range() and back, with memory in the area that must be moved, or that is volatile or lost."""
    area = "/sys/kernel/debug/cma/reserved"
    base, count = (int(guest.out(f"cat {area}/{f}")) for f in ("base_pfn", "count"))
    inside = set(range(base, base + count))
    free_now = guest.vmstat()["nr_free_pages"]
    # The area is used in turn with other memory once it is more than half of what is free: a file first, then
    # anonymous memory and a mapped file, both locked so that they cannot be reclaimed or read again, then a file.
    size = max(free_now - 2 * count, 0) * PAGE + (8 << 20)
    hold = count * PAGE // 2
    guest.sh(f"cd /mnt/test && dd if=/dev/zero of=cma1 bs=64K count={size >> 16} 2>/dev/null && sync")
    guest.sh(f"(PAGE_HINTING_DIR=/mnt/test {PROGRAM} --hold {hold} /tmp/held; echo $? >/tmp/status) >/tmp/hold 2>&1 & "
             "while [ ! -e /tmp/held ] && [ ! -e /tmp/status ]; do sleep 0.1; done; cat /tmp/hold; [ -e /tmp/held ]")
    guest.sh("cd /mnt/test && dd if=/dev/urandom of=cma2 bs=64K "
             f"count={count * PAGE // 2 >> 16} 2>/dev/null && sync && md5sum cma2 >/tmp/sum")
    for i, what in enumerate(("stable", "volatile", "discarded")):
        if i:
            guest.sh("echo 1 >/proc/sys/vm/drop_caches; cat /mnt/test/cma? >/dev/null")
        lru, anon = flagged(guest, KPF_LRU) & inside, flagged(guest, KPF_ANON) & inside
        if i:
            guest.passes(3)
        volatile = len(blocks(guest, "volatile") & inside)
        if what == "discarded":
            guest.discard()
        moved = guest.vmstat()["pgmigrate_success"]
        # A page that somebody looks at just then cannot be moved, so do not ask for the last one.
        guest.sh(f"for n in {count // 2} {count // 4} {count // 4 - count // 16}; do "
                 f"for i in 1 2 3 4 5; do echo $n >{area}/alloc && continue 2; sleep 0.2; done; exit 1; done")
        moved = guest.vmstat()["pgmigrate_success"] - moved
        text = [f"{len(lru)} pages of the LRU, {len(anon)} of them anonymous, {volatile} volatile, {moved} moved"]
        if not i:
            boot.tap.point(len(anon) > count // 16 and moved >= len(anon) * 9 // 10,
                           f"{boot.name}: CMA has moved what was in the way ({what})", text)
        else:
            boot.tap.point(volatile > count // 16, f"{boot.name}: CMA has evicted what was in the way ({what})", text)
        guest.discard(unused=True, volatile=False)
        # What was moved is still in the cache. The next look is at the disk.
        status, out = guest.sh("cd /mnt/test && md5sum -c /tmp/sum", check=False)
        boot.tap.point(not status, f"{boot.name}: files are right with CMA allocated ({what})", [out] if status else [])
        census(boot, guest, f"CMA allocated ({what})")
        taken = inside - buddy(guest) - blocks(guest, "unused")
        boot.tap.point(len(taken) >= count * 9 // 10, f"{boot.name}: CMA has given {len(taken)} of {count} pages ({what})")
        guest.sh(f"echo {count} >{area}/free")
    census(boot, guest, "CMA freed")
    status, out = guest.sh("rm /tmp/held; while [ ! -e /tmp/status ]; do sleep 0.1; done; cat /tmp/hold; exit $(cat /tmp/status)",
                           check=False)
    boot.tap.point(not status, f"{boot.name}: locked memory is right", [out] if status else [])
    guest.sh("echo 1 >/proc/sys/vm/drop_caches; cd /mnt/test && md5sum -c /tmp/sum && rm cma?")


def offline(boot, guest):
    """Memory that goes, and comes back."""
    memory = "/sys/devices/system/memory"
    done = 0
    for block in guest.out(f"grep -l Movable {memory}/memory*/valid_zones | grep -o 'memory[0-9][0-9]*/' || true").split()[:-1]:     # the last one has boot memory
        # Each time the size of the reserve is not changed, and the kernel warns of that.
        guest.sh("echo 4 >/proc/sys/kernel/printk")
        for _ in range(3):
            status, _ = guest.sh(f"echo 0 >{memory}/{block}online", check=False)
            if not status:
                guest.discard(unused=True, volatile=False)
                guest.sh(f"echo 1 >{memory}/{block}online")
                done += 1
                break
        guest.sh("echo 5 >/proc/sys/kernel/printk")
    boot.tap.point(done, f"{boot.name}: {done} blocks of memory were offline and are online again")
    census(boot, guest, "online again")


def touch(guest, size, times=1):
    """Allocate and free so many bytes."""
    guest.sh(f"cd /tmp && PAGE_HINTING_DIR=/tmp {PROGRAM} --loop touch {size} {times}")


def reporting(boot, guest):
    """The balloon's reports take pages off the lists and put them back."""
    touch(guest, guest.memory * 3 // 8, 2)
    for _ in range(60):
        if guest.resident() < guest.memory // 2:
            break
        time.sleep(0.5)
    boot.tap.point(guest.resident() < guest.memory // 2,
                   f"{boot.name}: {guest.resident() >> 20} MB of {guest.memory >> 20} resident after page reporting")
    census(boot, guest, "reported")


def nodat(boot, guest):
    """Page tables are known to the host as such; what is none of them any more, but was, is not."""
    guest.sh(f"cd /tmp; for i in $(seq 30); do {PROGRAM} --loop munmap {2 << 20} 2; ls -R /sys/kernel; done >/dev/null")
    before, after, dump = [], [], []

    # What is a page table before and after the states are looked at was one meanwhile: nobody starts then. Nobody ends
    # either, but what ended before may leave one to an idle CPU for some time, and others for an RCU grace period.
    def line(text):
        if text == "end":
            dump.append(guest.hmp(f"info cmma 0 {guest.memory // PAGE}"))
        elif text[:1].isdigit():
            (after if dump else before).append(tuple(map(int, text.split())))

    guest.sh(f"{PROGRAM} --pages {KPF_PGTABLE} 2", each=line)
    tables = pages(before) & pages(after)
    text = "".join(dump[0].splitlines()[1:])
    dat = {i for i in range(guest.memory // PAGE) if not int(text[2 * i:2 * i + 2], 16) & NODAT}
    lru = flagged(guest, KPF_LRU)
    boot.tap.point(tables and len(tables - dat) * 50 <= len(tables),
                   f"{boot.name}: page tables are DAT tables", [f"{len(tables - dat)} of {len(tables)} are not: " + " ".join(map(hex, sorted(tables - dat)))])
    boot.tap.point(lru and len(lru & dat) * 1000 <= len(lru),
                   f"{boot.name}: pages of the LRU are not", [f"{len(lru & dat)} of {len(lru)} are"])


def free(boot, guest):
    census(boot, guest, "booted")
    tests(boot, guest, env="" if boot.full else "PAGE_HINTING_ROUNDS=1")
    if boot.full:
        contents(boot, guest)
    # What was freed while tests had switched hinting off is unused once it has been in use again.
    touch(guest, guest.vmstat()["nr_free_pages"] * PAGE * 7 // 8)
    census(boot, guest, "afterwards")


def checks(boot, guest):
    """With the checkers on everything is slow, and what a CPU keeps goes back on its own: no costs."""
    census(boot, guest, "booted")
    if boot.full:
        tests(boot, guest, "content_* free_* off_*")
    else:
        tests(boot, guest, FEW, "PAGE_HINTING_ROUNDS=2")
    census(boot, guest, "afterwards")


def kasan(boot, guest):
    """KASAN poisons what is free, and is told when it is in use again. This is slow."""
    census(boot, guest, "booted")
    tests(boot, guest, "content_*")
    with host(guest, "random", seed=9):
        Program(boot.tap, boot.name).run(guest, "page_hinting_test", args=KASAN)
        Program(boot.tap, boot.name).run(guest, "page_hinting_stress", args="random_operations")
    census(boot, guest, "afterwards")


def whole(boot, guest):
    free(boot, guest)
    nodat(boot, guest)
    offline(boot, guest)
    tests(boot, guest, "content_anonymous")


def reported(boot, guest):
    reporting(boot, guest)
    tests(boot, guest, "content_*" if boot.full else "content_anonymous content_large_order")
    cma(boot, guest)
    reporting(boot, guest)


def poisoned(boot, guest):
    """Where free pages are poisoned they are not hinted, and the poison stays."""
    census(boot, guest, "booted", hinted=False)
    tests(boot, guest, "content_*" if boot.full else "content_anonymous content_compaction content_switching")
    guest.discard(unused=True, volatile=False)
    census(boot, guest, "afterwards", hinted=False)


def cost(boot, guest):
    """ESSAs per page, on any kernel: nothing is judged here."""
    for kind, size, times in LOOPS:
        guest.sh(f"PAGE_HINTING_DIR=/mnt/test {PROGRAM} --loop {kind} {size} 1")
        before = flatten(guest.stats())
        count = int(guest.out(f"PAGE_HINTING_DIR=/mnt/test {PROGRAM} --loop {kind} {size} {times}"))
        after = flatten(guest.stats())
        n = {i: after[f"n{i}"] - before[f"n{i}"] for i in (1, 2, 7)}
        boot.tap.note(f"{boot.name}: {kind} {size >> 10} KB x {times}: {count} pages, unused {n[2]}, stable {n[1] + n[7]}, "
                      f"ESSA per page {sum(n.values()) / count:.3f}")
    guest.sh("sync; echo 3 >/proc/sys/vm/drop_caches")
    free_now = guest.vmstat()["nr_free_pages"]
    boot.tap.note(f"{boot.name}: {free_now} pages free, {flatten(guest.stats())['unused']} unused")


def boots(work, name, append="", default=False, **more):
    return {name: (work, {"kernel": "run", "cpus": 2, "memory": 384, "default": default,
                          "append": f"page_hinting=force {append}".strip(), "options": ["unused-access=exception"], **more})}


BOOTS = {
    **boots(whole, "free", "movablecore=256M", default=True, memory=512),
    **boots(checks, "free-checks", "debug_pagealloc=on init_on_free=1", default=True, kernel="test", memory=256),
    **boots(free, "free-init-on-free", "init_on_free=1"),
    **boots(free, "free-init-on-alloc", "init_on_alloc=1"),
    **boots(checks, "free-debug-pagealloc", "debug_pagealloc=on", kernel="test"),
    **boots(poisoned, "free-page-poison", "page_poison=1", default=True, memory=256),
    # While the host looks at them, page reporting has up to 32 blocks of 4 MB, which are not free meanwhile.
    **boots(reported, "free-reporting", "init_on_alloc=1 cma=48M", default=True, memory=512,
            devices=["virtio-balloon-ccw,free-page-reporting=on"]),
    **boots(kasan, "kasan", kernel="kasan", memory=1024, allow=[r"KernelAddressSanitizer initialized"]),
    **boots(cost, "free-cost", memory=512),
}
