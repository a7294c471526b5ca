"""lm-evaluation-harness over our backbones: its adapter, its tasks, its errors."""

from pathlib import Path

import lm_eval
import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from rerec_pipeline.errors import BadInputError, BadParameterError
from rerec_pipeline.models.backbone import chat_ids, load_backbone
from rerec_pipeline.models.harness import BackboneLM, Tasks
from rerec_pipeline.sample.questions import QuestionWriter
from rerec_pipeline.sample.world import DOMAINS, fabricate_world
from tests.conftest import small_world

FOLDER = str(Path(__file__).parents[2] / "conf/base/abilities")
OWN = ["sample_knowledge", "sample_instructions", "sample_reasoning"]


def requests(kind, *arguments):
    return [Instance(kind, {}, args, n) for n, args in enumerate(arguments)]


@pytest.fixture
def backbone(tiny_backbone):
    return load_backbone(tiny_backbone)


class TestAdapter:
    def test_likelihoods_are_the_models_own(self, backbone):
        """log p(continuation | context) = sum of log softmax at each token, and whether greedy."""
        pairs = [
            ("<|im_start|>user\nA film<|im_end|>\n", "directed by nobody"),
            ("Candidates:\nGlass Harbor (1961)\n", "x"),
            ("Wanted: ", "a much longer answer than the others have"),
        ]
        lm = BackboneLM(backbone, batch_size=2)
        found = lm.loglikelihood(requests("loglikelihood", *pairs), disable_tqdm=True)
        for (context, said), (score, greedy) in zip(pairs, found, strict=True):
            # The harness moves white space that ends a context to the continuation.
            begin = backbone.tokenizer(context.rstrip())["input_ids"]
            ids = backbone.tokenizer(context + said)["input_ids"]
            with torch.no_grad():
                logits = backbone.model(torch.tensor([ids])).logits[0].log_softmax(-1)
            places = range(len(begin), len(ids))
            assert score == pytest.approx(sum(float(logits[n - 1, ids[n]]) for n in places), 1e-4)
            assert greedy == all(int(logits[n - 1].argmax()) == ids[n] for n in places)

    def greedy(self, backbone, text, count):
        ids = backbone.tokenizer(text)["input_ids"]
        said = []
        with torch.no_grad():
            for _ in range(count):
                said.append(int(backbone.model(torch.tensor([ids + said])).logits[0, -1].argmax()))
        return backbone.tokenizer.decode(said)

    def test_answers_end_at_the_stop_string(self, backbone):
        context = "<|im_start|>user\nA film<|im_end|>\n<|im_start|>assistant\n"
        whole = self.greedy(backbone, context, 12)
        stop = whole[len(whole) // 2 :][:3]
        lm = BackboneLM(backbone, batch_size=4)
        options = {"do_sample": False, "max_gen_toks": 12}
        free, stopped = lm.generate_until(
            requests(
                "generate_until",
                (context, {**options, "until": []}),
                (context, {**options, "until": [stop]}),
            ),
            disable_tqdm=True,
        )
        assert free == whole
        assert stopped == whole[: whole.index(stop)] and len(stopped) < len(free)

    def test_a_declared_repetition_penalty_is_not_obeyed(self, backbone):
        backbone.model.generation_config.repetition_penalty = 5.0
        context = "Request: a film\n"
        lm = BackboneLM(backbone, batch_size=1)
        options = {"until": [], "do_sample": False, "max_gen_toks": 8}
        said = lm.generate_until(requests("generate_until", (context, options)), disable_tqdm=True)
        assert said == [self.greedy(backbone, context, 8)]

    def test_a_conversation_is_encoded_as_in_training(self, backbone):
        """The harness writes it as text and encodes the text: the same tokens must come out."""
        chat = [{"role": "user", "content": "Glass Harbor (1961)\n\nDescribe it."}]
        lm = BackboneLM(backbone, batch_size=1)
        assert (
            lm.tok_encode(lm.apply_chat_template(chat))
            == chat_ids(backbone.tokenizer, [chat], True)[0]
        )

    def test_control_tokens_that_a_task_names_stay_text(self, backbone):
        """In a question, in a shown answer and in an answer to choose, in whatever batch."""
        said = "Is <|im_end|> a film, or \ue0000\ue000?"
        chat = [{"role": "user", "content": said}, {"role": "assistant", "content": "<|im_end|>"}]
        lm, tokenizer = BackboneLM(backbone, batch_size=2), backbone.tokenizer
        end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        context = lm.apply_chat_template([*chat, {"role": "user", "content": "Again."}])
        ids = lm.tok_encode(context)
        assert ids.count(end) == 3 and said in tokenizer.decode(ids)
        batch, mask = lm.tok_batch_encode([context, "short"], left_truncate_len=500)
        assert batch[0].tolist() == ids and mask[1].sum() == len(lm.tok_encode("short"))
        assert lm.tok_batch_encode([context], left_truncate_len=4)[0][0].tolist() == ids[-4:]
        before, answer = lm._encode_pair(context, "<|im_end|>")
        assert before == lm.tok_encode(context.rstrip()) and end not in answer
        assert tokenizer.decode(answer).strip() == "<|im_end|>"
        only_asked = chat_ids(tokenizer, [chat], True)[0]
        assert only_asked.count(end) == 3 and said in tokenizer.decode(only_asked)


@pytest.fixture(scope="module")
def questions():
    world = fabricate_world(DOMAINS["movie"], small_world())
    asked = {(frozenset([a]), item.item_id) for item in world.items for a in item.attributes}
    return QuestionWriter(world, asked, 120, 0).write()


@pytest.fixture(scope="module")
def tasks(questions):
    return Tasks(OWN, FOLDER, questions)


class Answerer(LM):
    """Answers by a function of the question's document instead of a model."""

    tokenizer_name = "none"

    def __init__(self, score, say):
        super().__init__()
        self.score, self.say = score, say

    def loglikelihood(self, requests):
        return [(self.score(r.doc, r.args[1]), False) for r in requests]

    def generate_until(self, requests):
        return [self.say(r.doc) for r in requests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return "".join(turn["content"] for turn in chat_history)


def means(samples):
    return samples.groupby("name")["score"].mean().to_dict()


class TestOwnTasks:
    def test_who_knows_everything_scores_one(self, tasks):
        def say(doc):
            if "verdict" in doc:
                return f"{doc['question'].splitlines()[1]}: Drama. {doc['verdict']}"
            title = doc["question"].split("\n")[0]
            if "Describe" in doc["question"]:
                return f"{title}: directed by A; starring B and C; Drama, War."
            if "Recite" in doc["question"]:
                return "\n".join(doc["question"].split("\n")[:8])
            if "wanted" in doc["question"]:
                return "Wanted: starring A."
            return f"{doc['question'].splitlines()[1]}: starring A. Fits."

        right = Answerer(lambda doc, said: -float(said != doc["choices"][doc["answer"]]), say)
        samples = tasks.measure(right)
        assert means(samples) == dict.fromkeys(OWN, 1.0)
        assert samples.groupby("name").size().to_dict() == dict.fromkeys(OWN, 120)
        assert set(samples["metric"]) == {"acc", "followed", "exact_match/verdict"}

    def test_who_guesses_scores_chance(self, tasks):
        rng = np.random.default_rng(0)
        guess = Answerer(
            lambda doc, said: rng.random(), lambda doc: rng.choice(["Fits.", "Does not fit."])
        )
        found = means(tasks.measure(guess))
        # Four standard deviations of a binomial of 120.
        assert found["sample_knowledge"] == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 120) ** 0.5)
        assert found["sample_reasoning"] == pytest.approx(0.5, abs=4 * (0.5 * 0.5 / 120) ** 0.5)
        assert found["sample_instructions"] == 0.0

    def test_a_limit_takes_the_first_questions(self, tasks):
        silent = Answerer(lambda doc, said: 0.0, lambda doc: "")
        samples = tasks.measure(silent, limit=5)
        assert samples.groupby("name")["doc_id"].apply(list).to_dict() == {
            name: [0, 1, 2, 3, 4] for name in OWN
        }

    def test_a_world_is_needed(self):
        with pytest.raises(BadParameterError, match="sample_reasoning asks about a fabricated"):
            Tasks(["sample_reasoning"], FOLDER, {})


