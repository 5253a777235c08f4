# SPDX-License-Identifier: GPL-2.0
"""Hercules, which emulates the mainframe down to its I/O, and has no ESSA: nothing happens, and the tests say so.

Debian's 3.13 has the instructions of a z10, so there is a kernel for it. The guest cannot be given orders; it
says what it finds on its console (vm/guest/inert). Hercules shows each program check that Linux does not expect to
happen all the time, so it tells of each ESSA.
"""

import os
import re
import shutil
import subprocess
import threading
import time

from boot import EXT2, Program, kernel_image
from vm import RUNNING, command_line, cpu_seconds, fsck, in_child

CONFIG = """CPUMODEL 2097
CPUSERIAL 002623
MAINSIZE 256
NUMCPU 2
ARCHMODE z/Arch
OSTAILOR LINUX
HERCPRIO 0
TODPRIO 0
CPUPRIO 0
DEVPRIO 0
CODEPAGE 819/500
0120 9336 {disk}
"""
IPL = "ipl"
INITRD = 0x4000000
# What Hercules says itself, among it the program checks that a kernel provokes to find out what there is
OWN = re.compile(r"HHC[A-Z]{2}\d{3}[IWE] | {10}[a-zA-Z]+=|CPU\d{4}: +(SIGP|PSW=|[RV][0-9A-F:])")
DOWN = re.compile(r"(CPU\d{4}): SIGP Stop \(05\) \1,|HHCCP011I ")
ESSA = re.compile(r"CPU\d{4}: +PSW=.* INST=B9AB")
# The file system, of its own
EXPECTED = re.compile(r"ext2 filesystem being mounted at /mnt/test supports timestamps until 2038")


class Hercules:
    """A boot of vm/test, instead of boot.Boot."""

    def __init__(self, tap, parts, out, work, name, *, kernel, timeout, **_):
        self.tap, self.parts, self.out, self.name = tap, parts, out, name
        self.kernel, self.timeout = kernel, timeout
        self.work = os.path.join(work, name)

    def _file(self, name, content):
        path = os.path.join(self.work, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def _start(self):
        """What is to be loaded where, and on what machine."""
        os.makedirs(self.work)
        disk = self._file("disk", b"")
        os.truncate(disk, 96 << 20)
        subprocess.run([*EXT2, disk], check=True)
        size = os.path.getsize(self.parts["initrd"])
        self._file("kernel", kernel_image(self.parts[self.kernel], INITRD, size, command_line("page_hinting=force", "inert")))
        shutil.copy(self.parts["initrd"], os.path.join(self.work, "initrd"))
        ins = self._file("ins", f"* list-directed IPL\nkernel 0x0\ninitrd 0x{INITRD:x}\n".encode())
        config = self._file("config", CONFIG.format(disk=disk).encode())
        commands = self._file("commands", f"{IPL} {ins}\n".encode())
        process = subprocess.Popen(["hercules", "-d", "-f", config], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, preexec_fn=in_child, env={**os.environ, "HERCULES_RC": commands})
        RUNNING.add(process)
        return process, disk

    def __call__(self, work):
        if not shutil.which("hercules"):
            self.tap.point(True, f"{self.name}: IPL", skip="hercules is not installed")
            return
        start = time.time()
        process, disk = self._start()
        timer = threading.Timer(self.timeout, process.kill)
        timer.start()
        program = Program(self.tap, self.name)
        problems, essas, loaded, down = [], 0, False, False
        with open(os.path.join(self.out, self.name + ".console"), "w", encoding="utf-8") as log:
            for line in process.stdout:
                line = line.decode(errors="replace").rstrip()
                print(line, file=log, flush=True)
                if DOWN.match(line):
                    down = True
                    break
                essas += ESSA.match(line) is not None
                if loaded and not OWN.match(line):
                    work(program, line, problems)
                loaded = loaded or line.startswith(IPL)
        timer.cancel()
        cpu = cpu_seconds(process)
        process.kill()
        process.wait()
        RUNNING.discard(process)
        if not down:
            problems.append(f"did not shut down within {self.timeout} seconds")
        if program.plan != program.points or not program.points:
            problems.append(f"{program.points} of {program.plan} tests")
        self.tap.point(essas == 2, f"{self.name}: ESSA is tried before the kernel is unpacked, and to see if it is there, and never again",
                       [f"{essas} operation exceptions"] if essas != 2 else [])
        problems += filter(None, [fsck(disk)])
        self.tap.point(not problems, f"{self.name}: no warning, clean end and file system", problems)
        self.tap.note(f"{self.name}: {time.time() - start:.0f} s, {cpu:.0f} s of processor time")


def inert(program, line, problems):
    """One line of the console: a test point or a note of it; anything else speaks against the guest."""
    if re.match(r"(not )?ok |#|1\.\.", line):
        program.line(line)
    elif line.strip() and not EXPECTED.search(line) and "reboot: Power down" not in line:
        problems.append("console: " + line.strip())


BOOTS = {"hercules": (inert, {"machine": Hercules, "kernel": "hercules"})}
