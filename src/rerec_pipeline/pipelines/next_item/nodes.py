"""Nodes of next_item: what comes next in a user's history, by models and by the policy."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.interactions import InteractionGraph
from rerec_pipeline.models.backbone import check_pretraining
from rerec_pipeline.models.devices import device
from rerec_pipeline.parameters import (
    EvaluationParameters,
    LightGCNParameters,
    NextItemParameters,
    RFTParameters,
    SASRecParameters,
    run_choices,
)
from rerec_pipeline.pipelines.graph_modeling.nodes import fit_lightgcn
from rerec_pipeline.pipelines.rft.nodes import within_limit
from rerec_pipeline.recbench import ratings
from rerec_pipeline.recbench.heldout import split_fingerprint
from rerec_pipeline.recbench.raw import Manifest, interactions_file
from rerec_pipeline.recbench.tables import catalogue_from_table, examples_from_table
from rerec_pipeline.recbench.task import RecTask
from rerec_pipeline.reporting import plots
from rerec_pipeline.reporting.next_item import places_listed, report_places
from rerec_pipeline.sequences.choices import draw_candidates, ranks, sample_users
from rerec_pipeline.sequences.histories import by_user, in_order, k_core, numbered, training_part
from rerec_pipeline.sequences.sasrec import Choices, SASRec, SASRecTrainer, score_candidates
from rerec_pipeline.storage.checkpoints import fingerprint
from rerec_pipeline.training.epochs import fit_or_resume

#: Split -> how many of a user's items are hidden from whoever chooses; the first of them is right.
HIDDEN = {"validation": 2, "test": 1}

# -- histories and choices ----------------------------------------------------------------


def order_histories(
    raw_interactions: ir.Table,
    items: pd.DataFrame,
    manifest: Manifest,
    config: NextItemParameters,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Puts every user's items in order of time, within the core; also counts what is left."""
    keys = ibis.memtable(ratings.item_keys(items), schema={"key": "string", "item_id": "int64"})
    found = in_order(raw_interactions, keys)
    kept = k_core(found.users, found.items, config.core)
    histories = by_user(found.users[kept], found.items[kept])
    if not histories:
        raise BadInputError(
            interactions_file(manifest),
            f"no history is left: {found.undated} users lack timestamps, so that their order is "
            f"not known, and none of the other {len(found.names)} is in the {config.core}-core",
            remedy="Next-item choices need timestamps; next_item.core may be as low as 3",
        )
    counts = {
        "users": len(histories),
        "items": len(np.unique(found.items[kept])),
        "interactions": int(kept.sum()),
        "users_without_timestamps": found.undated,
        "users_outside_the_core": len(found.names) - len(histories),
    }
    names = [found.names[user] for user in histories]
    return pd.DataFrame({"user_id": names, "item_ids": list(histories.values())}), counts


def draw_choices(
    sequences: pd.DataFrame, items: pd.DataFrame, config: NextItemParameters
) -> pd.DataFrame:
    """Draws who is asked, and the right item and its negatives for validation and test.

    An item whose title another one has, too, can not be answered, so it is no candidate.
    """
    catalogue = catalogue_from_table(items)
    answerable = {i for n, i in enumerate(catalogue.item_ids) if catalogue.is_answerable(n)}
    histories = dict(zip(sequences["user_id"], sequences["item_ids"], strict=True))
    able = [user for user, past in histories.items() if answerable.issuperset(past[-2:].tolist())]
    pool = np.unique(np.concatenate(list(histories.values())))
    pool = pool[np.isin(pool, list(answerable))]
    rows = []
    for user in sample_users(able, config.users, config.seed):
        past = histories[user]
        for split, hidden in HIDDEN.items():
            truth, name = int(past[-hidden]), f"{split} {user}"
            drawn = _candidates(name, truth, past, pool, config)
            rows.append((user, split, truth, drawn))
    return pd.DataFrame(rows, columns=["user_id", "split", "truth_id", "candidate_ids"])


