# SPDX-License-Identifier: GPL-2.0
"""Hosts that do not keep their promises: one that forgets what it has discarded, one that does nothing, one that refuses."""

import re

from vm import flatten

HINTING = "/sys/kernel/mm/page_hinting"
FAULT = "/sys/kernel/debug/page_hinting/fault"
FILE, MB = "/mnt/test/file", 32


def make_idle(guest):
    """A file in the cache, and the clock's word that nobody uses it."""
    guest.sh(f"[ -e {FILE} ] || dd if=/dev/urandom of={FILE} bs=1M count={MB} 2>/dev/null; sync; md5sum {FILE} >/tmp/sum", check=False)
    guest.passes(3, check=False)


def right(guest):
    return guest.sh("md5sum -c /tmp/sum", check=False)[0] == 0


def said(boot, guest, what, text):
    """The log says so, once. A worker may do that, so wait for it."""
    guest.sh(f"for i in 1 2 3 4 5 6 7 8 9 10; do dmesg | grep -q '{text}' && exit; sleep 1; done", check=False)
    n = len(re.findall(text, guest.out("dmesg")))
    boot.tap.point(n == 1, f"{boot.name}: the log says {what}", [f"{n} times"])


def refuses(boot, guest, what, errno):
    status, out = guest.sh(f"echo on >{HINTING}/mode", check=False)
    boot.tap.point(status != 0 and errno in out, f"{boot.name}: 'on' is refused {what}", [out])


def forgets(boot, guest):
    """As KVM does. Without "force" nothing becomes volatile, so nothing is lost."""
    said(boot, guest, "that volatile pages are refused", r"this host may lose data, so no page becomes volatile")
    boot.tap.point(guest.out(f"cat {HINTING}/mode") == "unused", f"{boot.name}: the boot parameter does not get 'on'")
    refuses(boot, guest, "on a host that is not z/VM", "not supported")
    make_idle(guest)
    guest.discard(unused=True)
    stats = flatten(guest.stats())
    boot.tap.point(not stats["n3"] and not stats["n4"], f"{boot.name}: no page has become volatile", [str(stats)])
    boot.tap.point(right(guest), f"{boot.name}: the file is right")


def forgets_forced(boot, guest):
    """The same with "force": that the host of the test above really does lose data."""
    make_idle(guest)
    guest.discard()
    taken = flatten(guest.stats())["volatile_dropped"]
    boot.tap.point(taken > MB << 7, f"{boot.name}: {taken} pages are discarded (more than {MB << 7})")
    # Anything in the host may touch them: here it is a look with the monitor.
    guest.qmp("pmemsave", val=0, size=guest.memory, filename="/dev/null")
    boot.tap.point(not right(guest), f"{boot.name}: the host has forgotten it, so the guest takes zeros for the file")
    forgotten = guest.stats()["forgotten"]
    boot.tap.point(forgotten > taken // 2, f"{boot.name}: {forgotten} pages are forgotten (more than half of them)")


def ignoring(boot, guest):
    """ESSA does not make anything volatile, and does not say so either. The kernel finds out, and does not begin."""
    said(boot, guest, "that the host is not to be trusted", r"ESSA does not behave as expected")
    boot.tap.point(guest.out(f"cat {HINTING}/mode") == "unused", f"{boot.name}: 'force' does not get 'on' either")
    refuses(boot, guest, "on a host that does not do what it says", "Input/output error")


def refusing(boot, guest):
    """One of ten times, ESSA does nothing and says so. Hinting is switched off, and no byte is wrong."""
    make_idle(guest)
    stats = flatten(guest.stats())
    boot.tap.point(stats["volatile"] + stats["volatile_dropped"] > MB << 7, f"{boot.name}: the file is volatile")
    guest.set(mode="instant")
    guest.set(essa_errors=10)
    for _ in range(3):
        boot.tap.point(right(guest), f"{boot.name}: the file is right")
        guest.sh("echo 1 >/proc/sys/vm/drop_caches")
    guest.set(essa_errors=0)
    guest.sh(f"for i in 1 2 3 4 5 6 7 8 9 10; do [ $(cat {HINTING}/mode) = off ] && exit; sleep 1; done; exit 1", check=False)
    mode = guest.out(f"cat {HINTING}/mode")
    boot.tap.point(mode == "off", f"{boot.name}: hinting is switched off", [mode])
    left = flatten(guest.stats())["volatile"]
    boot.tap.point(not left, f"{boot.name}: and no page is left volatile", [f"{left}"])
    said(boot, guest, "so, once", r"the host has refused to change the state of a frame")
    refuses(boot, guest, "from then on", "Input/output error")


def refusing_all(boot, guest):
    """For a while ESSA does nothing at all, however often it is asked. What is not known to be kept is read again."""
    make_idle(guest)
    before = guest.vmstat()["page_hint_lost"]
    guest.refused = True
    guest.set(essa_errors=100)
    ok = right(guest)
    guest.set(essa_errors=0)
    boot.tap.point(ok, f"{boot.name}: the file is right")
    lost = guest.vmstat()["page_hint_lost"] - before
    boot.tap.point(lost > MB << 7, f"{boot.name}: {lost} pages count as lost (more than {MB << 7})")
    boot.tap.point(right(guest), f"{boot.name}: the file is still right")
    said(boot, guest, "so, once", r"the host has refused to change the state of a frame")


def nowhere(boot, guest):
    """A frame that is not there, as the memory map of a kernel in a panic may name one: no oops."""
    make_idle(guest)
    guest.sh(f"echo $((1 << 40)) >{FAULT}", check=False)
    said(boot, guest, "that the host has refused", r"the host has refused to change the state of a frame")
    boot.tap.point(right(guest), f"{boot.name}: the file is right")


def options(*essa, **more):
    return {"cpus": 2, "memory": 192, "kernel": "run", "options": essa,
            "allow": [r"page_hinting: (this host may lose data|ESSA does not behave as expected|the host has refused to change the state of a frame)"], **more}


FORCE = {"append": "page_hinting=force"}
BOOTS = {
    "forgets": (forgets, options("forget=on", append="page_hinting=" "on")),
    "forgets-forced": (forgets_forced, options("forget=on", **FORCE)),
    "ignoring": (ignoring, options("essa-ignores=8", **FORCE)),
    "refusing": (refusing, options(**FORCE)),
    "refusing-all": (refusing_all, options(**FORCE)),
    "nowhere": (nowhere, options(**{**FORCE, "kernel": "test"}, provoked=True)),
}
