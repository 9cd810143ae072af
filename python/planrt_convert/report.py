"""The report as one HTML page: nothing in it comes from elsewhere."""

from __future__ import annotations

import collections
import html as _html
from typing import Any

from .plans import of_nodes

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 0 auto; padding: 1rem; max-width: 62rem; }
h1 { font-size: 1.6rem; margin: .2rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d0d7de; }
table { border-collapse: collapse; font-size: .9rem; } th, td { text-align: left; padding: .25rem .7rem .25rem 0; vertical-align: top; }
th { border-bottom: 1px solid #d0d7de; font-weight: 600; } td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
tr + tr td { border-top: 1px solid #eef1f4; } .wide { overflow-x: auto; } code { font-size: .85em; overflow-wrap: anywhere; }
.ok { color: #116329; } .bad { color: #a40e26; font-weight: 600; } .verdict { padding: .6rem .9rem; border-radius: .4rem; }
.verdict.ok { background: #dafbe1; } .verdict.bad { background: #ffebe9; } summary { cursor: pointer; } svg { display: block; }
img { width: min(100%, 46rem); } .keys span { padding: .1rem .5rem; border-radius: .3rem; margin-right: .4rem; }
svg text { font: 12px system-ui, sans-serif; fill: #1b1f24; }
"""


def _text(value: Any) -> str:
    return _html.escape(str(value))


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if 100 <= abs(value) < 1e9 else f"{value:.3g}"
    return _text(value)


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
        if note := check.get("note"):
            rows.append([f'<td></td><td colspan="9">{_text(note)}</td>'])
    head = ["", "between", "input", "output", "largest difference", "mean", "labels changed", "NaN", "infinite", "rtol / atol"]
    return _table(head, rows)


def _operators(operators: dict[str, Any], plans: list[dict[str, Any]]) -> str:
    parts = [_table(["ONNX operator", "nodes"], [[_cell(row["operator"]), _figure(row["count"])] for row in operators["onnx"]])]
    for hint in operators["hints"]:
        parts.append(f'<p class="bad">{_text(hint)}</p>')
    if operators.get("mapping_failed"):
        parts.append(f"<p>PyTorch's operators could not be matched: {_text(operators['mapping_failed'])}</p>")
    mapping = operators["mapping"]
    if mapping is not None:
        count = mapping["operators"]
        parts.append(
            f"<h3>From PyTorch to ONNX</h3><p>{count - len(mapping['unmatched'])} of {count} of PyTorch's operators have their like in the ONNX model, by "
            "their results.</p>"
        )
        if mapping["first_unmatched"]:
            parts.append(f'<p class="bad">The first without: {_text(mapping["first_unmatched"])}.</p>')
        rows = []
        for row in mapping["summary"]:
            several = f"{'many' if ' + ' in row['torch'] else 'one'} to {'many' if ' + ' in row['onnx'] else 'one'}"
            kind = "folded or absent" if row["onnx"] in ("", "?") else several
            rows.append([_cell(row["torch"]), _cell(row["onnx"] or "-"), _cell(kind), _figure(row["count"])])
        parts.append(_table(["PyTorch", "ONNX", "", "times"], rows))
    told = [plan for plan in plans if plan.get("layers")]
    for plan in told:
        parts.append(f"<h3>From ONNX to the plan {_text(plan['precision'][0])}</h3>" + _layer_summary(operators["nodes"], plan["layers"]))
    if mapping is None:
        rows = [{"torch": "", "onnx": [node["operator"]], "nodes": [node["name"]], "matched": True} for node in operators["nodes"]]
    else:
        rows = mapping["rows"]
    if mapping is not None or told:
        title = "Each operator, with its difference" if mapping is not None else "Each operator"
        parts.append(f"<details><summary>{title}</summary>{_KEYS}")
        parts += [f'<div class="wide">{_picture(rows, plan)}</div>' for plan in told or [None]]
        parts.append("</details>")
    return "".join(parts)


_ONE, _MANY, _NONE = "#dafbe1", "#fff1d6", "#ffebe9"
_PRECISIONS = {"FP32": "#ddf4ff", "FP16": "#fbefff", "TF32": "#ddf4ff", "INT8": "#fff8c5", "BF16": "#fbefff"}
_KEYS = (
    f'<p class="keys"><span style="background:{_ONE}">one to one</span><span style="background:{_MANY}">one to many, many to one</span>'
    f'<span style="background:{_NONE}">not found</span><span style="background:{_PRECISIONS["FP32"]}">layer in float32</span>'
    f'<span style="background:{_PRECISIONS["FP16"]}">layer in float16</span></p>'
)


def _layer_summary(nodes: list[dict[str, str]], layers: list[dict[str, Any]]) -> str:
    """How many nodes of each operator went into how many layers, of which kind and precision."""
    found, kinds = of_nodes(layers), {node["name"]: node["operator"] for node in nodes}
    counts: collections.Counter[tuple[str, str, str, str]] = collections.Counter()
    lost = collections.Counter(node["operator"] for node in nodes if node["name"] not in found)
    for layer in layers:
        operators = " + ".join(kinds.get(name, "?") for name in layer["onnx"])
        counts[(operators or "- (between layers)", layer["kind"], layer["precision"])] += 1
    rows = [[_cell(operators), _cell(kind), _cell(precision), _figure(count)] for (operators, kind, precision), count in counts.most_common()]
    named = len(nodes) - sum(lost.values())
    text = f"<p>{named} of {len(nodes)} nodes are in {len(layers)} layers of the plan by their names"
    folded = ", ".join(f"{count} {name}" for name, count in lost.most_common())
    if not any(layer["precision"] for layer in layers):
        text = text.replace("<p>", "<p>TensorRT does not tell the precisions of this plan's layers. ", 1)
    return text + (f"; folded, or without a layer of their own: {_text(folded)}" if folded else "") + ".</p>" + _table(
        ["ONNX", "layer", "precision", "times"], rows
    )


def _picture(rows: list[dict[str, Any]], plan: dict[str, Any] | None) -> str:
    """PyTorch's operators, what they became, with the difference on the link, and the layers of a plan that those went into."""
    height, top, width = 26, 24, 1130 if plan else 700
    found = of_nodes(plan["layers"]) if plan else {}
    shapes = ['<text x="10" y="14" font-weight="600">PyTorch</text><text x="330" y="14" font-weight="600">ONNX</text>']
    if plan:
        shapes.append(f'<text x="730" y="14" font-weight="600">plan {_text(plan["precision"][0])}</text>')
    placed: dict[str, int] = {}
    for number, row in enumerate(rows):
        y = top + number * height
        nodes = " + ".join(row["onnx"])
        colour = _NONE if not row["matched"] else _MANY if len(row["onnx"]) > 1 or " + " in row["torch"] else _ONE
        if row["torch"]:
            shapes.append(f'<rect x="4" y="{y}" width="200" height="20" rx="4" fill="{colour}"/><text x="10" y="{y + 14}">{_text(row["torch"])}</text>')
        if not row["matched"] or not nodes:
            continue
        if row["torch"]:
            shapes.append(
                f'<line x1="204" y1="{y + 10}" x2="324" y2="{y + 10}" stroke="#57606a"/>'
                f'<text x="264" y="{y + 7}" text-anchor="middle">{row["largest_difference"]:.0e}</text>'
            )
        shapes.append(f'<rect x="324" y="{y}" width="370" height="20" rx="4" fill="{colour}"/><text x="330" y="{y + 14}">{_text(_short(nodes, 56))}</text>')
        layers = list({layer["name"]: layer for name in row["nodes"] for layer in found.get(name, [])}.values())
        fresh = [layer for layer in layers if layer["name"] not in placed]
        if fresh:
            placed.update((layer["name"], y) for layer in fresh)
            label = f"{fresh[0]['kind'] or fresh[0]['name']} {fresh[0]['precision']}" + (f" and {len(fresh) - 1} more" if len(fresh) > 1 else "")
            fill = _PRECISIONS.get(fresh[0]["precision"], "#f6f8fa")
            shapes.append(
                f'<rect x="730" y="{y}" width="390" height="20" rx="4" fill="{fill}"><title>{_text(fresh[0]["name"])}</title></rect>'
                f'<text x="736" y="{y + 14}">{_text(_short(label, 60))}</text>'
            )
        for name in {placed[layer["name"]] for layer in layers}:
            shapes.append(f'<line x1="694" y1="{y + 10}" x2="730" y2="{name + 10}" stroke="#57606a"/>')
    total = top + len(rows) * height + 4
    return f'<svg viewBox="0 0 {width} {total}" width="{width}" role="img">{"".join(shapes)}</svg>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


_BARS = ["#0969da", "#54aeff", "#8250df", "#bf8700", "#1a7f37", "#cf222e"]


def _throughput(rows: list[dict[str, Any]], device: str) -> str:
    figures = ("concurrency", "runs_per_second", "p50_ms", "p90_ms", "p99_ms", "runs")
    watched = any(row.get("clocks") for row in rows)
    head = ["engine", "requests at once", "runs per second", "p50 ms", "p90 ms", "p99 ms", "runs", "items in a batch"]
    lines = []
    for row in rows:
        line = [_cell(row["engine"]), *[_figure(row[key]) for key in figures], _figure(row.get("mean_batch_items") or "")]
        if watched:
            clocks = row.get("clocks") or {}
            line += [_figure("-".join(map(str, dict.fromkeys(clocks.get(key, []))))) for key in _CLOCKS]
        lines.append(line)
    table = _table(head + (list(_CLOCKS.values()) if watched else []), lines)
    most = max(row["runs_per_second"] for row in rows) or 1.0
    levels = sorted({row["concurrency"] for row in rows})
    bars, y, engine = [], 0, None
    for row in rows:
        if row["engine"] != engine:
            engine, y = row["engine"], y + (8 if engine else 0)
            bars.append(f'<text x="0" y="{y + 15}">{_text(_short(engine, 38))}</text>')
        width = 330 * row["runs_per_second"] / most
        colour = _BARS[levels.index(row["concurrency"]) % len(_BARS)]
        bars.append(
            f'<rect x="250" y="{y + 2}" width="{width:.1f}" height="18" rx="3" fill="{colour}"><title>{row["concurrency"]} at once</title></rect>'
            f'<text x="{256 + width:.1f}" y="{y + 15}">{_number(row["runs_per_second"])}/s, p50 {_number(row["p50_ms"])} ms</text>'
        )
        y += 24
    keys = "".join(
        f'<span style="background:{_BARS[number % len(_BARS)]};color:#fff">{level} at once</span>' for number, level in enumerate(levels)
    )
    where = f"Inputs and outputs stay in the memory of {_text(device)}, for PyTorch and plans alike. " if watched else ""
    return f'<p>{where}Each run is one request.</p>{table}<p class="keys">{keys}</p><div class="wide"><svg viewBox="0 0 780 {y}" width="780" role="img">{"".join(bars)}</svg></div>'


_CLOCKS = {"sm_clock_mhz": "SM clock MHz", "memory_clock_mhz": "memory clock MHz", "temperature_c": "°C", "power_w": "W"}


def _overlays(overlays: list[dict[str, Any]]) -> str:
    parts = []
    for one in overlays:
        between = " / ".join(one["between"])
        rows = [[_figure(row[key]) for key in ("label", "expected_voxels", "found_voxels")] + [f'<td class="n">{row["dice"]:.5f}</td>'] for row in one["labels"]]
        parts.append(f"<h3>{_text(between)}, {_text(one['input'])} {_text(one['output'])}</h3>")
        parts.append(_table(["label", f"voxels, {one['between'][0]}", f"voxels, {one['between'][1]}", "Dice"], rows))
        if one["png"]:
            parts.append(
                f'<p><img alt="{_text(between)}" src="data:image/png;base64,{one["png"]}"></p><p>Left {_text(one["between"][0])}, in the middle '
                f"{_text(one['between'][1])}, right where they differ (magenta).</p>"
            )
    return "".join(parts)


def _plans(plans: list[dict[str, Any]]) -> str:
    parts = []
    for plan in plans:
        name = f"<h3>{_text(', '.join(plan['precision']))}</h3>"
        if not plan["built"]:
            parts.append(f"{name}<p>Not built: {_text(plan['why'])}</p>")
            continue
        keys = ("builder", "tensorrt", "device", "compute_capability", "sha256", "size_bytes")
        parts.append(name + _pairs([(key.replace("_", " "), plan[key]) for key in keys if plan.get(key) is not None]))
        for profile in plan.get("profiles", []):
            shapes = "; ".join(f"{name} {' to '.join('x'.join(map(str, shape[key])) for key in ('min', 'max'))}, best {'x'.join(map(str, shape['opt']))}" for name, shape in profile.items())
            parts.append(f"<p>Profile: {_text(shapes)}.</p>")
        if plan.get("build_seconds"):
            parts.append(f"<p>Built in {plan['build_seconds']:.1f} s.</p>")
        if not plan.get("run"):
            parts.append(f"<p>Built, and not run here: {_text(plan.get('why', ''))}</p>")
        parts.append(_search(plan))
        if layers := plan.get("layers"):
            rows = [[_cell(layer["name"]), _cell(layer["kind"]), _cell(layer["precision"]), _cell(layer.get("kernel", ""))] for layer in layers]
            parts.append(f"<details><summary>{len(rows)} layers</summary>{_table(['layer', 'kind', 'precision', 'kernel'], rows)}</details>")
    return "".join(parts)


def _search(plan: dict[str, Any]) -> str:
    """What stays float32, and how that was found."""
    kept = plan.get("keep_float32", [])
    words = " ".join(f"--keep-float32 {name}" for name in kept)
    text = f"<p>{len(kept)} nodes stay float32: <code>{_text(words)}</code></p>" if kept else ""
    if told := plan.get("search"):
        worst = told["largest_difference_without"]
        result = "what must stay float32 was found" if told["found"] else "no set of nodes was found that mends it in float32"
        text += f"<p>Without, the largest difference was {_number(worst)}; {result}."
        if told.get("failed"):
            text += f" {_text(told['failed'])}"
        text += "</p>"
        rows = [[_passed(one["passed"]), _cell(one["why"]), _figure(len(one["keep_float32"])), _cell(one.get("failed", ""))] for one in told["tries"]]
        if rows:
            text += _table(["", "built with these in float32", "nodes", ""], rows)
    return text


def _head(head: dict[str, Any] | None) -> list[tuple[str, Any]]:
    words = "{output}, {channels} channels of {features} features: {file} has the convolution that was the model's last; the folder's models give {input}"
    return [("head", words.format(**head))] if head else []


def html(report: dict[str, Any]) -> str:
    """The page."""
    passed, checks = report["passed"], report["checks"]
    failed = sum(not check["passed"] for check in checks)
    verdict = f"All {len(checks)} checks passed." if passed else f"{failed} of {len(checks)} checks failed: this model is not to be deployed."
    model, export, machine = report["model"], report["export"], report["machine"]
    device = machine["device"]
    gpu = device["name"] if device["available"] else f"none: {device['reason']}"
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
                *_head(report.get("head")),
            ]
        ),
        f"<h2>Numbers</h2>{_checks(checks)}",
        f"<h2>Operators</h2>{_operators(report['operators'], report['plans'])}",
        f"<h2>Plans</h2>{_plans(report['plans']) or '<p>None was asked for.</p>'}",
        f"<h2>Throughput</h2>{_throughput(report['throughput'], gpu) if report['throughput'] else '<p>Not measured.</p>'}",
    ]
    if report["overlays"]:
        sections.append(f"<h2>Results</h2>{_overlays(report['overlays'])}")
    if report["not_done"]:
        sections.append("<h2>Not done</h2><ul>" + "".join(f"<li>{_text(line)}</li>" for line in report["not_done"]) + "</ul>")
    sections.append(
        "<h2>To repeat it</h2>"
        + _pairs([("command", report["command"]), ("seconds", ", ".join(f"{name} {seconds:.1f}" for name, seconds in report["seconds"].items())), *report["versions"].items(), ("machine", machine["platform"]), ("cores", machine["cores"]), ("GPU", gpu)])
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(report['name'])}: conversion</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )
