"""A comparison as one HTML page that needs no network: first what was found, last how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from rerec_pipeline.reporting.comparison import (
    ALL,
    BETTER,
    REFERENCE,
    SAME,
    SEEDS,
    UNTRAINED,
    WORSE,
    arm_name,
)
from rerec_pipeline.reporting.comparison_plots import told_apart
from rerec_pipeline.reporting.comparison_report import p_text
from rerec_pipeline.reporting.plots import embedded

Row = Mapping[str, Any]

_STYLE = """
:root{color-scheme:light}
body{font:16px/1.55 system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;margin:0;
color:#1f2937;background:#f8fafc}
main{max-width:1080px;margin:0 auto;padding:2.2rem 1.2rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .2rem} .under{color:#64748b;margin:0 0 1.4rem}
section{background:#fff;border:1px solid #e2e8f0;border-radius:12px;padding:1.1rem 1.4rem;
margin:1.2rem 0}
h2{font-size:1.15rem;margin:.1rem 0 .5rem} h3{font-size:1rem;margin:1.2rem 0 .3rem}
p{max-width:75ch;margin:.4rem 0} .quiet{color:#64748b;font-size:.9rem}
.lead{font-size:1.15rem;max-width:none}
ul.found{list-style:none;margin:.6rem 0 .2rem;padding:0}
ul.found li{border-left:4px solid;border-radius:3px;padding:.35rem .8rem;margin:.5rem 0}
.better{border-color:#15803d!important;background:#f0fdf4}
.worse{border-color:#b91c1c!important;background:#fef2f2}
.seeds{border-color:#d97706!important;background:#fffbeb}
.same{border-color:#64748b!important;background:#f8fafc}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.42rem .55rem;border-bottom:1px solid #e2e8f0;vertical-align:top}
th{font-weight:600;color:#475569;vertical-align:bottom}
th:first-child,td:first-child{text-align:left;font-weight:600;overflow-wrap:anywhere}
td small,th small{display:block;color:#64748b;font-weight:400;font-size:.78rem;white-space:nowrap}
tr.reference td{background:#eff6ff} tr.aside td{color:#64748b;font-weight:400}
tr:last-child td{border-bottom:0}
.mark{display:inline-block;border-left:4px solid;padding:0 .5rem;border-radius:3px}
td pre{white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;margin:0;font-size:.8rem}
.cells th:last-child{text-align:left} summary{cursor:pointer;color:#2563eb;margin:.5rem 0}
"""

_CLASSES = {BETTER: "better", WORSE: "worse", SEEDS: "seeds", SAME: "same", REFERENCE: "same"}


def page(report: Row, figures: Mapping[str, go.Figure]) -> str:
    """The page.

    Args:
        report: What the comparison found; see ``report_comparison``.
        figures: ``accuracy``, ``differences``, ``faithfulness``, ``learning``, ``sensitivity``.

    Returns:
        HTML with Plotly's script in it, once.
    """
    experiment = report["experiment"]
    title = f"Variants compared: {experiment['name']}"
    sections = (
        _found(report),
        _accuracy(report, figures["accuracy"]),
        _differences(report, figures["differences"]),
        _faithfulness(report, figures["faithfulness"]),
        _learning(report, figures["learning"]),
        _sensitivity(report, figures["sensitivity"]),
        _cost(report),
        _published(report),
        _cells(report),
        _method(report),
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main><h1>{escape(title)}</h1>"
        f"<p class=under>{escape(_subtitle(report))}</p>{''.join(sections)}</main></body></html>\n"
    )


def _subtitle(report: Row) -> str:
    experiment, cells = report["experiment"], report["cells"]
    overall = _of_type(report, ALL)
    arms = sum(row["variant"] != UNTRAINED for row in overall)
    return (
        f"{experiment['dataset']}, {experiment['backbone']}: {_count(arms, 'variant')}, "
        f"{_count(cells['finished'], 'finished cell')}, "
        f"{_count(overall[0]['queries'], 'query', 'queries')} of the {experiment['split']} split "
        f"in {_count(overall[0]['clusters'], 'cluster')}"
    )


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


# -- sections ----------------------------------------------------------------------------------


def _found(report: Row) -> str:
    first, *others = report["headline"]
    sentences = "".join(
        f"<li class={_CLASSES[told['finding']]}>{escape(told['text'])}</li>" for told in others
    )
    notes = "".join(f"<li class=seeds>{escape(note)}</li>" for note in report["notes"])
    failed = len(report["cells"]["not_finished"])
    if failed:
        notes += (
            f"<li class=worse>{_count(failed, 'cell')} of this experiment "
            f"{'is' if failed == 1 else 'are'} not finished: see the end of this page.</li>"
        )
    return _section(
        "What was found", f"<p class=lead>{escape(first['text'])}</p>",
        f"<ul class=found>{sentences}{notes}</ul>",
        f"<p class=quiet>In parentheses: the difference in accuracy, its "
        f"{report['settings']['confidence']:.0%} interval, and the p value corrected for the "
        "number of comparisons.</p>",
    )  # fmt: skip


def _accuracy(report: Row, figure: go.Figure) -> str:
    kinds = list(dict.fromkeys(row["query_type"] for row in report["rows"]))
    sizes = {row["query_type"]: (row["queries"], row["clusters"]) for row in report["rows"]}
    head = [
        "",
        *(
            f"{escape(kind)}<small>n = {sizes[kind][0]}<br>{_count(sizes[kind][1], 'cluster')}"
            "</small>"
            for kind in kinds
        ),
    ]
    paper = report["published"]
    beside = (
        paper["accuracy"].get(report["experiment"]["dataset"], {}) if paper["same_setting"] else {}
    )
    body = []
    for name, own in _by_arm(report).items():
        theirs = beside.get(name, {})
        cells = [_with_interval(own[kind], "accuracy", theirs.get(kind)) for kind in kinds]
        body.append(_tr([_arm_cell(own[ALL]), *cells], _row_class(own[ALL])))
    for name, figures in {**report["baselines"], **_only_published(beside, report)}.items():
        cells = [f"{figures[kind]:.3f}" if kind in figures else "" for kind in kinds]
        body.append(_tr([escape(name), *cells], "aside"))
    below = "Rows in grey are answers without a language model, over the queries they can answer."
    if beside:
        below += " The paper's figures stand below ours, or in a row marked as published."
    return _section(
        "Accuracy by query type", "<p>Mean over seeds, with its interval below.</p>",
        _table(head, body), f"<p class=quiet>{below}</p>", _figure(figure, "accuracy"),
        _left_out(report),
    )  # fmt: skip


def _left_out(report: Row) -> str:
    if len(told_apart(report["rows"])) == len(report["rows"]):
        return ""
    return "<p class=quiet>Variants with a label are too many for this plot: see the tables.</p>"


def _only_published(beside: Mapping[str, Any], report: Row) -> dict[str, Any]:
    ran = set(_by_arm(report))
    return {f"{name} (published)": row for name, row in beside.items() if name not in ran}


def _differences(report: Row, figure: go.Figure) -> str:
    reference = _reference(report)
    return _section(
        f"Differences to {reference}",
        f"<p>Each query answered by both, mean over seeds. Left of zero is worse than "
        f"{escape(reference)}; an interval across zero leaves open which is better.</p>",
        _figure(figure, "differences"), _difference_table(report, ALL),
        "<details><summary>By query type</summary>"
        "<p class=quiet>Tests are corrected over the variants of one query type, not over the "
        "types: with many types, one small p value is to be expected.</p>",
        *(f"<h3>{escape(kind)}</h3>{_difference_table(report, kind)}" for kind in _types(report)),
        "</details>",
    )  # fmt: skip


def _difference_table(report: Row, kind: str) -> str:
    head = ["", "difference", "p", "p, corrected", "finding"]
    body = [
        _tr([
            _arm_cell(row),
            _with_interval(row, "difference", sign="+"),
            escape(p_text(row["p_value"]).removeprefix("= ")),
            escape(p_text(row["p_corrected"]).removeprefix("= ")),
            f"<span class='mark {_CLASSES[row['finding']]}'>{escape(row['finding'])}</span>",
        ])
        for row in _of_type(report, kind)
        if row["finding"] != REFERENCE
    ]  # fmt: skip
    return _table(head, body)


def _faithfulness(report: Row, figure: go.Figure) -> str:
    body = [
        _tr([_arm_cell(row), *(_percent(row, m) for m in ("facts_confirmed", "verdicts_true")),
             f"{row['well_formed']:.1%}"], _row_class(row))
        for row in _of_type(report, ALL)
    ]  # fmt: skip
    return _section(
        "Is the reasoning true?",
        "<p>Of the facts and verdicts that the reasoning states, the share that the attribute "
        "graph confirms. The dotted line is the backbone before fine-tuning. A variant that "
        "states nothing has no share.</p>",
        _figure(figure, "faithfulness"),
        _table(["", "facts that are true", "verdicts that are true", "answers boxed"], body),
    )


def _learning(report: Row, figure: go.Figure) -> str:
    silent = report["without_rollouts"]
    without = f" No rollouts, so no curve: {escape(', '.join(silent))}." if silent else ""
    return _section(
        "Learning curves",
        f"<p>Share of rollouts that are right, a moving mean over {report['settings']['window']} "
        "steps: the line is the mean over seeds, the band reaches from the lowest to the highest. "
        "These are the training queries as they were visited: a curriculum that turns to harder "
        f"ones lowers its curve.{without}</p>",
        _figure(figure, "learning"), _left_out(report),
    )  # fmt: skip


def _sensitivity(report: Row, figure: go.Figure) -> str:
    if not report["sensitivity"]:
        return ""
    return _section(
        "Sensitivity",
        "<p>Accuracy against each parameter that was swept, with intervals. The dotted line "
        "is the variant with its parameters as they stand.</p>",
        _figure(figure, "sensitivity"),
    )


def _cost(report: Row) -> str:
    columns = {
        "steps": ("steps", "{:,.0f}"), "rollouts": ("rollouts", "{:,.0f}"),
        "tokens": ("tokens", "{:,.0f}"), "token_passes": ("token passes", "{:,.0f}"),
        "seconds": ("training, s", "{:,.0f}"), "cell_seconds": ("whole cell, s", "{:,.0f}"),
    }  # fmt: skip
    body = [
        _tr([
            _arm_cell(cost),
            *(_value(cost.get(name), form) for name, (_, form) in columns.items()),
            _value(cost["peak_memory_bytes"], "{:,.2f}", 1e9),
        ])
        for cost in report["cost"]
    ]  # fmt: skip
    return _section(
        "Cost",
        _table(["", *(title for title, _ in columns.values()), "peak memory, GB"], body),
        "<p class=quiet>Means over seeds; memory is the largest. A token counts one pass when it "
        "is generated or read by the reference model, and three when it is trained on. A cell "
        "that shared its machine with others took longer.</p>",
    )


def _published(report: Row) -> str:
    paper, experiment = report["published"], report["experiment"]
    if paper["same_setting"]:
        return ""
    tables = []
    for dataset, systems in paper["accuracy"].items():
        kinds = list(dict.fromkeys(kind for row in systems.values() for kind in row))
        body = [
            _tr([escape(name), *(_value(row.get(kind), "{:.3f}") for kind in kinds)])
            for name, row in systems.items()
        ]
        tables.append(f"<h3>{escape(dataset)}</h3>{_table(['', *map(escape, kinds)], body)}")
    return _section(
        "What the paper reports, in another setting",
        f"<p>These figures are not to be held against the ones above: they are of "
        f"{escape(', '.join(paper['accuracy']))} with the backbone {escape(paper['backbone'])}, "
        f"this experiment is of {escape(experiment['dataset'])} with "
        f"{escape(experiment['backbone'])}, on {escape(experiment['split'])} queries.</p>",
        *tables, f"<p class=quiet>{_source(paper)}</p>",
    )  # fmt: skip


def _source(paper: Row) -> str:
    address = escape(paper["address"])
    return f"Source: {escape(paper['source'])}, <a href='{address}'>{address}</a>"


def _cells(report: Row) -> str:
    cells = report["cells"]["not_finished"]
    if not cells:
        return ""
    body = [
        _tr([
            escape(arm_name(cell["variant"], cell["label"])), str(cell["seed"]),
            escape(cell["state"]),
            f"<pre>{escape(cell['error'] or '')}</pre>",
        ])
        for cell in cells
    ]  # fmt: skip
    return _section(
        "Cells that are not finished",
        "<p>They are in none of the figures above.</p>",
        f"<div class=cells>{_table(['', 'seed', 'state', 'error'], body)}</div>",
    )


def _method(report: Row) -> str:
    settings = report["settings"]
    level = 1 - settings["confidence"]
    paper = report["published"]
    source = (
        f"<p class=quiet>Published figures: {_source(paper)}.</p>" if paper["same_setting"] else ""
    )
    return _section(
        "How to read this",
        f"<p><b>Intervals</b> are {settings['confidence']:.0%} percentile intervals of "
        f"{settings['bootstrap_samples']:,} resamples. Each draws seeds with replacement, and then "
        "clusters of queries with replacement, the same for all seeds and, in a difference, for "
        "both variants. Queries of a cluster share a text, or what they ask for and a right item: "
        "they are answered alike and are no independent evidence. With few seeds, what another "
        "seed could change is underestimated.</p>",
        "<p><b>P values</b> are of a two-sided permutation test: were two variants alike, each "
        "cluster's difference (mean over seeds) could as well have the other sign. It is about the "
        "policies that were trained, on queries like these; it does not ask what other seeds "
        "would give. They are corrected for the number of variants compared (Holm).</p>",
        f"<p><b>Significant</b> means: corrected p of at most {level:.2g}, and an interval that "
        "does not hold zero. Not significant does not mean equal: the interval says how large a "
        "difference the data leaves open.</p>",
        source,
    )  # fmt: skip


# -- parts ---------------------------------------------------------------------------------------


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _table(head: Sequence[str], body: Iterable[str]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    return f"<div class=scroll><table><tr>{titles}</tr>{''.join(body)}</table></div>"


def _tr(cells: Iterable[str], css: str = "") -> str:
    return f"<tr class='{css}'>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _figure(figure: go.Figure, name: str) -> str:
    """A figure without its own title, which the section has."""
    shown = go.Figure(figure)
    shown.update_layout(title=None, margin_t=50)
    return embedded(shown, f"plot-{name}")


def _by_arm(report: Row) -> dict[str, dict[str, Row]]:
    arms: dict[str, dict[str, Row]] = {}
    for row in report["rows"]:
        name = arm_name(row["variant"], row["label"])
        arms.setdefault(name, {})[row["query_type"]] = row
    return arms


def _of_type(report: Row, kind: str) -> list[Row]:
    return [row for row in report["rows"] if row["query_type"] == kind]


def _types(report: Row) -> list[str]:
    return [k for k in dict.fromkeys(row["query_type"] for row in report["rows"]) if k != ALL]


def _reference(report: Row) -> str:
    return arm_name(**report["reference"])


def _arm_cell(row: Row) -> str:
    seeds = "" if row["variant"] == UNTRAINED else f"<small>{_count(row['seeds'], 'seed')}</small>"
    return escape(arm_name(row["variant"], row["label"])) + seeds


def _row_class(row: Row) -> str:
    return "reference" if row["finding"] == REFERENCE else ""


def _with_interval(row: Row, name: str, published: float | None = None, sign: str = "") -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    text = f"{row[name]:{sign}.3f}<small>{low:{sign}.3f} to {high:{sign}.3f}</small>"
    return text if published is None else f"{text}<small>paper {published:.3f}</small>"


def _percent(row: Row, name: str) -> str:
    if row[name] is None:
        return "states none"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.1%}<small>{low:.1%} to {high:.1%}</small>"


def _value(value: float | None, form: str, unit: float = 1) -> str:
    return "not known" if value is None else form.format(value / unit)
