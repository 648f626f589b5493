"""Draws results.svg from results.json.

Written by hand, so that the picture needs no library and reads in light and in dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from tests.benchmarks.bench import BASELINES

_WIDTH, _PANEL, _GAP, _LEFT = 900, 410, 50, 15
_ROW = 24
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px } .small { font-size: 11px; fill: #57606a }
.ours { fill: #0969da } .other { fill: #afb8c1 } .page { fill: #ffffff }
.axis { stroke: #d0d7de; stroke-width: 1 }
polyline { fill: none; stroke-width: 2; stroke: #8c959f }
polyline.ours { fill: none; stroke: #0969da }
@media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .ours { fill: #4493f8 } .other { fill: #545d68 }
    .page { fill: #0d1117 } .axis { stroke: #3d444d }
    polyline { stroke: #768390 } polyline.ours { stroke: #4493f8 }
}
"""

Bar = tuple[str, float, str, bool]


def draw(data: dict[str, Any]) -> str:
    """Returns the picture of what a data file holds."""
    panels = [
        panel(data["series"])
        for name, panel in (
            ("speed", _item), ("speed", _throughput), ("due_window", _due_window),
            ("growth", _growth), ("held_snapshot", _held_snapshot), ("starts", _starts),
        )
        if name in data["series"]
    ]  # fmt: skip
    parts, top = [], 20
    for row in range(0, len(panels), 2):
        pair = panels[row : row + 2]
        for column, (lines, _) in enumerate(pair):
            left = _LEFT + column * (_PANEL + _GAP)
            parts.append(f'<g transform="translate({left} {top})">\n{lines}\n</g>')
        top += max(height for _, height in pair) + 30
    footer = _footer(data["taken"])
    for line in footer:
        parts.append(_text(_LEFT, top, line, "small"))
        top += 16
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}" role="img" aria-label="Benchmarks of the record ledger">\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="page" width="{_WIDTH}" height="{top}"/>\n{body}\n</svg>\n'
    )


# ---------------------------------------------------------------- the panels
def _item(series: dict[str, Any]) -> tuple[str, int]:
    alone = [entry for entry in series["speed"] if entry["connections"] == 1]
    commit = alone[0]["item_median_us"]
    bars = [
        (
            entry["name"],
            entry["item_median_us"] / commit,
            f"{entry['item_median_us'] / commit:.1f}",
            entry["name"].startswith("record-ledger"),
        )
        for entry in alone[1:]
        if entry["name"] not in ("a call that exits", *BASELINES)
        and "one pipeline" not in entry["name"]
    ]
    return _bars("One item, in bare commits", "enqueue, claim and complete; one connection", bars)


def _throughput(series: dict[str, Any]) -> tuple[str, int]:
    entries = series["speed"]
    base = entries[0]["items_per_second"]
    curves: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        point = (math.log2(entry["connections"]), entry["items_per_second"] / base)
        curves.setdefault(entry["name"], []).append(point)
    shown = {name: points for name, points in curves.items() if len(points) > 1}
    shown.pop("bare commit", None)
    levels = sorted({entry["connections"] for entry in entries})
    ticks = [(math.log2(level), str(level)) for level in levels]
    under = "connections; 1.0 is the bare commits per second of one connection"
    return _curves("Items per second", under, shown, ticks)


def _due_window(series: dict[str, Any]) -> tuple[str, int]:
    base = next(w for w in series["due_window"] if w["name"] == "record-ledger exec")
    bars = []
    for way in series["due_window"]:
        ratio = way["milliseconds"] / base["milliseconds"]
        seen = f"({way['statements']} statements, {way['transactions']} transactions)"
        ours = way["name"] in ("the Python call", "record-ledger exec")
        bars.append((way["name"], ratio, f"{_short(ratio)} {seen}", ours))
    return _bars("One due window, wall time", "1 is record-ledger exec -- true", bars, room=210)


def _growth(series: dict[str, Any]) -> tuple[str, int]:
    base = series["growth"][0]["pass_pages"]
    bars = [
        (state["name"], state["pass_pages"] / base, _short(state["pass_pages"] / base), True)
        for state in series["growth"]
    ]
    under = f"1 is {base} pages, on {series['growth'][0]['name']}; long bars are cut"
    return _bars("Pages that a pass touches", under, bars, names=200, cut=4.0)


