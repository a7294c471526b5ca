"""``kedro ask`` after a run, as it is typed; and the policy's folder, as the Hub would take it."""

import json
import re
import shlex

import pandas as pd
import pytest
from click.testing import CliRunner
from huggingface_hub import HfApi, ModelCard
from kedro.framework.startup import bootstrap_project

from rerec_pipeline.commands.asking import _address, ask, serve
from tests.loopback import JsonHandler, serving
from tests.models.test_remote import server as remote  # noqa: F401
from tests.pipelines.test_sample import RUN

PARAMS = ("--params", "dataset=sample_book")


@pytest.fixture(scope="module")
def typed(finished):
    """Runs a command with its arguments."""
    project = bootstrap_project(finished)

    def run(command, *arguments, **more):
        return CliRunner().invoke(command, [*arguments, *PARAMS], obj=project, **more)

    return run


@pytest.fixture(scope="module")
def titles(finished):
    items = pd.read_parquet(finished / "data/02_intermediate/sample_book/items.parquet")
    return items["title"].tolist()


class TestAsk:
    def test_json_is_one_object_and_nothing_else(self, typed, titles, tmp_path):
        listed = tmp_path / "titles.txt"
        listed.write_text("\n".join(titles[:6]) + "\n\n", encoding="utf-8")
        history = f"{titles[0]}; {titles[1]}"
        done = typed(
            ask, "a novel", "--history", history, "--candidates", str(listed), "--top", "3",
            "--json",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert set(found) == {"items", "reasoning", "facts", "request_facts", "policy"}
        assert len(found["items"]) == 3 and found["policy"] == "sample_book/tiny/rerec/seed-0"
        assert {item["title"] for item in found["items"]} <= set(titles[2:6])
        scores = [item["score"] for item in found["items"]]
        assert scores == sorted(scores, reverse=True) and done.stderr == ""

    def test_under_the_recommendation_stand_the_facts_with_signs(self, typed, titles):
        done = typed(ask, f"I loved {titles[0]}. Another one by its author, please.")
        assert re.search(r"I recommend .+\.", done.stdout)
        for line in done.stdout.partition("Stated:")[2].splitlines()[1:]:
            assert re.match(r"  [✓✗?] .+ \((confirmed|contradicted|unknown)\)$", line)

    def test_a_conversation_recommends_nothing_twice(self, typed):
        done = typed(ask, "--policy", "graph", "--json", input="a novel\nanother one\n\nnot read\n")
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        one, two = (answer["items"][0]["title"] for answer in answers)
        assert one != two

    def test_without_a_trained_policy_the_backbone_answers_and_it_says_so(self, finished, typed):
        project, params = bootstrap_project(finished), "dataset=sample_book,seed=77"
        done = CliRunner().invoke(ask, ["a novel", "--params", params], obj=project)
        assert "There is no trained policy: the backbone answers as it is." in done.stderr
        assert params in done.stderr and "I recommend " in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (("",), "nothing to answer"),
            (("x", "--history", "Nowhere"), "'Nowhere' is no title of the catalogue"),
            (("x", "--candidates", "{folder}/none"), "does not exist"),
            (("x", "--candidates", "{folder}/empty"), "names no title"),
            (("x", "--candidates", "{folder}/binary"), "line 1"),
            (("x", "--candidates", "{folder}/wrong"), "'Nowhere' is no title of the catalogue"),
            (("x", "--top", "0"), "0 is not in the range"),
            (("x", "--policy", "best"), "'best' is not one of"),
            (("x", "--policy-url", "http://127.0.0.1:9/v1"), "does not answer"),
            (("x", "--policy-url", "http://h/v1", "--policy", "graph"), "give one"),
            (("x", "--policy-model", "m"), "--policy-model names a policy of --policy-url"),
        ],
    )
    def test_a_wrong_use_is_a_sentence(self, typed, tmp_path, arguments, problem):
        files = {"empty": b"\n", "binary": b"\xff\xfe", "wrong": b"Nowhere\n"}
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        done = typed(ask, *(text.format(folder=tmp_path) for text in arguments))
        assert done.exit_code in (1, 2) and isinstance(done.exception, SystemExit)
        assert problem in done.stderr and done.stdout == ""
        assert "Traceback" not in done.output

    def test_others_are_let_in_with_a_token_only(self, typed, monkeypatch):
        monkeypatch.delenv("REREC_TOKEN", raising=False)
        done = typed(serve, "--host", "0.0.0.0")
        assert done.exit_code == 1 and "set a token in REREC_TOKEN first" in done.stderr

    @pytest.mark.parametrize(
        "given",
        [PARAMS, ("--policy", "base"), ("--policy-url", "http://h/v1"), ("--policy-model", "m")],
    )
    def test_what_a_logged_run_would_ignore_is_refused(self, finished, given):
        arguments = ["--run", "abc", *given]
        done = CliRunner().invoke(serve, arguments, obj=bootstrap_project(finished))
        assert done.exit_code == 1 and f"leave out {given[0]}\n" in done.stderr

    def test_a_suggested_command_can_be_typed(self, finished):
        params = "dataset=sample_book,requests=a {b} 'c',seed=78"
        done = CliRunner().invoke(
            ask, ["a novel", "--policy", "trained", "--params", params],
            obj=bootstrap_project(finished),
        )  # fmt: skip
        command = done.stderr.partition("Make it with: ")[2]
        assert shlex.split(command) == ["kedro", "run", "--pipelines", "rft", "--params", params]

    def test_an_address_of_ipv6_has_brackets(self):
        assert _address("::1", 8000) == "http://[::1]:8000"
        assert _address("127.0.0.1", 8000) == "http://127.0.0.1:8000"

    def test_the_policy_may_be_on_another_server(
        self,
        typed,
        titles,
        remote,  # noqa: F811
        tmp_path,
        monkeypatch,
    ):
        monkeypatch.setenv("REREC_POLICY_TOKEN", "secret")
        listed, chosen = tmp_path / "titles.txt", titles[3]
        listed.write_text("\n".join(titles[:5]), encoding="utf-8")
        remote.says = f"{chosen}: fits.\n\\boxed{{{chosen}}}"
        arguments = ("--candidates", str(listed), "--policy-url", remote.url, "--json")
        found = json.loads(typed(ask, "a novel", *arguments).stdout)
        assert found["items"][0]["title"] == chosen and found["policy"] == "policy"
        assert found["reasoning"] == f"{chosen}: fits."
        named = json.loads(typed(ask, "a novel", *arguments, "--policy-model", "other").stdout)
        assert named["policy"] == "other"
        (token, body), (_, other) = remote.asked
        assert (body["model"], other["model"]) == ("policy", "other")
        assert token == "Bearer secret" and all(t in str(body["messages"]) for t in titles[:5])


