#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Tables, comparison and pictures from what `vm/benefit` recorded.

usage: python3 vm/benefit_report.py DIR      (reads benefit.csv and benefit.json, writes benefit.txt and pictures beside them)
"""

import csv
import json
import os
import shutil
import statistics
import sys

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot as plt    # noqa: E402
import comparison                       # noqa: E402

MB = 1 << 20
PICTURES = ("benefit-resident", "benefit-short")
COLOURS = {"nothing": "#8c2d2d", "unused": "#e08e0b", "reporting": "#b8a88a", "reporting-0": "#8f7b52",
           "balloon": "#6a8caf", "balloon-late": "#a9bcd0", "damon": "#9a6fb0", "reclaim": "#c48bb8", "volatile": "#1b6ca8"}
# what is resident, from the bottom up
KINDS = {"kernel": "#59748c", "anonymous": "#8fa7bd", "cache": "#57a886", "free": "#ece7d8"}


def load(path):
    """{way: {(phase, what): [a value of each run]}}"""
    data = {}
    with open(path, encoding="ascii", newline="") as f:
        for row in csv.DictReader(f):
            data.setdefault(row["way"], {}).setdefault((row["phase"], row["what"]), []).append(float(row["value"]))
    return data


class Report:
    def __init__(self, data, about):
        self.data, self.about, self.lines = data, about, []

    def say(self, text=""):
        self.lines.append(text)

    def mid(self, way, phase, what):
        return statistics.median(self.data[way][phase, what])

    def cell(self, way, phase, what, unit=1, digits=1, only=None):
        values = self.data[way][phase, what]
        return comparison.spread([only(values)] if only else values, unit, digits)

    def periodic(self):
        return list(dict.fromkeys(phase for phase, _ in next(iter(self.data.values())) if phase.startswith("every ")))

    def table(self, title, columns):
        self.say(title)
        self.say(f"  {'':13}" + "".join(f"{head:>17}" for head, *_ in columns))
        for way in self.data:
            self.say(f"  {way:13}" + "".join(f"{self.cell(way, *rest):>17}" for _, *rest in columns))
        self.say()

    def ratios(self, phase):
        """Seconds are those of an emulated machine that does other things, too: only how they compare says something, roughly"""
        if "nothing" in self.data:
            base = self.data["nothing"][phase, "seconds"]
            self.say("  time that it worked, of that of the run of 'nothing' of the same number: "
                     + ", ".join(f"{w} {comparison.spread([n / b for n, b in zip(self.data[w][phase, 'seconds'], base)], 1, 2)}" for w in self.data))
            self.say()

    def tables(self):
        self.say("Median of so many runs: " + ", ".join(f"{w} {len(d['work', 'resident'])}" for w, d in self.data.items()) + ".")
        self.say("± is half of the distance between the least and the most. All amounts in MB.")
        for way in self.data:
            self.say(f"  {way:13}{self.about.get(way, '')}")
        self.say()
        self.table("After the work and a pause, resident on the host:",
                   [("all", "work", "resident", MB), ("kernel", "work", "kernel", MB), ("anonymous", "work", "anonymous", MB),
                    ("cache", "work", "cache", MB), ("free", "work", "free", MB),
                    ("may be taken", "work", "may_be_taken", MB)])
        self.say("  (anonymous: nearly all of it is the database in tmpfs; cache: without what the host has taken already;")
        self.say("  may be taken: of cache and free, without I/O, whenever the host wants to)")
        self.say()
        self.table("The work until then:",
                   [("guest has cached", "work", "cached", MB), ("read from disk", "work", "read", MB),
                    ("processor s", "work", "cpu_seconds")])
        self.ratios("work")
        self.table("The host becomes short of memory:",
                   [("paged out", "short", "paged_out", MB), ("volatile taken", "short", "volatile_taken", MB),
                    ("unused taken", "short", "unused_taken", MB), ("limit met", "short", "met", 1, 0), ("after s", "short", "delay", 1, 2),
                    ("resident after", "short", "resident", MB), ("processor s", "short", "cpu_seconds", 1, 2)])
        self.table("The guest works again with some of it:",
                   [("paged in by host", "again", "paged_in", MB), ("paged out", "again", "paged_out", MB),
                    ("read from disk", "again", "read", MB), ("requests", "again", "requests", 1, 0), ("major faults", "again", "major_faults", 1, 0),
                    ("processor s", "again", "cpu_seconds")])
        self.ratios("again")
        for phase in self.periodic():
            self.table(f"It does so {phase}, just when all of it is idle again:",
                       [("paged in by host", phase, "paged_in", MB), ("paged out", phase, "paged_out", MB),
                        ("read from disk", phase, "read", MB), ("at most", phase, "read", MB, 1, max), ("lost", phase, "lost", MB),
                        ("refaults", phase, "refaults", MB), ("processor s", phase, "cpu_seconds")])
            self.ratios(phase)

    def compare(self, old):
        """What has moved by more than its spread since the last record"""
        moved = []
        for way, values in self.data.items():
            for key, new in values.items():
                was = old.get(way, {}).get(key)
                change = was and comparison.moved(was, new)
                if change:
                    moved.append(f"  {way}, {key[0]}, {key[1]}: {change}")
        self.say(f"Against the last record: {len(moved) or 'nothing'} moved by more than the spread")
        for line in moved:
            self.say(line)

    def draw_resident(self, recorded, out):
        fig, axis = plt.subplots(figsize=(9, 4.6))
        runs = recorded["runs"]
        # each way takes its own time, so phases are stretched to those of the first one
        first = next(iter(runs.values()))["phases"]
        for way, run in runs.items():
            points = []
            for t, resident in run["samples"]:
                i = max((i for i, p in enumerate(run["phases"]) if p[0] <= t), default=0)
                if i + 1 >= len(run["phases"]):
                    break
                start, end = run["phases"][i][0], run["phases"][i + 1][0]
                points.append((first[i][0] + (t - start) / max(end - start, 0.1) * (first[i + 1][0] - first[i][0]), resident / MB))
            axis.plot(*zip(*points), color=COLOURS[way], lw=2.2 if way == "volatile" else 1.2, label=way)
        for t, name in first[:-1]:
            axis.axvline(t, color="grey", lw=0.5)
            axis.annotate(" " + name, (t, 1), xycoords=("data", "axes fraction"), rotation=45, va="bottom", fontsize=7,
                          color="grey", annotation_clip=False)
        axis.set(xlim=(0, first[-1][0]), ylim=(0, recorded["memory"]), ylabel="guest memory resident on the host (MB)",
                 xlabel="progress of the work (phases stretched to the same length)")
        axis.set_xticks([])
        axis.grid(axis="y", lw=0.3)
        axis.legend(frameon=False, fontsize=8, ncol=2, loc="lower center")
        comparison.save(fig, os.path.join(out, "benefit-resident"))

    def draw_short(self, recorded, out):
        fig, axes = plt.subplots(1, 3, figsize=(13, 4.2), sharey=True)
        ways = list(self.data)
        self.bars(axes[0], ways, [(kind, colour, [("work", kind)]) for kind, colour in KINDS.items()])
        ends = [sum(self.mid(w, "work", kind) for kind in KINDS) / MB for w in ways]
        taken = [self.mid(w, "work", "may_be_taken") / MB for w in ways]
        some = [i for i, t in enumerate(taken) if t]
        axes[0].barh([ways[i] for i in some], [taken[i] for i in some], left=[ends[i] - taken[i] for i in some], fill=False,
                     hatch="///", edgecolor="#b03030", lw=1, label="the host may take it without I/O")
        axes[0].set(title="Resident after work and a pause (MB)", xlim=(0, recorded["memory"] * 1.02))
        io = [("host: out", "#8c2d2d", "paged_out"), ("host: in", "#e08e0b", "paged_in"), ("guest reads again", "#1b6ca8", "read")]
        for axis, title, phases in ((axes[1], f"I/O: {recorded['limit']} MB may be resident, and work again (MB)", ("short", "again")),
                                    (axes[2], "I/O: work again and again, just when all has become idle (MB)", self.periodic())):
            self.bars(axis, ways, [(label, colour, [(phase, what) for phase in phases]) for label, colour, what in io])
            axis.set(title=title)
        for axis in axes:
            axis.title.set_size(9)
            axis.legend(frameon=False, fontsize=8, ncol=3, loc="upper center", bbox_to_anchor=(0.5, -0.08))
        axes[2].sharex(axes[1])                 # or they could not be compared
        axes[1].set_xlim(0, 1.05 * max(bar.get_x() + bar.get_width() for axis in axes[1:] for bar in axis.patches))
        axes[0].invert_yaxis()
        comparison.save(fig, os.path.join(out, "benefit-short"))

    def bars(self, axis, ways, kinds):
        """A bar for each way, of parts (label, colour, [(phase, what)]) in MB"""
        start = [0] * len(ways)
        for label, colour, terms in kinds:
            values = [sum(self.mid(w, *t) for t in terms) / MB for w in ways]
            axis.barh(ways, values, left=start, color=colour, label=label)
            start = [a + b for a, b in zip(start, values)]


def report(out, old):
    """Print and write all that the data in `out` give."""
    with open(os.path.join(out, "benefit.json"), encoding="ascii") as f:
        recorded = json.load(f)
    r = Report(load(os.path.join(out, "benefit.csv")), recorded["about"])
    r.tables()
    if os.path.exists(old):
        r.compare(load(old))
    plt.rcParams["svg.hashsalt"] = "page-hinting"               # the same data give the same file
    r.draw_resident(recorded, out)
    r.draw_short(recorded, out)
    text = "\n".join(r.lines) + "\n"
    print(text, end="")
    with open(os.path.join(out, "benefit.txt"), "w", encoding="utf-8") as f:
        f.write(text)


def keep(out, results):
    """Make a run the record."""
    for name in ("benefit.csv", "benefit.json", "benefit.txt", *(p + e for p in PICTURES for e in (".svg", ".png"))):
        shutil.copy(os.path.join(out, name), os.path.join(results, name))


if __name__ == "__main__":
    report(sys.argv[1], "")
