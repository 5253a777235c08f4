# SPDX-License-Identifier: GPL-2.0
"""Memory that was swapped out, and what the host takes of it, on a swap disk of its own."""

from boot import HOSTS, Program, host

# On each number of vCPUs one host for each LRU; --full covers all combinations.
COMBINATIONS = {4: [("random", "n")], 1: [("instant", "y")]}
CROWD = "forked random_operations with_swapoff with_memory_pressure"
ALL = [(mode, lru) for mode in HOSTS for lru in ("y", "n")]


def swap(boot, guest):
    tests = guest.out("/selftests/page_hinting/page_hinting_swap -l").split()
    tests.remove("bad_sectors")
    for i, (mode, lru) in enumerate(ALL if boot.full else COMBINATIONS[boot.cpus]):
        env = f"PAGE_HINTING_SWAP=/dev/rawswap PAGE_HINTING_SEED={boot.seed + i + 1}"
        name = f"{boot.name} {mode} lru_gen={lru}"
        with host(guest, mode, boot.cpus * 100 + i, lru) as discards:
            Program(boot.tap, name, verbose=boot.full).run(guest, "page_hinting_swap", env=env, args=" ".join(tests))
            # This one has a swap device fail on purpose, and the kernel says so, often.
            guest.sh("dmesg -n 1")
            Program(boot.tap, name).run(guest, "page_hinting_swap", env=env, args="bad_sectors")
            guest.sh("dmesg -n 5")
            n = discards()
            boot.tap.point(n >= 10000, f"{name}: {n} pages discarded (at least 10000)")


def crowd(boot, guest):
    """What many do at the same time, on more vCPUs than there are processors."""
    name = f"{boot.name} random lru_gen=n"
    with host(guest, "random", 1, "n") as discards:
        Program(boot.tap, name).run(guest, "page_hinting_swap", args=CROWD,
                                    env=f"PAGE_HINTING_SWAP=/dev/rawswap PAGE_HINTING_SEED={boot.seed + 1}")
        n = discards()
        boot.tap.point(n >= 1000, f"{name}: {n} pages discarded (at least 1000)")


def excluded(boot, guest):
    """What must not become, or remain, volatile: this takes zram and helpers that only one kernel has."""
    with host(guest, "instant"):
        Program(boot.tap, boot.name, verbose=True).run(
            guest, "page_hinting_swap", env="PAGE_HINTING_SWAP=/dev/rawswap", args="ksm synchronous_device freed_while_held")


DISKS = (("test", 256, "ext4"), ("rawswap", 64, "raw"))
BOOTS = {
    "swap": (swap, {"default": False, "cpus": 4,
              "memory": 192, "disks": DISKS, "append": "page_hinting=force"}),
    "swap-4cpus": (crowd, {"cpus": 4, "memory": 192, "disks": DISKS, "append": "page_hinting=force"}),
    "swap-excluded": (excluded, {"cpus": 2, "memory": 192, "disks": DISKS, "append": "page_hinting=force"}),
    # init_on_alloc=1 makes this kernel, too, look at the flags of each page that is freed.
    "swap-1cpu": (swap, {"kernel": "run", "cpus": 1,
                   "memory": 192, "disks": DISKS, "append": "page_hinting=force init_on_alloc=1"}),
}
