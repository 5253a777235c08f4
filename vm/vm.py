# SPDX-License-Identifier: GPL-2.0
"""One guest under QEMU: start it, give it commands, ask its host, judge how it went.

    with Guest(qemu, kernel, initrd, ...) as g:
        g.wait_ready()
        status, text = g.sh("grep volatile /proc/vmstat")
        g.hmp("info registers"), g.qmp("stop"), g.stats()
        g.poweroff()
    problems = g.problems()

Everything is bounded: when `timeout` seconds have passed the guest is made to show where it is, QEMU is
killed, and whoever waits for an answer gets a VmError. QEMU cannot outlive this process either.
"""

import ctypes
import fcntl
import functools
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from machines import ACCEL, MACHINES

# The kernel runs with a log level that lets warnings through and nothing milder, so whatever is on the
# console speaks against it, apart from these. QEMU's emulation calls itself KVM, where volatile pages
# are not safe, and the guest says so, once.
EXPECTED = [
    r"page_hinting: volatile pages are not safe on this host",
    r"reboot: (Power down|System halted)",
    # four vCPUs share two processors: one was not run for long
    r"hrtimer: interrupt took", r"sched: DL replenish lagged too much",
    # lockdep introduces itself
    r"Lock dependency validator: ", r"\.\.\. MAX_LOCKDEP_SUBCLASSES", r"\.\.\. MAX_LOCK_DEPTH",
    r"\.\.\. MAX_LOCKDEP_KEYS", r"\.\.\. MAX_LOCKDEP_ENTRIES", r"\.\.\. MAX_LOCKDEP_CHAINS",
    r"\.\.\. CLASSHASH_SIZE", r"\.\.\. CHAINHASH_SIZE", r"memory used by lock dependency info",
    r"memory used for stack traces", r"per task-struct memory footprint",
]
PANIC = re.compile(r"Kernel panic|Attempted to kill init")

RUNNING = set()         # processes of emulators


class VmError(Exception):
    """The guest or its host did not do what it was told."""


def in_child(cgroups=()):
    """In a child process, before exec: die with the parent, no transparent huge pages, control groups.

    With huge pages the host keeps a page until it has split its neighbourhood, and resident sizes
    tell nothing. Both settings are for this process alone; the machine's stay as they are.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(1, signal.SIGKILL)       # PR_SET_PDEATHSIG
    libc.prctl(41, 1, 0, 0, 0)          # PR_SET_THP_DISABLE
    for cgroup in cgroups:
        with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
            f.write(str(os.getpid()))


def process_stat(process):
    """The fields of /proc/PID/stat that follow the name."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as f:
        return f.read().rpartition(")")[2].split()


def cpu_seconds(process):
    user, system = process_stat(process)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Qmp:
    """QEMU's monitor: one command at a time, from any thread."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("r", encoding="utf-8")
        self.lock = threading.Lock()
        self.events = []
        if "QMP" not in self._read():
            raise VmError("no greeting from QEMU's monitor")
        self.cmd("qmp_capabilities")

    def _read(self):
        line = self.file.readline()
        if not line:
            raise VmError("QEMU has gone")
        return json.loads(line)

    def cmd(self, name, **args):
        """Run a command, return its answer. Raises VmError with QEMU's reason."""
        msg = {"execute": name}
        if args:
            msg["arguments"] = args
        with self.lock:
            try:
                self.sock.sendall(json.dumps(msg).encode() + b"\n")
            except OSError as e:
                raise VmError(f"QEMU has gone: {e}") from e
            while True:
                answer = self._read()
                if "event" in answer:
                    self.events.append(answer)
                elif "error" in answer:
                    raise VmError(f"{name}: {answer['error']['desc']}")
                else:
                    return answer["return"]


def command_line(append="", job="agent"):
    """Of the guest's kernel."""
    return f"quiet loglevel=5 panic=-1 job={job} {append}".strip()


