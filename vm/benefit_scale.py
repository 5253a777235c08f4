#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What a large host would gain: a model of one page, on what `vm/benefit` recorded.

usage: vm/benefit_scale.py [--data BENEFIT.csv] [--out DIR] [NAME=VALUE]...      (default: results/)

Each assumption can be given another value; they are printed with the result. What a guest's memory consists of, and how
much the guest reads at once when it reads again, is measured, in a small guest; everything else is an assumption: this is
arithmetic, not a measurement. It leaves out what speaks for hints: that a host reads free pages back when the guest
uses them again, and writes again what it pages out more than once. And what speaks against: a host that picks among
everything finds colder pages than one that picks among idle cache.
Writes scale.txt and scale.svg to DIR.
"""

import argparse
import math
import os
import sys
from statistics import median

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot as plt    # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from benefit_report import load         # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ASSUMPTIONS = {
    "host_gb": (1024, "memory of the host for guests, GB"),
    "guests": (200, "number of guests"),
    "guest_gb": (8, "memory of each, GB, all of which it has touched once"),
    "again": (0.1, "share of what was taken that is wanted again within an hour"),
    "host_kb": (32, "KB read at once by a host that pages in (a cluster of 8 pages)"),
    "host_ms": (0.5, "time of one such read, ms"),
    "guest_ms": (0.5, "time of a read by a guest, ms"),
}
MEASURED = {
    "cache": "idle cache, as a share of a guest's resident memory",
    "free": "free memory, as a share of that",
    "guest_kb": "KB read at once by a guest that reads again",
}


class Host:
    """What must be taken, of what, and what comes back"""

    def __init__(self, values):
        self.v = values

    def short_gb(self):
        return max(0, self.v["guests"] * self.v["guest_gb"] - self.v["host_gb"])

    def take(self, *free_of_charge):
        """(GB taken without I/O by kind, GB paged out), in the order given, then whatever there is"""
        left, taken = self.short_gb(), {}
        for kind in free_of_charge:
            taken[kind] = min(left, self.v[kind] * self.v["guests"] * self.v["guest_gb"])
            left -= taken[kind]
        return taken, left

    def hour(self, *kinds):
        """(GB written at first, GB read per hour, guest-seconds of waiting per guest and hour)"""
        taken, paged = self.take(*kinds)
        # what is free is not wanted again with its content
        cache = taken.get("cache", 0) * self.v["again"]
        back = paged * self.v["again"] * (1 - (0 if "free" in kinds else self.v["free"]))
        waits = cache * (1 << 20) / self.v["guest_kb"] * self.v["guest_ms"] + back * (1 << 20) / self.v["host_kb"] * self.v["host_ms"]
        return paged, cache + back, waits / 1000 / self.v["guests"]

    def fit(self, *kinds):
        """Guests for which nothing has to be written"""
        keeps = self.v["guest_gb"] * (1 - sum(self.v[k] for k in kinds))
        return math.floor(self.v["host_gb"] / keeps)


WAYS = {"nothing": (), "unused": ("free",), "volatile": ("free", "cache")}


def main():
    parser = argparse.ArgumentParser(description="what a large host would gain")
    parser.add_argument("--data", default=os.path.join(TOP, "results", "benefit.csv"))
    parser.add_argument("--out", default=os.path.join(TOP, "results"))
    parser.add_argument("assumption", nargs="*", metavar="NAME=VALUE", help="one of: " + " ".join([*ASSUMPTIONS, *MEASURED]))
    args = parser.parse_args()
    try:
        data = load(args.data)
    except OSError as e:
        parser.error(str(e))
    if "volatile" not in data:
        parser.error(f"{args.data} has nothing about guests with volatile pages")
    measured = {k: median(v) for k, v in data["volatile"].items()}
    whole = sum(measured["work", k] for k in ("kernel", "anonymous", "cache", "free"))
    values = {k: v for k, (v, _) in ASSUMPTIONS.items()}
    values.update(cache=(measured["work", "may_be_taken"] - measured["work", "free"]) / whole, free=measured["work", "free"] / whole,
                  guest_kb=measured["again", "read"] / measured["again", "requests"] / 1024)
    found = dict(values)
    for a in args.assumption:
        name, _, value = a.partition("=")
        if name not in values:
            parser.error(f"no assumption '{name}'")
        try:
            values[name] = float(value)
        except ValueError:
            parser.error(f"{name}: '{value}' is no number")
        share = name in ("again", "cache", "free")
        if not 0 <= values[name] < math.inf or (values[name] == 0 and not share) or (share and values[name] > 1):
            parser.error(f"{name}: {value} makes no sense")
    if values["cache"] + values["free"] >= 1:
        parser.error("cache and free are all there is, which makes no sense")

    lines = ["Measured, of a guest after some work and a pause (results/benefit.csv), if not said otherwise:"]
    lines += [f"  {k:12}{values[k]:8.3g}  {about}" + ("" if values[k] == found[k] else f" (measured: {found[k]:.3g})") for k, about in MEASURED.items()]
    lines += ["", "Assumptions:"]
    lines += [f"  {k:12}{values[k]:8g}  {about}" for k, (_, about) in ASSUMPTIONS.items()]
    host = Host(values)
    lines += ["", f"The host is short of {host.short_gb():.0f} GB.", "",
              f"  {'the guests tell':22}{'none written up to':>20}{'written, GB':>13}{'read an hour, GB':>18}{'waits, s/guest/hour':>21}"]
    for way, kinds in WAYS.items():
        written, read, waits = host.hour(*kinds)
        about = {"nothing": "nothing", "unused": "what is free", "volatile": "and what is idle cache"}[way]
        lines.append(f"  {about:22}{host.fit(*kinds):13} guests{written:13.0f}{read:18.1f}{waits:21.1f}")
    print("\n".join(lines))
    with open(os.path.join(args.out, "scale.txt"), "w", encoding="ascii") as f:
        f.write("\n".join(lines) + "\n")

    plt.rcParams["svg.hashsalt"] = "page-hinting"       # the same data give the same file
    fig, axes = plt.subplots(2, 3, figsize=(11, 6.4))
    axes = axes.flat
    many = values["guests"]
    for axis, name, what, label, unit, points in (
            (axes[0], "guests", 0, "number of guests", "GB written by the host", [many * i / 20 for i in range(8, 33)]),
            (axes[1], "again", 1, "share wanted again within an hour", "GB read in an hour", [i / 20 for i in range(0, 21)]),
            (axes[2], "cache", 0, "share of idle cache", "GB written by the host", [i / 40 for i in range(0, 35)]),
            (axes[3], "guest_kb", 2, "KB read at once by the guest", "seconds waited, a guest and hour", [4, 8, 16, 24, 32, 64, 128]),
            (axes[4], "host_ms", 2, "ms that a read by the host takes", "seconds waited, a guest and hour", [i / 10 for i in range(1, 51)]),
            (axes[5], "guest_ms", 2, "ms that a read by a guest takes", "seconds waited, a guest and hour", [i / 10 for i in range(1, 51)])):
        for way, kinds in WAYS.items():
            axis.plot(points, [Host({**values, name: x}).hour(*kinds)[what] for x in points if x + values["free"] < 1 or name != "cache"],
                      label=way)
        axis.axvline(values[name], color="grey", ls=":", lw=1)
        axis.set(xlabel=label, ylabel=unit)
        axis.set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=8)
    fig.tight_layout()
    fig.savefig(os.path.join(args.out, "scale.svg"), metadata={"Date": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