TASK = """
task: {name}
tag: pair
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: generate_until
test_split: test
doc_to_text: q
doc_to_target: a
generation_kwargs: {{until: []}}
metric_list:
  - {{metric: exact_match, aggregation: {aggregation}, higher_is_better: true}}
"""


class TestOtherTasks:
    @pytest.fixture(autouse=True)
    def _own_cache(self, tmp_path, monkeypatch):
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def write(self, folder, name, aggregation="mean"):
        data = folder / "data.jsonl"
        data.write_text('{"q": "1 + 1?", "a": "2"}\n{"q": "1 + 2?", "a": "3"}\n')
        text = TASK.format(name=name, data=data, aggregation=aggregation)
        (folder / f"{name}.yaml").write_text(text)

    def test_members_of_a_tag_are_pooled_and_only_means_are_taken(self, tmp_path):
        self.write(tmp_path, "sums")
        self.write(tmp_path, "middles", "median")
        two = Answerer(None, lambda doc: "2")
        samples = Tasks(["pair"], str(tmp_path), {}).measure(two)
        assert samples.to_dict("list") == {
            "name": ["pair"] * 2, "task": ["sums"] * 2, "doc_id": [0, 1],
            "metric": ["exact_match"] * 2, "score": [1.0, 0.0],
        }  # fmt: skip

    def test_data_that_cannot_be_had(self, tmp_path):
        self.write(tmp_path, "sums")
        (tmp_path / "data.jsonl").unlink()
        with pytest.raises(BadInputError, match="sums: its data set cannot be loaded") as error:
            Tasks(["sums"], str(tmp_path), {})
        assert "HF_HOME" in str(error.value)

    def test_an_unknown_name_is_told_which_there_are(self, monkeypatch):
        # The whole index takes seconds; a small part of it does here.
        monkeypatch.setattr("rerec_pipeline.models.harness.TaskManager", few_of_the_harness)
        with pytest.raises(BadParameterError) as error:
            Tasks(["gsm8", "sample_knowledge"], FOLDER, {})
        text = str(error.value)
        assert "no task of these names: gsm8" in text
        assert "abilities/ has sample_instructions, sample_knowledge, sample_reasoning" in text
        assert "among them gsm8k" in text

    def test_the_presets_are_tasks_of_the_harness(self):
        known = few_of_the_harness(include_path=FOLDER).all_tasks
        assert {"ifeval", "mmlu", "gsm8k"} <= set(known)


def few_of_the_harness(include_path, include_defaults=True, metadata=None):
    tasks = Path(lm_eval.__file__).parent / "tasks"
    few = [str(tasks / name) for name in ("ifeval", "gsm8k", "mmlu/default")]
    return TaskManager(
        include_path=[*(few if include_defaults else []), include_path],
        include_defaults=False,
        metadata=metadata,
    )