class Guest:
    """A running guest. Console, commands and their output go to files in `logdir`, named `name`."""

    def __init__(self, qemu, kernel, initrd, *, name="guest", memory=512, cpus=2, disks=(),
                 append="", options=(), devices=(), hinting=True, timeout=300, logdir=None, job="agent",
                 interactive=False, allow=(), icount=False, provoked=False, ipl=None, edat=False, arch="s390", cgroups=(),
                 cache="unsafe", dimms=0, sleeps=False, incoming=False):
        """With `icount`, one vCPU, and its clock counts instructions: one a nanosecond.

        `ipl` names a disk to load from; kernel, initrd and command line must be on that.
        With `edat`, the guest can have huge pages, and maps its own memory with them. QEMU joins the `cgroups`, directories.
        `cache` is what QEMU calls so, of the disks, and may be followed by more such options. `dimms`, in MB, may be plugged
        later. One that `sleeps` is commanded by a serial port, as 7.3 forgets in its sleep that the other end of a
        virtio-serial port is open. With `incoming`, QEMU waits to be told where the guest comes from, and to go on then.
        """
        self.name = name
        self.machine = MACHINES[arch]
        self.memory = memory << 20
        self.hinting = hinting
        self.logdir = logdir or tempfile.mkdtemp(prefix="vm-")
        self.console_path = os.path.join(self.logdir, name + ".console")
        self.expected = [re.compile(a) for a in (*EXPECTED, *self.machine.expected)]
        self.allow = [re.compile(a) for a in allow]
        self.errors = []
        self.end_known = False          # how QEMU has ended is among the errors, or we have killed it
        self.final = None               # statistics after the guest has powered down
        self.judged_from = 0            # position in the console
        self.judged_to = None           # all of it
        self.may_panic = False
        self.provoked = provoked        # the guest accesses discarded pages on purpose
        self.refused = False            # the host has not done all that it was told, or the guest did not end here
        self.seed = 0                   # of those that the host uses
        self.tag = 0
        self.lines, self.rest = [], b""
        self.started = time.time()

        mine, theirs = zip(*(socket.socketpair() for _ in range(3)))
        qmp_fd, agent_fd, host_fd = (s.fileno() for s in theirs)
        keys, typed = os.pipe()         # on the console
        self.keys = os.fdopen(typed, "wb", 0)
        if interactive:
            console = "stdio,id=con,mux=on,signal=off,logfile=" + self.console_path
        else:
            console = f"file,id=con,path={self.console_path},input-path=/dev/fd/{keys}"
        cmd = [qemu, "-accel", ACCEL if ACCEL == "kvm" else "tcg,thread=" + ("single" if icount else "multi"),
               "-smp", str(cpus), "-m", f"{memory},slots=2,maxmem={memory + dimms}M" if dimms else str(memory), "-nodefaults", "-display", "none",
               "-no-shutdown", "-no-reboot",
               "-chardev", console,
               *self.machine.arguments(edat, options, hinting, icount),
               "-chardev", f"socket,id=qmp,fd={qmp_fd}", "-mon", "chardev=qmp,mode=control",
               "-device", "virtio-serial-" + self.machine.bus,
               "-chardev", f"socket,id=agent,fd={agent_fd}",
               "-device", "isa-serial,chardev=agent" if sleeps else "virtserialport,chardev=agent,name=agent",
               "-chardev", f"socket,id=host,fd={host_fd}",
               "-device", "virtserialport,chardev=host,name=host"]
        if not ipl:
            cmd += ["-kernel", kernel, "-initrd", initrd, "-append", f"{self.machine.parameters} {command_line(append, job)}".strip()]
        if icount:
            cmd += ["-icount", "shift=0,sleep=off"]
        for disk, path in disks:
            cmd += ["-drive", f"if=none,id={disk},file={path},format=raw,cache={cache}",
                    "-device", f"virtio-blk-{self.machine.bus},drive={disk},serial={disk}" + (",bootindex=1" if disk == ipl else "")]
        if incoming:
            cmd += ["-incoming", "defer", "-S"]
        for device in devices:
            cmd += ["-device", device]

        self.stderr = open(os.path.join(self.logdir, name + ".stderr"), "wb")
        self.log = open(os.path.join(self.logdir, name + ".log"), "wb")
        self.process = subprocess.Popen(
            cmd, stdin=None if interactive else subprocess.DEVNULL, stderr=self.stderr,
            pass_fds=[s.fileno() for s in theirs] + [keys], preexec_fn=functools.partial(in_child, cgroups))
        RUNNING.add(self.process)
        os.close(keys)
        for s in theirs:
            s.close()
        self.timer = threading.Timer(timeout or 0, self._expire, [timeout])
        self.timer.daemon = True
        if timeout:
            self.timer.start()
        self.agent = mine[1]
        try:
            self.monitor = Qmp(mine[0])
        except VmError as e:
            gone = self._gone()
            self.kill()
            raise gone from e
        threading.Thread(target=self._serve, args=[mine[2]], daemon=True).start()

    # --- life ------------------------------------------------------------------------------

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill()

    def _expire(self, timeout):
        self.errors.append(f"killed after {timeout} seconds; stacks: {self.console_path}, registers: {self.log.name}")
        self.judged_to = os.path.getsize(self.console_path)
        # QEMU may hang, too
        looking = threading.Thread(target=self._look_around, daemon=True)
        looking.start()
        looking.join(90)
        self.end_known = True
        self.process.kill()

    def _look_around(self):
        try:
            for _ in range(2):          # does any thread, any CPU get on?
                for task in sorted(os.listdir(f"/proc/{self.process.pid}/task"), key=int):
                    about = []
                    for file in ("comm", "wchan", "schedstat", "stat"):         # schedstat: who starves waits for a processor
                        path = f"/proc/{self.process.pid}/task/{task}/{file}"
                        if os.path.exists(path):
                            with open(path, "rb") as f:
                                about.append(f.read().strip())
                    self.log.write(b"thread " + b" ".join(about) + b"\n")
                self.log.flush()
                self.log.write(self.hmp("info registers -a").encode())
                self.log.flush()
                time.sleep(1)
            self.stacks("wtdml")
        except (VmError, OSError, ValueError):
            pass                        # it has ended meanwhile

    def stacks(self, keys="t"):
        """Have the kernel print the stacks of all its tasks, or whatever these keys of SysRq stand for.

        Programs of the guest need not run for that, but its workqueues must.
        """
        start = size = os.path.getsize(self.console_path)
        for key in "8" + keys + "5":    # whatever its log level, as quiet as before in the end
            self.machine.sysrq(self, key)
            for _ in range(20):
                time.sleep(1)
                size, before = os.path.getsize(self.console_path), size
                if size == before:
                    break
        with open(self.console_path, "rb") as f:
            f.seek(start)
            return f.read(size - start).decode(errors="replace")

    def kill(self):
        """End QEMU, whatever it does. Harmless when it has ended already."""
        self.timer.cancel()
        self._judge_end()
        self.end_known = True
        self.process.kill()
        self.process.wait()
        RUNNING.discard(self.process)
        self.keys.close()

    def _judge_end(self, seconds=0):
        """Remember how QEMU has ended, if it did so by itself and not well."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        if status and not self.end_known:
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            with open(self.stderr.name, errors="replace") as f:
                self.errors.append(f"QEMU ended {how}: {f.read().strip()[-1000:]}")
        self.end_known = True

    def _gone(self):
        """What to raise when QEMU has closed a connection."""
        self._judge_end(30)
        return VmError((self.errors or ["QEMU has gone"])[-1])

    def poweroff(self):
        """Have the guest shut down cleanly, then read its host's final statistics."""
        self._send("umount /mnt/* 2>/dev/null; sync; poweroff -f")
        self.wait_down()

    def _wait_status(self, *wanted):
        while True:
            status = self.qmp("query-status")["status"]
            if status in wanted:
                return status
            if status == "guest-panicked":
                raise VmError(f"{self.name}: the guest has stopped in a panic")
            if self._panicked():
                return "guest-panicked"
            time.sleep(0.2)

    def wait_down(self):
        status = self._wait_status("shutdown", "guest-panicked")
        if status != "shutdown":
            self.errors.append("the guest has panicked")
        self.quit()

    def quit(self):
        """Read the host's final statistics, and end QEMU."""
        if self.hinting:
            self.final = self.stats()
        self.monitor.cmd("quit")
        self.timer.cancel()
        self._judge_end(30)
        if self.process.poll() is None:
            self.errors.append("QEMU was told to end, and does not")

    def leave(self):
        """The guest goes on elsewhere: what is volatile here is so there."""
        self.refused = True
        self.quit()

    def _panicked(self):
        return not self.may_panic and PANIC.search(self.console()) is not None

    def console(self):
        """What has been printed since the last restart()."""
        with open(self.console_path, "rb") as f:
            f.seek(self.judged_from)
            return f.read(None if self.judged_to is None else max(0, self.judged_to - self.judged_from)).decode(errors="replace")

    def warnings(self, text=None):
        """Lines of the console that were not expected; an expected one is so once, an allowed one always."""
        found, seen = [], set()
        for line in (self.console() if text is None else text).splitlines():
            if any(a.search(line) for a in self.allow):
                continue
            expected = next((a for a in self.expected if a.search(line)), None)
            if line.strip() and (expected is None or expected in seen):
                found.append(line.strip())
            seen.add(expected)
        return found

    def problems(self):
        """Everything that speaks against this guest, one line each; empty when all is well."""
        found = list(self.errors)
        warnings = self.warnings()
        found += ["console: " + line for line in warnings[:12]]
        if len(warnings) > 12:
            found.append(f"console: and {len(warnings) - 12} more lines")
        if self.hinting and self.final:
            for key in ("cpu-violations", "dma-violations", "exceptions"):
                if self.final.get(key) and not (self.provoked and key == "exceptions"):
                    found.append(f"host counted {self.final[key]} {key}")
            if self.final["blocks"]["volatile"] and not self.refused:
                found.append(f"{self.final['blocks']['volatile']} pages are volatile after the end")
        if self.hinting and not self.final and not found:
            found.append("no final statistics")
        return found

    # --- guest -----------------------------------------------------------------------------

    def wait_ready(self):
        while self._line() != "::ready":
            pass
        self.boot_seconds = time.time() - self.started

    def restart(self, command, may_panic=False, look=None, watch=None):
        """Give an order that ends this kernel and starts another one, and wait for that. If it is a function, that does it.

        `look` is called when the first one has done all that it will, and the machine is not yet reset; `watch` again and again
        until it has seen enough, or nothing for a minute.
        Returns what was on the console, which is left to the caller to judge.
        """
        self.may_panic = may_panic
        if look:
            self.qmp("set-action", reboot="shutdown")
        if callable(command):
            command()
        else:
            self._send(command)
        end = time.time() + 60
        while watch and not watch() and time.time() < end:
            time.sleep(0.1)
        if look:
            self._wait_status("shutdown")
            look()
            self.reset()
        self.wait_ready()
        self.may_panic = False
        return self.forget_console()

    def reset(self):
        """Have a machine that has ended start again."""
        self.qmp("set-action", reboot="reset")
        self.qmp("system_reset")
        self._wait_status("prelaunch")
        self.qmp("cont")

    def forget_console(self):
        """What has been printed so far; it is left to the caller to judge that."""
        text = self.console()
        self.judged_from = os.path.getsize(self.console_path)
        return text

    def _send(self, command):
        self.tag += 1
        self.log.write(f"$ {command}\n".encode())
        try:
            self.agent.sendall(f"c{self.tag} {command}\n".encode())
        except OSError as e:
            raise VmError(f"{self.name}: the guest is not listening") from e

    def _line(self):
        """The next line that the guest's agent says."""
        self.agent.settimeout(1)
        while not self.lines:
            try:
                data = self.agent.recv(1 << 16)
                if not data:
                    raise self._gone()
                *self.lines, self.rest = (self.rest + data).split(b"\n")
            except socket.timeout:
                if self._panicked():
                    raise VmError(f"{self.name}: the guest has panicked") from None
            except OSError as e:
                raise VmError(f"{self.name}: {e}") from e
        return self.lines.pop(0).decode(errors="replace")

    def sh(self, command, check=True, each=None):
        """Run a line of shell in the guest: (exit status, output). With `check`, failure raises.

        `each` is called with every line of output as it comes.
        """
        self._send(command)
        return self._answer_to(command, check, each)

    def watch(self, command, look):
        """The same, and meanwhile `look` is called again and again: the machine may be asleep, and has to be woken up."""
        self._send(command)
        while not self.lines and not select.select([self.agent], [], [], 0.05)[0]:
            if self._panicked():
                raise VmError(f"{self.name}: the guest has panicked")
            look()
        return self._answer_to(command)

    def _answer_to(self, command, check=True, each=None):
        end = re.compile(rf"(.*)::c{self.tag} (\d+)$")
        text = []
        while True:
            line = self._line()
            if line == "::ready":
                raise VmError(f"{self.name}: with '{command}' the guest has started again")
            m = end.match(line)
            if m:
                line = m[1]
            if line or not m:
                text.append(line)
                self.log.write(line.encode() + b"\n")
                if each:
                    each(line)
                    self.log.flush()
            if m:
                break
        self.log.flush()
        status, text = int(m[2]), "\n".join(text)
        if check and status:
            raise VmError(f"{self.name}: '{command}' ended with status {status}: {text.strip()[-300:]}")
        return status, text

    def out(self, command):
        return self.sh(command)[1].strip()

    def control(self, name, value, check=True):
        """Set a control of page hinting. Those for tests are in debugfs."""
        where = "mm" if name in ("mode", "period_ms") else "debug"
        return self.sh(f"echo {value} >/sys/kernel/{where}/page_hinting/{name}", check)

    def passes(self, n, check=True):
        """Have the clock visit each page so many times, now."""
        for _ in range(n):
            self.control("pass", 1, check)

    def vmstat(self):
        return {k: int(v) for k, v in (line.split() for line in self.out("cat /proc/vmstat").splitlines())}

    # --- host ------------------------------------------------------------------------------

    def qmp(self, name, **args):
        return self.monitor.cmd(name, **args)

    def hmp(self, line):
        return self.monitor.cmd("human-monitor-command", **{"command-line": line})

    def stats(self):
        return self.machine.stats(self)

    def set(self, **args):
        return self.machine.set(self, **{k.replace("_", "-"): v for k, v in args.items()})

    def balloon(self, size, seconds=0):
        """Ask the guest to keep `size` bytes of its memory, and wait that long for it at most."""
        self.qmp("balloon", value=size)
        end = time.time() + seconds
        while time.time() < end and self.qmp("query-balloon")["actual"] != size:
            time.sleep(0.1)

    def discard(self, unused=False, volatile=True, **args):
        return self.machine.discard(self, unused=unused, volatile=volatile, **args)

    def blocks(self, address, count):
        """Runs of pages whose state the host sees as the same."""
        return self.machine.blocks(self, address, count)

    def cpu_seconds(self):
        """What QEMU has used of this machine's processors so far."""
        return cpu_seconds(self.process)

    def major_faults(self):
        """How often QEMU had to wait for this machine to read a page."""
        return int(process_stat(self.process)[9])

    @functools.cached_property
    def ram(self):
        """Where QEMU has the guest's memory."""
        m = re.search(rf"^\s*{self.machine.ram} .*(0x[0-9a-f]+)\s+rw\s*$", self.hmp("info ramblock"), re.M)
        if not m:
            raise VmError(f"no block {self.machine.ram} in 'info ramblock'")
        return int(m[1], 16)

    def resident(self):
        """Bytes of the guest's memory that the kernel of this machine holds, from smaps.

        Of the mapping that holds guest memory only: the process as a whole grows and shrinks for
        reasons of its own, such as the buffer of translated code.
        """
        ram, total = self.ram, 0
        inside = False
        with open(f"/proc/{self.process.pid}/smaps", encoding="ascii", errors="replace") as f:
            for line in f:
                m = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
                if m:
                    start, end = int(m[1], 16), int(m[2], 16)
                    inside = start >= ram and end <= ram + self.memory
                elif inside and line.startswith("Rss:"):
                    total += int(line.split()[1]) * 1024
        return total

    # --- questions from the guest ---------------------------------------------------------------

    def _serve(self, sock):
        """Answer the programs of the guest that write to /dev/host."""
        with sock.makefile("rw", encoding="ascii", errors="replace") as channel:
            try:
                for line in channel:
                    words = line.split()
                    tag = words.pop(0) + " " if line.startswith("#") else ""
                    try:
                        answer = ("ok " + self._answer(words)).strip()
                    except (VmError, ValueError, IndexError) as e:
                        answer = f"error {e}"
                    channel.write(tag + answer.replace("\n", " ") + "\n")
                    channel.flush()
            except OSError:
                pass                    # QEMU has ended

    def _answer(self, words):
        verb, args = words[0], words[1:]
        if verb == "stats":
            return " ".join(f"{k}={v}" for k, v in flatten(self.stats()).items())
        if verb == "discard":
            count = {"count": int(a[6:]) for a in args if a.startswith("count=")}
            classes = {c: c in args for c in ("unused", "volatile")}
            if not any(classes.values()):
                classes["volatile"] = True
            return f"discarded={self.discard(**classes, **count)}"
        if verb == "set":
            pairs = dict(a.split("=", 1) for a in args)
            self.set(**{k: int(v) if v.isdigit() else v for k, v in pairs.items()})
            return ""
        if verb == "blocks":
            runs = self.blocks(int(args[0], 0), int(args[1]) if len(args) > 1 else 1)
            return " ".join(f"{r['count']}x{r['usage']}/{r['content']}" for r in runs)
        raise ValueError(f"unknown word '{verb}'")


