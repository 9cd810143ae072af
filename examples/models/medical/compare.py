#!/usr/bin/env python3
"""The throughput in reports of planrt-convert, as one table in Markdown and one picture.

usage: compare.py OUT.svg REPORT.json... [--engine NAME]...

All engines, or those that are named, in that order.
"""

import argparse
import html
import json
from pathlib import Path

COLOURS = ["#8c959f", "#57606a", "#54aeff", "#0969da", "#8250df", "#bf8700", "#1a7f37", "#cf222e"]


def shown(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def size_of(report):
    return "×".join(map(str, report["model"]["inputs"][0]["shape"][2:]))


def table(reports, engines):
    lines = ["| network | requests at once | " + " | ".join(engines) + " |", "| --- " * (len(engines) + 2) + "|"]
    for report in reports:
        found = {(row["engine"], row["concurrency"]): row for row in report["throughput"]}
        for level in sorted({row["concurrency"] for row in report["throughput"]}):
            cells = []
            for engine in engines:
                row = found.get((engine, level))
                cells.append(f"{shown(row['runs_per_second'])}/s, {shown(row['p50_ms'])} ms" if row else "")
            lines.append(f"| {report['name']}, {size_of(report)} | {level} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(reports, engines):
    """For each network and number of requests a group of bars."""
    shapes, y = [], 0
    for number, engine in enumerate(engines):
        x, line = 10 + 250 * (number % 3), 20 * (number // 3)
        shapes.append(f'<rect x="{x}" y="{line + 6}" width="12" height="12" fill="{COLOURS[number % len(COLOURS)]}"/>')
        shapes.append(f'<text x="{x + 18}" y="{line + 16}">{html.escape(engine)}</text>')
    y = 20 * -(-len(engines) // 3) + 16
    for report in reports:
        rows = sorted((row for row in report["throughput"] if row["engine"] in engines), key=lambda row: engines.index(row["engine"]))
        most = max(row["runs_per_second"] for row in rows)
        shapes.append(f'<text x="10" y="{y + 12}" font-weight="600">{html.escape(report["name"])}, {size_of(report)}</text>')
        y += 20
        for level in sorted({row["concurrency"] for row in rows}):
            shapes.append(f'<text x="10" y="{y + 12}">{level} at once</text>')
            for row in rows:
                if row["concurrency"] == level:
                    width = 480 * row["runs_per_second"] / most
                    colour = COLOURS[engines.index(row["engine"]) % len(COLOURS)]
                    shapes.append(f'<rect x="90" y="{y}" width="{width:.1f}" height="14" fill="{colour}"/>')
                    shapes.append(f'<text x="{96 + width:.1f}" y="{y + 11}">{shown(row["runs_per_second"])}/s, p50 {shown(row["p50_ms"])} ms</text>')
                    y += 17
            y += 6
        y += 8
    style = "text { font: 12px system-ui, sans-serif; fill: #1b1f24 }"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {y}" width="760" height="{y}"><style>{style}</style>'
        f'<rect width="760" height="{y}" fill="#fff"/>{"".join(shapes)}</svg>\n'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", metavar="OUT.svg")
    parser.add_argument("reports", metavar="REPORT.json", nargs="+")
    parser.add_argument("--engine", action="append")
    arguments = parser.parse_args()
    reports = [json.loads(Path(path).read_text()) for path in arguments.reports]
    engines = arguments.engine or list(dict.fromkeys(row["engine"] for report in reports for row in report["throughput"]))
    Path(arguments.out).write_text(picture(reports, engines))
    print(table(reports, engines))


if __name__ == "__main__":
    main()
