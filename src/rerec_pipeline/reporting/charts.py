"""Plotly figures as small SVG charts for HTML pages.

Plotly's own script is 4.5 MB. Pages draw the same figures as SVG without a script: shapes stretch
with the page, text is HTML beside them and keeps its size, and colours follow the page's theme.
Covered is what the figures of this package use: scatter traces and bars with error bars,
linear, logarithmic and category axes, subplots, and straight lines with a note. Bars need
categories.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

Values = NDArray[np.float64]

#: Most points of a line; longer ones keep the lowest and the highest value of each piece.
MOST_POINTS = 400


class Tick(NamedTuple):
    """A labelled place on an axis, in percent of its length."""

    at: float
    lines: Sequence[str]


@dataclass(frozen=True)
class Axis:
    """Where values are on an axis: from ``low`` to ``high``, exponents on a logarithmic one.

    A reversed axis runs from the right or from the top.
    """

    title: str
    kind: str
    low: float
    high: float
    categories: Mapping[str, int] = field(default_factory=dict)
    reverse: bool = False
    ticks: Sequence[Tick] = ()

    def place(self, values: Any) -> Values:
        """Percent of the axis' length for each value; outside the range, the nearest end."""
        if self.kind == "category":
            values = [self.categories[str(value)] for value in values]
        numbers = np.asarray(values, dtype="float64")
        numbers = np.log10(numbers) if self.kind == "log" else numbers
        share = (numbers - self.low) / ((self.high - self.low) or 1)
        return np.clip(1 - share if self.reverse else share, 0, 1) * 100

    def text(self, value: Any) -> str:
        """A value as a reader sees it."""
        return value.replace("<br>", ", ") if isinstance(value, str) else f"{value:,.4g}"


class Mark(NamedTuple):
    """One SVG path; ``kind`` is its CSS class: line, area, bar, dot, whisker or rule."""

    kind: str
    path: str
    colour: str
    title: str = ""


@dataclass(frozen=True)
class Panel:
    """A pair of axes, its marks back to front, and notes: percent from left, from bottom, text."""

    title: str
    x: Axis
    y: Axis
    marks: Sequence[Mark]
    notes: Sequence[tuple[float, float, str]]


class Chart(NamedTuple):
    """A figure as a page shows it: panels and a legend of names with their colours."""

    title: str
    panels: Sequence[Panel]
    legend: dict[str, str]


def chart(figure: go.Figure) -> Chart:
    """A Plotly figure, made by this package's plot functions, as panels of SVG paths."""
    layout = figure.layout
    shown = [t for t in figure.data if t.name and False not in (t.showlegend, layout.showlegend)]
    titles = iter([note.text for note in layout.annotations if note.xref == "paper"])
    pairs = dict.fromkeys((t.xaxis or "x", t.yaxis or "y") for t in figure.data)
    panels = [_panel(figure, x, y, next(titles, "")) for x, y in pairs]
    return Chart(layout.title.text or "", panels, {t.name: _colour(t) for t in shown})


def _panel(figure: go.Figure, x_name: str, y_name: str, title: str) -> Panel:
    x, y = _axis(figure, x_name), _axis(figure, y_name)
    traces = [t for t in figure.data if (t.xaxis or "x") == x_name]
    marks = [mark for trace in traces for mark in _marks(trace, x, y, _slot(figure, traces, trace))]
    for shape in figure.layout.shapes:
        if (shape.xref, shape.yref) == (f"{x_name} domain", y_name):
            marks.append(_rule([0, 100], [*y.place([shape.y0])] * 2, shape))
        elif (shape.xref, shape.yref) == (x_name, f"{y_name} domain"):
            marks.append(_rule([*x.place([shape.x0])] * 2, [0, 100], shape))
    notes = [
        (_note_at(note.x, note.xref, x_name, x), _note_at(note.y, note.yref, y_name, y), note.text)
        for note in figure.layout.annotations
        if {x_name, y_name} == {str(r).removesuffix(" domain") for r in (note.xref, note.yref)}
    ]
    return Panel(title, x, y, marks, notes)


def _rule(across: Sequence[float], up: Sequence[float], shape: Any) -> Mark:
    return Mark("rule" + _dash(shape.line), _path(across, up), shape.line.color or "")