def flatten(stats):
    """The host's statistics as one flat dictionary with shell-friendly names."""
    flat = {}
    for key, value in stats.items():
        if key == "blocks":
            flat.update(value)
        elif key == "paging":
            flat.update({"paging-" + k: v for k, v in value.items()})
        elif key == "discards":
            flat.update({"discards-" + k: v for k, v in value.items()})
        elif key == "essa":
            flat.update({f"n{i}": n for i, n in enumerate(value)})
            flat["essa"] = sum(value[1:])       # code 0 only looks
        else:
            flat[key] = int(value) if isinstance(value, bool) else value
    return {k.replace("-", "_"): v for k, v in flat.items()}


def run(cmd, **kwargs):
    """Run a command of this machine, return its output."""
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE, text=True, **kwargs).stdout.strip()


TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def built_by(script, *args, arch="s390"):
    """Path that a script of this repository prints; its progress goes to the terminal."""
    try:
        return run([os.path.join(TOP, script), *args], env={**os.environ, "ARCH": arch})
    except subprocess.CalledProcessError as e:
        raise SystemExit(f"{script} failed with status {e.returncode}") from e


def built(script, *args, arch="s390"):
    return built_by("scripts/" + script, *args, arch=arch)


def of_base(base):
    """What the name of a result ends with, for a kernel that is not the usual one."""
    return "" if base == "7.3" else "-" + base


CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "page-hinting")


def own(path):
    """This directory, made if need be, is this program's until it ends: another one is told so."""
    os.makedirs(path, exist_ok=True)
    try:
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"{path} is in use by another run") from None
    return path


def lock(name):
    """What with_lock of scripts/lib.sh does, until this program ends."""
    os.makedirs(os.path.join(CACHE, "locks"), exist_ok=True)
    file = os.open(os.path.join(CACHE, "locks", name), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for another process that uses {name}", file=sys.stderr)
        fcntl.flock(file, fcntl.LOCK_EX)


def scratch(prefix):
    """A directory for disk images, gone in the end, also when this program is told to stop.

    Not in /tmp, which may be memory. What a killed program leaves goes with "make clean-cache".
    """
    def stop(*_):
        for process in RUNNING:
            process.kill()
        sys.exit("stopped")
    signal.signal(signal.SIGTERM, stop)
    base = os.path.join(CACHE, "scratch")
    os.makedirs(base, exist_ok=True)
    directory = tempfile.TemporaryDirectory(prefix=prefix + "-", dir=base)
    own(directory.name)
    return directory


def copy_image(image, disk):
    """A copy that the guest may write to; a hole stays a hole, and the file system may share blocks."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", image, disk], check=True)


def fsck(disk, checker=("/sbin/e2fsck", "-fn")):
    """What e2fsck, or another checker, has to say against a disk; empty when it is clean."""
    p = subprocess.run([*checker, disk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return f"{os.path.basename(checker[0])}: {p.stdout.strip()[-300:]}" if p.returncode else ""
