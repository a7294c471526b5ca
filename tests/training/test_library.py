"""What others import: trainers in the manner of TRL, registries, data sets of queries, examples."""

import dataclasses
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from omegaconf import OmegaConf
from trl import GRPOConfig

from rerec_pipeline.errors import BadInputError, BadParameterError
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.recbench.task import Example
from rerec_pipeline.rerec.advantage import ADVANTAGES, AdvantageConfig, advantage
from rerec_pipeline.rerec.reward import TERMS, RewardData, term
from rerec_pipeline.training import (
    ReinforcePPConfig,
    ReinforcePPTrainer,
    ReRecConfig,
    ReRecTrainer,
    TaskRLOOConfig,
    TaskRLOOTrainer,
    evaluate,
    examples_from_dataset,
    examples_to_dataset,
    load_job,
)
from rerec_pipeline.training.jobs import RolloutTraining
from tests.training.test_trainer import rft_parameters

PROJECT = Path(__file__).parents[2]
SMALL = {
    "per_device_train_batch_size": 12, "num_generations": 4, "max_completion_length": 8,
    "logging_steps": 1, "save_strategy": "no", "use_cpu": True, "learning_rate": 1e-3,
}  # fmt: skip


def length(completion_ids, **_):
    """A reward function as TRL takes it."""
    return [float(len(ids)) for ids in completion_ids]


class TestTrainers:
    def make(self, material, model, tmp_path, kind=ReRecTrainer, config=ReRecConfig, **changes):
        task, reward, examples = material
        further = {k: changes.pop(k) for k in ("reward_funcs", "eval_dataset") if k in changes}
        args = config(str(tmp_path), **{**SMALL, **changes})
        data = RewardData(reward.context.bits, reward.context.embeddings)
        dataset = examples_to_dataset(examples)
        return kind(model, args, dataset, task=task, reward=data, **further)

    def test_a_model_by_name_and_a_further_reward(self, material, warm_backbone, tmp_path):
        seen = []

        def right(terms, query_id, **_):
            seen.extend(zip(query_id, terms, strict=True))
            return [of["ndcg"] for of in terms]

        trainer = self.make(
            material, warm_backbone, tmp_path, max_steps=2, reward_funcs=[length, right],
            reward_weights=[0.01, 2.0], term_weights={"ndcg": 1.0, "format": 0.1},
        )  # fmt: skip
        trainer.train()
        rows = [row for row in trainer.state.log_history if "loss" in row]
        assert len(rows) == 2
        for row in rows:
            mean = {n: row[f"rewards/{n}/mean"] for n in ("ndcg", "format", "length", "right")}
            assert mean["right"] == pytest.approx(mean["ndcg"])
            total = 1.0 * mean["ndcg"] + 0.1 * mean["format"]
            total += 0.01 * mean["length"] + 2.0 * mean["right"]
            assert row["reward"] == pytest.approx(total, abs=1e-5)
            assert row["diagnosis/weighted_term/length"] == pytest.approx(
                0.01 * mean["length"], abs=1e-6
            )
        assert {query for query, _ in seen} <= {e.query_id for e in material[2]}
        assert all(set(terms) == {"ndcg", "format"} for _, terms in seen)

    @pytest.mark.parametrize(
        ("kind", "config"),
        [
            (ReRecTrainer, ReRecConfig),
            (ReinforcePPTrainer, ReinforcePPConfig),
            (TaskRLOOTrainer, TaskRLOOConfig),
        ],
    )
    def test_what_is_passed_in_stays_as_it_was(
        self, material, warm_backbone, tmp_path, kind, config
    ):
        task, reward, examples = material
        args = config(str(tmp_path), max_steps=1, **SMALL)
        funcs, dataset = [length], examples_to_dataset(examples)
        before = {f.name: str(getattr(args, f.name)) for f in dataclasses.fields(args)}
        fingerprint = dataset._fingerprint
        trainer = kind(
            warm_backbone, args, dataset, task=task, reward=reward.context, reward_funcs=funcs
        )
        trainer.train()
        assert {f.name: str(getattr(args, f.name)) for f in dataclasses.fields(args)} == before
        assert funcs == [length] and dataset._fingerprint == fingerprint
        assert trainer.train_dataset is dataset
        assert trainer.args.reward_weights == [1.0, 0.01, 0.01, 0.1, 1.0]

    def test_without_a_number_of_steps_epochs_count(self, material, warm_backbone, tmp_path):
        """7 queries are 2 whole batches of 3; two passes over them are 4 generations."""
        trainer = self.make(material, warm_backbone, tmp_path, num_train_epochs=2)
        trainer.train()
        assert trainer.state.global_step == 4
        assert trainer.curriculum.visits == 12

    def test_it_evaluates(self, material, warm_backbone, tmp_path):
        trainer = self.make(
            material, warm_backbone, tmp_path, max_steps=1, per_device_eval_batch_size=4,
            eval_dataset=examples_to_dataset(material[2][:2]),
        )  # fmt: skip
        found = trainer.evaluate()
        assert 0 <= found["eval_accuracy"] <= 1
        assert trainer.curriculum.visits == 0

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"multi_objective_aggregation": "normalize_then_sum"}, "summed rewards"),
            ({"term_weights": {"novelty": 1.0}}, "novelty"),
            ({"tau": 2.0}, "tau"),
            ({"difficulty": "ndcg", "term_weights": {"format": 1.0}}, "difficulty='ndcg'"),
            ({"advantage": "none_such"}, "none_such"),
            ({"advantage_settings": {"w_penality": 0.1}}, "w_penality"),
            ({"w_penalty": 1.5}, "w_penalty"),
        ],
    )
    def test_a_wrong_setting_is_an_error_before_a_model_is_loaded(
        self, material, tmp_path, changes, message
    ):
        with pytest.raises(ValueError, match=message):
            self.make(material, "no/such-model", tmp_path, **changes)

    def test_a_missing_column_is_an_error_before_a_model_is_loaded(self, material, tmp_path):
        task, reward, _ = material
        dataset = Dataset.from_dict({"prompt": [[{"role": "user", "content": "?"}]], "truth": [0]})
        args = ReRecConfig(str(tmp_path), **SMALL)
        with pytest.raises(BadInputError, match="no column candidates"):
            ReRecTrainer("no/such-model", args, dataset, task=task, reward=reward.context)

    def test_the_defaults_are_those_of_conf(self, tmp_path):
        rft = OmegaConf.load(PROJECT / "conf/base/parameters_rft.yml")["rft"]
        config = ReRecConfig(str(tmp_path), use_cpu=True)
        assert config.term_weights == dict(rft.reward.weights)
        assert (config.ndcg_k, config.no_box_ndcg) == (rft.reward.k, rft.reward.no_box_ndcg)
        own = {
            "advantage": "name", "scale_rewards": "scale", "w_penalty": "w_penalty",
            "min_std": "min_std",
        }  # fmt: skip
        for field, name in own.items():
            assert getattr(config, field) == rft.advantage[name]
        curriculum = (config.curriculum, config.tau, config.review_after, config.difficulty)
        said = rft.curriculum
        assert curriculum == (said.enabled, said.tau, said.review_after, rft.difficulty)
        assert (config.beta, config.epsilon) == (rft.optimizer.beta, rft.optimizer.epsilon)
        assert config.temperature == rft.generation.temperature
        assert ReinforcePPConfig(str(tmp_path), use_cpu=True).reward_kl == rft.optimizer.reward_kl

    def test_every_setting_says_what_it_is(self):
        theirs = {field.name for field in dataclasses.fields(GRPOConfig)}
        ours = [f for f in dataclasses.fields(ReRecConfig) if f.name not in theirs]
        assert len(ours) > 10
        assert all(len(f.metadata["help"]) > 20 for f in ours)


