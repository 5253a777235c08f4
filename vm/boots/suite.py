# SPDX-License-Identifier: GPL-2.0
"""Functional and stress tests under adverse hosts, with both LRUs, all checkers on."""

from boot import HOSTS, Program, has_part, host

ENOUGH = 100000                 # pages to be discarded on 4 vCPUs
SMALL = 192                     # MB of memory; with less of it the clock has less to visit

# all of them, but for with_switching, which has a boot of its own
MOST = "same_pages_at_once switched_off_in_use random_operations with_period with_compaction"
BOTH = {"page_hinting_test": "", "page_hinting_fuse": "", "page_hinting_stress": MOST + " with_memory_pressure"}
LONG = {"page_hinting_stress": MOST}
SHORTEST = {"page_hinting_stress": "random_operations"}
# Host, LRU and programs. The default covers every host and each LRU; --full covers all combinations.
COMBINATIONS = {4: [("instant", "y", BOTH), ("window", "n", SHORTEST)],
                1: [("random", "n", LONG), ("sweep", "y", SHORTEST)]}
ALL = [(mode, lru, {**BOTH, "page_hinting_fs": "random_reads_*"}) for mode in HOSTS for lru in ("y", "n")]


def suite(boot, guest):
    taken = {}
    if boot.cpus == 4 and has_part(3):
        # needs the trace points, which only the kernel with the checkers has
        Program(boot.tap, boot.name, verbose=True).run(guest, "page_hinting_account", args="tracepoints")
    for i, (mode, lru, programs) in enumerate(ALL if boot.full else COMBINATIONS[boot.cpus]):
        with host(guest, mode, boot.cpus * 1000 + i, lru) as discards:
            for name, tests in programs.items():
                program = Program(boot.tap, f"{boot.name} {mode} lru_gen={lru}")
                program.run(guest, name, env=f"PAGE_HINTING_SEED={boot.seed + i + 1}", args="" if boot.full and name in BOTH else tests)
            n = discards()
            taken[mode] = taken.get(mode, 0) + n
            boot.tap.note(f"{boot.name} {mode} lru_gen={lru}: {n} volatile pages discarded, "
                          f"processor time so far {guest.cpu_seconds():.0f} s")
    for mode, n in taken.items():
        boot.tap.point(n > 0, f"{boot.name}: {n} pages discarded in mode {mode} (at least 1)")


def many(boot, guest):
    """Large files, again and again, without the checkers."""
    with host(guest, "instant", 1, "y") as discards:
        while discards() < ENOUGH:
            program = Program(boot.tap, f"{boot.name} instant")
            program.run(guest, "page_hinting_policy", args="read_twice refault_by_read refault_by_mmap")
            if program.failed:
                break
        # what of page_hinting_fs is about any file system, and needs no disk of its own
        Program(boot.tap, f"{boot.name} instant").run(guest, "page_hinting_fs", args="random_reads_*")
        n = discards()
    boot.tap.point(n >= ENOUGH, f"{boot.name}: {n} pages discarded in mode instant (at least {ENOUGH})")


BOOTS = {
    "4cpus": (suite, {"cpus": 4, "memory": SMALL, "append": "page_hinting=force"}),
    "many": (many, {"kernel": "run", "cpus": 4, "memory": SMALL, "append": "page_hinting=force"}),
    "1cpu": (suite, {"cpus": 1, "memory": SMALL, "append": "page_hinting=force"}),
}
