"""The report as one HTML page: nothing in it comes from elsewhere."""

from __future__ import annotations

import html as _html
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 0 auto; padding: 1rem; max-width: 62rem; }
h1 { font-size: 1.6rem; margin: .2rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d0d7de; }
table { border-collapse: collapse; font-size: .9rem; } th, td { text-align: left; padding: .25rem .7rem .25rem 0; vertical-align: top; }
th { border-bottom: 1px solid #d0d7de; font-weight: 600; } td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr + tr td { border-top: 1px solid #eef1f4; } .wide { overflow-x: auto; } code { font-size: .85em; overflow-wrap: anywhere; }
.ok { color: #116329; } .bad { color: #a40e26; font-weight: 600; } .verdict { padding: .6rem .9rem; border-radius: .4rem; }
.verdict.ok { background: #dafbe1; } .verdict.bad { background: #ffebe9; } summary { cursor: pointer; } svg { max-width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: #1b1f24; }
"""


def _text(value: Any) -> str:
    return _html.escape(str(value))


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else _text(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{_text(one)}</th>" for one in head)
    body = "".join("<tr>" + "".join(row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells}</tr>{body}</table></div>'


def _cell(value: Any) -> str:
    return f"<td>{_text(value)}</td>"


def _figure(value: Any) -> str:
    return f'<td class="n">{_number(value)}</td>'


def _pairs(pairs: list[tuple[str, Any]]) -> str:
    rows = [f"<tr><td>{_text(name)}</td><td><code>{_text(value)}</code></td></tr>" for name, value in pairs]
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _passed(passed: bool) -> str:
    return f'<td class="{"ok" if passed else "bad"}">{"passed" if passed else "FAILED"}</td>'


def _checks(checks: list[dict[str, Any]]) -> str:
    rows = []
    for check in checks:
        rows.append(
            [
                _passed(check["passed"]),
                _cell(" / ".join(check["between"])),
                _cell(check["input"]),
                _cell(check["output"]),
                *[_figure(check.get(key, "")) for key in ("largest_difference", "mean_difference", "labels_changed", "nan", "infinite")],
                _cell(f"{check['rtol']:g} / {check['atol']:g}" if "rtol" in check else ""),
            ]
        )
        why = check.get("why")
        if first := check.get("first_off"):
            place = f"; the first node that is off: {first['operator']} {first['node']!r}" if "operator" in first else f"; {first['why']}"
            why = (why or "") + place
        if why:
            rows.append([f'<td></td><td colspan="9" class="bad">{_text(why)}</td>'])
    head = ["", "between", "input", "output", "largest difference", "mean", "labels changed", "NaN", "infinite", "rtol / atol"]
    return _table(head, rows)


def _operators(operators: dict[str, Any]) -> str:
    parts = [_table(["ONNX operator", "nodes"], [[_cell(row["operator"]), _figure(row["count"])] for row in operators["onnx"]])]
    for hint in operators["hints"]:
        parts.append(f'<p class="bad">{_text(hint)}</p>')
    if operators.get("mapping_failed"):
        parts.append(f"<p>PyTorch's operators could not be matched: {_text(operators['mapping_failed'])}</p>")
    mapping = operators["mapping"]
    if mapping is not None:
        matched = len(mapping["rows"]) - len(mapping["unmatched"])
        parts.append(
            f"<p>{matched} of {len(mapping['rows'])} of PyTorch's operators have their like in the ONNX model, by their results.</p>"
        )
        rows = []
        for row in mapping["summary"]:
            kind = "folded or absent" if row["onnx"] in ("", "?") else "one to many" if " + " in row["onnx"] else "one to one"
            rows.append([_cell(row["torch"]), _cell(row["onnx"] or "-"), _cell(kind), _figure(row["count"])])
        parts.append(_table(["PyTorch", "ONNX", "", "times"], rows))
        parts.append(f"<details><summary>Each operator, with its difference</summary>{_picture(mapping['rows'])}</details>")
    return "".join(parts)


def _picture(rows: list[dict[str, Any]]) -> str:
    """Two columns, PyTorch's operators and what they became, with the difference on the link."""
    height, top = 26, 24
    shapes = ['<text x="10" y="14" font-weight="600">PyTorch</text><text x="330" y="14" font-weight="600">ONNX</text>']
    for number, row in enumerate(rows):
        y = top + number * height
        nodes = " + ".join(row["onnx"])
        colour = "#ffebe9" if not row["matched"] else "#fff1d6" if len(row["onnx"]) > 1 else "#dafbe1"
        shapes.append(f'<rect x="4" y="{y}" width="200" height="20" rx="4" fill="{colour}"/><text x="10" y="{y + 14}">{_text(row["torch"])}</text>')
        if row["matched"] and nodes:
            shapes.append(
                f'<line x1="204" y1="{y + 10}" x2="324" y2="{y + 10}" stroke="#57606a"/>'
                f'<text x="264" y="{y + 7}" text-anchor="middle">{row["largest_difference"]:.0e}</text>'
                f'<rect x="324" y="{y}" width="370" height="20" rx="4" fill="{colour}"/><text x="330" y="{y + 14}">{_text(nodes)}</text>'
            )
    total = top + len(rows) * height + 4
    return f'<svg viewBox="0 0 700 {total}" width="700" role="img">{"".join(shapes)}</svg>'


def _throughput(rows: list[dict[str, Any]]) -> str:
    table = _table(
        ["engine", "requests at once", "runs per second", "p50 ms", "p90 ms", "runs"],
        [[_cell(row["engine"]), *[_figure(row[key]) for key in ("concurrency", "runs_per_second", "p50_ms", "p90_ms", "runs")]] for row in rows],
    )
    most = max(row["runs_per_second"] for row in rows) or 1.0
    bars = []
    for number, row in enumerate(rows):
        y, width = number * 26, 360 * row["runs_per_second"] / most
        bars.append(
            f'<text x="0" y="{y + 15}">{_text(row["engine"])}, {row["concurrency"]} at once</text>'
            f'<rect x="240" y="{y + 2}" width="{width:.1f}" height="18" rx="3" fill="#54aeff"/>'
            f'<text x="{246 + width:.1f}" y="{y + 15}">{row["runs_per_second"]:.3g}/s, p50 {row["p50_ms"]:.3g} ms</text>'
        )
    return table + f'<svg viewBox="0 0 780 {len(rows) * 26}" width="780" role="img">{"".join(bars)}</svg>'


def _plans(plans: list[dict[str, Any]]) -> str:
    parts = []
    for plan in plans:
        name = f"<h3>{_text(', '.join(plan['precision']))}</h3>"
        if not plan["built"]:
            parts.append(f"{name}<p>Not built: {_text(plan['why'])}</p>")
            continue
        keys = ("builder", "tensorrt", "device", "compute_capability", "sha256", "size_bytes", "profiles")
        parts.append(name + _pairs([(key, plan[key]) for key in keys if plan.get(key) is not None]))
        if not plan.get("run"):
            parts.append(f"<p>Built, and not run here: {_text(plan.get('why', ''))}</p>")
        if layers := plan.get("layers"):
            rows = [[_cell(layer["name"]), _cell(layer["kind"]), _cell(layer["precision"])] for layer in layers]
            parts.append(f"<details><summary>{len(rows)} layers</summary>{_table(['layer', 'kind', 'precision'], rows)}</details>")
    return "".join(parts)


def html(report: dict[str, Any]) -> str:
    """The page."""
    passed, checks = report["passed"], report["checks"]
    failed = sum(not check["passed"] for check in checks)
    verdict = f"All {len(checks)} checks passed." if passed else f"{failed} of {len(checks)} checks failed: this model is not to be deployed."
    model, export = report["model"], report["export"]
    inputs = ", ".join(f"{one['name']} {'x'.join(map(str, one['shape']))} {one['type']}" for one in model["inputs"])
    sections = [
        f"<h1>{_text(report['name'])}</h1><p>Converted {_text(report['created'])}.</p>",
        f'<p class="verdict {"ok" if passed else "bad"}">{_text(verdict)}</p>',
        "<h2>Model</h2>"
        + _pairs(
            [
                ("source", f"{report['source']['given']} ({report['source']['kind']})"),
                ("its SHA-256", report["source"].get("sha256", "-")),
                ("ONNX, SHA-256", model["sha256"]),
                ("ONNX, bytes", model["size_bytes"]),
                ("opsets", ", ".join(f"{domain} {version}" for domain, version in model["opsets"].items())),
                ("exporter", export["exporter"] or "none: the source is ONNX"),
                ("inputs", inputs),
                ("outputs", ", ".join(model["outputs"])),
                ("batches", ":".join(map(str, model["batches"]))),
            ]
        ),
        f"<h2>Numbers</h2>{_checks(checks)}",
        f"<h2>Operators</h2>{_operators(report['operators'])}",
        f"<h2>Plans</h2>{_plans(report['plans']) or '<p>None was asked for.</p>'}",
        f"<h2>Throughput</h2>{_throughput(report['throughput']) if report['throughput'] else '<p>Not measured.</p>'}",
    ]
    if report["not_done"]:
        sections.append("<h2>Not done</h2><ul>" + "".join(f"<li>{_text(line)}</li>" for line in report["not_done"]) + "</ul>")
    machine = report["machine"]
    device = machine["device"]
    gpu = device["name"] if device["available"] else f"none: {device['reason']}"
    sections.append(
        "<h2>To repeat it</h2>"
        + _pairs([("command", report["command"]), *report["versions"].items(), ("machine", machine["platform"]), ("cores", machine["cores"]), ("GPU", gpu)])
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(report['name'])}: conversion</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )
