"""Decoding under a form: what may be written, in rows that go on and rows that have ended."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rerec_pipeline.assistant.assistant import Assistant
from rerec_pipeline.grounding.traces import TraceWriter
from rerec_pipeline.models.backbone import Backbone
from rerec_pipeline.models.forms import Forms
from rerec_pipeline.models.generation import answer, generate
from rerec_pipeline.models.phrase_tokenizer import build_phrase_tokenizer
from rerec_pipeline.models.reasoner import PolicyReasoner
from rerec_pipeline.recbench.task import Example, RecTask
from tests.assistant.conftest import WORDING

REQUEST = "I loved Night Train (1991). Another film by the same director, please."
FORM = 'start: FORM\nFORM: "Yes.\\n" | "No, " ("never" | "no") "."'


@pytest.fixture(scope="module")
def backbone():
    """A model that has learned nothing; its last rows of embeddings stand for no token."""
    tokenizer = build_phrase_tokenizer(["Night Train (1991)", "Ember (1994)"], ["Yes. No, never."])
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 100, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return Backbone(Qwen2ForCausalLM(config).eval(), tokenizer)


def ask(form, number=0):
    messages = [{"role": "user", "content": "Never? " + "no " * number}]
    return Example("q", "explicit", messages, 0, (0, 1), form=form)


def written(backbone, forms, **details):
    examples = [ask(form, n) for n, form in enumerate(forms)]
    tokens = answer(backbone, examples, 40, 64, "Answering", **details)
    return [backbone.tokenizer.decode(ids, skip_special_tokens=True) for ids in tokens]


def test_an_untrained_model_writes_a_text_of_the_form_and_ends(backbone):
    texts = written(backbone, [FORM] * 20, temperature=1.0)
    assert {*texts} <= {"Yes.\n", "No, never.", "No, no."} and len({*texts}) > 1


def test_a_row_without_a_form_writes_what_it_would_write_alone(backbone):
    alone = written(backbone, [None] * 3)
    beside = written(backbone, [None, FORM, None])
    assert [beside[0], beside[2]] == [alone[0], alone[2]]
    assert beside[1] in {"Yes.\n", "No, never.", "No, no."} and beside[1] != alone[1]


def test_rows_that_are_left_out_when_they_have_ended_change_nothing(backbone):
    # 16 rows end after a few tokens, so that the others go on alone (generation._in_rounds).
    long = 'start: FORM\nFORM: "' + "no, never " * 3 + '."'
    texts = written(backbone, [FORM] * 16 + [long] * 3)
    assert texts[16:] == ["no, never " * 3 + "."] * 3
    assert texts[:16] == [written(backbone, [None] * n + [FORM])[-1] for n in range(16)]


def test_drawn_numbers_choose_among_what_is_allowed(backbone):
    ids = backbone.tokenizer("Never?", return_tensors="pt")
    config = backbone.model.generation_config
    draws = torch.linspace(0, 0.999, 8, dtype=torch.float64)[:, None].expand(8, 20)
    output = generate(
        backbone.model,
        ids["input_ids"].repeat(8, 1),
        ids["attention_mask"].repeat(8, 1),
        draws=draws,
        constraint=Forms(backbone.tokenizer, [config.eos_token_id]).constraint([FORM] * 8),
        generation_config=type(config)(
            do_sample=True, temperature=1.0, max_new_tokens=20, eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
        ),
    )  # fmt: skip
    made = output[:, ids["input_ids"].shape[1] :]
    texts = {backbone.tokenizer.decode(row, skip_special_tokens=True) for row in made}
    assert texts <= {"Yes.\n", "No, never.", "No, no."} and len(texts) > 1


def test_a_grammar_that_cannot_be_read_is_an_error(backbone):
    with pytest.raises(ValueError, match="form of an answer cannot be read"):
        Forms(backbone.tokenizer, [0]).constraint(["start: ("])


@pytest.mark.parametrize("evidence", [0, 2])
def test_an_untrained_model_states_true_facts_of_candidates_alone(backbone, linker, evidence):
    wording = WORDING.model_copy(update={"evidence": evidence, "evidence_words": 300})
    writer = TraceWriter(linker, wording, ranked=True, seed=0)
    candidates = [2, 3, 5, 6]
    form = writer.form(linker.link(REQUEST), candidates)
    titles = linker.catalogue.titles
    wanted = {writer.write(REQUEST, candidates, item).split("\n")[0] for item in candidates}
    for text in written_long(backbone, form, 6):
        *lines, box = text.split("\n")
        fitting = [line for line in lines if line.endswith(": Fits.") or line.endswith(". Fits.")]
        assert len(fitting) == 1
        item = next(n for n in candidates if box == f"\\boxed{{{titles[n]}}}")
        assert fitting[0].startswith(f"{titles[item]}:")
        assert sum(line.startswith(f"{titles[item]}:") for line in lines) == 1
        assert ("directed by Ana Torv" in fitting[0]) == (item == 3)
        assert {line for line in lines if line.startswith("Wanted")} <= wanted


def written_long(backbone, form, count):
    examples = [ask(form) for _ in range(count)]
    tokens = answer(backbone, examples, 600, 64, "Answering", temperature=1.0)
    return [backbone.tokenizer.decode(ids, skip_special_tokens=True) for ids in tokens]


def test_every_trace_keeps_to_the_form_of_its_request(backbone, linker):
    wording = WORDING.model_copy(update={"evidence": 2, "evidence_words": 300})
    for seed in range(20):
        for ranked in (True, False):
            writer = TraceWriter(linker, wording, ranked, seed)
            for text in (REQUEST, "A film with Mara Lind and Otto Beck, please.", "Surprise me."):
                for truth in (3, 5):
                    trace = writer.write(text, [2, 3, 5, 6], truth)
                    form = writer.form(linker.link(text), [2, 3, 5, 6])
                    assert keeps_to(backbone, trace, form), trace


def test_an_assistant_that_is_constrained_states_true_facts(backbone, catalogue, retriever):
    wording = WORDING.model_copy(
        update={"evidence": 2, "evidence_words": 300, "user": "{query}{candidates}{known}"}
    )
    reasoner = PolicyReasoner(backbone, "untrained", 600)
    asked = Assistant(RecTask(catalogue, wording), retriever, reasoner, 4, constrained=True)
    told = []
    answer = asked.ask(REQUEST, candidates=[0, 3], on_text=told.append)
    assert "Fits." in answer.reasoning and "".join(told).strip() == answer.reasoning
    fitting = next(n for n in answer.reasoning.split("\n") if n.endswith(" Fits."))
    assert fitting.startswith(f"{answer.items[0].title}:") and answer.items[0].score > 0.99
    assert answer.facts and {fact.status for fact in answer.facts} == {"confirmed"}
    free = Assistant(RecTask(catalogue, wording), retriever, reasoner, 4).ask(REQUEST)
    assert "Fits." not in free.reasoning


def keeps_to(backbone, text, form):
    ids = backbone.tokenizer.encode(text, add_special_tokens=False)
    end = backbone.tokenizer.eos_token_id
    constraint = Forms(backbone.tokenizer, [end]).constraint([form])
    seen = torch.tensor([[0]])
    for token in [*ids, end]:
        scores = constraint(seen, torch.zeros(1, len(backbone.tokenizer) + 100))
        if scores[0, token] != 0:
            return False
        seen = torch.cat([seen, torch.tensor([[token]])], dim=1)
    return True
