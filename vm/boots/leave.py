# SPDX-License-Identifier: GPL-2.0
"""Leaving the kernel, and taking parts of the machine away, while the host has taken all cache.

The host of these boots leaves the states of pages alone in a reset that leaves memory alone
(keep-states=on), so a discarded page that is forgotten meets the next kernel.
"""

import re

from vm import EXPECTED, command_line, flatten

HINTING = "/sys/kernel/mm/page_hinting"
FILE = "/mnt/test/file"
FREEZE = "/sys/kernel/debug/page_hinting/freeze"
CORRUPT = "/sys/kernel/debug/page_hinting/corrupt"
KPF_VOLATILE = 27               # of /proc/kpageflags
VOLATILE = f"/selftests/page_hinting/page_hinting_free --pages {KPF_VOLATILE} | cut -d' ' -f1"
PAGES = 20000                   # of the file, 78 MB
LOAD = "kexec {} /mnt/boot/bzImage /mnt/boot/initrd '" + command_line("{}") + "'"
MEMORY, CRASH = 320, 96         # MB, of the guest that crashes
DISKS = (("test", 512, "ext4"), ("boot", 96, "boot"))

# What page_hinting= and cmma= say, what the boot log says and whether there are controls then
BOOT_LOG = [
    ("page_hinting=off", r"ESSA, mode off \(boot parameter\)", True),
    ("page_hinting=unused", r"ESSA, mode unused \(boot parameter\)", True),
    ("page_hinting=off cmma=off", r"not available, .*cmma= is off", False),
    ("page_hinting=unused cmma=off", r"not available, .*cmma= is off", False),
    ("cmma=off", r"not available, .*cmma= is off", False),
    ("", r"ESSA, mode unused \(default\)", True),
    ("page_hinting=auto", r"ESSA, mode unused \(default\)", True),
    ("page_hinting=force cmma=off", r"not available, .*cmma= is off", False),
    ("page_hinting=" "on", r"ESSA, mode unused \(not able to do what (?:the boot parameter asks for|was asked for)\)", True),
]
FORCED = ("page_hinting=force", r"ESSA, mode on \(boot parameter\)", True)


def write_file(guest, pages=PAGES):
    guest.sh(f"vmcore file file {pages} {FILE}; sync")
    return guest.out(f"md5sum {FILE}")


