"""What `kedro ask` and `kedro serve` import, in a process of its own, and that it is enough."""

import json
import subprocess
import sys

import pytest
from peft import LoraConfig, get_peft_model

from rerec_pipeline.models.backbone import load_backbone

ANSWERS = """
import json, sys, time
from rerec_pipeline.models.quick_start import import_transformers, quick_start
from rerec_pipeline.grounding.ranking import TreeRanker
from rerec_pipeline.recbench.task import Prompt
start = time.perf_counter()
with quick_start():
    import lightgbm
    import_transformers()
    import torch._dynamo.graph_utils  # as a torch with CUDA does
    from rerec_pipeline.models.backbone import load_backbone
    from rerec_pipeline.models.reasoner import PolicyReasoner
    reasoner = PolicyReasoner(load_backbone("data/06_models/base_policy"), "base", 8)
titles = ["Iron Canyon (1987)", "Winter Song (1990)"]
messages = [{"role": "user", "content": "; ".join(titles)}]
((text, scores),) = reasoner.reason([Prompt(messages, titles)])
modules = sorted(sys.modules)
import sklearn, torch._dynamo
real = callable(torch._dynamo.optimize) and torch._dynamo.__spec__ is not None
print(json.dumps({"seconds": time.perf_counter() - start, "modules": modules, "text": text,
                  "scores": scores.tolist(), "real": real, "sklearn": sklearn.__version__}))
"""
ADAPTED = """
import sys
from rerec_pipeline.models.quick_start import import_transformers, quick_start
with quick_start():
    import_transformers()
    from rerec_pipeline.models.backbone import load_backbone
    print(type(load_backbone(sys.argv[1]).model).__name__)
"""
UNNEEDED = {
    "mlflow", "peft", "plotly", "scipy.optimize", "scipy.stats",
    "sklearn", "torch._dynamo", "torch.distributed.tensor", "trl",
}  # fmt: skip


@pytest.fixture(scope="module")
def answered():
    done = subprocess.run(
        [sys.executable, "-c", ANSWERS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_answering_does_not_need_is_not_imported(answered):
    assert UNNEEDED & set(answered["modules"]) == set()


def test_it_answers_all_the_same(answered):
    assert sum(answered["scores"]) == pytest.approx(1) and min(answered["scores"]) > 0
    assert answered["seconds"] < 60


def test_what_was_hidden_can_be_imported_afterwards(answered):
    assert answered["real"] and answered["sklearn"]


def test_a_policy_with_an_adapter_is_loaded_as_well(tiny_backbone, tmp_path):
    backbone = load_backbone(tiny_backbone)
    lora = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    get_peft_model(backbone.model, lora).save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    command = [sys.executable, "-c", ADAPTED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "PeftModelForCausalLM", done.stderr
