"""Requests in bulk: what a file may say, and that finished parts are not made again."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.errors import BadInputError
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.models.reasoner import PolicyReasoner
from rerec_pipeline.pipelines.recommend.nodes import _row, read_requests, recommend
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.storage import checkpoints
from rerec_pipeline.storage.parts import in_parts
from tests.assistant.conftest import WORDING
from tests.assistant.test_assistant import ASK
from tests.conftest import RETRIEVAL


def lines(*records) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


class TestRequests:
    def test_titles_become_items_and_numbers_ids(self, assistant):
        file = lines(
            {"request": ASK, "history": ["Ember"], "k": 2},
            {"id": "b", "request": "x", "candidates": ["The Harbor", "Ember (1994)"]},
        )
        (one, first), (two, second) = read_requests(file, "r.jsonl", assistant)
        assert (one, first.text, first.history, first.top) == ("1", ASK, [3], 2)
        assert (two, second.candidates, second.top) == ("b", [0, 3], 5)

    @pytest.mark.parametrize(
        ("records", "problem"),
        [
            ([{"request": "x"}, {"request": ""}], r"r\.jsonl.*request 2.*request: .*at least 1"),
            ([{"text": "x"}], r"request 1.*request: is missing"),
            ([{"request": "x", "history": ["Nowhere"]}], r"request 1.*'Nowhere' is no title"),
            ([{"id": 2, "request": "x"}, {"request": "y"}], r"request 2.*the id '2' occurs twice"),
        ],
    )
    def test_a_wrong_line_is_named(self, assistant, records, problem):
        with pytest.raises(BadInputError, match=f"(?s){problem}"):
            read_requests(lines(*records), "r.jsonl", assistant)

    def test_a_row_has_what_an_answer_has(self, assistant):
        ((name, request),) = read_requests(lines({"request": ASK, "k": 2}), "r", assistant)
        (answer,) = assistant.answer([request])
        row = _row(name, request, answer)
        assert row["titles"] == [item.title for item in answer.items] and len(row["scores"]) == 2
        assert [fact["status"] for fact in json.loads(row["facts"])] == [
            "confirmed", "contradicted",
        ]  # fmt: skip


class TestParts:
    def test_an_interrupted_work_goes_on_with_the_part_that_was_begun(self, tmp_path):
        done = []

        def work(rows, fails_at=None):
            if fails_at in rows:
                raise KeyboardInterrupt
            done.append(list(rows))
            return pd.DataFrame({"n": rows})

        with pytest.raises(KeyboardInterrupt):
            in_parts(range(7), 3, tmp_path / "a", lambda rows: work(rows, fails_at=4))
        table = in_parts(range(7), 3, tmp_path / "a", work)
        assert table["n"].tolist() == list(range(7))
        assert done == [[0, 1, 2], [3, 4, 5], [6]]

    def test_a_damaged_part_is_made_again(self, tmp_path):
        made = []

        def work(rows):
            made.append(list(rows))
            return pd.DataFrame({"n": rows})

        in_parts(range(4), 2, tmp_path / "a", work)
        (tmp_path / "a" / "rows-000002-000004.parquet").write_bytes(b"PAR1")
        assert in_parts(range(4), 2, tmp_path / "a", work)["n"].tolist() == [0, 1, 2, 3]
        assert made == [[0, 1], [2, 3], [2, 3]]

    def test_another_size_of_parts_neither_repeats_nor_leaves_out_a_row(self, tmp_path):
        def stops(rows):
            if 4 in rows:
                raise KeyboardInterrupt
            return pd.DataFrame({"n": rows})

        with pytest.raises(KeyboardInterrupt):
            in_parts(range(7), 4, tmp_path / "a", stops)
        table = in_parts(range(7), 2, tmp_path / "a", lambda rows: pd.DataFrame({"n": rows}))
        assert table["n"].tolist() == list(range(7))


class TestPartsOfAnswers:
    """Parts of an interrupted run are used again only where the same answers would be made."""

    @pytest.fixture
    def folders(self, catalogue, retriever, tiny_backbone, tmp_path):
        policy = load_backbone(tiny_backbone)
        kept = tmp_path / "checkpoints"

        def run(policy=policy, embeddings=0.0, popularity=1, pool=8, ranker=None):
            reasoner = PolicyReasoner(policy, "tiny", 4)
            task = RecTask(catalogue, WORDING)
            answering = Assistant(task, retriever.ordered_by(ranker), reasoner)
            settings = SimpleNamespace(checkpoint_dir=kept), SimpleNamespace(batch_size=1)
            numbers = {"items": torch.full((8, 2), embeddings)}
            table = pd.DataFrame({"interactions": [popularity] * 8})
            file = lines({"request": ASK})
            recommend(answering, file, "r", *settings, RETRIEVAL.model_copy(update={"pool": pool}),
                      numbers, table)  # fmt: skip
            checkpoints._finished.clear()
            return len([*kept.iterdir()])

        return run

    def test_the_same_run_finds_its_parts(self, folders):
        assert (folders(), folders()) == (1, 1)

    @pytest.mark.parametrize("change", [{"embeddings": 1.0}, {"popularity": 2}, {"pool": 7}])
    def test_another_graph_or_search_has_parts_of_its_own(self, folders, change):
        assert (folders(), folders(**change)) == (1, 2)

    def test_weights_count_by_where_they_come_from(self, folders, tiny_backbone, tmp_path):
        """An adapted model still has the name of the model under it."""
        folders()
        tuned = load_backbone(tiny_backbone)
        tuned.source = str(tmp_path)
        assert folders(policy=tuned) == 2
