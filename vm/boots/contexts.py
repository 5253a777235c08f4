# SPDX-License-Identifier: GPL-2.0
"""Accesses to discarded pages from every context: survived where they can be, an oops where not."""

import re

from boot import Program

PROGRAM = "page_hinting_contexts"


def contexts(boot, guest):
    for mode in ("instant", "pager") if boot.full else ("pager",):
        guest.set(mode=mode)
        Program(boot.tap, f"{boot.name} {mode}", verbose=True).run(guest, PROGRAM)
    guest.set(mode="pager", resident_limit=0)


def oops(boot, guest):
    """The console of this guest is judged by what must be on it."""
    Program(boot.tap, boot.name).run(guest, PROGRAM, args="--oops")
    text = guest.forget_console()
    for what in (r"page_hinting: access to discarded frame at 0x[0-9a-f]+000\s*$", r"block-volatility exception: 001a ilc:\d",
                 r"Call Trace:"):
        n = len(re.findall(what, text, re.M))
        boot.tap.point(n == 1, f"{boot.name}: '{what}' is on the console once", text.splitlines()[-60:])
    boot.tap.point("test_deref" in text,
                   f"{boot.name}: and says who it was")
    odd = re.findall(r".*(?:WARNING|BUG|INFO(?!: lockdep is turned off)|panic).*", text)
    boot.tap.point(not odd, f"{boot.name}: and nothing worse", odd)
    guest.sh("dd if=/dev/zero of=/mnt/test/f bs=1M count=8 2>/dev/null; sync")


BOOTS = {
    "contexts": (contexts, {"cpus": 4, "memory": 192, "append": "page_hinting=force", "provoked": True}),
    # after an oops the console shows everything
    "oops": (oops, {"cpus": 2, "memory": 192, "append": "page_hinting=force", "provoked": True,
                    "allow": [r"EXT4-fs \(vda\): unmounting filesystem"]}),
}
