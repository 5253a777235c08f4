# SPDX-License-Identifier: GPL-2.0
"""Off and on again, under load and memory pressure: the host must not be left with a volatile page."""

from boot import Program, host

TIMES, FULL = 8, 1000


def switch(boot, guest):
    """The load, and mode off or unused and on again, many times; the test asks the host each time."""
    times = FULL if boot.full else TIMES
    with host(guest, "random", seed=7) as discards:
        Program(boot.tap, boot.name, verbose=True).run(
            guest, "page_hinting_stress", args="with_switching",
            env=f"PAGE_HINTING_SWITCHES={times} PAGE_HINTING_SEED={boot.seed + 5} PAGE_HINTING_TIMEOUT={16 * times}")
        taken = discards()
    boot.tap.point(taken > 0, f"{boot.name}: the host has taken volatile pages", [f"{taken}"])


BOOTS = {"switch": (switch, {"kernel": "run", "cpus": 4, "memory": 192, "append": "page_hinting=force"})}
