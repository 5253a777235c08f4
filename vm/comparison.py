# SPDX-License-Identifier: GPL-2.0
"""What the programs that compare ways to get memory back have in common: ways without page hinting, spread, pictures."""

import statistics

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot as plt    # noqa: E402

PERIOD = 5                              # seconds: of the clock, and of whoever reclaims in other ways
IDLE = 2 * PERIOD                       # what the clock has not seen used on two visits is idle to it
SINGLE = "page_reporting.page_reporting_order=0"
# however much is free, and without a limit on its time, as that of an emulated processor is not real time
DAMON = {"wmarks_high": 1000, "wmarks_mid": 999, "wmarks_low": 0, "min_age": IDLE * 1000000, "quota_ms": 0, "enabled": "Y"}


def make_group(guest):
    """A control group in the guest, for the work that it does."""
    guest.sh("mkdir /cg; mount -t cgroup2 cg /cg; echo +memory > /cg/cgroup.subtree_control; mkdir /cg/work")


def in_group(command):
    return f"sh -c 'echo 0 > /cg/work/cgroup.procs; {command}' 3>&-"


def background(guest, command):
    guest.sh(f"while :; do {command}; done >/dev/null 2>&1 </dev/null 3>&- &")


def damon(guest):
    for name, value in DAMON.items():
        guest.sh(f"echo {value} > /sys/module/damon_reclaim/parameters/{name}")


def reclaim(guest):
    """A tenth of what the work has in memory, once a period; what cannot be reclaimed stays"""
    background(guest, f"sleep {PERIOD}; echo $(($(cat /cg/work/memory.current) / 10)) > /cg/work/memory.reclaim")


def spread(values, unit, digits):
    """The median, and how far the runs are apart"""
    values = [v / unit for v in values]
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ±{(max(values) - min(values)) / 2:.{digits}f}"


def moved(was, new):
    """By more than their spread, and by more than a little: "1.00 -> 2.00", or None"""
    before, after = statistics.median(was), statistics.median(new)
    if (min(new) > max(was) or max(new) < min(was)) and abs(after - before) > 0.03 * abs(before):
        return f"{before:.2f} -> {after:.2f}"
    return None


def save(fig, stem):
    """The same data give the same files, if svg.hashsalt is set."""
    fig.tight_layout()
    fig.savefig(stem + ".svg", metadata={"Date": None})
    fig.savefig(stem + ".png", dpi=110)
    plt.close(fig)