def _note_at(value: float, ref: str, name: str, axis: Axis) -> float:
    return round(float(axis.place([value])[0] if ref == name else value * 100), 1)


# -- axes ----------------------------------------------------------------------------------------


def _axis(figure: go.Figure, name: str) -> Axis:
    letter, given = name[0], figure.layout[f"{name[0]}axis{name[1:]}"]
    values = _values(figure, letter, {name, given.matches})
    title = given.title.text or ""
    if given.type == "category" or any(isinstance(value, str) for value in values):
        names = given.categoryarray or dict.fromkeys(map(str, values))
        places = {label: n for n, label in enumerate(names)}
        bare = Axis(title, "category", -0.5, len(places) - 0.5, places,
                    given.autorange == "reversed")  # fmt: skip
        labels: list[tuple[Any, str]] = [(label, label) for label in places]
    else:
        kind = given.type or "linear"
        bare = Axis(title, kind, *_range(given, np.asarray(values, dtype="float64"), kind))
        labels = _labels(given, bare)
    at = bare.place([value for value, _ in labels])
    ticks = [
        Tick(round(float(place), 2), text.split("<br>"))
        for place, (_, text) in zip(at, labels, strict=True)
    ]
    return replace(bare, ticks=ticks)


def _values(figure: go.Figure, letter: str, names: set[str]) -> list[Any]:
    """All values on an axis, ends of error bars and straight lines included."""
    found: list[Any] = []
    for trace in figure.data:
        if (trace[f"{letter}axis"] or letter) in names:
            found += [*trace[letter], *_ends(trace, letter)[0], *_ends(trace, letter)[1]]
            if trace.type == "bar" and letter == _length(trace):
                found += [0, *(np.asarray(trace[letter]) + _base(trace))]
    return found + [s[f"{letter}0"] for s in figure.layout.shapes if s[f"{letter}ref"] in names]


def _ends(trace: Any, letter: str) -> tuple[Values, Values]:
    """Low and high ends of a trace's error bars along an axis; none where it has none."""
    bars = trace[f"error_{letter}"]
    if bars.array is None:
        return np.empty(0), np.empty(0)
    values = np.asarray(trace[letter], dtype="float64")
    return values - np.asarray(bars.arrayminus), values + np.asarray(bars.array)


def _range(given: Any, values: Values, kind: str) -> tuple[float, float]:
    if given.range is not None:
        return float(given.range[0]), float(given.range[1])
    numbers = np.log10(values) if kind == "log" else values
    numbers = numbers[np.isfinite(numbers)] if len(numbers) else np.array([0.0, 1.0])
    low, high = float(numbers.min()), float(numbers.max())
    margin = 0.04 * ((high - low) or abs(high) or 1)
    if given.rangemode == "tozero":
        low, high = min(low - margin, 0) if low < 0 else 0.0, max(high + margin, 0)
    else:
        low, high = low - margin, high + margin
    least, most = given.minallowed, given.maxallowed
    return low if least is None else max(low, least), high if most is None else min(high, most)


def _labels(given: Any, axis: Axis) -> list[tuple[Any, str]]:
    """Numbers that are labelled, and their labels."""
    if given.tickvals is not None:
        return list(zip(given.tickvals, given.ticktext, strict=True))
    if axis.kind == "log":
        powers = range(math.floor(axis.low), math.ceil(axis.high) + 1)
        steps = (1, 2, 5) if axis.high - axis.low < 2 else (1,)
        ticks = [step * 10.0**power for power in powers for step in steps]
        return [(v, f"{v:g}") for v in ticks if axis.low <= math.log10(v) <= axis.high]
    step = _step(axis.high - axis.low)
    numbers = range(math.ceil(axis.low / step - 1e-6), math.floor(axis.high / step + 1e-6) + 1)
    percent = str(given.tickformat).endswith("%")
    decimals = max(0, -math.floor(math.log10(step * (100 if percent else 1)) + 1e-6))
    form = f".{decimals}%" if percent else f",.{decimals}f"
    return [(n * step, format(n * step, form)) for n in numbers]


