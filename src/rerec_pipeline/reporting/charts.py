"""Plotly figures as small SVG charts for HTML pages.

Plotly's own script is 4.5 MB. Pages draw the same figures as SVG without a script: shapes stretch
with the page, text is HTML beside them and keeps its size, and colours follow the page's theme.
Covered is what the figures of this package use: scatter and grouped bar traces with error bars,
linear, logarithmic and category axes, a second y axis, subplots, and straight lines with a note.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

Values = NDArray[np.float64]

#: Most points of a line; longer ones keep the lowest and the highest value of each piece.
MOST_POINTS = 400

_SIZE = 1000  # of the SVG's own coordinates


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in percent of its length."""

    at: float
    lines: Sequence[str]


@dataclass(frozen=True)
class Axis:
    """Where values are on an axis.

    Attributes:
        title: Its title, with units.
        low: Value at its start (the exponent on a logarithmic axis).
        high: Value at its end.
        kind: ``linear``, ``log`` or ``category``.
        categories: Names in order, on a category axis.
        ticks: Its labels.
        reverse: Whether it runs from the top or right.
    """

    title: str
    low: float
    high: float
    kind: str
    categories: Sequence[str]
    ticks: Sequence[Tick] = ()
    reverse: bool = False

    def place(self, values: Any) -> Values:
        """Percent of the axis' length for each value; outside the range, the nearest end."""
        numbers = _numbers(values, self.kind, self.categories)
        share = (numbers - self.low) / ((self.high - self.low) or 1)
        return np.clip(1 - share if self.reverse else share, 0, 1) * 100

    def text(self, value: Any) -> str:
        """A value as a reader sees it."""
        return str(value).replace("<br>", ", ") if self.kind == "category" else f"{value:,.4g}"


@dataclass(frozen=True)
class Mark:
    """One SVG path: a ``line``, ``area``, ``bar``, ``dot`` or ``whisker``."""

    kind: str
    path: str
    colour: str
    title: str = ""
    dash: bool = False
    faint: bool = False


