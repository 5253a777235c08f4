#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What a large host would gain: a model of one page, on what `vm/benefit` recorded.

usage: vm/benefit_scale.py [--data BENEFIT.csv] [--out DIR] [NAME=VALUE]...      (default: results/)

Each assumption can be given another value; they are printed with the result. What a guest's memory consists of is
measured (phase "work" of the way "nothing"), everything else is an assumption: this is arithmetic, not a measurement.
Writes scale.txt and scale.svg to DIR.
"""

import argparse
import os
import sys

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot as plt    # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from benefit_report import load         # noqa: E402
from statistics import median           # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ASSUMPTIONS = {
    "host_gb": (1024, "memory of the host for guests, GB"),
    "guests": (200, "number of guests"),
    "guest_gb": (8, "memory of each, GB, all of which it has touched once"),
    "again": (0.1, "share of what was taken that is wanted again within an hour"),
    "guest_kb": (128, "KB read at once by a guest that reads again (its readahead)"),
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
        return paged, cache + back, requests * self.v["latency_ms"] / 1000 / max(self.v["guests"], 1)

    def fit(self, *kinds):
        """Guests for which nothing has to be written"""
        keeps = self.v["guest_gb"] * (1 - sum(self.shares[k] for k in kinds))
        return int(self.v["host_gb"] / keeps)


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
        if values[name] <= 0:
            parser.error(f"{name}: must be more than 0")
    measured = {k[1]: median(v) for k, v in load(args.data)["nothing"].items() if k[0] == "work"}
    whole = sum(measured[k] for k in ("kernel", "anonymous", "cache", "free"))
    shares = {k: measured[k] / whole for k in ("kernel", "anonymous", "cache", "free")}

    lines = ["Measured, share of a guest's resident memory after some work and a pause (results/benefit.csv):",
             "  " + ", ".join(f"{k} {100 * s:.0f} %" for k, s in shares.items()), "", "Assumptions:"]
    lines += [f"  {k:12}{values[k]:8g}  {about}" for k, (_, about) in ASSUMPTIONS.items()]
    host = Host(shares, values)
    lines += ["", f"The host is short of {host.short_gb():.0f} GB.", "",
              f"  {'the guests tell':22}{'no I/O up to':>14}{'written, GB':>13}{'read an hour, GB':>18}{'waits, s/guest/hour':>21}"]
    for way, kinds in WAYS.items():
        written, read, waits = host.hour(*kinds)
        about = {"nothing": "nothing", "unused": "what is free", "volatile": "and what is idle cache"}[way]
        lines.append(f"  {about:22}{host.fit(*kinds):7} guests{written:13.0f}{read:18.1f}{waits:21.1f}")
    print("\n".join(lines))
    with open(os.path.join(args.out, "scale.txt"), "w", encoding="ascii") as f:
        f.write("\n".join(lines) + "\n")

    plt.rcParams["svg.hashsalt"] = "page-hinting"       # the same data give the same file
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    for axis, (name, label, points) in zip(axes, (
            ("cache", "share of cache in a guest", [i / 20 for i in range(1, 19)]),
            ("again", "share wanted again within an hour", [i / 20 for i in range(0, 21)]),
            ("guests", "number of guests", range(100, 301, 10)))):
        for way, kinds in WAYS.items():
            y = []
            for x in points:
                if name == "cache":     # at the expense of all else, in proportion
                    rest = (1 - x) / (1 - shares["cache"])
                    h = Host({k: x if k == "cache" else s * rest for k, s in shares.items()}, values)
                else:
                    h = Host(shares, {**values, name: x})
                y.append(h.hour(*kinds)[2])
            axis.plot(points, y, label=way)
        axis.set(xlabel=label, ylabel="seconds waited, per guest and hour")
        axis.set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=8)
    fig.tight_layout()
    fig.savefig(os.path.join(args.out, "scale.svg"), metadata={"Date": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
