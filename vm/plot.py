#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Draw what `vm/run` recorded.   usage: vm/plot.py RUN.json   (writes RUN.svg and RUN.png beside it)"""

import json
import os
import sys

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot as plt    # noqa: E402

MB = 1 << 20
# by architecture and mode: colour, label
LOOKS = {"s390-on": ("#1b6ca8", "s390: volatile and unused pages"), "s390-unused": ("#e08e0b", "s390: unused pages only"),
         "s390-off": ("#8c2d2d", "s390: no hinting"), "x86_64-on": ("#2d8c5a", "x86-64: volatile pages, free page reporting"),
         "x86_64-off": ("#8a6fb0", "x86-64: free page reporting")}
# page states from the bottom up: label, colour, value of a sample
STATES = [("stable", "#59748c", lambda s: s["stable"]),
          ("volatile, with content", "#57a886", lambda s: s["volatile"] - s["volatile_dropped"]),
          ("volatile, discarded", "#c4e3d3", lambda s: s["volatile_dropped"]),
          ("unused", "#ece7d8", lambda s: s.get("unused", 0))]


def phases(run):
    """As (time, name), but for the end; names too close to each other share one label."""
    found = []
    for p in run["phases"][:-1]:
        if found and p["t"] - found[-1][0] < run["seconds"] / 8:
            found[-1] = (found[-1][0], found[-1][1] + ", " + p["name"])
        else:
            found.append((p["t"], p["name"]))
    return found


def draw_steps(ax, runs):
    for name, run in runs.items():
        colour, label = LOOKS[name]
        on = run["mode"] == "on"
        ax.plot([s["limit"] / MB or run["memory"] / MB for s in run["squeeze"]], [s["rss"] / MB for s in run["squeeze"]],
                color=colour, marker="o", label=label, lw=2 if on else 1.2, zorder=3 if on else 2)
    some = next(iter(runs.values()))
    limits = [s["limit"] / MB or some["memory"] / MB for s in some["squeeze"]]
    ax.plot(limits, limits, color="grey", ls=":", lw=1, label="the limit itself")
    ax.invert_xaxis()
    ax.set_ylim(bottom=0)
    ax.grid(axis="y", lw=0.3)
    ax.set_xlabel("limit that the host sets (MB)")
    ax.set_ylabel("guest memory resident (MB)")
    ax.set_title("The host takes memory while all virtual CPUs are stopped")
    ax.legend(loc="lower left", frameon=False, fontsize=8)


def draw_states(ax, name, run):
    """What the guest's pages are over time, and how many of them are resident."""
    t = [s["t"] for s in run["samples"]]
    share = 100 * 4096 / run["memory"]
    shown = [state for state in STATES if any(state[2](s) for s in run["samples"])] or STATES
    ax.stackplot(t, [[share * value(s) for s in run["samples"]] for _, _, value in shown],
                 labels=[label if label != "stable" or len(shown) == len(STATES) else "stable or free" for label, _, _ in shown], colors=[c for _, c, _ in shown])
    ax.plot(t, [100 * s["rss"] / run["memory"] for s in run["samples"]], color="black", lw=1.5, label="resident on the host")
    ax.set_ylabel("share of the guest's memory (%)")
    ax.set_xlabel("seconds")
    ax.set_ylim(0, 100)
    ax.set_xlim(0, run["seconds"])
    ax.set_title(LOOKS[name][1])
    ax.legend(loc="upper right", framealpha=0.9, fontsize=8)
    for t0, phase in phases(run):
        ax.axvline(t0, color="black", lw=0.6, ls=":")
        ax.annotate(" " + phase, (t0, 2), fontsize=8)


def main(argv):
    path = argv[0]
    with open(path, encoding="ascii") as f:
        runs = json.load(f)["runs"]
    runs = {name: runs[name] for name in LOOKS if name in runs}
    on = {name: run for name, run in runs.items() if run["mode"] == "on"}
    plt.rcParams["svg.hashsalt"] = "page-hinting"       # the same data give the same file
    fig, (steps, *states) = plt.subplots(1 + len(on), 1, figsize=(9, 3.7 * (1 + len(on))))
    draw_steps(steps, runs)
    for ax, (name, run) in zip(states, on.items()):
        draw_states(ax, name, run)
    fig.tight_layout()
    base = os.path.splitext(path)[0]
    fig.savefig(base + ".svg", metadata={"Date": None})
    fig.savefig(base + ".png", dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
