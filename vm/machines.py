# SPDX-License-Identifier: GPL-2.0
"""What is not the same on all architectures: the machine, and how its host is told to take pages, and what it says.

Every host is described in the terms of the first one, s390: pages are stable, volatile or unused, and what is gone is
"dropped".
"""

import os
import time

PAGE = 4096
# "kvm": see scripts/kvm-check.sh
ACCEL = os.environ.get("ACCEL", "tcg")


def runs(guest, command, address, count):
    """Runs of pages in the same state, which a command answers for so many at once."""
    step = 16384
    return [run for first in range(0, count, step)
            for run in guest.qmp(command, address=address + first * PAGE, count=min(step, count - first))]


class S390:
    """ESSA, and a host that is part of the machine."""

    bus = "ccw"
    ram = "s390.ram"
    expected = ()
    parameters = ""
    hinting = "page_hinting=force"      # as QEMU calls itself KVM, where "on" is refused

    @staticmethod
    def arguments(edat, options, hinting, icount):
        return ["-M", "s390-ccw-virtio", "-cpu", "max,edat=" + ("on" if edat else "off"), "-device", "sclpconsole,chardev=con",
                *(word for option in options for word in ("-global", "s390-storage_attributes-tcg." + option))]

    @staticmethod
    def sysrq(guest, key):
        guest.keys.write(b"\x0f" + key.encode())

    @staticmethod
    def stats(guest):
        return guest.qmp("query-s390-page-hinting")

    @staticmethod
    def set(guest, **args):
        return guest.qmp("s390-page-hinting-set", **args)

    @staticmethod
    def discard(guest, **args):
        return guest.qmp("s390-page-hinting-discard", **args)["discarded"]

    @staticmethod
    def blocks(guest, address, count):
        return runs(guest, "query-s390-page-hinting-blocks", address, count)


class X86:
    """States shared with the balloon device, and an adversary that is an object of its own."""

    bus = "pci"
    ram = "pc.ram"
    # of a machine whose timers are late, as others run on its processors, too
    expected = (r"tsc: (Unable to calibrate against PIT|PIT calibration deviates from (HPET|PMTIMER))", r"APIC calibration not consistent with PM-Timer")
    hinting = "page_hinting=on"
    # the rest, or it complains that the emulated TSC is not stable
    parameters = "console=ttyS0 trace_clock=global tsc=nowatchdog"

    @classmethod
    def arguments(cls, edat, options, hinting, icount):
        # Each byte of "rep movsb" counts as an instruction, which would hide all others
        cpu = "max,erms=off,fsrm=off" if icount else "host" if ACCEL == "kvm" else "max"
        return ["-M", "q35", "-cpu", cpu, "-device", "isa-serial,chardev=con", *cls.device(options, hinting)]

    @staticmethod
    def device(options, hinting):
        if not hinting:
            return []
        return ["-device", ",".join(["virtio-balloon-pci,id=balloon,page-state=on", *options]),
                "-object", "balloon-adversary,id=adversary,detect=on"]

    @staticmethod
    def sysrq(guest, key):
        guest.qmp("chardev-send-break", id="con")
        guest.keys.write(key.encode())

    @staticmethod
    def _adversary(guest, name):
        return guest.qmp("qom-get", path="/objects/adversary", property=name)

    @classmethod
    def stats(cls, guest):
        info = guest.qmp("query-balloon-page-state")
        gone = info["discarded"] // PAGE
        volatile = (info["volatile"] + info["lazy"]) // PAGE + gone
        mode = cls._adversary(guest, "mode")
        return {"mode": "pager" if mode == "off" else mode, "resident": guest.resident(),
                "resident-limit": info["resident-limit"],
                "blocks": {"stable": info["covered"] // PAGE - volatile, "volatile": volatile, "volatile-dropped": gone},
                "discards": {"volatile": info["taken"] // PAGE},
                "cpu-violations": cls._adversary(guest, "cpu-violations"),
                "dma-violations": cls._adversary(guest, "other-violations"),
                "bad-states": info["bad-states"], "bad-requests": info["bad-requests"], "syncs": info["syncs"],
                "lazy": info["lazy"] // PAGE}

    @staticmethod
    def _set_adversary(guest, name, value):
        guest.qmp("qom-set", path="/objects/adversary", property=name, value=value)

    @classmethod
    def set(cls, guest, **args):
        """In the modes that draw lots, some folios are being taken for long, and some are handed to the kernel if that may be."""
        limit = args.pop("resident-limit", None)
        if args.get("mode") in ("random", "window"):
            args |= {"hold": 20, "lazy": 30}
        elif "mode" in args:
            args |= {"hold": 0, "lazy": 0}
        for name, value in args.items():
            if name == "mode" and value == "pager":
                value = "off"
            cls._set_adversary(guest, name, value)
        if limit is not None:
            guest.qmp("balloon-page-state-set", **{"resident-limit": limit})

    @classmethod
    def discard(cls, guest, volatile=True, unused=False, count=None):
        """Free pages are not the device's business. Nothing is left "being taken" when this returns."""
        if not volatile:
            return 0
        hold = cls._adversary(guest, "hold")
        if hold:
            cls._set_adversary(guest, "hold", 0)
            time.sleep(2 * cls._adversary(guest, "interval") / 1000)
        taken = guest.qmp("balloon-page-state-take", bytes=guest.memory if count is None else count * PAGE)["taken"]
        if hold:
            cls._set_adversary(guest, "hold", hold)
        return taken // PAGE

    @staticmethod
    def blocks(guest, address, count):
        known = {"stable": ("stable", "resident"), "discarded": ("volatile", "zero")}
        return [dict(zip(("usage", "content"), known.get(run["state"], ("volatile", "resident"))), count=run["count"])
                for run in runs(guest, "query-balloon-page-state-frames", address, count)]


class Arm64(X86):
    """The same device and adversary."""

    ram = "mach-virt.ram"
    # of a window that devices do not need
    expected = (r"pci-host-generic \S+: Memory resource size exceeds max for 32 bits",)
    parameters = "console=ttyAMA0"

    @classmethod
    def arguments(cls, edat, options, hinting, icount):
        # what is switched off takes much time to emulate
        return ["-M", "virt,gic-version=3", "-cpu", "max,pauth=off,sve=off,sme=off", "-serial", "chardev:con", *cls.device(options, hinting)]


MACHINES = {"s390": S390, "x86_64": X86, "arm64": Arm64}
