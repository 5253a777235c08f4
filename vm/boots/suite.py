# SPDX-License-Identifier: GPL-2.0
"""Functional and stress tests under adverse hosts, with both LRUs, all checkers on."""

from boot import Program, set_lru
from vm import flatten

ENOUGH = 100000                 # pages to be discarded at once on 4 vCPUs
SMALL = 192                     # MB of memory; with less of it the clock has less to visit

# all of them, but for with_switching, which has a boot of its own
MOST = "same_pages_at_once switched_off_in_use random_operations with_period with_compaction with_memory_pressure"
BOTH = {"page_hinting_test": "", "page_hinting_stress": MOST}
STRESS = {"page_hinting_stress": "random_operations with_memory_pressure"}
# Host, LRU and programs. The default covers every host with each number of vCPUs; --full covers all
# combinations.
COMBINATIONS = {4: [("instant", "y", BOTH), ("random", "n", BOTH), ("sweep", "n", STRESS), ("window", "y", STRESS)],
                1: [("instant", "n", BOTH), ("random", "y", BOTH), ("sweep", "y", STRESS), ("window", "n", STRESS)]}
ALL = [(mode, lru, BOTH) for mode in ("instant", "sweep", "random", "window") for lru in ("y", "n")]
HOSTS = {"instant": {}, "sweep": {"interval": 20}, "random": {"probability": 25, "interval": 20},
         "window": {"probability": 50}}


def suite(boot, guest):
    taken = {}
    for i, (mode, lru, programs) in enumerate(ALL if boot.full else COMBINATIONS[boot.cpus]):
        set_lru(guest, lru)
        guest.set(mode=mode, seed=boot.cpus * 1000 + i, **HOSTS[mode])
        before = flatten(guest.stats())["discards_volatile"]
        for name, tests in programs.items():
            program = Program(boot.tap, f"{boot.name} {mode} lru_gen={lru}")
            program.run(guest, name, env=f"PAGE_HINTING_SEED={i + 1}", args="" if boot.full else tests)
        if mode == "instant" and boot.cpus == 4:
            # Larger files bring the number up to what is asked for.
            while flatten(guest.stats())["discards_volatile"] - before < ENOUGH and not program.failed:
                program = Program(boot.tap, f"{boot.name} {mode} lru_gen={lru}")
                program.run(guest, "page_hinting_policy", args="read_twice refault_by_read refault_by_mmap")
        n = flatten(guest.stats())["discards_volatile"] - before
        taken[mode] = taken.get(mode, 0) + n
        boot.tap.note(f"{boot.name} {mode} lru_gen={lru}: {n} volatile pages discarded, "
                      f"processor time so far {guest.cpu_seconds():.0f} s")
        guest.set(mode="pager", resident_limit=0)
    for mode, n in taken.items():
        enough = ENOUGH if mode == "instant" and boot.cpus == 4 else 1
        boot.tap.point(n >= enough, f"{boot.name}: {n} pages discarded in mode {mode} (at least {enough})")


BOOTS = {
    "4cpus": (suite, {"cpus": 4, "memory": SMALL, "append": "page_hinting=on"}),
    "1cpu": (suite, {"cpus": 1, "memory": SMALL, "append": "page_hinting=on"}),
}
