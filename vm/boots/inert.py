# SPDX-License-Identifier: GPL-2.0
"""Without ESSA, or switched off: nothing happens, and the tests say so."""

import re

from vm import flatten

PROGRAMS = ("page_hinting_test", "page_hinting_policy", "page_hinting_stress")


def inert(boot, guest):
    mode = guest.out("d=/sys/kernel/mm/page_hinting; [ ! -e $d ] && echo absent || cat $d/mode")
    boot.tap.point(mode in ("off", "absent"), f"{boot.name}: page hinting is {mode}")
    for program in PROGRAMS:
        status, text = guest.sh(f"cd /selftests/page_hinting && PAGE_HINTING_DIR=/mnt/test ./{program}", check=False)
        boot.tap.point(status == 4, f"{boot.name}: {program} skips",
                       [] if status == 4 else [f"exit status {status}"] + text.splitlines()[-5:])
    before = guest.hinting and flatten(guest.stats())
    guest.sh("dd if=/dev/zero of=/mnt/test/f bs=1M count=64 2>/dev/null && sync && cat /mnt/test/f >/dev/null")
    used = {k: v for k, v in guest.vmstat().items() if k.startswith("page_hint") and v}
    boot.tap.point(not used, f"{boot.name}: no counter moves", [str(used)] if used else [])
    if guest.hinting:
        # "Stable" alone (codes 1 and 7) is how page tables are marked, with hinting or without.
        s = flatten(guest.stats())
        codes = [s[f"n{i}"] for i in range(8)]
        stable = s["n1"] + s["n7"] - before["n1"] - before["n7"]
        boot.tap.point(not sum(codes[2:7]) and stable < 1000,
                       f"{boot.name}: no ESSA that makes a page anything but stable",
                       [f"ESSA by code: {codes}, set stable during 64 MB of file: {stable}"])
    # What a guest must do that is about to be killed because its time is up
    text = guest.stacks()
    guest.forget_console()
    boot.tap.point(re.search(r"task:(init|sh) ", text) is not None, f"{boot.name}: shows the stacks of its tasks when asked by SysRq",
                   text.splitlines()[-5:])


BOOTS = {
    "stock": (inert, {"qemu": "stock", "cpus": 2, "append": "page_hinting=force"}),
    "off": (inert, {"cpus": 2, "append": "page_hinting=off"}),
}
