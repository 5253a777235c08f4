#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Tables, goals, comparison and picture from what `vm/benefit-many` recorded.

usage: vm/benefit_many_report.py BENEFIT-MANY.csv      (writes BENEFIT-MANY.txt and a picture beside it)
"""

import csv
import os
import statistics
import sys

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot as plt    # noqa: E402
from matplotlib.ticker import LogLocator        # noqa: E402
import comparison                       # noqa: E402

MB = 1 << 20
COLOURS = {"nothing": "#8c2d2d", "reporting-2m": "#b8a878", "reporting": "#8f7b52", "balloon": "#6a8caf", "told": "#4a9aa8", "damon": "#9a6fb0",
           "reclaim": "#c48bb8",
           "volatile": "#1b6ca8", "volatile-2m": "#0c3b66", "fast": "#5fa3d9", "pressure": "#7fb8a0", "lazy": "#2d8c5a"}
OURS = ("volatile", "volatile-2m", "fast", "pressure", "lazy")
PAIRS = ("pair", "pair-2m")             # with and without hints at the same time; not in the picture


def rows(path):
    """Those of a record, if there is one"""
    if not os.path.exists(path):
        return []
    with open(path, encoding="ascii", newline="") as f:
        return list(csv.DictReader(f))


def load(path):
    """{(way, times, iops): {what: [a value of each run]}}"""
    data = {}
    for row in rows(path):
        data.setdefault((row["way"], float(row["times"]), int(row["iops"])), {}).setdefault(row["what"], []).append(float(row["value"]))
    return data


class Report:
    def __init__(self, data, about):
        self.data, self.about, self.lines = data, about, []
        self.ways = sorted({way for way, *_ in data}, key=[*COLOURS, *PAIRS].index)
        self.hosts = sorted({key[1:] for key in data})
        # The disk that most was measured with, and how much memory is short where it was measured with more than one
        self.iops = statistics.mode(iops for _, iops in self.hosts)
        self.times = sorted({times for times, iops in self.hosts if iops == self.iops})
        self.compared = statistics.mode(times for times, _ in self.hosts)
        self.disks = sorted({iops for times, iops in self.hosts if times == self.compared})

    def say(self, text=""):
        self.lines.append(text)

    def goal(self, ok, text):
        self.say(f"  {'met   ' if ok else 'MISSED'}  {text}")

    def mid(self, way, times, what, iops=None):
        return statistics.median(self.data[way, times, iops or self.iops][what])

    def has(self, way, times, iops=None):
        return (way, times, iops or self.iops) in self.data

    def work(self, way, times):
        """Requests, as a share of those of a host that has enough memory and knows nothing"""
        return self.mid(way, times, "requests") / self.mid("nothing", self.times[0], "requests")

    def table(self, times, iops):
        columns = [("requests", "requests", 1, 0), ("median ms", "p50_us", 1e3, 2), ("99 % ms", "p99_us", 1e3, 1),
                   ("swapped out", "swapped_out", MB, 0), ("swapped in", "swapped_in", MB, 0), ("host faults", "major_faults", 1, 0),
                   ("guests read", "read", MB, 0), ("in reads", "reads", 1, 0),
                   ("clean cache in swap", "clean_cache_swapped", MB, 1), ("idle in swap", "idle_cache_swapped", MB, 1),
                   ("made volatile", "hint_volatile", MB, 0), ("taken back", "hint_stable", MB, 0), ("was lost", "hint_lost", MB, 0),
                   ("resident", "resident", MB, 0), ("processor s", "cpu_seconds", 1, 0),
                   ("first: out", "step_swapped_out", MB, 0), ("killed", "killed", 1, 0)]
        self.say(f"Guests have {times:g} times the memory that the host has for them, and its disk does {iops} reads a second")
        self.say(f"  {'':14}" + "".join(f"{head:>{max(14, len(head) + 2)}}" for head, *_ in columns))
        for way in self.ways:
            values = self.data.get((way, times, iops))
            if values:
                self.say(f"  {way:14}" + "".join(
                    f"{comparison.spread(values[what], unit, digits) if what in values else '-':>{max(14, len(head) + 2)}}"
                    for head, what, unit, digits in columns))
        self.say()

    def ratio(self, way, times, other, what, wanted, text):
        if not all(self.has(w, times) and what in self.data[w, times, self.iops] for w in (way, other)):
            self.say(f"  not measured: {way}: at {times} times, {text}")
            return
        ratio = self.mid(way, times, what) / self.mid(other, times, what)
        self.goal(ratio >= wanted, f"{way}: at {times} times, {text}; {ratio:.2f}")

    def goals(self):
        for way in OURS:
            where = [host for host in self.hosts if self.has(way, *host)]
            if not where:
                continue
            swapped = max(max(self.data[way, *host]["idle_cache_swapped"]) for host in where)
            self.goal(swapped == 0, f"{way}: no idle cache of guests is in the host's swap, in any run; {swapped / MB:.1f} MB")
            for other, wanted in (("nothing", 2), ("balloon", 1.3)):
                self.ratio(way, 3, other, "requests", wanted, f"{wanted} times the work of '{other}'")
            self.ratio(way, 1, "nothing", "requests", 0.98, "not worse off than with 'nothing'")
            self.ratio(way, 1, "nothing", "least_requests", 0.98, "neither is the guest that gets the least done")
        for way in PAIRS:
            for values in (self.data[way, *host] for host in self.hosts if self.has(way, *host)):
                ratios = [a / b for a, b in zip(values["requests_hinted"], values["requests_beside"])]
                mid = statistics.median(ratios)
                self.goal(mid >= 0.98, f"{way}: guests with hints get as much done as those beside them; {mid:.3f} "
                          f"({min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} runs)")
        self.say()

    def tables(self):
        runs = sorted({len(values["requests"]) for values in self.data.values()})
        self.say(f"Medians of {' or '.join(map(str, runs))} runs; ± is half of the distance between the least and the most. Amounts in MB.")
        for way in self.ways:
            self.say(f"  {way:14}{self.about.get(way, '')}")
        self.say()
        for host in self.hosts:
            self.table(*host)
        self.say("  (clean cache in swap: what guests have as cache, and could read again, as far as it was there when guests took turns: the")
        self.say("  most of all times; idle: what of that they tell the host; made volatile: in all, of which some was used again before the host")
        self.say("  took it, and some was lost by then; resident: of guests' memory, when all was done, in use or not;")
        self.say("  first: out is what is swapped out when the group gets its limit, before requests come again; killed: how often the kernel")
        self.say("  killed a guest instead of swapping; such a run does not count, and another one was made)")
        self.say()
        self.goals()

    def compare(self, old):
        """What has moved by more than its spread since the last record"""
        moved = []
        for key, values in self.data.items():
            for what, new in values.items():
                was = old.get(key, {}).get(what)
                change = was and comparison.moved(was, new)
                if change:
                    moved.append(f"  {key[0]}, {key[1]:g} times, {key[2]} reads a second, {what}: {change}")
        self.say(f"Against the last record: {len(moved) or 'nothing'} moved by more than the spread")
        for line in moved:
            self.say(line)

    def look(self, way):
        return {"color": COLOURS[way], "marker": "o", "ms": 4, "label": way, "lw": 2.2 if way in OURS else 1.2}

    def draw(self, stem):
        plt.rcParams["svg.hashsalt"] = "page-hinting"           # the same data give the same file
        more = len(self.disks) > 1
        fig, axes = plt.subplots(1, 2 + more, figsize=(11 + 4.5 * more, 4.3))
        for way in (w for w in self.ways if w not in PAIRS):
            times = [t for t in self.times if self.has(way, t)]
            axes[0].plot(times, [100 * self.work(way, t) for t in times], **self.look(way))
            axes[1].plot(times, [(self.mid(way, t, "swapped_out") + self.mid(way, t, "swapped_in")
                                  + self.mid(way, t, "step_swapped_out")) / MB for t in times], **self.look(way))
            disks = [n for n in self.disks if more and self.has(way, self.compared, n) and self.has("nothing", self.compared, n)]
            if disks and way != "nothing":
                axes[2].plot(disks, [self.mid(way, self.compared, "requests", n) / self.mid("nothing", self.compared, "requests", n)
                                     for n in disks], **self.look(way))
        axes[0].set(title="Requests served, % of those with enough memory", ylim=(0, None))
        axes[1].set(title="Swapped by the host, out and in (MB)")
        for axis in axes[:2]:
            axis.set_xlabel("memory of all guests, in terms of what the host has for them")
            axis.set_xticks(self.times, [f"{t:g}" for t in self.times])
        if more:
            axes[2].set(title=f"Requests served at {self.compared:g} times, those of 'nothing' being 1", xscale="log", yscale="log",
                        xlabel="reads that the host's disk does in a second")
            axes[2].set_xticks(self.disks, [str(n) for n in self.disks])
            axes[2].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes[2].yaxis.set_major_formatter("{x:g}")
            axes[2].minorticks_off()
        for axis in axes:
            axis.grid(axis="y", lw=0.3)
            axis.legend(frameon=False, fontsize=8)
        comparison.save(fig, stem)


def report(path, about, old=""):
    """Print and write all that the data in `path` give."""
    r = Report(load(path), about)
    if not r.data:
        return
    r.tables()
    recorded = load(old)
    if recorded:
        r.compare(recorded)
    stem = path.removesuffix(".csv")
    if r.has("nothing", 1):         # all else is drawn in terms of that
        r.draw(stem)
    text = "\n".join(r.lines) + "\n"
    print(text, end="")
    with open(stem + ".txt", "w", encoding="utf-8") as f:
        f.write(text)


if __name__ == "__main__":
    report(os.path.abspath(sys.argv[1]), {})