class TestDataSets:
    def test_there_and_back(self, material):
        assert examples_from_dataset(examples_to_dataset(material[2])) == material[2]

    def test_one_query_without_anything_optional(self):
        example = Example("q", "explicit", [{"role": "user", "content": "?"}], 3, (3, 4))
        assert examples_from_dataset(examples_to_dataset([example])) == [example]

    def test_further_columns_may_be_missing(self):
        rows = {"prompt": [[{"role": "user", "content": "?"}]], "truth": [3], "candidates": [[3]]}
        (example,) = examples_from_dataset(Dataset.from_dict(rows))
        assert (example.truth, example.candidates, example.conditions) == (3, (3,), ())

    def test_a_column_that_only_some_rows_have_may_be_missing_in_a_row(self):
        row = {"prompt": [{"role": "user", "content": "?"}], "truth": 3, "candidates": [3]}
        full = {**row, "query_id": "q", "conditions": ["Genre: Drama"], "mentioned": [4]}
        _, bare = examples_from_dataset(Dataset.from_list([full, row]))  # filled up with None
        assert (bare.query_id, bare.query_type) == ("", "")
        assert (bare.conditions, bare.mentioned) == ((), frozenset())


class TestRegistries:
    @pytest.fixture
    def sign(self):
        @advantage("sign")
        def sign_of_reward(rewards, penalised, group_size: int, strength: float, floor: float = 0):
            return (strength * rewards.sign()).unsqueeze(1).expand(penalised.shape)

        yield sign_of_reward
        del ADVANTAGES["sign"]

    COMMON = {"w_penalty": 0.3, "scale": "group", "min_std": 0.0}  # noqa: RUF012

    def test_an_advantage_of_ones_own(self, sign):
        config = AdvantageConfig(name="sign", strength=0.5, **self.COMMON)
        rewards, mask = torch.tensor([1.0, -2.0]), torch.zeros((2, 3), dtype=torch.bool)
        assert config(rewards, mask, 2).tolist() == [[0.5] * 3, [-0.5] * 3]
        assert AdvantageConfig.model_validate(config.model_dump()) == config

    def test_its_settings_are_validated(self, sign):
        with pytest.raises(ValueError, match="Field required .strength, of the advantage 'sign'"):
            AdvantageConfig(name="sign", **self.COMMON)
        with pytest.raises(ValueError, match="valid number.*strength"):
            AdvantageConfig(name="sign", strength="much", **self.COMMON)
        with pytest.raises(ValueError, match="no advantage has a setting 'weight'"):
            AdvantageConfig(name="sign", strength=1, weight=2, **self.COMMON)

    def test_a_setting_of_another_advantage_does_no_harm(self, sign):
        config = AdvantageConfig(name="raae", strength=1, **self.COMMON)
        assert (
            set(config.settings()) >= {"w_penalty", "scale"} and "strength" not in config.settings()
        )

    def test_a_name_is_taken_once(self, sign):
        with pytest.raises(ValueError, match="'sign' already"):
            advantage("sign")(sign)
        with pytest.raises(ValueError, match="'qas' already"):
            term("qas")(TERMS["qas"])

    def test_a_term_says_which_data_it_lacks(self):
        data = RewardData(np.zeros((1, 1), dtype=np.uint64), np.eye(1))
        with pytest.raises(BadParameterError, match="rft.reward.data.popularity=FILE"):
            data.array("popularity")