@dataclass
class Panel:
    """One pair of axes with what is drawn on it.

    Attributes:
        x: Its horizontal axis.
        y: Its vertical axis.
        y2: A second vertical axis at the right.
        title: Its title among several panels.
        marks: What is drawn, back to front.
        notes: Text at (percent from the left, percent from the bottom).
    """

    x: Axis
    y: Axis
    y2: Axis | None = None
    title: str = ""
    marks: list[Mark] = field(default_factory=list)
    notes: list[tuple[float, float, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Chart:
    """A figure as a page shows it: panels and a legend of names with their colours."""

    title: str
    panels: Sequence[Panel]
    legend: dict[str, str]


def chart(figure: go.Figure) -> Chart:
    """A Plotly figure as panels of SVG paths.

    Args:
        figure: Made by this package's plot functions.
    """
    layout = figure.layout
    shown = [t for t in figure.data if t.name and t.showlegend is not False]
    titles = iter([note.text for note in layout.annotations if note.xref == "paper"])
    pairs: dict[str, str] = {}
    for trace in figure.data:
        pairs.setdefault(trace.xaxis or "x", trace.yaxis or "y")
    panels = [_panel(figure, x, y, next(titles, "")) for x, y in pairs.items()]
    return Chart(layout.title.text or "", panels, {t.name: _colour(t) for t in shown})


def _panel(figure: go.Figure, x: str, y: str, title: str) -> Panel:
    traces = [t for t in figure.data if (t.xaxis or "x") == x]
    second = next((t.yaxis for t in traces if (t.yaxis or "y") != y), None)
    panel = Panel(
        _axis(figure, x), _axis(figure, y), _axis(figure, second) if second else None, title
    )
    groups = _groups(figure, traces)
    for trace in traces:
        vertical = panel.y2 if panel.y2 and trace.yaxis == second else panel.y
        panel.marks += _marks(trace, panel.x, vertical, groups.get(_group(trace), (0.0, 1.0)))
    for shape in figure.layout.shapes:
        if shape.xref.removesuffix(" domain") == x and shape.yref.removesuffix(" domain") == y:
            panel.marks.append(_straight_line(shape, panel))
    for note in figure.layout.annotations:
        if str(note.xref).removesuffix(" domain") == x and str(note.yref).startswith(y):
            across = panel.x.place([note.x])[0] if note.xref == x else note.x * 100
            up = panel.y.place([note.y])[0] if note.yref == y else note.y * 100
            panel.notes.append((round(across, 1), round(up, 1), note.text))
    return panel


# -- axes ----------------------------------------------------------------------------------------


def _axis(figure: go.Figure, name: str) -> Axis:
    letter, number = name[0], name[1:]
    given = figure.layout[f"{letter}axis{number}"]
    alike = [name, *(n for n in ("x", "y") if n == given.matches)]
    values = _values(figure, letter, alike)
    words = given.type == "category" or any(isinstance(v, str) for v in values)
    kind = "category" if words else given.type or "linear"
    categories = list(given.categoryarray or dict.fromkeys(map(str, values))) if words else []
    low, high = _range(given, values, kind, categories)
    reverse = given.autorange == "reversed" or (letter == "y" and kind == "category")
    bare = Axis(given.title.text or "", low, high, kind, categories, (), reverse)
    ticks = [Tick(round(float(bare.place([v])[0]), 2), text.split("<br>"))
             for v, text in _ticks(given, bare)]  # fmt: skip
    return Axis(bare.title, low, high, kind, categories, ticks, reverse)


def _values(figure: go.Figure, letter: str, names: Sequence[str]) -> list[Any]:
    """All values on an axis, ends of error bars and straight lines included."""
    found: list[Any] = []
    for trace in figure.data:
        if (trace[f"{letter}axis"] or letter) in names:
            values = trace[letter]
            low, high = _ends(trace, letter)
            found += [*values, *low, *high]
            if trace.type == "bar":
                found += [0] if letter == "y" else _edges(values)
    for shape in figure.layout.shapes:
        found += [shape[f"{letter}0"]] if shape[f"{letter}ref"] in names else []
    return found


def _gap(values: Any) -> float:
    """Distance of evenly spaced numbers; 1 for a single one."""
    return (max(values) - min(values)) / (len(values) - 1) if len(values) > 1 else 1.0


def _edges(values: Any) -> list[float]:
    """Where the first and the last bar end, on an axis of numbers."""
    if not len(values) or isinstance(values[0], str):
        return []
    return [min(values) - _gap(values) / 2, max(values) + _gap(values) / 2]


def _ends(trace: Any, letter: str) -> tuple[Values, Values]:
    """Low and high ends of a trace's error bars along an axis; none where it has none."""
    bars = trace[f"error_{letter}"]
    if bars.array is None:
        return np.empty(0), np.empty(0)
    values = np.asarray(trace[letter], dtype="float64")
    return values - np.asarray(bars.arrayminus), values + np.asarray(bars.array)


def _range(
    given: Any, values: Sequence[Any], kind: str, categories: Sequence[str]
) -> tuple[float, float]:
    if kind == "category":
        return -0.5, len(categories) - 0.5
    if given.range is not None:
        return float(given.range[0]), float(given.range[1])
    numbers = _numbers(values, kind, ())
    numbers = numbers[np.isfinite(numbers)]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 1.0)
    margin = 0.04 * ((high - low) or abs(high) or 1)
    low, high = low - margin, high + margin
    if given.rangemode == "tozero":
        low, high = min(low, 0.0) if low + margin < 0 else 0.0, max(high, 0.0)
    if given.minallowed is not None:
        low = max(low, given.minallowed)
    if given.maxallowed is not None:
        high = min(high, given.maxallowed)
    return low, high


def _numbers(values: Any, kind: str, categories: Sequence[str]) -> Values:
    if kind == "category":
        place = {name: n for n, name in enumerate(categories)}
        return np.array([place[str(value)] for value in values], dtype="float64")
    numbers = np.asarray(values, dtype="float64")
    return np.log10(numbers) if kind == "log" else numbers


def _ticks(given: Any, axis: Axis) -> Iterator[tuple[Any, str]]:
    """Values that are labelled, and their labels."""
    if axis.kind == "category":
        yield from ((name, name) for name in axis.categories)
    elif given.tickvals is not None:
        yield from zip(given.tickvals, given.ticktext, strict=True)
    elif axis.kind == "log":
        powers = range(math.ceil(axis.low), math.floor(axis.high) + 1)
        yield from ((10.0**power, f"{10.0**power:g}") for power in powers)
    else:
        step = given.dtick or _step(axis.high - axis.low)
        first = math.ceil(axis.low / step - 1e-6)
        decimals = max(0, -math.floor(math.log10(step * (100 if _percent(given) else 1)) + 1e-6))
        for n in range(first, math.floor(axis.high / step + 1e-6) + 1):
            form = f".{decimals}%" if _percent(given) else f",.{decimals}f"
            yield n * step, format(n * step + 0.0, form)


def _percent(given: Any) -> bool:
    return str(given.tickformat or "").endswith("%")


def _step(length: float, most: int = 6) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that makes at most so many steps."""
    power = 10.0 ** math.floor(math.log10(length / most))
    return next(power * m for m in (1, 2, 2.5, 5, 10, 20) if length / (power * m) <= most)


# -- marks ---------------------------------------------------------------------------------------


def _group(trace: Any) -> str:
    return str(trace.offsetgroup or trace.name)


def _groups(figure: go.Figure, traces: Sequence[Any]) -> dict[str, tuple[float, float]]:
    """Trace -> its shift from the middle of a category and its share of the width."""
    grouped = "group" in (figure.layout.barmode, figure.layout.scattermode)
    on_category = [t for t in traces if t.type == "bar" or figure.layout.scattermode == "group"]
    names = list(dict.fromkeys(map(_group, on_category))) if grouped else []
    return {name: ((n + 0.5) / len(names) * 0.8 - 0.4, 1 / len(names))
            for n, name in enumerate(names)}  # fmt: skip


def _marks(trace: Any, x: Axis, y: Axis, group: tuple[float, float]) -> Iterator[Mark]:
    shift, width = group
    gap = 1.0 if x.kind == "category" else _gap(trace.x)
    slot = 100 * gap / ((x.high - x.low) or 1)
    across, up = x.place(trace.x) + shift * slot, y.place(trace.y)
    known = np.isfinite(across) & np.isfinite(up)
    colours = trace.marker.color

    def colour_of(n: int) -> str:
        return _colour(trace) if isinstance(colours, str | None) else colours[n]

    bars, mode = trace.type == "bar", "" if trace.type == "bar" else trace.mode or ""
    if not bars and trace.fill == "toself":
        yield Mark("area", _path(across[known], up[known]) + "Z", trace.fillcolor)
        return
    if "lines" in mode:
        dash, faint = (trace.line.dash or "solid") != "solid", (trace.opacity or 1) < 0.5
        path = _path(*_thin(across[known], up[known]))
        yield Mark("line", path, _colour(trace), trace.name or "", dash, faint)
    rows = np.flatnonzero(known).tolist()
    zero = float(y.place([0])[0]) if bars else 0.0
    for n in rows if bars else ():
        half = 0.4 * slot * width
        corners = [across[n] - half, across[n] + half, across[n] + half, across[n] - half]
        path = _path(corners, [zero, zero, up[n], up[n]]) + "Z"
        yield Mark("bar", path, _colour(trace), _title(trace, n, x, y))
    for letter, axis in (("x", x), ("y", y)):
        low, high = (axis.place(ends) for ends in _ends(trace, letter))
        for n in range(len(low)):
            sides = ([low[n], high[n]], [up[n]] * 2) if letter == "x" else (
                [across[n]] * 2, [low[n], high[n]])  # fmt: skip
            yield Mark("whisker", _path(*sides), "" if bars else colour_of(n))
    for n in rows if "markers" in mode else ():
        yield Mark("dot", _path([across[n]], [up[n]]) + "h0", colour_of(n), _title(trace, n, x, y))


def _title(trace: Any, n: int, x: Axis, y: Axis) -> str:
    """What is said of a point under the pointer, with the interval where it has one."""
    said = f"{trace.name + ': ' if trace.name else ''}{x.text(trace.x[n])}, {y.text(trace.y[n])}"
    low, high = next((e for e in (_ends(trace, "x"), _ends(trace, "y")) if len(e[0])), ((), ()))
    return f"{said} ({low[n]:.4g} to {high[n]:.4g})" if len(low) else said


def _straight_line(shape: Any, panel: Panel) -> Mark:
    if str(shape.xref).endswith("domain"):
        at = float(panel.y.place([shape.y0])[0])
        path = _path([0, 100], [at, at])
    else:
        at = float(panel.x.place([shape.x0])[0])
        path = _path([at, at], [0, 100])
    return Mark("rule", path, shape.line.color or "", dash=(shape.line.dash or "solid") != "solid")


def _colour(trace: Any) -> str:
    colour = trace.line.color if trace.type == "scatter" else None
    colour = colour or trace.marker.color
    return colour if isinstance(colour, str) else ""


def _thin(x: Values, y: Values) -> tuple[Values, Values]:
    """Fewer points of a line, with the lowest and the highest of each piece kept."""
    if len(x) <= MOST_POINTS:
        return x, y
    pieces = np.array_split(np.arange(len(y)), MOST_POINTS // 2)
    kept = sorted({int(p[at]) for p in pieces for at in (y[p].argmin(), y[p].argmax())})
    return x[kept], y[kept]


def _path(x: Any, y: Any) -> str:
    """An SVG path through points given in percent from the left and from the bottom."""
    scale = _SIZE / 100
    points = [f"{a * scale:.5g} {_SIZE - b * scale:.5g}" for a, b in zip(x, y, strict=True)]
    return "M" + "L".join(points)
