"""The authors' metric on open-ended answers: by hand, and against their own figures."""

import json
import math
from pathlib import Path

import pytest

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.pipelines.score_answers import nodes
from rerec_pipeline.recbench.open_ended import (
    labelled_titles,
    read_titles,
    score_file,
    score_open_ended,
)

REAL = Path(__file__).parents[3] / "shared/recbench_plus"
GOLDEN = REAL / "golden_demographics"


class TestByHand:
    def test_titles_lose_quotes_spaces_and_year(self):
        response = "Heat (1995) [SEP]\n\"Alien\" [SEP] 'Brazil (1985)' [SEP] 2001"
        assert read_titles(response) == ["Heat", "Alien", "Brazil", "2001"]

    def test_two_of_three_at_ranks_one_and_three(self):
        truths = ["Toy Story (1995)", "The Usual Suspects (1995)", "Casablanca (1942)"]
        score = score_open_ended("Toy Story [SEP] Nothing [SEP] Usual Suspects, The", truths)
        # "Toy Story" against "Toy Story (1995)": 2*9 / (9+16) = .72: not alike enough
        assert score.recall == pytest.approx(0)
        score = score_open_ended("Toy Story (1995 [SEP] Nothing [SEP] The Usual Suspects", truths)
        # 2*15/(15+16) and 2*18/(18+25) = .837
        assert score.recall == pytest.approx(2 / 3)
        assert score.precision == pytest.approx(2 / 3)
        ideal = 1 + 1 / math.log2(3) + 1 / 2
        assert score.ndcg == pytest.approx((1 + 1 / 2) / ideal)
        assert score.ftr == 0

    def test_a_title_named_twice_counts_twice_in_ndcg_only(self):
        score = score_open_ended("Casablanca Now [SEP] Casablanca Now", ["Casablanca Now (1942)"])
        assert (score.recall, score.precision) == (1, 0.5)
        assert score.ndcg == pytest.approx(1 + 1 / math.log2(3))

    def test_an_answer_without_separator_fails_the_format(self):
        assert score_open_ended("I would recommend Heat", ["Heat (1995)"]).ftr == 1

    def test_a_cut_counts_the_first_titles_only(self):
        truths = ["Casablanca Now (1942)", "Another Long Title (1942)"]
        response = "Nothing [SEP] Casablanca Now [SEP] Another Long Title"
        cut = score_open_ended(response, truths, k=2)
        assert (cut.recall, cut.precision) == (0.5, 0.5)
        assert cut.ndcg == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


class TestFiles:
    def test_ids(self):
        profile = [{"query & ground true": [{"movie subset": ["A"]}, {}, {"movie subset": ["B"]}]}]
        assert labelled_titles(profile, "interest", "f") == {"0-0": ["A"], "0-1": ["B"]}
        condition = [{"data_idx": 7, "movieSubset": ["A"]}]
        assert labelled_titles(condition, "explicit", "f") == {"7": ["A"]}

    @pytest.mark.parametrize(
        ("records", "field"),
        [
            ([{"data_idx": 7, "movieSubset": []}], "movieSubset"),
            ([{"data_idx": 7, "movieSubset": [3]}], "movieSubset"),
            ([{"movieSubset": ["A"]}], "data_idx"),
            (["x"], "expected an object"),
            ({}, "expected a JSON list"),
        ],
    )
    def test_malformed_labels(self, records, field):
        with pytest.raises(BadInputError, match=field):
            labelled_titles(records, "explicit", "f")

    @pytest.mark.parametrize(
        ("answers", "problem"),
        [
            ([{"id": "1"}], "response"),
            ([{"response": "A"}], "field 'id'"),
            ([{"id": "2", "response": "A"}], "no query has the id '2'"),
            ([{"id": "1", "response": "A"}, {"id": 1, "response": "A"}], "answered twice"),
        ],
    )
    def test_malformed_answers(self, answers, problem):
        with pytest.raises(BadInputError, match=problem):
            score_file(answers, {"1": ["A"]}, "f")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (b'{"id": 1}\n{"id"', "line 2"),
            (b"[1]", "line 1"),
            (b"\n\n", "no record"),
            (
                b'{"id": "1", "response": "A"}\n{"id": "2", "response": "\xe9"}',
                "f, line 2: .*UTF-8",
            ),
        ],
    )
    def test_malformed_lines(self, text, problem):
        with pytest.raises(BadInputError, match=problem):
            nodes.score_answers(text, {"1": ["A"]}, "f", "explicit", [])


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the benchmark's files may not be shipped")
@pytest.mark.parametrize("model", ["DeepSeek-R1", "DeepSeek-V3", "gemini-1.5-pro", "gpt-4o-mini"])
def test_it_reproduces_the_authors_figures(model):
    predictions = next((GOLDEN / "predictions").glob(f"*_{model}-*"))
    golden = json.loads(next((GOLDEN / "eval_results").glob(f"*_{model}-*")).read_text())
    labels = nodes.read_labels("movie", str(REAL), "demographics")
    scores, means = nodes.score_answers(
        predictions.read_bytes(), labels, str(predictions), "demographics", [5]
    )
    assert list(scores) == ["id", "recall", "precision", "ndcg", "ftr"]
    assert len(scores) == len(golden) == 279
    expected = {row["id"]: row for row in golden}
    for row in scores.to_dict("records"):
        for name in ("recall", "precision", "ndcg", "ftr"):
            assert abs(row[name] - expected[row["id"]][name]) <= 1e-12
    assert set(means["demographics"]) == {"answers", "queries_without_answer", "all", "at_5"}
