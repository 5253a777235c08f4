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
# page states from the bottom up: field, label, colour
STATES = [("stable", "stable", "#59748c"), ("volatile", "volatile", "#8fc1a9"),
          ("unused", "unused", "#e9e3cf")]


def main(argv):
    path = argv[0]
    with open(path, encoding="ascii") as f:
        runs = json.load(f)["runs"]
    on = runs["on"]
    plt.rcParams["svg.hashsalt"] = "page-hinting"       # the same data give the same file
    fig, (top, steps, states) = plt.subplots(3, 1, figsize=(9, 11))

    for mode, run in runs.items():
        top.plot([s["t"] for s in run["samples"]], [s["rss"] / MB for s in run["samples"]],
                 color=COLOURS[mode], label=LABELS[mode], lw=2 if mode == "on" else 1.2)
    top.set_ylabel("guest memory resident (MB)")
    top.set_title("Guest memory resident on the host over time")
    top.legend(loc="lower right", frameon=False)

    for mode, run in runs.items():
        steps.plot([s["limit"] / MB or run["memory"] / MB for s in run["squeeze"]],
                   [s["rss"] / MB for s in run["squeeze"]],
                   color=COLOURS[mode], marker="o", label=LABELS[mode])
    limits = [s["limit"] / MB or on["memory"] / MB for s in on["squeeze"]]
    steps.plot(limits, limits, color="grey", ls=":", lw=1, label="the limit itself")
    steps.invert_xaxis()
    steps.set_xlabel("limit that the host sets (MB)")
    steps.set_ylabel("resident (MB)")
    steps.set_title("The host takes memory while all vCPUs are stopped")
    steps.legend(loc="lower left", frameon=False)

    t = [s["t"] for s in on["samples"]]
    pages = on["memory"] / 4096
    states.stackplot(t, [[100 * s[k] / pages for s in on["samples"]] for k, _, _ in STATES],
                     labels=[label for _, label, _ in STATES], colors=[c for _, _, c in STATES])
    states.plot(t, [100 * (s["stable"] + s["volatile_dropped"]) / pages for s in on["samples"]],
                color="black", lw=1, ls="--", label="volatile: discarded, below this line")
    states.set_ylabel("share of the guest's pages (%)")
    states.set_xlabel("seconds")
    states.set_ylim(0, 100)
    states.set_title("Page states, hinting on")
    states.legend(loc="upper right", frameon=True)

    for ax in (top, states):
        ax.set_xlim(left=0)
        for p in on["phases"]:
            ax.axvline(p["t"], color="grey", lw=0.6)
            ax.annotate(p["name"], (p["t"], 1), xycoords=("data", "axes fraction"), rotation=90,
                        va="top", ha="right", fontsize=7, color="grey")
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
