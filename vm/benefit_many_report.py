#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Tables, goals, comparison and picture from what `vm/benefit-many` recorded.

usage: vm/benefit_many_report.py BENEFIT-MANY.csv      (writes BENEFIT-MANY.txt and a picture beside it)
"""

import csv
import os
import shutil
import statistics
import sys

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot as plt    # noqa: E402
import comparison                       # noqa: E402

MB = 1 << 20
COLOURS = {"nothing": "#8c2d2d", "reporting": "#8f7b52", "balloon": "#6a8caf", "damon": "#9a6fb0", "reclaim": "#c48bb8",
           "volatile": "#1b6ca8", "lazy": "#2d8c5a"}


def load(path):
    """{(way, times): {what: [a value of each run]}}"""
    data = {}
    with open(path, encoding="ascii", newline="") as f:
        for row in csv.DictReader(f):
            data.setdefault((row["way"], float(row["times"])), {}).setdefault(row["what"], []).append(float(row["value"]))
    return data


class Report:
    def __init__(self, data, about):
        self.data, self.about, self.lines = data, about, []
        self.ways = list(dict.fromkeys(way for way, _ in data))
        self.times = sorted({times for _, times in data})

    def say(self, text=""):
        self.lines.append(text)

    def goal(self, ok, text):
        self.say(f"  {'met   ' if ok else 'MISSED'}  {text}")

    def mid(self, way, times, what):
        return statistics.median(self.data[way, times][what])

    def cell(self, way, times, what, unit, digits):
        values = self.data[way, times].get(what)
        return comparison.spread(values, unit, digits) if values else "-"

    def work(self, way, times):
        """Requests, as a share of those of a host that has enough memory and knows nothing"""
        return self.mid(way, times, "requests") / self.mid("nothing", self.times[0], "requests")

    def table(self, times):
        columns = [("requests", "requests", 1, 0), ("median ms", "p50_us", 1e3, 2), ("99 % ms", "p99_us", 1e3, 1),
                   ("swapped out", "swapped_out", MB, 0), ("swapped in", "swapped_in", MB, 0), ("host faults", "major_faults", 1, 0),
                   ("guests read", "read", MB, 0), ("idle cache in swap", "idle_cache_swapped", MB, 1), ("processor s", "cpu_seconds", 1, 0),
                   ("first: out", "step_swapped_out", MB, 0)]
        self.say(f"Guests have {times:g} times the memory that the host has for them")
        self.say(f"  {'':10}" + "".join(f"{head:>{max(14, len(head) + 2)}}" for head, *_ in columns))
        for way in self.ways:
            if (way, times) in self.data:
                self.say(f"  {way:10}" + "".join(f"{self.cell(way, times, *rest):>{max(14, len(head) + 2)}}" for head, *rest in columns))
        self.say()

    def goals(self):
        hinted = [way for way in ("volatile", "lazy") if way in self.ways]
        for way in hinted:
            swapped = max(self.mid(way, t, "idle_cache_swapped") for t in self.times)
            self.goal(swapped == 0, f"{way}: no idle cache of guests is swapped out by the host; {swapped / MB:.1f} MB")
            if 3 in self.times:
                for other, wanted in (("nothing", 2), ("balloon", 1.3)):
                    if other in self.ways:
                        ratio = self.mid(way, 3, "requests") / self.mid(other, 3, "requests")
                        self.goal(ratio >= wanted, f"{way}: at 3 times, {wanted} times the work of '{other}'; {ratio:.2f}")
            if 1 in self.times and "nothing" in self.ways:
                ratio = self.mid(way, 1, "requests") / self.mid("nothing", 1, "requests")
                self.goal(ratio >= 0.98, f"{way}: at 1 times, not worse off than with 'nothing'; {ratio:.2f}")
        self.say()

    def tables(self):
        some = next(iter(self.data.values()))
        self.say(f"Medians of {len(some['requests'])} runs; ± is half of the distance between the least and the most. Amounts in MB.")
        for way in self.ways:
            self.say(f"  {way:10}{self.about.get(way, '')}")
        self.say()
        for times in self.times:
            self.table(times)
        self.say("  (first: out is what is swapped out when the group gets its limit, before requests come again)")
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
                    moved.append(f"  {key[0]}, {key[1]:g} times, {what}: {change}")
        self.say(f"Against the last record: {len(moved) or 'nothing'} moved by more than the spread")
        for line in moved:
            self.say(line)

    def draw(self, stem):
        plt.rcParams["svg.hashsalt"] = "page-hinting"           # the same data give the same file
        fig, (work, swapped) = plt.subplots(1, 2, figsize=(11, 4.3))
        for way in self.ways:
            times = [t for t in self.times if (way, t) in self.data]
            look = {"color": COLOURS[way], "marker": "o", "ms": 4, "label": way, "lw": 2.2 if way in ("volatile", "lazy") else 1.2}
            work.plot(times, [100 * self.work(way, t) for t in times], **look)
            swapped.plot(times, [(self.mid(way, t, "swapped_out") + self.mid(way, t, "swapped_in")
                                  + self.mid(way, t, "step_swapped_out")) / MB for t in times], **look)
        work.set(title="Requests served, % of those with enough memory", ylim=(0, None))
        swapped.set(title="Swapped by the host, out and in (MB)")
        for axis in work, swapped:
            axis.set_xlabel("memory of all guests, in terms of what the host has for them")
            axis.set_xticks(self.times, [f"{t:g}" for t in self.times])
            axis.grid(axis="y", lw=0.3)
            axis.legend(frameon=False, fontsize=8)
        comparison.save(fig, stem)


def report(path, about, old):
    """Print and write all that the data in `path` give."""
    r = Report(load(path), about)
    if not r.data:
        return
    r.tables()
    if os.path.exists(old):
        r.compare(load(old))
    stem = path.removesuffix(".csv")
    if ("nothing", r.times[0]) in r.data:
        r.draw(stem)
    text = "\n".join(r.lines) + "\n"
    print(text, end="")
    with open(stem + ".txt", "w", encoding="utf-8") as f:
        f.write(text)


def keep(path, results):
    """Make a run the record."""
    stem = path.removesuffix(".csv")
    for suffix in (".csv", ".txt", ".svg", ".png"):
        shutil.copy(stem + suffix, results)


if __name__ == "__main__":
    report(os.path.abspath(sys.argv[1]), {}, "")
