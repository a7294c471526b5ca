"""A job of several ranks: the same numbers as one process, its failures, its end, going on."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from rerec_pipeline.errors import (
    BadInputError,
    BadParameterError,
    JobSubmitted,
    ReRecError,
    TrainingInterrupted,
)
from rerec_pipeline.models.backbone import load_backbone
from rerec_pipeline.parameters import LaunchParameters, LoraParameters
from rerec_pipeline.training import jobs, ranks
from rerec_pipeline.training.events import Events, failure_file
from rerec_pipeline.training.fine_tuning import rank_bound
from rerec_pipeline.training.jobs import Answering, RolloutTraining, SupervisedTraining
from rerec_pipeline.training.launching import LOG, answer_all, explain_failure, train
from rerec_pipeline.training.progress import check_launch
from tests.training.test_trainer import GROUP, PROMPTS, rft_parameters

LORA = {"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": "all-linear"}
CONFIGS = Path(__file__).parents[2] / "conf/accelerate"
#: What has to be the same, whatever the number of ranks; of lessons, the first of them.
SAME = ["loss", "grad_norm", "reward", "reward_std", "accuracy", "curriculum/batch_difficulty"]


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def launch(preset=None, processes=1, jobs="jobs"):
    return LaunchParameters(
        preset=preset, processes=processes, configs=str(CONFIGS), jobs=str(jobs)
    )


def training(material, backbone, folder, steps, **changes):
    """A fine-tuning of whole answers, some of which are right: there is something to learn."""
    task, reward, examples = material
    changes.setdefault("generation", {"max_completion_tokens": 24})
    budget = {"rollouts": steps * PROMPTS * GROUP}
    rft = rft_parameters(backbone, folder, budget=budget, **changes)
    return RolloutTraining(backbone, 0, examples, task, reward.context, rft)


class Follower:
    """Stands in for the logger of MLflow; may do something once a step is logged."""

    def __init__(self, step=-1, action=lambda: None):
        self.rewards, self.began, self.ended = {}, None, False
        self.step, self.action = step, action

    def on_train_begin(self, args, state, control, **_):
        self.began = state.global_step

    def on_step_end(self, *_, **__):
        pass

    def on_log(self, args, state, control, logs=None, **_):
        if "reward" in logs:
            self.rewards[state.global_step] = logs["reward"]
        if state.global_step == self.step:
            self.step = -1
            self.action()

    def on_train_end(self, *_, **__):
        self.ended = True


def assert_same(one, several):
    assert len(one.log) == len(several.log)
    on_rollouts = "reward" in one.log
    assert one.log["grad_norm"].min() > 0.01
    assert not on_rollouts or one.log["reward_std"].min() > 0.1
    for name in SAME if on_rollouts else SAME[:2]:
        expected = pytest.approx(one.log[name].tolist(), rel=1e-5, abs=1e-7)
        assert several.log[name].tolist() == expected, name
    assert several.epochs.to_json() == one.epochs.to_json()
    whole = several.policy.model.state_dict()
    for name, weight in one.policy.model.state_dict().items():
        assert whole[name].shape == weight.shape, name
        assert (whole[name] - weight).abs().max() < 1e-5, name


def ranks_of(job):
    """Processes of the ranks of a job, by their number."""
    found = [p for p in psutil.Process().children(recursive=True) if str(job) in p.cmdline()]
    workers = [p for p in found if "accelerate.commands.launch" not in p.cmdline()]
    return {int(p.environ()["RANK"]): p for p in workers}


@pytest.fixture(scope="module")
def work(material, warm_backbone, tmp_path_factory):
    return training(material, warm_backbone, tmp_path_factory.mktemp("work"), 4)


@pytest.fixture(scope="module")
def alone(work, tmp_path_factory):
    """What one process makes of four steps."""
    return train(work, launch(), tmp_path_factory.mktemp("alone"))


class TestTheSameNumbers:
    @pytest.mark.parametrize("preset", ["ddp", "fsdp"])
    def test_two_ranks_train_what_one_process_does(self, work, alone, tmp_path, preset):
        """Groups of 4 rollouts, 6 on each rank: one group is spread over both."""
        follower = Follower()
        several = train(work, launch(preset, 2), tmp_path, [follower])
        assert_same(alone, several)
        assert follower.rewards == dict(enumerate(several.log["reward"], start=1))
        assert follower.began == 0 and follower.ended
        assert several.summary["tokens"] == alone.summary["tokens"]

    @pytest.mark.slow
    @pytest.mark.parametrize(("preset", "processes"), [("ddp", 2), ("fsdp", 2), ("ddp", 3)])
    def test_for_twenty_steps(self, material, warm_backbone, tmp_path, preset, processes):
        longer = training(material, warm_backbone, tmp_path, 20)
        one = train(longer, launch(), tmp_path / "one")
        assert_same(one, train(longer, launch(preset, processes), tmp_path / "several"))

    @pytest.mark.slow
    def test_two_ranks_answer_what_one_process_does(self, material, warm_backbone, tmp_path):
        """Seven queries: four for one rank, three for the other."""
        policy = load_backbone(warm_backbone)
        asked = Answering(policy, material[2], 12, 3, "float32", "Answering")
        alone = answer_all(asked, launch())
        assert len(set(map(tuple, alone))) > 3
        assert answer_all(asked, launch("fsdp", 2, tmp_path / "jobs")) == alone
        assert not [*(tmp_path / "jobs").glob("answering-*")]


@pytest.mark.slow
class TestItsEnd:
    def test_a_killed_rank_ends_the_job_and_the_same_command_goes_on(self, work, alone, tmp_path):
        """Two ranks; one is killed after step 3; three go on from the checkpoint of step 2."""
        killed = []

        def kill():
            killed.append(time.monotonic())
            os.kill(ranks_of(tmp_path)[1].pid, signal.SIGKILL)

        with pytest.raises(ReRecError, match=r"rank 1 of 2 failed: it was killed .*SIGKILL.*again"):
            train(work, launch("ddp", 2), tmp_path, [Follower(3, kill)])
        assert time.monotonic() - killed[0] < 30
        assert not ranks_of(tmp_path)
        follower = Follower()
        several = train(work, launch("ddp", 3), tmp_path, [follower])
        assert follower.began == 2
        assert_same(alone, several)

    def test_ctrl_c_writes_a_checkpoint_that_one_process_goes_on_from(self, work, alone, tmp_path):
        follower = Follower(1, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(TrainingInterrupted, match=r"same command again .* step \d of 4"):
            train(work, launch("ddp", 2), tmp_path, [follower])
        assert not ranks_of(tmp_path)
        assert_same(alone, train(work, launch(), tmp_path))

    def test_a_rank_that_fails_says_why(self, work, tmp_path):
        shutil.copytree(work.name_or_path, tmp_path / "mute")
        (tmp_path / "mute/chat_template.jinja").unlink()
        broken = replace(work, name_or_path=str(tmp_path / "mute"))
        with pytest.raises(ReRecError, match=r"rank [01] of 2 failed: .*no chat template") as error:
            train(broken, launch("ddp", 2), tmp_path / "job")
        assert str(tmp_path / "job" / LOG) in str(error.value)


class TestGoingOn:
    NOW = {"ranks": 3, "sharding": "none"}  # noqa: RUF012

    def checkpoint(self, tmp_path, **said):
        (tmp_path / "launch.json").write_text(json.dumps(said))
        return tmp_path

    def test_with_another_number_of_ranks_where_numbers_depend_on_it(self, tmp_path):
        last = self.checkpoint(tmp_path, ranks=2, sharding="none")
        check_launch(last, self.NOW, None)
        with pytest.raises(BadParameterError, match=r"2 processes.*3.*vLLM.*launch.processes=2"):
            check_launch(last, self.NOW, "vLLM draws by itself")

    def test_with_weights_shared_out_otherwise(self, tmp_path):
        last = self.checkpoint(tmp_path, ranks=3, sharding="fsdp")
        with pytest.raises(BadParameterError, match=r"'fsdp'.*'none'.*launch.preset.*delete"):
            check_launch(last, self.NOW, None)

    @pytest.mark.parametrize(
        ("block", "changes", "said"),
        [
            ("budget", {"updates": 2}, "updates"),
            ("generation", {"vllm": True}, "vllm"),
            ("backbone", {"lora": LoraParameters(**LORA)}, "dropout"),
        ],
    )
    def test_what_numbers_depend_on(self, work, block, changes, said):
        assert rank_bound(work.rft) is None and "taught" in rank_bound(work.rft.supervised)
        changes = {block: getattr(work.rft, block).model_copy(update=changes)}
        assert said in str(rank_bound(work.rft.model_copy(update=changes)))


class TestTheJob:
    def test_it_holds_everything_but_the_backbone(self, work, tmp_path):
        work.write(tmp_path)
        read = RolloutTraining.read(tmp_path)
        assert read.examples == list(work.examples) and read.rft == work.rft
        assert (read.seed, read.name_or_path) == (0, work.name_or_path)
        assert (read.reward.bits == work.reward.bits).all()
        assert (read.reward.embeddings == work.reward.embeddings).all()
        assert read.task.catalogue.titles == work.task.catalogue.titles
        assert read.task.wording == work.task.wording

    def test_what_is_taught_is_in_it(self, work, tmp_path):
        lessons = [(example, f"reply {n}") for n, example in enumerate(work.examples)]
        taught = SupervisedTraining(work.name_or_path, 3, lessons, work.rft.supervised)
        taught.write(tmp_path)
        assert SupervisedTraining.read(tmp_path) == taught
        with pytest.raises(BadInputError, match="another kind"):
            RolloutTraining.read(tmp_path)

    def test_a_folder_that_is_none(self, tmp_path):
        with pytest.raises(BadInputError, match="is no JOB"):
            jobs.read_settings(tmp_path)

    def test_for_a_cluster_it_is_written_and_its_result_waited_for(self, work, alone, tmp_path):
        with pytest.raises(JobSubmitted, match=r"submit it as docs/scaling.md shows"):
            train(work, launch("multi_node", 4), tmp_path)
        submitted = RolloutTraining.read(tmp_path)
        events = Events(tmp_path)  # the cluster's part
        events.tell(event="on_log", step=1, logs={"reward": 0.5})
        submitted.write_result(tmp_path, alone)
        follower = Follower()
        tuned = train(work, launch("multi_node", 4), tmp_path, [follower])
        assert_same(alone, tuned)
        assert follower.rewards == {1: 0.5} and tuned.summary == alone.summary

    def test_a_line_that_is_being_written_is_read_when_it_is_whole(self, tmp_path):
        events, file = Events(tmp_path), tmp_path / "events.jsonl"
        file.write_text('{"n": 1}\n{"n"')
        assert [*events.new()] == [{"n": 1}]
        file.write_text('{"n": 1}\n{"n": 2}\n')
        assert [*events.new()] == [{"n": 2}] and [*events.new()] == []

    def test_the_rank_that_failed_first_is_named(self, tmp_path):
        (tmp_path / LOG).write_text(
            "Failures:\n[1]:\n rank : 0 (local_rank: 0)\n exitcode : 1 (pid: 7)\n"
            "Root Cause (first observed failure):\n[0]:\n rank : 1 (local_rank: 1)\n"
            " exitcode  : 1 (pid: 8)\n"
        )
        Events.fail(failure_file(tmp_path, 0), RuntimeError("connection closed"))
        Events.fail(failure_file(tmp_path, 1), BadInputError("x.txt", "is empty."))
        said = explain_failure(tmp_path, launch("ddp", 2), 1)
        assert said.startswith("rank 1 of 2 failed: x.txt: is empty. All that")

    def test_a_launcher_that_fails_by_itself(self, tmp_path):
        (tmp_path / LOG).write_text("no such option")
        assert "no such option" in explain_failure(tmp_path, launch("ddp", 2), 2)


def test_alone_there_is_one_rank_and_nothing_is_waited_for():
    assert (ranks.count(), ranks.rank(), ranks.is_main()) == (1, 0, True)
    ranks.wait()
    assert ranks.share("x") == "x" and ranks.gather("x") == ["x"]


def test_a_file_is_a_request_to_stop(tmp_path):
    with ranks.StopRequest("finishing", tmp_path / "stop") as stop:
        assert not stop.is_set_anywhere()
        (tmp_path / "stop").touch()
        assert stop.is_set_anywhere()
