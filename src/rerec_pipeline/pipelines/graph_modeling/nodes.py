"""Nodes of the graph modelling pipeline: LightGCN on the interaction graph."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
import torch

from rerec_pipeline.graphs.interactions import InteractionGraph
from rerec_pipeline.graphs.lightgcn import LightGCNTrainer
from rerec_pipeline.reporting import plots
from rerec_pipeline.rules import LightGCNRule


def pretrain_lightgcn(
    interaction_graph: pd.DataFrame, items: pd.DataFrame, rule: LightGCNRule
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Trains LightGCN by BPR; keeps the epoch with the best validation recall.

    Every item gets an embedding, in the order of the items table; users are in sorted order.
    """
    users = pd.Categorical(interaction_graph["user_id"])
    item_index = {item: n for n, item in enumerate(items["item_id"])}
    user_codes = users.codes.astype("int64")
    item_codes = interaction_graph["item_id"].map(item_index).to_numpy("int64")
    train = (interaction_graph["part"] == "train").to_numpy()
    graphs = [
        InteractionGraph(user_codes[part], item_codes[part], len(users.categories), len(items))
        for part in (train, ~train)
    ]
    result = LightGCNTrainer(graphs[0], graphs[1], rule).fit()
    report = {
        f"recall@{rule.k}": result.best["recall"],
        f"ndcg@{rule.k}": result.best["ndcg"],
        "best_epoch": result.best_epoch,
        "history": result.history,
    }
    return {"users": result.users, "items": result.items}, report


def plot_lightgcn(lightgcn_report: dict[str, Any]) -> go.Figure:
    """Draws loss and validation metrics over the epochs."""
    return plots.lightgcn_curve(pd.DataFrame(lightgcn_report["history"]))