def _held_snapshot(series: dict[str, Any]) -> tuple[str, int]:
    samples = series["held_snapshot"]
    base = samples[0]["pass_us"]
    points = [(sample["cycles"], sample["pass_us"] / base) for sample in samples]
    ticks = [(points[0][0], f"{points[0][0]:,}"), (points[-1][0], f"{points[-1][0]:,}")]
    under = "cycles of one pipeline since the snapshot was taken; 1 is the first thousand"
    title = "A pass under a held snapshot"
    return _curves(title, under, {"record-ledger": points}, ticks, least_top=2.0)


def _starts(series: dict[str, Any]) -> tuple[str, int]:
    base = next(s for s in series["starts"] if s["name"] == "import psycopg")["milliseconds"]
    bars = [
        (
            start["name"],
            start["milliseconds"] / base,
            _short(start["milliseconds"] / base),
            "record" in start["name"],
        )
        for start in series["starts"]
    ]
    return _bars("Start of a new process", "1 is python -c 'import psycopg'", bars)


# ---------------------------------------------------------------- shapes
def _bars(
    title: str,
    under: str,
    bars: Sequence[Bar],
    *,
    names: int = 165,
    room: int = 50,
    cut: float = math.inf,
) -> tuple[str, int]:
    most = max(min(value, cut) for _, value, _, _ in bars)
    scale = (_PANEL - names - room) / most
    lines, top = [*_heading(title, under)], 48
    for label, value, note, ours in bars:
        width = max(1.0, min(value, cut) * scale)
        kind = "ours" if ours else "other"
        lines += [
            _text(names - 8, top + 12, label, anchor="end"),
            f'<rect class="{kind}" x="{names}" y="{top}" width="{width:.1f}" height="16" rx="2"/>',
            _text(names + width + 6, top + 12, note),
        ]
        top += _ROW
    return "\n".join(lines), top


def _curves(
    title: str,
    under: str,
    curves: dict[str, list[tuple[float, float]]],
    ticks: list[tuple[float, str]],
    *,
    least_top: float = 0.0,
) -> tuple[str, int]:
    first, last = ticks[0][0], ticks[-1][0]
    most = max([least_top, *(y for points in curves.values() for _, y in points)]) * 1.05
    left, right, top, bottom = 34, _PANEL - 170, 48, 210

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (right - left) * (x - first) / (last - first or 1)
        return round(across, 1), round(bottom - (bottom - top) * y / most, 1)

    lines = [*_heading(title, under)]
    for value in _steps(most):
        _, y = place(first, value)
        lines += [
            f'<line class="axis" x1="{left}" y1="{y}" x2="{right}" y2="{y}"/>',
            _text(left - 6, y + 4, f"{value:g}", "small", anchor="end"),
        ]
    for x, label in ticks:
        lines.append(_text(place(x, 0)[0], bottom + 16, label, "small", anchor="middle"))
    for name, points in curves.items():
        kind = ' class="ours"' if name.startswith("record-ledger") else ""
        path = " ".join("{},{}".format(*place(x, y)) for x, y in points)
        lines.append(f'<polyline{kind} points="{path}"/>')
    lowest = math.inf
    for name, points in sorted(curves.items(), key=lambda item: item[1][-1][1]):
        # From the bottom up, each label at its curve's end or just above the one before.
        lowest = min(place(*points[-1])[1] + 4, lowest - 13)
        lines.append(_text(right + 8, lowest, name))
    return "\n".join(lines), bottom + 24


def _steps(most: float) -> list[float]:
    raw = most / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    return [round(step * n, 6) for n in range(int(most / step) + 1)]


def _heading(title: str, under: str) -> list[str]:
    return [_text(0, 12, title, "title"), _text(0, 30, under, "small")]


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _footer(taken: dict[str, Any]) -> list[str]:
    versions = [f"{name} {version}" for name, version in taken["versions"].items()]
    machine = (
        f"{taken['at']}, {taken['length']} run: {taken['processor']}, {taken['cores']} cores, "
        f"{taken['memory_gb']} GB, {taken['system']}; load at its start "
        + ", ".join(f"{load:g}" for load in taken["load_at_start"])
    )
    return [machine, ", ".join(versions[:6]), ", ".join(versions[6:])]
