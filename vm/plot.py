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
COLOURS = {"on": "#1b6ca8", "unused": "#e08e0b", "off": "#8c2d2d"}
LABELS = {"on": "volatile and unused pages", "unused": "unused pages only", "off": "no hinting"}
# page states from the bottom up: label, colour, value of a sample
STATES = [("stable", "#59748c", lambda s: s["stable"]),
          ("volatile, with content", "#57a886", lambda s: s["volatile"] - s["volatile_dropped"]),
          ("volatile, discarded", "#c4e3d3", lambda s: s["volatile_dropped"]),
          ("unused", "#ece7d8", lambda s: s.get("unused", 0))]


def labels(run):
    """Phases as (time, name); names too close to each other share one label."""
    found = []
    for p in run["phases"]:
        if found and p["t"] - found[-1][0] < run["seconds"] / 50:
            found[-1] = (found[-1][0], found[-1][1] + ", " + p["name"])
        else:
            found.append((p["t"], p["name"]))
    return found


def main(argv):
    path = argv[0]
    with open(path, encoding="ascii") as f:
        recorded = json.load(f)
    runs = recorded["runs"]
    names = dict(LABELS)
    if recorded.get("arch") == "x86_64":
        names.update(on="volatile pages, and free page reporting", off="free page reporting")
    on = runs["on"]
    plt.rcParams["svg.hashsalt"] = "page-hinting"       # the same data give the same file
    fig, (top, steps, states) = plt.subplots(3, 1, figsize=(9, 11))

    for mode, run in runs.items():
        top.plot([s["t"] for s in run["samples"]], [s["rss"] / MB for s in run["samples"]],
                 color=COLOURS[mode], label=names[mode], lw=2 if mode == "on" else 1.2)
    top.set_ylabel("guest memory resident (MB)")
    top.set_title("Guest memory resident on the host over time", pad=56)
    top.legend(loc=(0.18, 0.08), frameon=False)

    for mode, run in runs.items():
        steps.plot([s["limit"] / MB or run["memory"] / MB for s in run["squeeze"]],
                   [s["rss"] / MB for s in run["squeeze"]],
                   color=COLOURS[mode], marker="o", label=names[mode])
    limits = [s["limit"] / MB or on["memory"] / MB for s in on["squeeze"]]
    steps.plot(limits, limits, color="grey", ls=":", lw=1, label="the limit itself")
    steps.invert_xaxis()
    steps.set_xlabel("limit that the host sets (MB)")
    steps.set_ylabel("resident (MB)")
    steps.set_title("The host takes memory while all vCPUs are stopped")
    steps.legend(loc="lower left", frameon=False)

    t = [s["t"] for s in on["samples"]]
    pages = on["memory"] / 4096
    shown = [state for state in STATES if any(state[2](s) for s in on["samples"])] or STATES
    states.stackplot(t, [[100 * value(s) / pages for s in on["samples"]] for _, _, value in shown],
                     labels=[label for label, _, _ in shown], colors=[c for _, c, _ in shown])
    states.set_ylabel("share of the guest's pages (%)")
    states.set_xlabel("seconds")
    states.set_ylim(0, 100)
    states.set_title("Page states, hinting on", pad=56)
    states.legend(loc="upper right", framealpha=0.9)

    for ax in (top, states):
        ax.set_xlim(left=0)
        for t0, name in labels(on):
            ax.axvline(t0, color="grey", lw=0.6)
            ax.annotate(" " + name, (t0, 1), xycoords=("data", "axes fraction"), rotation=60,
                        va="bottom", ha="left", fontsize=7, color="grey", annotation_clip=False)
    for ax in (top, steps):
        ax.set_ylim(bottom=0)
        ax.grid(axis="y", lw=0.3)
    fig.tight_layout()
    base = os.path.splitext(path)[0]
    fig.savefig(base + ".svg", metadata={"Date": None})
    fig.savefig(base + ".png", dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