class Hub(JsonHandler):
    """As much of the Hub as an upload asks for; keeps the files of a commit."""

    def post(self, body):
        reply = {"commitUrl": "https://huggingface.co/me/policy/commit/0", "commitOid": "0"}
        if "preupload" in self.path:
            files = json.loads(body)["files"]
            kept = {"uploadMode": "regular", "shouldIgnore": False}
            reply = {"files": [{"path": file["path"], **kept} for file in files]}
        elif "yaml" in self.path:
            reply = {"errors": [], "warnings": []}
        else:
            told = [json.loads(line) for line in body.splitlines()]
            self.server.sent = [row["value"]["path"] for row in told if row["key"] == "file"]
        self.reply(reply)


def test_the_policys_folder_can_be_uploaded_as_it_is(finished, monkeypatch):
    """The card is there after a run, and the Hub is sent the model and nothing else."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    folder = finished / "data/06_models" / RUN / "policy"
    with serving(Hub) as hub:
        HfApi(hub.url, token="none").upload_folder(
            repo_id="me/policy", folder_path=folder, ignore_patterns="*.records/*"
        )
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(hub.sent)
    assert not [path for path in hub.sent if "record" in path or "partial" in path]
    card = ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "text-generation"
    metrics = json.loads((finished / "data/08_reporting" / RUN / "metrics.json").read_text())
    assert f"| after | {metrics['after']['accuracy']:.3f} |" in card.text
