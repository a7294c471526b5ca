"""Nodes of the graph modelling pipeline: LightGCN on the interaction graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.graphs.edges import edge_arrays
from rerec_pipeline.graphs.interactions import InteractionGraph
from rerec_pipeline.graphs.lightgcn import LightGCNResult, LightGCNTrainer
from rerec_pipeline.models.devices import device
from rerec_pipeline.parameters import LightGCNParameters
from rerec_pipeline.reporting import plots
from rerec_pipeline.storage.checkpoints import fingerprint
from rerec_pipeline.training.epochs import fit_or_resume


def pretrain_lightgcn(
    interaction_graph: ir.Table, items: pd.DataFrame, lightgcn: LightGCNParameters
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Trains LightGCN by BPR; keeps the epoch with the best validation recall.

    Every item gets an embedding, in the order of the items table; users are in sorted order. An
    interrupted training resumes from its last validation if nothing it depends on has changed.
    """
    users, item_codes, held = edge_arrays(interaction_graph, items["item_id"].tolist())
    if not held.any():
        raise BadInputError(
            "the interaction graph",
            "no user has so many interactions that a share of them, rounded down, is one to "
            "validate LightGCN on",
            remedy="Raise interactions.validation_share",
        )
    n_users = int(users.max()) + 1
    graphs = [
        InteractionGraph(users[part], item_codes[part], n_users, len(items))
        for part in (~held, held)
    ]
    result = fit_lightgcn(graphs[0], graphs[1], lightgcn)
    report = {
        f"recall@{lightgcn.k}": result.best["recall"],
        f"ndcg@{lightgcn.k}": result.best["ndcg"],
        "best_epoch": result.best_epoch,
        "history": result.history,
    }
    return {"users": result.users, "items": result.items}, report


def fit_lightgcn(
    train: InteractionGraph, validation: InteractionGraph, lightgcn: LightGCNParameters
) -> LightGCNResult:
    """Trains LightGCN, from where an interrupted training of the same has come to."""
    edges = [edge for graph in (train, validation) for edge in (graph.users, graph.items)]
    size = np.array([train.n_users, train.n_items])
    folder = Path(lightgcn.checkpoint_dir) / fingerprint(lightgcn, size, *edges)[:16]
    fit = LightGCNTrainer(train, validation, lightgcn, device()).fit
    return fit_or_resume(fit, folder, lightgcn.epochs)


def plot_lightgcn(lightgcn_report: dict[str, Any]) -> go.Figure:
    """Draws loss and validation metrics over the epochs."""
    return plots.lightgcn_curve(pd.DataFrame(lightgcn_report["history"]))
