# SPDX-License-Identifier: GPL-2.0
"""Which pages become volatile, and what everything costs, in counts."""

from boot import Program, set_lru


def policy(boot, guest):
    for lru in ("y", "n"):
        set_lru(guest, lru)
        Program(boot.tap, f"{boot.name} lru_gen={lru}", verbose=True).run(guest, "page_hinting_policy")


BOOTS = {"policy": (policy, {"kernel": "run", "cpus": 2, "memory": 256, "append": "page_hinting=on"})}
