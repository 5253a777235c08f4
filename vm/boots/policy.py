# SPDX-License-Identifier: GPL-2.0
"""Which pages become volatile, and what everything costs, in counts."""

from boot import Program, set_lru


def policy(boot, guest):
    tests = guest.out("/selftests/page_hinting/page_hinting_policy -l").split()
    for lru in ("y", "n"):
        set_lru(guest, lru)
        if lru == "n" and not boot.full:
            tests.remove("clock_needs_one_cpu")     # takes long, and has nothing to do with the LRU
        Program(boot.tap, f"{boot.name} lru_gen={lru}", verbose=True).run(guest, "page_hinting_policy", args=" ".join(tests))


BOOTS = {"policy": (policy, {"kernel": "run", "cpus": 2, "memory": 256, "append": "page_hinting=force"})}
