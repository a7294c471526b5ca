"""The sample's worlds -> documents -> a tiny base policy, with its card and record."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rerec_pipeline.lazy import LazyModule
from rerec_pipeline.pipelines import data_engineering
from rerec_pipeline.pipelines.stages import node

nodes = LazyModule("rerec_pipeline.pipelines.base_policy.nodes")

#: The worlds it is pretrained on; ``base_policy.worlds`` gives their shares.
WORLDS = ("sample_movie", "sample_book")

#: What of ``data`` each world has of its own.
_OWN = ("source", "domain", "world", "split", "candidates", "history")

#: Blocks of parameters that hold for every world.
_SHARED = ("attributes", "fixed", "histories", "interactions", "retrieval")


def _world_pipeline(name: str) -> Pipeline:
    """Data engineering of one world up to its prompts, under the world's name."""
    return Pipeline(
        data_engineering.create_pipeline().to_outputs("prompts"),
        namespace=name,
        outputs={table: f"{name}_{table}" for table in ("prompts", "queries", "items")},
        parameters={
            "params:data": f"params:base_policy.data.{name}",
            **{f"params:data.{p}": f"params:base_policy.data.{name}.{p}" for p in _OWN},
            "params:raw_dir": f"params:base_policy.raw_dir.{name}",
            **{f"params:{block}": f"params:{block}" for block in _SHARED},
        },
    )


def create_pipeline() -> Pipeline:
    """The base policy pipeline."""
    tables = [f"{w}_{table}" for w in WORLDS for table in ("prompts", "queries", "items")]
    asked = [f"{w}_{table}" for w in WORLDS for table in ("prompts", "items")]
    worlds = sum((_world_pipeline(name) for name in WORLDS), Pipeline([]))
    return worlds + Pipeline(
        [
            node(
                nodes.hold_out,
                ["params:base_policy", *tables],
                ["held_out_pairs", "split_fingerprints"],
            ),
            node(nodes.build_tokenizer, "params:base_policy", "phrase_tokenizer"),
            node(
                nodes.write_corpus,
                ["params:base_policy", "held_out_pairs", "phrase_tokenizer"],
                "corpus",
            ),
            node(
                nodes.pretrain_base_policy,
                ["corpus", "phrase_tokenizer", "params:base_policy"],
                "base_policy",
            ),
            node(
                nodes.record_base_policy,
                ["base_policy", "split_fingerprints", "params:base_policy", "params:rft", *asked],
                ["base_policy_record", "base_policy_card"],
            ),
        ]
    )