def discard_all(boot, guest, what, least=PAGES * 9 // 10):
    """Have all cache volatile and discarded; nothing brings it back but a reader."""
    guest.passes(3)
    guest.discard()
    n = flatten(guest.stats())["volatile_dropped"]
    boot.tap.point(n >= least, f"{boot.name}: {n} discarded pages before {what} (at least {least})")
    return n


def same(boot, guest, digest, what):
    got = guest.out(f"md5sum {FILE}")
    boot.tap.point(got == digest, f"{boot.name}: the file is the same after {what}", [digest, got] if got != digest else [])


def judge(boot, guest, text, what, allow=()):
    """The console of a kernel that has gone, and of the next one: nothing but what is expected."""
    allow = [*EXPECTED, *allow]                 # each of them says so
    odd = [line for line in guest.warnings(text) if not any(re.search(a, line) for a in allow)]
    boot.tap.point(not odd, f"{boot.name}: nothing on the console on {what}", odd[:20])


def start(boot, guest, command, log, controls):
    """kexec, and see what the next kernel says."""
    guest.sh(LOAD.format("load", command))
    text = guest.restart("kexec exec")
    judge(boot, guest, text, f"kexec with '{command}'", [r"kexec_core: Starting new kernel", r"this host may lose data"])
    lines = [line for line in guest.out("dmesg").splitlines() if "page_hinting:" in line and "mode" in line or "not available" in line]
    boot.tap.point(len(lines) == 1 and re.search(log, lines[0]) is not None,
                   f"{boot.name}: one line in the boot log with '{command}'", lines)
    there = guest.sh(f"[ -e {HINTING} ]", check=False)[0] == 0
    boot.tap.point(there == controls, f"{boot.name}: controls {'are' if there else 'are not'} there with '{command}'")


def kexec(boot, guest):
    digest = write_file(guest)
    for command, *rest in BOOT_LOG if boot.full else BOOT_LOG[-1:]:
        discard_all(boot, guest, f"kexec with '{command}'")
        start(boot, guest, command, *rest)
        same(boot, guest, digest, f"kexec with '{command}'")
        start(boot, guest, *FORCED)
        same(boot, guest, digest, "one more kexec")     # and in the cache
    for _ in range(10 if boot.full else 1):
        discard_all(boot, guest, "kexec to a kernel like this one")
        start(boot, guest, *FORCED)
        same(boot, guest, digest, "kexec to a kernel like this one")


def kexec_unused(boot, guest):
    """Free frames are where the next kernel goes: the host takes them, and lets nobody use them."""
    guest.set(mode="sweep", interval=20)
    for i in range(10 if boot.full else 2):
        # Memory that is free, and has not been: for each kernel in another place
        guest.sh("dd if=/dev/zero of=/tmp/f bs=1M count=100 2>/dev/null; rm /tmp/f; echo 1 >/proc/sys/vm/drop_caches")
        unused = flatten(guest.stats())["unused_dropped"]
        boot.tap.point(unused > 10000, f"{boot.name}: {unused} frames cannot be used before kexec {i + 1} (more than 10000)")
        command = ("", "cmma=off", "")[i % 3]
        guest.sh(LOAD.format("load", command))
        judge(boot, guest, guest.restart("kexec exec"), f"kexec {i + 1} '{command}'", [r"kexec_core: Starting new kernel"])
        if command:
            left = flatten(guest.stats())["unused"]
            boot.tap.point(not left, f"{boot.name}: with '{command}' the next kernel has left no frame unused", [f"{left}"])
            guest.sh(LOAD.format("load", ""))
            guest.restart("kexec exec")
    guest.set(mode="pager")


def nothing_volatile(boot, guest, what):
    """A function that looks whether this kernel leaves volatile pages to the next one."""
    def look():
        left = flatten(guest.stats())["volatile"]
        boot.tap.point(not left, f"{boot.name}: no page is volatile when the machine is reset for {what}",
                       [f"{left} volatile pages"] if left else [])
    return look


# With the reboot notifiers, and without
RESTARTS = {"restart": "reboot -f", "emergency restart": "echo b >/proc/sysrq-trigger",
            "panic": "echo reipl >/sys/firmware/shutdown_actions/on_panic; echo c >/proc/sysrq-trigger"}
CRASHED = [r"sysrq: ", r"sysrq triggered crash", r"CPU: \d+ UID: ", r"Tainted: ", r"Hardware name: ", r"Call Trace", r"\] +\[<",
           r"locks? held by", r"\] +#\d+: "]
LAST_WORDS = [r"reboot: Restarting system", *CRASHED]
FIRMWARE = [r"^LOADPARM=|^Using virtio-blk|^Using SCSI scheme|^\.+$"]
LOADED = 40                     # MB, beyond the end of what the firmware's loader loads


def restart(boot, guest):
    digest = write_file(guest)
    guest.sh("echo reipl >/sys/firmware/shutdown_actions/on_restart")
    # all of them start the same kernel, but what is set in sysfs is gone then
    for what, command in {"restart interrupt": lambda: guest.qmp("inject-nmi"), **RESTARTS}.items():
        discard_all(boot, guest, what)
        text = guest.restart(command, may_panic=what == "panic", look=nothing_volatile(boot, guest, what))
        judge(boot, guest, text, what, LAST_WORDS)
        same(boot, guest, digest, what)


def reipl(boot, guest):
    """IPL from disk, by the firmware's loader: its memory, and where it loads to, were page cache before."""
    digest = write_file(guest)
    for what in RESTARTS if boot.full else ("emergency restart",):
        what, command = what + " from disk", RESTARTS[what]
        kind = guest.out("cat /sys/firmware/reipl/reipl_type")
        boot.tap.point(kind == "ccw", f"{boot.name}: this kernel was loaded from a disk ({kind})")
        guest.sh("dd if=/dev/zero of=/mnt/test/more bs=1M count=200 2>/dev/null; sync")    # so that cache is everywhere
        discard_all(boot, guest, what)
        low = low_discarded(guest, LOADED << 20)
        boot.tap.point(low > 200, f"{boot.name}: {low} of them in memory that the loader writes to (more than 200)")
        # The only kind of re-IPL that QEMU has; it does not clear memory either.
        text = guest.restart("echo 1 >/sys/firmware/reipl/ccw/clear; " + command, may_panic="panic" in what,
                             look=nothing_volatile(boot, guest, what))
        judge(boot, guest, text, what, LAST_WORDS + FIRMWARE)
        boot.tap.point("Using SCSI scheme" in text, f"{boot.name}: the firmware has loaded it again", text.splitlines()[-10:])
        same(boot, guest, digest, what)


# Instead of another kernel, which would make all memory stable: BASR 1,0; LPSW 6(1), and what that loads, the end of the machine
STUB = ("dd if=/dev/zero bs=64k count=1 2>/dev/null >/tmp/stub; "
        r"printf '\015\020\202\000\020\006\000\000\000\012\000\000\000\000\017\377' >>/tmp/stub; truncate -s 128K /tmp/stub")


def number(block):
    return int(block.rsplit("memory", 1)[1])


def movable_blocks(guest):
    """Memory blocks that can go, and the size of one."""
    size = int(guest.out("cat /sys/devices/system/memory/block_size_bytes"), 16)
    blocks = [b for b in guest.out("ls -d /sys/devices/system/memory/memory*").split()
              if guest.out(f"cat {b}/valid_zones") == "Movable"]
    # the last one has memory in it that was reserved at boot
    blocks.remove(max(blocks, key=number))
    return blocks, size


def freeze(boot, guest, spare):
    """Get hold of one of the volatile pages so that nobody else can, until this kernel ends; none in the range `spare`. Its number.

    It is one at the end of memory: where the next kernel is copied to, frames are made stable anyway."""
    guest.sh(f"rm -f /tmp/frozen; (exec 9>{FREEZE}; for pfn in $({VOLATILE} | sort -rn); do [ $pfn -ge {spare.start} ] && [ $pfn -lt {spare.stop} ] && continue; "
             "echo $pfn >&9 && echo $pfn >/tmp/frozen && break; done; "
             "exec sleep 10000) >/dev/null 2>&1 & for i in $(seq 120); do [ -e /tmp/frozen ] && exit; sleep 1; done", check=False)
    status, _ = guest.sh("[ -e /tmp/frozen ] && pidof sleep", check=False)
    boot.tap.point(status == 0, f"{boot.name}: a page is frozen, and remains so")
    return int(guest.out("cat /tmp/frozen"))


def frozen(boot, guest):
    """Nobody can get hold of one of the pages. Memory hotplug does not wait for that, and the reboot notifier gives
    up: the page is made stable all the same. So it is when a halt, a power-off or a panic is a restart, when
    the panic is for a folio of an absurd size, when the operator asks for an end, and when something is started
    that does not know of page states."""
    few = PAGES // 10
    digest = write_file(guest, few)
    ways = {"restart": "reboot -f", "halt": "echo reipl >/sys/firmware/shutdown_actions/on_halt; halt -f",
            "power-off": "echo reipl >/sys/firmware/shutdown_actions/on_poff; poweroff -f",
            "panic": f"echo $({VOLATILE} | head -n 1) >{CORRUPT} && {{ {RESTARTS['panic']}; }}",
            "signal to shut down": lambda: guest.qmp("system_powerdown"), "kexec": "kexec exec"}
    # The block with the frozen page in it could not go. If there is but one that can, the page is not to be in that.
    blocks, size = movable_blocks(guest)
    pages = {block: range(number(block) * size // 4096, (number(block) + 1) * size // 4096) for block in blocks}
    spare = pages[blocks[0]] if len(blocks) == 1 else range(0)
    for way, command in ways.items():
        if way == "power-off" and not boot.full:        # as a halt is
            continue
        what = way + " with a frozen page"
        discard_all(boot, guest, what, few * 9 // 10)
        pfn = freeze(boot, guest, spare)
        if way == "restart":
            block = [b for b in blocks if pfn not in pages[b]][-1]
            guest.sh(f"(echo off >{HINTING}/mode) & sleep 1; cat {HINTING}/mode")
            # A thread of its own: where this hangs, it does so for ever. Two minutes are not that on a busy machine.
            guest.sh(f"(echo offline >{block}/state; echo $? >/tmp/gone) & "
                     "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do [ -e /tmp/gone ] && exit; sleep 10; done", check=False)
            status = guest.out("cat /tmp/gone")
            boot.tap.point(status == "0", f"{boot.name}: memory goes offline while a page is frozen and mode is being written", [status])
        look = nothing_volatile(boot, guest, what)
        if way == "kexec":
            guest.sh(f"{STUB}; kexec load /tmp/stub /tmp/stub ''")
        text = guest.restart(command, may_panic=way == "panic", look=look)
        judge(boot, guest, text, what, LAST_WORDS + [r"min_free_kbytes is not updated", r"kexec_core: Starting new kernel"])
        same(boot, guest, digest, what)


def low_discarded(guest, size):
    """Discarded pages below `size`, as the host knows them."""
    runs = guest.blocks(0, size // 4096)
    return sum(r["count"] for r in runs if r["usage"] == "volatile" and r["content"] == "zero")


def kdump(boot, guest):
    guest.qmp("set-action", reboot="reset")
    for command in ("cmma=off", "", "page_hinting=force", "page_hinting=off") if boot.full else ("cmma=off",):
        what = f"crash, dump kernel with '{command}'"
        guest.sh(LOAD.format("crash", "nr_cpus=1 " + command))
        # One page is lost with or without hinting: of what purgatory saves from the place that it moves itself to, the first page
        # is copied in the wrong direction ("(crash) buf -> (crash) dst" in arch/s390/purgatory/head.S). So nothing is planted there.
        guest.sh(f"vmcore plant kept 5000 {(CRASH << 20) // 4096 - 2} >/tmp/planted & while ! grep -q planted /tmp/planted; do sleep 0.1; done")
        guest.sh(f"vmcore file gone {PAGES} {FILE}; sync")
        digest = guest.out(f"md5sum {FILE}")
        n = discard_all(boot, guest, what)
        guest.discard(unused=True)
        low = low_discarded(guest, CRASH << 20)
        boot.tap.point(low > 1000, f"{boot.name}: {low} of them in the memory that purgatory copies (more than 1000)")
        text = guest.restart("echo c > /proc/sysrq-trigger", may_panic=True)
        # the last words of the crash itself rarely make it to the console
        judge(boot, guest, text, what, CRASHED)
        left = flatten(guest.stats())["volatile"]
        boot.tap.point(not left, f"{boot.name}: {what}: the dump kernel leaves no page volatile",
                       [f"{left} volatile pages"] if left else [])
        found = dict(pair.split("=") for pair in guest.out("vmcore check kept gone").split())
        found = {k: int(v) for k, v in found.items()}
        boot.tap.note(f"{boot.name}: {what}: {found}")
        boot.tap.point(found["differ"] == 0 and found["mapped"] == found["bytes"] > MEMORY - CRASH << 20,
                       f"{boot.name}: {what}: all of /proc/vmcore is read and mapped, and is the same both ways")
        boot.tap.point(found["kept"] == 5000 and not found["kept-damaged"],
                       f"{boot.name}: {what}: what was in memory is in the dump")
        boot.tap.point(found["gone"] + found["gone-damaged"] <= PAGES // 10 and found["zero"] >= n,
                       f"{boot.name}: {what}: what was discarded is zero")
        guest.restart("reboot -f")
        same(boot, guest, digest, what)


def hotplug(boot, guest):
    digest = write_file(guest)
    cpus = guest.out("ls -d /sys/devices/system/cpu/cpu[1-9]*/online").split()
    for _ in range(5 if boot.full else 1):
        discard_all(boot, guest, "CPUs went")
        for cpu in cpus:
            guest.sh(f"echo 0 > {cpu}")
        same(boot, guest, digest, "CPUs went")
        discard_all(boot, guest, "CPUs came back")
        for cpu in cpus:
            guest.sh(f"echo 1 > {cpu}")
        same(boot, guest, digest, "CPUs came back")

    blocks, size = movable_blocks(guest)
    boot.tap.point(bool(blocks), f"{boot.name}: {len(blocks)} memory blocks of {size >> 20} MB can go")
    total = 0
    for b in blocks:
        start = int(guest.out(f"cat {b}/phys_index"), 16) * size
        discard_all(boot, guest, "memory went")
        runs = guest.blocks(start, size // 4096)
        n = sum(r["count"] for r in runs if r["usage"] == "volatile")
        status, text = guest.sh(f"echo offline > {b}/state", check=False)
        boot.tap.point(status == 0, f"{boot.name}: {b.rsplit('/', 1)[1]} with {n} volatile pages goes offline", [text])
        runs = guest.blocks(start, size // 4096)
        left = sum(r["count"] for r in runs if r["usage"] == "volatile")
        boot.tap.point(not left, f"{boot.name}: no volatile page is left in it", [f"{left} of {n}"] if left else [])
        total += n
        same(boot, guest, digest, "memory went")
        discard_all(boot, guest, "memory came back")
        guest.sh(f"echo online_movable > {b}/state")
        same(boot, guest, digest, "memory came back")
        judge(boot, guest, guest.forget_console(), "memory went and came back", [r"min_free_kbytes is not updated"])

    boot.tap.point(total > 1000, f"{boot.name}: {total} volatile pages were in memory that went (more than 1000)")


def options(**more):
    return {"kernel": "run", "disks": DISKS, "options": ("keep-states=on",), **more}


ON = "page_hinting=force"
# What is unused must not be used: an addressing exception, most likely in code without a handler
STRICT = {"options": ("keep-states=on", "unused-access=exception")}
BOOTS = {
    "reipl": (reipl, options(cpus=2, memory=256, append=ON, disks=(("test", 512, "ext4"), ("rawipl", 64, "ipl")))),
    "frozen": (frozen, options(kernel="test", cpus=2, memory=1024, append=ON + " kernelcore=500M")),
    "kexec": (kexec, options(cpus=2, memory=256, append=ON)),
    "kexec-unused": (kexec_unused, options(cpus=2, memory=256, **STRICT)),
    "kdump": (kdump, options(cpus=2, memory=MEMORY, append=f"{ON} crashkernel={CRASH}M", **STRICT)),
    # reipl does most of this, and more
    "restart": (restart, options(cpus=2, memory=320, append=ON, default=False)),
    "hotplug": (hotplug, options(cpus=4, memory=1024, append=ON + " kernelcore=500M")),
}
