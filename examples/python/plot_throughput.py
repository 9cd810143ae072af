#!/usr/bin/env python3
"""Draws what examples/c/throughput measured: requests a second and the 95th percentile of latency over the number of
threads, one line for each mode (memory, batching on or off; and the engine, where a file names one).

    plot_throughput.py OUT.png FILE.csv [FILE.csv …]

Needs matplotlib.
"""

import csv
import sys
from collections import defaultdict

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of backend)


def read(paths):
    """(threads, requests/s, p95 in ms) of each mode, by threads."""
    modes = defaultdict(list)
    for path in paths:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                mode = f"{row.get('engine', 'planrt')}, {row['memory']} memory, batching {row['batching']}"
                point = int(row["threads"]), float(row["requests_per_second"]), float(row["p95_us"]) / 1000
                modes[mode].append(point)
    return {mode: sorted(points) for mode, points in sorted(modes.items(), reverse=True)}


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    modes = read(sys.argv[2:])
    threads = sorted({point[0] for points in modes.values() for point in points})
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for axis, column, title in [(axes[0], 1, "requests a second"), (axes[1], 2, "latency, 95th percentile (ms)")]:
        for mode, points in modes.items():
            style = "--" if "off" in mode else "-"
            axis.plot([p[0] for p in points], [p[column] for p in points], style, marker="o", markersize=4, label=mode)
        axis.set_xscale("log", base=2)
        axis.set_xticks(threads, [str(count) for count in threads])
        axis.set_xlabel("threads that ask at once")
        axis.set_title(title)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylim(bottom=0)
    # From a tenth of a millisecond to tens of them.
    axes[1].set_yscale("log")
    axes[1].yaxis.set_major_formatter("{x:g}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(sys.argv[1], dpi=150)


if __name__ == "__main__":
    main()