def test_importing_the_package_is_cheap():
    code = "import rerec_pipeline.training, sys; assert not {'trl', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ImportError):
        from rerec_pipeline.training import NoSuchTrainer  # noqa: F401


class TestExamples:
    @pytest.fixture
    def run(self, monkeypatch, tmp_path, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(PROJECT / "examples"))

        def run(name):
            runpy.run_path(str(PROJECT / "examples" / name), run_name="__main__")
            return capsys.readouterr().out

        return run

    def test_without_kedro(self, run):
        """At most 40 lines; what it prints is the accuracy of five steps."""
        assert len((PROJECT / "examples/train_without_kedro.py").read_text().splitlines()) <= 40
        shares = [float(word) for word in run("train_without_kedro.py").splitlines()[-1].split()]
        assert len(shares) == 5
        assert all(0 <= share <= 1 for share in shares) and max(shares) > 0

    def test_data_of_ones_own(self, run, tmp_path, monkeypatch):
        """A JOB is read back whole, and accuracy is measured before and after training on it."""
        sample = runpy.run_path(str(PROJECT / "examples/train_without_kedro.py"))
        rft = rft_parameters(sample["POLICY"], tmp_path)
        rest = (sample["examples"][:60], sample["task"], sample["reward"], rft)
        RolloutTraining(sample["POLICY"], 0, *rest).write(tmp_path / "job")
        job = load_job(tmp_path / "job")
        assert job.examples == sample["examples"][:60] and job.rft == rft
        assert (job.reward.bits == sample["reward"].bits).all()

        monkeypatch.setattr(sys, "argv", ["train_your_data.py", str(tmp_path / "job"), "2"])
        before, after = run("train_your_data.py").splitlines()[-1].split(" -> ")
        graded = evaluate(load_backbone(sample["POLICY"]), job.examples[::10], job.task)
        assert float(before) == pytest.approx(graded.correct.mean(), abs=5e-4)
        assert graded.boxed.any() and 0 <= float(after) <= 1

    def test_what_is_no_job(self, tmp_path):
        with pytest.raises(BadInputError, match="is no JOB"):
            load_job(tmp_path)

    def test_a_reward_and_an_advantage_of_ones_own(self, run):
        try:
            printed = run("own_reward.py").splitlines()[-3:]
        finally:
            TERMS.pop("novelty", None)
            ADVANTAGES.pop("clipped", None)
        for line in printed:
            accuracy, novelty, brevity = map(float, line.split())
            assert 0 <= accuracy <= 1 and 0 < novelty < 1 and 0 <= brevity < 1