def _candidates(
    name: str,
    truth: int,
    past: NDArray[np.int64],
    pool: NDArray[np.int64],
    config: NextItemParameters,
) -> list[int]:
    try:
        return draw_candidates(name, truth, past, pool, config.negatives, config.seed).tolist()
    except ValueError as exc:
        raise BadInputError(
            "the interactions", str(exc), record=name, remedy="Lower next_item.negatives"
        ) from None


# -- models -------------------------------------------------------------------------------


def _numbered(sequences: pd.DataFrame) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    return numbered([np.asarray(past) for past in sequences["item_ids"]])


def _choices(
    choices: pd.DataFrame, split: str, sequences: pd.DataFrame
) -> tuple[pd.DataFrame, Choices]:
    """The rows of one split, and the same in numbers."""
    ids, histories = _numbered(sequences)
    rows = choices[choices["split"] == split].reset_index(drop=True)
    of_user = dict(zip(sequences["user_id"], histories, strict=True))
    listed = np.stack(rows["candidate_ids"].to_list())
    right = (listed == rows["truth_id"].to_numpy()[:, None]).argmax(axis=1)
    past = [of_user[user][: -HIDDEN[split]] for user in rows["user_id"]]
    return rows, Choices(past, np.searchsorted(ids, listed) + 1, right)


