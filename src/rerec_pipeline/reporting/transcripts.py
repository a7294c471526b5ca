"""Sample transcripts that a person can read: query, reasoning, answer, truth, penalised parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from rerec_pipeline.recbench.task import Example
from rerec_pipeline.recbench.titles import Catalogue
from rerec_pipeline.training.rollouts import ScoredRollouts

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;color:#1f2937}
article{border:1px solid #e5e7eb;border-radius:8px;margin:1.2rem 0;padding:1rem 1.2rem}
h1{font-size:1.4rem} h2{font-size:1rem;margin:0;color:#6b7280;font-weight:600}
.query{font-size:1.05rem;margin:.3rem 0 .8rem}
.columns{display:grid;grid-template-columns:1fr 1fr;gap:1.2rem}
.paragraph{margin:.15rem 0;padding:.1rem .4rem;border-left:3px solid transparent}
.penalised{background:#fef3c7;border-left-color:#d97706}
.right{color:#15803d;font-weight:600}.wrong{color:#b91c1c;font-weight:600}
.legend{background:#fef3c7;border-left:3px solid #d97706;padding:.1rem .4rem}
"""


@dataclass(frozen=True)
class Told:
    """One completion as it is shown."""

    paragraphs: tuple[str, ...]
    penalised: frozenset[int]
    answer: str
    right: bool
    qas: float
    pas: float


def tell(scored: ScoredRollouts, row: int) -> Told:
    """One scored completion as it is shown."""
    answer = scored.graded.answers[row].content
    return Told(
        paragraphs=scored.paragraphs[row],
        penalised=frozenset(scored.penalised[row]),
        answer="(nothing boxed)" if answer is None else answer,
        right=bool(scored.graded.correct[row]),
        qas=float(scored.scored.terms["qas"][row]),
        pas=float(scored.scored.terms["pas"][row]),
    )


def pick(examples: Sequence[Example], per_type: int, seed: int) -> list[int]:
    """Positions of some examples of every query type, chosen by seed and not by outcome."""
    rng = np.random.default_rng(seed)
    picked: list[int] = []
    for query_type in dict.fromkeys(e.query_type for e in examples):
        rows = [n for n, e in enumerate(examples) if e.query_type == query_type]
        picked += sorted(rng.permutation(rows)[:per_type].tolist())
    return picked


def transcript_table(
    examples: Sequence[Example],
    texts: Sequence[str],
    before: ScoredRollouts,
    after: ScoredRollouts,
    catalogue: Catalogue,
    rows: Sequence[int],
) -> pd.DataFrame:
    """Chosen transcripts, one row each; penalised paragraphs are marked with a leading ``>> ``."""
    table = []
    for row in rows:
        entry: dict[str, str | bool] = {
            "query_id": examples[row].query_id,
            "query_type": examples[row].query_type,
            "query": texts[row],
            "truth": catalogue.titles[examples[row].truth],
        }
        for name, scored in (("before", before), ("after", after)):
            told = tell(scored, row)
            entry[f"answer_{name}"] = told.answer
            entry[f"right_{name}"] = told.right
            entry[f"reasoning_{name}"] = "\n".join(
                f">> {text}" if n in told.penalised else text
                for n, text in enumerate(told.paragraphs)
            )
        table.append(entry)
    return pd.DataFrame(table)


def transcript_page(
    examples: Sequence[Example],
    texts: Sequence[str],
    before: ScoredRollouts,
    after: ScoredRollouts,
    catalogue: Catalogue,
    rows: Sequence[int],
    title: str,
) -> str:
    """The same as one HTML page, before and after side by side."""
    shown = (examples, texts, before, after, catalogue)
    articles = [transcript_article(*shown, row) for row in rows]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>"
        "<p>Chosen by seed, not by outcome. <span class=legend>Marked</span> paragraphs bring up "
        "a wrong recommendation: reasoning-aware advantages pay them less.</p>"
        f"{''.join(articles)}</html>\n"
    )


def transcript_article(
    examples: Sequence[Example],
    texts: Sequence[str],
    before: ScoredRollouts,
    after: ScoredRollouts,
    catalogue: Catalogue,
    row: int,
) -> str:
    """One query as a part of a page: what was asked, and both answers beside each other."""
    truth = escape(catalogue.titles[examples[row].truth])
    return (
        f"<article><h2>{escape(examples[row].query_type)} &middot; "
        f"{escape(examples[row].query_id)}</h2>"
        f"<p class=query>{escape(texts[row])}</p>"
        f"<p>Right answer: <span class=right>{truth}</span></p><div class=columns>"
        f"{_column('Before', tell(before, row))}{_column('After', tell(after, row))}"
        "</div></article>"
    )


def _column(name: str, told: Told) -> str:
    paragraphs = "".join(
        f"<p class='paragraph{' penalised' if n in told.penalised else ''}'>{escape(text)}</p>"
        for n, text in enumerate(told.paragraphs)
    )
    verdict = "right" if told.right else "wrong"
    return (
        f"<div><h2>{name}</h2>{paragraphs}<p>Answer: <span class={verdict}>{escape(told.answer)}"
        f"</span> &middot; QAS {told.qas:.2f} &middot; PAS {told.pas:.2f}</p></div>"
    )
