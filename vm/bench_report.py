#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Tables, goals, comparison and pictures from what `vm/bench` recorded.

usage: vm/bench_report.py BENCH.csv      (writes BENCH.txt and pictures beside it)
"""

import csv
import os
import shutil
import sys

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot as plt    # noqa: E402

# Beside what each boot is to be seen: the same free page handling, or none, where ESSA makes that a difference.
BESIDE = {"base, no ESSA": None, "base": None, "not built in": "base", "off": "base, no ESSA",
          "unused": "base", "on": "base", "on, host takes": "base"}
# Instructions of a second of a processor, to turn counts into shares of it
SPEED = 2e9
SIZES = {"4 GB": 4 << 18, "64 GB": 64 << 18, "512 GB": 512 << 18}      # in frames
PERIOD = 60
EVERY = 4                       # default of mapped_every
# What does not depend on the symbol
NOT_OURS = {"__machine_kexec": "a fix", "do_discard_exception": "another name of default_trap_handler"}


def load(path):
    """{(part, boot, what): row}"""
    with open(path, encoding="ascii", newline="") as f:
        rows = list(csv.DictReader(f))
    for row in rows:
        for key, value in row.items():
            if key not in ("part", "boot", "what"):
                row[key] = float(value) if value else None
    return {(r["part"], r["boot"], r["what"]): r for r in rows}


def calls_per_unit(row):
    return sum(row[f"calls{i}"] for i in range(1, 8)) / row["units"]


# Virtual CPUs, and what the host does meanwhile
WAITS = {"4 vCPUs": (4, "sweep"), "8 vCPUs": (8, "sweep"), "4 vCPUs, held": (4, "random"), "8 vCPUs, held": (8, "random")}
# MB of the guest
PAGER = {"1 GB": 1 << 10, "4 GB": 4 << 10, "16 GB": 16 << 10}


class Report:
    def __init__(self, data):
        self.data, self.lines, self.good = data, [], True
        self.loops = list(dict.fromkeys(w for p, _, w in data if p == "loops"))
        self.boots = [b for b in BESIDE if any(k[:2] == ("loops", b) for k in data)]
        # Instructions of this architecture's that tell the host; others share an array with it.
        self.essa = "base, no ESSA" in self.boots
        self.beside = dict(BESIDE) if self.essa else dict(BESIDE, off="base")

    def say(self, text=""):
        self.lines.append(text)

    def goal(self, ok, text):
        self.good &= ok
        self.say(f"  {'met   ' if ok else 'MISSED'}  {text}")

    def value(self, boot, what, part="clock"):
        return self.data[part, boot, what]["median"]

    def delta(self, boot, loop, key="smallest"):
        """Change against the boot beside which it is to be seen, in percent"""
        beside = self.data["loops", self.beside[boot], loop][key]
        return 100 * (self.data["loops", boot, loop][key] - beside) / beside

    def table_loops(self):
        self.say("Instructions per unit of work (smallest batch), and change in percent")
        self.say(f"{'':20}" + "".join(f"{b:>20}" for b in self.boots))
        for loop in self.loops:
            cells = ""
            for boot in self.boots:
                n = self.data["loops", boot, loop]["smallest"]
                cells += f"{n:12.1f}" + (f" {self.delta(boot, loop):+6.2f}%" if self.beside[boot] else " " * 8)
            self.say(f"{loop:20}{cells}")
        self.say("(not built in, unused, on: against base; off: against base without ESSA)" if self.essa else "(against base)")
        self.say()
        self.say("ESSAs per unit of work" if self.essa else "Doorbells per unit of work")
        for loop in self.loops:
            cells = "".join(f"{calls_per_unit(self.data['loops', b, loop]):20.4f}" for b in self.boots)
            self.say(f"{loop:20}{cells}")
        self.say()

    def goals_loops(self):
        # "not built in" is the object code of "base", so what they differ by is chance.
        noise = {l: abs(self.delta("not built in", l)) for l in self.loops}
        self.say("By how much two runs of the same code differ (base, not built in): "
                 + (", ".join(f"{l} {n:.2f} %" for l, n in noise.items() if n >= 0.005) or "nowhere"))
        self.say("Goals (a difference between runs of the same code counts for nothing)")
        for boot, limit in (("off", 0.2), ("on", 1), ("on, host takes", 1)):
            if boot in self.boots:
                worst = max(self.loops, key=lambda l: self.delta(boot, l) - noise[l])
                self.goal(self.delta(boot, worst) <= limit + noise[worst] + 0.005,
                          f"{boot}: at most {limit} % more on every loop; most: {worst} {self.delta(boot, worst):+.2f} %")
        more = {l: self.data["loops", "off", l]["smallest"] - self.data["loops", self.beside["off"], l]["smallest"]
                for l in ("read_same_4k", "read_walk_4k")}
        self.goal(max(more.values()) <= 1.005, "off: at most one instruction for a folio looked up; "
                  + ", ".join(f"{l} {n:+.2f}" for l, n in more.items()))
        if not self.essa:
            rings = {b: sum(self.data["loops", b, l]["calls1"] for l in self.loops) for b in self.boots}
            self.goal(not rings["on"], f"on: no doorbell while the host takes nothing; {rings['on']:.0f} in all loops")
            self.say(f"          on, host takes: {rings['on, host takes']:.0f} in all loops")
            return
        for loop in ("read_same_4k", "read_same_64k", "read_walk_4k", "fault_file_around", "fault_file_alone", "fork_exit"):
            row = self.data["loops", "on", loop]
            volatile = (row["calls3"] + row["calls4"]) / row["units"]
            essa, usual = (calls_per_unit(self.data["loops", b, loop]) for b in ("on", "base"))
            # those about free pages vary with what the lists of the CPU hold
            self.goal(volatile < 0.001 and essa <= 1.02 * usual + 0.02,
                      f"on: no volatile page from {loop}, and no more ESSAs than base; {volatile:.4f}, {essa:.4f} ({usual:.4f})")
        n = calls_per_unit(self.data["loops", "on", "anon_64k"])
        self.goal(n <= 0.1, f"on: at most 0.1 ESSA a page in anon_64k; {n:.4f} "
                  f"(base: {calls_per_unit(self.data['loops', 'base', 'anon_64k']):.2f})")

    def shares(self):
        """What the clock takes of a processor, by what memory is full of: {kind: instructions a frame and round}"""
        v = self.value
        mapped = v("kinds", "mapped_hot") + v("kinds", "mapped_hot_fault")
        # s390 learns by a fault that a page is in use, others have a bit for it
        assert not self.essa or v("kinds", "mapped_hot_faults") > 0.9
        return {"free": v("kinds", "pass_of_an_empty_guest") / v("kinds", "frames_free"),
                "anonymous": v("kinds", "anonymous"), "slab": v("kinds", "slab"),
                "idle cache, volatile": v("kinds", "volatile"),
                "cache not eligible": v("kinds", "not_eligible"),
                **({"cache protected": v("kinds", "protected")} if ("clock", "kinds", "protected") in self.data else {}),
                "cache in use by read": v("kinds", "read_cache_hot") + max(0, v("kinds", "read_cache_hot_disarm")),
                "all mapped and in use": mapped / EVERY}

    def table_clock(self):
        self.say("The clock: instructions per frame and round, and share of a processor of 2 G instructions a second")
        self.say(f"with a period of {PERIOD} s, if all memory were of that kind (mapped_every {EVERY}). Each but the first is the difference to")
        self.say("the same guest with these frames free; one below 0 is too small to be measured so.")
        self.say(f"{'':24}{'each':>8}" + "".join(f"{s:>10}" for s in SIZES))
        shares = self.shares()
        for kind, n in shares.items():
            cells = "".join(f"{100 * n * frames / PERIOD / SPEED:9.3f}%" for frames in SIZES.values())
            self.say(f"{kind:24}{n:8.1f}{cells}")
        at64 = {k: 100 * n * SIZES["64 GB"] / PERIOD / SPEED for k, n in shares.items()}
        split = ("clock", "kinds", "split") in self.data
        for what, n in (*((("split", "split"),) if split else ()), ("made volatile", "made_volatile"),
                        ("made volatile, mapped", "mapped_made_volatile"), ("made stable, content kept", "made_stable")):
            self.say(f"{what:24}{self.value('kinds', n):8.1f}  once")
        self.say()
        self.say("Goals")
        idle = ("free", "anonymous", "idle cache, volatile", "cache not eligible", "cache protected")
        self.goal(max(share for kind, share in at64.items() if kind in idle) <= 0.3,
                  "idle guest: at most 0.3 % of a processor at 64 GB")
        self.goal(at64["cache in use by read"] <= 1.5, "cache in use by read: at most 1.5 %")
        self.goal(at64["all mapped and in use"] <= 5, "all mapped and in use: at most 5 %")
        visits = 3 if split else 2
        share = self.value("share", f"share_after_{visits}")
        self.goal(share >= 0.99, f"idle cache is volatile after {visits} visits{', as large folios are split first' if split else ''}: {100 * share:.2f} %")
        self.say()
        self.say("Pages mapped and used by N processes: instructions a page for a visit, faults it causes")
        for n in (1, 4, 16, 64):
            if ("clock", f"sharing {n}", "pass_per_page") in self.data:
                self.say(f"  {n:3}  {self.value(f'sharing {n}', 'pass_per_page'):8.1f}"
                         f"{self.value(f'sharing {n}', 'faults_per_page_and_round'):8.2f}")
        self.say()
        self.say("By order of folio (xfs): instructions a folio to make it volatile, stable, and to visit it while volatile")
        for order in range(6):
            if ("clock", "orders", f"order{order}_folios") in self.data:
                v = [self.value("orders", f"order{order}_{w}") for w in ("made_volatile", "made_stable", "volatile")]
                self.say(f"  {order:3}" + "".join(f"{n:10.1f}" for n in v))
        self.say()

    def table_idle(self):
        self.say("An idle guest, per minute: context switches, interrupts")
        for boot in ("base", "off", "on"):
            self.say(f"  {boot:8}{self.value(boot, 'ctxt_per_minute', 'idle'):10.1f}{self.value(boot, 'intr_per_minute', 'idle'):10.1f}")
        self.say("(A lazy clock runs when something else has woken the guest, so it adds switches, and perhaps a tick.)")
        usual = max(self.value(b, "intr_per_minute", "idle") for b in ("base", "off"))
        more = self.value("on", "intr_per_minute", "idle") - usual
        self.goal(more < 1, f"no wake-up of an idle guest once a pass has found nothing to do: {more:+.1f} interrupts a minute")
        self.say()

    def table_locks(self):
        self.say("Hash locks under the stress test: taken, of these after a wait")
        for boot in ("4 vCPUs", "8 vCPUs"):
            taken, waits = (self.value(boot, "hash_lock_" + w, "locks") for w in ("acquired", "waited"))
            self.say(f"  {boot:8}{taken:10.0f}{waits:10.0f} ({100 * waits / max(taken, 1):.2f} %)")
        self.say()

    def table_waits(self):
        self.say("Who met a folio that the host was just taking, and for how long it waited, under the stress test, on a machine with fewer processors")
        self.say("(held: the host leaves a fifth of them so, until it is asked)")
        self.say(f"  {'':14}{'made stable':>14}{'waits':>10}{'median us':>12}{'99 % us':>12}{'longest us':>12}")
        for boot in WAITS:
            looks, n = (self.value(boot, w, "waits") for w in ("looks", "waits"))
            self.say(f"  {boot:14}{looks:14.0f}{n:10.0f}" + "".join(f"{self.value(boot, w + '_ns', 'waits') / 1e3:12.1f}" for w in ("median", "99 %", "longest")))
        self.say()

    def table_pager(self):
        self.say("The host's pager (in real time): how often it counts what is resident, and stops all vCPUs; how long that takes, and which")
        self.say("share of the time that is")
        self.say(f"{'':32}{'counts/s':>10}{'median ms':>11}{'longest':>9}{'share':>9}{'stops/s':>10}{'median ms':>11}{'longest':>9}{'share':>9}")
        for boot in sorted(dict.fromkeys(b for p, b, _ in self.data if p == "pager"), key=lambda boot: list(PAGER).index(boot.split(",")[0])):
            cells = ""
            for kind in ("look", "wait"):
                often, median, longest, share = (self.value(boot, kind + w, "pager") for w in ("s_per_second", "_median_ns", "_longest_ns", "_share"))
                cells += f"{often:10.1f}{median / 1e6:11.2f}{longest / 1e6:9.1f}{100 * share:7.2f} %"
            self.say(f"{boot:32}{cells}")
        self.say()

    def table_size(self):
        self.say("Size of vmlinux against the base kernel in bytes, and symbols that have grown most (bloat-o-meter)")
        for boot in ("not built in", "built in"):
            rows = {k[2]: r["median"] for k, r in self.data.items() if k[:2] == ("size", boot)}
            sections = ("text", "data", "bss")
            self.say(f"  {boot:14}" + ", ".join(f"{s} {rows[s]:+.0f}" for s in sections))
            if boot == "not built in":
                # The symbol table names initcalls by the number of a line. Where one thing is larger, a section begins on the next page.
                grown = {w.split(" ")[1]: n for w, n in rows.items() if w not in sections and "kallsyms" not in w}
                rest = {w: n for w, n in grown.items() if w not in NOT_OURS and n > 0}
                self.goal(not rest, "not built in: not a byte more, but for the symbol table and "
                          + (", ".join(f"{w} ({NOT_OURS[w]}) {grown[w]:+.0f}" for w in grown if w in NOT_OURS) or "nothing")
                          + "".join(f"; {w} {n:+.0f}" for w, n in rest.items()))
                continue
            for kind in ("new", "changed"):
                grown = sorted(((n, w.split(" ")[1]) for w, n in rows.items() if w.startswith(kind) and n > 0), reverse=True)
                if grown:
                    self.say(f"    {kind}, {len(grown)} symbols, {sum(n for n, _ in grown):.0f}: "
                             + ", ".join(f"{w} {n:.0f}" for n, w in grown[:8]))
        self.say()

    def compare(self, old):
        """What has moved by more than its spread since the last record"""
        moved = []
        for key, row in self.data.items():
            was = old.get(key)
            if not was or not was["median"]:
                continue
            spread = max(row["median"] - row["smallest"], was["median"] - was["smallest"], 0.002 * abs(was["median"]), 0.05)
            if abs(row["median"] - was["median"]) > spread:
                moved.append(f"  {key[0]}, {key[1]}, {key[2]}: {was['median']:.2f} -> {row['median']:.2f}")
        self.say(f"Against the last record: {len(moved) or 'nothing'} moved by more than the spread")
        for line in moved:
            self.say(line)

    def draw(self, stem):
        plt.rcParams["svg.hashsalt"] = "page-hinting"           # the same data give the same file
        if self.boots:
            shown = [b for b in ("off", "unused", "on", "on, host takes") if b in self.boots]
            fig, axis = plt.subplots(figsize=(9, 7))
            for i, boot in enumerate(shown):
                axis.barh([n + 0.2 * i for n in range(len(self.loops))], [self.delta(boot, l) for l in self.loops],
                          height=0.2, label=boot)
            axis.set_yticks([n + 0.3 for n in range(len(self.loops))], self.loops)
            axis.invert_yaxis()
            axis.axvline(1, color="grey", ls=":", lw=1)
            axis.axvline(0, color="black", lw=0.8)
            axis.set_xlabel("instructions more than the base kernel (%); dotted: the goal for \"on\"")
            axis.legend(frameon=False)
            self.save(fig, stem + "-loops")
        if any(k[0] == "clock" for k in self.data):
            fig, (share, idle) = plt.subplots(1, 2, figsize=(11, 4.5))
            gigabytes = [4, 16, 64, 256, 512]
            for kind, n in self.shares().items():
                share.loglog(gigabytes, [100 * n * (g << 18) / PERIOD / SPEED for g in gigabytes], marker="o", ms=3, label=kind)
            share.set_xticks(gigabytes, [str(g) for g in gigabytes])
            share.set_xlabel("GB of memory, all of that kind")
            share.set_ylabel("share of a processor (%)")
            share.set_title(f"The clock at a period of {PERIOD} s")
            share.legend(frameon=False, fontsize=8)
            for n in (1, 2, 4, 8):
                points = [(int(w.rsplit("_", 1)[1]), r["median"]) for (p, b, w), r in self.data.items()
                          if p == "clock" and b == f"mapped {n}" and w.startswith("idle_share_after_")]
                if points:
                    idle.plot(*zip(*sorted(points)), marker="o", ms=3, label=f"mapped, mapped_every {n}")
            points = [(int(w.rsplit("_", 1)[1]), r["median"]) for (p, b, w), r in self.data.items()
                      if p == "clock" and b == "share"]
            idle.plot(*zip(*sorted(points)), color="black", marker="o", ms=3, label="not mapped")
            idle.set_xlabel("visits")
            idle.set_ylabel("share of idle cache that is volatile")
            idle.set_title("From idle to volatile")
            idle.legend(frameon=False, fontsize=8)
            self.save(fig, stem + "-clock")

    @staticmethod
    def save(fig, stem):
        fig.tight_layout()
        fig.savefig(stem + ".svg", metadata={"Date": None})
        plt.close(fig)


def report(path, old):
    """Print and write everything that the data in `path` give. Return: whether all goals were met."""
    r = Report(load(path))
    parts = {k[0] for k in r.data}
    if "loops" in parts:
        r.table_loops()
        r.goals_loops()
        r.say()
    if "clock" in parts:
        r.table_clock()
    if "idle" in parts:
        r.table_idle()
    if "locks" in parts:
        r.table_locks()
    if "waits" in parts:
        r.table_waits()
    if "pager" in parts:
        r.table_pager()
    if "size" in parts:
        r.table_size()
    if os.path.exists(old):
        r.compare(load(old))
    stem = path.removesuffix(".csv")
    r.draw(stem)
    text = "\n".join(r.lines) + "\n"
    print(text, end="")
    with open(stem + ".txt", "w", encoding="ascii") as f:
        f.write(text)
    return r.good


def keep(path, results):
    """Make a run the record."""
    stem = path.removesuffix(".csv")
    for suffix in (".csv", ".txt", "-loops.svg", "-clock.svg"):
        shutil.copy(stem + suffix, results)


if __name__ == "__main__":
    sys.exit(0 if report(os.path.abspath(sys.argv[1]), "") else 1)