def train_sasrec(
    sequences: pd.DataFrame, choices: pd.DataFrame, sasrec: SASRecParameters
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Trains SASRec on the training part; keeps the epoch with the best validation NDCG.

    An interrupted training resumes from its last validation if nothing it depends on has changed.
    """
    ids, histories = _numbered(sequences)
    _, validation = _choices(choices, "validation", sequences)
    trainer = SASRecTrainer(histories, len(ids), validation, sasrec, device())
    folder = Path(sasrec.checkpoint_dir) / fingerprint(sasrec, sequences, choices)[:16]
    result = fit_or_resume(trainer.fit, folder, sasrec.epochs)
    best = max(row["ndcg"] for row in result.history)
    report = {"ndcg": best, "best_epoch": result.best_epoch, "history": result.history}
    return result.weights, report


def train_lightgcn(
    sequences: pd.DataFrame, lightgcn: LightGCNParameters
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Trains LightGCN on the training part alone, validated on the item before the last."""
    ids, histories = _numbered(sequences)
    users, items = training_part(histories)
    everyone = np.arange(len(histories))
    wanted = np.array([history[-2] for history in histories])
    graphs = [
        InteractionGraph(who, what - 1, len(histories), len(ids))
        for who, what in ((users, items), (everyone, wanted))
    ]
    result = fit_lightgcn(graphs[0], graphs[1], lightgcn)
    report = {
        f"recall@{lightgcn.k}": result.best["recall"],
        "best_epoch": result.best_epoch,
        "history": result.history,
    }
    return {"users": result.users, "items": result.items}, report


def rank_by_models(
    sequences: pd.DataFrame,
    choices: pd.DataFrame,
    sasrec_weights: dict[str, torch.Tensor],
    lightgcn: dict[str, torch.Tensor],
    sasrec: SASRecParameters,
    config: NextItemParameters,
) -> pd.DataFrame:
    """Places of the right item by each model, a row for each test user.

    SASRec reads the item before the last, too, as in its paper; no weights were learned from it.
    """
    rows, test = _choices(choices, "test", sequences)
    ids, histories = _numbered(sequences)
    model = SASRec(len(ids), sasrec).to(device())
    model.load_state_dict(sasrec_weights)
    counts = np.bincount(training_part(histories)[1], minlength=len(ids) + 1)
    index = {user: n for n, user in enumerate(sequences["user_id"])}
    users = lightgcn["users"][[index[user] for user in rows["user_id"]]]
    near = (lightgcn["items"][torch.from_numpy(test.candidates - 1)] * users[:, None]).sum(-1)
    scores = {
        "random": np.random.default_rng(config.seed).random(test.candidates.shape),
        "popularity": counts[test.candidates].astype(np.float64),
        "lightgcn": near.double().numpy(),
        "sasrec": score_candidates(model, test),
    }
    places = {name: ranks(values, test.right) for name, values in scores.items()}
    return pd.DataFrame({"user_id": rows["user_id"], **places})


# -- the policy ---------------------------------------------------------------------------


def word_choices(
    sequences: pd.DataFrame,
    choices: pd.DataFrame,
    prompts: pd.DataFrame,
    task: RecTask,
    backbone_record: dict[str, Any],
    rft: RFTParameters,
    config: NextItemParameters,
    dataset: str,
) -> pd.DataFrame:
    """Asks the policy the test choices, in the task's words; none that is too long for it.

    A backbone that was pretrained on our data must have held out the queries of this data set.
    """
    name = backbone_record["name_or_path"]
    check_pretraining(name, dataset, split_fingerprint(prompts))
    index = task.catalogue.index_of_id
    of_user = dict(zip(sequences["user_id"], sequences["item_ids"], strict=True))
    rows = []
    for row in choices[choices["split"] == "test"].to_dict("records"):
        past = [index[int(item)] for item in of_user[row["user_id"]][: -HIDDEN["test"]]]
        listed = [index[int(item)] for item in row["candidate_ids"]]
        system, user = task.next_item_messages(config.request, listed, past, config.history)
        rows.append(
            {
                "query_id": row["user_id"], "query_type": "next_item", "system": system["content"],
                "user": user["content"], "truth_id": row["truth_id"],
                "candidate_ids": row["candidate_ids"], "conditions": [], "mentioned_ids": [],
            }
        )  # fmt: skip
    return within_limit(pd.DataFrame(rows), task, name, rft.backbone, rft.generation)


# -- reports ------------------------------------------------------------------------------


def report_models(
    ranks_by_model: pd.DataFrame,
    counts: dict[str, int],
    config: NextItemParameters,
    evaluation: EvaluationParameters,
) -> dict[str, Any]:
    """Hit@1, Hit@10 and NDCG@10 of the models, with intervals."""
    return _report(_places(ranks_by_model), (), counts, config, evaluation)


def report_choices(
    ranks_by_model: pd.DataFrame,
    asked: pd.DataFrame,
    answers_before: pd.DataFrame,
    answers_after: pd.DataFrame,
    task: RecTask,
    counts: dict[str, int],
    config: NextItemParameters,
    evaluation: EvaluationParameters,
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """Models and policy on the same users: those that the policy was asked about.

    A model's list has a place for every candidate. A policy that never names more than one title
    has no list, so nothing but its Hit@1 is given. ``listed`` is how many it names on average.
    """
    examples = examples_from_table(asked, task.catalogue)
    places = _places(ranks_by_model.set_index("user_id").loc[asked["query_id"]].reset_index())
    listed: dict[str, float] = {}
    for name, answers in (("before", answers_before), ("after", answers_after)):
        graded = task.grade(answers["completion"].tolist(), examples)
        places[name] = places_listed(graded.ranked, graded.truths)
        listed[name] = float(np.mean([len(answer.titles) for answer in graded.answers]))
    single = [name for name, mean in listed.items() if mean <= 1]
    report = _report(places, single, counts, config, evaluation)
    report["listed"] = listed
    report["run"] = run_choices(parameters)
    return report


def _places(ranks_by_model: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    columns = ranks_by_model.drop(columns="user_id")
    return {str(name): column.to_numpy() for name, column in columns.items()}


def _report(
    places: dict[str, NDArray[np.int64]],
    single: Collection[str],
    counts: dict[str, int],
    config: NextItemParameters,
    evaluation: EvaluationParameters,
) -> dict[str, Any]:
    return {
        "users": len(next(iter(places.values()))),
        "candidates": config.negatives + 1,
        "data": counts,
        "models": report_places(places, single, evaluation.bootstrap),
    }


def plot_choices(report: dict[str, Any]) -> go.Figure:
    """All models beside one another."""
    return plots.next_item_choices(report)
