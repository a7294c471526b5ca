"""Every benchmark at a tiny size: it runs, and its reference agrees. No times are judged."""

import json

import numpy as np
import pytest
from transformers import LlamaConfig

from benchmarks import (
    lightgcn_lastfm,
    lightgcn_step,
    networkx_reward,
    plan,
    ranking,
    reward,
    sharing,
    speed,
    tokens,
)
from benchmarks.measure import Section
from rerec_pipeline.errors import BadInputError

STEP = lightgcn_step.Size(users=60, items=40, interactions=600, batch=64, pairs=2)


def agreements(section) -> list[bool]:
    """Whether ours and the reference agree, for every figure that says so."""
    checks = [c.met for c in section.checks if "differ" in c.what or "exact" in c.what]
    assert checks
    return checks


def test_training_step():
    section = lightgcn_step.run(STEP)
    assert all(agreements(section))
    assert [row[0] for row in section.rows] == ["training step", "negatives of an epoch"]
    assert len(section.checks) == 3


def test_negatives_of_the_reference_are_unseen():
    graph = lightgcn_step.make_graph(STEP)
    seen = [set(graph.items[graph.users == user].tolist()) for user in range(60)]
    drawn = lightgcn_step.draw_negatives(graph, graph.users, seen)
    assert len(drawn) == len(graph) == 600
    assert not any(item in seen[user] for user, item in zip(graph.users, drawn, strict=True))


def test_ranking():
    assert all(agreements(ranking.run(ranking.Size(STEP, dim=4, pairs=2))))


def test_reward():
    size = reward.Size(60, 100, 300, prompts=6, rollouts=3, posts=5, pairs=2)
    section = reward.run(size)
    assert len(agreements(section)) == 4  # K = 1 and 10, in process and over HTTP
    assert all(agreements(section))
    assert [row[:2] for row in section.rows] == [
        [k, name]
        for k in ("1", "10")
        for name in ("networkx, in process", "service, one POST each")
    ]


def test_the_networkx_reward_by_hand():
    # film 1 shares one of the two attributes of film 0, and its embedding is orthogonal
    world = networkx_reward.World(
        ["A (1990)", "B (1991)"],
        [(0, "Genre", "x"), (0, "Directed_by", "y"), (1, "Genre", "x"), (1, "Starring", "y")],
        np.array([[1.0, 0.0], [0.0, 2.0]]),
    )
    plain = networkx_reward.NetworkxReward(world, k=1)
    assert plain("\\boxed{b}", 0, [0, 1]) == pytest.approx(0.01 * 0.5 + 0.05)
    assert plain("\\boxed{A (1990)}", 0, [0, 1]) == pytest.approx(1 + 0.01 + 0.01 + 0.05)
    assert plain("\\boxed{B}", 0, [0]) == pytest.approx(0.05)
    assert plain("none", 0, [0, 1]) == pytest.approx(-0.55)


def test_tokens():
    size = tokens.Size(completions=8, tokens=60, vocabulary=400, pairs=2)
    section = tokens.run(size)
    assert agreements(section) == [True]
    assert section.rows[0][-1] == "8 texts, 8 paragraphs"
    assert section.rows[0][-2].startswith("0 texts")  # the reference's text is wrong throughout


class TestSharing:
    def test_the_sample(self):
        size = sharing.Size(prompts=2, group=2, prompt=0, completion=6, pairs=1, steps=1)
        section = sharing.sample(size)
        assert all(agreements(section))
        assert section.checks[-1].met and section.checks[-1].what.endswith("in 2 of 2 steps")
        assert set(section.ratios) == {"share_prompts_sample", "step_sample"}

    def test_a_random_model(self):
        config = LlamaConfig(
            vocab_size=50, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
        )  # fmt: skip
        section = sharing.large(sharing.Size(1, 2, prompt=5, completion=3, pairs=1), config)
        assert all(agreements(section))
        assert set(section.ratios) == {"share_prompts_135m"}


def test_ratios_of_parts_that_are_not_run_are_kept(tmp_path):
    path = tmp_path / "08_reporting" / "benchmarks.json"
    for ratios in ({"a": 1.23456, "b": 2.0}, {"b": 3.0}):
        speed.keep(path, Section("", "", [], [], [], ratios))
    assert json.loads(path.read_text()) == {"a": 1.235, "b": 3.0}


def test_a_part_that_fails_loses_no_other(tmp_path, monkeypatch, capsys):
    def fails():
        raise RuntimeError("no assistant")

    monkeypatch.setattr(speed, "RATIOS", tmp_path / "benchmarks.json")
    done = Section("Done", "", [], [], [], {"a": 2.0})
    monkeypatch.setattr(speed, "PARTS", {"done": lambda: done, "fails": fails})
    with pytest.raises(RuntimeError, match="no assistant"):
        speed.main([])
    assert "### Done" in capsys.readouterr().out
    assert json.loads((tmp_path / "benchmarks.json").read_text()) == {"a": 2.0}


def test_an_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        speed.main(["step", "steps"])
    assert "unknown parts ['steps']" in capsys.readouterr().err


class TestLastfm:
    def write(self, folder, train="1\t1\t5\n1\t2\t3.2e+05\n2\t3\t1\n", test="1\t3\t9\n2\t4\t1\n"):
        (folder / "data1.txt").write_text(train)
        (folder / "test1.txt").write_text(test)
        return folder

    def test_ids_are_counted_from_one(self, tmp_path):
        train, test = lightgcn_lastfm.read_split(self.write(tmp_path))
        assert (train.n_users, train.n_items) == (2, 4)
        assert list(zip(train.users, train.items, strict=True)) == [(0, 0), (0, 1), (1, 2)]
        assert list(zip(test.users, test.items, strict=True)) == [(0, 2), (1, 3)]

    @pytest.mark.parametrize(
        ("train", "problem"),
        [("", "at least one"), ("0\t1\t1\n", "from 1"), ("1,1,1\n", "user, item")],
    )
    @pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
    def test_a_bad_file_is_named(self, tmp_path, train, problem):
        with pytest.raises(BadInputError, match=rf"data1\.txt: .*{problem}"):
            lightgcn_lastfm.read_split(self.write(tmp_path, train=train))

    def test_a_missing_folder_is_named(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as ended:
            lightgcn_lastfm.main(["--data", str(tmp_path / "nowhere")])
        assert "nowhere" in str(ended.value.code)

    def test_a_short_run_reports_and_has_no_bar(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as ended:
            lightgcn_lastfm.main(["--data", str(self.write(tmp_path)), "--epochs", "2"])
        assert ended.value.code == 0
        assert "| 2 | " in capsys.readouterr().out

    @pytest.mark.parametrize(("recall", "met"), [(0.265, True), (0.264, False)])
    def test_the_bars_are_those_at_500_epochs(self, tmp_path, recall, met):
        train, _ = lightgcn_lastfm.read_split(self.write(tmp_path))
        scores = {60: {"recall": 0.1, "ndcg": 0.1}, 500: {"recall": recall, "ndcg": 0.205}}
        section = lightgcn_lastfm.report(scores, train)
        assert [check.met for check in section.checks] == [met, True]
        assert section.rows[0] == ["60", "0.1000", "0.1000", "0.1924", "0.1397"]


def test_a_card_is_not_measured_on_a_processor(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device to measure as h100-80gb"):
        plan.main(["--card", "h100-80gb"])
