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
    "latency_ms": (0.5, "time of one such read, ms"),
}


class Host:
    """What must be taken, of what, and what comes back"""

    def __init__(self, shares, values):
        self.shares, self.v = shares, values

    def short_gb(self):
        return max(0, self.v["guests"] * self.v["guest_gb"] - self.v["host_gb"])

    def take(self, *free_of_charge):
        """(GB taken without I/O by kind, GB paged out), in the order given, then whatever there is"""
        left, taken = self.short_gb(), {}
        for kind in free_of_charge:
            taken[kind] = min(left, self.shares[kind] * self.v["guests"] * self.v["guest_gb"])
            left -= taken[kind]
        return taken, left

    def hour(self, *kinds):
        """(GB written at first, GB read per hour, guest-seconds of waiting per guest and hour)"""
        taken, paged = self.take(*kinds)
        # what is free is not wanted again with its content
        cache = taken.get("cache", 0) * self.v["again"]
        back = paged * self.v["again"] * (1 - (0 if "free" in kinds else self.shares["free"]))
        requests = cache * (1 << 20) / self.v["guest_kb"] + back * (1 << 20) / self.v["host_kb"]
        return paged, cache + back, requests * self.v["latency_ms"] / 1000 / self.v["guests"]

    def fit(self, *kinds):
        """Guests for which nothing has to be written"""
        keeps = self.v["guest_gb"] * (1 - sum(self.shares[k] for k in kinds))
        return math.floor(self.v["host_gb"] / keeps)


WAYS = {"nothing": (), "unused": ("free",), "volatile": ("free", "cache")}


def main():
    parser = argparse.ArgumentParser(description="what a large host would gain")
    parser.add_argument("--data", default=os.path.join(TOP, "results", "benefit.csv"))
    parser.add_argument("--out", default=os.path.join(TOP, "results"))
    parser.add_argument("assumption", nargs="*", metavar="NAME=VALUE", help="one of: " + " ".join(ASSUMPTIONS))
    args = parser.parse_args()
    values = {k: v for k, (v, _) in ASSUMPTIONS.items()}
    for a in args.assumption:
        name, _, value = a.partition("=")
        if name not in values:
            parser.error(f"no assumption '{name}'")
        try:
            values[name] = float(value)
        except ValueError:
            parser.error(f"{name}: '{value}' is no number")
        if not 0 <= values[name] < math.inf or (values[name] == 0 and name != "again") or (name == "again" and values[name] > 1):
            parser.error(f"{name}: {value} makes no sense")
    try:
        data = load(args.data)
    except OSError as e:
        parser.error(str(e))
    if "volatile" not in data:
        parser.error(f"{args.data} has nothing about guests with volatile pages")
    measured = {k: median(v) for k, v in data["volatile"].items()}
    whole = sum(measured["work", k] for k in ("kernel", "anonymous", "cache", "free"))
    idle = measured["work", "may_be_taken"] - measured["work", "free"]
    shares = {"cache": idle / whole, "free": measured["work", "free"] / whole}
    values["guest_kb"] = measured["again", "read"] / measured["again", "requests"] / 1024

    lines = ["Measured, of a guest's resident memory after some work and a pause (results/benefit.csv):",
             f"  idle cache {100 * shares['cache']:.0f} %, free {100 * shares['free']:.0f} %",
             f"Measured, read at once by a guest that reads again: {values['guest_kb']:.0f} KB", "", "Assumptions:"]
    lines += [f"  {k:12}{values[k]:8g}  {about}" for k, (_, about) in ASSUMPTIONS.items()]
    host = Host(shares, values)
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
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    many = values["guests"]
    for axis, name, what, label, unit, points in (
            (axes[0], "guests", 0, "number of guests", "GB written by the host", [many * i / 20 for i in range(8, 33)]),
            (axes[1], "again", 1, "share wanted again within an hour", "GB read in an hour", [i / 20 for i in range(0, 21)]),
            (axes[2], "guest_kb", 2, "KB read at once by the guest", "seconds waited, a guest and hour", [4, 8, 16, 24, 32, 64, 128])):
        for way, kinds in WAYS.items():
            axis.plot(points, [Host(shares, {**values, name: x}).hour(*kinds)[what] for x in points], label=way)
        axis.axvline(values[name], color="grey", ls=":", lw=1)
        axis.set(xlabel=label, ylabel=unit)
        axis.set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=8)
    fig.tight_layout()
    fig.savefig(os.path.join(args.out, "scale.svg"), metadata={"Date": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
