# SPDX-License-Identifier: GPL-2.0
"""What the host takes is accounted for, and what it must never get it does not."""

from boot import HOSTS, Program, host, set_lru

PROGRAMS = ("page_hinting_account", "page_hinting_property")


# What the other LRU could change
OTHER = {"page_hinting_account": "refault_* major_* memory_* protection_holds charged_once tight_limit",
         "page_hinting_property": "store_* fault*"}


def account(boot, guest):
    """Figures, with both LRUs."""
    env = "PAGE_HINTING_ROUNDS=100" if boot.full else ""
    for lru in ("y", "n"):
        set_lru(guest, lru)
        for program in PROGRAMS:
            args = "" if lru == "y" or boot.full else OTHER[program]
            Program(boot.tap, f"{boot.name} lru_gen={lru}").run(guest, program, env=env, args=args)


def modes(boot, guest):
    """The same with all checkers on, and under hosts that take what they like."""
    account(boot, guest)
    for mode in HOSTS:
        with host(guest, mode):
            for program in PROGRAMS:
                Program(boot.tap, f"{boot.name} {mode}").run(guest, program)


def machine(fs, cpus, kernel, **options):
    return {"kernel": kernel, "cpus": cpus, "memory": 192, "append": "page_hinting=force", "disks": (("test", 1024, fs),), **options}


BOOTS = {
    "account": (account, machine("ext4", 2, "run")),
    "account-modes": (modes, machine("ext4", 4, "test", default=False)),
    "account-xfs": (account, machine("xfs", 2, "run", default=False)),
    "account-xfs1": (account, machine("xfs", 1, "test", default=False)),
    "account-1cpu": (account, machine("ext4", 1, "test", default=False)),
}