def _step(length: float, most: int = 6) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that makes at most so many steps."""
    power = 10.0 ** math.floor(math.log10(length / most))
    return next(power * m for m in (1, 2, 2.5, 5, 10, 20) if length / (power * m) <= most)


# -- marks ---------------------------------------------------------------------------------------


def _slot(figure: go.Figure, traces: Sequence[Any], trace: Any) -> tuple[float, float]:
    """Shift from the middle of a category and share of its width, where traces are grouped."""
    if figure.layout["barmode" if trace.type == "bar" else "scattermode"] != "group":
        return 0.0, 0.8
    alike = [t for t in traces if t.type == trace.type]
    names = list(dict.fromkeys(t.offsetgroup or t.name for t in alike))
    place = names.index(trace.offsetgroup or trace.name)
    return (place + 0.5) / len(names) * 0.8 - 0.4, 0.8 / len(names)


def _marks(trace: Any, x: Axis, y: Axis, slot: tuple[float, float]) -> Iterator[Mark]:
    category = 100 / (len(x.categories) or np.inf)
    across, up = x.place(trace.x) + slot[0] * category, y.place(trace.y)
    rows = np.flatnonzero(np.isfinite(across) & np.isfinite(up)).tolist()
    colours = trace.marker.color
    if colours is None or isinstance(colours, str):
        colours = [_colour(trace)] * len(across)
    if trace.type == "bar":
        for n, path in enumerate(_bars(trace, x, y, slot)):
            yield Mark("bar", path, colours[n], _title(trace, n, x, y))
    elif trace.fill == "toself":
        yield Mark("area", _path(across[rows], up[rows]) + "Z", trace.fillcolor)
    elif "lines" in trace.mode:
        css = "line" + _dash(trace.line) + (" faint" if (trace.opacity or 1) < 0.5 else "")
        yield Mark(css, _path(*_thin(across[rows], up[rows])), _colour(trace), trace.name or "")
    for letter, axis in (("x", x), ("y", y)):
        for n, ends in enumerate(zip(*map(axis.place, _ends(trace, letter)), strict=True)):
            path = _path(ends, [up[n]] * 2) if letter == "x" else _path([across[n]] * 2, ends)
            yield Mark("whisker", path, "" if trace.type == "bar" else colours[n])
    for n in rows if trace.type == "scatter" and "markers" in trace.mode else ():
        path = _path([across[n]], [up[n]]) + "h0"
        yield Mark("dot", path, colours[n], _title(trace, n, x, y))


def _length(trace: Any) -> str:
    """The axis along which bars are long."""
    return "x" if trace.orientation == "h" else "y"


def _base(trace: Any) -> Any:
    """Where bars begin."""
    return 0.0 if trace.base is None else np.asarray(trace.base, dtype="float64")


def _bars(trace: Any, x: Axis, y: Axis, slot: tuple[float, float]) -> Iterator[str]:
    flat = _length(trace) == "x"
    along, names = (x, y) if flat else (y, x)
    lengths = np.asarray(trace[_length(trace)], dtype="float64")
    starts, ends = along.place(0 * lengths + _base(trace)), along.place(lengths + _base(trace))
    width = 100 / len(names.categories)
    middles = names.place(trace.y if flat else trace.x) + slot[0] * width
    half = slot[1] * width / 2
    for start, end, middle in zip(starts, ends, middles, strict=True):
        sides = [middle - half, middle + half, middle + half, middle - half]
        ways = [start, start, end, end]
        yield (_path(ways, sides) if flat else _path(sides, ways)) + "Z"


def _title(trace: Any, n: int, x: Axis, y: Axis) -> str:
    """What is said of a point under the pointer, with the interval where it has one."""
    said = f"{trace.name + ': ' if trace.name else ''}{x.text(trace.x[n])}, {y.text(trace.y[n])}"
    for low, high in (_ends(trace, "x"), _ends(trace, "y")):
        said += f" ({low[n]:.4g} to {high[n]:.4g})" if len(low) else ""
    return said


def _dash(line: Any) -> str:
    return "" if line.dash in (None, "solid") else " dash"


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
    """A path through points in percent from the left and bottom, in an SVG of 1000 by 1000."""
    points = [f"{a * 10:.5g} {1000 - b * 10:.5g}" for a, b in zip(x, y, strict=True)]
    return "M" + "L".join(points)
