# SPDX-License-Identifier: GPL-2.0
"""What the host takes is accounted for, and what it must never get it does not."""

from boot import HOSTS, Program, host, set_lru

PROGRAMS = ("page_hinting_account", "page_hinting_property")


def account(boot, guest):
    """Figures, with both LRUs."""
    env = "PAGE_HINTING_ROUNDS=100" if boot.full else ""
    for lru in ("y", "n"):
        set_lru(guest, lru)
        for program in PROGRAMS:
            Program(boot.tap, f"{boot.name} lru_gen={lru}").run(guest, program, env=env)


def modes(boot, guest):
    """The same with all checkers on, and under hosts that take what they like."""
    account(boot, guest)
    for mode in HOSTS:
        with host(guest, mode):
            for program in PROGRAMS:
                Program(boot.tap, f"{boot.name} {mode}").run(guest, program)


BOOTS = {
    "account": (account, {"kernel": "run", "cpus": 2, "memory": 192, "append": "page_hinting=on"}),
    "account-modes": (modes, {"cpus": 4, "memory": 192, "append": "page_hinting=on", "default": False}),
}
