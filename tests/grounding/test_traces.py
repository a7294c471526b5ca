"""Traces on the catalogue of eight films: what they say, and what they leave out."""

import pytest

from rerec_pipeline.grounding.traces import TraceWriter
from tests.assistant.conftest import WORDING

REQUEST = "I loved Night Train (1991). Another film by the same director, please."


def write(linker, truth, candidates, text=REQUEST, seed=0, ranked=True, evidence=2):
    wording = WORDING.model_copy(update={"evidence": evidence, "evidence_words": 300})
    return TraceWriter(linker, wording, ranked, seed).write(text, candidates, truth)


def test_a_trace_by_hand(linker):
    seed = next(n for n in range(20) if write(linker, 3, [2, 3, 5, 6], seed=n).count("\n") == 4)
    assert write(linker, 3, [2, 3, 5, 6], seed=seed).split("\n") == [
        "Wanted: directed by Ana Torv.",
        "Boat, The (Das Boot) (1981): Does not fit.",
        "Ember (1994): directed by Ana Torv, as Night Train was. Fits.",
        "Quiet Village (1996): Does not fit.",
        r"\boxed{Ember (1994)}",
    ]


def test_two_or_three_are_considered_in_the_order_they_are_listed(linker):
    counts = set()
    for seed in range(20):
        lines = write(linker, 3, [6, 2, 5, 3], seed=seed).split("\n")[1:-1]
        counts.add(len(lines))
        assert lines[-1].startswith("Ember") and lines[-1].endswith("Fits.")
        assert lines[0].startswith("Long Winter")
    assert counts == {2, 3}


def test_one_that_has_all_that_is_wanted_is_never_called_wrong(linker):
    traces = [write(linker, 3, [0, 3, 5, 6], seed=n) for n in range(20)]
    assert not any("Harbor" in trace for trace in traces)  # Ana Torv directed it, too


def test_where_candidates_are_drawn_those_with_evidence_are_considered(linker):
    text = "A film with Mara Lind and Otto Beck, please."
    trace = write(linker, 2, [6, 3, 5, 2], text, ranked=False)
    assert "Quiet Village (1996): starring Mara Lind. Does not fit." in trace
    assert trace.startswith("Wanted: directed by Otto Beck; starring Mara Lind.")


def test_without_a_known_fact_the_answer_alone_is_told(linker):
    trace = write(linker, 7, [7, 6], "Surprise me.")
    assert "Wanted" not in trace and trace.startswith("Mara Lind (1999): Fits.\n")


@pytest.mark.parametrize("evidence", [0, 2])
def test_facts_are_those_that_a_prompt_shows_or_that_one_may_remember(linker, evidence):
    assert "directed by Ana Torv" in write(linker, 3, [3, 5], evidence=evidence)


def test_a_refuted_claim_is_not_wanted(linker):
    text = "Night Train (1991), which Otto Beck directed, was great. More by that director!"
    trace = write(linker, 3, [2, 3, 5], text)
    assert trace.startswith("Wanted: directed by Ana Torv.")
